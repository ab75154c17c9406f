//! `millgate.toml`: listeners, TLS, folders, countries, audit log, assertions, masks, limits, telemetry.
//!
//! Unknown keys, wrong values and missing files are problems with a place and a suggestion; everything that is wrong is
//! reported at once. Paths are relative to the file. There are no secrets in it, only names of files that hold them.

mod audit;
mod log_key;
mod problem;
mod section;
mod sinks;
mod store;

#[cfg(test)]
mod tests;

use model::Origin;
use problem::{Problems, nearest};
use section::Section;
pub use sinks::{S3, Sinks, Syslog, Transport};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeTable;

pub use audit::{Audit, Retention};
pub use log_key::{LogKey, TokenKey};
pub use problem::Problem;
pub use store::Store;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    /// `None`: the data and api listeners are plain HTTP.
    pub tls: Option<Tls>,
    pub folders: Folders,
    pub countries: Countries,
    pub identity: Identity,
    pub audit: Audit,
    pub assertion: Assertion,
    pub masks: Masks,
    /// `None`: nothing is tried.
    pub shadow: Option<Shadow>,
    pub limits: Limits,
    pub telemetry: Telemetry,
}

/// Where the three listeners are bound. Port 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The proxy and nothing else.
    pub data: SocketAddr,
    /// Millgate's own endpoints for callers.
    pub api: SocketAddr,
    /// Health, metrics and keys, always plain HTTP.
    pub operator: SocketAddr,
    /// How callers reach `data`; its own address if empty.
    pub data_origins: Vec<Origin>,
    /// How callers reach `api`; its own address if empty.
    pub api_origins: Vec<Origin>,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    pub catalog: PathBuf,
    pub registry: PathBuf,
    /// Base policies first; at least one.
    pub policies: Vec<PathBuf>,
    /// The Cedar schema, a file.
    pub schema: PathBuf,
    /// Cases that a policy set must pass before it is used; none if empty.
    pub cases: Vec<PathBuf>,
}

/// Where callers' networks are. Without either file no request comes from any country.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Countries {
    /// CSV of the plant's own: a network and its country in each row. Counts before the database.
    pub networks_file: Option<PathBuf>,
    /// A MaxMind DB file.
    pub database_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where issuers' keys are kept for a restart while an issuer cannot be reached. Not kept without it.
    pub key_cache: Option<PathBuf>,
    /// Tokens whose verification is remembered; 0 for none.
    pub verified_tokens: usize,
}

/// What sources are told of callers, and the keys that sign it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// `iss`.
    pub issuer: String,
    /// Signs. Created if absent.
    pub key_file: PathBuf,
    /// Published before it signs. It need not be there.
    pub next_key_file: Option<PathBuf>,
    /// Published after they signed. They need not be there.
    pub previous_key_files: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections_max: usize,
    /// Request line and headers together.
    pub header_bytes_max: usize,
    pub headers_max: usize,
    /// Requests of one organisation between login and the head of their answer.
    pub requests_per_organisation: usize,
    /// Proofs (RFC 9449) of one organisation that are remembered at a time.
    pub proofs_per_organisation: usize,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    pub drain_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Pretty,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    pub log: LogFormat,
    /// A level, or directives such as `info,audit=debug`.
    pub level: String,
    /// OTLP over gRPC, `http://host:4317` or `https://…`; traces are not exported without it.
    pub otlp_endpoint: Option<String>,
    /// Share of requests traced, of those whose caller has not decided already.
    pub sample_ratio: f64,
    /// Whether a caller's sampling decision counts. If not, only `sample_ratio` does.
    pub follow_callers: bool,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data: loopback(8443),
            api: loopback(8444),
            operator: loopback(8445),
            data_origins: Vec::new(),
            api_origins: Vec::new(),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self { key_cache: None, verified_tokens: 100_000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_bytes_max: 16 * 1024,
            headers_max: 100,
            requests_per_organisation: 512,
            proofs_per_organisation: 100_000,
            header_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log: LogFormat::Json,
            level: String::from("info"),
            otlp_endpoint: None,
            sample_ratio: 0.1,
            follow_callers: true,
        }
    }
}

/// How values are masked that may not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masks {
    /// 64 hexadecimal digits that pseudonyms are made with; made when it is not there.
    pub key_file: PathBuf,
}

/// Policies that are tried beside those in use, and never decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// One set in one or several folders. They need not be there: a missing one must not keep the broker from its start.
    pub policies: Vec<PathBuf>,
    /// Share of requests that they are tried on, above 0.
    pub share: f64,
}

const SECTIONS: [&str; 11] = [
    "listen",
    "tls",
    "folders",
    "countries",
    "identity",
    "audit",
    "assertion",
    "masks",
    "shadow",
    "limits",
    "telemetry",
];
const YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Config {
    /// Reads and checks the file. Everything that is wrong is in the error, in the order of the file.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or says something that cannot be.
    pub fn load(file: &Path) -> Result<Self, Vec<Problem>> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let help = Some(String::from("name another file with `--config`"));
            vec![Problem { file: file.to_owned(), at: None, what: format!("cannot be read: {error}"), help }]
        })?;
        Self::parse(file, &text)
    }

    /// As [`Self::load`], of text that was read from `file`.
    ///
    /// # Errors
    /// When the text is not TOML or says something that cannot be.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::new(file, text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            problems.add(&error.span().unwrap_or(0..0), error.message().replace('\n', ", "), None);
        }
        let config = if problems.is_empty() {
            let base = file.parent().unwrap_or(Path::new(""));
            read(document.get_ref(), &mut problems, base)
        } else {
            None
        };
        config.filter(|_| problems.is_empty()).ok_or_else(|| problems.into_sorted())
    }
}

fn read<'f>(root: &DeTable<'_>, problems: &mut Problems<'f>, base: &'f Path) -> Option<Config> {
    for (key, _) in root.iter().filter(|(key, _)| !SECTIONS.contains(&key.get_ref().as_ref())) {
        let help = nearest(key.get_ref(), SECTIONS.into_iter()).map(|k| format!("did you mean `{k}`?"));
        let help = help.or_else(|| Some(format!("sections are {}", SECTIONS.map(|s| format!("`[{s}]`")).join(", "))));
        problems.add(&key.span(), format!("unknown key `{}`", key.get_ref()), help);
    }
    let listen = read_listen(Section::open(root, "listen", problems, base));
    let tls = read_tls(Section::open(root, "tls", problems, base), &listen);
    let folders = read_folders(Section::open(root, "folders", problems, base));
    let countries = read_countries(Section::open(root, "countries", problems, base));
    let identity = read_identity(Section::open(root, "identity", problems, base));
    let audit = audit::read(Section::open(root, "audit", problems, base));
    let assertion = read_assertion(Section::open(root, "assertion", problems, base), audit.as_ref());
    let masks = read_masks(Section::open(root, "masks", problems, base), audit.as_ref());
    let shadow = read_shadow(Section::open(root, "shadow", problems, base), base);
    let limits = read_limits(Section::open(root, "limits", problems, base));
    let telemetry = read_telemetry(Section::open(root, "telemetry", problems, base));
    let (folders, audit, assertion, masks) = (folders?, audit?, assertion?, masks?);
    Some(Config { listen, tls, folders, countries, identity, audit, assertion, masks, shadow, limits, telemetry })
}

const ORIGIN_RULE: &str =
    "scheme and host, and the port if it is not the usual one, such as `\"https://data.plant.example\"`";

fn read_listen(mut section: Section<'_, '_, '_>) -> Listen {
    let default = Listen::default();
    let mut address =
        |key| section.parsed(key, "an address and a port, such as `\"127.0.0.1:8443\"`", |t| t.parse().ok());
    let (data, api, operator) = (address("data"), address("api"), address("operator"));
    let mut origins = |key| section.list(key, ORIGIN_RULE, Origin::parse);
    let (data_origins, api_origins) = (origins("data_origins"), origins("api_origins"));
    let listen = Listen {
        data: data.unwrap_or(default.data),
        api: api.unwrap_or(default.api),
        operator: operator.unwrap_or(default.operator),
        data_origins,
        api_origins,
    };
    for (key, address, others) in
        [("api", listen.api, &[listen.data][..]), ("operator", listen.operator, &[listen.data, listen.api][..])]
    {
        if address.port() != 0 && others.contains(&address) {
            section.problem(
                key,
                format!("`{key}` shares {address} with another listener"),
                "give each a port of its own",
            );
        }
    }
    if !section.flag("operator_exposed", false) && !listen.operator.ip().is_loopback() {
        section.problem(
            "operator",
            format!(
                "`operator` is {}: anybody who reaches it reads metrics and health without a login",
                listen.operator
            ),
            "bind it to 127.0.0.1, or say `operator_exposed = true` if the network in front keeps strangers out",
        );
    }
    section.close();
    listen
}

fn read_tls(mut section: Section<'_, '_, '_>, listen: &Listen) -> Option<Tls> {
    let plain = section.flag("plain", false);
    let named = section.has("certificate") || section.has("key");
    let (certificate, key) = (section.file("certificate"), section.file("key"));
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if section.has(one) && !section.has(other) {
            section.missing(other, "a certificate and its key go together, each a PEM file");
        }
    }
    if plain && named {
        section.problem("plain", "`plain = true` and a certificate contradict each other", "remove one of them");
    }
    let exposed = [("data", listen.data), ("api", listen.api)].into_iter().find(|(_, a)| !a.ip().is_loopback());
    if let Some((name, address)) = exposed.filter(|_| !named && !plain) {
        section.problem(
            "",
            format!("`listen.{name}` is {address} and there is no certificate: tokens and data would be readable on the network"),
            "name `certificate` and `key` in `[tls]`, or say `plain = true` there if something in front ends TLS",
        );
    }
    let is_plain = |origin: &&Origin| !origin.is_https();
    if named && let Some(origin) = listen.data_origins.iter().chain(&listen.api_origins).find(is_plain) {
        section.problem(
            "certificate",
            format!("with a certificate nobody reaches a listener as {origin}, which `[listen]` names"),
            "write `https://` there",
        );
    }
    section.close();
    Some(Tls { certificate: certificate?, key: key? })
}

fn read_folders(mut section: Section<'_, '_, '_>) -> Option<Folders> {
    for (key, help) in [
        ("catalog", "the folder of sources, products and routes: `catalog = \"catalog\"`"),
        ("registry", "the folder of organisations, issuers and agreements: `registry = \"registry\"`"),
        ("policies", "one folder of Cedar policies or a list: `policies = [\"base\", \"plant\"]`"),
        ("schema", "the Cedar schema: `schema = \"plant.cedarschema\"`"),
    ] {
        if !section.has(key) {
            section.missing(key, help);
        }
    }
    let (catalog, registry) = (section.folder("catalog"), section.folder("registry"));
    let (policies, schema) = (section.folders("policies"), section.file("schema"));
    let cases = if section.has("cases") { section.folders("cases") } else { Some(Vec::new()) };
    section.close();
    Some(Folders { catalog: catalog?, registry: registry?, policies: policies?, schema: schema?, cases: cases? })
}

fn read_countries(mut section: Section<'_, '_, '_>) -> Countries {
    let countries =
        Countries { networks_file: section.file("networks_file"), database_file: section.file("database_file") };
    section.close();
    countries
}

fn read_identity(mut section: Section<'_, '_, '_>) -> Identity {
    let identity = Identity {
        key_cache: section.path("key_cache"),
        verified_tokens: section.integer("verified_tokens", 0..=10_000_000, Identity::default().verified_tokens),
    };
    section.close();
    identity
}

/// Without an `[audit]` there is no name and no place to take.
fn read_assertion(mut section: Section<'_, '_, '_>, audit: Option<&Audit>) -> Option<Assertion> {
    let is_issuer = |t: &str| (1..=256).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic());
    let issuer = section
        .parsed("issuer", "a name or URL of 1 to 256 visible ASCII characters", |t| is_issuer(t).then(|| t.to_owned()));
    let key_file = section.path("key_file");
    let (next_key_file, previous_key_files) = (section.path("next_key_file"), section.paths("previous_key_files"));
    let assertion = audit.map(|audit| Assertion {
        issuer: issuer.unwrap_or_else(|| audit.origin.clone()),
        key_file: key_file.unwrap_or_else(|| audit.directory.join("assertion.key")),
        next_key_file,
        previous_key_files,
    });
    if let Some((a, audit)) = assertion.as_ref().zip(audit) {
        let others = a.next_key_file.iter().chain(&a.previous_key_files).map(PathBuf::as_path);
        if others.chain(audit.key.file()).any(|other| other == a.key_file) {
            section.problem("key_file", "`key_file` names another key's file", "give each key a file of its own");
        }
    }
    section.close();
    assertion
}

/// Without an `[audit]` there is no place to take.
fn read_masks(mut section: Section<'_, '_, '_>, audit: Option<&Audit>) -> Option<Masks> {
    let key_file = section.path("key_file");
    section.close();
    Some(Masks { key_file: key_file.or_else(|| Some(audit?.directory.join("masks.key")))? })
}

/// One request in ten tells enough, and costs a tenth.
const SHADOW_SHARE: f64 = 0.1;

fn read_shadow(mut section: Section<'_, '_, '_>, base: &Path) -> Option<Shadow> {
    let policies = section.list("policies", "a folder or a list of them, relative to this file or absolute", |t| {
        (!t.is_empty()).then(|| base.join(t))
    });
    let share = section.ratio("share", SHADOW_SHARE);
    if section.has("share") && policies.is_empty() {
        section.missing("policies", "the folder of the policies to try: `policies = \"policies/next\"`");
    }
    section.close();
    (!policies.is_empty()).then_some(Shadow { policies, share })
}

fn read_limits(mut section: Section<'_, '_, '_>) -> Limits {
    let default = Limits::default();
    let header_bytes = section.bytes("header_bytes_max", 8192..=1 << 20, default.header_bytes_max as u64);
    let limits = Limits {
        connections_max: section.integer("connections_max", 1..=1_000_000, default.connections_max),
        header_bytes_max: usize::try_from(header_bytes).unwrap_or(default.header_bytes_max),
        headers_max: section.integer("headers_max", 8..=1_000, default.headers_max),
        requests_per_organisation: section.integer(
            "requests_per_organisation",
            1..=1_000_000,
            default.requests_per_organisation,
        ),
        proofs_per_organisation: section.integer(
            "proofs_per_organisation",
            1_000..=10_000_000,
            default.proofs_per_organisation,
        ),
        header_timeout: section.duration(
            "header_timeout",
            Duration::from_millis(100)..=Duration::from_secs(300),
            default.header_timeout,
        ),
        drain_timeout: section.duration("drain_timeout", Duration::ZERO..=YEAR, default.drain_timeout),
    };
    section.close();
    limits
}

fn read_telemetry(mut section: Section<'_, '_, '_>) -> Telemetry {
    let default = Telemetry::default();
    let log = section.parsed("log", "`\"json\"` or `\"pretty\"`", |t| match t {
        "json" => Some(LogFormat::Json),
        "pretty" => Some(LogFormat::Pretty),
        _ => None,
    });
    let level = section.parsed(
        "level",
        "`\"error\"`, `\"warn\"`, `\"info\"`, `\"debug\"`, or directives such as `\"info,audit=debug\"`",
        |t| crate::telemetry::is_filter(t).then(|| t.to_owned()),
    );
    let endpoint =
        section.parsed("otlp_endpoint", "a collector's gRPC address, such as `\"http://127.0.0.1:4317\"`", |t| {
            crate::telemetry::is_endpoint(t).then(|| t.to_owned())
        });
    let telemetry = Telemetry {
        log: log.unwrap_or(default.log),
        level: level.unwrap_or(default.level),
        otlp_endpoint: endpoint,
        sample_ratio: section.ratio("sample_ratio", default.sample_ratio),
        follow_callers: section.flag("follow_callers", default.follow_callers),
    };
    section.close();
    telemetry
}
