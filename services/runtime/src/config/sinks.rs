//! Further places for checkpoints, as the configuration names them.

use super::audit::{DAYS, days};
use super::section::Section;
use model::party::SecretRef;
use model::url::BaseUrl;
use std::path::PathBuf;
use std::time::Duration;

/// Where checkpoints go beside the published directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sinks {
    /// On other mounts. Each must be there: it is never made.
    pub directories: Vec<PathBuf>,
    pub syslog: Option<Syslog>,
    pub s3: Option<S3>,
}

/// A bucket of an S3 store that keeps objects locked (S3 Object Lock).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// Of the service, without the bucket.
    pub endpoint: BaseUrl,
    pub bucket: String,
    pub region: String,
    /// Before the names of objects.
    pub prefix: String,
    /// `https://HOST/BUCKET/…` and not `https://BUCKET.HOST/…`.
    pub path_style: bool,
    pub access_key_id: String,
    pub secret_access_key: SecretRef,
    /// Days for which nobody can take an object away.
    pub retain: u32,
    /// Of the checkpoints within this time the last is kept.
    pub interval: Duration,
    /// Whom the store is trusted by; the machine's authorities if there is none.
    pub ca_file: Option<PathBuf>,
}

/// A receiver of syslog (RFC 5424).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    /// Whom a receiver over TLS is trusted by; the machine's authorities if there is none.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// With the port that is meant where none is named.
    const ALL: [(&'static str, Self, u16); 3] =
        [("udp", Self::Udp, 514), ("tcp", Self::Tcp, 601), ("tls", Self::Tls, 6514)];
}

impl Syslog {
    /// `tls://siem.example:6514`, `udp://[2001:db8::1]`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (_, transport, default) = Transport::ALL.into_iter().find(|(name, ..)| *name == scheme)?;
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host.parse::<std::net::Ipv6Addr>().ok()?.to_string(), port),
            None => {
                let at = rest.find(':').unwrap_or(rest.len());
                let (host, port) = rest.split_at(at);
                let is_host =
                    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
                (is_host.then(|| host.to_owned())?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if port.is_empty() => default,
            None => return None,
        };
        Some(Self { transport, host, port, ca_file: None })
    }
}

impl std::fmt::Display for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme =
            Transport::ALL.into_iter().find(|(_, known, _)| *known == self.transport).map_or("", |(name, ..)| name);
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

pub(super) fn read(mut section: Section<'_, '_, '_>) -> Sinks {
    let directories = section.paths("directories");
    let rule = "`udp://`, `tcp://` or `tls://` and a host, with a port if it is another than 514, 601 or 6514";
    let syslog = section.parsed("syslog", rule, Syslog::parse);
    let ca_file = section.file("syslog_ca_file");
    if section.has("syslog_ca_file") && syslog.as_ref().is_some_and(|syslog| syslog.transport != Transport::Tls) {
        section.problem(
            "syslog_ca_file",
            "nobody shows a certificate without TLS",
            "write `tls://` in `syslog`, or remove it",
        );
    }
    let s3 = read_s3(section.optional_table("s3", "audit.sinks.s3"));
    section.close();
    Sinks { directories, syslog: syslog.map(|syslog| Syslog { ca_file, ..syslog }), s3 }
}

/// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
fn is_bucket(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&text.len())
        && text.bytes().all(inner)
        && outer(text.bytes().next())
        && outer(text.bytes().last())
}

/// A name that addresses carry as it is: no part of it is one that they resolve.
fn is_prefix(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"/-_.".contains(&b);
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    text.len() <= 200
        && text.bytes().all(good)
        && (text.is_empty() || text.strip_suffix('/').is_some_and(|t| t.split('/').all(part)))
}

fn read_s3(section: Option<Section<'_, '_, '_>>) -> Option<S3> {
    let mut section = section?;
    for (key, help) in [
        ("endpoint", "the store: `endpoint = \"https://s3.eu-central-1.amazonaws.com\"`"),
        ("bucket", "a bucket that was made with object lock: `bucket = \"…\"`"),
        ("access_key_id", "who writes there: `access_key_id = \"…\"`"),
        ("secret_access_key", "`secret_access_key = { file = \"…\" }`"),
        ("retain", "days for which nobody can take a checkpoint away: `retain = \"365d\"`"),
    ] {
        if !section.has(key) {
            section.missing(key, help);
        }
    }
    let endpoint = section.parsed("endpoint", "`https://` and a host, as in `\"https://s3.example\"`", |text| {
        // What was kept is compared with; over http whoever sits in between could say that nothing was.
        text.parse().ok().filter(|url: &BaseUrl| url.https || url.is_loopback())
    });
    let bucket = section.parsed("bucket", "3 to 63 lower-case letters, digits, `-` and `.`", |text| {
        is_bucket(text).then(|| text.to_owned())
    });
    let plain = |text: &str| {
        ((1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
    };
    let region = section.parsed("region", "a region, as in `\"eu-central-1\"`", |text| {
        let is_region = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        plain(text).filter(|_| is_region)
    });
    let prefix = section.parsed("prefix", "letters, digits, `-`, `_`, `.` and `/`, with a `/` at the end", |text| {
        is_prefix(text).then(|| text.to_owned())
    });
    let access_key_id = section.parsed("access_key_id", "1 to 128 visible ASCII characters", plain);
    let secret_access_key = section.secret("secret_access_key");
    let retain = section.parsed("retain", DAYS, days);
    let minute = Duration::from_secs(60);
    let interval = section.duration("interval", Duration::from_secs(1)..=minute * 60, minute);
    let (path_style, ca_file) = (section.flag("path_style", true), section.file("ca_file"));
    section.close();
    Some(S3 {
        endpoint: endpoint?,
        bucket: bucket?,
        region: region.unwrap_or_else(|| String::from("us-east-1")),
        prefix: prefix.unwrap_or_default(),
        path_style,
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        retain: retain?,
        interval,
        ca_file,
    })
}
