//! Where a fetch may go.

use super::FetchError;
use http::Uri;
use std::net::IpAddr;

#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) url: Uri,
    is_loopback: bool,
}

impl Location {
    /// https, or plain http to loopback; nothing before an `@`.
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        let not_usable = || FetchError::Url { url: shown(text) };
        let url: Uri = text.parse().map_err(|_| not_usable())?;
        let authority = url.authority().ok_or_else(not_usable)?;
        let is_loopback = is_loopback(authority.host());
        let has_scheme = match url.scheme_str() {
            Some("https") => true,
            Some("http") => is_loopback,
            _ => false,
        };
        if has_scheme && !authority.as_str().contains('@') { Ok(Self { url, is_loopback }) } else { Err(not_usable()) }
    }

    /// A URL in a document from here is the other company's text. It may name another host, but not one of our own.
    pub(crate) fn allows(&self, found: &str) -> Result<Uri, FetchError> {
        let there = Self::parse(found)?;
        if !self.is_loopback && there.url.host().is_none_or(may_be_this_machine) {
            return Err(FetchError::OwnHost { url: shown(found) });
        }
        Ok(there.url)
    }

    /// Same scheme, host and port (RFC 6454): what may be given there may be given here.
    pub(crate) fn has_origin_of(&self, url: &Uri) -> bool {
        let host = |url: &Uri| url.host().map(str::to_ascii_lowercase);
        self.url.scheme() == url.scheme() && host(&self.url) == host(url) && port(&self.url) == port(url)
    }
}

fn port(url: &Uri) -> Option<u16> {
    url.port_u16().or(match url.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    })
}

/// Certainly this machine: plain http is safe.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|ip| ip.is_loopback())
}

/// Spellings that may lead to this machine. A name of the other company that resolves to it is stopped by TLS.
fn may_be_this_machine(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || address(host).is_some_and(|ip| ip.to_canonical().is_loopback() || ip.is_unspecified())
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Text of the other company in our log: short, on one line.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_https_or_loopback() {
        let good = [
            "https://idp.acme.example",
            "https://localhost:8443/realms/a",
            "http://127.0.0.1:1",
            "http://[::1]:1/a",
            "http://LOCALHOST",
        ];
        for url in good {
            assert!(Location::parse(url).is_ok(), "{url}");
        }
        let bad = [
            "http://idp.acme.example",
            "http://10.0.0.1",
            "http://127.0.0.1.attacker.example",
            "http://localhost.attacker.example",
            "https://user:secret@idp.acme.example",
            "https://",
            "/keys",
            "idp.acme.example",
            "ftp://127.0.0.1",
            "",
        ];
        for url in bad {
            assert!(Location::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_remote_issuer_cannot_point_us_at_ourselves() {
        let remote = Location::parse("https://idp.acme.example").unwrap();
        let own = [
            "http://127.0.0.1:9090/metrics",
            "https://127.0.0.1/",
            "https://127.8.8.8/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
        ];
        for url in own {
            assert!(remote.allows(url).is_err(), "{url}");
        }
        assert!(remote.allows("https://keys.cloud.example/acme?tenant=1").is_ok());
        let local = Location::parse("http://127.0.0.1:1").unwrap();
        assert!(local.allows("http://127.0.0.1:2/keys").is_ok());
    }

    #[test]
    fn foreign_text_stays_on_one_short_line() {
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(10_000)).len(), 200);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let here = Location::parse("https://api.plant.example/a").unwrap();
        let is_same = |url: &str| here.has_origin_of(&url.parse().unwrap());
        assert!(is_same("https://API.plant.example:443/openid/v1/jwks?x=1"));
        for other in [
            "http://api.plant.example/a",
            "https://api.plant.example:6443/a",
            "https://api.plant.example.attacker.example/a",
            "https://plant.example/a",
            "https://api.plant.example./a",
        ] {
            assert!(!is_same(other), "{other}");
        }
    }
}
