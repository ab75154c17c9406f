//! Where a listener is reached: scheme, host and port of an http or https URL, in one spelling.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// RFC 1035 section 2.3.4, without the root's dot.
const HOST_BYTES_MAX: usize = 253;

/// Two URLs that RFC 3986 section 6.2 calls equivalent up to their paths have equal origins: the case of scheme and host,
/// the port that the scheme implies and the spelling of an address are settled when it is read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    https: bool,
    /// Lower case; an IPv6 address has its brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// `https://host` or `https://host:port`, and nothing after it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::split(text).filter(|(_, rest)| rest.is_empty()).map(|(origin, _)| origin)
    }

    /// The origin of an absolute URL, and what follows it: nothing, or text that begins with `/`, `?` or `#`.
    ///
    /// `None` for another scheme, for user information, for percent-encoded or non-ASCII hosts (a registered name has an
    /// ASCII form, RFC 5890), for a dot at the end (another name to everybody but DNS) and for an IPv4 address that is
    /// not four decimal numbers.
    pub fn split(url: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        let https = scheme.eq_ignore_ascii_case("https");
        if !https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        let (host, port) = split_authority(authority)?;
        Some((Self { https, host, port: port_of(port, https)? }, rest))
    }

    /// Of a listener bound to `address`.
    pub fn of_socket(https: bool, address: SocketAddr) -> Self {
        let host = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self { https, host, port: address.port() }
    }

    /// The name that a machine has for itself.
    pub fn localhost(https: bool, port: u16) -> Self {
        Self { https, host: String::from("localhost"), port }
    }

    pub fn is_https(&self) -> bool {
        self.https
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// An empty port is the default one (RFC 3986 section 6.2.3).
fn port_of(port: Option<&str>, https: bool) -> Option<u16> {
    match port {
        None | Some("") => Some(default_port(https)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().filter(|port| *port != 0),
        Some(_) => None,
    }
}

fn split_authority(authority: &str) -> Option<(String, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        return Some((format!("[{address}]"), port));
    }
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    is_host(host).then(|| (host.to_ascii_lowercase(), port))
}

fn is_host(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut labels = host.split('.');
    let is_name = host.len() <= HOST_BYTES_MAX && labels.all(|label| !label.is_empty() && label.bytes().all(allowed));
    // What ends in a number is an address to half the world, in several spellings.
    let ends_in_number = host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    is_name && (!ends_in_number || is_plain_name(host) || host.parse::<Ipv4Addr>().is_ok())
}

/// Whether a host whose last label begins with a digit is a name to everybody: `press-3.4b`, but not `127.1` or `0x7f`.
fn is_plain_name(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let is_number =
        last.bytes().all(|b| b.is_ascii_digit()) || last.get(..2).is_some_and(|p| p.eq_ignore_ascii_case("0x"));
    !is_number
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default_port(self.https) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_spellings_are_one_origin() {
        let one = Origin::parse("https://data.plant.example").unwrap();
        for same in [
            "HTTPS://data.plant.example",
            "https://DATA.Plant.Example",
            "https://data.plant.example:443",
            "https://data.plant.example:0443",
            "https://data.plant.example:",
        ] {
            assert_eq!(Origin::parse(same).as_ref(), Some(&one), "{same}");
        }
        assert_eq!(Origin::parse("https://[0:0::1]:8443"), Origin::parse("https://[::1]:8443"));
        assert_eq!(Origin::parse("http://h:80"), Origin::parse("http://h"));
        assert_eq!(Origin::parse("https://XN--BCHER-KVA.example"), Origin::parse("https://xn--bcher-kva.example"));
        assert_eq!(Origin::of_socket(true, "[::1]:443".parse().unwrap()), Origin::parse("https://[::1]").unwrap());
    }

    #[test]
    fn other_places_are_other_origins() {
        let one = Origin::parse("https://data.plant.example").unwrap();
        for other in [
            "http://data.plant.example",
            "https://data.plant.example:8443",
            "https://data.plant.example.evil.example",
            "https://plant.example",
        ] {
            assert_ne!(Origin::parse(other).unwrap(), one, "{other}");
        }
    }

    #[test]
    fn what_has_a_second_reading_is_no_origin() {
        for bad in [
            "",
            "data.plant.example",
            "//data.plant.example",
            "ftp://data.plant.example",
            " https://data.plant.example",
            "https:/data.plant.example",
            "https://",
            "https://data.plant.example.",
            "https://data..plant.example",
            "https://user@data.plant.example",
            "https://data.plant.example:443@evil.example",
            "https://data.plant.example\\evil.example",
            "https://%64ata.plant.example",
            "https://b\u{fc}cher.example",
            "https://\u{ff44}ata.plant.example",
            "https://data.plant.example:+443",
            "https://data.plant.example:0",
            "https://data.plant.example:65536",
            "https://data.plant.example:4a",
            "https://127.1",
            "https://0x7f000001",
            "https://2130706433",
            "https://127.0.0.01",
            "https://[::1",
            "https://[::1]8443",
            "https://[fe80::1%25eth0]",
            "https://data.plant.example/",
            "https://data.plant.example?",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_origin_prints_as_it_is_written() {
        for text in ["https://data.plant.example", "http://127.0.0.1:8443", "https://[::1]:8443", "http://press-3.4b"] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
    }
}
