//! What one look goes through: the entries behind those that were seen, held against all that is known so far.

use super::{FILE_BYTES_MAX, Files, Look, SAMPLES_MAX, Unreachable};
use crate::bundle::Bundle;
use crate::clocks::{CLOCKS_DIFFER_MS, Cosigned};
use crate::facts::Facts;
use crate::findings::Findings;
use crate::keys::{Event, KeyRing};
use crate::pruned;
use crate::rules::Rules;
use crate::verdict::Point;
use model::Timestamp;
use model::entry::Kind;
use model::pruning::Pruning;
use tlog::tile::{Kind as TileKind, TilePath, WIDTH};
use tlog::{CompactRange, hashes_from_bytes, leaf_hash};

/// What will have been seen if the root is the signed one.
pub(super) struct Next {
    pub range: CompactRange,
    pub rules: Rules,
    pub latest: Option<Timestamp>,
    /// The latest time of the new entries, with its entry: not always the last one's.
    pub newest: Option<(Timestamp, u64)>,
    /// The earliest.
    pub oldest: Option<(Timestamp, u64)>,
    pub keys: KeyRing,
    pub kept_days: Option<u32>,
    /// The entry by which new entries are gone.
    pub said: Option<Pruning>,
    /// It was found among the others.
    pub is_said: bool,
}

impl Next {
    /// Holds the new entries against the clock here and against those of the witnesses, also of those who cosigned the checkpoint
    /// before them.
    pub(super) fn clocks(&self, now: Timestamp, look: &Look, before: Option<(Cosigned, u64)>, findings: &mut Findings) {
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
    pub(super) fn read(
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

/// The bytes, and whether they are those of the full file in the place of the partial one.
pub(super) fn read_tile(files: &mut dyn Files, path: TilePath) -> Result<Option<(Vec<u8>, bool)>, Unreachable> {
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
