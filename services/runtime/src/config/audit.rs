//! The log of a broker, as the configuration names it: where it is, who signs it, and how long what is in it is kept.

use super::log_key::{self, LogKey};
use super::section::Section;
use super::sinks::{self, Sinks};
use super::store::{self, Store};
use model::entry::CommitmentClass;
use std::path::PathBuf;
use std::time::Duration;

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

pub(super) fn read(mut section: Section<'_, '_, '_>) -> Option<Audit> {
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
        store: store::read(section.optional_table("store", "audit.store")),
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

fn legal_hold(text: &str) -> Option<String> {
    let (organisation, subject) = text.split_once('/').map_or((text, None), |(of, who)| (of, Some(who)));
    let is_good = model::OrganisationId::new(organisation).is_ok()
        && subject.is_none_or(|subject| model::Subject::new(subject).is_ok());
    is_good.then(|| text.to_owned())
}

pub(super) const DAYS: &str = "whole days, from `\"1d\"` to `\"36500d\"`";

pub(super) fn days(text: &str) -> Option<u32> {
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
