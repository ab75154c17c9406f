//! What ten thousand suppliers cost. Measured in release: `cargo nextest run --workspace --release --run-ignored all -E
//! 'test(ten_thousand)' --no-capture`.

use super::*;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const MANY: usize = 10_000;

/// Organisations with an issuer and an authority each.
fn registry(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        write!(
            text,
            r#"
[organisation.o{n}]
kind = "supplier"
country = "AT"
roles = ["maintenance-engineer"]
[issuer.i{n}]
organisation = "o{n}"
url = "https://login{n}.example"
audiences = ["millgate"]
algorithms = ["ES256"]
groups = {{ claim = "groups", roles = {{ "Maintenance" = "maintenance-engineer" }} }}
introspection = {{ client_id = "m", client_secret = {{ file = "s" }}, prefix = "o{n}_", host = "o{n}.data.example" }}
[authority.a{n}]
organisation = "o{n}"
ca_file = "o{n}.pem"
crl_files = ["o{n}.crl"]
dns = ["o{n}.example"]
"#
        )
        .unwrap();
    }
    text
}

fn timed<T>(what: &str, max: Duration, work: impl FnOnce() -> T) -> T {
    let max = if cfg!(debug_assertions) { max * 15 } else { max };
    let start = Instant::now();
    let done = work();
    let took = start.elapsed();
    println!("{what}: {took:?}");
    assert!(took <= max, "{what}: {took:?}");
    done
}

#[test]
#[ignore = "measures"]
fn ten_thousand_organisations_with_issuers_and_authorities_load_within_a_second() {
    let whole = folder(&[("a.toml", &registry(MANY))]);
    let parties = timed("one file", Duration::from_secs(1), || load_registry(whole.path()).unwrap());
    assert_eq!((parties.issuers.len(), parties.authorities.len()), (MANY, MANY));
    timed("what is revoked", Duration::from_secs(1), || load_revocations(whole.path()));
    // Everything wrong at once: each of them names what is not there, and near names are looked for.
    let broken =
        registry(MANY).replace("organisation = \"o", "organisation = \"p").replace("[\"ES256\"]", "[\"RS255\"]");
    let broken = folder(&[("a.toml", &broken)]);
    let problems = timed("all wrong", Duration::from_secs(3), || load_registry(broken.path()).unwrap_err());
    assert_eq!(problems.len(), 3 * MANY);
    // No prefix may begin another: the worst case is one that begins them all.
    let alike = registry(MANY).replace("prefix = \"o", "prefix = \"same").replace("\"same0_\"", "\"same\"");
    let alike = folder(&[("a.toml", &alike)]);
    let problems = timed("alike prefixes", Duration::from_secs(1), || load_registry(alike.path()).unwrap_err());
    assert_eq!(problems.len(), MANY - 1);
    let revoked: String = (0..MANY).map(|n| format!("\"o{n}\",\n")).collect();
    let certificates: String = (0..MANY).map(|n| format!("\"a{n}/{n:X}\",\n")).collect();
    let revoked = format!("[revoked]\norganisations = [{revoked}]\ncertificates = [{certificates}]\n");
    let revoked = folder(&[("a.toml", &registry(MANY)), ("b.toml", &revoked)]);
    let parties = timed("all revoked", Duration::from_secs(1), || load_registry(revoked.path()).unwrap());
    assert_eq!((parties.revocations.organisations.len(), parties.revocations.certificates.len()), (MANY, MANY));
}
