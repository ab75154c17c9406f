//! Distinguished names as text (RFC 4514), in the one spelling that a certificate's subject is compared in.

const NAME_BYTES_MAX: usize = 1_024;

/// RFC 4514 section 3. Other types are numbers.
const TYPES: [&str; 9] = ["CN", "L", "ST", "O", "OU", "C", "STREET", "DC", "UID"];

/// Whether a certificate's subject can have this text. Any other would stand in the registry and never match: types in
/// capitals or as numbers, nothing around `,`, `+` and `=`, escaped what must be and nothing else.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && parts(text).all(is_attribute)
}

/// Between the `,` and `+` that are not escaped.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c: char| {
        let separates = !escaped && matches!(c, ',' | '+');
        escaped = !escaped && c == '\\';
        separates
    })
}

fn is_attribute(text: &str) -> bool {
    let Some((kind, value)) = text.split_once('=') else { return false };
    let digits = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    match value.strip_prefix('#') {
        Some(der) => {
            let is_number = kind.contains('.') && kind.split('.').all(digits);
            (is_number || TYPES.contains(&kind)) && is_hex(der)
        }
        None => TYPES.contains(&kind) && is_string(value.as_bytes()),
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.len().is_multiple_of(2) && text.bytes().all(is_hex_digit)
}

fn is_hex_digit(b: u8) -> bool {
    b.is_ascii_digit() || (b'A'..=b'F').contains(&b)
}

/// RFC 4514 section 2.4.
fn is_string(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(after) = character(rest, rest.len() == value.len()) {
        rest = after;
    }
    rest.is_empty() && !value.is_empty()
}

/// What follows the first character, if it is spelled as it must be.
fn character(text: &[u8], first: bool) -> Option<&[u8]> {
    match text {
        [b'\\', b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\', rest @ ..] => Some(rest),
        [b'\\', b'#', rest @ ..] if first => Some(rest),
        [b'\\', b' ', rest @ ..] if first || rest.is_empty() => Some(rest),
        [b'\\', high, low, rest @ ..] => is_unprintable(*high, *low).then_some(rest),
        [b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\', ..] => None,
        [b' ', rest @ ..] if first || rest.is_empty() => None,
        [b' '..=b'~', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Two hexadecimal digits of a byte that has no other spelling.
fn is_unprintable(high: u8, low: u8) -> bool {
    let digits = [high, low];
    let text = std::str::from_utf8(&digits).ok().filter(|_| digits.into_iter().all(is_hex_digit));
    text.and_then(|t| u8::from_str_radix(t, 16).ok()).is_some_and(|byte| !(b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_distinguished_name_has_one_spelling() {
        for good in [
            "CN=press-3,O=ACME Presses,C=AT",
            r"CN=a\,b+OU=1,1.2.3=#0403AB",
            r"CN=\ both\ ",
            r"CN=\ ",
            r"CN=\#1 #2",
            r"O=Gerh\C3\A4usebau = Co",
            "DC=acme,DC=example",
            r"CN=\\",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "press-3",
            "cn=press-3",
            "CN = press-3",
            "CN=press-3, O=ACME",
            "CN=press-3,",
            "CN=",
            "CN=#",
            "CN=#ab",
            "CN=#ABC",
            "=a",
            "CN=a;b",
            r#"CN="a""#,
            r"CN=a\",
            r"CN=a\ b",
            r"CN=\41",
            r"CN=Gerh\c3\a4use",
            "O=Gerhäusebau",
            "emailAddress=a@b",
            "2.5.4.5=12",
            "SERIALNUMBER=1",
            "O=ACME/CN=press-3,",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!is_name(&format!("CN={}", "a".repeat(1_024))));
    }
}
