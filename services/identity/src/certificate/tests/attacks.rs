//! Paths that must not count.

use super::pki::{Ca, NOW, Stand, below, ca_params, dns, leaf_params, spiffe, uri};
use model::{CertificateRef, Principal, PrincipalKind, Reason, Timestamp};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    SerialNumber, date_time_ymd,
};
use std::sync::LazyLock;

const SERIAL: &[u8] = &[0x0a, 0x1b, 0x2c];

fn at(day: i64) -> Timestamp {
    NOW.plus_millis(day * 86_400_000)
}

#[test]
fn a_certificate_of_a_registered_authority_is_its_organisations_principal() {
    let ca = Ca::root("Acme Root");
    let stand = Stand::of("acme", &ca);
    let chain = [ca.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let certified = stand.judge(&chain).unwrap();
    let expected = Principal {
        organisation: "acme".parse().unwrap(),
        kind: PrincipalKind::Service,
        subject: "press-3.acme.example".parse().unwrap(),
    };
    assert_eq!(certified.principal, expected);
    let reference = CertificateRef { authority: "acme".parse().unwrap(), serial: "a1b2c".parse().unwrap() };
    assert_eq!(certified.reference, reference);
    assert_eq!(certified.expires.to_rfc3339(), "2026-12-01T00:00:01.000Z");
}

#[test]
fn the_root_may_be_shown_and_an_intermediate_must_be() {
    let root = Ca::root("Acme Root");
    let issuing = root.intermediate(ca_params("Acme Issuing"));
    let stand = Stand::of("acme", &root);
    let own = issuing.sign(&leaf_params(vec![dns("press-3.acme.example")]));
    assert!(stand.judge(&[own.clone(), issuing.der()]).is_ok());
    assert!(stand.judge(&[own.clone(), issuing.der(), root.der()]).is_ok());
    assert!(stand.judge(&[own.clone(), root.der(), issuing.der()]).is_ok());
    assert_eq!(stand.who(&[own]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
}

#[test]
fn a_self_signed_certificate_is_nobodys() {
    let ca = Ca::root("Acme Root");
    let stand = Stand::of("acme", &ca);
    let mut params = leaf_params(vec![dns("press-3.acme.example")]);
    let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    assert_eq!(stand.who(&[own]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
    // Also when it has the authority's name.
    params.distinguished_name = ca_params("Acme Root").distinguished_name;
    let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    assert_eq!(stand.who(&[own]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
}

#[test]
fn an_authority_of_the_same_name_and_another_key_is_unknown() {
    let stand = Stand::of("acme", &Ca::root("Acme Root"));
    let forger = Ca::root("Acme Root");
    let own = forger.sign(&leaf_params(vec![dns("press-3.acme.example")]));
    assert_eq!(stand.who(std::slice::from_ref(&own)).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
    assert_eq!(stand.who(&[own, forger.der()]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
}

#[test]
fn a_stranger_cannot_tell_whether_a_company_is_registered() {
    let stand = Stand::of("acme", &Ca::root("Acme Root")).with_lists("acme", &[Ca::root("Acme Root").list(1, 2, &[])]);
    let mut constrained = ca_params("Acme Issuing");
    constrained.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    for name in ["Acme Root", "Globex Root"] {
        let forger = Ca::root(name);
        let deep = forger.intermediate(constrained.clone()).intermediate(ca_params("Acme Deep"));
        let own = leaf_params(vec![dns("press-3.acme.example")]);
        let (mut expired, mut servers) = (own.clone(), own.clone());
        expired.not_after = date_time_ymd(2026, 11, 2);
        servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for chain in [
            vec![forger.sign(&own)],
            vec![forger.sign(&expired)],
            vec![forger.sign(&servers)],
            vec![deep.sign(&own), deep.der(), forger.der()],
        ] {
            let peer = crate::PeerCertificate::new(chain).unwrap();
            let refused = stand.authorities.judge(&peer, &stand.parties, NOW).unwrap_err();
            assert_eq!(refused.to_string(), super::super::chain::unknown().to_string(), "{name}");
        }
    }
}

#[test]
fn a_certificate_without_the_client_purpose_is_refused() {
    let ca = Ca::root("Acme Root");
    let stand = Stand::of("acme", &ca);
    let purposes = [
        vec![],
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![ExtendedKeyUsagePurpose::EmailProtection, ExtendedKeyUsagePurpose::ServerAuth],
    ];
    for purpose in purposes {
        let mut params = leaf_params(vec![dns("press-3.acme.example")]);
        params.extended_key_usages = purpose.clone();
        assert_eq!(stand.who(&[ca.sign(&params)]).unwrap_err(), Reason::BAD_CERTIFICATE, "{purpose:?}");
    }
    let mut both = leaf_params(vec![dns("press-3.acme.example")]);
    both.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    assert!(stand.judge(&[ca.sign(&both)]).is_ok());
}

#[test]
fn a_certificate_whose_key_may_not_sign_is_refused() {
    let ca = Ca::root("Acme Root");
    let stand = Stand::of("acme", &ca);
    let mut params = leaf_params(vec![dns("press-3.acme.example")]);
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert_eq!(stand.who(&[ca.sign(&params)]).unwrap_err(), Reason::BAD_CERTIFICATE);
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    assert!(stand.judge(&[ca.sign(&params)]).is_ok());
}

#[test]
fn an_intermediate_for_servers_only_or_not_for_signing_is_refused() {
    let root = Ca::root("Acme Root");
    let stand = Stand::of("acme", &root);
    let own = leaf_params(vec![dns("press-3.acme.example")]);
    let mut servers = ca_params("Acme Servers");
    servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let servers = root.intermediate(servers);
    assert_eq!(stand.who(&[servers.sign(&own), servers.der()]).unwrap_err(), Reason::BAD_CERTIFICATE);
    let mut lists = ca_params("Acme Lists");
    lists.key_usages = vec![KeyUsagePurpose::CrlSign];
    let lists = root.intermediate(lists);
    assert_eq!(stand.who(&[lists.sign(&own), lists.der()]).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn a_client_that_signs_certificates_vouches_for_nobody() {
    let root = Ca::root("Acme Root");
    let stand = Stand::of("acme", &root);
    let client = root.intermediate(leaf_params(vec![dns("press-3.acme.example")]));
    let own = client.sign(&leaf_params(vec![dns("press-4.acme.example")]));
    assert!(stand.judge(&[client.der()]).is_ok());
    assert_eq!(stand.who(&[own, client.der()]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
}

#[test]
fn an_authoritys_own_certificate_is_no_client() {
    let root = Ca::root("Acme Root");
    let stand = Stand::of("acme", &root);
    let mut params = leaf_params(vec![dns("press-3.acme.example")]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(stand.who(&[root.sign(&params)]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
    assert_eq!(stand.who(&[root.der()]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
}

#[test]
fn a_chain_that_is_too_deep_is_refused() {
    let root = Ca::root("Acme Root");
    let first = root.intermediate(ca_params("Acme Plants"));
    let second = first.intermediate(ca_params("Acme Munich"));
    let chain = [second.sign(&leaf_params(vec![dns("press-3.acme.example")])), second.der(), first.der()];
    let mut stand = Stand::of("acme", &root);
    assert_eq!(stand.who(&chain).unwrap_err(), Reason::BAD_CERTIFICATE);
    stand.authority("acme").intermediates_max = 2;
    let mut stand = stand.loaded();
    assert!(stand.judge(&chain).is_ok());
    stand.authority("acme").intermediates_max = 0;
    let stand = stand.loaded();
    assert_eq!(stand.who(&chain).unwrap_err(), Reason::BAD_CERTIFICATE);
    let long: Vec<_> = std::iter::repeat_n(chain[0].clone(), 50).collect();
    assert_eq!(stand.who(&long).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn a_peer_that_shows_more_than_any_authority_allows_causes_no_search() {
    let root = Ca::root("Acme Root");
    let mut chain = vec![root.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    // What is not even read cannot be searched.
    chain.extend(std::iter::repeat_n(vec![0].into(), 3));
    let mut stand = Stand::of("acme", &root);
    let peer = crate::PeerCertificate::new(chain).unwrap();
    let refused = |stand: &Stand| stand.authorities.judge(&peer, &stand.parties, NOW).unwrap_err().to_string();
    assert!(refused(&stand).contains("than any authority here allows"), "{}", refused(&stand));
    stand.authority("acme").intermediates_max = 2;
    let stand = stand.loaded();
    assert!(refused(&stand).contains("not well formed"), "{}", refused(&stand));
}

#[test]
fn an_expired_and_a_not_yet_valid_certificate_are_refused_by_the_brokers_clock() {
    let root = Ca::root("Acme Root");
    let stand = Stand::of("acme", &root);
    let chain = [root.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let refused = |now| stand.judge_at(&chain, now).unwrap_err();
    assert_eq!(refused(at(-22)), Reason::CERTIFICATE_EXPIRED);
    let last = Timestamp::parse_rfc3339("2026-12-01T00:00:00.999Z").unwrap();
    assert!(stand.judge_at(&chain, last).is_ok());
    assert_eq!(refused(last.plus_millis(1)), Reason::CERTIFICATE_EXPIRED);
}

#[test]
fn one_connection_is_not_judged_by_an_earlier_time() {
    let root = Ca::root("Acme Root");
    let stand = Stand::of("acme", &root);
    let chain = vec![root.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let peer = crate::PeerCertificate::new(chain).unwrap();
    let until = stand.authorities.stands_until(&peer, &stand.parties, NOW).unwrap();
    assert!(stand.authorities.stands_until(&peer, &stand.parties, until.plus_millis(-1)).is_some());
    assert!(stand.authorities.stands_until(&peer, &stand.parties, until).is_none());
}

#[test]
fn an_expired_authority_or_intermediate_vouches_for_nobody() {
    let mut params = ca_params("Acme Root");
    params.not_after = date_time_ymd(2026, 11, 20);
    let root = Ca::root_of(params.clone());
    let own = leaf_params(vec![dns("press-3.acme.example")]);
    let stand = Stand::of("acme", &root);
    assert_eq!(stand.who(&[root.sign(&own)]).unwrap_err(), Reason::CERTIFICATE_EXPIRED);

    let root = Ca::root("Acme Root");
    let issuing = root.intermediate(params);
    let stand = Stand::of("acme", &root);
    assert_eq!(stand.who(&[issuing.sign(&own), issuing.der()]).unwrap_err(), Reason::CERTIFICATE_EXPIRED);
}

#[test]
fn an_intermediate_of_another_organisation_does_not_help() {
    let (acme, globex) = (Ca::root("Acme Root"), Ca::root("Globex Root"));
    let issuing = globex.intermediate(ca_params("Globex Issuing"));
    let own = issuing.sign(&leaf_params(vec![dns("press-3.acme.example")]));
    let stand = Stand::of("acme", &acme);
    assert_eq!(stand.who(&[own.clone(), issuing.der()]).unwrap_err(), Reason::UNKNOWN_AUTHORITY);
    let mut stand = stand;
    stand.add("globex", "globex", &[&globex], below("globex.example"));
    let stand = stand.loaded();
    assert_eq!(stand.who(&[own.clone(), issuing.der()]).unwrap_err(), Reason::BAD_CERTIFICATE);
    assert_eq!(stand.who(&[own, issuing.der(), acme.der()]).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn a_name_constraint_holds() {
    let mut params = ca_params("Acme Root");
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("plant.acme.example".into())],
        excluded_subtrees: vec![GeneralSubtree::DnsName("office.plant.acme.example".into())],
    });
    let root = Ca::root_of(params.clone());
    let outer = Ca::root("Acme Outer Root");
    let issuing = outer.intermediate(params);
    for (stand, ca, more) in
        [(Stand::of("acme", &root), &root, vec![]), (Stand::of("acme", &outer), &issuing, vec![issuing.der()])]
    {
        let who = |name: &str| {
            let chain = [vec![ca.sign(&leaf_params(vec![dns(name)]))], more.clone()].concat();
            stand.who(&chain)
        };
        assert_eq!(who("press-3.plant.acme.example").unwrap(), "acme/press-3.plant.acme.example");
        for name in ["press-3.acme.example", "pc.office.plant.acme.example"] {
            assert_eq!(who(name).unwrap_err(), Reason::BAD_CERTIFICATE, "{name}");
        }
    }
}

#[test]
fn a_chain_that_two_organisations_accept_speaks_for_neither() {
    let (acme, globex) = (Ca::root("Acme Root"), Ca::root("Globex Root"));
    // Globex has an intermediate of Acme's among its anchors.
    let issuing = acme.intermediate(ca_params("Shared Issuing"));
    let mut stand = Stand::new();
    stand.add("acme", "acme", &[&acme], below("example"));
    stand.add("globex", "globex", &[&globex, &issuing], below("globex.example"));
    let stand = stand.loaded();
    let own = issuing.sign(&leaf_params(vec![dns("press-3.acme.example")]));
    assert_eq!(stand.who(&[own, issuing.der()]).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn one_authority_of_two_organisations_is_a_mistake_that_is_named() {
    let shared = Ca::root("Shared Root");
    let mut stand = Stand::new();
    stand.add("acme", "acme", &[&shared], below("acme.example"));
    stand.add("globex", "globex", &[&shared], below("globex.example"));
    let problems = stand.load();
    assert!(problems[0].what.contains("authority `acme`, of `acme`"), "{problems:?}");
    assert!(problems[0].file.ends_with("globex.pem"));
    let own = shared.sign(&leaf_params(vec![dns("press-3.acme.example")]));
    assert_eq!(stand.who(&[own]).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn who_takes_anothers_authority_into_its_own_file_locks_nobody_out() {
    let (acme, globex) = (Ca::root("Acme Root"), Ca::root("Globex Root"));
    let mut stand = Stand::new();
    stand.add("z-acme", "acme", &[&acme], below("acme.example"));
    stand.add("globex", "globex", &[&globex], below("globex.example"));
    let mut stand = stand.loaded();
    let ours = acme.sign(&leaf_params(vec![dns("press-3.acme.example")]));
    let theirs = globex.sign(&leaf_params(vec![dns("press-3.globex.example")]));
    // However often it is read.
    for _ in 0..2 {
        stand.write("globex.pem", globex.certificate.pem() + &acme.certificate.pem());
        let problems = stand.load();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].what.contains("in use for `acme`"), "{problems:?}");
        assert!(problems[0].file.ends_with("globex.pem"));
        assert_eq!(stand.who(std::slice::from_ref(&ours)).unwrap(), "acme/press-3.acme.example");
        assert_eq!(stand.who(std::slice::from_ref(&theirs)).unwrap(), "globex/press-3.globex.example");
    }
    // When its first owner has given it up, it is the other's.
    stand.write("z-acme.pem", Ca::root("New Acme Root").certificate.pem());
    assert_eq!(stand.load(), []);
    assert_eq!(stand.who(&[ours]).unwrap_err(), Reason::BAD_CERTIFICATE, "a name that is not theirs to give");
}

#[test]
fn two_authorities_of_one_organisation_are_told_apart_by_names() {
    let shared = Ca::root("Acme Root");
    let mut stand = Stand::new();
    stand.add("hosts", "acme", &[&shared], below("acme.example"));
    stand.add("workloads", "acme", &[&shared], spiffe("acme.example", ""));
    let stand = stand.loaded();
    let who = |names| stand.judge(&[shared.sign(&leaf_params(names))]).map(|c| c.reference.authority.to_string());
    assert_eq!(who(vec![dns("press-3.acme.example")]).unwrap(), "hosts");
    assert_eq!(who(vec![uri("spiffe://acme.example/press-3")]).unwrap(), "workloads");
    let both = vec![dns("press-3.acme.example"), uri("spiffe://acme.example/press-3")];
    assert_eq!(who(both).unwrap_err(), Reason::BAD_CERTIFICATE);
    assert_eq!(who(vec![]).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn a_revoked_certificate_is_refused_and_each_of_the_chain_must_be_covered() {
    let root = Ca::root("Acme Root");
    let issuing = root.intermediate(ca_params("Acme Issuing"));
    let chain = [issuing.sign(&leaf_params(vec![dns("press-3.acme.example")])), issuing.der()];
    let who = |lists: &[String]| Stand::of("acme", &root).with_lists("acme", lists).judge(&chain);
    let (above, own) = (root.list(20, 25, &[]), issuing.list(20, 24, &[]));
    assert_eq!(who(&[above.clone(), own.clone()]).unwrap().expires.to_rfc3339(), "2026-11-24T00:00:00.000Z");
    assert_eq!(who(&[above.clone() + &own]).unwrap().expires.to_rfc3339(), "2026-11-24T00:00:00.000Z");
    assert_eq!(
        who(std::slice::from_ref(&own)).unwrap_err(),
        Reason::BAD_CERTIFICATE,
        "the intermediate is not covered"
    );
    assert_eq!(who(std::slice::from_ref(&above)).unwrap_err(), Reason::BAD_CERTIFICATE, "the leaf is not covered");
    assert_eq!(who(&[above, issuing.list(20, 24, &[SERIAL])]).unwrap_err(), Reason::REVOKED);
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[1]).unwrap();
    assert_eq!(who(&[root.list(20, 25, &[parsed.raw_serial()]), own]).unwrap_err(), Reason::REVOKED);
}

#[test]
fn an_expired_revocation_list_refuses() {
    let root = Ca::root("Acme Root");
    let chain = [root.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let stand = Stand::of("acme", &root).with_lists("acme", &[root.list(20, 23, &[])]);
    assert!(stand.judge(&chain).is_ok());
    let midnight = Timestamp::parse_rfc3339("2026-11-23T00:00:00Z").unwrap();
    assert!(stand.judge_at(&chain, midnight.plus_millis(-1)).is_ok());
    assert_eq!(stand.judge_at(&chain, midnight).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn a_revocation_list_of_another_authority_covers_nothing() {
    let (root, other) = (Ca::root("Acme Root"), Ca::root("Globex Root"));
    let chain = [root.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let who = |list| Stand::of("acme", &root).with_lists("acme", &[list]).who(&chain);
    assert_eq!(who(other.list(20, 24, &[])).unwrap_err(), Reason::BAD_CERTIFICATE);
    // Of the right name, signed by another key.
    assert_eq!(who(Ca::root("Acme Root").list(20, 24, &[])).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn the_newer_of_two_issues_of_a_list_counts_whatever_their_order() {
    let root = Ca::root("Acme Root");
    let chain = [root.sign(&leaf_params(vec![dns("press-3.acme.example")]))];
    let (old, new) = (root.list(10, 28, &[]), root.list(20, 24, &[SERIAL]));
    for lists in [[old.clone(), new.clone()], [new, old]] {
        let stand = Stand::of("acme", &root).with_lists("acme", &lists);
        assert_eq!(stand.who(&chain).unwrap_err(), Reason::REVOKED);
    }
}

#[test]
fn an_authority_that_changes_its_key_under_one_name_has_a_list_by_each() {
    let (old, new) = (Ca::root("Acme Root"), Ca::root("Acme Root"));
    let mut stand = Stand::new();
    stand.add("acme", "acme", &[&old, &new], below("acme.example"));
    let stand = stand.with_lists("acme", &[old.list(20, 24, &[]), new.list(20, 24, &[&[7]])]);
    for ca in [&old, &new] {
        let mut params = leaf_params(vec![dns("press-3.acme.example")]);
        assert!(stand.judge(&[ca.sign(&params)]).is_ok());
        params.serial_number = Some(SerialNumber::from(vec![7]));
        let revoked = stand.judge(&[ca.sign(&params)]).is_err();
        assert_eq!(revoked, std::ptr::eq(ca, &new));
    }
}

#[test]
fn a_serial_number_in_the_registry_revokes_at_once_the_intermediates_too() {
    let root = Ca::root("Acme Root");
    let mut params = ca_params("Acme Issuing");
    params.serial_number = Some(SerialNumber::from(vec![0xff, 0x01]));
    let issuing = root.intermediate(params);
    let chain = vec![issuing.sign(&leaf_params(vec![dns("press-3.acme.example")])), issuing.der()];
    let peer = crate::PeerCertificate::new(chain).unwrap();
    let mut stand = Stand::of("acme", &root);
    for serial in ["a1b2c", "ff01"] {
        assert!(stand.authorities.judge(&peer, &stand.parties, NOW).is_ok());
        let reference = CertificateRef { authority: "acme".parse().unwrap(), serial: serial.parse().unwrap() };
        stand.parties.revocations.certificates.insert(reference);
        let refused = stand.authorities.admit(&peer, &stand.parties, NOW).unwrap_err();
        assert_eq!((refused.reason, refused.issuer.unwrap().as_str()), (Reason::REVOKED, "acme"), "{serial}");
        stand.parties.revocations.certificates.clear();
    }
    let member = ("acme".parse().unwrap(), "press-3.acme.example".parse().unwrap());
    stand.parties.revocations.principals.insert(member);
    assert_eq!(stand.authorities.judge(&peer, &stand.parties, NOW).unwrap_err().reason, Reason::REVOKED);
}

#[test]
fn a_negative_or_overlong_serial_number_is_refused() {
    let root = Ca::root("Acme Root");
    let stand = Stand::of("acme", &root);
    let mut params = leaf_params(vec![dns("press-3.acme.example")]);
    params.serial_number = Some(SerialNumber::from(vec![0x7f; 21]));
    assert_eq!(stand.who(&[root.sign(&params)]).unwrap_err(), Reason::BAD_CERTIFICATE);
}

#[test]
fn noise_is_refused_and_nothing_else() {
    let root = Ca::root("Acme Root");
    let stand = Stand::of("acme", &root);
    let own = root.sign(&leaf_params(vec![dns("press-3.acme.example")]));
    for n in 0..own.len() {
        let mut bytes = own.to_vec();
        bytes[n] ^= 1;
        assert!(stand.judge(&[bytes.into()]).is_err(), "octet {n}");
        assert!(stand.judge(&[own[..n].to_vec().into()]).is_err(), "length {n}");
    }
    assert!(stand.judge(&[[own.to_vec(), vec![0]].concat().into()]).is_err());
}

/// Two organisations with the same kinds of names, and a third that is not registered.
struct World {
    stand: Stand,
    roots: [Ca; 3],
    issuing: [Ca; 3],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let roots = ["Acme Root", "Globex Root", "Acme Root"].map(Ca::root);
    let issuing = [0, 1, 2].map(|n: usize| roots[n].intermediate(ca_params("Issuing")));
    let mut stand = Stand::new();
    for (n, organisation) in ["acme", "globex"].into_iter().enumerate() {
        let rule = if n == 0 { below("example") } else { spiffe("acme.example", "") };
        stand.add(organisation, organisation, &[&roots[n]], rule);
        let more = if n == 0 { spiffe("acme.example", "") } else { below("example") };
        stand.add(&format!("{organisation}-more"), organisation, &[&roots[n]], more);
    }
    World { stand: stand.loaded(), roots, issuing }
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_certificate_yields_a_principal_outside_its_authoritys_organisation(
        signer in 0_usize..3, by_root in any::<bool>(), spiffe_name in any::<bool>(), named in 0_usize..2,
        shown in proptest::collection::vec(0_usize..6, 0..3),
    ) {
        let world = &*WORLD;
        let company = ["acme", "globex"][named];
        let name = if spiffe_name { uri(&format!("spiffe://acme.example/{company}")) } else { dns(&format!("press.{company}.example")) };
        let ca = if by_root { &world.roots[signer] } else { &world.issuing[signer] };
        let mut chain = vec![ca.sign(&leaf_params(vec![name]))];
        chain.extend(shown.iter().map(|n| if *n < 3 { world.roots[*n].der() } else { world.issuing[*n - 3].der() }));
        let organisation = world.stand.judge(&chain).ok().map(|c| c.principal.organisation.to_string());
        let own = ["acme", "globex", "nobody"][signer];
        if let Some(organisation) = &organisation {
            prop_assert_eq!(organisation, own);
        }
        let reachable = signer < 2 && (by_root || chain.contains(&world.issuing[signer].der())) && chain.len() <= 3;
        prop_assert_eq!(organisation.is_some(), reachable);
    }
}
