mod speed;

use super::*;
use crate::load_revocations;
use crate::testing::{GOOD, folder, messages};

fn problems(files: &[(&str, &str)]) -> String {
    let dir = folder(files);
    messages(&load_registry(dir.path()).expect_err("a problem"), dir.path())
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
unregistered_certificates = true
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
[issuer.n]
organisation = "acme"
url = "https://CUT.example/"
audiences = ["m"]
algorithms = ["ES256"]
keys_file = "acme.jwks"
binding = ["dpop"]
[issuer.o]
organisation = "bolt"
url = "https://o.example"
audiences = ["m"]
algorithms = ["ES256"]
keys_file = "./acme.jwks"
[issuer.p]
organisation = "bolt"
url = "https://o.example/"
audiences = ["m"]
algorithms = ["ES256"]
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
