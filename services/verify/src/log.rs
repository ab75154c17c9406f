//! The check of a published log: every entry, the tree, every kept checkpoint.
//!
//! What passes:
//! 1. `checkpoint` is signed by the log's key and of its origin, or by a key that an entry announces under a checkpoint that
//!    is signed so ([`crate::keys`]);
//! 2. every entry bundle up to its size is there, and every entry has the form of an entry;
//! 3. every hash tile up to its size is there and follows from the entries, byte for byte;
//! 4. the entries hash to the root of `checkpoint`, and at their sizes to those of all kept checkpoints and of the
//!    remembered one, none of which is larger;
//!    Entries that were pruned need not be there, if an entry in the tree says so and nothing is wrong with it ([`crate::pruned`]);
//!    their hashes must be, and those that it carries forward;
//! 5. every organisation's entries are numbered without gap or fork, every outcome belongs to one earlier allowed exchange
//!    that has no other, and every decision names policies that were in use;
//! 6. no entry is later than the cosignatures over it, nor much earlier than those that do not have it yet, where witnesses count.
//!
//! Where entries and stored hashes disagree, the signed roots tell which of them was changed. The check goes on with the
//! right one, so that a single damage is a single finding.

mod finish;
mod settle;

use crate::bundle::{Bundle, Problem};
use crate::checkpoints::{Checkpoints, kept_path, load, newest_above, newest_kept, newest_name, notes_below};
use crate::clocks::Clocks;
use crate::facts::Facts;
use crate::findings::Findings;
use crate::incarnation::Incarnation;
use crate::keys::{KeyRing, Refusal, is_signed_by_name, whose};
use crate::pruned;
use crate::report::Report;
use crate::rules::Rules;
use crate::store::{Store, Stored};
use crate::tree::{self, Tree};
use crate::verdict::{Point, Points, Results};
use model::pruning::Pruning;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tlog::tile::{Kind, TilePath};
use tlog::{Checkpoint, Hash, TrustPolicy, VerifierKey, checkpoint::CheckpointError};

/// After this many bundles in a row of which neither entries nor hashes are there, nothing more is looked for: the size in
/// a hostile checkpoint can be anything.
const ABSENT_BUNDLES_MAX: u64 = 4096;
/// Bundles that each thread reads before the next are handed out.
const BUNDLES_PER_THREAD: usize = 4;

/// Kept checkpoints that are looked at for a cosignature.
const KEPT_BELOW_MAX: usize = 512;

/// Why there is nothing to check. Whoever called must act.
#[derive(Debug)]
pub enum Unusable {
    Directory { dir: PathBuf, source: std::io::Error },
    NoCheckpoint(PathBuf),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { dir, source } => {
                write!(f, "directory `{}` cannot be read: {source}", dir.display())?;
                let hint = "; an archive is checked by `millgate-verify archive`, a proof or a receipt by `proof` or `receipt`";
                if dir.is_file() { f.write_str(hint) } else { Ok(()) }
            }
            Self::NoCheckpoint(dir) => {
                write!(
                    f,
                    "`{}` has no file `checkpoint`: is it the directory that a log is published to?",
                    dir.display()
                )?;
                let below = dir.join("published");
                if below.join("checkpoint").is_file() {
                    write!(f, " `{}` has one", below.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Unusable {}

/// A checkpoint that somebody has put aside earlier, where the log's operator could not reach it.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// How messages name it.
    pub name: String,
    checkpoint: Checkpoint,
    signers: Vec<VerifierKey>,
}

impl Remembered {
    /// # Errors
    /// When the note is not a checkpoint signed by this key.
    pub fn open(name: &str, note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        Self::open_any(name, note, std::slice::from_ref(key))
    }

    /// # Errors
    /// When the note is not a checkpoint signed by one of these keys.
    pub fn open_any(name: &str, note: &str, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let (checkpoint, signers) = Checkpoint::open_any(note, keys)?;
        Ok(Self { name: name.to_owned(), checkpoint, signers: signers.into_iter().cloned().collect() })
    }
}

/// Checks the log in `dir`.
///
/// # Errors
/// Only when there is no log to check. What is wrong with it is in the report.
pub fn check(dir: &Path, key: &VerifierKey, remembered: Option<&Remembered>) -> Result<Report, Unusable> {
    check_with_progress(dir, std::slice::from_ref(key), remembered, &mut |_, _| {})
}

/// The same by several keys of the log, telling how many entries of how many have been read, every few thousand.
///
/// # Errors
/// As [`check`].
pub fn check_with_progress(
    dir: &Path,
    keys: &[VerifierKey],
    remembered: Option<&Remembered>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Unusable> {
    check_trusting(dir, &TrustPolicy::of_keys(keys.to_vec()), remembered, progress)
}

/// The same by a policy that names the keys of this one log, and witnesses whose clocks its entries are held against.
///
/// # Errors
/// As [`check`].
pub fn check_trusting(
    dir: &Path,
    policy: &TrustPolicy,
    remembered: Option<&Remembered>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Unusable> {
    let keys: Vec<VerifierKey> = policy.logs.iter().map(|log| log.key.clone()).collect();
    std::fs::read_dir(dir).map_err(|source| Unusable::Directory { dir: dir.to_owned(), source })?;
    let store = Store::new(dir);
    let (mut findings, mut warnings, ring) = (Findings::default(), Findings::default(), KeyRing::new(&keys));
    let note = match load(&store, "checkpoint") {
        Ok(note) => Ok(note),
        Err(None) => return Err(Unusable::NoCheckpoint(dir.to_owned())),
        Err(Some(why)) => Err(Refusal::Other(why)),
    };
    // Behind `checkpoint`: whatever is kept from here on is of a log that has grown since.
    let listed = newest_name(&store);
    let why = match note.as_ref().map_err(Clone::clone).and_then(|note| ring.judge(note)) {
        Ok(published) => {
            let latest = newest_above(&store, published.size, |note| ring.judge(note).ok());
            let (published, note) =
                ahead_of(&published, latest, &mut warnings).unwrap_or_else(|| (published, note.unwrap_or_default()));
            let check = Check::new(&store, ring, &published, (policy, remembered), (findings, warnings), listed);
            return Ok(check.run(&note, progress).0);
        }
        Err(why) => why,
    };
    let kept = newest_kept(&store, |note| ring.judge(note).ok());
    let of_log = |note: &str| unverified(note).filter(|published| published.origin == ring.name());
    let whose = note.as_ref().ok().filter(|_| why == Refusal::Unknown).and_then(|note| whose(note, &keys));
    if let Some(note) = note.ok().filter(|_| why == Refusal::Unknown && kept.is_some())
        && let Some(published) = of_log(&note)
    {
        // Perhaps by a key that the entries announce. Whether it is, the walk along them tells.
        let mut warnings = Findings::default();
        let latest = ahead_of(&published, newest_above(&store, published.size, of_log), &mut warnings);
        let latest = latest.map(|latest| (latest, warnings));
        for ((published, note), warnings) in latest.into_iter().chain([((published, note), Findings::default())]) {
            let findings = (Findings::default(), warnings);
            let check = Check::new(&store, ring.clone(), &published, (policy, remembered), findings, listed);
            if let (report, true) = check.run(&note, progress) {
                return Ok(report);
            }
        }
    }
    let mut of_signature = findings.of(Point::CheckpointSignature);
    of_signature
        .add(0..0, format!("`checkpoint`: {why}{}", whose.map(|whose| format!("; {whose}")).unwrap_or_default()));
    let Some(published) = kept else {
        of_signature.add(0..0, "no kept checkpoint verifies either, so nothing else was checked; is it the right key?");
        drop(of_signature);
        let verdict = Results::only(&Point::OF_LOG, &[Point::CheckpointSignature], "no checkpoint verifies");
        let (origin, findings) = (ring.name().to_owned(), findings.finish().0);
        return Ok(Report { origin, verdict, findings, ..Report::default() });
    };
    drop(of_signature);
    let note = load(&store, &kept_path(published.size)).unwrap_or_default();
    let check = Check::new(&store, ring, &published, (policy, remembered), (findings, warnings), listed);
    Ok(check.run(&note, progress).0)
}

/// The kept checkpoint that is checked in the place of the one that `checkpoint` names.
fn ahead_of(
    published: &Checkpoint,
    latest: Option<(Checkpoint, String)>,
    warnings: &mut Findings,
) -> Option<(Checkpoint, String)> {
    let (latest, note) = latest?;
    let (named, size) = (published.size, latest.size);
    let what = format!(
        "`checkpoint` names {named} entries, and `{}` is here whole and was checked: the log was being published, or `checkpoint` was \
         put back",
        kept_path(size)
    );
    warnings.of(Point::KeptCheckpoints).add(named..size, what);
    Some((latest, note))
}

/// Kept notes about trees of this log of fewer than `below` entries, the largest first; at most some hundred are looked at. Whether
/// the log has signed them is left to witnesses, who cosign nothing else: its key may have been another one by then.
pub fn kept_below(dir: &Path, origin: &str, below: u64) -> impl Iterator<Item = (u64, String)> {
    notes_below(Store::new(dir), below, KEPT_BELOW_MAX).filter(move |(size, note)| {
        unverified(note).is_some_and(|checkpoint| checkpoint.origin == origin && checkpoint.size == *size)
    })
}

/// The checkpoint in a note that says to be signed by the log, whoever did.
fn unverified(note: &str) -> Option<Checkpoint> {
    let checkpoint = Checkpoint::parse(tlog::note::Note::parse(note).ok()?.text).ok()?;
    is_signed_by_name(note, &checkpoint.origin).then_some(checkpoint)
}

struct Check<'a> {
    store: &'a Store,
    keys: KeyRing,
    published: &'a Checkpoint,
    remembered: Option<&'a Remembered>,
    tree: Tree,
    /// The first entry from which on the tree is not known.
    lost: Option<u64>,
    rules: Rules,
    checkpoints: Checkpoints<'a>,
    /// Size of the largest kept checkpoint that was there in the beginning.
    listed: Option<u64>,
    clocks: Clocks<'a>,
    /// What its entries give to check.
    seen: Points,
    /// The remembered checkpoint was compared.
    is_met: bool,
    findings: Findings,
    warnings: Findings,
    absent: u64,
    /// What the entry says that prunes, as long as it is not passed.
    said: Option<Pruning>,
    /// It was found in the tree.
    is_said: bool,
    report: Report,
}

impl<'a> Check<'a> {
    fn new(
        store: &'a Store,
        keys: KeyRing,
        published: &'a Checkpoint,
        (policy, remembered): (&'a TrustPolicy, Option<&'a Remembered>),
        (findings, mut warnings): (Findings, Findings),
        listed: Option<u64>,
    ) -> Self {
        let checkpoints = Checkpoints::new(store, published.size, &mut warnings.of(Point::KeptCheckpoints));
        let report = Report {
            origin: published.origin.clone(),
            size: published.size,
            root: published.root.to_base64(),
            ..Report::default()
        };
        Self {
            store,
            keys,
            published,
            remembered,
            tree: Tree::new(),
            lost: None,
            rules: Rules::default(),
            checkpoints,
            listed,
            clocks: Clocks::new(policy),
            seen: Points::default(),
            is_met: false,
            findings,
            warnings,
            absent: 0,
            said: None,
            is_said: false,
            report,
        }
    }

    /// The report, and whether `note`, which the published checkpoint was read from, is signed by a key that counts.
    fn run(mut self, note: &str, progress: &mut dyn FnMut(u64, u64)) -> (Report, bool) {
        self.report.note = note.to_owned();
        let store = self.store;
        self.said = pruned::load(self.published.size, &mut |path, bytes_max| read_file(store, path, bytes_max));
        self.walk(progress);
        self.finish(note)
    }

    fn walk(&mut self, progress: &mut dyn FnMut(u64, u64)) {
        let size = self.published.size;
        let mut paths = (0..).map_while(|index| Bundle::path(index, size));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let minimum = self.said.as_ref().map_or(0, |said| said.minimum);
        self.rules.prune(minimum);
        if minimum > 0 {
            self.keys.prune();
        }
        self.reached();
        loop {
            let batch: Vec<TilePath> = paths.by_ref().take(threads * BUNDLES_PER_THREAD).collect();
            let Some(first) = batch.first() else { return };
            progress(first.entries().start, size);
            for bundle in read_parallel(self.store, &batch, threads) {
                if bundle.entries().end <= minimum {
                    self.pruned_bundle(&bundle);
                    continue;
                }
                self.bundle(&bundle);
                if self.absent >= ABSENT_BUNDLES_MAX {
                    let from = bundle.entries().end;
                    self.lost.get_or_insert(from);
                    self.rules.hole(from..size);
                    let what = "not looked for, because so much before is missing";
                    return self.findings.of(Point::EntriesPresent).add(from..size, what);
                }
            }
        }
    }

    fn bundle(&mut self, bundle: &Bundle) {
        let tile = TilePath { kind: Kind::Tile(0), ..bundle.path };
        let stored = tree::read_tile(self.store, tile);
        let nothing = bundle.problem == Some(Problem::Missing) && stored == Err(Problem::Missing);
        self.absent = if nothing { self.absent + 1 } else { 0 };
        self.report.bundles += u64::from(bundle.problem != Some(Problem::Missing));
        self.report.tiles += u64::from(stored.is_ok());
        let settled = self.settle(bundle, tile, stored);
        self.follow_rules(bundle, &settled.damaged);
        self.grow(bundle, settled.leaves, &settled.damaged);
    }

    /// A bundle of entries that are gone, or may be: what is signed is their hashes.
    fn pruned_bundle(&mut self, bundle: &Bundle) {
        let Some(said) = self.said.clone() else { return };
        let tile = TilePath { kind: Kind::Tile(0), ..bundle.path };
        let stored = tree::read_tile(self.store, tile);
        self.report.tiles += u64::from(stored.is_ok());
        let leaves = match stored {
            Ok(stored) => Some(stored),
            Err(problem) => {
                tree::tell_problem(tile, &problem, &mut self.findings);
                None
            }
        };
        let hash = |position: usize| leaves.as_ref().and_then(|leaves| leaves.get(position)).copied();
        // A copy may still have them, and then they can be held against what is said of them.
        if bundle.problem.is_none() {
            self.report.bundles += 1;
            let entries = (bundle.entries().start..).zip(bundle.leaves.iter().zip(&bundle.facts));
            for (position, (index, (leaf, facts))) in entries.enumerate() {
                if let Some(facts) = facts.as_ref().ok().filter(|facts| facts.time >= said.before)
                    && hash(position) == Some(*leaf)
                {
                    let time = facts.time.to_rfc3339();
                    let what =
                        format!("pruned under entry {} as one of before {}, and is of {time}", said.index, said.before);
                    self.findings.of(Point::Pruning).add(index..index + 1, what);
                }
            }
        }
        for index in said.carried.range(bundle.entries()) {
            let position = usize::try_from(index - bundle.entries().start).unwrap_or(usize::MAX);
            self.carried(*index, hash(position), &said);
        }
        self.grow(bundle, leaves, std::slice::from_ref(&bundle.entries()));
        if bundle.entries().end == said.minimum {
            self.rules.begin(&said, &mut self.findings);
        }
    }

    /// An entry that is carried forward, and the hash that it must have.
    fn carried(&mut self, index: u64, leaf: Option<Hash>, said: &Pruning) {
        let store = self.store;
        let at = index..index + 1;
        let bytes = pruned::carried(index, &mut |path, bytes_max| read_file(store, path, bytes_max));
        let Some(bytes) = bytes else {
            let what = format!("entry {} says that it is carried forward, and it is not there", said.index);
            return self.findings.of(Point::Pruning).add(at, what);
        };
        match Facts::of_entry(&bytes) {
            Ok(facts) if leaf == Some(tlog::leaf_hash(&bytes)) => {
                self.report.entries += 1;
                if let Some(change) = &facts.key {
                    self.keys.said(index, change, &mut self.findings.of(Point::Keys));
                }
                if let Some(first) = facts.incarnation.as_ref().filter(|_| index == 0) {
                    self.report.incarnation = Incarnation::read(first);
                }
                self.rules.carried(index, &facts, said, &mut self.findings);
            }
            _ => self.findings.of(Point::Pruning).add(at, "carried forward, and not what was logged"),
        }
    }

    fn follow_rules(&mut self, bundle: &Bundle, damaged: &[Range<u64>]) {
        let entries = bundle.entries();
        // Behind a missing or added entry, positions in the bundle are not indexes any more.
        let shifted = bundle.facts.len() as u64 != entries.end - entries.start;
        let end = if shifted { damaged.first().map_or(entries.end, |run| run.start) } else { entries.end };
        if shifted {
            self.rules.hole(end..entries.end);
        }
        let mut damaged = damaged.iter().filter(|_| !shifted).peekable();
        for (index, facts) in (entries.start..end).zip(&bundle.facts) {
            while let Some(passed) = damaged.next_if(|run| run.end <= index) {
                self.rules.hole(passed.clone());
            }
            if damaged.peek().is_none_or(|run| !run.contains(&index)) {
                self.entry(index, facts);
            }
        }
        damaged.for_each(|run| self.rules.hole(run.clone()));
    }

    fn entry(&mut self, index: u64, facts: &Result<Facts, String>) {
        match facts {
            Ok(facts) => {
                self.report.entries += 1;
                self.seen.see(facts);
                if let Some(change) = &facts.key {
                    self.keys.said(index, change, &mut self.findings.of(Point::Keys));
                }
                if let Some(first) = facts.incarnation.as_ref().filter(|_| index == 0) {
                    self.report.incarnation = Incarnation::read(first);
                }
                if let (Some(found), Some(said)) = (facts.pruning_at(index), &self.said) {
                    self.is_said |= found == *said;
                }
                let (store, size) = (self.store, self.published.size);
                let lookup = |index| read_again(store, index, size);
                self.rules.entry(index, facts, &mut self.findings, &mut self.warnings, lookup);
            }
            Err(why) => {
                self.findings.of(Point::EntryForm).add(index..index + 1, format!("not an entry: {why}"));
                self.rules.hole(index..index + 1);
            }
        }
    }

    /// Appends to the tree and compares it with whatever is signed or stored on the way.
    fn grow(&mut self, bundle: &Bundle, leaves: Option<Vec<Hash>>, damaged: &[Range<u64>]) {
        if self.lost.is_some() {
            return;
        }
        match leaves {
            Some(leaves) => {
                // Where there are more or fewer than there must be, positions are no indexes.
                let facts = if bundle.facts.len() == leaves.len() { bundle.facts.as_slice() } else { &[] };
                let mut facts = facts.iter();
                for (index, leaf) in (bundle.entries().start..).zip(leaves) {
                    self.tree.push(leaf);
                    if let Some(Ok(facts)) = facts.next()
                        && !damaged.iter().any(|run| run.contains(&index))
                    {
                        self.clocks.see(index, facts.time);
                    }
                    self.reached();
                }
            }
            None => {
                let known = bundle
                    .path
                    .is_full()
                    .then(|| tree::stored_root(self.store, bundle.path.index, self.published.size));
                if !known.flatten().is_some_and(|root| self.tree.push_tile_root(root)) {
                    self.lost = Some(bundle.entries().start);
                }
                self.reached();
            }
        }
        self.check_tiles(Tree::take_full);
    }

    fn check_tiles(&mut self, take: impl FnOnce(&mut Tree) -> Vec<(TilePath, Vec<Hash>)>) {
        for (path, hashes) in take(&mut self.tree) {
            self.report.tiles += 1;
            tree::check_tile(self.store, path, &hashes, &mut self.findings);
        }
    }

    /// Compares the root with every checkpoint of just this size.
    fn reached(&mut self) {
        let size = self.tree.size();
        let remembered = self.remembered.filter(|remembered| remembered.checkpoint.size == size);
        let kept = self.checkpoints.next_size().is_some_and(|next| next <= size);
        if self.lost.is_some() || (!kept && remembered.is_none() && self.published.size != size) {
            return;
        }
        let root = self.tree.root();
        let Self { checkpoints, keys, clocks, findings, warnings, .. } = self;
        let (findings, warnings) = (&mut findings.of(Point::KeptCheckpoints), &mut warnings.of(Point::KeptCheckpoints));
        checkpoints.reach(size, root, (&mut *keys, clocks), (findings, warnings));
        if self.published.size == size {
            checkpoints.compare("checkpoint", self.published, root, findings);
            if self.published.root != root {
                // Told with the kept ones that do not fit either.
                findings.fail(Point::Tree);
            }
        }
        let Some(remembered) = remembered else { return };
        self.is_met = true;
        if remembered.checkpoint.root == root {
            keys.signed_by(size, &remembered.signers);
        } else {
            let what = format!("the log was rewritten: `{}` remembers another root of {size} entries", remembered.name);
            findings.of(Point::RememberedCheckpoint).add(0..size, what);
        }
    }
}

/// Indexes of the entries at some positions of a bundle.
fn entries_of(bundle: &Bundle, positions: &Range<usize>) -> Range<u64> {
    let start = bundle.entries().start;
    start + positions.start as u64..start + positions.end as u64
}

fn read_file(store: &Store, path: &str, bytes_max: usize) -> Option<Vec<u8>> {
    match store.read(path, bytes_max) {
        Stored::Bytes { bytes, .. } => Some(bytes),
        Stored::Missing | Stored::Unreadable(_) => None,
    }
}

fn read_again(store: &Store, index: u64, log_size: u64) -> Option<Facts> {
    let path = Bundle::path(index / 256, log_size)?;
    Bundle::read(store, path).facts.into_iter().nth(usize::try_from(index % 256).ok()?)?.ok()
}

/// Reads bundles on all cores, and hands them back in order.
fn read_parallel(store: &Store, paths: &[TilePath], threads: usize) -> Vec<Bundle> {
    let share = paths.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let read = |paths: &[TilePath]| paths.iter().map(|path| Bundle::read(store, *path)).collect::<Vec<_>>();
        let (own, others) = paths.split_at(share.min(paths.len()));
        let workers: Vec<_> = others.chunks(share).map(|paths| scope.spawn(move || read(paths))).collect();
        let mut bundles = read(own);
        for worker in workers {
            match worker.join() {
                Ok(read) => bundles.extend(read),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        bundles
    })
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod pruning_tests;
#[cfg(test)]
pub(crate) mod published;
#[cfg(test)]
mod tests;
