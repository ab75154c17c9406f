//! `millgate.toml`: listeners, TLS, folders, countries, audit log, assertions, masks, limits, telemetry.
//!
//! Unknown keys, wrong values and missing files are problems with a place and a suggestion; everything that is wrong is
//! reported at once. Paths are relative to the file. There are no secrets in it, only names of files that hold them.

mod log_key;
mod problem;
mod section;
mod sinks;

#[cfg(test)]
mod tests;

use model::Origin;
use model::entry::CommitmentClass;
use model::party::SecretRef;
use model::url::DatabaseUrl;
use problem::{Problems, nearest};
use section::Section;
pub use sinks::{S3, Sinks, Syslog, Transport};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeTable;

pub use log_key::{LogKey, TokenKey};
pub use problem::Problem;

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Holds the store, unless that is elsewhere, and by default keys and published files. Created if absent.
    pub directory: PathBuf,
    /// The database in PostgreSQL that takes the place of the store in `directory`.
    pub store: Option<Store>,
    /// Tiles, entry bundles and checkpoints for auditors.
    pub publish_directory: PathBuf,
    /// Published files that only earlier checkpoints need stay so long for whoever is reading or copying them.
    pub publish_linger: Duration,
    /// The log's name in checkpoints, for ever.
    pub origin: String,
    /// The key that signs checkpoints.
    pub key: LogKey,
    /// Signs beside it, before it takes its place. Never created.
    pub next_key: Option<LogKey>,
    /// Have signed. Private or public keys.
    pub previous_key_files: Vec<PathBuf>,
    pub checkpoint_interval: Duration,
    /// An idle log signs again after this long.
    pub heartbeat: Duration,
    /// Time from one summary of an organisation's entries to the next, at the most; `None`: none are written.
    pub organisation_summary: Option<Duration>,
    /// Entries waiting for the writer; beyond it requests get 503.
    pub queue_max: usize,
    /// A request waits this long for its entry to be durable.
    pub deadline: Duration,
    /// A trust policy (C2SP tlog-policy) with the witnesses that cosign checkpoints.
    pub witnesses: Option<PathBuf>,
    /// Whom the witnesses' certificates are vouched for by, PEM; otherwise the machine's authorities.
    pub witnesses_ca_file: Option<PathBuf>,
    /// A checkpoint waits so long for them.
    pub witness_timeout: Duration,
    /// Further places that checkpoints go to.
    pub sinks: Sinks,
    /// Answers carry a receipt.
    pub receipts: bool,
    /// A receipt promises a checkpoint within this time.
    pub receipt_deadline: Duration,
    /// An answer waits so long for its receipt, from when its entry is durable, where the key is in a token.
    pub receipt_wait: Duration,
    /// Questions to the log use an index, in `directory`.
    pub index: bool,
    /// Per client prefix and issuer; beyond it refused logins are counted, not recorded one by one.
    pub refused_logins_per_minute: u32,
    /// Principals (`organisation/subject`) and organisations whose values must not be erased.
    pub legal_holds: Vec<String>,
    pub retention: Retention,
}

/// Days for which values behind commitments are kept, and entries; `None` is for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub subject: Option<u32>,
    pub network: Option<u32>,
    pub payload: Option<u32>,
    /// Of entries themselves.
    pub entries: Option<u32>,
    /// The policy of `entries` in words, or where it stands.
    pub policy: Option<String>,
}

/// A database in PostgreSQL, and how the broker logs in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub url: DatabaseUrl,
    /// Without it whoever sits in between reads along, and the password may go to anybody.
    pub tls: bool,
    /// PEM file with the authorities that vouch for it.
    pub ca_file: Option<PathBuf>,
    /// PEM files.
    pub client_certificate: Option<Tls>,
    pub username: String,
    pub password: Option<SecretRef>,
    pub connect_timeout: Duration,
    /// Nothing is signed before a synchronous standby has flushed it.
    pub standby: bool,
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

impl Audit {
    /// Everything but the place and the name at its default.
    pub fn new(directory: PathBuf, origin: String) -> Self {
        Self {
            publish_directory: directory.join("published"),
            publish_linger: Duration::from_secs(600),
            key: LogKey::File(directory.join("checkpoint.key")),
            next_key: None,
            previous_key_files: Vec::new(),
            directory,
            store: None,
            origin,
            checkpoint_interval: Duration::from_secs(1),
            heartbeat: Duration::from_secs(60),
            organisation_summary: Some(Duration::from_secs(86_400)),
            queue_max: 10_000,
            deadline: Duration::from_secs(2),
            witnesses: None,
            witnesses_ca_file: None,
            witness_timeout: Duration::from_secs(1),
            sinks: Sinks::default(),
            receipts: true,
            receipt_deadline: Duration::from_secs(60),
            receipt_wait: Duration::from_millis(250),
            index: true,
            refused_logins_per_minute: 60,
            legal_holds: Vec::new(),
            retention: Retention::default(),
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
    let audit = read_audit(Section::open(root, "audit", problems, base));
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

fn read_audit(mut section: Section<'_, '_, '_>) -> Option<Audit> {
    let origin_help = "name this log for auditors, for ever, for example `origin = \"plant.example/broker-1\"`";
    let is_origin = |t: &str| !t.is_empty() && t.len() <= 128 && t.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
    if !section.has("directory") {
        section.missing("directory", "the folder of the audit log: `directory = \"audit\"`");
    }
    if !section.has("origin") {
        section.missing("origin", origin_help);
    }
    let directory = section.path("directory");
    // C2SP signed-note: a key name without spaces and plus signs. It is printed everywhere, so ASCII only.
    let origin = section
        .parsed("origin", "1 to 128 ASCII characters without spaces and `+`", |t| is_origin(t).then(|| t.to_owned()));
    let seconds = Duration::from_secs;
    let default = Audit::new(directory.clone().unwrap_or_default(), origin.clone().unwrap_or_default());
    let audit = Audit {
        publish_directory: section.path("publish_directory").unwrap_or(default.publish_directory),
        publish_linger: section.duration("publish_linger", seconds(0)..=seconds(86_400), default.publish_linger),
        key: log_key::read(&mut section, "key", "key_file", "audit.key").unwrap_or(default.key),
        next_key: log_key::read(&mut section, "next_key", "next_key_file", "audit.next_key"),
        previous_key_files: section.paths("previous_key_files"),
        checkpoint_interval: section.duration(
            "checkpoint_interval",
            Duration::from_millis(100)..=seconds(3600),
            default.checkpoint_interval,
        ),
        heartbeat: section.duration("heartbeat", seconds(1)..=seconds(86_400), default.heartbeat),
        organisation_summary: section.duration_or_off(
            "organisation_summary",
            seconds(3_600)..=seconds(30 * 86_400),
            default.organisation_summary,
        ),
        queue_max: section.integer("queue_max", 1..=1_000_000, default.queue_max),
        deadline: section.duration("deadline", Duration::from_millis(10)..=seconds(60), default.deadline),
        witnesses: section.path("witnesses"),
        witnesses_ca_file: section.path("witnesses_ca_file"),
        witness_timeout: section.duration(
            "witness_timeout",
            Duration::from_millis(50)..=seconds(60),
            default.witness_timeout,
        ),
        sinks: sinks::read(section.within("sinks", "audit.sinks")),
        receipts: section.flag("receipts", default.receipts),
        receipt_deadline: section.duration("receipt_deadline", seconds(1)..=seconds(86_400), default.receipt_deadline),
        receipt_wait: section.duration("receipt_wait", Duration::from_millis(10)..=seconds(5), default.receipt_wait),
        index: section.flag("index", default.index),
        refused_logins_per_minute: section.integer(
            "refused_logins_per_minute",
            1..=100_000,
            default.refused_logins_per_minute,
        ),
        store: read_store(section.optional_table("store", "audit.store")),
        legal_holds: section.list("legal_holds", "`organisation/subject`, or an organisation", legal_hold),
        retention: read_retention(section.within("retention", "audit.retention")),
        directory: default.directory,
        origin: default.origin,
    };
    if audit.receipts && audit.receipt_deadline < audit.checkpoint_interval * 2 {
        section.problem(
            "receipt_deadline",
            "receipts would promise a checkpoint sooner than one is made",
            "let it be twice `checkpoint_interval` or more",
        );
    }
    let previous = audit.previous_key_files.iter().map(|path| LogKey::File(path.clone()));
    if audit.next_key.iter().cloned().chain(previous).any(|other| other.is_same(&audit.key)) {
        let (key, place) = if section.has("key") { ("key", "object") } else { ("key_file", "file") };
        let help = format!("give each key {} of its own", if place == "file" { "a file" } else { "an object" });
        section.problem(key, format!("`{key}` names another key's {place}"), help);
    }
    if audit.publish_directory == audit.directory {
        section.problem(
            "publish_directory",
            "`publish_directory` is the store's own folder: auditors would be given the store",
            "choose another folder, or leave it out",
        );
    }
    section.close();
    directory.and(origin).map(|_| audit)
}

/// The same words as for a database that is a source.
fn read_store(section: Option<Section<'_, '_, '_>>) -> Option<Store> {
    let mut section = section?;
    for (key, help) in [
        ("url", "the database: `url = \"postgresql://HOST:PORT/DATABASE\"`"),
        ("username", "a role: `username = \"…\"`"),
    ] {
        if !section.has(key) {
            section.missing(key, help);
        }
    }
    let url = section.address("url");
    let username = section.text("username", "the role to log in as").map(str::to_owned);
    let (tls, ca_file) = (section.flag("tls", true), section.path("ca_file"));
    if tls && !section.has("ca_file") {
        let help = "add `ca_file = \"…\"`, or `tls = false` where nobody sits in between";
        section.problem("tls", "`[audit.store]` has no `ca_file`, and nobody else vouches for a database", help);
    }
    let client_certificate = match (section.path("certificate_file"), section.path("key_file")) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        _ => {
            section.problem("certificate_file", "`certificate_file` and `key_file` belong together", "name both");
            None
        }
    };
    for (key, there) in [("ca_file", ca_file.is_some()), ("certificate_file", client_certificate.is_some())] {
        if there && !tls {
            section.problem(key, format!("`[audit.store]` has a `{key}` but no TLS"), "remove `tls = false`");
        }
    }
    let default = Store::CONNECT_TIMEOUT;
    let longest = Duration::from_secs(60);
    let connect_timeout = section.duration("connect_timeout", Duration::from_millis(10)..=longest, default);
    let (password, standby) = (section.secret("password"), section.flag("standby", false));
    section.close();
    Some(Store { url: url?, tls, ca_file, client_certificate, username: username?, password, connect_timeout, standby })
}

impl Store {
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
}

fn legal_hold(text: &str) -> Option<String> {
    let (organisation, subject) = text.split_once('/').map_or((text, None), |(of, who)| (of, Some(who)));
    let is_good = model::OrganisationId::new(organisation).is_ok()
        && subject.is_none_or(|subject| model::Subject::new(subject).is_ok());
    is_good.then(|| text.to_owned())
}

const DAYS: &str = "whole days, from `\"1d\"` to `\"36500d\"`";

fn days(text: &str) -> Option<u32> {
    text.strip_suffix('d')?.parse().ok().filter(|days| (1..=36_500).contains(days))
}

/// It stands in the log's store, and in archives.
const POLICY_CHARS_MAX: usize = 2_000;

fn read_retention(mut section: Section<'_, '_, '_>) -> Retention {
    let mut days = |key| section.parsed(key, DAYS, days);
    let (subject, network, payload, entries) = (days("subject"), days("network"), days("payload"), days("entries"));
    let policy = section.parsed("policy", "a text of 1 to 2,000 characters, or a URL", |text| {
        (1..=POLICY_CHARS_MAX).contains(&text.chars().count()).then(|| text.to_owned())
    });
    let of_class =
        [(CommitmentClass::Subject, subject), (CommitmentClass::Network, network), (CommitmentClass::Payload, payload)];
    let values = of_class.into_iter().filter_map(|(class, days)| Some((class, days?))).collect();
    if let Some(fault) = entries.and_then(|days| model::pruning::days_fault(days, &values)) {
        section.problem("entries", fault, "keep them longer, or leave it out to keep them for ever");
    }
    if policy.is_some() && !section.has("entries") {
        let help = "say for how long with `entries`, or remove it";
        section.problem("policy", "a policy for entries, and they are kept for ever", help);
    }
    section.close();
    Retention { subject, network, payload, entries, policy }
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
