//! Names that must not become a principal, and distinguished names beside OpenSSL's.

use super::pki::{Ca, Stand, below, dns, leaf_params, spiffe, uri};
use crate::certificate::{dn, leaf};
use model::Reason;
use model::party::CertificateNames;
use proptest::prelude::{ProptestConfig, proptest};
use rcgen::string::{BmpString, PrintableString, TeletexString};
use rcgen::{DistinguishedName, DnType, DnValue, SanType};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn under(names: CertificateNames) -> (Ca, Stand) {
    let ca = Ca::root("Acme Root");
    let mut stand = Stand::new();
    stand.add("acme", "acme", &[&ca], names);
    let stand = stand.loaded();
    (ca, stand)
}

#[test]
fn a_spiffe_id_of_the_trust_domain_is_the_subject_and_no_other_is() {
    let (ca, stand) = under(spiffe("acme.example", "plant/"));
    let who = |names| stand.who(&[ca.sign(&leaf_params(names))]);
    assert_eq!(who(vec![uri("spiffe://acme.example/plant/press-3")]).unwrap(), "acme/plant/press-3");
    let beside = vec![dns("press-3.acme.example"), uri("spiffe://acme.example/plant/press-3")];
    assert_eq!(who(beside).unwrap(), "acme/plant/press-3");
    for bad in [
        vec![],
        vec![dns("press-3.acme.example")],
        vec![uri("spiffe://globex.example/plant/press-3")],
        vec![uri("spiffe://acme.example/office/press-3")],
        vec![uri("spiffe://acme.example/plant")],
        vec![uri("spiffe://acme.example/plant/press-3"), uri("spiffe://acme.example/plant/press-4")],
        vec![uri("spiffe://acme.example/plant/press-3"), uri("spiffe://acme.example/plant/press-3")],
        vec![uri("spiffe://acme.example/plant/press-3"), uri("https://acme.example/")],
    ] {
        assert_eq!(who(bad.clone()).unwrap_err(), Reason::BAD_CERTIFICATE, "{bad:?}");
    }
}

#[test]
fn a_host_name_below_the_domain_is_the_subject_and_a_wildcard_is_not() {
    let (ca, stand) = under(below("machines.acme.example"));
    let who = |names| stand.who(&[ca.sign(&leaf_params(names))]);
    assert_eq!(who(vec![dns("press-3.machines.acme.example")]).unwrap(), "acme/press-3.machines.acme.example");
    for bad in [
        vec![],
        vec![dns("*.machines.acme.example")],
        vec![dns("Press-3.machines.acme.example")],
        vec![dns("press-3.machines.acme.example.")],
        vec![dns("press-3.machines.globex.example")],
        vec![dns("press-3.evilmachines.acme.example")],
        vec![dns("press-3.machines.acme.example"), dns("press-4.machines.acme.example")],
        vec![dns("press-3.machines.acme.example"), dns("elsewhere.example")],
        vec![uri("spiffe://machines.acme.example/press-3")],
        vec![SanType::Rfc822Name("press-3@machines.acme.example".try_into().unwrap())],
    ] {
        assert_eq!(who(bad.clone()).unwrap_err(), Reason::BAD_CERTIFICATE, "{bad:?}");
    }
}

fn named(attributes: &[(DnType, DnValue)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    attributes.iter().for_each(|(kind, value)| name.push(kind.clone(), value.clone()));
    name
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_owned())
}

fn registered(texts: &[&str]) -> CertificateNames {
    let subject = |(n, text): (usize, &&str)| ((*text).to_owned(), format!("press-{n}").parse().unwrap());
    CertificateNames::Subjects(texts.iter().enumerate().map(subject).collect::<BTreeMap<_, _>>())
}

#[test]
fn look_alikes_of_a_registered_subject_are_other_names() {
    let (ca, stand) = under(registered(&["CN=press-3,O=ACME"]));
    let who = |name| {
        let mut params = leaf_params(vec![]);
        params.distinguished_name = name;
        stand.who(&[ca.sign(&params)])
    };
    let acme = |cn: DnValue| named(&[(DnType::OrganizationName, utf8("ACME")), (DnType::CommonName, cn)]);
    assert_eq!(who(acme(utf8("press-3"))).unwrap(), "acme/press-0");
    let printable = PrintableString::try_from("press-3").unwrap();
    assert_eq!(who(acme(DnValue::PrintableString(printable))).unwrap(), "acme/press-0");
    for look_alike in [
        // Cyrillic er, es, ie; fullwidth; zero width; a hyphen that is none; combining; case; spaces; NUL
        "\u{440}ress-3",
        "pres\u{455}-3",
        "pr\u{435}ss-3",
        "\u{ff50}ress-3",
        "press\u{200b}-3",
        "press\u{2010}3",
        "pre\u{301}ss-3",
        "press-3\u{202e}",
        "Press-3",
        " press-3",
        "press-3 ",
        "press-3\0",
        "press-3,O=ACME",
        "press-3+O=ACME",
        "\"press-3\"",
    ] {
        assert_eq!(who(acme(utf8(look_alike))).unwrap_err(), Reason::BAD_CERTIFICATE, "{look_alike:?}");
    }
    let wide = DnValue::BmpString(BmpString::try_from("press-3").unwrap());
    let teletex = DnValue::TeletexString(TeletexString::try_from("press-3").unwrap());
    for other in [wide, teletex] {
        assert_eq!(who(acme(other.clone())).unwrap_err(), Reason::BAD_CERTIFICATE, "{other:?}");
    }
    // Another order, one less, one more, none.
    let (o, cn) = ((DnType::OrganizationName, utf8("ACME")), (DnType::CommonName, utf8("press-3")));
    let l = (DnType::LocalityName, utf8("Munich"));
    for name in [vec![cn.clone(), o.clone()], vec![cn.clone()], vec![l, o, cn], vec![]] {
        assert_eq!(who(named(&name)).unwrap_err(), Reason::BAD_CERTIFICATE, "{name:?}");
    }
}

#[test]
fn a_subject_with_escapes_can_be_registered() {
    let (ca, stand) = under(registered(&[r"CN=press\2C 3,O=x", r"CN=press\, 3,O=M\C3\BCller \+ Co"]));
    let mut params = leaf_params(vec![]);
    params.distinguished_name =
        named(&[(DnType::OrganizationName, utf8("Müller + Co")), (DnType::CommonName, utf8("press, 3"))]);
    assert_eq!(stand.who(&[ca.sign(&params)]).unwrap(), "acme/press-1");
}

fn ours(der: &rustls::pki_types::CertificateDer<'_>) -> Option<String> {
    dn::text(leaf::parse(der).unwrap().subject())
}

fn openssl(der: &[u8]) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(der).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.strip_prefix("subject=").unwrap().trim_end_matches('\n').to_owned()
}

#[test]
fn a_value_that_is_a_hash_sign_is_not_read_as_der() {
    let mut params = leaf_params(vec![]);
    params.distinguished_name = named(&[(DnType::OrganizationName, utf8("#")), (DnType::CommonName, utf8("#1"))]);
    assert_eq!(ours(&Ca::root("Acme Root").sign(&params)).unwrap(), r"CN=\#1,O=\#");
    let (ca, stand) = under(registered(&[r"CN=\#1,O=\#"]));
    assert_eq!(stand.who(&[ca.sign(&params)]).unwrap(), "acme/press-0");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_text_of_a_name_is_openssls(
        o in "[ -~äöüé\u{440}\u{0}\n]{1,12}", cn in "[ -~\\\\,+\"<>;#= ]{1,12}", c in "[A-Z]{2}", custom in "[ -~]{1,6}",
    ) {
        let ca = Ca::root("Acme Root");
        let mut params = leaf_params(vec![]);
        params.distinguished_name = named(&[
            (DnType::CountryName, utf8(&c)),
            (DnType::OrganizationName, utf8(&o)),
            (DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99_999, 1]), utf8(&custom)),
            (DnType::CommonName, utf8(&cn)),
        ]);
        let der = ca.sign(&params);
        // A value that is nothing but `#`: OpenSSL forgets the backslash that section 2.4 wants, without which it is DER of
        // no bytes.
        let rfc = |text: String| text.replace("=#,", "=\\#,");
        proptest::prop_assert_eq!(ours(&der).unwrap(), rfc(openssl(&der)));
        proptest::prop_assert!(ours(&der).unwrap().is_ascii());
    }
}

#[test]
fn several_values_in_one_relative_name_are_joined_as_openssl_does() {
    let folder = tempfile::tempdir().unwrap();
    let (key, pem) = (folder.path().join("k.pem"), folder.path().join("c.pem"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]);
    command.args(["-multivalue-rdn", "-subj", "/DC=example/O=ACME/CN=press-3+UID=7+OU=line 2", "-keyout"]);
    let output = command.arg(&key).arg("-out").arg(&pem).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    use rustls::pki_types::pem::PemObject as _;
    let der = rustls::pki_types::CertificateDer::from_pem_file(&pem).unwrap();
    let text = ours(&der).unwrap();
    assert_eq!(text, openssl(&der));
    assert!(text.contains("+UID=7") || text.contains("UID=7+"), "{text}");
}
