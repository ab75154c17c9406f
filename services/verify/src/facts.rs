//! What the rules of the log need to know of an entry. Small, so that many fit in memory at once.

use crate::keys::Change;
use model::canonical::{Keys, Picked, Raw, unhex_array};
use model::entry::{Entry, EntryError, Kind, Outline, Place};
use model::erasure::Event;
use model::pruning::Pruning;
use model::summary::Summary;
use model::{Country, OrganisationId, Timestamp, Value};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub time: Timestamp,
    /// With the entry's place in that organisation's sequence.
    pub organisation: Option<(OrganisationId, Place)>,
    /// An exchange was allowed: an outcome must follow.
    pub opens: bool,
    /// The decision that an outcome says it belongs to.
    pub of: Option<u64>,
    /// What an erasure says, read as if it stood at index 0; or its member that cannot be understood.
    pub erasure: Option<Box<Result<Event, &'static str>>>,
    /// What a pruning says, read as if it stood at index 0; or its member that cannot be understood.
    pub pruning: Option<Box<Result<Pruning, &'static str>>>,
    /// What a summary says of its organisation's entries; or its member that cannot be understood.
    pub summary: Option<Box<Result<Summary, &'static str>>>,
    /// What a log begins with that takes the place of another one.
    pub incarnation: Option<Box<Value>>,
    /// Which policies are in use, as far as an entry speaks of that.
    pub ruled: Option<Ruled>,
    /// What is said of a key of the log; or the member that cannot be understood.
    pub key: Option<Box<Result<Change, &'static str>>>,
    /// It says that a request came from what is no country by its form.
    pub from_nowhere: bool,
    /// Stands for the text of `boot`; two runs of a broker are told apart, no more.
    pub boot: u64,
}

/// What an entry has to do with the policies in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruled {
    /// The log was opened; no policies are in use yet.
    Nothing,
    /// These came into use.
    Activated(model::Digest),
    /// These were asked.
    Asked(model::Digest),
    /// An exchange was allowed, by policies that the entry does not say.
    Unnamed,
}

/// Members that the rules of the log look at.
const WANTED: Keys<6> = Keys::new(["country", "decision", "digest", "digests", "event", "of"]);
const POLICIES: Keys<1> = Keys::new(["policies"]);

/// An entry of which these members are known.
type Seen<'a> = Outline<'a, Picked<'a, 6>>;

impl Ruled {
    fn of(entry: &Seen<'_>, allows: bool) -> Option<Self> {
        let [_, _, activated, digests, event, _] = entry.members;
        let is = |text: &str| event.and_then(Raw::as_text).is_some_and(|event| event == text);
        match entry.kind {
            Kind::System => is("opened").then_some(Self::Nothing),
            Kind::Policy if is("activated") => digest(activated?).map(Self::Activated),
            Kind::Decision | Kind::AuditRead => {
                let asked = || {
                    let [policies] = digests?.several(&POLICIES);
                    digest(policies?)
                };
                // What is refused may be refused before any policy is asked; nothing is allowed without one.
                asked().map(Self::Asked).or_else(|| allows.then_some(Self::Unnamed))
            }
            _ => None,
        }
    }
}

fn digest(value: Raw<'_>) -> Option<model::Digest> {
    unhex_array(&value.as_text()?).map(model::Digest)
}

/// The run of a broker that was met last, and what stands for it: neighbours are mostly of one.
#[derive(Clone, Debug, Default)]
pub struct LastRun(Option<(String, u64)>);

impl LastRun {
    fn fingerprint(&mut self, boot: &str) -> u64 {
        match &self.0 {
            Some((last, number)) if last == boot => *number,
            _ => self.0.insert((boot.to_owned(), fingerprint(boot))).1,
        }
    }
}

impl Facts {
    /// # Errors
    /// Why it is no entry.
    pub fn of_entry(bytes: &[u8]) -> Result<Self, EntryError> {
        Self::read(bytes, &mut LastRun::default())
    }

    /// What a pruning says that stands at this index, as far as it can be understood.
    pub fn pruning_at(&self, index: u64) -> Option<Pruning> {
        let said = self.pruning.as_deref()?.as_ref().ok()?;
        Some(Pruning { index, ..said.clone() })
    }

    /// `run` is that of the entries before.
    ///
    /// # Errors
    /// Why it is no entry.
    pub fn read(bytes: &[u8], run: &mut LastRun) -> Result<Self, EntryError> {
        Self::of(Outline::pick(bytes, &WANTED)?, run)
    }

    fn of(entry: Seen<'_>, run: &mut LastRun) -> Result<Self, EntryError> {
        // Most are of other kinds, and a tree of one costs more than all the rest.
        let whole = match entry.kind {
            Kind::System | Kind::Erasure | Kind::Pruning | Kind::Key | Kind::OrgSummary => Some(entry.entry()?),
            _ => None,
        };
        let whole = whole.as_ref();
        let [country, decision, _, _, _, of] = entry.members;
        let is_decision = matches!(entry.kind, Kind::Decision | Kind::AuditRead);
        let allows = is_decision && decision.and_then(Raw::as_text).is_some_and(|text| text == "allow");
        Ok(Self {
            opens: allows,
            of: of.and_then(Raw::as_int).and_then(|of| u64::try_from(of).ok()),
            erasure: whole.and_then(|whole| Event::read(0, whole)).map(Box::new),
            pruning: whole.and_then(|whole| Pruning::read(0, whole)).map(Box::new),
            summary: whole.and_then(Summary::read).map(Box::new),
            incarnation: whole.filter(|whole| is_incarnation(whole)).map(|whole| Box::new(whole.value().clone())),
            ruled: Ruled::of(&entry, allows),
            key: whole.and_then(Change::read).map(Box::new),
            boot: run.fingerprint(&entry.boot),
            from_nowhere: is_from_nowhere(entry.kind, country),
            kind: entry.kind,
            time: entry.time,
            organisation: entry.organisation.zip(entry.place),
        })
    }
}

fn is_incarnation(entry: &Entry) -> bool {
    entry.kind == Kind::System && entry.text("event") == Some("incarnation")
}

/// Two letters or nothing: a reader who counts by them must not be given anything else, a person's address above all.
fn is_from_nowhere(kind: Kind, country: Option<Raw<'_>>) -> bool {
    let requested = matches!(kind, Kind::Decision | Kind::AuditRead | Kind::RefusedLogin);
    let ill_formed = |country: Raw<'_>| country.as_text().and_then(|text| Country::parse(&text)).is_none();
    requested && country.is_some_and(ill_formed)
}

/// The same whatever program computes it, because a monitor keeps it.
fn fingerprint(text: &str) -> u64 {
    let digest = model::Digest::of(text.as_bytes()).0;
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
