//! What holds for every store, on PostgreSQL.

use super::{PASSWORD, server};
use audit::tests::stand::Stand;

/// Runs a group of the tests that every store must pass, each in a database of its own.
fn conforms(group: &str) {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What its connections need outlives the tests.
    let own = run();
    let server = own.block_on(server(&[]));
    let stand = Stand::postgres(server.store("plant", "broker_1", PASSWORD));
    let of_group = audit::tests::all().into_iter().filter(|(name, _)| name.starts_with(group));
    let mut passed = 0;
    for (name, test) in of_group {
        // The thread's name is what a failure shows.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn_scoped(scope, || run().block_on(test(&stand))).unwrap().join().unwrap();
        });
        passed += 1;
    }
    assert!(passed > 0, "there is no test in {group}");
}

#[test]
fn appending_holds_on_postgresql() {
    conforms("appending::");
}

#[test]
fn checking_holds_on_postgresql() {
    conforms("checking::");
}

#[test]
fn recovering_holds_on_postgresql() {
    conforms("crashing::");
}

#[test]
fn erasing_holds_on_postgresql() {
    conforms("erasing::");
}

#[test]
fn incarnating_holds_on_postgresql() {
    conforms("incarnating::");
}

#[test]
fn indexing_holds_on_postgresql() {
    conforms("indexing::");
}

#[test]
fn proving_holds_on_postgresql() {
    conforms("proving::");
}

#[test]
fn failing_holds_on_postgresql() {
    conforms("failing::");
}

#[test]
fn publishing_holds_on_postgresql() {
    conforms("publishing::");
}

#[test]
fn pruning_holds_on_postgresql() {
    conforms("pruning::");
}

#[test]
fn querying_holds_on_postgresql() {
    conforms("querying::");
}

#[test]
fn rotating_holds_on_postgresql() {
    conforms("rotating::");
}

#[test]
fn vanishing_holds_on_postgresql() {
    conforms("vanishing::");
}
