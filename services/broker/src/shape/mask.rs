//! How a value is hidden that may not be shown as it is.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::canonical;
use model::plant::Mask;
use std::fmt::Write as _;
use std::sync::Arc;

/// What happens to a field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    Show,
    /// Nothing of it is written, its name neither.
    Drop,
    Mask(Mask),
}

/// What stands for a value that is not there to be seen.
pub const REDACTED: &str = "[redacted]";
/// Of a pseudonym: 128 bits, so that two values never share one.
const PSEUDONYM_BYTES: usize = 16;
/// The key of one agreement's pseudonyms: stable under it, and without a way to those of another.
#[derive(Clone)]
pub struct PseudonymKey(Option<Arc<hmac::Key>>);

impl std::fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PseudonymKey")
    }
}

impl PseudonymKey {
    /// `scope` names whose they are; `secret` is the plant's and leaves it never.
    pub fn new(secret: &[u8; 32], scope: &str) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&master, format!("millgate pseudonyms 1\n{scope}").as_bytes());
        Self(Some(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))))
    }

    /// For views without pseudonyms.
    pub fn none() -> Self {
        Self(None)
    }

    /// `kind` keeps `5` and `"5"` apart.
    fn pseudonym(&self, kind: u8, value: &[u8]) -> String {
        let Some(key) = &self.0 else { return REDACTED.to_owned() };
        let mut context = hmac::Context::with_key(key);
        context.update(&[kind]);
        context.update(value);
        let tag = context.sign();
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..PSEUDONYM_BYTES).unwrap_or_default())
    }
}

/// A value that is no object and no array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    /// As it was written.
    Number(&'a str),
    Bool(bool),
    Null,
}

/// What is shown in place of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Masked {
    Null,
    Text(String),
    Number(String),
}

pub(super) fn masked(mask: &Mask, value: Scalar<'_>, key: &PseudonymKey) -> Masked {
    match (mask, value) {
        (Mask::Redact, _) => Masked::Text(REDACTED.to_owned()),
        (Mask::Pseudonym, Scalar::Text(text)) => Masked::Text(key.pseudonym(b't', text.as_bytes())),
        (Mask::Pseudonym, Scalar::Number(number)) => Masked::Text(key.pseudonym(b'n', number.as_bytes())),
        (Mask::Partial { last }, Scalar::Text(text)) => Masked::Text(partial(text, *last)),
        (Mask::Round { to }, Scalar::Number(number)) => {
            let nearest = to.count(number).and_then(|(_, nearest)| to.times(nearest));
            nearest.map_or(Masked::Null, Masked::Number)
        }
        (Mask::Bucket { width }, Scalar::Number(number)) => {
            let range = width.count(number).and_then(|(below, _)| {
                Some(format!("{}..{}", width.times(below)?, width.times(below.checked_add(1)?)?))
            });
            range.map_or(Masked::Null, Masked::Text)
        }
        _ => Masked::Null,
    }
}

/// Writes what is shown in place of `value`, as JSON.
pub(super) fn write(mask: &Mask, value: Scalar<'_>, key: &PseudonymKey, out: &mut Vec<u8>) {
    match masked(mask, value, key) {
        Masked::Null => out.extend_from_slice(b"null"),
        Masked::Text(text) => canonical::encode_text(&text, out),
        Masked::Number(number) => out.extend_from_slice(number.as_bytes()),
    }
}

/// The last characters, and never more than half: what is short would be told by them. How long it was is not told.
fn partial(text: &str, last: u32) -> String {
    let length = text.chars().count();
    let kept = usize::try_from(last).unwrap_or(usize::MAX).min(length / 2);
    let mut masked = String::from("***");
    let _ = write!(masked, "{}", text.chars().skip(length - kept).collect::<String>());
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::plant::Step;

    fn masked(mask: &Mask, value: Scalar<'_>) -> String {
        let mut out = Vec::new();
        write(mask, value, &PseudonymKey::new(&[7; 32], "acme-2026"), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_mask_on_every_kind_of_value() {
        let step = |text| Step::parse(text).unwrap();
        let masks = [
            ("redact", Mask::Redact),
            ("null", Mask::Null),
            ("partial 4", Mask::Partial { last: 4 }),
            ("round 100", Mask::Round { to: step("100") }),
            ("round 0.5", Mask::Round { to: step("0.5") }),
            ("bucket 50", Mask::Bucket { width: step("50") }),
        ];
        let values = [
            Scalar::Text("BOLT-20614-007"),
            Scalar::Text("ab\""),
            Scalar::Number("173.26"),
            Scalar::Number("-3"),
            Scalar::Number("1e400"),
            Scalar::Number("9007199254740993"),
            Scalar::Bool(true),
            Scalar::Null,
        ];
        let mut table = String::new();
        for (name, mask) in masks {
            for value in values {
                let _ = writeln!(table, "{name:<10} {value:?} => {}", masked(&mask, value));
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn pseudonyms_are_stable_under_one_agreement_and_say_nothing_under_another() {
        let ours = PseudonymKey::new(&[7; 32], "acme-2026");
        let pseudonym = |key: &PseudonymKey, value| {
            let mut out = Vec::new();
            write(&Mask::Pseudonym, value, key, &mut out);
            String::from_utf8(out).unwrap()
        };
        let anna = pseudonym(&ours, Scalar::Text("anna"));
        assert_eq!(anna, pseudonym(&PseudonymKey::new(&[7; 32], "acme-2026"), Scalar::Text("anna")));
        for other in [
            pseudonym(&ours, Scalar::Text("Anna")),
            pseudonym(&PseudonymKey::new(&[7; 32], "bolt-2026"), Scalar::Text("anna")),
            pseudonym(&PseudonymKey::new(&[8; 32], "acme-2026"), Scalar::Text("anna")),
        ] {
            assert_ne!(anna, other);
        }
        assert_ne!(pseudonym(&ours, Scalar::Text("5")), pseudonym(&ours, Scalar::Number("5")));
        assert_eq!(pseudonym(&ours, Scalar::Bool(true)), "null", "of two values, each would be told by its frequency");
    }
}
