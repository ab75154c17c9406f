//! The scope index against all policies, over generated sets, entities and questions: see README.md.
//!
//! `cargo bench --workspace --bench equality -- [--decisions N] [--policies N] [--seed N]`
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use pdp::generated::{Dice, Report, compare};

/// A set of ten policies is asked as often as costs the same as this many visits of one policy.
const VISITS_PER_SET: usize = 40_000;
const POLICIES_MIN: usize = 10;

fn main() -> Result<(), String> {
    let [decisions, policies_max, seed] = options([1_000_000, 5_000, 1])?;
    let schema =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/schema/plant.cedarschema"))
            .map_err(|e| format!("the schema: {e}"))?;
    let mut dice = Dice::new(seed as u64);
    let (mut report, mut sets, mut largest) = (Report::default(), 0, 0);
    while report.decisions < decisions && report.differences.is_empty() {
        let policies = size(&mut dice, policies_max);
        let questions = (VISITS_PER_SET / policies).max(20).min(decisions - report.decisions);
        report.add(compare(("plant.cedarschema", &schema), (seed + sets) as u64, policies, questions)?);
        (sets, largest) = (sets + 1, largest.max(policies));
        if sets.is_multiple_of(200) {
            println!("{:>9} decisions over {sets} sets", report.decisions);
        }
    }
    println!(
        "{} decisions over {sets} sets of {POLICIES_MIN} to {largest} policies: {} allowed, {} forbidden, {} with a policy that failed",
        report.decisions, report.allowed, report.forbidden, report.failed
    );
    println!("{} differences", report.differences.len());
    match report.differences.first() {
        None => Ok(()),
        Some(first) => Err(format!("the index is wrong: {first}")),
    }
}

/// Sizes of all magnitudes are as likely.
fn size(dice: &mut Dice, max: usize) -> usize {
    let mut size = POLICIES_MIN;
    while size < max && dice.chance(65) {
        size *= 2;
    }
    size.min(max) - dice.below(size.min(max).saturating_sub(POLICIES_MIN) / 2 + 1)
}

/// `--decisions`, `--policies` and `--seed`, with these values where they are left out.
fn options(mut values: [usize; 3]) -> Result<[usize; 3], String> {
    // `cargo bench` adds an option of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(name) = arguments.next() {
        let names = ["--decisions", "--policies", "--seed"];
        let place = names.iter().position(|n| **n == name);
        let slot = place.and_then(|place| values.get_mut(place));
        let slot = slot.ok_or_else(|| format!("unknown option `{name}`; there are {}", names.join(", ")))?;
        let value = arguments.next().ok_or_else(|| format!("`{name}` needs a number"))?;
        *slot = value.parse().map_err(|_| format!("`{name}` needs a whole number, not `{value}`"))?;
    }
    Ok(values)
}
