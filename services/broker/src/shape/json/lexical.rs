//! The smallest parts of JSON: runs of plain text, numbers, white space, and the encoding of all of it.

/// How many bytes of a text come before the first that is not plain.
pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
    // Eight at a time: most of an answer is text.
    let (eights, rest) = bytes.as_chunks::<8>();
    let first = eights.iter().position(|eight| has_special(u64::from_le_bytes(*eight)));
    let (begin, among) = match first.and_then(|n| Some((n, eights.get(n)?))) {
        Some((n, eight)) => (n * 8, eight.as_slice()),
        None => (eights.len() * 8, rest),
    };
    begin + among.iter().position(|b| is_special(*b)).unwrap_or(among.len())
}

/// Whether one of eight bytes is special, and perhaps where none is: the test for a byte below a bound borrows from its
/// neighbour.
fn has_special(eight: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let is_zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
    let is_control = eight.wrapping_sub(ONES * 0x20) & !eight & HIGH;
    is_control | is_zero(eight ^ (ONES * u64::from(b'"'))) | is_zero(eight ^ (ONES * u64::from(b'\\'))) != 0
}

/// Ends a run of plain bytes in a text.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// RFC 8259 section 6.
pub(super) fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> (usize, &[u8]) {
        let count = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
        (count, text.get(count..).unwrap_or_default())
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, mut rest) = digits(text);
    if whole == 0 || (whole > 1 && text.starts_with(b"0")) {
        return false;
    }
    if let Some(after) = rest.strip_prefix(b".") {
        let (fraction, after) = digits(after);
        if fraction == 0 {
            return false;
        }
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let after = after.strip_prefix(b"+").or_else(|| after.strip_prefix(b"-")).unwrap_or(after);
        let (exponent, after) = digits(after);
        if exponent == 0 {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// Checks UTF-8 in pieces.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose end has not come.
    begun: Vec<u8>,
}

impl Utf8 {
    pub(super) fn check(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        const BROKEN: &str = "it is not UTF-8";
        let mut rest = bytes;
        while !self.begun.is_empty() {
            let Some((first, after)) = rest.split_first() else { return Ok(()) };
            self.begun.push(*first);
            rest = after;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(BROKEN),
            }
        }
        match std::str::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                self.begun.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
                Ok(())
            }
            Err(_) => Err(BROKEN),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.begun.is_empty()
    }
}
