//! Raw request line and headers → one canonical form that policy, routing, audit log and source all use.
//!
//! What passes:
//! 1. origin-form targets (or HTTP/2's equivalent) with one authority;
//! 2. paths of non-empty segments that, percent-decoded once, are UTF-8 without control characters, `/`, `\`, `;`, `%`
//!    and are not `.` or `..`;
//! 3. queries of `name=value` pairs with non-empty names, decoded once, without control characters; a raw `+` or `;` is
//!    refused, because half the world reads them as something else;
//! 4. one framing, one `Host`.
//!
//! Everything else is refused with 400 before anybody is asked who they are. A fragment never gets here: the HTTP
//! library drops it, so no later step can see it.

use crate::respond::Refusal;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version, header};
use model::Reason;

/// The one reading of a request's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    pub method: Method,
    /// Decoded.
    pub segments: Vec<String>,
    /// Decoded, in the order of the request.
    pub query: Vec<(String, String)>,
    /// The host name that was asked, lower case, without the port.
    pub host: Option<String>,
}

impl Canonical {
    /// # Errors
    /// 400 with the reason when the request has a second reading.
    pub fn parse(parts: &Parts) -> Result<Self, Refusal> {
        one_framing(parts)?;
        one_authority(parts)?;
        let target = parts.uri.path_and_query();
        let path = target.map_or("/", |t| t.path());
        let query = target.and_then(|t| t.query());
        Ok(Self {
            method: parts.method.clone(),
            segments: segments(path)?,
            query: query.map_or_else(|| Ok(Vec::new()), pairs)?,
            host: host(parts),
        })
    }

    /// For the audit log: decoded segments joined by `/`. No segment holds a `/`.
    pub fn path_text(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    pub fn has_query(&self, name: &str) -> bool {
        self.query.iter().any(|(key, _)| key == name)
    }
}

fn one_framing(parts: &Parts) -> Result<(), Refusal> {
    let lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter().count();
    let encodings = parts.headers.get_all(header::TRANSFER_ENCODING).iter().count();
    if lengths > 1 || encodings > 1 || (lengths > 0 && encodings > 0) {
        return Err(Refusal::new(Reason::AMBIGUOUS_REQUEST, "the body's length is stated more than once"));
    }
    Ok(())
}

fn one_authority(parts: &Parts) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::new(Reason::AMBIGUOUS_REQUEST, "more than one `Host` header"));
    }
    match (parts.version, parts.uri.authority()) {
        (Version::HTTP_2, Some(authority)) => match host {
            Some(h) if h.as_bytes() != authority.as_str().as_bytes() => {
                Err(Refusal::new(Reason::AMBIGUOUS_REQUEST, "`Host` and `:authority` differ"))
            }
            _ => Ok(()),
        },
        (_, None) if parts.uri.path().starts_with('/') => Ok(()),
        _ => Err(Refusal::new(Reason::AMBIGUOUS_REQUEST, "the request target must be a path, as in `GET /path`")),
    }
}

/// Of the one authority. `None` where there is none, or one that no name has; then nobody is known by it.
fn host(parts: &Parts) -> Option<String> {
    let named = || Authority::try_from(parts.headers.get(header::HOST)?.as_bytes()).ok();
    let authority = parts.uri.authority().cloned().or_else(named)?;
    (!authority.as_str().contains('@')).then(|| authority.host().to_ascii_lowercase())
}

fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let refuse = |what: &str| Refusal::new(Reason::AMBIGUOUS_PATH, format!("the path has {what}"));
    let Some(rest) = path.strip_prefix('/') else { return Err(refuse("no leading `/`")) };
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    rest.split('/')
        .map(|raw| {
            if raw.is_empty() {
                return Err(refuse("an empty segment (a doubled or trailing `/`)"));
            }
            let text = decode(raw).ok_or_else(|| refuse("an invalid percent-encoding or character"))?;
            if text == "." || text == ".." {
                return Err(refuse("a dot segment"));
            }
            if text.contains(['/', '\\', ';', '%']) {
                return Err(refuse("an encoded `/`, or a `\\`, `;` or `%`"));
            }
            Ok(text)
        })
        .collect()
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let refuse = |what: &str| Refusal::new(Reason::AMBIGUOUS_QUERY, format!("the query has {what}"));
    if query.contains(['+', ';']) {
        return Err(refuse("a raw `+` or `;`; write a space as %20, a plus as %2B, a semicolon as %3B"));
    }
    query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| refuse("a part that is not `name=value`"))?;
            let both = decode(name).zip(decode(value));
            let (name, value) = both.ok_or_else(|| refuse("an invalid percent-encoding or character"))?;
            if name.is_empty() {
                return Err(refuse("a value without a name"));
            }
            Ok((name, value))
        })
        .collect()
}

/// Decodes percent-encoding once. `None` for incomplete escapes, for anything that is not UTF-8 (overlong forms
/// included) and for control characters.
fn decode(raw: &str) -> Option<String> {
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(b) = rest.next() {
        bytes.push(if b == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { b });
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few letters in many spellings, so that two often mean the same.
    const PATH: &str = "/(a|b|%61|%62|-|%2D|%2d|%C3%BC|%c3%bc){0,3}(/(a|%61|b){1,2}){0,2}(\\?a=b)?";

    fn parse(target: &str) -> Result<Canonical, Refusal> {
        let request = http::Request::builder().uri(target).body(()).expect("target");
        Canonical::parse(&request.into_parts().0)
    }

    #[test]
    fn one_reading_passes() {
        let c = parse("/series/press-3%2Eforce?from=2026-01-01T00%3A00%3A00Z&x=a%20b").unwrap();
        assert_eq!(c.segments, ["series", "press-3.force"]);
        assert_eq!(c.query[0], ("from".into(), "2026-01-01T00:00:00Z".into()));
        assert_eq!(c.query[1].1, "a b");
        assert_eq!(parse("/").unwrap().segments, Vec::<String>::new());
    }

    #[test]
    fn a_second_reading_is_refused() {
        for path in [
            "//a",
            "/a//b",
            "/a/",
            "/a/./b",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/%2E/b",
            "/a%2fb",
            "/a%5cb",
            "/a/..%2fb",
            "/a%00b",
            "/a%0ab",
            "/%c0%ae%c0%ae/b",
            "/a%2",
            "/a%zz",
            "/a%252e%252e",
            "/a;b",
            "/a/..;/b",
            "/a%3bb",
            "/%ff",
            "/a%7f",
        ] {
            assert_eq!(parse(path).unwrap_err().reason, Reason::AMBIGUOUS_PATH, "{path}");
        }
        for query in ["/a?", "/a?b", "/a?=1", "/a?a=1&", "/a?a=1+2", "/a?a=1;b=2", "/a?a=%0", "/a?a=%00", "/a?a=%c0%80"]
        {
            assert_eq!(parse(query).unwrap_err().reason, Reason::AMBIGUOUS_QUERY, "{query}");
        }
    }

    #[test]
    fn the_host_is_a_name_in_one_spelling() {
        let host = |b: http::request::Builder| Canonical::parse(&b.body(()).unwrap().into_parts().0).unwrap().host;
        let over_http1 = |value: &str| host(http::Request::builder().uri("/a").header("host", value));
        assert_eq!(over_http1("acme.data.example").as_deref(), Some("acme.data.example"));
        assert_eq!(over_http1("ACME.Data.Example:8443").as_deref(), Some("acme.data.example"));
        for not_acme in ["acme.data.example@bolt.data.example", "bolt.data.example", "acme.data.example.", "", "a b"] {
            assert_ne!(over_http1(not_acme).as_deref(), Some("acme.data.example"), "{not_acme}");
        }
        let over_http2 = http::Request::builder().version(Version::HTTP_2).uri("https://Acme.data.example:8443/a");
        assert_eq!(host(over_http2).as_deref(), Some("acme.data.example"));
    }

    #[test]
    fn a_second_authority_or_framing_is_refused() {
        let build = |f: fn(http::request::Builder) -> http::request::Builder| {
            Canonical::parse(&f(http::Request::builder().uri("/a")).body(()).unwrap().into_parts().0)
        };
        for refused in [
            build(|b| b.header("host", "a").header("host", "b")),
            build(|b| b.header("content-length", "1").header("transfer-encoding", "chunked")),
            build(|b| b.header("content-length", "1").header("content-length", "1")),
            build(|b| b.uri("http://other/a").header("host", "a")),
            build(|b| b.uri("https://other/a").version(Version::HTTP_2).header("host", "a")),
            build(|b| b.uri("*").method("OPTIONS")),
        ] {
            assert_eq!(refused.unwrap_err().reason, Reason::AMBIGUOUS_REQUEST);
        }
        assert!(build(|b| b.uri("https://a/a").version(Version::HTTP_2).header("host", "a")).is_ok());
    }

    proptest! {
        /// A proof (RFC 9449) names the address of its request in any spelling: it must lead where the request leads.
        #[test]
        fn an_address_in_a_proof_leads_where_its_request_leads(one in PATH, other in PATH) {
            let origins = identity::Origins::new(model::Origin::parse("https://data.plant.example"));
            let (Ok(canonical), Ok(elsewhere)) = (parse(&one), parse(&other)) else { return Ok(()) };
            let url = format!("https://data.plant.example{one}");
            prop_assert!(origins.lead_to(&url, &canonical.path_text()));
            let same = canonical.segments == elsewhere.segments;
            prop_assert_eq!(origins.lead_to(&url, &elsewhere.path_text()), same);
            let other = format!("https://data.plant.example{other}");
            prop_assert_eq!(origins.lead_to(&other, &canonical.path_text()), same);
        }

        /// What a request cannot be leads nowhere, whatever is asked.
        #[test]
        fn an_address_that_no_request_can_have_leads_nowhere(raw in "/[ab./%2fFeE\\\\;]{0,8}", path in "/[ab./;]{0,4}") {
            let origins = identity::Origins::new(model::Origin::parse("https://data.plant.example"));
            let target = http::Request::builder().uri(&raw).body(()).is_ok();
            let asked = parse(&path);
            prop_assume!(target && parse(&raw).is_err() && asked.is_ok());
            let url = format!("https://data.plant.example{raw}");
            prop_assert!(!origins.lead_to(&url, &asked.unwrap().path_text()));
        }

        #[test]
        fn decoded_segments_hold_no_separator(path in "/[ -~]{0,40}") {
            if let Ok(request) = http::Request::builder().uri(&path).body(())
                && let Ok(c) = Canonical::parse(&request.into_parts().0)
            {
                for s in &c.segments {
                    prop_assert!(!s.is_empty() && s != "." && s != ".." && !s.contains(['/', '\\', ';', '%']));
                }
            }
        }
    }
}
