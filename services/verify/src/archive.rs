//! The check of an archive: a stretch of a log, with hashes in the place of everything that is not shown.
//!
//! What passes:
//! 1. `checkpoint` is signed by the log's key and of its origin, and not by one alone that an entry here retires;
//! 2. entries and hashes have its root, and there are as many as it says;
//! 3. between the first and the last entry none is missing: none at all, or, where the archive is one organisation's, none of
//!    that organisation, and there is no other's;
//! 4. every entry has the form of an entry, organisations' entries are numbered without gap or fork, every outcome belongs
//!    to one earlier allowed exchange that has no other, and decisions name policies that were in use: from the first start of the
//!    broker on, or from the first entry on where those are carried beside the others that say which were in use by then;
//! 5. what entries name by digest is there and is what they name;
//! 6. what is shown of their commitments is what was recorded, and what is not shown although it should be was erased by an
//!    entry of the log that says so, and that somebody has asked for or a written policy. Such an entry may stand behind the
//!    others; it excuses nothing that was written after it. Where the request is not in the archive, the report says that it
//!    is not proven;
//! 7. where the archive is one organisation's and its end is open, its last summary promises another one for later than the time at
//!    which the checkpoint was there, by the witnesses' clocks, or than the time of any entry here.
//!
//! Keys and witnesses that stand in it are believed in nothing: they are held against those that the caller gave, and no more.

mod complete;
mod end;
mod manifest;
mod missing;
mod reader;
mod report;
mod shown;
mod tail;

pub use complete::Complete;
pub use report::ArchiveReport;
pub use tail::{SummedUp, Tail};

use crate::disclosed::Salts;
use crate::facts::Facts;
use crate::findings::{Findings, printable};
use crate::keys::{KeyRing, unopened};
use crate::pruned::Pruned;
use crate::rules::{Rules, Worth};
use crate::verdict::{Point, Points};
use manifest::Asked;
use missing::Missing;
use model::entry::{Entry, Kind, Place};
use model::erasure::{Erasure, Erasures, Event};
use model::pruning::Pruning;
use model::{Digest, Timestamp};
use reader::{Reader, Watched};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io::{self, Read};
use tlog::walk::{Step, Walk};
use tlog::{Checkpoint, TrustPolicy, VerifierKey};

/// Keys that an archive names; no log has had as many.
const KEYS_MAX: usize = 1_000;
/// Steps of about a mebibyte, and the one that made it that.
const PART_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// What may go with one entry of a log.
const CONTENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SMALL_BYTES_MAX: u64 = 1024 * 1024;
/// Of what one entry commits to.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Around the time that was asked for: an entry can wait for its turn behind later ones.
const MARGIN_MS: i64 = 10_000;
/// Members of an entry about policies in use with the ids of some, which the plant makes up.
const POLICY_NAMES: [&str; 3] = ["added", "changed", "removed"];
/// Disclosures of the entries of one part.
const DISCLOSED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why there is nothing to check.
#[derive(Debug)]
pub enum Unusable {
    /// It cannot be read as a tar file.
    Read(io::Error),
    /// It does not begin like a tar file, in words.
    NoTar(&'static str),
    /// A tar file that ends, after so many bytes, before it should.
    BrokenOff(u64),
    /// It is none of ours, in words.
    NoArchive(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read as an archive: {}", printable(&error.to_string())),
            Self::NoTar(why) => write!(f, "is no archive of a log: {why}"),
            Self::BrokenOff(bytes) => write!(
                f,
                "breaks off: it ends after {bytes} bytes, in the middle of a file in it. Copy it once more, or ask for it again"
            ),
            Self::NoArchive(what) => write!(f, "is no archive of a log: {what}"),
        }
    }
}

impl std::error::Error for Unusable {}

/// Checks the archive that `reader` reads. `progress` hears how many entries have been seen, every few thousand.
///
/// # Errors
/// When it is no archive. What is wrong with it is in the report.
pub fn check(reader: impl Read, key: &VerifierKey, progress: impl FnMut(u64)) -> Result<ArchiveReport, Unusable> {
    check_by(reader, std::slice::from_ref(key), progress)
}

/// The same by several keys of the log, any of which may have signed its checkpoint.
///
/// # Errors
/// As [`check`].
pub fn check_by(
    reader: impl Read,
    keys: &[VerifierKey],
    mut progress: impl FnMut(u64),
) -> Result<ArchiveReport, Unusable> {
    let watched = Watched::default();
    read(tar::Archive::new(Reader { reader, watched: &watched }), keys, &mut progress)
        .map_err(|why| watched.explain(why))
}

fn read(
    mut archive: tar::Archive<impl Read>,
    keys: &[VerifierKey],
    progress: &mut impl FnMut(u64),
) -> Result<ArchiveReport, Unusable> {
    let mut check = Check::new(keys);
    // Long names and further headers have no place here, and could be of any size.
    for file in archive.entries().map_err(Unusable::Read)?.raw(true) {
        let mut file = file.map_err(Unusable::Read)?;
        let name = String::from_utf8_lossy(&file.header().path_bytes()).into_owned();
        if !file.header().entry_type().is_file() {
            return Err(Unusable::NoArchive(format!("`{}` in it is no plain file", printable(&name))));
        }
        let (bytes_max, kind) = match name.split_once('/') {
            Some(("tree", _)) => (PART_BYTES_MAX, Part::Tree),
            Some(("disclosed", _)) => (DISCLOSED_BYTES_MAX, Part::Disclosed),
            Some(("content", _)) => (CONTENT_BYTES_MAX, Part::Content),
            None if name == "manifest.json" => (SMALL_BYTES_MAX, Part::Manifest),
            None if name == "checkpoint" => (SMALL_BYTES_MAX, Part::Checkpoint),
            None if name == "keys" => (SMALL_BYTES_MAX, Part::Keys),
            None if name == "policy" => (SMALL_BYTES_MAX, Part::Policy),
            None if name == "README.txt" => continue,
            _ => {
                let what = format!("holds `{name}`, which belongs to no archive");
                check.warnings.of(Point::ArchiveForm).add(0..0, what);
                continue;
            }
        };
        if file.size() > bytes_max {
            let what = format!("`{name}` has {} bytes; at most {bytes_max} can be right", file.size());
            check.findings.of(Point::ArchiveForm).add(0..0, what);
            continue;
        }
        // What follows is judged by what was asked for.
        if check.asked.is_none() && !matches!(kind, Part::Manifest) {
            return Err(Unusable::NoArchive(format!("`{}` stands before `manifest.json`", printable(&name))));
        }
        let mut bytes = Vec::new();
        file.by_ref().take(bytes_max).read_to_end(&mut bytes).map_err(Unusable::Read)?;
        match kind {
            Part::Manifest => check.manifest(&bytes)?,
            Part::Checkpoint => check.checkpoint(&bytes),
            Part::Keys => check.keys_inside(&bytes),
            Part::Policy => check.policy_inside(&bytes),
            Part::Tree => check.tree(&name, &bytes),
            Part::Disclosed => check.disclosed(&name, &bytes),
            Part::Content => check.content(&name, &bytes),
        }
        progress(check.report.entries);
    }
    check.finish()
}

enum Part {
    Manifest,
    Checkpoint,
    Keys,
    Policy,
    Tree,
    Disclosed,
    Content,
}

struct Check<'k> {
    keys: &'k [VerifierKey],
    /// What entries here say of them.
    ring: KeyRing,
    asked: Option<Asked>,
    signed: Option<Checkpoint>,
    walk: Walk,
    /// Set when the steps could not be read any further.
    is_broken: bool,
    rules: Rules,
    /// Exchanges that were allowed, with or without outcome.
    allowed: HashSet<u64>,
    /// First and last entry, with their times.
    ends: Option<[(u64, Timestamp); 2]>,
    places: Option<(Place, Place)>,
    summed_up: Option<SummedUp>,
    /// What entries name, with the first that does; taken out when it has come.
    named: BTreeMap<Digest, u64>,
    /// The entries of the last part, which disclosures may follow.
    part: HashMap<u64, Entry>,
    /// Those of them that disclosures were shown of.
    told: HashSet<u64>,
    erasures: Erasures,
    /// Values that should be shown and are not.
    missing: Missing,
    /// Erasures that were asked for by entries which are not here.
    unproven: Vec<u64>,
    salts: Salts,
    /// What its entries give to check.
    seen: Points,
    findings: Findings,
    warnings: Findings,
    report: ArchiveReport,
}

impl<'k> Check<'k> {
    fn new(keys: &'k [VerifierKey]) -> Self {
        Self {
            keys,
            ring: KeyRing::new(keys),
            asked: None,
            signed: None,
            walk: Walk::default(),
            is_broken: false,
            rules: Rules::default(),
            allowed: HashSet::new(),
            ends: None,
            places: None,
            summed_up: None,
            named: BTreeMap::new(),
            part: HashMap::new(),
            told: HashSet::new(),
            erasures: Erasures::default(),
            missing: Missing::default(),
            unproven: Vec::new(),
            salts: Salts::default(),
            seen: Points::default(),
            findings: Findings::default(),
            warnings: Findings::default(),
            report: ArchiveReport {
                origin: keys.first().map(VerifierKey::name).unwrap_or_default().to_owned(),
                ..ArchiveReport::default()
            },
        }
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        let note = String::from_utf8(bytes.to_vec()).map_err(|_| String::from("not UTF-8"));
        self.report.note = note.clone().unwrap_or_default();
        let open =
            |note: String| Checkpoint::open_any(&note, self.keys).map_err(|error| unopened(&error, &note, self.keys));
        match note.and_then(open) {
            Ok((checkpoint, signers)) => {
                self.report.signed_by = signers.iter().map(|key| key.to_text()).collect();
                self.report.tree = Some((checkpoint.size, checkpoint.root.to_base64()));
                if self.signed.replace(checkpoint).is_some() {
                    self.findings.of(Point::ArchiveForm).add(0..0, "has two checkpoints");
                }
            }
            Err(why) => self.findings.of(Point::CheckpointSignature).add(0..0, format!("`checkpoint`: {why}")),
        }
    }

    /// Keys of whoever made the archive. Whether they are the log's only somebody else can say.
    fn keys_inside(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if text.lines().nth(KEYS_MAX).is_some() {
            self.findings
                .of(Point::ArchiveForm)
                .add(0..0, format!("`keys` has more than {KEYS_MAX} lines; no log has had as many keys"));
        }
        let keys: Option<Vec<_>> = text.lines().take(KEYS_MAX).map(|line| VerifierKey::parse(line).ok()).collect();
        let Some(keys) = keys else {
            return self.findings.of(Point::ArchiveForm).add(0..0, "`keys` holds a line that is no public key");
        };
        for key in self.keys.iter().filter(|key| !keys.contains(key)) {
            let what = format!("`keys` in it does not name the key {}, which you gave", key.to_text());
            self.warnings.of(Point::Keys).add(0..0, what);
        }
        self.report.keys_inside = keys.iter().map(|key| (key.to_text(), self.keys.contains(key))).collect();
    }

    fn policy_inside(&mut self, bytes: &[u8]) {
        match TrustPolicy::parse(&String::from_utf8_lossy(bytes)) {
            Ok(policy) => self.report.policy_inside = Some(policy),
            Err(error) => {
                let what = format!("`policy` in it is no trust policy: {error}");
                self.findings.of(Point::ArchiveForm).add(0..0, what);
            }
        }
    }

    fn tree(&mut self, name: &str, mut bytes: &[u8]) {
        self.settle_part();
        while !self.is_broken {
            let step = match Step::decode(bytes) {
                Ok(None) => return,
                Ok(Some((step, rest))) => {
                    bytes = rest;
                    step
                }
                Err(error) => return self.broken(name, &error.to_string()),
            };
            let index = match self.walk.step(step) {
                Ok(index) => index,
                Err(error) => return self.broken(name, &error.to_string()),
            };
            if let Step::Entry(entry) = step {
                self.entry(index, entry);
            }
        }
    }

    /// Nothing behind it can be placed.
    fn broken(&mut self, name: &str, why: &str) {
        self.is_broken = true;
        self.findings.of(Point::Tree).add(0..0, format!("`{name}`: {why}"));
    }

    fn entry(&mut self, index: u64, bytes: &[u8]) {
        let is_beside = self.asked.as_ref().is_some_and(|asked| asked.erasures.contains(&index));
        let prunes = self.asked.as_ref().is_some_and(|asked| asked.pruning == Some(index));
        // It may be one of the others, too.
        let is_next = self.ends.is_some_and(|[_, last]| last.0 + 1 == index);
        let is_in_use = self.asked.as_ref().is_some_and(|asked| asked.in_use.contains(&index));
        self.report.entries += u64::from(!is_beside && !is_in_use && (!prunes || is_next));
        let at = index..index + 1;
        let read = Entry::parse(bytes).and_then(|entry| Ok((entry, Facts::of_entry(bytes)?)));
        let (entry, facts) = match read {
            Ok(read) => read,
            Err(error) => return self.findings.of(Point::EntryForm).add(at, error.to_string()),
        };
        self.seen.see(&facts);
        if self.report.latest.is_none_or(|(latest, _)| latest < entry.time) {
            self.report.latest = Some((entry.time, index));
        }
        if is_in_use {
            return self.in_use(index, &entry, &facts);
        }
        if prunes {
            self.pruning(index, &entry);
            if !is_next {
                return self.named.extend(entry.contents().map(|digest| (digest, index)));
            }
        }
        if is_beside {
            // It is here for what it says, and no part of what is to be without gap.
            match Event::read(index, &entry) {
                None => {
                    let what = "shown as one that says what was erased, and it is none";
                    self.findings.of(Point::Erasures).add(at, what);
                }
                Some(said) => self.erasure_beside(index, &said),
            }
            self.named.extend(entry.contents().map(|digest| (digest, index)));
            return;
        }
        match &mut self.ends {
            Some([_, last]) => {
                if self.asked.as_ref().is_some_and(|asked| asked.organisation.is_none()) && last.0 + 1 != index {
                    let what = "left out, although the archive says that it holds all entries of its time";
                    self.findings.of(Point::EntriesPresent).add(last.0 + 1..index, what);
                }
                *last = (index, entry.time);
            }
            ends => {
                // What is before the first is not here, and not held against anybody.
                self.rules.begin_behind(index);
                *ends = Some([(index, entry.time); 2]);
            }
        }
        if let Some(organisation) = self.asked.as_ref().and_then(|asked| asked.organisation.as_ref()) {
            if entry.organisation.as_ref() != Some(organisation) {
                let what = format!("is no entry of `{organisation}`, whose archive this is");
                self.findings.of(Point::EntriesPresent).add(at, what);
            }
            if let Some(place) = entry.place {
                self.places = Some((self.places.map_or(place, |(first, _)| first), place));
            }
        }
        for digest in entry.contents() {
            self.named.entry(digest).or_insert(index);
        }
        if let Some(change) = &facts.key {
            self.ring.said(index, change, &mut self.findings.of(Point::Keys));
        }
        let Self { rules, findings, warnings, allowed, .. } = self;
        let one_that_opens = |earlier| allowed.contains(&earlier).then(|| Facts { opens: true, ..facts.clone() });
        let worth = rules.entry(index, &facts, findings, warnings, one_that_opens);
        if let (Some(worth), Some(Ok(Event::Erased(erasure)))) = (worth, Event::read(index, &entry)) {
            self.believe(erasure, worth);
        }
        match (facts.summary.as_deref(), &mut self.summed_up) {
            (Some(Ok(summary)), _) => {
                let silent_since = entry.organisation.as_ref().and_then(|of| self.rules.silent_since(of));
                self.summed_up = Some(SummedUp { entry: index, summary: *summary, silent_since, behind: None });
            }
            // An outcome may have waited for hours until the log had room.
            (None, Some(SummedUp { behind, .. })) if facts.organisation.is_some() && facts.kind != Kind::Outcome => {
                behind.get_or_insert(facts.time);
            }
            _ => {}
        }
        if facts.opens {
            self.allowed.insert(index);
        }
        self.part.insert(index, entry);
    }

    /// It is here for what it says of policies in use, and no part of what is to be without gap.
    fn in_use(&mut self, index: u64, entry: &Entry, facts: &Facts) {
        let at = index..index + 1;
        if !self.rules.in_use(index, facts) {
            let what = "shown as one that says which policies were in use, and it is none, or stands before the start of the broker";
            return self.findings.of(Point::PoliciesInUse).add(at, what);
        }
        self.report.in_use += 1;
        if self.report.organisation.is_some() && POLICY_NAMES.iter().any(|member| entry.get(member).is_some()) {
            self.warnings.of(Point::Contents).add(at, "names policies by their ids, which may name others");
        }
        for digest in entry.contents() {
            self.named.entry(digest).or_insert(index);
        }
    }

    /// By the same rules as one among the others, except that its request may stand where nothing is shown.
    fn erasure_beside(&mut self, index: u64, said: &Result<Event, &'static str>) {
        let Self { rules, findings, asked, ends, .. } = self;
        let is_shown = |other: u64| {
            asked.as_ref().is_some_and(|asked| asked.erasures.contains(&other))
                || ends.is_some_and(|[first, last]| (first.0..=last.0).contains(&other))
        };
        let worth = rules.erasure(index, said, |other| !is_shown(other), &mut findings.of(Point::Erasures));
        if let Ok(Event::Erased(erasure)) = said {
            self.believe(erasure.clone(), worth);
        }
    }

    fn believe(&mut self, erasure: Erasure, worth: Worth) {
        if worth == Worth::Unproven {
            self.unproven.push(erasure.index);
        }
        if worth != Worth::Nothing {
            self.erasures.add(erasure);
        }
    }

    /// The entry that says what is gone of the log.
    fn pruning(&mut self, index: u64, entry: &Entry) {
        let (at, mut findings) = (index..index + 1, self.findings.of(Point::Pruning));
        match Pruning::read(index, entry) {
            None => findings.add(at, "shown as one that says what was pruned, and it is none"),
            Some(Err(member)) => {
                findings.add(at, format!("a pruning whose member `{member}` cannot be understood"));
            }
            Some(Ok(said)) => match said.fault() {
                Some(what) => findings.add(at, what),
                None => self.report.pruned = Some(Pruned::of(&said)),
            },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
