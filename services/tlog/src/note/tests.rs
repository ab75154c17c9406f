use super::*;
use proptest::prelude::*;

/// Key, text and signature of the documentation of `golang.org/x/mod/sumdb/note`.
const GO_SIGNING: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_LINE: &str =
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/// The example of the C2SP signed-note specification.
const C2SP_VERIFIER: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const C2SP_NOTE: &str = "This is an example message.\n\n— example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::generate(name, [seed; 32]).unwrap()
}

#[test]
fn published_keys_and_notes_are_reproduced() {
    let signing = SigningKey::parse(GO_SIGNING).unwrap();
    assert_eq!(signing.to_text(), GO_SIGNING);
    assert_eq!(signing.verifier().to_text(), GO_VERIFIER);
    assert_eq!(signing.verifier().key_id(), 0xc74f_20a3);
    let note = sign(GO_TEXT, &[&signing]).unwrap();
    assert_eq!(note, format!("{GO_TEXT}\n{GO_LINE}"));
    let known = [VerifierKey::parse(GO_VERIFIER).unwrap()];
    assert_eq!(verify(&note, &known).unwrap().text, GO_TEXT);

    let known = [VerifierKey::parse(C2SP_VERIFIER).unwrap()];
    assert_eq!(known[0].to_text(), C2SP_VERIFIER);
    assert_eq!(verify(C2SP_NOTE, &known).unwrap().text, "This is an example message.\n");
}

#[test]
fn the_secret_is_not_in_debug_output() {
    let shown = format!("{:?}", key("log", 7));
    assert!(shown.contains("log") && !shown.contains("7, 7"), "{shown}");
}

/// Holds one key and signs with another, or over something else, or not at all.
#[derive(Debug)]
struct Liar {
    shown: SigningKey,
    used: SigningKey,
    instead: Option<&'static str>,
    silent: bool,
}

impl Signer for Liar {
    fn verifier(&self) -> &VerifierKey {
        self.shown.verifier()
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SigningError> {
        if self.silent {
            return Err(SigningError(String::from("the device is away")));
        }
        self.used.sign(self.instead.map_or(text, str::as_bytes))
    }
}

#[test]
fn what_a_signer_answers_is_verified_before_it_is_used() {
    let liar = |used, instead, silent| Liar { shown: key("log", 1), used: key("log", used), instead, silent };
    let honest = liar(1, None, false);
    let known = [honest.verifier().clone()];
    assert!(verify(&sign("text\n", &[&honest]).unwrap(), &known).is_ok());
    assert_eq!(sign("text\n", &[&honest]), sign("text\n", &[&key("log", 1)]));
    for (liar, why) in [
        (liar(2, None, false), "what it answered does not verify with this public key"),
        (liar(1, Some("another text\n"), false), "what it answered does not verify with this public key"),
        (liar(1, None, true), "the device is away"),
    ] {
        let refused = NoteError::NotSigned { key: liar.verifier().to_text(), why: SigningError(why.into()) };
        assert_eq!(sign("text\n", &[&liar]), Err(refused.clone()));
        // No note with some of the signatures.
        let both: [&dyn Signer; 2] = [&honest, &liar];
        assert_eq!(sign("text\n", &both), Err(refused.clone()));
        let entries = || vec![crate::receipt::Promised { leaf: crate::leaf_hash(b"entry"), request: None }];
        let promised = crate::receipt::Signed::by(&liar, 3, entries(), 0, 1).map(|_| ());
        assert_eq!(promised, Err(refused));
        assert!(crate::receipt::Signed::by(&honest, 3, entries(), 0, 1).is_ok());
    }
}

#[test]
fn malformed_keys_are_refused_with_the_reason() {
    let parse = |text: &str| VerifierKey::parse(text).map(|_| ()).unwrap_err();
    assert_eq!(parse(""), KeyError::VerifierForm);
    assert_eq!(parse("a+b"), KeyError::VerifierForm);
    assert_eq!(parse(&GO_VERIFIER.replace("c74f20a3", "C74F20A3")), KeyError::VerifierForm);
    assert_eq!(parse(&GO_VERIFIER.replace("c74f20a3", "+74f20a3")), KeyError::VerifierForm);
    assert_eq!(parse(&GO_VERIFIER.replace("c74f20a3", "c74f20a4")), KeyError::Hash);
    assert_eq!(parse(&GO_VERIFIER.replace("PeterNeumann", "Peter")), KeyError::Hash);
    assert_eq!(parse(&GO_VERIFIER.replace("PeterNeumann", "Peter N")), KeyError::Name);
    assert_eq!(parse(&GO_VERIFIER.replace("PeterNeumann", "")), KeyError::Name);
    assert_eq!(parse(&GO_VERIFIER.replace("ARpc", "BRpc")), KeyError::Type);
    assert_eq!(parse(&format!("{GO_VERIFIER}AAAA")), KeyError::Type);
    assert_eq!(parse(&format!("{GO_VERIFIER}\n")), KeyError::VerifierForm);
    assert_eq!(SigningKey::parse(GO_VERIFIER).unwrap_err(), KeyError::SigningForm);
    assert_eq!(SigningKey::parse(&GO_SIGNING.replace("c74f20a3", "c74f20a4")).unwrap_err(), KeyError::Hash);
    assert_eq!(SigningKey::generate("a+b", [0; 32]).unwrap_err(), KeyError::Name);
    assert_eq!(SigningKey::generate("a\nb", [0; 32]).unwrap_err(), KeyError::Name);
}

/// The neutral element as a public key verifies forged signatures under lax rules.
#[test]
fn keys_of_small_order_are_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let text = key_text(ED25519, "log", key_id(ED25519, "log", &neutral), &neutral);
    assert_eq!(VerifierKey::parse(&text).unwrap_err(), KeyError::Point);
    assert_eq!(VerifierKey::from_bytes("log", &neutral).unwrap_err(), KeyError::Point);
    let good = VerifierKey::parse(GO_VERIFIER).unwrap();
    assert_eq!(VerifierKey::from_bytes("PeterNeumann", good.as_bytes()), Ok(good.clone()));
    assert_eq!(VerifierKey::from_bytes("Peter Neumann", good.as_bytes()).unwrap_err(), KeyError::Name);
}

#[test]
fn unknown_signatures_are_ignored_and_failing_known_ones_are_not() {
    let (ours, other, namesake) = (key("log", 1), key("witness", 2), key("log", 3));
    let known = [ours.verifier().clone()];
    let note = sign("text\n", &[&other, &ours, &namesake]).unwrap();
    assert_eq!(verify(&note, &known).unwrap().keys, [ours.verifier()]);
    let theirs = sign("text\n", &[&other, &namesake]).unwrap();
    assert_eq!(verify(&theirs, &known), Err(NoteError::NoKnownSignature));

    let both = [ours.verifier().clone(), other.verifier().clone()];
    assert_eq!(verify(&note, &both).unwrap().keys, [other.verifier(), ours.verifier()]);
    // A second, bad signature of a known key spoils the good one.
    let stolen = sign("another\n", &[&other]).unwrap();
    let spoilt = format!("{}{}", sign("text\n", &[&ours]).unwrap(), stolen.split_once("\n\n").unwrap().1);
    assert!(verify(&spoilt, &known).is_ok());
    assert_eq!(verify(&spoilt, &both), Err(NoteError::BadSignature("witness".into())));
}

#[test]
fn the_last_empty_line_separates_text_and_signatures() {
    let ours = key("log", 1);
    let known = [ours.verifier().clone()];
    let inner = sign("inner\n", &[&ours]).unwrap();
    let outer = sign(&inner, &[&ours]).unwrap();
    assert_eq!(verify(&outer, &known).unwrap().text, inner);
    assert_eq!(Note::parse(&inner).unwrap().signatures.len(), 1);
}

#[test]
fn malformed_notes_are_refused() {
    let ours = key("log", 1);
    let good = sign("text\n", &[&ours]).unwrap();
    let line = good.split_once("\n\n").unwrap().1;
    for (bad, error) in [
        (String::new(), NoteError::Form),
        ("text\n".into(), NoteError::Form),
        ("text\n\n".into(), NoteError::Form),
        (good.trim_end().to_owned(), NoteError::Form),
        (format!("{good}\n"), NoteError::Form),
        (good.replace("\n\n", "\n"), NoteError::Form),
        (good.replace("text", "te\rxt"), NoteError::Control),
        (good.replace("text", "te\0xt"), NoteError::Control),
        (good.replace('\u{2014}', "-"), NoteError::SignatureForm(1)),
        (good.replace(" log ", " "), NoteError::SignatureForm(1)),
        (good.replace(" log ", " l+g "), NoteError::SignatureForm(1)),
        (format!("{good}{MARK}log AAAA\n"), NoteError::SignatureForm(2)),
        (format!("text\n\n{}", line.repeat(101)), NoteError::TooManySignatures),
    ] {
        assert_eq!(Note::parse(&bad).unwrap_err(), error, "{bad:?}");
    }
    assert_eq!(Note::parse(&format!("text\n\n{}", line.repeat(100))).unwrap().signatures.len(), 100);
    assert_eq!(sign("text", &[&ours]), Err(NoteError::Form));
    assert_eq!(sign::<SigningKey>("text\n", &[]), Err(NoteError::Form));
    assert_eq!(sign("te\txt\n", &[&ours]), Err(NoteError::Control));
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_nothing_else(text in "[^\u{0}-\u{1f}]{0,40}(\n[^\u{0}-\u{1f}]{0,10}){0,3}\n", at: usize) {
        let ours = key("log", 1);
        let known = [ours.verifier().clone()];
        let note = sign(&text, &[&ours]).unwrap();
        prop_assert_eq!(verify(&note, &known).unwrap().text, text.as_str());
        let mut changed = note.into_bytes();
        let at = at % changed.len();
        changed[at] ^= 1;
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(verify(&changed, &known).is_err());
        }
    }

    #[test]
    fn no_text_breaks_the_parsers(text in "(— |\n|\n\n|[a-z+ =]|\\PC){0,60}") {
        let _ = Note::parse(&text);
        let _ = VerifierKey::parse(&text);
        let _ = SigningKey::parse(&format!("PRIVATE+KEY+{text}"));
    }
}
