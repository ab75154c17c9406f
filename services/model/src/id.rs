//! Identifiers. Parsed once at the edge, then carried as types.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Text that is not an identifier, with the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct InvalidId {
    pub what: &'static str,
    pub text: String,
    pub rule: &'static str,
}

/// Names longer than this do not fit a table column and are a mistake in practice.
const NAME_BYTES_MAX: usize = 64;
/// RFC 7519 sets no bound on `sub`; OpenID Connect says 255 ASCII characters.
const SUBJECT_BYTES_MAX: usize = 255;
const NAME_RULE: &str = "use 1 to 64 of a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit, without `..`";
const SUBJECT_RULE: &str = "use 1 to 255 printable ASCII characters without spaces, quotes or backslashes";

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else { return false };
    bytes.len() <= NAME_BYTES_MAX
        && (first.is_ascii_lowercase() || first.is_ascii_digit())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
        && !bytes.windows(2).any(|two| two == b"..")
}

/// ASCII only: two subjects that look alike must be alike (no homoglyphs, no normalisation forms).
fn is_subject(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= SUBJECT_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'`'))
}

/// RFC 5280 section 4.1.2.2: at most 20 octets. One spelling, so that a list of revoked numbers cannot miss one.
fn is_serial(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && (text == "0" || !text.starts_with('0'))
}
const SERIAL_RULE: &str = "use 1 to 40 hexadecimal digits, lower case, without leading zeros";

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $rule:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, text: text.chars().take(80).collect(), rule: $rule })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text_id! {
    /// A company: owner, supplier, customer, service provider, auditor.
    OrganisationId, "organisation", is_name, NAME_RULE;
    /// Whose tokens or certificates speak for an organisation; the name in the registry, not the URL. Issuers of tokens
    /// and certificate authorities share one set of names.
    IssuerId, "issuer", is_name, NAME_RULE;
    /// What an issuer calls a person or machine (`sub`). Unique within one organisation only.
    Subject, "subject", is_subject, SUBJECT_RULE;
    /// The number of a certificate, unique within its authority.
    SerialNumber, "certificate serial number", is_serial, SERIAL_RULE;
    RoleId, "role", is_name, NAME_RULE;
    AgreementId, "agreement", is_name, NAME_RULE;
    PurposeId, "purpose", is_name, NAME_RULE;
    SourceId, "source", is_name, NAME_RULE;
    ProductId, "data product", is_name, NAME_RULE;
    DatasetId, "dataset", is_name, NAME_RULE;
    SignalId, "signal", is_name, NAME_RULE;
    EquipmentId, "equipment", is_name, NAME_RULE;
    FieldClassId, "field class", is_name, NAME_RULE;
    ExportClassId, "export class", is_name, NAME_RULE;
    RouteId, "route", is_name, NAME_RULE;
}

/// UUID version 7 (RFC 9562): sorts by time, names one request in answers, logs, traces and the audit log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(uuid::Uuid);

impl RequestId {
    /// `random` must be fresh for each request.
    pub fn new(now: crate::Timestamp, random: [u8; 10]) -> Self {
        let ms = u64::try_from(now.millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
    }

    pub fn parse(text: &str) -> Option<Self> {
        // One spelling only: hyphenated, lower case.
        let id = uuid::Uuid::try_parse(text).ok()?;
        (id.hyphenated().to_string() == text).then_some(Self(id))
    }

    /// When it was made, to the millisecond; `None` for an id that says nothing of it.
    pub fn time(&self) -> Option<crate::Timestamp> {
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        let ms = seconds.checked_mul(1_000)?.checked_add(u64::from(nanoseconds / 1_000_000))?;
        i64::try_from(ms).ok().map(crate::Timestamp)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["acme", "press-3.force_x", "0", "a.b"] {
            assert!(OrganisationId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Acme", "-a", ".a", "a..b", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(OrganisationId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subjects_have_one_spelling() {
        assert!(Subject::new("system:serviceaccount:mes:reader").is_ok());
        assert!(Subject::new("anna@acme.example").is_ok());
        // Cyrillic а, full-width letters, spaces and quotes.
        for bad in ["\u{430}nna", "ａnna", "an na", "an\"na", "anna\n", ""] {
            assert!(Subject::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_serial_number_has_one_spelling() {
        for good in ["0", "1", "a0ff", &"f".repeat(40)] {
            assert!(SerialNumber::new(good).is_ok(), "{good}");
        }
        for bad in ["", "00", "0a", "A", "0x1", "1:2", "g", &"f".repeat(41)] {
            assert!(SerialNumber::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn request_ids_sort_by_time_and_have_one_spelling() {
        let a = RequestId::new(crate::Timestamp(1_000), [0xff; 10]);
        let b = RequestId::new(crate::Timestamp(2_000), [0; 10]);
        assert!(a < b);
        assert_eq!(RequestId::parse(&a.to_string()), Some(a));
        assert_eq!(RequestId::parse(&a.to_string().to_uppercase()), None);
    }
}
