//! A small published log for the tests, written the plain way: everything from the list of entries.

use model::entry::{Common, Draft, Entry, Kind as EntryKind, Place};
use model::{OrganisationId, Timestamp, Value};
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use tlog::tile::{Kind, TilePath, tiles_for_size};
use tlog::{Checkpoint, CompactRange, Hash, SigningKey, bundle, hashes_to_bytes, leaf_hash};

pub const ORIGIN: &str = "plant.example/log";
const START_MS: i64 = 1_795_375_200_000;

pub fn key(seed: u8) -> SigningKey {
    SigningKey::generate(ORIGIN, [seed; 32]).unwrap()
}

/// One entry as a test tells it; the writer's part is done by [`seal`].
#[derive(Clone, Debug)]
pub struct Told {
    pub kind: EntryKind,
    pub organisation: Option<&'static str>,
    pub members: Vec<(&'static str, Value)>,
    /// Later than its place says, by so many days.
    pub days: i64,
}

/// What the exchanges of a story are allowed by.
pub const POLICIES: &[u8] = b"the policies of the story";

pub fn policies() -> Value {
    Value::text(model::Digest::of(POLICIES).to_hex())
}

/// Names the policies that were asked.
pub fn asked(policies: Value) -> (&'static str, Value) {
    ("digests", Value::object([("policies", policies)]))
}

pub fn allow(organisation: &'static str) -> Told {
    let members = vec![("decision", Value::text("allow")), asked(policies())];
    Told { members, ..told(EntryKind::Decision, organisation) }
}

fn deny(organisation: &'static str) -> Told {
    Told { members: vec![("decision", Value::text("deny"))], ..told(EntryKind::Decision, organisation) }
}

pub fn activated(policies: Value) -> Vec<(&'static str, Value)> {
    vec![("event", Value::text("activated")), ("digest", policies)]
}

pub fn told(kind: EntryKind, organisation: &'static str) -> Told {
    Told { kind, organisation: Some(organisation), members: vec![], days: 0 }
}

/// The story with a start of the broker at 103, policies `a` in use since 111, and exchanges that were allowed by others, which
/// nothing says: `f` at 80 and `b` at 128.
pub fn ruled_story(count: u64) -> Vec<Told> {
    let mut story = story(count);
    let text = |text: &str| Value::text(text.repeat(64));
    let own = |kind, members| Told { members, organisation: None, ..told(kind, "") };
    for at in (112..count).step_by(8) {
        story[usize::try_from(at).unwrap()].members.retain(|(name, _)| *name != "digests");
        story[usize::try_from(at).unwrap()].members.push(asked(text("a")));
    }
    // Nothing is allowed between the two.
    (story[104], story[107]) = (deny("bolt"), told(EntryKind::RefusedLogin, "bolt"));
    story[103] = own(EntryKind::System, vec![("event", Value::text("opened"))]);
    story[111] = own(EntryKind::Policy, activated(text("a")));
    for (index, policies) in [(80, "f"), (128, "b")] {
        story[index].members.retain(|(name, _)| *name != "digests");
        story[index].members.push(asked(text(policies)));
    }
    story
}

/// The same, and the two are allowed by policies that are in use.
pub fn opened_story(count: u64) -> Vec<Told> {
    let mut story = ruled_story(count);
    story[80] = allow("acme");
    let members = vec![("decision", Value::text("allow")), asked(Value::text("a".repeat(64)))];
    story[128] = Told { members, ..allow("acme") };
    story
}

/// What an entry says of a key of the log, by the seeds of both.
pub fn key_change(event: &str, about: u8, signer: u8) -> Told {
    let text = |seed: u8| Value::text(key(seed).verifier().to_text());
    let members = vec![("event", Value::text(event)), ("key", text(about)), ("signer", text(signer))];
    Told { organisation: None, members, ..told(EntryKind::Key, "") }
}

/// The checkpoint of these entries, signed by several.
pub fn checkpoint_by(entries: &[Vec<u8>], keys: &[u8]) -> String {
    let keys: Vec<SigningKey> = keys.iter().map(|seed| key(*seed)).collect();
    let checkpoint = Checkpoint::new(ORIGIN, entries.len() as u64, root(entries));
    checkpoint.sign_all(&keys.iter().collect::<Vec<_>>()).unwrap()
}

pub fn outcome(organisation: &'static str, of: u64) -> Told {
    let members = vec![("of", Value::int(i64::try_from(of).unwrap())), ("ended", Value::text("complete"))];
    Told { members, ..told(EntryKind::Outcome, organisation) }
}

/// Two suppliers in turn: an allowed exchange and its outcome three entries later, denials, heartbeats between. The policies
/// came into use at 1, after a first denial.
pub fn story(count: u64) -> Vec<Told> {
    let entry = |i: u64| {
        let organisation = if i % 16 < 8 { "acme" } else { "bolt" };
        match i % 8 {
            _ if i == 1 => Told { members: activated(policies()), ..told(EntryKind::Policy, organisation) },
            0 if i > 0 => allow(organisation),
            3 if i > 3 => outcome(organisation, i - 3),
            0 | 5 => deny(organisation),
            7 => Told { organisation: None, ..told(EntryKind::Heartbeat, "") },
            _ => told(EntryKind::RefusedLogin, organisation),
        }
    };
    (0..count).map(entry).collect()
}

/// Gives every entry its place, as the log's writer does.
pub fn seal(told: &[Told]) -> Vec<Vec<u8>> {
    let mut latest: HashMap<&str, Place> = HashMap::new();
    let sealed = (0..).zip(told).map(|(index, told)| {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&u64::to_be_bytes(index));
        let time = Timestamp(START_MS + 200 * i64::try_from(index).unwrap() + told.days * 86_400_000);
        let organisation = told.organisation.map(|name| OrganisationId::new(name).unwrap());
        let common = Common { nonce, time, boot: "boot-1".into() };
        let draft = Draft::new(told.kind, &common, organisation.as_ref(), told.members.clone(), vec![]).unwrap();
        let place = told.organisation.map(|name| {
            let place = latest.get(name).copied().unwrap_or(Place { sequence: 1, previous: None });
            latest.insert(name, Place { sequence: place.sequence + 1, previous: Some(index) });
            place
        });
        let bytes = draft.seal(place);
        Entry::parse(&bytes).unwrap();
        bytes
    });
    sealed.collect()
}

/// An entry that prunes those before `minimum` of this story and carries some forward, a hundred days later.
pub fn prunes(story: &[Told], minimum: u64, carried: &[u64], change: &[(&'static str, Value)]) -> Told {
    let number = |n: u64| Value::int(i64::try_from(n).unwrap());
    let numbers = |numbers: &[u64]| Value::Array(numbers.iter().map(|n| number(*n)).collect());
    let (mut places, mut open) = (std::collections::BTreeMap::new(), Vec::new());
    for (index, entry) in seal(story).iter().enumerate().take(usize::try_from(minimum).unwrap()) {
        let entry = Entry::parse(entry).unwrap();
        if let (Some(organisation), Some(place)) = (&entry.organisation, entry.place) {
            let place = Value::Array(vec![number(place.sequence), number(index as u64)]);
            places.insert(organisation.to_string(), place);
        }
        match entry.get("of").and_then(Value::as_int) {
            Some(of) => open.retain(|open| i64::try_from(*open).unwrap() != of),
            None if entry.text("decision") == Some("allow") => open.push(index as u64),
            None => {}
        }
    }
    let members = [
        ("event", Value::text("pruned")),
        ("first", number(0)),
        ("minimum", number(minimum)),
        ("count", number(minimum)),
        ("before", Value::text("2026-11-23T00:00:00.000Z")),
        ("days", number(60)),
        ("policy", Value::text("ab".repeat(32))),
        ("organisations", Value::object(places)),
        ("open", numbers(&open)),
        ("carried", numbers(carried)),
    ];
    let members = members.into_iter().map(|(name, value)| {
        let other = change.iter().find(|(other, _)| *other == name);
        (name, other.map_or(value, |(_, value)| value.clone()))
    });
    Told { members: members.collect(), organisation: None, days: 100, ..told(EntryKind::Pruning, "") }
}

/// A directory with a published log.
pub struct Published {
    pub dir: TempDir,
}

impl Published {
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn write(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, below: &str) -> Vec<u8> {
        fs::read(self.path(below)).unwrap()
    }

    pub fn remove(&self, below: &str) {
        fs::remove_file(self.path(below)).unwrap();
    }

    pub fn change(&self, below: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(below);
        change(&mut bytes);
        self.write(below, bytes);
    }

    /// Publishes these entries, signed by `key`, with kept checkpoints of these sizes and one of the whole.
    pub fn of(entries: &[Vec<u8>], kept: &[u64], key: &SigningKey) -> Self {
        let published = Self { dir: tempfile::tempdir().unwrap() };
        published.write_files(entries);
        for size in kept.iter().copied().chain([entries.len() as u64]) {
            let note = checkpoint(&entries[..usize::try_from(size).unwrap()], key);
            published.write(&kept_path(size), &note);
            published.write("checkpoint", &note);
        }
        published
    }

    /// Bundles and tiles of these entries.
    pub fn write_files(&self, entries: &[Vec<u8>]) {
        for tile in tiles_for_size(entries.len() as u64) {
            self.write(&tile.to_path(), file(tile, entries));
        }
    }

    /// Takes away what the entry `under` says is gone, and puts what is carried forward where it belongs.
    pub fn prune(&self, entries: &[Vec<u8>], under: u64, minimum: u64, carried: &[u64]) {
        for index in carried {
            let name = format!("{index:020}");
            self.write(
                &format!("carried/{}/{name}", name.get(..14).unwrap()),
                &entries[usize::try_from(*index).unwrap()],
            );
        }
        let hint = format!("{{\"before\":\"2026-11-23T00:00:00.000Z\",\"below\":{minimum},\"under\":{under}}}");
        self.write("pruned", hint);
        (0..minimum / 256).for_each(|number| self.remove(&format!("tile/entries/{number:03}")));
    }

    /// Rewrites one bundle.
    pub fn change_bundle(&self, path: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        self.change(path, |bytes| {
            let mut entries: Vec<Vec<u8>> = bundle::decode(bytes).unwrap().into_iter().map(Vec::from).collect();
            change(&mut entries);
            *bytes = bundle::encode(entries.iter().map(Vec::as_slice)).unwrap();
        });
    }
}

pub fn kept_path(size: u64) -> String {
    format!("checkpoints/{:014}/{size:020}", size / 1_000_000)
}

pub fn root(entries: &[Vec<u8>]) -> Hash {
    let mut range = CompactRange::new();
    entries.iter().for_each(|entry| range.push(leaf_hash(entry)));
    range.root()
}

pub fn checkpoint(entries: &[Vec<u8>], key: &SigningKey) -> String {
    Checkpoint::new(ORIGIN, entries.len() as u64, root(entries)).sign(key).unwrap()
}

fn file(tile: TilePath, entries: &[Vec<u8>]) -> Vec<u8> {
    let range = tile.entries();
    let of = &entries[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
    match tile.kind {
        Kind::Entries => bundle::encode(of.iter().map(Vec::as_slice)).unwrap(),
        Kind::Tile(_) => hashes_to_bytes(&of.chunks(of.len() / usize::from(tile.width)).map(root).collect::<Vec<_>>()),
    }
}
