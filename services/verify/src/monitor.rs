//! Watching a log from outside: each look continues from what the last one has seen, entry by entry.
//!
//! A look passes when
//! 1. the published checkpoint is signed by the log's key, or one that entries seen before announce ([`crate::keys`]), and
//!    cosigned as the trust policy asks;
//! 2. it is of no smaller tree than the last good one, and of the same if it is of the same size;
//! 3. the entries between the two are there, have the form of entries, and together with those seen before make its root, so
//!    that what was seen before is unchanged in it. Of entries that were pruned before they could be seen the hashes do, if one
//!    of the new entries says so ([`crate::pruned`]);
//! 4. organisations' sequences and outcomes go on without gap or fork, from what was seen before;
//! 5. something was written not too long ago, and no entry is later than this machine's clock or than a witness's, nor much
//!    earlier than one of before.
//!
//! After a look that does not pass points 1 to 3 the last good one stays what the next begins with: nothing that
//! contradicts it is ever taken over. What is wrong with entries that are taken over stays told, look after look, until
//! somebody acknowledges it. A log that is kept back as a whole is unreachable, and silent once that lasts. Two notes of one size with different roots prove by themselves that two histories were signed.
//!
//! What this does **not** do: it has no network (the caller fetches), and hash tiles are looked at only where a watch begins
//! in the middle. [`crate::log`] checks everything that is published.

use crate::bundle::Bundle;
use crate::checkpoints::NOTE_BYTES_MAX;
use crate::clocks::{CLOCKS_DIFFER_MS, Cosigned};
use crate::facts::Facts;
use crate::findings::{Findings, worded};
use crate::keys::{Event, KeyRing};
use crate::pruned;
use crate::report::Finding;
use crate::rules::Rules;
use crate::verdict::Point;
use model::canonical::{hex, unhex};
use model::entry::Kind;
use model::pruning::Pruning;
use model::{Clock, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tlog::tile::{Kind as TileKind, TilePath, WIDTH, subtree_in, tile_of};
use tlog::{Checkpoint, CompactRange, TrustPolicy, VerifierKey, hashes_from_bytes, leaf_hash};

const FORMAT: &str = "millgate-monitor/1";
/// A full bundle of the largest entries, or a tile.
const FILE_BYTES_MAX: usize = 256 * (2 + 65_535);
/// Entries that a look hands back for a closer one.
const SAMPLES_MAX: usize = 3;
/// More entries than any log writes between two looks, or a watch begins with: a checkpoint can claim any number.
const NEW_MAX: u64 = 200_000_000;
/// Findings that are kept until somebody acknowledges them, and what is kept in the place of more.
const UNRESOLVED_MAX: usize = 100;
const UNRESOLVED_MORE: &str =
    "more was found than is kept: before you acknowledge it, check the whole log with `millgate-verify log`";

/// Where published files come from.
pub trait Files {
    /// A file below the log's prefix of at most so many bytes; `None` where there is none.
    ///
    /// # Errors
    /// In words, when it cannot be told.
    fn read(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String>;
}

/// How a log is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    pub key: VerifierKey,
    /// Its logs are all the keys of this one log.
    pub policy: TrustPolicy,
    /// A log that writes nothing for longer is not running, or somebody keeps it back.
    pub silence_ms: i64,
    /// For how many days entries are to be kept, as the plant has said.
    pub kept_days: Option<u32>,
}

/// What has been seen of a log.
#[derive(Debug)]
pub struct Seen {
    note: String,
    range: CompactRange,
    rules: Rules,
    /// The time of the last entry, or when a watch began. Never one that was yet to come when it was seen: whoever can date an entry
    /// ahead must not be believed to be busy until then.
    latest: Option<Timestamp>,
    /// Findings about entries that were taken over.
    unresolved: Vec<String>,
    /// Which keys of the log count, as far as it has said.
    keys: KeyRing,
    /// Those that had signed `note`, so that it is still known as the log's when one of them is no longer trusted.
    signers: Vec<VerifierKey>,
}

impl Watch {
    fn given(&self) -> Vec<VerifierKey> {
        self.policy.logs.iter().map(|log| log.key.clone()).collect()
    }
}

/// Two signed notes that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The last good one.
    pub seen: String,
    pub published: String,
    /// They are of one size and have different roots: whoever holds the key has signed two histories. Otherwise it takes the
    /// entries to tell, or somebody has put an older copy in between.
    pub is_proof: bool,
}

/// What one look came to.
#[derive(Debug, Default)]
pub struct Look {
    /// Entries that the published checkpoint counts.
    pub size: u64,
    /// Entries that were new and are good.
    pub new: u64,
    /// How many of the new entries are of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Allowed exchanges without outcome.
    pub open: u64,
    pub cosigned: Vec<(String, u64)>,
    pub findings: Vec<Finding>,
    /// Findings beyond those that are listed.
    pub findings_left_off: u64,
    pub warnings: Vec<Finding>,
    pub warnings_left_off: u64,
    pub contradiction: Option<Contradiction>,
    /// What earlier looks found in entries that were taken over, and nobody has acknowledged.
    pub unresolved: Vec<String>,
    /// A part could not be fetched: the look is not complete.
    pub unreachable: Option<String>,
    /// Nothing had been seen before.
    pub is_first: bool,
    /// Some of the new entries, with their index.
    pub samples: Vec<(u64, Vec<u8>)>,
}

impl Look {
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty() && self.unresolved.is_empty()
    }

    /// One object.
    pub fn to_json(&self) -> Value {
        json!({
            "ok": self.is_ok(),
            "size": self.size,
            "new": self.new,
            "kinds": self.kinds,
            "open": self.open,
            "cosigned": crate::report::cosigned_json(&self.cosigned),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "findings_left_off": self.findings_left_off,
            "warnings": self.warnings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "warnings_left_off": self.warnings_left_off,
            "unresolved": self.unresolved,
            "unreachable": self.unreachable,
            "first": self.is_first,
        })
    }
}

/// Why there is nothing to look at. Not held against the log: a network can be down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable(pub String);

impl Unreachable {
    /// Whoever is asked for a file chooses the words in which it is refused.
    fn file(name: &str, why: &str) -> Self {
        Self(worded(&format!("`{name}`: {why}")))
    }
}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

impl Seen {
    /// Nothing yet: the first look goes through everything.
    pub fn nothing() -> Self {
        Self {
            note: String::new(),
            range: CompactRange::new(),
            rules: Rules::default(),
            latest: None,
            unresolved: Vec::new(),
            keys: KeyRing::new(&[]),
            signers: Vec::new(),
        }
    }

    /// Begins at the checkpoint that is published now, and believes what is before it. Of several keys those count from then on
    /// that have signed it.
    ///
    /// # Errors
    /// When it is not signed by the key, or by the last of several, or not cosigned as the policy asks, or its hash tiles are not
    /// there.
    pub fn from_now(watch: &Watch, files: &mut dyn Files, clock: &dyn Clock) -> Result<Self, Unreachable> {
        let mut keys = KeyRing::new(&watch.given());
        let (note, checkpoint) = match published(&keys, files)? {
            Ok(published) => published,
            Err(why) => return Err(Unreachable::file("checkpoint", &why)),
        };
        keys.begin_at(&note, checkpoint.size).map_err(|why| Unreachable::file("checkpoint", &why))?;
        // What is begun with is never given up for anything else, so it must not be what nobody else has.
        if !watch.policy.is_met(&watch.policy.cosigned(&note)) {
            let why = "it does not have the quorum of witnesses that the policy asks for, and a watch begins with none that lacks it";
            return Err(Unreachable::file("checkpoint", why));
        }
        let signers = keys.signers(&note);
        let mut range = CompactRange::new();
        for (level, index) in tlog::range::cover(0, checkpoint.size) {
            let path =
                tile_of(level, index, checkpoint.size).ok_or_else(|| Unreachable(String::from("no such tile")))?;
            let bytes = read_tile(files, path)?.map(|(bytes, _)| bytes);
            let hash = bytes.and_then(|bytes| subtree_in(&bytes, level, index));
            let hash = hash.ok_or_else(|| Unreachable(format!("`{}` is not what it must be", path.to_path())))?;
            range.push_subtree(level, hash, |_, _| {});
        }
        if range.root() != checkpoint.root {
            return Err(Unreachable(String::from("the hash tiles do not have the root of `checkpoint`")));
        }
        let mut rules = Rules::default();
        rules.hole(0..checkpoint.size);
        Ok(Self { note, range, rules, latest: Some(clock.now()), unresolved: Vec::new(), keys, signers })
    }

    /// Entries that have been seen.
    pub fn size(&self) -> u64 {
        self.range.size()
    }

    pub fn to_json(&self, watch: &Watch) -> Value {
        json!({
            "format": FORMAT,
            "origin": watch.key.name(),
            "note": self.note,
            "size": self.range.size(),
            "range": hex(&self.range.to_bytes()),
            "latest": self.latest.map(Timestamp::millis),
            "rules": self.rules.to_json(),
            "unresolved": self.unresolved,
            "keys": self.keys.to_json(),
            "signers": self.signers.iter().map(VerifierKey::to_text).collect::<Vec<_>>(),
        })
    }

    /// What was found in entries that were taken over is known and dealt with.
    pub fn acknowledge(&mut self) {
        self.unresolved.clear();
    }

    /// The inverse of [`Seen::to_json`]. `None` for anything else, for another log's, and where what was seen is not what its
    /// note was signed for.
    pub fn from_json(watch: &Watch, value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if text("format") != Some(FORMAT) || text("origin") != Some(watch.key.name()) {
            return None;
        }
        let range = CompactRange::from_bytes(value.get("size")?.as_u64()?, &unhex(text("range")?)?)?;
        let latest = value.get("latest").and_then(Value::as_i64).map(Timestamp);
        let rules = Rules::from_json(value.get("rules")?)?;
        let keys = match value.get("keys") {
            Some(keys) => KeyRing::from_json(&watch.given(), keys)?,
            None => KeyRing::new(&watch.given()),
        };
        let note = text("note")?.to_owned();
        let unresolved = value.get("unresolved")?.as_array()?.iter().map(|text| Some(text.as_str()?.to_owned()));
        let unresolved = unresolved.collect::<Option<Vec<_>>>()?;
        // What was judged good then stays what was seen, also when a key is trusted no longer. What is published is judged anew.
        let signers = value.get("signers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let signers = signers.iter().map(|key| VerifierKey::parse(key.as_str()?).ok());
        let signers = signers.collect::<Option<Vec<_>>>()?;
        let signed = keys.judge(&note).ok().or_else(|| Some(Checkpoint::open_any(&note, &signers).ok()?.0));
        let signed = signed.filter(|signed| signed.origin == watch.key.name());
        let signed = signed.map(|signed| (signed.size, signed.root));
        let is_signed = signed == Some((range.size(), range.root())) || (note.is_empty() && range.size() == 0);
        is_signed.then_some(Self { note, range, rules, latest, unresolved, keys, signers })
    }

    /// Looks once.
    ///
    /// # Errors
    /// When the log cannot be reached. What is wrong with it is in the look.
    pub fn look(&mut self, watch: &Watch, files: &mut dyn Files, clock: &dyn Clock) -> Result<Look, Unreachable> {
        let (mut findings, mut warnings) = (Findings::default(), Findings::default());
        let mut look = Look { is_first: self.note.is_empty(), unresolved: self.unresolved.clone(), ..Look::default() };
        let now = clock.now();
        self.latest.get_or_insert(now);
        self.keys.trust(watch.given());
        let published = match published(&self.keys, files) {
            Ok(published) => published,
            Err(unreachable) => {
                // A log that is kept back as a whole is as silent as one of which a part is.
                self.silence(watch, now, &mut findings.of(Point::Silence));
                (look.findings, look.findings_left_off) = findings.finish();
                if look.findings.is_empty() {
                    return Err(unreachable);
                }
                (look.size, look.open) = (self.size(), self.rules.finish(&mut Findings::default()));
                look.unreachable = Some(unreachable.0);
                return Ok(look);
            }
        };
        match published {
            Err(why) => findings.of(Point::CheckpointSignature).add(0..0, format!("`checkpoint`: {why}")),
            Ok((note, checkpoint)) => {
                look.size = checkpoint.size;
                let told = (&mut findings, &mut warnings);
                let compared = self.compare(watch, files, (&note, &checkpoint), now, &mut look, told);
                // What was found until then is told all the same.
                look.unreachable = compared.err().map(|Unreachable(why)| why);
            }
        }
        self.silence(watch, now, &mut findings.of(Point::Silence));
        look.open = self.rules.finish(&mut Findings::default());
        if look.new == 0 {
            // Of entries that were not taken over nothing is handed on.
            look.kinds.clear();
            look.samples.clear();
        }
        // Beside those that are left off already.
        let ((listed, more), (warned, more_warned)) = (findings.finish(), warnings.finish());
        (look.findings, look.warnings) = (listed, warned);
        look.findings_left_off = look.findings_left_off.saturating_add(more);
        look.warnings_left_off = look.warnings_left_off.saturating_add(more_warned);
        Ok(look)
    }

    fn compare(
        &mut self,
        watch: &Watch,
        files: &mut dyn Files,
        (note, checkpoint): (&str, &Checkpoint),
        now: Timestamp,
        look: &mut Look,
        (findings, warnings): (&mut Findings, &mut Findings),
    ) -> Result<(), Unreachable> {
        look.cosigned = watch.policy.cosigned(note);
        let is_met = watch.policy.is_met(&look.cosigned);
        if !is_met {
            let what = "the published checkpoint does not have the quorum of witnesses that the policy asks for";
            findings.of(Point::Cosignatures).add(0..0, what);
        }
        let seen = self.size();
        if checkpoint.size < seen {
            let what =
                format!("the log was cut or put back: {seen} entries were seen, and {} are published", checkpoint.size);
            findings.of(Point::RememberedCheckpoint).add(checkpoint.size..seen, what);
            look.contradiction = self.contradiction(note, false);
            return Ok(());
        }
        if checkpoint.size - seen > NEW_MAX {
            let claimed = checkpoint.size - seen;
            let what = format!("the checkpoint claims {claimed} new entries, more than a look goes through");
            findings.of(Point::EntriesPresent).add(0..0, what);
            return Ok(());
        }
        let mut next = Next {
            range: self.range.clone(),
            rules: self.rules.clone(),
            latest: self.latest,
            newest: None,
            oldest: None,
            keys: self.keys.clone(),
            kept_days: watch.kept_days,
            said: None,
            is_said: false,
        };
        let (mut of_entries, mut beside) = (Findings::default(), Findings::default());
        let read = next.read(files, checkpoint.size, look, (&mut of_entries, &mut beside));
        let (mut of_entries, left_off) = of_entries.finish();
        tell(findings, &of_entries);
        look.findings_left_off = left_off;
        let (beside, left_off) = beside.finish();
        tell(warnings, &beside);
        look.warnings_left_off = left_off;
        if !read? {
            look.new = 0;
            return Ok(());
        }
        if next.range.root() != checkpoint.root {
            let what =
                "the log was rewritten: what was seen before and the new entries do not make the root of `checkpoint`";
            findings.of(Point::RememberedCheckpoint).add(0..checkpoint.size, what);
            look.contradiction = self.contradiction(note, checkpoint.size == seen);
            look.new = 0;
            return Ok(());
        }
        let signers = next.keys.signers(note);
        next.keys.confirm(checkpoint.size, note, &signers);
        if let Err(why) = next.keys.judge(note) {
            findings.of(Point::CheckpointSignature).add(0..0, format!("`checkpoint`: {why}"));
            look.new = 0;
            return Ok(());
        }
        let doubts = next.keys.doubts(note, checkpoint.size);
        if !doubts.is_empty() {
            // It may be another history, by whoever has an older key: what was seen stays what the next look begins with.
            let mut findings = findings.of(Point::Keys);
            doubts.iter().for_each(|what| findings.add(0..0, format!("`checkpoint`: {what}")));
            look.new = 0;
            return Ok(());
        }
        look.new = checkpoint.size - seen;
        if look.new > 0 {
            next.rules.finish(warnings);
        }
        let before = watch.policy.cosigned(&self.note);
        let before = Cosigned::of(&before).filter(|_| watch.policy.is_met(&before)).map(|before| (before, seen));
        let mut of_clocks = Findings::default();
        next.clocks(now, look, before, &mut of_clocks.of(Point::Clocks));
        let of_clocks = of_clocks.finish().0;
        tell(findings, &of_clocks);
        // What is wrong with the time of an entry is wrong with that entry; with a cosignature it is told as long as that is published.
        of_entries.extend(of_clocks.into_iter().filter(|finding| finding.entries.is_some()));
        // What nobody of those who are trusted has cosigned may yet be replaced by what they have.
        if is_met {
            (self.range, self.rules, self.latest, self.keys) = (next.range, next.rules, next.latest, next.keys);
            self.signers = self.keys.signers(note);
            self.latest = self.latest.map(|latest| latest.min(now));
            self.note = note.to_owned();
            self.keep_unresolved(of_entries.iter().map(ToString::to_string).collect());
        }
        Ok(())
    }

    /// No more than so many, and where there are more, that.
    fn keep_unresolved(&mut self, found: Vec<String>) {
        self.unresolved.extend(found);
        if self.unresolved.len() > UNRESOLVED_MAX {
            self.unresolved.truncate(UNRESOLVED_MAX - 1);
            self.unresolved.push(UNRESOLVED_MORE.to_owned());
        }
    }

    fn contradiction(&self, published: &str, is_proof: bool) -> Option<Contradiction> {
        let seen = self.note.clone();
        (!seen.is_empty()).then(|| Contradiction { seen, published: published.to_owned(), is_proof })
    }

    /// Judged whatever else the look came to: keeping everything back must not go unnoticed.
    fn silence(&self, watch: &Watch, now: Timestamp, findings: &mut Findings) {
        let quiet = self.latest.map_or(0, |latest| now.millis().saturating_sub(latest.millis()));
        if quiet > watch.silence_ms {
            let seconds = quiet / 1000;
            let what =
                format!("nothing new was seen for {seconds} s: the log does not run, or what it writes is kept back");
            findings.add(0..0, what);
        }
    }
}

fn tell(findings: &mut Findings, list: &[Finding]) {
    for Finding { check, what, entries } in list {
        findings.of(*check).add(entries.map_or(0..0, |(first, last)| first..last + 1), what);
    }
}

/// What will have been seen if the root is the signed one.
struct Next {
    range: CompactRange,
    rules: Rules,
    latest: Option<Timestamp>,
    /// The latest time of the new entries, with its entry: not always the last one's.
    newest: Option<(Timestamp, u64)>,
    /// The earliest.
    oldest: Option<(Timestamp, u64)>,
    keys: KeyRing,
    kept_days: Option<u32>,
    /// The entry by which new entries are gone.
    said: Option<Pruning>,
    /// It was found among the others.
    is_said: bool,
}

impl Next {
    /// Holds the new entries against the clock here and against those of the witnesses, also of those who cosigned the checkpoint
    /// before them.
    fn clocks(&self, now: Timestamp, look: &Look, before: Option<(Cosigned, u64)>, findings: &mut Findings) {
        if let Some((oldest, index)) = self.oldest
            && let Some((before, size)) = before
            && let Some(what) = before.too_early(oldest, size)
        {
            findings.add(index..index + 1, what);
        }
        for (name, seconds) in &look.cosigned {
            let cosigned = i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1000);
            if cosigned.saturating_sub(now.millis()) > CLOCKS_DIFFER_MS {
                findings.add(0..0, format!("`{name}` says that it cosigned in the future"));
            }
            if let Some((newest, index)) = self.newest
                && newest.millis().saturating_sub(cosigned) > CLOCKS_DIFFER_MS
            {
                let what = format!("later than its cosignature by `{name}`: one of the clocks is wrong");
                findings.add(index..index + 1, what);
            }
        }
        if let Some((newest, index)) = self.newest
            && newest.millis().saturating_sub(now.millis()) > CLOCKS_DIFFER_MS
        {
            let ahead = (newest.millis() - now.millis()) / 1000;
            findings.add(index..index + 1, format!("{ahead} s later than the clock here"));
        }
    }

    /// Reads the entries up to `size`. `false`: some could not be read, as a finding says.
    fn read(
        &mut self,
        files: &mut dyn Files,
        size: u64,
        look: &mut Look,
        (findings, warnings): (&mut Findings, &mut Findings),
    ) -> Result<bool, Unreachable> {
        let width = u64::from(WIDTH);
        while self.range.size() < size {
            let Some(path) = Bundle::path(self.range.size() / width, size) else { return Ok(false) };
            let Some((bytes, of_full)) = read_tile(files, path)? else {
                if self.pass_pruned(files, path, size, (findings, warnings))? {
                    continue;
                }
                findings.missing(path, path.entries());
                return Ok(false);
            };
            let bundle = Bundle::of_bytes(path, &bytes, of_full);
            if let Some(problem) = &bundle.problem {
                let what = format!("entry bundle `{}`: {problem}", path.to_path());
                findings.of(Point::EntriesPresent).add(path.entries(), what);
                return Ok(false);
            }
            let (entries, _) = tlog::bundle::decode_lossy(&bytes);
            let known = usize::try_from(self.range.size() % width).unwrap_or(usize::MAX);
            let numbered = (path.entries().start..).zip(bundle.leaves).zip(bundle.facts).zip(entries);
            for (((index, leaf), facts), entry) in numbered.skip(known) {
                self.range.push(leaf);
                match facts {
                    Ok(facts) => {
                        self.entry(index, &facts, look, (findings, warnings));
                        sample(&mut look.samples, index, entry);
                    }
                    Err(why) => {
                        findings.of(Point::EntryForm).add(index..index + 1, format!("not an entry: {why}"));
                        self.rules.hole(index..index + 1);
                    }
                }
            }
        }
        // What is gone is excused by an entry that is among the others, and by nothing else.
        if let Some(said) = self.said.as_ref().filter(|_| !self.is_said) {
            let what = format!("entries before {} are gone, and entry {} does not say so", said.minimum, said.index);
            findings.of(Point::Pruning).add(0..said.minimum, what);
            return Ok(false);
        }
        Ok(true)
    }

    /// Goes over a bundle that is gone by its hashes. `false`: nothing says that it is gone, or its hashes are not there.
    fn pass_pruned(
        &mut self,
        files: &mut dyn Files,
        path: TilePath,
        size: u64,
        (findings, warnings): (&mut Findings, &mut Findings),
    ) -> Result<bool, Unreachable> {
        let mut failed = None;
        let mut read = |name: &str, bytes_max: usize| match files.read(name, bytes_max) {
            Ok(bytes) => bytes,
            Err(why) => {
                failed.get_or_insert(Unreachable::file(name, &why));
                None
            }
        };
        let entries = path.entries();
        if self.said.is_none() {
            self.said = pruned::load(size, &mut read).filter(|said| entries.end <= said.minimum);
            if let Some(said) = &self.said {
                self.rules.prune(said.minimum);
                self.keys.prune();
                let what = format!("pruned under entry {} before they were seen here", said.index);
                warnings.of(Point::Pruning).add(self.range.size()..said.minimum, what);
            }
        }
        let Some(said) = self.said.clone().filter(|said| entries.end <= said.minimum) else {
            return failed.map_or(Ok(false), Err);
        };
        let tile = TilePath { kind: TileKind::Tile(0), ..path };
        let hashes = read(&tile.to_path(), FILE_BYTES_MAX).and_then(|bytes| hashes_from_bytes(&bytes));
        let Some(hashes) = hashes.filter(|hashes| hashes.len() == usize::from(WIDTH)) else {
            return failed.map_or(Ok(false), Err);
        };
        let known = self.range.size();
        for (index, leaf) in entries.clone().zip(hashes).filter(|(index, _)| *index >= known) {
            self.range.push(leaf);
            if !said.carried.contains(&index) {
                continue;
            }
            let bytes = pruned::carried(index, &mut read).filter(|bytes| leaf_hash(bytes) == leaf);
            match bytes.and_then(|bytes| Facts::of_entry(&bytes).ok()) {
                Some(facts) => {
                    self.rules.carried(index, &facts, &said, findings);
                    if let Some(change) = &facts.key {
                        self.keys.said(index, change, &mut findings.of(Point::Keys));
                    }
                }
                None => {
                    let what = "carried forward, and not there or not what was logged";
                    findings.of(Point::Pruning).add(index..index + 1, what);
                }
            }
        }
        if let Some(unreachable) = failed {
            return Err(unreachable);
        }
        if entries.end == said.minimum {
            self.rules.begin(&said, findings);
        }
        Ok(true)
    }

    fn entry(
        &mut self,
        index: u64,
        facts: &Facts,
        look: &mut Look,
        (findings, warnings): (&mut Findings, &mut Findings),
    ) {
        *look.kinds.entry(facts.kind.as_str()).or_default() += 1;
        self.latest = Some(facts.time);
        if self.newest.is_none_or(|(newest, _)| newest < facts.time) {
            self.newest = Some((facts.time, index));
        }
        if self.oldest.is_none_or(|(oldest, _)| facts.time < oldest) {
            self.oldest = Some((facts.time, index));
        }
        self.rules.entry(index, facts, findings, warnings, |_| None);
        if let Some(change) = &facts.key {
            self.keys.said(index, change, &mut findings.of(Point::Keys));
            if let Ok(change) = change.as_ref() {
                let key = change.key.to_text();
                let what = match change.event {
                    Event::Announced => "announces a key that will take the place of the log's",
                    Event::Retired => "retires a key of the log",
                };
                warnings.of(Point::Keys).add(index..index + 1, format!("{what}: {key}"));
            }
        }
        if let Some(said) = facts.pruning_at(index) {
            self.is_said |= self.said.as_ref() == Some(&said);
            let what = format!(
                "prunes entries before {}: it says that all are of before {}, and kept for {} days",
                said.minimum,
                said.before.to_rfc3339(),
                said.days
            );
            warnings.of(Point::Pruning).add(index..index + 1, what);
            if let Some(days) = self.kept_days.filter(|days| said.days < *days) {
                findings.of(Point::Pruning).add(index..index + 1, pruned::too_short(said.days, days));
            }
        }
        if facts.kind == Kind::Gap {
            warnings.of(Point::EntriesPresent).add(index..index + 1, "says that something is not recorded");
        }
    }
}

/// Keeps the latest, and of those before it some, further and further apart.
fn sample(samples: &mut Vec<(u64, Vec<u8>)>, index: u64, entry: &[u8]) {
    if samples.len() < SAMPLES_MAX {
        samples.push((index, entry.to_vec()));
    } else if let [first, second, last] = samples.as_mut_slice() {
        if index.is_power_of_two() {
            *first = std::mem::replace(second, std::mem::take(last));
        }
        *last = (index, entry.to_vec());
    }
}

type Published = Result<(String, Checkpoint), String>;

fn published(keys: &KeyRing, files: &mut dyn Files) -> Result<Published, Unreachable> {
    let bytes = files.read("checkpoint", NOTE_BYTES_MAX).map_err(|why| Unreachable::file("checkpoint", &why))?;
    let bytes = bytes
        .ok_or_else(|| Unreachable(String::from("`checkpoint` is not there: is this where a log is published?")))?;
    let Ok(note) = String::from_utf8(bytes) else { return Ok(Err(String::from("not UTF-8"))) };
    Ok(match keys.judge(&note) {
        Ok(checkpoint) => Ok((note, checkpoint)),
        Err(error) => Err(error.to_string()),
    })
}

/// The bytes, and whether they are those of the full file in the place of the partial one.
fn read_tile(files: &mut dyn Files, path: TilePath) -> Result<Option<(Vec<u8>, bool)>, Unreachable> {
    let mut read = |path: TilePath| {
        let name = path.to_path();
        files.read(&name, FILE_BYTES_MAX).map_err(|why| Unreachable::file(&name, &why))
    };
    if let Some(bytes) = read(path)? {
        return Ok(Some((bytes, false)));
    }
    if path.is_full() {
        return Ok(None);
    }
    Ok(read(TilePath { width: WIDTH, ..path })?.map(|bytes| (bytes, true)))
}

#[cfg(test)]
mod tests;
