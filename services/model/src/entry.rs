//! The audit entry, format 1.6.
//!
//! An entry is one canonical JSON object ([`crate::canonical`]) of at most 65,535 bytes (C2SP tlog-tiles: entries are
//! prefixed by a 16-bit length). A producer makes a [`Draft`]; the writer of the log gives it its place in its
//! organisation's own sequence and seals it. The stored bytes are the record: nobody re-encodes them.
//!
//! Members of every entry: `v`, `kind`, `nonce` (128 random bits, so that a sibling hash in somebody else's proof cannot
//! be guessed), `time`, `boot` (one run of one broker). Entries that concern an organisation have `org`, `org_seq`
//! (1, 2, 3, … per organisation) and, from the second on, `org_prev` (index of that organisation's previous entry). A summary has
//! `org_last` besides ([`crate::summary`]).

use crate::canonical::{self, Encoded, Keys, Members, Picked, Raw, RawObject, Value};
use crate::pruning::Prune;
use crate::{Digest, OrganisationId, Timestamp};
use std::borrow::Cow;
use std::sync::Arc;

/// Major: readers must know it. Minor: members were added. 1.1 says how a caller proved itself and who acts for it,
/// 1.2 what was hidden of an answer, 1.3 what a new policy set changes, and whatever else a decision was made from, 1.4 what
/// an answer waited for in the log, what was erased from behind commitments, and which entries are not kept any longer, 1.5
/// which country a request came from, 1.6 how far an organisation's entries go.
pub const VERSION: &str = "1.6";
pub const BYTES_MAX: usize = 65_535;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Decision,
    Outcome,
    /// One failed login.
    RefusedLogin,
    /// Failed logins beyond the budget, counted.
    RefusedLogins,
    /// A policy set became active, or was refused.
    Policy,
    /// Catalog, registry or configuration changed, or a change was refused.
    Admin,
    Key,
    /// The log was opened or closed.
    System,
    Heartbeat,
    /// How far an organisation's entries go, and when that is said again.
    OrgSummary,
    AuditRead,
    Erasure,
    /// Entries before a minimum index are gone, as a written policy says.
    Pruning,
    Gap,
}

impl Kind {
    pub const ALL: [Self; 14] = [
        Self::Decision,
        Self::Outcome,
        Self::RefusedLogin,
        Self::RefusedLogins,
        Self::Policy,
        Self::Admin,
        Self::Key,
        Self::System,
        Self::Heartbeat,
        Self::OrgSummary,
        Self::AuditRead,
        Self::Erasure,
        Self::Pruning,
        Self::Gap,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Outcome => "outcome",
            Self::RefusedLogin => "refused_login",
            Self::RefusedLogins => "refused_logins",
            Self::Policy => "policy",
            Self::Admin => "admin",
            Self::Key => "key",
            Self::System => "system",
            Self::Heartbeat => "heartbeat",
            Self::OrgSummary => "org_summary",
            Self::AuditRead => "audit_read",
            Self::Erasure => "erasure",
            Self::Pruning => "pruning",
            Self::Gap => "gap",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// How an allowed exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// The last byte was handed to the caller's connection.
    Complete,
    /// The caller went away before the end.
    CallerAborted,
    /// The source was never asked.
    NotForwarded,
    /// The source could not be reached, refused, redirected or broke off before its answer began.
    SourceFailed,
    SourceTimeout,
    /// The source broke off in the middle of its answer; the caller saw an abort.
    SourceAborted,
    /// The permission ended while the source was at work or its answer on its way: a suspension, a revocation, a new
    /// policy, the end of the token. The caller saw a refusal, or an abort once the answer had begun.
    Withdrawn,
    /// The broker was told to end and did not wait any longer; the caller saw an abort.
    BrokerStopped,
    /// The broker ended before it could say.
    UnknownAfterCrash,
}

impl Ended {
    pub const ALL: [Self; 9] = [
        Self::Complete,
        Self::CallerAborted,
        Self::NotForwarded,
        Self::SourceFailed,
        Self::SourceTimeout,
        Self::SourceAborted,
        Self::Withdrawn,
        Self::BrokerStopped,
        Self::UnknownAfterCrash,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::CallerAborted => "caller_aborted",
            Self::NotForwarded => "not_forwarded",
            Self::SourceFailed => "source_failed",
            Self::SourceTimeout => "source_timeout",
            Self::SourceAborted => "source_aborted",
            Self::Withdrawn => "withdrawn",
            Self::BrokerStopped => "broker_stopped",
            Self::UnknownAfterCrash => "unknown_after_crash",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ended| ended.as_str() == text)
    }
}

/// What the log keeps of open exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An allow: an outcome must follow.
    Opens,
    /// The outcome of the decision at this index.
    Closes(u64),
    None,
}

/// Values behind a commitment, to be kept where they can be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosure {
    pub class: CommitmentClass,
    pub salt: [u8; 16],
    pub values: Encoded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommitmentClass {
    /// Subject, token id.
    Subject,
    /// Peer address, user agent.
    Network,
    /// Path and query parameters.
    Payload,
}

impl CommitmentClass {
    pub const ALL: [Self; 3] = [Self::Subject, Self::Network, Self::Payload];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Network => "network",
            Self::Payload => "payload",
        }
    }
}

/// `{"class":`, `,"salt":`, `,"v":"millgate-commitment/1","values":`, and some.
const COMMITMENT_BYTES_BESIDE: usize = 128;

impl Disclosure {
    /// SHA-256 over the canonical object `{"class","salt","v","values"}`.
    pub fn commitment(&self) -> Digest {
        let values = self.values.as_bytes();
        let mut tuple = Vec::with_capacity(values.len() + COMMITMENT_BYTES_BESIDE);
        tuple.extend_from_slice(b"{\"class\":");
        canonical::encode_text(self.class.as_str(), &mut tuple);
        tuple.extend_from_slice(b",\"salt\":\"");
        canonical::hex_into(&self.salt, &mut tuple);
        tuple.extend_from_slice(b"\",\"v\":\"millgate-commitment/1\",\"values\":");
        tuple.extend_from_slice(values);
        tuple.push(b'}');
        Digest::of(&tuple)
    }
}

/// The canonical object of the commitments, and that of what they commit to: `{"network":{"salt":…,"values":…},…}`.
fn commit(mut disclosures: Vec<Disclosure>) -> (Members, Vec<u8>) {
    disclosures.sort_unstable_by_key(|d| d.class.as_str());
    let mut commitments = Members::with_capacity(disclosures.len() * 80);
    let mut disclosed = Vec::with_capacity(512);
    for disclosure in &disclosures {
        disclosed.push(if disclosed.is_empty() { b'{' } else { b',' });
        canonical::encode_text(disclosure.class.as_str(), &mut disclosed);
        disclosed.extend_from_slice(b":{\"salt\":\"");
        canonical::hex_into(&disclosure.salt, &mut disclosed);
        disclosed.extend_from_slice(b"\",\"values\":");
        disclosed.extend_from_slice(disclosure.values.as_bytes());
        disclosed.push(b'}');
        commitments.hex(disclosure.class.as_str(), &disclosure.commitment().0);
    }
    disclosed.push(b'}');
    (commitments, disclosed)
}

/// A principal's entry in the erasable directory: what its random reference stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRow {
    pub principal: String,
    pub reference: String,
}

/// Values that an entry takes away from behind the commitments of earlier ones, together with it or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erase {
    /// Entries of which nothing is left; each has values now.
    pub deleted: Vec<u64>,
    /// What is left of others, as [`Draft::disclosed`]; each has values now.
    pub rewritten: Vec<(u64, Vec<u8>)>,
    /// References that stand for nobody any longer.
    pub references: Vec<String>,
}

/// Bytes that entries name by digest: policy sets, schemas, entity slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub digest: Digest,
    pub bytes: Arc<[u8]>,
}

/// An entry before the log has given it its place, with what must become durable together with it.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: Kind,
    pub effect: Effect,
    time: Timestamp,
    organisation: Option<OrganisationId>,
    request: Option<Arc<str>>,
    /// Members that stand before and after those that the writer assigns, without the braces.
    before: Vec<u8>,
    after: Vec<u8>,
    /// What the commitments commit to; empty where there are none.
    disclosed: Vec<u8>,
    /// Of everybody whom the entry names by reference, unless they are stored already.
    pub directory: Vec<DirectoryRow>,
    pub content: Vec<Content>,
    /// What becomes undone in the same moment in which the entry becomes durable.
    pub erase: Option<Box<Erase>>,
    /// Entries that go in that moment.
    pub prune: Option<Arc<Prune>>,
}

/// An entry that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    #[error("entry of {0} bytes; at most {BYTES_MAX} fit")]
    TooLarge(usize),
    #[error("member `{0}` is assigned by the log")]
    Reserved(&'static str),
}

/// `,"org_prev":` and `,"org_seq":` with two numbers of 16 digits, braces and a comma. A summary, which has `org_last` too, is small.
const PLACE_BYTES_MAX: usize = 64;

impl Draft {
    /// `members` are those of the kind; the common ones are added here. `disclosures` become `commit`.
    ///
    /// # Errors
    /// When the entry would not fit, or names a member that the log assigns.
    pub fn new(
        kind: Kind,
        common: &Common,
        organisation: Option<&OrganisationId>,
        members: impl Into<Members>,
        disclosures: Vec<Disclosure>,
    ) -> Result<Self, DraftError> {
        let mut members = members.into();
        if let Some(reserved) = members.names().find(|name| is_reserved(name)) {
            return Err(DraftError::Reserved(reserved));
        }
        let request = members.text_of("request").map(Arc::from);
        members.text("v", VERSION);
        members.text("kind", kind.as_str());
        members.hex("nonce", &common.nonce);
        members.text("time", common.time.to_rfc3339());
        members.text("boot", &*common.boot);
        let mut disclosed = Vec::new();
        if !disclosures.is_empty() {
            let (commitments, values) = commit(disclosures);
            members.object("commit", &commitments);
            disclosed = values;
        }
        if let Some(organisation) = organisation {
            members.text("org", organisation.as_str());
        }
        // `org_last`, `org_prev` and `org_seq` sort directly after `org`; no other member begins with `org_`.
        let (before, after) = members.split_at("org_");
        let size = before.len() + after.len() + PLACE_BYTES_MAX;
        if size > BYTES_MAX {
            return Err(DraftError::TooLarge(size));
        }
        Ok(Self {
            kind,
            effect: Effect::None,
            time: common.time,
            organisation: organisation.cloned(),
            request,
            before,
            after,
            disclosed,
            directory: Vec::new(),
            content: Vec::new(),
            erase: None,
            prune: None,
        })
    }

    pub fn organisation(&self) -> Option<&OrganisationId> {
        self.organisation.as_ref()
    }

    /// The entry's `request`, if it has one.
    pub fn request(&self) -> Option<&Arc<str>> {
        self.request.as_ref()
    }

    /// The entry's `time`.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The values behind the commitments, to be kept where they can be erased: canonical JSON,
    /// `{"network":{"salt":…,"values":…},…}`. `None` where nothing is committed to.
    pub fn disclosed(&self) -> Option<&[u8]> {
        (!self.disclosed.is_empty()).then_some(&self.disclosed)
    }

    /// References of whoever takes part: entries have one spelling, and quotes in texts are escaped, so what looks like a member
    /// is one.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let parts = [&self.before, &self.after].map(|part| std::str::from_utf8(part).unwrap_or_default());
        let named = parts.into_iter().flat_map(|part| part.split("\"principal\":\"").skip(1));
        named.filter_map(|behind| behind.split('"').next())
    }

    /// The final bytes. `place` is given exactly when the draft has an organisation.
    pub fn seal(&self, place: Option<Place>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.before.len() + self.after.len() + PLACE_BYTES_MAX);
        bytes.push(b'{');
        bytes.extend_from_slice(&self.before);
        if let Some(place) = place {
            if self.kind == Kind::OrgSummary {
                bytes.extend_from_slice(b",\"org_last\":");
                canonical::encode_int(i64::try_from(place.sequence.saturating_sub(1)).unwrap_or(i64::MAX), &mut bytes);
            }
            if let Some(previous) = place.previous {
                bytes.extend_from_slice(b",\"org_prev\":");
                canonical::encode_int(i64::try_from(previous).unwrap_or(i64::MAX), &mut bytes);
            }
            bytes.extend_from_slice(b",\"org_seq\":");
            canonical::encode_int(i64::try_from(place.sequence).unwrap_or(i64::MAX), &mut bytes);
        }
        if !self.after.is_empty() {
            bytes.push(b',');
            bytes.extend_from_slice(&self.after);
        }
        bytes.push(b'}');
        bytes
    }
}

fn is_reserved(name: &str) -> bool {
    matches!(name, "org" | "org_last" | "org_prev" | "org_seq" | "v" | "kind" | "nonce" | "time" | "boot" | "commit")
}

/// Members of every entry.
#[derive(Clone, Debug)]
pub struct Common {
    pub nonce: [u8; 16],
    pub time: Timestamp,
    pub boot: Arc<str>,
}

/// An entry's place in its organisation's own sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 1 for the first.
    pub sequence: u64,
    /// Index in the log of the organisation's previous entry.
    pub previous: Option<u64>,
}

/// An entry as read from the log, checked for form.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: Kind,
    pub time: Timestamp,
    pub organisation: Option<OrganisationId>,
    pub place: Option<Place>,
    value: Value,
}

/// Why bytes are not an entry of this format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("not canonical JSON: {0}")]
    NotCanonical(#[from] canonical::NotCanonical),
    #[error("entry of {0} bytes; at most {BYTES_MAX} fit")]
    TooLarge(usize),
    #[error("member `{0}` is missing or ill-typed")]
    Member(&'static str),
    #[error("format version `{0}` is not known")]
    Version(String),
}

impl Entry {
    /// Checks canonical form, format version and the common members.
    ///
    /// # Errors
    /// What is wrong with the bytes. Unknown kinds and members of a later minor version are errors of `kind` only.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        Outline::read(bytes)?.entry()
    }

    pub fn get(&self, member: &str) -> Option<&Value> {
        self.value.get(member)
    }

    pub fn text(&self, member: &str) -> Option<&str> {
        self.value.get(member).and_then(Value::as_text)
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// What the entry names by digest and a store keeps: policies, schema and slice of a decision, policies and schema of an
    /// activation, the retention policy of an erasure or a pruning.
    pub fn contents(&self) -> impl Iterator<Item = Digest> {
        let digest = |value: Option<&Value>| {
            let bytes = canonical::unhex(value?.as_text()?)?;
            Some(Digest(bytes.try_into().ok()?))
        };
        let of_decision = self.get("digests");
        let of_decision = ["policies", "schema", "slice"].map(|name| digest(of_decision.and_then(|d| d.get(name))));
        let is_activation = self.kind == Kind::Policy && self.text("event").is_some_and(|e| e.ends_with("activated"));
        let of_activation = ["digest", "schema"].map(|name| digest(self.get(name).filter(|_| is_activation)));
        // How long values and entries are kept, in the words of the time.
        let is_by_age = matches!(self.kind, Kind::Erasure | Kind::Pruning);
        let of_retention = digest(self.get("policy").filter(|_| is_by_age));
        of_decision.into_iter().chain(of_activation).chain([of_retention]).flatten()
    }
}

fn major(version: &str) -> &[u8] {
    version.as_bytes().split(|byte| *byte == b'.').next().unwrap_or_default()
}

/// An entry where it lies, checked as [`Entry::parse`] checks it: for whoever looks at many and needs little of each.
///
/// `M` is what is known of its members: all of them, or those that somebody [picks](Outline::pick).
#[derive(Clone, Debug)]
pub struct Outline<'a, M = RawObject<'a>> {
    pub kind: Kind,
    pub time: Timestamp,
    pub boot: Cow<'a, str>,
    pub organisation: Option<OrganisationId>,
    pub place: Option<Place>,
    pub whole: Raw<'a>,
    pub members: M,
}

const COMMON: Keys<8> = Keys::new(["boot", "kind", "nonce", "org", "org_prev", "org_seq", "time", "v"]);

impl<'a> Outline<'a> {
    /// # Errors
    /// Those of [`Entry::parse`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, EntryError> {
        fits(bytes)?;
        let (members, common) = RawObject::read_with(bytes, &COMMON)?;
        Self::of(members.whole(), common, members)
    }

    pub fn text(&self, member: &str) -> Option<Cow<'a, str>> {
        self.members.text(member)
    }
}

impl<'a, const N: usize> Outline<'a, Picked<'a, N>> {
    /// With these members of it and no others.
    ///
    /// # Errors
    /// Those of [`Entry::parse`].
    pub fn pick(bytes: &'a [u8], members: &Keys<N>) -> Result<Self, EntryError> {
        fits(bytes)?;
        let (whole, common, members) = Raw::pick(bytes, (&COMMON, members))?;
        Self::of(whole, common, members)
    }
}

fn fits(bytes: &[u8]) -> Result<(), EntryError> {
    if bytes.len() > BYTES_MAX { Err(EntryError::TooLarge(bytes.len())) } else { Ok(()) }
}

impl<'a, M> Outline<'a, M> {
    fn of(whole: Raw<'a>, common: Picked<'a, 8>, members: M) -> Result<Self, EntryError> {
        let [boot, kind, nonce, organisation, previous, sequence, time, version] = common;
        let text =
            |raw: Option<Raw<'a>>, name: &'static str| raw.and_then(Raw::as_text).ok_or(EntryError::Member(name));
        let version = text(version, "v")?;
        if major(&version) != major(VERSION) {
            return Err(EntryError::Version(version.into_owned()));
        }
        let kind = Kind::parse(&text(kind, "kind")?).ok_or(EntryError::Member("kind"))?;
        let time = text(time, "time")?;
        let time = Timestamp::parse_canonical(&time).ok_or(EntryError::Member("time"))?;
        let nonce = text(nonce, "nonce")?;
        if nonce.len() != 32 || !nonce.bytes().fold(true, |hex, b| hex & matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(EntryError::Member("nonce"));
        }
        let boot = text(boot, "boot")?;
        let organisation = match organisation {
            None => None,
            Some(_) => Some(OrganisationId::new(&text(organisation, "org")?).map_err(|_| EntryError::Member("org"))?),
        };
        let index = |raw: Option<Raw<'a>>, name: &'static str| match raw {
            None => Ok(None),
            Some(v) => v.as_int().and_then(|n| u64::try_from(n).ok()).map(Some).ok_or(EntryError::Member(name)),
        };
        let (sequence, previous) = (index(sequence, "org_seq")?, index(previous, "org_prev")?);
        let place = match (&organisation, sequence, previous) {
            (Some(_), Some(1), None) => Some(Place { sequence: 1, previous: None }),
            (Some(_), Some(sequence @ 2..), Some(_)) => Some(Place { sequence, previous }),
            (None, None, None) => None,
            _ => return Err(EntryError::Member("org_seq")),
        };
        Ok(Self { kind, time, boot, organisation, place, whole, members })
    }

    /// All of it.
    ///
    /// # Errors
    /// None: it was checked.
    pub fn entry(&self) -> Result<Entry, EntryError> {
        let Self { kind, time, organisation, place, whole, .. } = self;
        let value = canonical::tree(*whole)?;
        Ok(Entry { kind: *kind, time: *time, organisation: organisation.clone(), place: *place, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common() -> Common {
        Common { nonce: [7; 16], time: Timestamp(1_795_375_200_123), boot: "b1".into() }
    }

    #[test]
    fn a_sealed_draft_is_a_canonical_entry_with_its_place() {
        let org = OrganisationId::new("acme").unwrap();
        let disclosure = Disclosure {
            class: CommitmentClass::Subject,
            salt: [1; 16],
            values: Value::object([("sub", Value::text("anna"))]).into(),
        };
        let draft = Draft::new(
            Kind::Decision,
            &common(),
            Some(&org),
            [("decision", Value::text("allow")), ("request", Value::text("r")), ("zone", Value::text("z"))],
            vec![disclosure],
        )
        .unwrap();
        let first = draft.seal(Some(Place { sequence: 1, previous: None }));
        let entry = Entry::parse(&first).unwrap();
        assert_eq!(entry.place, Some(Place { sequence: 1, previous: None }));
        assert_eq!((entry.text("request"), draft.request().map(|r| &**r)), (Some("r"), Some("r")));
        let later = Entry::parse(&draft.seal(Some(Place { sequence: 2, previous: Some(0) }))).unwrap();
        assert_eq!(later.place.unwrap().previous, Some(0));
        assert_eq!(
            String::from_utf8(first).unwrap(),
            "{\"boot\":\"b1\",\"commit\":{\"subject\":\"a\"},\"decision\":\"allow\",\"kind\":\"decision\",\
             \"nonce\":\"07070707070707070707070707070707\",\"org\":\"acme\",\"org_seq\":1,\"request\":\"r\",\
             \"time\":\"2026-11-22T19:20:00.123Z\",\"v\":\"1.6\",\"zone\":\"z\"}"
                .replace("\"a\"}", "\"147a7f7e4133e734a340017d06bf89a4c43803366c02dddbbe4f9b3c095a3d95\"}")
        );
    }

    #[test]
    fn entries_without_organisation_have_no_place() {
        let draft = Draft::new(Kind::Heartbeat, &common(), None, [], vec![]).unwrap();
        let entry = Entry::parse(&draft.seal(None)).unwrap();
        assert_eq!((entry.organisation, entry.place, draft.request()), (None, None, None));
    }

    #[test]
    fn oversized_and_reserved_drafts_are_refused() {
        let big = [("blob", Value::text("x".repeat(BYTES_MAX)))];
        assert!(matches!(Draft::new(Kind::Admin, &common(), None, big, vec![]), Err(DraftError::TooLarge(_))));
        let reserved = [("org_seq", Value::int(1))];
        assert!(matches!(Draft::new(Kind::Admin, &common(), None, reserved, vec![]), Err(DraftError::Reserved(_))));
    }

    #[test]
    fn entries_of_every_minor_version_are_read() {
        let entry = Draft::new(Kind::Heartbeat, &common(), None, [], vec![]).unwrap().seal(None);
        let entry = String::from_utf8(entry).unwrap();
        for version in ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.9"] {
            let other = entry.replacen("\"v\":\"1.6\"", &format!("\"v\":\"{version}\""), 1);
            assert_eq!(Entry::parse(other.as_bytes()).unwrap().text("v"), Some(version));
        }
    }

    #[test]
    fn ill_formed_entries_are_refused() {
        let good =
            String::from_utf8(Draft::new(Kind::Heartbeat, &common(), None, [], vec![]).unwrap().seal(None)).unwrap();
        for (from, to) in [
            ("\"v\":\"1.6\"", "\"v\":\"2.0\""),
            ("heartbeat", "heartbreak"),
            (".123Z", ".1234Z"),
            ("0707", "07"),
            ("{\"boot\":\"b1\",", "{"),
            ("\"nonce\"", "\"org_seq\":1,\"nonce\""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(Entry::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn commitments_depend_on_class_salt_and_values() {
        let d =
            |class, salt, v: &str| Disclosure { class, salt: [salt; 16], values: Value::text(v).into() }.commitment();
        let base = d(CommitmentClass::Subject, 1, "anna");
        assert_ne!(base, d(CommitmentClass::Network, 1, "anna"));
        assert_ne!(base, d(CommitmentClass::Subject, 2, "anna"));
        assert_ne!(base, d(CommitmentClass::Subject, 1, "berta"));
    }
}
