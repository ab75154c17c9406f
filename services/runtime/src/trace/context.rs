//! W3C Trace Context, level 1: the `traceparent` header.

use std::fmt;

/// Whose child a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// The sender records this trace.
    pub sampled: bool,
}

/// `00-` 32 digits `-` 16 digits `-` 2 digits.
const TEXT_BYTES: usize = 55;

impl TraceContext {
    /// Reads a header's value without allocating. `None` for anything that section 3.2 of the specification does not
    /// allow; a version after 00 may be longer, behind a further dash.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (version, trace_id) = (digits::<1>(bytes, 0)?, digits::<16>(bytes, 3)?);
        let (span_id, [flags]) = (digits::<8>(bytes, 36)?, digits::<1>(bytes, 53)?);
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        let length = match (version, bytes.get(TEXT_BYTES)) {
            ([0xff], _) => false,
            (_, None) => true,
            ([version], Some(next)) => version > 0 && *next == b'-',
        };
        let valid = dashes && length && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    pub fn to_traceparent(self) -> Traceparent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_digits(&mut text, 3, &self.trace_id);
        write_digits(&mut text, 36, &self.span_id);
        write_digits(&mut text, 53, &[u8::from(self.sampled)]);
        Traceparent(text)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_traceparent(), f)
    }
}

/// The value of a `traceparent` header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Traceparent([u8; TEXT_BYTES]);

impl Traceparent {
    /// ASCII digits, `a` to `f` and dashes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `2 * N` lower-case hexadecimal digits at `from`; capitals are not allowed by the specification.
fn digits<const N: usize>(text: &[u8], from: usize) -> Option<[u8; N]> {
    let mut out = [0; N];
    let pairs = text.get(from..from + 2 * N)?.chunks_exact(2);
    for (byte, pair) in out.iter_mut().zip(pairs) {
        let &[high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn write_digits(text: &mut [u8; TEXT_BYTES], from: usize, bytes: &[u8]) {
    let spelled = bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| if d < 10 { b'0' + d } else { b'a' + d - 10 });
    text.iter_mut().skip(from).zip(spelled).for_each(|(place, digit)| *place = digit);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_round_trips() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_traceparent().to_string(), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert_eq!(TraceContext::parse(&unsampled).unwrap().to_traceparent().to_string(), unsampled);
    }

    #[test]
    fn later_versions_are_read_and_answered_as_version_00() {
        for later in [GOOD.replacen("00", "cc", 1), format!("{}-what-will-be", GOOD.replacen("00", "01", 1))] {
            assert_eq!(TraceContext::parse(&later).unwrap().to_traceparent().to_string(), GOOD);
        }
        assert_eq!(TraceContext::parse(&GOOD.replace("-01", "-ff")).unwrap().to_traceparent().to_string(), GOOD);
    }

    #[test]
    fn anything_else_is_no_context() {
        let bad = [
            String::new(),
            GOOD.chars().take(54).collect(),
            format!("{GOOD}-extra"),
            format!("{GOOD}0"),
            format!(" {GOOD}"),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "0x", 1),
            GOOD.replace('-', "_"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace("0af7", "ö7"),
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }
}
