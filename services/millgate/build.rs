//! The example plant is part of the executable: a changed file in it must rebuild.

fn main() {
    println!("cargo::rerun-if-changed=../../policies");
}
