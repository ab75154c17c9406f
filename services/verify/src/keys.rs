//! Whose signatures count, and until when: the keys that the caller trusts, and those that entries under their signatures
//! announce.
//!
//! A key that an entry *announces* counts once a checkpoint over that entry is signed by a key that counts, and its root is
//! that of the entries. A key that an entry *retires* counts no more for any tree that has this entry in it, whoever
//! trusts it: it can neither sign what comes behind nor announce another.
//!
//! What this does **not** do: it does not find out that a retired key is used beside the log, for a tree without the entry
//! that retires it. Whoever still trusts such a key for new things is told by others: witnesses, or the new key.

use crate::findings::Findings;
use crate::report::count;
use model::entry::{Entry, Kind};
use serde_json::{Value, json};
use std::fmt;
use tlog::note::{Note, NoteError};
use tlog::{Checkpoint, CheckpointError, VerifierKey};

/// More than any log changes its keys; a hostile one could have one per entry.
const CHANGES_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Announced,
    Retired,
}

/// What an entry says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub event: Event,
    pub key: VerifierKey,
    /// The key that signed alone or first when it was written.
    pub signer: VerifierKey,
}

impl Change {
    /// `None` for an entry of another kind; or the member that cannot be understood.
    pub fn read(entry: &Entry) -> Option<Result<Self, &'static str>> {
        (entry.kind == Kind::Key).then(|| {
            let key =
                |member: &'static str| entry.text(member).and_then(|text| VerifierKey::parse(text).ok()).ok_or(member);
            let event = match entry.text("event") {
                Some("announced") => Event::Announced,
                Some("retired") => Event::Retired,
                _ => return Err("event"),
            };
            Ok(Self { event, key: key("key")?, signer: key("signer")? })
        })
    }
}

/// Why a checkpoint does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None of the keys that are known has signed it.
    Unknown,
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => CheckpointError::Note(NoteError::NoKnownSignature).fmt(f),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// The keys of one log.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// Whom the caller trusts.
    given: Vec<VerifierKey>,
    /// Announced under a signature that counts, by which entry.
    learned: Vec<(VerifierKey, u64)>,
    /// Announced, and not yet under one.
    pending: Vec<(VerifierKey, u64)>,
    retired: Vec<(VerifierKey, u64)>,
    /// Entries say that they signed before.
    earlier: Vec<VerifierKey>,
}

impl KeyRing {
    pub fn new(given: &[VerifierKey]) -> Self {
        let given = given.to_vec();
        Self { given, learned: Vec::new(), pending: Vec::new(), retired: Vec::new(), earlier: Vec::new() }
    }

    /// From now on these are trusted, in place of those before.
    pub fn trust(&mut self, given: Vec<VerifierKey>) {
        self.given = given;
    }

    /// The log's origin.
    pub fn name(&self) -> &str {
        self.given.first().map(VerifierKey::name).unwrap_or_default()
    }

    /// The entry at `index` speaks of a key.
    pub fn said(&mut self, index: u64, change: &Result<Change, &'static str>, findings: &mut Findings) {
        let at = index..index + 1;
        let Change { event, key, signer } = match change {
            Ok(change) => change,
            Err(member) => {
                let what = format!("a change of keys whose member `{member}` cannot be understood");
                return findings.add(at, what);
            }
        };
        if key.name() != self.name() || signer.name() != self.name() {
            return findings.add(at, "speaks of the key of another log");
        }
        if self.retired.len().max(self.pending.len()).max(self.learned.len()) >= CHANGES_MAX {
            return findings.add(at, format!("more than {CHANGES_MAX} changes of keys"));
        }
        if !self.earlier.contains(signer) {
            self.earlier.push(signer.clone());
        }
        let is_retired = self.retired.iter().any(|(known, _)| known == key);
        match event {
            Event::Announced if is_retired => findings.add(at, "announces a key that was retired before"),
            Event::Announced => {
                if !self.pending.iter().chain(&self.learned).any(|(known, _)| known == key) {
                    self.pending.push((key.clone(), index));
                }
            }
            Event::Retired if is_retired => {}
            Event::Retired => self.retired.push((key.clone(), index)),
        }
    }

    /// The checkpoint in a note, if a key signed it that counts for a tree of its size.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn judge(&self, note: &str) -> Result<Checkpoint, Refusal> {
        let known: Vec<_> = self.given.iter().chain(self.learned.iter().map(|(key, _)| key)).cloned().collect();
        let (checkpoint, keys) = Checkpoint::open_any(note, &known).map_err(|error| match error {
            CheckpointError::Note(NoteError::NoKnownSignature) => Refusal::Unknown,
            error => Refusal::Other(error.to_string()),
        })?;
        let retired = |key: &VerifierKey| {
            let mut found = self.retired.iter().filter(|(known, at)| known == key && *at < checkpoint.size);
            found.next().map(|(_, at)| *at)
        };
        let counts = |key: &&VerifierKey| {
            let announced = self.learned.iter().any(|(known, at)| known == *key && *at < checkpoint.size);
            (announced || self.given.contains(key)) && retired(key).is_none()
        };
        if keys.iter().any(counts) {
            return Ok(checkpoint);
        }
        Err(match keys.iter().find_map(|key| retired(key)) {
            Some(at) => Refusal::Other(format!(
                "signed by a key that entry {at} retired, and by none that took its place: whoever has the old key made it"
            )),
            None => Refusal::Unknown,
        })
    }

    /// A checkpoint of `size` entries that counts has the root of the entries: what is announced in them counts too.
    pub fn confirm(&mut self, size: u64) {
        let (confirmed, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(_, at)| *at < size);
        self.pending = pending;
        let confirmed: Vec<_> = confirmed;
        self.learned.extend(confirmed.into_iter().filter(|(key, _)| !self.given.contains(key)));
    }

    /// Whether entries name keys of before that the caller does not trust.
    pub fn names_earlier(&self) -> bool {
        self.earlier.iter().any(|key| !self.given.contains(key))
    }

    /// The key that signed a note, which entries name as one of before.
    pub fn earlier(&self, note: &str) -> Option<&VerifierKey> {
        let key = tlog::note::signer(note, &self.earlier)?;
        Checkpoint::open(note, key).ok().map(|_| key)
    }

    /// What a report says of them. `unverified`: kept checkpoints of before that the caller has no key for.
    pub fn report(&self, unverified: u64) -> Keys {
        let texts = |keys: &[(VerifierKey, u64)]| keys.iter().map(|(key, at)| (key.to_text(), *at)).collect();
        let earlier = self.earlier.iter().filter(|key| !self.given.contains(key) && unverified > 0);
        let learned: Vec<(String, u64)> = texts(&self.learned);
        let earlier = earlier.map(VerifierKey::to_text).filter(|text| learned.iter().all(|(known, _)| known != text));
        Keys { earlier: earlier.collect(), learned, retired: texts(&self.retired), unverified }
    }

    /// Without those that the caller trusts.
    pub fn to_json(&self) -> Value {
        let texts = |keys: &[(VerifierKey, u64)]| -> Value {
            keys.iter().map(|(key, at)| json!({ "key": key.to_text(), "entry": at })).collect()
        };
        json!({ "learned": texts(&self.learned), "retired": texts(&self.retired) })
    }

    /// The inverse of [`KeyRing::to_json`], beside the keys that the caller trusts.
    pub fn from_json(given: &[VerifierKey], value: &Value) -> Option<Self> {
        let keys = |name: &str| -> Option<Vec<(VerifierKey, u64)>> {
            let keys = value.get(name)?.as_array()?.iter().map(|one| {
                let key = VerifierKey::parse(one.get("key")?.as_str()?).ok()?;
                Some((key, one.get("entry")?.as_u64()?))
            });
            keys.collect()
        };
        Some(Self { learned: keys("learned")?, retired: keys("retired")?, ..Self::new(given) })
    }
}

/// Whether the note has a signature in the log's own name.
pub fn is_signed_by_name(note: &str, name: &str) -> bool {
    Note::parse(note).is_ok_and(|note| note.signatures.iter().any(|signature| signature.name == name))
}

/// What a check has found of the log's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Keys that the caller did not name, with the entry that announces them.
    pub learned: Vec<(String, u64)>,
    /// With the entry that retires them.
    pub retired: Vec<(String, u64)>,
    /// Keys of before that the caller did not name and nobody vouches for.
    pub earlier: Vec<String>,
    /// Kept checkpoints that only these signed.
    pub unverified: u64,
}

impl Keys {
    pub(crate) fn to_json(&self) -> Value {
        let with_entry = |keys: &[(String, u64)]| -> Value {
            keys.iter().map(|(key, at)| json!({ "key": key, "entry": at })).collect()
        };
        json!({
            "learned": with_entry(&self.learned),
            "retired": with_entry(&self.retired),
            "earlier": self.earlier,
            "unverified_checkpoints": self.unverified,
        })
    }

    pub(crate) fn warning(&self) -> Option<String> {
        (self.unverified > 0).then(|| {
            format!(
                "{} by an earlier key of this log alone, and not verified: give the earlier key below as another `--key`",
                count(self.unverified, "kept checkpoint is signed", "kept checkpoints are signed")
            )
        })
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = |what: &str, keys: &[(String, u64)]| {
            keys.iter().try_for_each(|(key, at)| writeln!(f, "  {what}    {key}, by entry {at}"))
        };
        list("new key    ", &self.learned)?;
        list("retired key", &self.retired)?;
        self.earlier.iter().try_for_each(|key| writeln!(f, "  earlier key    {key}, which entries name"))
    }
}
