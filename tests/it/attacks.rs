//! `docs/attacks.md` names tests, and every one of them exists: a page for auditors must not rot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/attacks.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// `package::module::name` where tests are named, in backticks.
fn named(page: &str) -> BTreeSet<&str> {
    page.split('`').skip(1).step_by(2).filter(|text| text.contains("::")).collect()
}

/// Whether this is a test: the file of its module, or the one around that, has a function of the name that runs as one.
fn exists(id: &str, on_every_store: &str) -> bool {
    let parts: Vec<&str> = id.split("::").collect();
    let ([package, module @ ..], Some(name)) = (&parts[..parts.len() - 1], parts.last()) else { return false };
    let places = match *package {
        "acceptance" => vec![root().join("tests/it")],
        service => ["src", "tests"].map(|folder| root().join("services").join(service).join(folder)).to_vec(),
    };
    let files = places.iter().flat_map(|place| {
        let below = |depth: usize| place.join(module[..depth].join("/")).with_extension("rs");
        (1..=module.len()).rev().map(below).chain([place.join("lib.rs")])
    });
    let Some(text) = files.filter_map(|file| fs::read_to_string(file).ok()).find(|text| is_defined(name, text)) else {
        return false;
    };
    // A group may be several files.
    let is_in_a_group = || module.iter().any(|group| is_listed(group, name, on_every_store));
    is_marked(name, &text) || (*package == "audit" && is_in_a_group())
}

fn is_defined(name: &str, text: &str) -> bool {
    text.contains(&format!("fn {name}("))
}

/// `#[test]`, or one of its kind, stands above it.
fn is_marked(name: &str, text: &str) -> bool {
    let before = text.split(&format!("fn {name}(")).next().unwrap_or_default();
    let above = before.rsplit_once('\n').map_or("", |(above, _)| above);
    let mut attributes = above.lines().rev().take_while(|line| line.trim_start().starts_with(['#', '/']));
    attributes.any(|line| line.contains("test]") || line.contains("test("))
}

/// What holds on every store is listed once and run on each.
fn is_listed(group: &str, name: &str, list: &str) -> bool {
    let listed = list.split_once(&format!("    {group}:\n")).map(|(_, behind)| behind.split(';').next());
    listed.flatten().is_some_and(|names| names.split_whitespace().any(|listed| listed == name))
}

#[test]
fn every_test_that_the_page_of_attacks_names_exists() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let list = fs::read_to_string(root().join("services/audit/src/tests.rs")).unwrap();
    let named = named(&page);
    assert!(named.len() > 80, "{}", named.len());
    let missing: Vec<_> = named.iter().filter(|id| !exists(id, &list)).collect();
    assert!(missing.is_empty(), "{PAGE} names what is no test: {missing:#?}");
    // And it would be told of one that is not.
    for wrong in [
        "audit::tests::surviving::no_such_test",
        "audit::tests::failing::a_flipped_byte_in_a_bundle_names_the_entry",
        "verify::log::tests::publish",
        "audit::tests::harness::read_all",
        "nothing::at_all",
    ] {
        assert!(!exists(wrong, &list), "{wrong}");
    }
    // Every row of a table ends with one.
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(last == "tests" || last.contains("::"), "no test: {row}");
    }
}
