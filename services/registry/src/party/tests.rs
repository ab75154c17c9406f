use super::*;
use crate::load_revocations;
use crate::testing::{folder, messages, munich};

const GOOD: &str = r#"
[organisation.norden]
kind = "owner"
country = "DE"
[organisation.acme]
kind = "supplier"
country = "AT"
[issuer.acme-login]
organisation = "acme"
url = "https://login.acme.example/realms/1"
audiences = ["millgate"]
algorithms = ["ES256"]
[agreement.maintenance]
provider = "norden"
consumer = "acme"
purposes = ["quality"]
products = ["telemetry"]
not_before = 2026-01-01T00:00:00+01:00
not_after = "2027-01-01T00:00:00Z"
resolution_min = "1m"
window_max = "7d"
rows_max = 1000
"#;

fn problems(files: &[(&str, &str)]) -> String {
    let dir = folder(files);
    messages(&load_registry(dir.path()).expect_err("a problem"), dir.path())
}

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
fn a_small_registry_loads_with_defaults_on_the_safe_side() {
    let dir = folder(&[("a.toml", GOOD), ("b.toml", "[principal.\"acme/anna\"]\n")]);
    let parties = load_registry(dir.path()).unwrap_or_else(|e| panic!("{}", messages(&e, dir.path())));
    let issuer = parties.issuers.get("acme-login").unwrap();
    assert_eq!(issuer.token_types, ["at+jwt"]);
    assert_eq!((issuer.leeway_seconds, issuer.principal_kind), (30, PrincipalKind::User));
    let anna = parties.principals.values().next().unwrap();
    assert_eq!((anna.clearance, anna.roles.len(), anna.export_authorisations.len()), (0, 0, 0));
    let agreement = parties.agreements.get("maintenance").unwrap();
    assert_eq!(agreement.not_before.to_rfc3339(), "2025-12-31T23:00:00.000Z");
    assert!(agreement.reveals.is_empty());
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place_and_the_nearest_name() {
    let things = r#"
[organisation.bolt]
kind = "suplier"
country = "cz"
status = "supended"
[issuer.bolt-login]
organisation = "blot"
url = "http://login.bolt.example"
audiences = []
algorithms = ["HS256", "none"]
leeway = "1h"
[issuer.second]
organisation = "norden"
url = "https://login.acme.example/realms/1"
audiences = ["millgate"]
algorithms = ["ES256"]
[principal."acme"]
[principal."acme/anna b"]
[principal."amce/anna"]
clearance = "top"
role = ["auditor"]
[agreement.bad]
provider = "norden"
consumer = "norden"
purposes = []
products = ["telemetry", "telemetry"]
not_before = 2026-01-01
not_after = 2026-01-01T00:00:00Z
resolution_min = "1 minute"
window_max = "7d"
[agreement.worse]
provider = "norden"
consumer = "acme"
purposes = ["quality"]
products = ["telemetry"]
not_before = 2026-01-02T00:00:00Z
not_after = 2026-01-01T00:00:00Z
resolution_min = "1m"
window_max = "7d"
rows_max = -1
[revoked]
organisations = ["acne"]
principals = ["anna"]
tokens = ["acme-login", "other/1"]
issuers = []
[signal.x]
"#;
    insta::assert_snapshot!("registry_problems", problems(&[("a.toml", GOOD), ("b.toml", things)]));
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
fn a_revocation_counts_although_every_file_is_broken() {
    let dir = folder(&[
        ("a.toml", "[organisation.acme]\nstatus = \"suspended\"\nkind = 7\n[organisation.bolt]\nstatus = \"active\"\n"),
        (
            "b.toml",
            "[revoked]\norganisations = [\"audax\", 3]\nprincipals = [\"bolt/ben\", \"x\"]\ntokens = [\"l/1\"]\n= [",
        ),
        ("c.toml", "\u{0}\u{1}"),
        ("d.toml", "[revoked]\norganisations = [\"norden\"]\n[revoked]\n"),
        ("e.toml", "[organisation.other]\nstatus = 1\n"),
    ]);
    assert!(load_registry(dir.path()).is_err());
    let revoked = load_revocations(dir.path());
    let organisations: Vec<_> = revoked.organisations.iter().map(|o| o.as_str()).collect();
    assert_eq!(organisations, ["acme", "audax", "norden", "other"]);
    assert_eq!(revoked.principals.len(), 1);
    assert_eq!(revoked.tokens.iter().map(|(issuer, id)| format!("{issuer}/{id}")).collect::<Vec<_>>(), ["l/1"]);
    assert_eq!(load_revocations(&dir.path().join("nowhere")), model::party::Revocations::default());
}

#[test]
fn what_the_strict_reader_revokes_the_hasty_one_revokes_too() {
    let revoked =
        "[revoked]\norganisations = [\"acme\"]\nprincipals = [\"acme/anna\"]\ntokens = [\"acme-login/a/b\"]\n";
    let dir = folder(&[("a.toml", GOOD), ("z/revoked.toml", revoked)]);
    let parties = load_registry(dir.path()).unwrap_or_else(|e| panic!("{}", messages(&e, dir.path())));
    assert_eq!(load_revocations(dir.path()), parties.revocations);
    assert_eq!(parties.status_of(&"acme".parse().unwrap()), Some(Status::Suspended));
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
        // The catalog's page names a second supplier, and so that it is one plant:
        ("registry/b.toml", "[organisation.bolt]\nkind = \"supplier\"\ncountry = \"CZ\"\n"),
    ]);
    let loaded = load_folders(&dir.path().join("catalog"), &dir.path().join("registry"));
    let (catalog, _) = loaded.unwrap_or_else(|problems| panic!("{}", messages(&problems, dir.path())));
    assert_eq!((catalog.routes.len(), catalog.plant.signals.len()), (3, 3));
}

const IDENTITIES: &str = r#"
[organisation.norden]
kind = "owner"
country = "DE"
[organisation.acme]
kind = "supplier"
country = "AT"
roles = ["maintenance-engineer"]
binding = ["certificate", "dpop"]
[issuer.acme-login]
organisation = "acme"
url = "https://login.acme.example"
audiences = ["millgate"]
algorithms = ["ES256"]
token_age_max = "1h"
subject_claim = "oid"
groups = { claim = "groups", roles = { "Plant Maintenance" = "maintenance-engineer" } }
assurance = { claim = "acr", levels = { "urn:acme:mfa" = 2 } }
binding = ["dpop"]
dpop_nonce = true
keys_url = "https://login.acme.example/keys?app=millgate"
fetch_token = { file = "token" }
outage_max = "2h"
introspection = { url = "https://login.acme.example/introspect", client_id = "millgate", client_secret = { env = "ACME_SECRET" }, prefix = "acme_", host = "acme.data.example" }
[authority.acme-machines]
organisation = "acme"
ca_file = "acme-ca.pem"
crl_files = ["acme.crl"]
intermediates_max = 0
spiffe = { trust_domain = "acme.example", path_prefix = "plant/" }
[authority.acme-gateways]
organisation = "acme"
ca_file = "acme-ca.pem"
dns = ["machines.acme.example"]
kind = "user"
[authority.acme-old]
organisation = "acme"
ca_file = "old.pem"
subjects = { "CN=press-3,O=ACME Presses" = "press-3", "CN=a\\,b+OU=1,1.2.3=#0403" = "ab" }
[revoked]
certificates = ["acme-machines/00:0A:1B:2c", "acme-old/0x00"]
"#;

#[test]
fn an_issuer_an_authority_and_an_organisation_say_all_they_can() {
    let dir = folder(&[("a.toml", IDENTITIES)]);
    let parties = load_registry(dir.path()).unwrap_or_else(|e| panic!("{}", messages(&e, dir.path())));
    let text = format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}",
        parties.organisations.get("acme").unwrap(),
        parties.issuers,
        parties.authorities,
        parties.revocations
    );
    insta::assert_snapshot!("identities", text.replace(&format!("{}/", dir.path().display()), ""));
    assert_eq!(load_revocations(dir.path()), parties.revocations);
}

#[test]
fn what_an_identity_may_not_say_is_said_with_what_to_write() {
    let things = r#"
[organisation.bolt]
kind = "supplier"
country = "CZ"
roles = ["maintenance-engineer", "Fitter", "maintenance-engineer"]
binding = ["certificat", "dpop", "dpop"]
[organisation.audax]
kind = "auditor"
country = "NL"
roles = "auditor"
binding = []
[issuer.a]
organisation = "bolt"
url = "https://a.example"
audiences = ["millgate"]
algorithms = ["ES256"]
token_age_max = "400d"
subject_claim = "email"
groups = { claim = "groups", roles = { "Fitters" = "fitter", "Maintenance" = "maintenance-enginer", "Admins" = 3, "Bosses" = "No Role" }, role = 1 }
assurance = { claim = "acr", levels = { low = 0, mfa = "2", key = 4 } }
dpop_nonce = "yes"
discovery_url = "http://a.example/.well-known"
keys_url = "https://u:secret@a.example/keys"
keys_file = "a.jwks"
fetch_token = { env = "TOKEN" }
outage_max = "31d"
introspection = { client_id = "millgate", client_secret = "hunter2", cache = "2m" }
[issuer.b]
organisation = "bolt"
url = "https://b.example"
audiences = ["millgate"]
leeway = "1500ms"
introspection = { url = "ftp://b", client_id = "millgate", client_secret = { file = "b", env = "B" }, prefix = "a.b", host = "B.example:443" }
fetch_token = "abc"
[issuer.c]
organisation = "bolt"
url = "https://c.example"
audiences = ["millgate"]
keys_file = "c.jwks"
assurance = {}
introspection = { client_id = "millgate", prefix = "eyJ" }
[issuer.d]
organisation = "bolt"
url = "https://d.example"
audiences = ["millgate"]
algorithms = []
introspection = { client_id = "m", client_secret = { file = "d" }, prefix = "bolt_x", host = "bolt.example" }
[issuer.e]
organisation = "bolt"
url = "https://e.example"
audiences = ["millgate"]
introspection = { client_id = "m", client_secret = { file = "e" }, prefix = "bolt_", host = "bolt.example" }
[issuer.f]
organisation = "acme"
url = "https://f.example"
audiences = ["millgate"]
introspection = { client_id = "m", client_secret = { file = "f" }, prefix = "bolt_y" }
binding = ["dpop"]
[authority.f]
organisation = "bolt"
ca_file = "bolt.pem"
dns = ["bolt.example"]
[authority.g]
organisation = "acme"
ca_file = "./bolt.pem"
intermediates_max = 6
dns = ["*.acme.example", ".acme.example", "acme.example", "ACME.example", "10.0.0.1"]
spiffe = { trust_domain = "spiffe://acme.example", path_prefix = "/plant", path = "x" }
[authority.h]
organisation = "nobody"
dns = []
kind = "machine"
crl_files = "h.crl"
[authority.i]
organisation = "acme"
ca_file = "i.pem"
subjects = { "press-3" = "press-3", "CN = press-4" = "press-4", "CN=ok" = "not ok", "CN=list" = [] }
[authority.j]
organisation = "acme"
ca_file = "j.pem"
subjects = {}
[authority.k]
organisation = "acme"
ca_file = "k.pem"
spiffe = {}
[authority.l]
organisation = "acme"
ca_file = "bolt.pem"
[authority.m]
organisation = "acme"
ca_file = "./bolt.pem"
spiffe = { trust_domain = "acme.example" }
[organisation.cut]
kind = "supplier"
country = "FR"
binding = ["certificate"]
[issuer.cut-login]
organisation = "cut"
url = "https://cut.example"
audiences = ["m"]
algorithms = ["ES256"]
binding = ["dpop"]
[revoked]
certificates = ["g/0x", "f/12:34:5g", "machines", "f/", "nobody/0a", "F/1"]
"#;
    insta::assert_snapshot!("identity_problems", problems(&[("a.toml", GOOD), ("b.toml", things)]));
    let text = problems(&[("a.toml", GOOD), ("b.toml", "authority.l = \"l.pem\"\nissuer.m = 3\n")]);
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn a_secret_of_an_issuer_is_in_no_message() {
    let issuer = "[issuer.a]\norganisation = \"acme\"\nurl = \"https://a\"\naudiences = [\"m\"]\n\
                  keys_url = \"https://u:hunter2@a\"\nfetch_token = \"hunter2\"\n\
                  introspection = { client_id = \"m\", client_secret = \"hunter2\", prefix = \"abc\" }\n";
    let text = problems(&[("a.toml", GOOD), ("b.toml", issuer)]);
    assert!(text.contains("client_secret") && text.contains("fetch_token") && text.contains("keys_url"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_serial_number_is_one_number_however_it_is_spelled() {
    let text =
        "[revoked]\ncertificates = [\"m/0A1B2C\", \"m/0a:1b:2c\", \"m/00:0A:1B:2C\", \"m/0x0a1b2c\", \"m/A1B2C\"]\n";
    let dir = folder(&[("a.toml", text)]);
    let revoked = load_revocations(dir.path());
    let serials: Vec<_> = revoked.certificates.iter().map(|c| c.serial.as_str()).collect();
    assert_eq!(serials, ["a1b2c"], "of an authority that nobody knows, too");
    for none in ["m/", "m/0x", "m/-1", "m/1g", "m/:", "m/ "] {
        let dir = folder(&[("a.toml", &format!("[revoked]\ncertificates = [\"{none}\"]\n"))]);
        assert!(load_revocations(dir.path()).certificates.is_empty(), "{none}");
        assert!(load_registry(dir.path()).is_err(), "{none} is no number and must not be taken as revoked");
    }
}

#[test]
fn a_revoked_certificate_counts_beside_broken_entries_and_a_suspended_agreement_too() {
    let dir = folder(&[
        ("a.toml", "[revoked]\ntokens = 7\ncertificates = [3, \"m/0A\", [\"m/0B\"], \"m\", \"other/ff\"]\n= ["),
        ("b.toml", "[revoked]\ncertificates = \"m/0C\"\nprincipals = \"acme/anna\"\n"),
        ("c.toml", "[agreement.one]\nstatus = \"suspended\"\nrows_max = \"x\"\n[agreement.two]\nstatus = \"active\"\n"),
        ("d.toml", "[agreement.three]\nstatus = []\n[agreement.four]\n[agreement.five]\nstatus = \"retired\"\n"),
    ]);
    assert!(load_registry(dir.path()).is_err());
    let revoked = load_revocations(dir.path());
    let certificates: Vec<_> = revoked.certificates.iter().map(|c| format!("{}/{}", c.authority, c.serial)).collect();
    assert_eq!(certificates, ["m/a", "m/c", "other/ff"]);
    assert_eq!(revoked.principals.len(), 1);
    assert_eq!(revoked.agreements.iter().map(|a| a.as_str()).collect::<Vec<_>>(), ["five", "one", "three"]);
}
