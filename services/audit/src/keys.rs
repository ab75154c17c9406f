//! The keys of a log, of which one takes the place of another without the log losing its name.
//!
//! A log keeps its origin for life; only its key changes, in two steps. First the new key is *announced* by an entry, and
//! from then on both sign every checkpoint, the old one first: whoever has only the old key verifies the checkpoint that the
//! announcement is under, and learns the new one from it. Then the old key is *retired* by an entry, and the new one signs
//! alone. Both entries are durable before the first checkpoint that needs them, so no signature is without its reason.
//!
//! What the log stands at is read from its latest checkpoint (who signed it) and its entries, never remembered beside them. What
//! this does **not** do: it makes no key and deletes none.

use crate::append::Log;
use crate::error::ReadError;
use crate::options::Random;
use crate::pkcs11::{PinSource, TokenKey, TokenObject};
use crate::publish::PublishError;
use crate::reader::Reader;
use crate::signer::{self, Key, SignerError};
use crate::{frames, store::Bundle};
use model::Value;
use model::entry::{Draft, Entry, Kind};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use tlog::note::Note;
use tlog::{Checkpoint, Signer, SigningKey, VerifierKey};

/// In the bytes of each entry of the kind.
const KIND: &str = "\"kind\":\"key\"";

/// Where a key is.
#[derive(Clone)]
pub enum KeyPlace {
    File(PathBuf),
    Token { at: TokenObject, pin: PinSource },
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in `{}`", path.display()),
            Self::Token { at, .. } => write!(f, "{at}"),
        }
    }
}

impl fmt::Debug for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPlace({self})")
    }
}

impl KeyPlace {
    /// The public key, without the private one where that can be.
    fn public(&self, origin: &str) -> Result<VerifierKey, SignerError> {
        match self {
            Self::File(path) => signer::load_public(path, origin),
            Self::Token { at, pin } => Ok(TokenKey::public(at, pin, origin)?),
        }
    }

    /// The key, which must be there.
    ///
    /// # Errors
    /// When it is not there or cannot be used.
    pub fn load(&self, origin: &str) -> Result<Key, SignerError> {
        match self {
            Self::File(path) => signer::load(path, origin).map(Key::Held),
            Self::Token { at, pin } => Ok(Key::Token(TokenKey::open(at, pin, origin)?)),
        }
    }
}

/// Where the keys of a log are.
#[derive(Clone, Debug)]
pub struct KeyPlaces {
    /// Signs. Created if it is a file that is absent.
    pub current: KeyPlace,
    /// Signs beside it, before it takes its place.
    pub next: Option<KeyPlace>,
    /// Have signed: files, for which the public key is enough.
    pub previous: Vec<PathBuf>,
}

impl KeyPlaces {
    /// Whether there is a current key, or one that nobody would make.
    pub fn has_current(&self) -> bool {
        match &self.current {
            KeyPlace::File(path) => path.exists(),
            KeyPlace::Token { .. } => true,
        }
    }
}

/// Those who sign for a log, and have.
#[derive(Clone, Debug)]
pub struct Keys {
    current: Key,
    next: Option<Key>,
    known: KnownKeys,
}

/// The public keys of a log: nothing is signed with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKeys {
    current: VerifierKey,
    next: Option<VerifierKey>,
    previous: Vec<VerifierKey>,
}

impl From<SigningKey> for Keys {
    fn from(current: SigningKey) -> Self {
        let known = KnownKeys { current: current.verifier().clone(), next: None, previous: Vec::new() };
        Self { current: current.into(), next: None, known }
    }
}

impl KnownKeys {
    /// The public keys of the log `origin`. Nothing is made, and no token is logged in to that shows its public keys.
    ///
    /// # Errors
    /// When a key is not there or cannot be used, or one is in two places.
    pub fn load(places: &KeyPlaces, origin: &str) -> Result<Self, SignerError> {
        let current = places.current.public(origin)?;
        let next = places.next.as_ref().map(|place| place.public(origin)).transpose()?;
        Self::new(current, next, places, origin)
    }

    fn new(
        current: VerifierKey,
        next: Option<VerifierKey>,
        places: &KeyPlaces,
        origin: &str,
    ) -> Result<Self, SignerError> {
        let mut known = vec![current.clone()];
        let mut once = |place: &dyn fmt::Display, key: &VerifierKey| {
            if known.contains(key) {
                return Err(SignerError::Twice { place: place.to_string() });
            }
            known.push(key.clone());
            Ok(())
        };
        if let Some((place, next)) = places.next.as_ref().zip(next.as_ref()) {
            once(place, next)?;
        }
        let mut previous = Vec::new();
        for path in &places.previous {
            let key = signer::load_public(path, origin)?;
            once(&KeyPlace::File(path.clone()), &key)?;
            previous.push(key);
        }
        Ok(Self { current, next, previous })
    }

    pub fn current(&self) -> &VerifierKey {
        &self.current
    }

    pub fn previous(&self) -> &[VerifierKey] {
        &self.previous
    }

    /// Whoever signs or has signed, the current one first.
    pub fn verifiers(&self) -> Vec<VerifierKey> {
        std::iter::once(&self.current).chain(&self.next).chain(&self.previous).cloned().collect()
    }
}

/// What an entry of the kind `key` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// From here on the key signs beside the current one.
    Announced,
    /// From here on the key signs no more.
    Retired,
}

impl Event {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Retired => "retired",
        }
    }
}

/// The event and the key that it is about; `None` for an entry of another kind.
pub fn read(entry: &Entry) -> Option<(Event, VerifierKey)> {
    if entry.kind != Kind::Key {
        return None;
    }
    let event = [Event::Announced, Event::Retired].into_iter().find(|e| entry.text("event") == Some(e.as_str()))?;
    Some((event, VerifierKey::parse(entry.text("key")?).ok()?))
}

impl Keys {
    /// The keys of the log `origin`, ready to sign. A token may take seconds.
    ///
    /// # Errors
    /// When a key cannot be used, or one is in two places.
    pub fn load(places: &KeyPlaces, origin: &str, random: &Random) -> Result<Self, SignerError> {
        let current = match &places.current {
            KeyPlace::File(path) => signer::load_or_create(path, origin, random)?.into(),
            place => place.load(origin)?,
        };
        let next = places.next.as_ref().map(|place| place.load(origin)).transpose()?;
        let public = next.as_ref().map(|key| key.verifier().clone());
        let known = KnownKeys::new(current.verifier().clone(), public, places, origin)?;
        Ok(Self { current, next, known })
    }

    /// Signs receipts, and the checkpoints that carry one signature.
    pub fn current(&self) -> &Key {
        &self.current
    }

    pub fn next(&self) -> Option<&Key> {
        self.next.as_ref()
    }

    pub fn known(&self) -> &KnownKeys {
        &self.known
    }

    /// Whoever signs checkpoints, the older one first. Not on a thread that serves: a token takes its time.
    pub fn signing(&self) -> Vec<&dyn Signer> {
        std::iter::once(&self.current).chain(&self.next).map(Key::signer).collect()
    }

    /// The latest checkpoint must be signed by the current key, alone or beside another.
    pub(crate) fn check_last(&self, note: &str) -> Result<Checkpoint, PublishError> {
        if let Ok(checkpoint) = Checkpoint::open(note, self.current.verifier()) {
            return Ok(checkpoint);
        }
        let current = self.current.verifier().to_text();
        let known = self.known.verifiers();
        Err(match Checkpoint::open_any(note, &known) {
            Ok((_, keys)) => {
                let signed = keys.first().map(|key| key.to_text()).unwrap_or_default();
                PublishError::NotAnnounced { signed, current }
            }
            Err(_) => PublishError::OtherKey(current),
        })
    }

    /// Writes down what has changed of the keys, before anything is signed.
    ///
    /// Whatever entries announce that no key file here has is retired: a verifier would take it for a key of this log as soon
    /// as a checkpoint covers the entry, and it may be somebody else who has written that into the store.
    pub(crate) async fn settle(&self, log: &Log) -> Result<(), PublishError> {
        let (signed, from) = match log.inner.reader.last_checkpoint().await? {
            Some(last) => (self.signed(&last.note)?, last.range.size()),
            // Nothing was signed yet, so everything is still to be.
            None => (vec![self.current.verifier().clone()], 0),
        };
        let told = told(&log.inner.reader, from, log.size()).await?;
        let standing = Standing::of(signed, &told, from, log.origin())?;
        let next = self.next.as_ref().map(Key::verifier);
        let signing = || [self.current.verifier()].into_iter().chain(next);
        for key in signing() {
            if let Some(at) = standing.retired_by(key) {
                return Err(PublishError::Retired { key: key.to_text(), at });
            }
        }
        for (key, announced) in standing.keys.iter().filter(|(key, _)| signing().all(|signs| signs != key)) {
            if let Some(entry) = announced.filter(|_| !self.known.previous().contains(key)) {
                tracing::error!(
                    key = key.to_text(),
                    entry,
                    "an entry announces a key of the log that is configured nowhere here; it is retired before it counts. Unless you had \
                     named it as the next key and taken that back, somebody else has written to the store"
                );
            }
            self.tell(log, Event::Retired, key).await?;
        }
        match next.filter(|next| standing.keys.iter().all(|(key, _)| key != *next)) {
            Some(next) => self.tell(log, Event::Announced, next).await,
            None => Ok(()),
        }
    }

    /// The log's own keys that have signed the note, all of which must be known here.
    fn signed(&self, note: &str) -> Result<Vec<VerifierKey>, PublishError> {
        let known = self.known.verifiers();
        let (_, keys) = Checkpoint::open_any(note, &known)?;
        let name = self.current.verifier().name();
        let lines = Note::parse(note).map(|note| note.signatures).unwrap_or_default();
        let unknown = lines.iter().find(|line| line.name == name && known.iter().all(|k| k.key_id() != line.key_id));
        match unknown {
            Some(line) => Err(PublishError::UnknownKey(line.key_id)),
            None => Ok(keys.into_iter().cloned().collect()),
        }
    }

    async fn tell(&self, log: &Log, event: Event, key: &VerifierKey) -> Result<(), PublishError> {
        let (key, signer) = (key.to_text(), self.current.verifier().to_text());
        tracing::warn!(key, event = event.as_str(), "the keys of the log change");
        let members =
            [("event", Value::text(event.as_str())), ("key", Value::text(&key)), ("signer", Value::text(&signer))];
        let draft = Draft::new(Kind::Key, &log.common(), None, members, Vec::new())
            .map_err(|error| PublishError::Mismatch(format!("no entry can be made of a change of keys: {error}")))?;
        log.append(draft).await.map(drop).map_err(PublishError::NotAnnouncedNow)
    }
}

/// What an entry of the kind says; `None` for what no program of ours writes.
pub(crate) type Said = Option<(Event, VerifierKey)>;

/// What entries say of keys, by index: those of the whole log that the store's index finds, and, whatever that says, those
/// from `from` to `size`. What stands there no key has vouched for, and whoever put it there may have changed the index too.
pub(crate) async fn told(reader: &Reader, mut from: u64, size: u64) -> Result<BTreeMap<u64, Said>, ReadError> {
    let mut told = BTreeMap::new();
    // Those of entries that were pruned are carried forward.
    for (index, bytes) in crate::prune::carried(reader).await? {
        if let Some(entry) = Entry::parse(&bytes).ok().filter(|entry| entry.kind == Kind::Key) {
            told.insert(index, read(&entry));
        }
    }
    for first in reader.bundles_of_keys().await? {
        let bundle = reader.bundle_from(first).await?;
        bundle.iter().for_each(|bundle| read_bundle(bundle, &mut told));
    }
    while from < size {
        let bundles = reader.bundles(from).await?;
        let Some(last) = bundles.last() else { break };
        let end = last.first_index + last.count;
        bundles.iter().for_each(|bundle| read_bundle(bundle, &mut told));
        from = end.max(from + 1);
    }
    Ok(told)
}

/// Where entries of kind `key` stand among these, which begin at `first`. Behind a damage there may be any.
pub(crate) fn entries_in(first: u64, bytes: &[u8]) -> Vec<u64> {
    let is_key = |entry: Result<&[u8], _>| match entry.map(Entry::parse) {
        Ok(entry) => entry.is_ok_and(|entry| entry.kind == Kind::Key),
        Err(_) => true,
    };
    let entries = (first..).zip(frames::iter(bytes));
    entries.filter_map(|(index, entry)| is_key(entry).then_some(index)).collect()
}

fn read_bundle(bundle: &Bundle, told: &mut BTreeMap<u64, Said>) {
    let read = |(index, bytes): (u64, Result<&[u8], _>)| {
        // Most are something else, and a log is long. Canonical entries have no white space.
        let bytes = bytes.ok().filter(|bytes| std::str::from_utf8(bytes).is_ok_and(|text| text.contains(KIND)))?;
        let entry = Entry::parse(bytes).ok().filter(|entry| entry.kind == Kind::Key)?;
        Some((index, read(&entry)))
    };
    told.extend((bundle.first_index..).zip(frames::iter(&bundle.bytes)).filter_map(read));
}

/// Where a log stands with its keys.
#[derive(Debug)]
struct Standing {
    /// Signed the latest checkpoint, or were announced, by which entry; and not retired.
    keys: Vec<(VerifierKey, Option<u64>)>,
    retired: Vec<(VerifierKey, u64)>,
}

impl Standing {
    /// `from`: the first entry that no checkpoint covers.
    fn of(signed: Vec<VerifierKey>, told: &BTreeMap<u64, Said>, from: u64, origin: &str) -> Result<Self, PublishError> {
        let keys = signed.into_iter().map(|key| (key, None)).collect();
        let mut standing = Self { keys, retired: Vec::new() };
        for (&at, said) in told {
            let said = said.as_ref().filter(|(_, key)| key.name() == origin);
            let is_good = said.is_some_and(|(event, key)| standing.hear(at, *event, key));
            if is_good {
                continue;
            }
            if at >= from {
                return Err(PublishError::Forged { at });
            }
            tracing::error!(
                entry = at,
                "an entry that is signed speaks of a key of the log in a way in which no broker does"
            );
        }
        Ok(standing)
    }

    /// `false`: no broker says that.
    fn hear(&mut self, at: u64, event: Event, key: &VerifierKey) -> bool {
        let was_retired = self.retired_by(key).is_some();
        match event {
            Event::Announced if was_retired => return false,
            Event::Announced => match self.keys.iter_mut().find(|(known, _)| known == key) {
                Some((_, announced)) => _ = announced.get_or_insert(at),
                None => self.keys.push((key.clone(), Some(at))),
            },
            Event::Retired => {
                self.keys.retain(|(known, _)| known != key);
                if !was_retired {
                    self.retired.push((key.clone(), at));
                }
            }
        }
        true
    }

    fn retired_by(&self, key: &VerifierKey) -> Option<u64> {
        self.retired.iter().find(|(known, _)| known == key).map(|(_, at)| *at)
    }
}
