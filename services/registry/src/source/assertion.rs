//! `assertion = { … }` of a source: whether, how and to whom the broker says for whom it asks.

use crate::table::Table;

/// The source wants to know who is behind a request: a signed statement goes with each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionTo {
    /// `aud`: how the source calls itself.
    pub audience: String,
    /// In lower case. In `authorization` it is a bearer token.
    pub header: String,
    /// From `iat` to `exp`.
    pub lifetime_ms: i64,
}

/// A name of our own, so that no proxy in between makes something of it.
const HEADER_DEFAULT: &str = "millgate-assertion";
const HEADER_LENGTH_MAX: usize = 64;
/// It is made when the request leaves; a minute is for clocks that differ.
const LIFETIME_DEFAULT_MS: i64 = 60_000;
/// Whoever steals it asks in another's name for as long.
const LIFETIME_MAX_MS: i64 = 300_000;
/// URLs and names; it goes with each request.
const AUDIENCE_LENGTH_MAX: usize = 256;

/// Headers that the broker writes itself, or that belong to the connection, or that servers between here and the source
/// take for something else.
const TAKEN: [&str; 32] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "alt-used",
    "baggage",
    "connection",
    "cookie",
    "cookie2",
    "date",
    "dpop",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "warning",
];
const TAKEN_FAMILIES: [&str; 9] = [
    "access-control-",
    "cache-",
    "content-",
    "if-",
    "millgate-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-http-method", // `X-HTTP-Method-Override` and its kin: some servers take it for the method
];

/// `has_credentials`: `authorization` is taken.
pub(super) fn from_table(source: &Table<'_>, has_credentials: bool) -> Option<AssertionTo> {
    let table = source.table("assertion")?;
    let audience = table.required_text("audience").map(str::to_owned);
    if audience.as_ref().is_some_and(|a| a.len() > AUDIENCE_LENGTH_MAX || !a.bytes().all(|b| b.is_ascii_graphic())) {
        let what = format!("`audience` of {} is not a name or URL", table.what);
        table.wrong("audience", what, "write up to 256 visible ASCII characters without spaces");
    }
    let header = header(&table, has_credentials);
    let lifetime_ms = table.duration("lifetime", 1_000..=LIFETIME_MAX_MS).unwrap_or(LIFETIME_DEFAULT_MS);
    table.finish();
    Some(AssertionTo { audience: audience?, header: header?, lifetime_ms })
}

fn header(table: &Table<'_>, has_credentials: bool) -> Option<String> {
    let name = table.text("header").unwrap_or(HEADER_DEFAULT).to_ascii_lowercase();
    let (what, help) = if name == "authorization" && has_credentials {
        ("already holds the source's own credential", "choose another header, such as `millgate-assertion`")
    } else if name == HEADER_DEFAULT || name == "authorization" {
        return Some(name);
    } else if name.len() > HEADER_LENGTH_MAX || !name.bytes().all(is_plain) {
        ("is no header name", "write up to 64 letters, digits and `-`, such as `millgate-assertion`")
    } else if TAKEN.contains(&&*name) || TAKEN_FAMILIES.iter().any(|family| name.starts_with(family)) {
        (
            "has another meaning on the way to a source",
            "choose `millgate-assertion`, `authorization` or an `x-…` of yours",
        )
    } else {
        return Some(name);
    };
    table.wrong("header", format!("the header `{name}` of {} {what}", table.what), help);
    None
}

/// What every server keeps apart from every other name: `_` and `-` are one in CGI, other signs are lost.
fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-'
}
