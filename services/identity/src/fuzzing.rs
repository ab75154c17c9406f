//! What must hold whatever bytes a stranger sends, for the fuzz targets in `fuzz/` and for their seeds in the tests.
//!
//! Signatures keep a fuzzer out of everything behind them, so each target begins behind one: `claims` is what a token says
//! once it is believed, `proof` header and claims of a proof apart, `certificate` names of a certificate that somebody signed.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a broken promise ends the run")]

use crate::certificate::{ClientAuthorities, PeerCertificate, fuzzed_name};
use crate::claims::identify;
use crate::confirmation::Confirmation;
use crate::dpop::{Origins, fuzzed_proof};
use crate::json::Object;
use crate::token::{Parts, Token, check_length, has_three_parts};
use model::party::{
    Assurance, Authority, CertificateNames, Groups, Issuer, Organisation, OrganisationKind, Parties, Revocations,
    SignatureAlgorithm, Status,
};
use model::{AuthenticationMethod, Digest, IssuerId, Origin, PrincipalKind, RoleId, Timestamp};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

/// 2027-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp(1_798_761_600_000);

/// ACME's issuer, its authority, and a role that belongs to somebody else.
static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let role = |name: &str| RoleId::new(name).unwrap();
    let organisation = |id: &str, roles: &[&str]| Organisation {
        id: id.parse().unwrap(),
        title: id.to_owned(),
        kind: OrganisationKind::Supplier,
        country: String::from("DE"),
        status: Status::Active,
        roles: roles.iter().map(|name| role(name)).collect(),
        bindings: BTreeSet::new(),
    };
    let groups = [("maintenance", role("maintenance")), ("quality", role("bolts-own"))];
    let acme = Issuer {
        audiences: vec![String::from("https://data.plant.example")],
        algorithms: vec![SignatureAlgorithm::ES256],
        groups: Some(Groups {
            claim: String::from("groups"),
            roles: groups.map(|(group, role)| (group.to_owned(), role)).into_iter().collect(),
        }),
        assurance: Some(Assurance {
            claim: String::from("acr"),
            levels: [("mfa", 2), ("passkey", 9)].map(|(value, level)| (value.to_owned(), level)).into_iter().collect(),
        }),
        ..Issuer::new(IssuerId::new("acme").unwrap(), "acme".parse().unwrap(), "https://login.acme.example")
    };
    let authority = Authority {
        id: IssuerId::new("acme-machines").unwrap(),
        organisation: "acme".parse().unwrap(),
        ca_file: Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/acme-ca.pem"),
        crl_files: Vec::new(),
        intermediates_max: 2,
        names: CertificateNames::Dns { domains: vec![String::from("acme.example")] },
        principal_kind: PrincipalKind::Service,
    };
    Parties {
        digest: Digest::of(b""),
        organisations: [organisation("acme", &["maintenance"]), organisation("bolt", &["bolts-own"])]
            .map(|o| (o.id.clone(), o))
            .into(),
        issuers: BTreeMap::from([(acme.id.clone(), acme)]),
        authorities: BTreeMap::from([(authority.id.clone(), authority)]),
        principals: BTreeMap::new(),
        agreements: BTreeMap::new(),
        revocations: Revocations::default(),
    }
});

static AUTHORITIES: LazyLock<ClientAuthorities> = LazyLock::new(|| {
    let (authorities, problems) = ClientAuthorities::load(&PARTIES, &ClientAuthorities::default());
    assert_eq!(problems, []);
    authorities
});

/// A token's text, before anything is known of its signature. Returns whether it was well-formed.
pub fn token(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    if check_length(text).is_err() || !has_three_parts(text) {
        return false;
    }
    let Ok(parts) = Parts::split(text) else { return false };
    assert_eq!(format!("{}.{}", parts.message, parts.signature), text, "what is signed is what was sent");
    let Ok(token) = Token::parse(&parts) else { return false };
    let acme = PARTIES.issuers.values().next().unwrap();
    let _ = (token.issuer().map(str::to_owned), token.key_id().map(str::to_owned));
    if token.algorithm(acme).is_ok() {
        let header = message_part(&parts, 0);
        assert_eq!(header["alg"], "ES256", "an algorithm that the issuer is not pinned to");
        assert!(header.get("jwk").or(header.get("crit")).is_none(), "the sender chose the key, or the rules");
    }
    assert!(message_part(&parts, 1).is_object());
    true
}

fn message_part(parts: &Parts<'_>, n: usize) -> Value {
    use base64::Engine as _;
    let part = parts.message.split('.').nth(n).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&json).expect("what we read, everybody reads")
}

/// A claim set whose signature was good. Returns whether it let somebody in.
pub fn claims(data: &[u8]) -> bool {
    let Ok(claims) = Object::parse(data) else { return false };
    let told: Value = serde_json::from_slice(data).expect("what we read, everybody reads");
    assert_eq!(claims.names().collect::<BTreeSet<_>>().len(), claims.names().count(), "a name has one value");
    assert_eq!(claims.names().count(), told.as_object().map_or(0, serde_json::Map::len));
    let _ = Confirmation::read(claims.get("cnf"));
    let acme = PARTIES.issuers.values().next().unwrap();
    let mut let_in = false;
    for method in [AuthenticationMethod::Jwt, AuthenticationMethod::Opaque] {
        let Ok(who) = identify(&claims, method, acme, &PARTIES, NOW) else { continue };
        let_in = true;
        assert_eq!(who.principal.organisation, acme.organisation, "an issuer speaks for its own organisation alone");
        assert_eq!(told["sub"], who.principal.subject.as_str());
        assert!(who.roles.iter().all(|role| role.as_str() == "maintenance"), "{:?}", who.roles);
        assert!(who.assurance <= 3);
        let audience = &told["aud"];
        let ours = |value: &Value| value == "https://data.plant.example";
        assert!(ours(audience) || audience.as_array().is_some_and(|all| all.iter().any(ours)), "{audience}");
        let leeway = i64::try_from(acme.leeway_seconds).unwrap();
        let end = told["exp"].as_i64().expect("an end that is a whole number");
        assert!(end + leeway > NOW.seconds() && who.expires > NOW, "an expired token");
    }
    let_in
}

/// Header and claims of a proof (RFC 9449), with a zero byte between them, as if the signature were good; and all of it as
/// the text of a proof. Returns whether the claims fit the request.
pub fn proof(data: &[u8]) -> bool {
    static ORIGINS: LazyLock<Origins> = LazyLock::new(|| Origins::new(Origin::parse("https://data.plant.example")));
    const PATH: &str = "/series/press-3.force";
    let Some((end, token)) = fuzzed_proof(data, &ORIGINS, PATH, NOW) else { return false };
    let claims = data.splitn(2, |b| *b == 0).nth(1).unwrap_or_default();
    let told: Value = serde_json::from_slice(claims).expect("what we read, everybody reads");
    assert_eq!(told["htm"], "GET");
    assert_eq!(told["ath"], token.as_str());
    assert!(told["jti"].as_str().is_some_and(|jti| !jti.is_empty()));
    // Whoever reads addresses otherwise than we do must come to the same one.
    let address = told["htu"].as_str().unwrap();
    let uri: http::Uri = address.split(['#', '?']).next().unwrap().parse().expect("an address that others can read");
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    assert_eq!((host.as_str(), uri.port_u16().unwrap_or(443)), ("data.plant.example", 443), "{address}");
    assert!(end > NOW && told["iat"].as_i64().is_some_and(|at| (at * 1000 - NOW.millis()).abs() <= 60_000));
    true
}

/// Certificates as a peer shows them, its own first, each after two bytes with its length. Returns whether it speaks for
/// somebody.
pub fn certificate(data: &[u8]) -> bool {
    let mut chain = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (der, after) = after.split_at(length);
        chain.push(CertificateDer::from(der.to_vec()));
        rest = after;
    }
    for der in &chain {
        for (rule, inside) in NAMES.iter() {
            if let Some(subject) = fuzzed_name(der, rule, NOW) {
                assert!(inside(&subject), "`{subject}` by {rule:?}");
            }
        }
    }
    let Some(peer) = PeerCertificate::new(chain) else { return false };
    let _ = AUTHORITIES.admit(&peer, &PARTIES, NOW);
    let Ok(certified) = AUTHORITIES.judge(&peer, &PARTIES, NOW) else { return false };
    assert_eq!(certified.principal.organisation.as_str(), "acme", "an authority speaks for its own organisation alone");
    assert!(certified.expires > NOW);
    true
}

type Inside = fn(&str) -> bool;

static NAMES: LazyLock<[(CertificateNames, Inside); 2]> = LazyLock::new(|| {
    let dns = CertificateNames::Dns { domains: vec![String::from("acme.example")] };
    let spiffe =
        CertificateNames::Spiffe { trust_domain: String::from("acme.example"), path_prefix: String::from("line-1/") };
    [
        (dns, |name| {
            name == "acme.example" || (name.ends_with(".acme.example") && name.is_ascii() && !name.contains('*'))
        }),
        (spiffe, |path| path.starts_with("line-1/") && !path.split('/').any(|part| matches!(part, "" | "." | ".."))),
    ]
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};

    type Run = fn(&[u8]) -> bool;
    const TARGETS: [(&str, Run); 4] =
        [("token", token), ("claims", claims), ("proof", proof), ("certificate", certificate)];

    /// Name and content; what a seed is called says what becomes of it.
    fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let mut seeds: Vec<_> = files
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
            .collect();
        seeds.sort();
        seeds
    }

    #[test]
    fn each_seed_is_taken_or_refused_as_its_name_says() {
        for (target, run) in TARGETS {
            let seeds = seeds(target);
            for (name, content) in &seeds {
                assert_eq!(run(content), name.starts_with("good-"), "{target}/{name}");
            }
            for kind in ["good-", "bad-"] {
                assert!(seeds.iter().any(|(name, _)| name.starts_with(kind)), "{target} has no seed {kind}");
            }
        }
    }

    fn config() -> Config {
        Config { cases: 2_000, rng_seed: RngSeed::Fixed(9), failure_persistence: None, ..Config::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn changed_seeds_keep_every_promise(
            target in 0..TARGETS.len(),
            seed in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
        ) {
            let (name, run) = TARGETS[target];
            let seeds = seeds(name);
            let mut data = seed.get(&seeds).1.clone();
            for (at, byte, how) in changes {
                let at = at.index(data.len() + 1);
                match how {
                    0 => data.insert(at, byte),
                    1 if at < data.len() => data[at] = byte,
                    _ => data.truncate(at),
                }
            }
            run(&data);
        }
    }
}
