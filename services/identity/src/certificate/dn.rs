//! A distinguished name as text, by RFC 4514: one text for one name, in ASCII, so that no two names look alike.
//!
//! The last relative name first. Types that section 3 lists have their short names and others are numbers. Values of the
//! string types that are ASCII or UTF-8 are text, in which everything that is special or not printable ASCII is escaped;
//! any other value, and each value of a type that is a number, is the `#` of its DER. This is what
//! `openssl x509 -noout -subject -nameopt RFC2253` prints for these.

use std::fmt::Write as _;
use x509_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// As the registry accepts it.
const TEXT_BYTES_MAX: usize = 1_024;

/// RFC 4514 section 3.
const TYPES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// `None` for a name that is empty, too long or holds what is not what its tag says.
pub(super) fn text(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    let relative: Vec<_> = name.iter_rdn().collect();
    for (n, rdn) in relative.iter().rev().enumerate() {
        let attributes: Vec<_> = rdn.iter().collect();
        for (m, attribute) in attributes.iter().rev().enumerate() {
            match (n, m) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            write(attribute, &mut text)?;
        }
        if attributes.is_empty() || text.len() > TEXT_BYTES_MAX {
            return None;
        }
    }
    (!text.is_empty()).then_some(text)
}

fn write(attribute: &AttributeTypeAndValue<'_>, out: &mut String) -> Option<()> {
    let number = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    match TYPES.iter().find(|(id, _)| *id == number) {
        Some((_, short)) => {
            out.push_str(short);
            out.push('=');
            match string(value)? {
                Some(string) => escape(string, out),
                None => der(value, out),
            }
        }
        None => {
            out.push_str(&number);
            out.push('=');
            der(value, out)
        }
    }
}

/// The text of a value whose type has one reading. Others (T.61, UCS-2, UCS-4) are `Some(None)`: their DER names them.
fn string<'v>(value: &'v Any<'_>) -> Option<Option<&'v str>> {
    if value.header.is_constructed() || value.class() != Class::Universal {
        return None;
    }
    let text = std::str::from_utf8(value.data);
    match value.tag() {
        Tag::Utf8String => text.ok().map(Some),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString => text.ok().filter(|t| t.is_ascii()).map(Some),
        _ => Some(None),
    }
}

/// RFC 4514 section 2.4.
fn escape(value: &str, out: &mut String) -> Option<()> {
    // An empty value is `TYPE=`, which the registry does not take.
    let last = value.len().checked_sub(1)?;
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b'#' if at == 0 => out.push_str("\\#"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => write!(out, "\\{byte:02X}").ok()?,
        }
    }
    Some(())
}

/// `#` and the value's DER in hexadecimal.
fn der(value: &Any<'_>, out: &mut String) -> Option<()> {
    use x509_parser::asn1_rs::ToDer as _;
    let der = value.to_der_vec().ok()?;
    out.push('#');
    der.iter().try_for_each(|byte| write!(out, "{byte:02X}")).ok()
}
