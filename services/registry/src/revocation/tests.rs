use super::*;
use crate::load_registry;
use crate::testing::{GOOD, folder, messages};
use model::party::Status;

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
    assert_eq!(load_revocations(&dir.path().join("nowhere")), Revocations::default());
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

fn tokens_of(revoked: &Revocations) -> Vec<String> {
    revoked.tokens.iter().map(|(issuer, id)| format!("{issuer}/{id}")).collect()
}

#[test]
fn a_file_that_is_not_utf_8_revokes_nevertheless() {
    let text =
        "# Sp\u{e4}tschicht\r\n[revoked]\r\ntokens = [\"l/1\"]\r\nprincipals = [\"acme/anna\"] # J\u{fc}rgen\r\n";
    let latin_1: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let in_pairs = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
    };
    let (little, big) = (in_pairs(u16::to_le_bytes), in_pairs(u16::to_be_bytes));
    let continued = [little.as_slice(), b"[revoked]\r\ntokens = [\"l/1\"]\r\n"].concat();
    for (n, bytes) in [latin_1, little, big, continued].into_iter().enumerate() {
        let dir = folder(&[]);
        std::fs::write(dir.path().join("out.toml"), &bytes).unwrap();
        let revoked = load_revocations(dir.path());
        assert_eq!(tokens_of(&revoked), ["l/1"], "{n}");
        assert_eq!(revoked.principals.len(), 1, "{n}");
        let problems = load_registry(dir.path()).unwrap_err();
        assert!(messages(&problems, dir.path()).contains("is not UTF-8"), "{n}: the strict reader refuses");
    }
}

#[test]
fn a_second_table_or_a_second_list_adds_to_the_first() {
    for (text, expected) in [
        ("[revoked]\ntokens = [\"l/1\"]\n[revoked]\ntokens = [\"l/2\"]\n", &["l/1", "l/2"][..]),
        ("[revoked]\ntokens = [\"l/1\"]\ntokens = [\n  \"l/2\",\n  \"l/3\",\n]\n", &["l/1", "l/2", "l/3"]),
        ("[[revoked]]\ntokens = [\"l/1\"]\n[[revoked]]\ntokens = [\"l/2\"]\n", &["l/1", "l/2"]),
        ("[revoked\ntokens = [\"l/1\"]\n", &["l/1"]),
        ("revoked.tokens = [\"l/1\"]\nrevoked.tokens = [\"l/2\"]\n", &["l/1", "l/2"]),
        ("a = \"\"\"\n[revoked]\ntokens = [\"l/1\"]\n", &["l/1"]),
        ("[revoked]\n# tokens = [\"l/1\"]\ntokens = [\"l/2\"]\n= [", &["l/2"]),
        ("[revoked-not]\ntokens = [\"l/1\"]\n= [", &[]),
    ] {
        let dir = folder(&[("a.toml", text)]);
        assert_eq!(tokens_of(&load_revocations(dir.path())), expected, "{text}");
        assert!(load_registry(dir.path()).is_err(), "{text}");
    }
    let dir = folder(&[(
        "a.toml",
        "[organisation.acme]\nstatus = \"active\"\n[organisation.acme]\nstatus = \"suspended\"\n\
         [agreement.one]\nstatus = \"active\"\nstatus = \"suspended\"\n[agreement.two]\nstatus = \"active\"\n",
    )]);
    let revoked = load_revocations(dir.path());
    assert_eq!(revoked.organisations.iter().map(|o| o.as_str()).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(revoked.agreements.iter().map(|a| a.as_str()).collect::<Vec<_>>(), ["one"]);
}

const WELL_FORMED: &str = "[revoked]\norganisations = [\"audax\"]\nprincipals = [\n  \"bolt/ben\", # gone\n  \"bolt/eva\",\n]\n\
                           tokens = ['l/1']\ncertificates = [\"m/0A\"]\n";

/// Lines that somebody may have left around it, bytes that are no text among them.
fn garbage() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let hostile = prop::sample::select(vec![
        "[revoked]",
        "[revoked]\ntokens = [\"l/2\"]",
        "tokens = [",
        "principals = \"\"\"",
        "'''",
        "\"",
        "= [",
        "revoked = 7",
        "[[revoked]]",
        "[revoked.tokens]\na = 1",
        "[[",
        "{",
        "organisations = { a = [",
        "[organisation.acme]\nstatus = 1",
    ]);
    let line = prop_oneof![
        hostile.prop_map(|line| line.as_bytes().to_vec()),
        any::<String>().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(line, 0..6).prop_map(|lines| lines.join(&b'\n'))
}

proptest::proptest! {
    #[test]
    fn whatever_stands_around_a_revocation_it_counts(before in garbage(), after in garbage()) {
        // Between two of these it stands in a text, and the whole may be sound.
        proptest::prop_assume!(!after.windows(3).any(|three| three == b"\"\"\"" || three == b"'''"));
        let dir = folder(&[]);
        let bytes = [before.as_slice(), b"\n", WELL_FORMED.as_bytes(), &after].concat();
        std::fs::write(dir.path().join("out.toml"), bytes).unwrap();
        let revoked = load_revocations(dir.path());
        proptest::prop_assert!(revoked.organisations.iter().any(|o| o.as_str() == "audax"));
        for principal in ["bolt/ben", "bolt/eva"] {
            proptest::prop_assert!(revoked.principals.contains(&parse_principal(principal).unwrap()), "{}", principal);
        }
        proptest::prop_assert!(revoked.tokens.contains(&parse_token("l/1").unwrap()));
        proptest::prop_assert!(revoked.certificates.contains(&parse_certificate("m/0A").unwrap()));
    }

    /// What is revoked in any spelling is found under the one that a certificate's number has.
    #[test]
    fn no_spelling_of_a_serial_number_misses_its_certificate(
        number in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..=20),
        zeros in 0_usize..3,
        capitals: bool,
        colons: bool,
        marked: bool,
    ) {
        let bytes = [vec![0; zeros], number.clone()].concat();
        let digits: Vec<String> = bytes.iter().map(|b| if capitals { format!("{b:02X}") } else { format!("{b:02x}") }).collect();
        let text = format!("{}{}", if marked { "0x" } else { "" }, digits.join(if colons { ":" } else { "" }));
        let plain: String = number.iter().map(|b| format!("{b:02x}")).collect();
        let plain = plain.trim_start_matches('0');
        let expected = SerialNumber::new(if plain.is_empty() { "0" } else { plain }).unwrap();
        proptest::prop_assert_eq!(parse_serial(&text), Some(expected));
    }
}
