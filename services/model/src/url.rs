//! Addresses of sources and issuers: `http`, `https` and `postgresql`, nothing hidden in them.

use std::fmt;
use std::str::FromStr;

/// `https://host:port/base`: no user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    pub https: bool,
    /// A DNS name in lower case, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// Empty, or `/a/b`: percent-encoded, without a slash at the end.
    pub base_path: String,
}

/// Why an address is not accepted. Its text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("begins neither with `https://` nor with `http://`")]
    Scheme,
    #[error("has a user or password in it, which belongs in a file or an environment variable")]
    User,
    #[error("has a query or a fragment")]
    Query,
    #[error("has a host that is neither a name nor an address")]
    Host,
    #[error("has a port that is not 1 to 65535")]
    Port,
    #[error("has a path other than `/a/b` of plain letters, digits, `-`, `.`, `_`, `~`")]
    Path,
    #[error("does not end in the name of a database: `/NAME` of letters, digits, `-`, `_`, `.`")]
    Database,
}

impl BaseUrl {
    /// `host:port`, with brackets around an IPv6 address: for `Host` and for connecting.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host is this machine itself.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.base_path)
    }
}

/// `postgresql://host:port/name`: no user, no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// As [`BaseUrl::host`].
    pub host: String,
    pub port: u16,
    /// Of the database.
    pub name: String,
}

impl DatabaseUrl {
    const SCHEME: &str = "postgresql://";

    /// Whether `text` is meant as the address of a database.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(Self::SCHEME)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", Self::SCHEME, authority(&self.host, self.port), self.name)
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let rest = text.strip_prefix(Self::SCHEME).ok_or(InvalidUrl::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(InvalidUrl::Query);
        }
        let (place, name) = rest.split_once('/').ok_or(InvalidUrl::Database)?;
        if place.contains('@') {
            return Err(InvalidUrl::User);
        }
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if name.is_empty() || !name.bytes().all(good) {
            return Err(InvalidUrl::Database);
        }
        let (host, port) = host_and_port(place)?;
        let port = port.map_or(Some(5432), port_number).ok_or(InvalidUrl::Port)?;
        Ok(Self { host, port, name: name.to_owned() })
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Checks the address of an endpoint, which unlike a [`BaseUrl`] may have any path and a query. `Ok` says whether nobody on
/// the way can read or change what it answers: it is https, or on this machine.
pub fn endpoint(text: &str) -> Result<bool, InvalidUrl> {
    if text.contains('#') {
        return Err(InvalidUrl::Query);
    }
    let scheme = text.find("://").map_or(0, |at| at + 3);
    let rest = text.get(scheme..).unwrap_or_default();
    let end = scheme + rest.find(['/', '?']).unwrap_or(rest.len());
    let (origin, path) = text.split_at_checked(end).ok_or(InvalidUrl::Host)?;
    let url: BaseUrl = origin.parse()?;
    if !path
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'))
    {
        return Err(InvalidUrl::Path);
    }
    Ok(url.https || url.is_loopback())
}

impl FromStr for BaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(InvalidUrl::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(InvalidUrl::Query);
        }
        let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(InvalidUrl::User);
        }
        let (host, port) = host_and_port(authority)?;
        let port = match port {
            Some(digits) => port_number(digits).ok_or(InvalidUrl::Port)?,
            None if https => 443,
            None => 80,
        };
        Ok(Self { https, host, port, base_path: base_path(path)? })
    }
}

fn port_number(digits: &str) -> Option<u16> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok().filter(|p| *p != 0))?
}

fn host_and_port(authority: &str) -> Result<(String, Option<&str>), InvalidUrl> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(InvalidUrl::Host)?;
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| InvalidUrl::Host)?;
        return match (after, after.strip_prefix(':')) {
            ("", _) => Ok((address.to_string(), None)),
            (_, Some(port)) => Ok((address.to_string(), Some(port))),
            _ => Err(InvalidUrl::Host),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let label = |l: &str| {
        !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // RFC 1035: 253 characters, labels of 63.
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(InvalidUrl::Host);
    }
    Ok((host.to_ascii_lowercase(), port))
}

fn base_path(path: &str) -> Result<String, InvalidUrl> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = |s: &str| {
        !matches!(s, "" | "." | "..")
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    match path.strip_prefix('/') {
        None => Ok(String::new()),
        Some(rest) if rest.split('/').all(plain) => Ok(path.to_owned()),
        Some(_) => Err(InvalidUrl::Path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("http://127.0.0.1:9310", "http://127.0.0.1:9310"),
            ("https://MES.plant.example/api/v1/", "https://mes.plant.example:443/api/v1"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn hidden_parts_are_refused() {
        for (text, why) in [
            ("ftp://a", InvalidUrl::Scheme),
            ("http://user:secret@a", InvalidUrl::User),
            ("http://a?db=x", InvalidUrl::Query),
            ("http://a/b#c", InvalidUrl::Query),
            ("http://", InvalidUrl::Host),
            ("http://a b", InvalidUrl::Host),
            ("http://[::1", InvalidUrl::Host),
            ("http://a:0", InvalidUrl::Port),
            ("http://a:+80", InvalidUrl::Port),
            ("http://a:99999", InvalidUrl::Port),
            ("http://a/../b", InvalidUrl::Path),
            ("http://a//b", InvalidUrl::Path),
            ("http://a/%2e", InvalidUrl::Path),
        ] {
            assert_eq!(text.parse::<BaseUrl>(), Err(why), "{text}");
        }
    }
}
