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

mod next;

use crate::checkpoints::NOTE_BYTES_MAX;
use crate::clocks::Cosigned;
use crate::findings::{Findings, worded};
use crate::keys::KeyRing;
use crate::report::Finding;
use crate::rules::Rules;
use crate::verdict::Point;
use model::canonical::{hex, unhex};
use model::{Clock, Timestamp};
use next::{Next, read_tile};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tlog::tile::{subtree_in, tile_of};
use tlog::{Checkpoint, CompactRange, TrustPolicy, VerifierKey};

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

#[cfg(test)]
mod tests;
