//! Whose signatures count, and until when: the keys that the caller trusts, and those that entries under their signatures
//! announce.
//!
//! A key that an entry *announces* counts once a checkpoint over that entry is signed by a key that counts, and its root is
//! that of the entries. A key that an entry *retires* counts no more for any tree that has this entry in it, whoever
//! trusts it: it can neither sign what comes behind nor announce another.
//!
//! A retired key can still sign a tree without the entry that retires it. Who trusts the key that took its place as well is told:
//! such a tree neither is signed by that one nor names it; or it announces it, and it has not signed; or it takes it back while
//! the older one goes on; or it makes two keys the log's first ([`KeyRing::doubts`], [`KeyRing::said`]). Who trusts the retired key
//! alone can be deceived by it.
//!
//! Entries that were pruned say of keys what is carried forward of them, and who prunes says what that is. So a key that is
//! trusted and has not signed what others have counts behind that only as one that is announced there ([`KeyRing::judge`]).

use crate::findings::{Findings, printable};
use crate::report::count;
use model::canonical::{hex, unhex};
use model::entry::{Entry, Kind};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt;
use tlog::note::{Note, NoteError};
use tlog::{Checkpoint, CheckpointError, VerifierKey};

/// More than any log changes its keys; a hostile one could have one per entry. Each names two keys, and of all that is kept of
/// them, from look to look too, none is more.
const CHANGES_MAX: usize = 1_000;
/// Keys of a note that are named where none of them is known.
const WHOSE_MAX: usize = 3;
/// Keys of one sort that are printed.
const PRINTED_MAX: usize = 20;

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
    /// Announced, whoever trusts it: from that entry on it signs beside the others, until it is retired.
    announced: Vec<(VerifierKey, u64)>,
    /// Entries say that they signed before.
    earlier: Vec<VerifierKey>,
    /// The public keys that entries name. `None` where not all entries were read.
    named: Option<HashSet<[u8; 32]>>,
    /// Sign, or did, without an entry before that announces them: a log has one such key, which is its first.
    first: Vec<VerifierKey>,
    /// Have signed a checkpoint with the root of the entries.
    signed: Vec<VerifierKey>,
    /// The largest such checkpoint that one of those that the caller trusts has not signed.
    absent: Vec<(VerifierKey, u64)>,
    /// What entries say of keys is known only as far as it was carried forward.
    pruned: bool,
    /// Entries that speak of keys, since the log began or a watch of it.
    changes: usize,
}

impl KeyRing {
    pub fn new(given: &[VerifierKey]) -> Self {
        Self {
            given: given.to_vec(),
            learned: Vec::new(),
            pending: Vec::new(),
            retired: Vec::new(),
            announced: Vec::new(),
            earlier: Vec::new(),
            named: Some(HashSet::new()),
            first: Vec::new(),
            signed: Vec::new(),
            absent: Vec::new(),
            pruned: false,
            changes: 0,
        }
    }

    /// The keys of a log whose entries are read from the checkpoint of `size` entries in `note` on. Which were retired before
    /// nobody says; so those count that have signed this one, and no other.
    ///
    /// # Errors
    /// When the last of the keys, the newest, has not signed it: an older one alone may be a stolen one.
    pub fn begin_at(&mut self, note: &str, size: u64) -> Result<(), String> {
        let signs = |key: &VerifierKey| Checkpoint::open(note, key).is_ok();
        if let Some(newest) = self.given.last().filter(|newest| !signs(newest)) {
            return Err(format!(
                "not signed by `{}`, the last of the keys that were given and so the newest: give the newest one last, and \
                 leave one away that this log has not announced yet",
                newest.to_text()
            ));
        }
        let others = self.given.iter().filter(|key| !signs(key));
        self.retired.extend(others.map(|key| (key.clone(), size.saturating_sub(1))));
        self.named = None;
        Ok(())
    }

    /// From now on these are trusted, in place of those before.
    pub fn trust(&mut self, given: Vec<VerifierKey>) {
        self.given = given;
    }

    /// Entries are passed over that were pruned.
    pub fn prune(&mut self) {
        self.pruned = true;
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
        if self.changes >= CHANGES_MAX {
            return findings.add(
                at,
                format!(
                    "more than {CHANGES_MAX} changes of keys, which no log has: what it says of keys from here on is not followed. Ask its \
                     operator why, and begin anew with keys that you trust"
                ),
            );
        }
        self.changes += 1;
        self.named.iter_mut().for_each(|named| named.extend([*key.as_bytes(), *signer.as_bytes()]));
        if !self.earlier.contains(signer) {
            self.earlier.push(signer.clone());
        }
        let about = (*event == Event::Retired).then_some(key);
        for one in [signer].into_iter().chain(about) {
            if self.announced_at(one).is_none() {
                self.comes_first(one);
            }
        }
        match event {
            Event::Announced if self.is_retired(key) => findings.add(at, "announces a key that was retired before"),
            Event::Announced => {
                if self.announced_at(key).is_none() {
                    self.announced.push((key.clone(), index));
                }
                if !self.pending.iter().chain(&self.learned).any(|(known, _)| known == key) {
                    self.pending.push((key.clone(), index));
                }
            }
            Event::Retired if self.is_retired(key) => {}
            Event::Retired => {
                if self.given.contains(key) && self.is_taken_back(key) {
                    let what = format!(
                        "takes the key {} back, which you gave, and one from before it goes on. Leave it away if the log's operator \
                         has told you so; otherwise this is another history, by whoever has that one",
                        key.to_text()
                    );
                    findings.add(at, what);
                }
                self.retired.push((key.clone(), index));
            }
        }
    }

    fn is_retired(&self, key: &VerifierKey) -> bool {
        self.retired.iter().any(|(known, _)| known == key)
    }

    fn announced_at(&self, key: &VerifierKey) -> Option<u64> {
        self.announced.iter().find(|(known, _)| known == key).map(|(_, at)| *at)
    }

    /// Whether an older key is still in use where this one is retired: one that was announced before it, or needed no announcing.
    fn is_taken_back(&self, key: &VerifierKey) -> bool {
        let Some(announced) = self.announced_at(key) else { return false };
        let needed_none = self.given.iter().filter(|one| self.announced_at(one).is_none());
        let before = self.announced.iter().filter(|(_, at)| *at < announced).map(|(one, _)| one);
        needed_none.chain(before).any(|one| one != key && !self.is_retired(one))
    }

    /// The checkpoint of `size` entries that these keys have signed has the root of the entries.
    pub fn signed_by(&mut self, size: u64, signers: &[VerifierKey]) {
        for key in signers {
            if self.announced_at(key).is_none_or(|at| at >= size) {
                self.comes_first(key);
            }
            if !self.signed.contains(key) {
                self.signed.push(key.clone());
            }
        }
        for key in self.given.iter().filter(|key| !signers.contains(key)) {
            match self.absent.iter_mut().find(|(known, _)| known == key) {
                Some((_, at)) => *at = size.max(*at),
                None => self.absent.push((key.clone(), size)),
            }
        }
    }

    /// Of those that the caller does not trust one is enough.
    fn comes_first(&mut self, key: &VerifierKey) {
        let is_trusted = |key: &VerifierKey| self.given.contains(key);
        if !self.first.contains(key) && (is_trusted(key) || self.first.iter().all(is_trusted)) {
            self.first.push(key.clone());
        }
    }

    fn absent_at(&self, key: &VerifierKey) -> Option<u64> {
        self.absent.iter().find(|(known, _)| known == key).map(|(_, at)| *at)
    }

    /// Two keys that both would be the log's first, one of them trusted by the caller. What entries say of keys that signed
    /// nothing here is held against one that did not sign either, because anybody who can write to a store can name a key.
    fn rivals(&self) -> Option<(&VerifierKey, &VerifierKey)> {
        let mut trusted = self.first.iter().filter(|key| self.given.contains(key));
        let one = trusted.next()?;
        let other = trusted.next().or_else(|| self.first.iter().find(|key| *key != one && !self.signed.contains(one)));
        Some((one, other?))
    }

    /// What is wrong with who has signed the note of a checkpoint that counts, of `size` entries whose root it has: each
    /// key that they announce signs as long as it is not retired.
    fn unsigned(&self, note: &str, size: u64) -> Vec<String> {
        let retired = |key: &VerifierKey| self.retired.iter().any(|(known, at)| known == key && *at < size);
        let missing =
            |(key, at): &&(VerifierKey, u64)| *at < size && !retired(key) && Checkpoint::open(note, key).is_err();
        let missing = self.announced.iter().filter(missing);
        missing
            .map(|(key, at)| {
                format!(
                    "entry {at} announces the key {}, which has not signed: who has announced it does not have it, or it is another \
                     history, by whoever has an older key",
                    key.to_text()
                )
            })
            .collect()
    }

    /// What is wrong with who has signed the latest checkpoint of a log, one that counts, of `size` entries whose root it has.
    pub fn doubts(&self, note: &str, size: u64) -> Vec<String> {
        let mut doubts = self.unsigned(note, size);
        if self.named.is_some() {
            doubts.extend(self.rivals().map(|(one, other)| {
                format!(
                    "nothing announces key {:08x} nor key {:08x}, and only a log's first key needs no announcing: an entry was left out, \
                     or this is another history, by whoever has an older key",
                    one.key_id(),
                    other.key_id()
                )
            }));
            doubts.extend(self.strangers(note).map(|key| {
                format!(
                    "neither is signed by the key {}, which you gave, nor does any entry name that: leave it away for a log or a \
                     copy of one from before it was announced; otherwise this is another history, by whoever has an older key",
                    key.to_text()
                )
            }));
        }
        doubts
    }

    /// The keys that the caller gave that neither signed the note nor are named by entries.
    pub fn strangers<'r>(&'r self, note: &'r str) -> impl Iterator<Item = &'r VerifierKey> {
        let is_named = |key: &VerifierKey| self.named.as_ref().is_some_and(|named| named.contains(key.as_bytes()));
        self.given.iter().filter(move |key| !is_named(key) && Checkpoint::open(note, key).is_err())
    }

    /// The keys that count at some size and have signed the note.
    pub fn signers(&self, note: &str) -> Vec<VerifierKey> {
        let known = self.known().into_iter();
        known.filter(|key| Checkpoint::open(note, key).is_ok()).collect()
    }

    fn known(&self) -> Vec<VerifierKey> {
        let learned = self.learned.iter().map(|(key, _)| key).filter(|key| !self.given.contains(key));
        self.given.iter().chain(learned).cloned().collect()
    }

    /// The checkpoint in a note, if a key signed it that counts for a tree of its size.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn judge(&self, note: &str) -> Result<Checkpoint, Refusal> {
        self.judge_signed(note).map(|(checkpoint, _)| checkpoint)
    }

    /// The same, and who has signed it.
    ///
    /// # Errors
    /// As [`KeyRing::judge`].
    pub fn judge_signed(&self, note: &str) -> Result<(Checkpoint, Vec<VerifierKey>), Refusal> {
        let known = self.known();
        let (checkpoint, keys) = Checkpoint::open_any(note, &known).map_err(|error| match error {
            CheckpointError::Note(NoteError::NoKnownSignature) => Refusal::Unknown,
            error => Refusal::Other(error.to_string()),
        })?;
        let retired = |key: &VerifierKey| {
            let mut found = self.retired.iter().filter(|(known, at)| known == key && *at < checkpoint.size);
            found.next().map(|(_, at)| *at)
        };
        // Whatever retired it may be gone.
        let absent = |key: &VerifierKey| self.absent_at(key).filter(|at| self.pruned && *at < checkpoint.size);
        let counts = |key: &&VerifierKey| {
            let since = absent(key).unwrap_or(0)..checkpoint.size;
            let announced = self.learned.iter().any(|(known, at)| known == *key && since.contains(at));
            (announced || self.given.contains(key) && absent(key).is_none()) && retired(key).is_none()
        };
        if keys.iter().any(counts) {
            let signers = keys.into_iter().cloned().collect();
            return Ok((checkpoint, signers));
        }
        if let Some(at) = keys.iter().find_map(|key| retired(key)) {
            return Err(Refusal::Other(format!(
                "signed by a key that entry {at} retired, and by none that took its place: whoever has the old key made it"
            )));
        }
        Err(match keys.iter().find_map(|key| absent(key)) {
            Some(at) => Refusal::Other(format!(
                "signed by a key that had not signed the checkpoint of {at} entries, and that none which had announces since: what retired it \
                 may have been pruned"
            )),
            None => Refusal::Unknown,
        })
    }

    /// The checkpoint of `size` entries in `note`, which counts, has the root of the entries: what is announced in them counts
    /// too. Comes back with what is wrong with who has signed it, where it is the first over an announcement.
    pub fn confirm(&mut self, size: u64, note: &str, signers: &[VerifierKey]) -> Vec<String> {
        self.signed_by(size, signers);
        if self.pending.iter().all(|(_, at)| *at >= size) {
            return Vec::new();
        }
        let unsigned = self.unsigned(note, size);
        let (confirmed, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(_, at)| *at < size);
        self.pending = pending;
        let confirmed: Vec<_> = confirmed;
        let learned =
            confirmed.into_iter().filter(|(key, _)| !self.given.contains(key) || self.absent_at(key).is_some());
        let learned: Vec<_> = learned.collect();
        self.learned.extend(learned);
        unsigned
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
        let learned: Vec<_> = self.learned.iter().filter(|(key, _)| !self.given.contains(key)).cloned().collect();
        let learned: Vec<(String, u64)> = texts(&learned);
        let earlier = earlier.map(VerifierKey::to_text).filter(|text| learned.iter().all(|(known, _)| known != text));
        Keys { earlier: earlier.collect(), learned, retired: texts(&self.retired), unverified }
    }

    /// Without those that the caller trusts.
    pub fn to_json(&self) -> Value {
        let alone = |keys: &[VerifierKey]| keys.iter().map(VerifierKey::to_text).collect::<Vec<_>>();
        let absent = self.absent.iter().map(|(key, size)| json!({ "key": key.to_text(), "size": size }));
        let texts = |keys: &[(VerifierKey, u64)]| -> Value {
            keys.iter().map(|(key, at)| json!({ "key": key.to_text(), "entry": at })).collect()
        };
        let named = self.named.as_ref().map(|named| {
            let mut named: Vec<String> = named.iter().map(|key| hex(key)).collect();
            named.sort_unstable();
            named
        });
        json!({
            "learned": texts(&self.learned),
            "retired": texts(&self.retired),
            "announced": texts(&self.announced),
            "named": named,
            "first": alone(&self.first),
            "signed": alone(&self.signed),
            "absent": absent.collect::<Vec<_>>(),
            "pruned": self.pruned,
            "changes": self.changes,
        })
    }

    /// The inverse of [`KeyRing::to_json`], beside the keys that the caller trusts.
    pub fn from_json(given: &[VerifierKey], value: &Value) -> Option<Self> {
        let with = |name: &str, number: &str| -> Option<Vec<(VerifierKey, u64)>> {
            let keys = value.get(name)?.as_array()?.iter().map(|one| {
                let key = VerifierKey::parse(one.get("key")?.as_str()?).ok()?;
                Some((key, one.get(number)?.as_u64()?))
            });
            keys.collect()
        };
        let keys = |name: &str| with(name, "entry");
        let alone = |name: &str| -> Option<Vec<VerifierKey>> {
            // What was kept by a version of before does not have it.
            let Some(keys) = value.get(name) else { return Some(Vec::new()) };
            keys.as_array()?.iter().map(|key| VerifierKey::parse(key.as_str()?).ok()).collect()
        };
        let (learned, retired) = (keys("learned")?, keys("retired")?);
        let (first, signed) = (alone("first")?, alone("signed")?);
        let absent = if value.get("absent").is_some() { with("absent", "size")? } else { Vec::new() };
        let pruned = value.get("pruned").and_then(Value::as_bool).unwrap_or(false);
        // What was kept by a version of before lacks both.
        let announced = if value.get("announced").is_some() { keys("announced")? } else { learned.clone() };
        let named = match value.get("named").and_then(Value::as_array) {
            Some(named) => {
                let named = named.iter().map(|key| unhex(key.as_str()?)?.try_into().ok());
                Some(named.collect::<Option<HashSet<[u8; 32]>>>()?)
            }
            None => None,
        };
        // At the least as many as there must have been, where a version of before did not count them.
        let told = retired.len().max(announced.len()).max(named.as_ref().map_or(0, |named| named.len().div_ceil(2)));
        let changes = value.get("changes").and_then(Value::as_u64).and_then(|changes| usize::try_from(changes).ok());
        let changes = changes.unwrap_or(0).max(told);
        Some(Self { learned, retired, announced, named, first, signed, absent, pruned, changes, ..Self::new(given) })
    }
}

/// Whether the note has a signature in the log's own name.
pub fn is_signed_by_name(note: &str, name: &str) -> bool {
    Note::parse(note).is_ok_and(|note| note.signatures.iter().any(|signature| signature.name == name))
}

/// Of a note that none of these keys has signed: whose it says to be, and what to do.
pub fn whose(note: &str, given: &[VerifierKey]) -> Option<String> {
    let note = Note::parse(note).ok()?;
    let (origin, own) = (note.text.lines().next()?, given.first()?.name());
    if origin != own {
        let origin = printable(origin);
        return Some(format!(
            "it is of log `{origin}`, and the key that you gave is of `{own}`: give the key of that log, or a file of yours"
        ));
    }
    let ids = |ids: &mut dyn Iterator<Item = u32>| {
        ids.take(WHOSE_MAX).map(|id| format!("{id:08x}")).collect::<Vec<_>>().join(", ")
    };
    let signed = ids(&mut note.signatures.iter().filter(|one| one.name == origin).map(|one| one.key_id));
    let known = ids(&mut given.iter().map(VerifierKey::key_id));
    Some(format!(
        "it says to be signed with the key {signed}, and you gave {known}: is yours the right one, and is it all that the log has had since? Ask \
         for its key where the file does not come from"
    ))
}

/// Why a note is no checkpoint by any of these keys, in words, and whose it is if it is by another.
pub fn unopened(error: &CheckpointError, note: &str, given: &[VerifierKey]) -> String {
    let is_unknown = matches!(error, CheckpointError::Note(NoteError::NoKnownSignature));
    let whose = is_unknown.then(|| whose(note, given)).flatten();
    format!("{error}{}", whose.map(|whose| format!("; {whose}")).unwrap_or_default())
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
        let mut list = |what: &str, keys: Vec<String>| {
            keys.iter().take(PRINTED_MAX).try_for_each(|key| writeln!(f, "  {what}    {key}"))?;
            match keys.len().checked_sub(PRINTED_MAX) {
                Some(more @ 1..) => writeln!(f, "  {what}    and {more} more"),
                _ => Ok(()),
            }
        };
        let by_entry = |keys: &[(String, u64)]| keys.iter().map(|(key, at)| format!("{key}, by entry {at}")).collect();
        list("new key    ", by_entry(&self.learned))?;
        list("retired key", by_entry(&self.retired))?;
        list("earlier key", self.earlier.iter().map(|key| format!("{key}, which entries name")).collect())
    }
}
