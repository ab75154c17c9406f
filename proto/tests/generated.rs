//! The committed code is what the `.proto` files make.

use std::path::{Path, PathBuf};

const FILE: &str = "millgate.audit.v1.rs";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn generate() -> String {
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile(["millgate/audit/v1/audit.proto"], [here("")]).unwrap();
    tonic_prost_build::configure()
        // Channels are for whoever connects.
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds(files)
        .unwrap();
    std::fs::read_to_string(out.path().join(FILE)).unwrap()
}

#[test]
fn the_committed_code_is_what_the_contract_makes() {
    let committed = std::fs::read_to_string(here("src/generated").join(FILE)).unwrap_or_default();
    assert!(
        generate() == committed,
        "`proto/src/generated/{FILE}` is not what `audit.proto` makes; make it anew and commit it: \
         cargo test --workspace --test generated -- --ignored"
    );
}

#[test]
#[ignore = "writes the code anew"]
fn regenerate() {
    std::fs::write(here("src/generated").join(FILE), generate()).unwrap();
}
