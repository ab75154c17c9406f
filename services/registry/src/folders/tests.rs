use super::*;
use crate::testing::{GOOD, folder, messages, munich};
use crate::{load_catalog, load_registry};

#[test]
fn the_example_plant_is_without_problems() {
    let (catalog, parties) = load_folders(&munich("catalog"), &munich("registry"))
        .unwrap_or_else(|problems| panic!("{}", messages(&problems, &munich(""))));
    assert_eq!(cross_check(&catalog, &parties), []);
    // The two suppliers compete: each built a machine, and neither's signals are the other's.
    let suppliers: BTreeSet<_> = catalog.plant.signals.values().filter_map(|s| s.governance.supplier.clone()).collect();
    assert_eq!(suppliers.iter().map(|s| s.as_str()).collect::<Vec<_>>(), ["acme", "bolt"]);
}

#[test]
fn names_of_the_other_folder_are_compared_with_places_where_they_are_known() {
    let registry = GOOD.replace("[\"telemetry\"]", "[\"press-3-telemetri\"]\nreveals = [\"qualitty\"]");
    let dir = folder(&[("a.toml", &registry)]);
    let problems = load_folders(&munich("catalog"), dir.path()).expect_err("unknown names");
    let text = messages(&problems, dir.path()).replace(&format!("{}", munich("catalog").display()), "catalog");
    // Problems come in the order of their paths, and where this checkout lies is not for the snapshot to say.
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!("between_folders", lines.join("\n"));
    let catalog = load_catalog(&munich("catalog")).unwrap();
    let without_places = cross_check(&catalog, &load_registry(dir.path()).unwrap());
    assert_eq!(without_places.len(), problems.len());
}

#[test]
fn files_that_are_not_there_are_a_question_of_their_own() {
    let issuer = "[issuer.two]\norganisation = \"acme\"\nurl = \"https://two\"\naudiences = [\"m\"]\nalgorithms = [\"ES256\"]\nca_file = \"two.pem\"\n";
    let registry = folder(&[("a.toml", GOOD), ("b.toml", issuer)]);
    let source = "[source.mes]\nurl = \"https://mes\"\nca_file = \"ca.pem\"\ntoken = { file = \"mes.token\" }\n\
                  [source.old]\nurl = \"https://old\"\nusername = \"u\"\npassword = { env = \"MILLGATE_TEST_UNSET\" }\n";
    let catalog = folder(&[("a.toml", source)]);
    let (catalog_data, parties) = (load_catalog(catalog.path()).unwrap(), load_registry(registry.path()).unwrap());
    let text = messages(&unreadable(&catalog_data, &parties), catalog.path())
        .replace(&format!("{}", catalog.path().display()), "catalog")
        .replace(&format!("{}", registry.path().display()), "registry");
    insta::assert_snapshot!("unreadable", text);
    let (catalog, parties) = load_folders(&munich("catalog"), &munich("registry")).unwrap();
    assert_eq!(unreadable(&catalog, &parties), []);
}

#[test]
fn every_file_and_secret_of_an_identity_is_looked_for() {
    let identities = r#"
[issuer.two]
organisation = "acme"
url = "https://two"
audiences = ["m"]
algorithms = ["ES256"]
keys_file = "two.jwks"
ca_file = "two.pem"
fetch_token = { file = "two.token" }
introspection = { url = "https://two", client_id = "m", client_secret = { file = "two.secret" }, prefix = "two_" }
[issuer.three]
organisation = "acme"
url = "https://three"
audiences = ["m"]
introspection = { client_id = "m", client_secret = { env = "MILLGATE_TEST_UNSET" }, prefix = "three_" }
[authority.machines]
organisation = "acme"
ca_file = "machines.pem"
crl_files = ["there.crl", "gone.crl"]
dns = ["acme.example"]
"#;
    let registry = folder(&[("a.toml", GOOD), ("b.toml", identities), ("there.crl", "")]);
    let parties = load_registry(registry.path()).unwrap_or_else(|e| panic!("{}", messages(&e, registry.path())));
    let catalog = load_catalog(folder(&[]).path()).unwrap();
    insta::assert_snapshot!("unreadable_identities", messages(&unreadable(&catalog, &parties), registry.path()));
}

#[test]
fn a_fault_in_one_folder_hides_nothing_of_the_other_or_between_them() {
    let registry = GOOD.replace("\"telemetry\"", "\"press-3-telemetri\"").replace("\"AT\"", "\"at\"");
    let catalog = "[purpose.quality]\n[product.press-3-telemetry]\nowner = \"nordem\"\nstewart = \"nobody\"\n";
    let text = |catalog: &str, registry: &str| {
        let dir = folder(&[("catalog/a.toml", catalog), ("registry/a.toml", registry)]);
        let problems = load_folders(&dir.path().join("catalog"), &dir.path().join("registry")).expect_err("problems");
        messages(&problems, dir.path())
    };
    insta::assert_snapshot!("both_broken", text(catalog, &registry));
    // Where a file cannot be read to its end, what seems to be missing may stand in the rest of it.
    let cut = text(&format!("{catalog}= ["), &registry);
    assert!(cut.contains("country") && !cut.contains("telemetri"), "{cut}");
}

/// The code blocks of a language.
fn blocks(document: &str, language: &str) -> String {
    let opening = format!("```{language}\n");
    document.split(opening.as_str()).skip(1).filter_map(|rest| rest.split_once("```")).map(|(code, _)| code).collect()
}

#[test]
fn the_examples_of_the_reference_are_a_plant_without_problems() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let [catalog, registry] = ["catalog.md", "registry.md"].map(|n| std::fs::read_to_string(docs.join(n)).unwrap());
    let dir = folder(&[
        ("catalog/a.toml", &blocks(&catalog, "toml")),
        ("catalog/signals.csv", &blocks(&catalog, "csv")),
        ("registry/a.toml", &blocks(&registry, "toml")),
    ]);
    let loaded = load_folders(&dir.path().join("catalog"), &dir.path().join("registry"));
    let (catalog, _) = loaded.unwrap_or_else(|problems| panic!("{}", messages(&problems, dir.path())));
    assert_eq!((catalog.routes.len(), catalog.plant.signals.len()), (5, 4));
}
