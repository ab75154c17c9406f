//! Every signed checkpoint that the log has kept, compared with the tree of its entries as that grows.

use crate::clocks::Clocks;
use crate::findings::Findings;
use crate::keys::{KeyRing, Refusal};
use crate::report::count;
use crate::store::{Store, Stored, names};
use crate::verdict::Point;
use std::collections::VecDeque;
use std::ops::Range;
use tlog::tile::tiles_between;
use tlog::{Checkpoint, Hash, VerifierKey};

/// A note of the 100 signatures that are read at most, post-quantum ones included.
pub const NOTE_BYTES_MAX: usize = 1 << 20;
const FOLDER: &str = "checkpoints";
/// `checkpoints/<first 14 digits>/<20 digits>`: at most a million files per folder.
const FOLDER_DIGITS: usize = 14;
const FILE_DIGITS: usize = 20;
/// More than a folder can have that is in order; names are sorted in memory.
const NAMES_MAX: usize = 1_100_000;

/// Reads the note in a file.
///
/// # Errors
/// `None` when the file is missing, otherwise what is wrong with it.
pub fn load(store: &Store, path: &str) -> Result<String, Option<String>> {
    let bytes = match store.read(path, NOTE_BYTES_MAX) {
        Stored::Bytes { bytes, .. } => bytes,
        Stored::Missing => return Err(None),
        Stored::Unreadable(why) => return Err(Some(format!("cannot be read: {why}"))),
    };
    String::from_utf8(bytes).map_err(|_| Some("not UTF-8".to_owned()))
}

/// Reads the note in a file and verifies it by the keys that are known now.
///
/// # Errors
/// As [`load`].
pub fn load_judged(store: &Store, path: &str, keys: &KeyRing) -> Result<Checkpoint, Option<String>> {
    keys.judge(&load(store, path)?).map_err(|why| Some(why.to_string()))
}

/// The kept checkpoints, smallest first. Only one folder is listed at a time.
#[derive(Debug)]
struct Kept {
    folders: VecDeque<String>,
    files: VecDeque<u64>,
    /// A folder could not be listed, so that there may be more.
    is_partial: bool,
}

impl Kept {
    fn open(store: &Store, warnings: &mut Findings) -> Self {
        let listed = list(store, FOLDER, warnings);
        let is_partial = listed.is_none();
        let folders = listed.unwrap_or_default().into_iter().filter(|name| {
            let known = is_digits(name, FOLDER_DIGITS);
            if !known {
                stray(&format!("{FOLDER}/{name}"), warnings);
            }
            known
        });
        Self { folders: folders.collect(), files: VecDeque::new(), is_partial }
    }

    fn next(&mut self, store: &Store, warnings: &mut Findings) -> Option<u64> {
        while self.files.is_empty() {
            let folder = self.folders.pop_front()?;
            let files = files(store, &folder, warnings);
            self.is_partial |= files.is_none();
            self.files = files.unwrap_or_default().into();
        }
        self.files.pop_front()
    }
}

/// Sizes of the checkpoints in one folder, ascending; `None` where it cannot be listed.
fn files(store: &Store, folder: &str, warnings: &mut Findings) -> Option<Vec<u64>> {
    let mut sizes = Vec::new();
    for name in list(store, &format!("{FOLDER}/{folder}"), warnings)? {
        match name.parse() {
            Ok(size) if is_digits(&name, FILE_DIGITS) && name.starts_with(folder) => sizes.push(size),
            _ => stray(&format!("{FOLDER}/{folder}/{name}"), warnings),
        }
    }
    Some(sizes)
}

fn list(store: &Store, folder: &str, warnings: &mut Findings) -> Option<Vec<String>> {
    let told =
        |error| warnings.add(0..0, format!("`{folder}` cannot be listed: {error}; what it keeps is not compared"));
    names(&store.path(folder), NAMES_MAX).map_err(told).ok()
}

fn is_digits(name: &str, count: usize) -> bool {
    name.len() == count && name.bytes().all(|b| b.is_ascii_digit())
}

/// Hidden names are files on their way in.
fn stray(path: &str, warnings: &mut Findings) {
    if !path.contains("/.") {
        warnings.add(0..0, format!("`{path}` is not a kept checkpoint"));
    }
}

pub fn kept_path(size: u64) -> String {
    let name = format!("{size:020}");
    let folder = name.get(..FOLDER_DIGITS).unwrap_or_default();
    format!("{FOLDER}/{folder}/{name}")
}

/// The kept checkpoint of the largest size of those that count by `judge`.
pub fn newest_kept(store: &Store, judge: impl Fn(&str) -> Option<Checkpoint>) -> Option<Checkpoint> {
    newest(store, None, judge).map(|(checkpoint, _)| checkpoint)
}

/// The same with its note, of those of more than `above` entries whose tree is there, so that it can be checked.
///
/// A log that is being published has that for a moment: the note is kept when everything under it is there, and named by
/// `checkpoint` only then. A copy that was made file by file has it for good.
pub fn newest_above(
    store: &Store,
    above: u64,
    judge: impl Fn(&str) -> Option<Checkpoint>,
) -> Option<(Checkpoint, String)> {
    let is_there = |size: u64| tiles_between(above, size).all(|tile| store.has_tile(tile));
    newest(store, Some(above), |note| judge(note).filter(|checkpoint| is_there(checkpoint.size)))
}

/// The size of the largest that is kept, going by names.
pub fn newest_name(store: &Store) -> Option<u64> {
    let mut ignored = Findings::default();
    let folders = Kept::open(store, &mut ignored).folders;
    folders.iter().rev().find_map(|folder| files(store, folder, &mut ignored).unwrap_or_default().pop())
}

fn newest(
    store: &Store,
    above: Option<u64>,
    judge: impl Fn(&str) -> Option<Checkpoint>,
) -> Option<(Checkpoint, String)> {
    let mut ignored = Findings::default();
    let folders = Kept::open(store, &mut ignored).folders;
    let sizes = folders
        .iter()
        .rev()
        .flat_map(|folder| files(store, folder, &mut ignored).unwrap_or_default().into_iter().rev());
    sizes.take_while(|size| above.is_none_or(|above| *size > above)).find_map(|size| {
        let note = load_kept(store, size).ok()?;
        let checkpoint = judge(&note).filter(|checkpoint| checkpoint.size == size)?;
        Some((checkpoint, note))
    })
}

/// Kept notes of trees of fewer than `below` entries, the largest first, at most `count`; whoever signed them.
pub fn notes_below(store: Store, below: u64, count: usize) -> impl Iterator<Item = (u64, String)> {
    let mut ignored = Findings::default();
    let folders = Kept::open(&store, &mut ignored).folders;
    let of_folder = move |folder: String| {
        let mut sizes = files(&store, &folder, &mut Findings::default()).unwrap_or_default();
        sizes.retain(|size| *size < below);
        let store = store.clone();
        sizes.into_iter().rev().filter_map(move |size| Some((size, load_kept(&store, size).ok()?)))
    };
    folders.into_iter().rev().flat_map(of_folder).take(count)
}

fn load_kept(store: &Store, size: u64) -> Result<String, String> {
    load(store, &kept_path(size)).map_err(|why| why.unwrap_or("missing".to_owned()))
}

fn judge(note: &Result<String, String>, size: u64, keys: &KeyRing) -> Result<(Checkpoint, Vec<VerifierKey>), Refusal> {
    let note = note.as_ref().map_err(|why| Refusal::Other(why.clone()))?;
    let (checkpoint, signers) = keys.judge_signed(note)?;
    if checkpoint.size == size {
        return Ok((checkpoint, signers));
    }
    Err(Refusal::Other(format!("it is the checkpoint of {} entries", checkpoint.size)))
}

fn tell_unreadable(run: Run, findings: &mut Findings) {
    let more = if run.count > 1 { format!(" and {} more", run.count - 1) } else { String::new() };
    let why = run.why.map(|why| why.to_string()).unwrap_or_default();
    findings.add(run.entries, format!("kept checkpoint `{}`{more}: {why}", run.first));
}

/// Checkpoints that one after the other do not hold.
#[derive(Debug)]
struct Run {
    first: String,
    count: u64,
    entries: Range<u64>,
    /// For unreadable ones: why.
    why: Option<Refusal>,
    /// Of the first and the last of them.
    sizes: (u64, u64),
}

/// Walks along the kept checkpoints while the tree grows.
#[derive(Debug)]
pub struct Checkpoints<'a> {
    store: &'a Store,
    kept: Kept,
    /// Not verified yet: the keys that count are those at its size.
    next: Option<(u64, Result<String, String>)>,
    /// Entries of the published log: no finding points beyond them.
    log_size: u64,
    verified: u64,
    unchecked: u64,
    /// Size of the last checkpoint whose root was that of the entries.
    matched: u64,
    differing: Option<Run>,
    unreadable: Option<Run>,
    /// Signed by nobody who was known then.
    unknown: Vec<Run>,
}

/// Runs of them that are looked at again.
const UNKNOWN_MAX: usize = 16;

impl<'a> Checkpoints<'a> {
    pub fn new(store: &'a Store, log_size: u64, warnings: &mut Findings) -> Self {
        let kept = Kept::open(store, warnings);
        let mut checkpoints = Self {
            store,
            kept,
            next: None,
            log_size,
            verified: 0,
            unchecked: 0,
            matched: 0,
            differing: None,
            unreadable: None,
            unknown: Vec::new(),
        };
        checkpoints.advance(warnings);
        checkpoints
    }

    /// Size of the next kept checkpoint.
    pub fn next_size(&self) -> Option<u64> {
        self.next.as_ref().map(|(size, _)| *size)
    }

    fn advance(&mut self, warnings: &mut Findings) {
        self.next = self.kept.next(self.store, warnings).map(|size| (size, load_kept(self.store, size)));
    }

    /// The next one with its note and who has signed it, if it counts by the keys that are known now.
    fn take_next(&mut self, keys: &KeyRing, findings: &mut Findings) -> Option<(Checkpoint, String, Vec<VerifierKey>)> {
        let (size, note) = self.next.take()?;
        match judge(&note, size, keys) {
            Ok((checkpoint, signers)) => {
                self.flush_unreadable(findings);
                self.verified += 1;
                Some((checkpoint, note.unwrap_or_default(), signers))
            }
            Err(why) => {
                self.unreadable(size, why, findings);
                None
            }
        }
    }

    fn unreadable(&mut self, size: u64, why: Refusal, findings: &mut Findings) {
        let end = size.min(self.log_size);
        match &mut self.unreadable {
            Some(run) if run.why.as_ref() == Some(&why) => {
                (run.count, run.entries.end, run.sizes.1) = (run.count + 1, end, size);
            }
            _ => {
                self.flush_unreadable(findings);
                let (entries, sizes) = (self.since_matched(end), (size, size));
                self.unreadable = Some(Run { first: kept_path(size), count: 1, entries, why: Some(why), sizes });
            }
        }
    }

    fn flush_unreadable(&mut self, findings: &mut Findings) {
        match self.unreadable.take() {
            // Who they are by may yet be told, by an entry further on.
            Some(run) if run.why == Some(Refusal::Unknown) && self.unknown.len() < UNKNOWN_MAX => {
                self.unknown.push(run)
            }
            Some(run) => tell_unreadable(run, findings),
            None => {}
        }
    }

    /// Everything is read: of those that nobody known has signed, some are by keys that the log itself names. How many.
    fn settle_unknown(&mut self, keys: &KeyRing, findings: &mut Findings) -> u64 {
        let mut earlier = 0;
        for mut run in std::mem::take(&mut self.unknown) {
            if keys.names_earlier() {
                let mut kept = Kept::open(self.store, &mut Findings::default());
                let mut others = Vec::new();
                while let Some(size) = kept.next(self.store, &mut Findings::default()) {
                    let is_of_run = run.sizes.0 <= size && size <= run.sizes.1;
                    let is_earlier = || load_kept(self.store, size).is_ok_and(|note| keys.earlier(&note).is_some());
                    match is_of_run.then(is_earlier) {
                        Some(true) => earlier += 1,
                        Some(false) => others.push(size),
                        None => {}
                    }
                }
                let Some(first) = others.first() else { continue };
                (run.first, run.count) = (kept_path(*first), others.len() as u64);
            }
            tell_unreadable(run, findings);
        }
        earlier
    }

    /// What a checkpoint at `end` is the first to vouch for.
    fn since_matched(&self, end: u64) -> Range<u64> {
        if self.matched < end { self.matched..end } else { 0..end }
    }

    /// The tree has grown to `size`, with this root. Kept checkpoints of smaller sizes were not reached: the tree of just
    /// these entries is not known.
    pub fn reach(
        &mut self,
        size: u64,
        root: Hash,
        (keys, clocks): (&mut KeyRing, &mut Clocks<'_>),
        (findings, warnings): (&mut Findings, &mut Findings),
    ) {
        while self.next_size().is_some_and(|next| next <= size) {
            if let Some((next, note, signers)) = self.take_next(keys, findings) {
                if next.size == size {
                    let path = kept_path(size);
                    self.compare(&path, &next, root, findings);
                    if next.root == root {
                        clocks.checkpoint(size, &note, findings);
                        let mut findings = findings.of(Point::Keys);
                        for what in keys.confirm(size, &note, &signers) {
                            findings.add(0..0, format!("kept checkpoint `{path}`: {what}"));
                        }
                    }
                } else {
                    self.unchecked += 1;
                }
            }
            self.advance(warnings);
        }
    }

    /// One checkpoint against the root at its size.
    pub fn compare(&mut self, path: &str, checkpoint: &Checkpoint, root: Hash, findings: &mut Findings) {
        let size = checkpoint.size;
        if checkpoint.root == root {
            self.flush_differing(true, findings);
            self.matched = size;
            return;
        }
        let entries = self.since_matched(size);
        let run = Run { first: path.to_owned(), count: 0, entries, why: None, sizes: (size, size) };
        self.differing.get_or_insert(run).count += 1;
    }

    fn flush_differing(&mut self, matched_again: bool, findings: &mut Findings) {
        let Some(run) = self.differing.take() else { return };
        let more = match run.count {
            0 | 1 => "has another root".to_owned(),
            n => format!("and {} after it have other roots", count(n - 1, "checkpoint", "checkpoints")),
        };
        let history = if matched_again { "; later ones fit again, so two histories were signed" } else { "" };
        findings.add(run.entries, format!("checkpoint `{}` {more} than the published entries{history}", run.first));
    }

    /// The end of the log is reached; what is kept beyond it comes back as size and path of the largest. Also how many
    /// are signed only by a key of before that the caller does not know.
    pub fn finish(
        &mut self,
        keys: &KeyRing,
        findings: &mut Findings,
        warnings: &mut Findings,
    ) -> (Option<(u64, String)>, u64) {
        let mut beyond = None;
        while self.next.is_some() {
            match self.take_next(keys, findings) {
                Some((next, ..)) if next.size > self.log_size => beyond = Some((next.size, kept_path(next.size))),
                Some(_) => self.unchecked += 1,
                None => {}
            }
            self.advance(warnings);
        }
        self.flush_unreadable(findings);
        let earlier = self.settle_unknown(keys, findings);
        self.flush_differing(false, findings);
        (beyond, earlier)
    }

    /// Kept checkpoints whose signature verified.
    pub fn verified(&self) -> u64 {
        self.verified
    }

    /// Whether there may be more of them than were looked at.
    pub fn is_partial(&self) -> bool {
        self.kept.is_partial
    }

    /// Those of them whose root could not be compared, because the tree at their size is not known.
    pub fn unchecked(&self) -> u64 {
        self.unchecked
    }
}
