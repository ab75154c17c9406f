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
mod missing;
mod tail;

pub use complete::Complete;
pub use tail::Tail;

use crate::clocks::{Cosigned, NO_WITNESSES};
use crate::disclosed::{self, Salts, Verdict};
use crate::facts::{Facts, LastRun};
use crate::findings::{Findings, printable};
use crate::keys::KeyRing;
use crate::pruned::Pruned;
use crate::report::{Finding, Found, cosigned_json, cosigned_lines, count, signed_lines};
use crate::rules::{Rules, Worth};
use crate::verdict::{Point, Points, Results};
use missing::Missing;
use model::canonical::{self, Value};
use model::entry::{CommitmentClass, Entry, Outline, Place};
use model::erasure::{Erasure, Erasures, Event, People};
use model::pruning::Pruning;
use model::summary::Summary;
use model::{Digest, OrganisationId, Timestamp};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io::{self, Read};
use tlog::walk::{Step, Walk};
use tlog::{Checkpoint, TrustPolicy, VerifierKey};

/// The second says which values it is to show, and holds the entries that say what was erased; the third is of a log of which
/// entries were pruned, and holds the entry that says so. The fourth also holds those that say which policies were in use when it
/// begins, the log's keys, and its witnesses.
const FORMATS: [&str; 4] = ["millgate-archive/1", "millgate-archive/2", "millgate-archive/3", "millgate-archive/4"];
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
    /// It is none of ours, in words.
    NoArchive(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read as an archive: {}", printable(&error.to_string())),
            Self::NoArchive(what) => write!(f, "is no archive of a log: {what}"),
        }
    }
}

impl std::error::Error for Unusable {}

/// The result of one check.
#[derive(Clone, Debug, Default)]
pub struct ArchiveReport {
    pub origin: String,
    /// Entries under the checkpoint, and its root in base64; if it verified.
    pub tree: Option<(u64, String)>,
    /// The signed note of the checkpoint, and the witnesses of the trust policy that cosigned it.
    pub note: String,
    pub cosigned: Vec<(String, u64)>,
    /// The log's keys that signed it.
    pub signed_by: Vec<String>,
    /// What the archive says that it holds; nobody has signed that.
    pub organisation: Option<String>,
    pub from: String,
    pub to: String,
    /// Entries shown, and the indexes of the first and the last.
    pub entries: u64,
    pub indexes: Option<(u64, u64)>,
    /// Of the organisation whose archive it is: the numbers of its first and its last entry here.
    pub numbers: Option<(u64, u64)>,
    pub organisations: u64,
    pub contents: u64,
    /// Classes of values that are shown and are what was recorded.
    pub disclosed: u64,
    /// Classes of values that are not shown because they were erased, by the entry that says so.
    pub erased: BTreeMap<u64, u64>,
    /// Entries beside the others that say which policies were in use.
    pub in_use: u64,
    /// Allowed exchanges that have no outcome here.
    pub open: u64,
    /// Keys that it says are the log's, and whether the caller gave them.
    pub keys_inside: Vec<(String, bool)>,
    /// The witnesses that it says are the log's.
    pub policy_inside: Option<TrustPolicy>,
    /// The latest of its entries, by its own time.
    pub latest: Option<(Timestamp, u64)>,
    /// Whether anything of what was asked for may be missing.
    pub complete: Complete,
    /// Of the organisation whose archive it is: its last summary here.
    pub summary: Option<Tail>,
    /// Entries that the log does not have any longer, as an entry says that is shown.
    pub pruned: Option<Pruned>,
    /// What cannot be told from this archive.
    pub limits: Vec<String>,
    /// What its checks have come to, beside what was found.
    pub verdict: Results,
    pub findings: Vec<Finding>,
    pub findings_left_off: u64,
    pub warnings: Vec<Finding>,
    pub warnings_left_off: u64,
}

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
    let mut archive = tar::Archive::new(reader);
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

/// What the manifest asks for.
struct Asked {
    from: Timestamp,
    to: Timestamp,
    /// When it was made, as it says.
    made: Option<Timestamp>,
    organisation: Option<OrganisationId>,
    /// Which classes of values it shows, where it says so.
    disclose: Vec<CommitmentClass>,
    /// Entries that are here because they say what was erased, behind the others.
    erasures: BTreeSet<u64>,
    /// The entry that says what is gone of the log.
    pruning: Option<u64>,
    /// Entries that are here because they say which policies were in use.
    in_use: BTreeSet<u64>,
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
    /// The last summary.
    summed_up: Option<(u64, Summary)>,
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

    fn manifest(&mut self, bytes: &[u8]) -> Result<(), Unusable> {
        let value = canonical::parse(bytes).map_err(|e| Unusable::NoArchive(format!("`manifest.json`: {e}")))?;
        let text = |name: &str| value.get(name).and_then(Value::as_text);
        let lacks = |name: &str| Unusable::NoArchive(format!("`manifest.json` has no `{name}` that can be read"));
        match text("format") {
            Some(format) if FORMATS.contains(&format) => {}
            Some(other) => {
                let known = FORMATS.join("` and `");
                let what = format!("its format is `{}`, and `{known}` are known", printable(other));
                return Err(Unusable::NoArchive(what));
            }
            None => return Err(lacks("format")),
        }
        let time = |name: &str| text(name).and_then(Timestamp::parse_rfc3339).ok_or_else(|| lacks(name));
        let organisation = match value.get("organisation") {
            None => None,
            Some(id) => {
                let id = id.as_text().and_then(|id| OrganisationId::new(id).ok());
                Some(id.ok_or_else(|| lacks("organisation"))?)
            }
        };
        let items = |name: &str| match value.get(name) {
            None => Ok(&[][..]),
            Some(Value::Array(items)) => Ok(items.as_slice()),
            Some(_) => Err(lacks(name)),
        };
        let disclose = items("disclose")?.iter().map(|class| CommitmentClass::parse(class.as_text()?));
        let disclose = disclose.collect::<Option<_>>().ok_or_else(|| lacks("disclose"))?;
        let indices = |name: &str| -> Result<BTreeSet<u64>, Unusable> {
            let indices = items(name)?.iter().map(|index| u64::try_from(index.as_int()?).ok());
            indices.collect::<Option<_>>().ok_or_else(|| lacks(name))
        };
        let (erasures, in_use) = (indices("erasures")?, indices("in_use")?);
        let pruning = match value.get("pruning") {
            None => None,
            Some(index) => {
                let index = index.as_int().and_then(|index| u64::try_from(index).ok());
                Some(index.ok_or_else(|| lacks("pruning"))?)
            }
        };
        let made = text("made").and_then(Timestamp::parse_rfc3339);
        let (from, to) = (time("from")?, time("to")?);
        let asked = Asked { from, to, made, organisation, disclose, erasures, pruning, in_use };
        let mut findings = self.findings.of(Point::ArchiveForm);
        if asked.from >= asked.to {
            findings.add(0..0, "asks for a time that ends before it begins");
        }
        self.report.from = asked.from.to_rfc3339();
        self.report.to = asked.to.to_rfc3339();
        self.report.organisation = asked.organisation.as_ref().map(ToString::to_string);
        if text("origin") != self.keys.first().map(VerifierKey::name) {
            findings.add(0..0, "says that it is of another log than the key");
        }
        if self.asked.replace(asked).is_some() {
            findings.add(0..0, "has two manifests");
        }
        Ok(())
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        let note = String::from_utf8(bytes.to_vec()).map_err(|_| String::from("not UTF-8"));
        self.report.note = note.clone().unwrap_or_default();
        match note.and_then(|note| Checkpoint::open_any(&note, self.keys).map_err(|e| e.to_string())) {
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
        let read = Outline::read(bytes)
            .and_then(|outline| Ok((outline.entry()?, Facts::of(outline, &mut LastRun::default())?)));
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
        if let Some(Ok(summary)) = facts.summary.as_deref() {
            self.summed_up = Some((index, *summary));
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

    /// No more disclosures come for the entries of the last part: those of which nothing was shown lack all of it.
    fn settle_part(&mut self) {
        let disclose = self.asked.as_ref().map(|asked| asked.disclose.clone()).unwrap_or_default();
        let told = std::mem::take(&mut self.told);
        for (index, entry) in std::mem::take(&mut self.part).into_iter().filter(|(index, _)| !told.contains(index)) {
            let committed = |class: &CommitmentClass| entry.get("commit").and_then(|c| c.get(class.as_str())).is_some();
            let lacks: Vec<_> = disclose.iter().copied().filter(committed).collect();
            self.missing.add(index, &lacks, || People::of(&entry));
        }
    }

    /// Whatever is not shown was erased, or is missing.
    fn settle_missing(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        missing.for_each(|index, class, people| match self.erasures.of(index, people, class) {
            Some(under) => *self.report.erased.entry(under).or_default() += 1,
            None => {
                let class = class.as_str();
                let what = format!("the values of `{class}` are missing, and no entry here says that they were erased");
                self.findings.of(Point::Disclosures).add(index..index + 1, what);
            }
        });
        let unproven = std::mem::take(&mut self.unproven);
        for under in unproven.into_iter().filter(|under| self.report.erased.contains_key(under)) {
            let what = "whether somebody has asked for the erasure in entry";
            self.report.limits.push(format!("{what} {under}: the request is not in the archive"));
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

    fn disclosed(&mut self, name: &str, bytes: &[u8]) {
        let mut findings = self.findings.of(Point::Disclosures);
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if line.len() > LINE_BYTES_MAX {
                findings.add(0..0, format!("`{name}` has a line of {} bytes", line.len()));
                continue;
            }
            let said = canonical::parse(line).ok();
            let index = said.as_ref().and_then(|v| v.get("index")).and_then(Value::as_int);
            let index = index.and_then(|index| u64::try_from(index).ok());
            let values = said.as_ref().and_then(|v| v.get("values")).map(Value::encode);
            let (Some(index), Some(values)) = (index, values) else {
                return findings.add(0..0, format!("`{name}` holds a line that is none of disclosures"));
            };
            let at = index..index + 1;
            let Some(entry) = self.part.get(&index) else {
                findings.add(at, "values are shown of it, and it is not in the file of the same number");
                continue;
            };
            if !self.told.insert(index) {
                findings.add(at.clone(), "values are shown of it twice");
            }
            if let Some(values) = said.as_ref().and_then(|v| v.get("values")) {
                for class in self.salts.reused(values) {
                    let what = format!("the salt of `{}` is that of another value", printable(&class));
                    findings.add(at.clone(), what);
                }
            }
            let reference = said.as_ref().and_then(|v| v.get("reference"));
            if reference.is_some() && reference != entry.get("principal") {
                findings.add(at.clone(), "values are shown of another principal than the entry's");
            }
            match disclosed::compare(entry, Some(&values)) {
                Ok(classes) => {
                    for one in classes.iter().filter(|one| one.verdict.is_fault()) {
                        findings.add(at.clone(), format!("what is shown as `{}` is not what was recorded", one.class));
                    }
                    let shown = classes.iter().filter(|one| one.verdict == Verdict::Matches);
                    self.report.disclosed += shown.count() as u64;
                    let disclose = self.asked.as_ref().map(|asked| asked.disclose.as_slice()).unwrap_or_default();
                    let lacks = classes.iter().filter(|one| one.verdict == Verdict::NotShown);
                    let lacks = lacks.filter_map(|one| CommitmentClass::parse(&one.class));
                    let lacks: Vec<_> = lacks.filter(|class| disclose.contains(class)).collect();
                    self.missing.add(index, &lacks, || People::of(entry));
                }
                Err(what) => findings.add(at, what),
            }
        }
    }

    fn content(&mut self, name: &str, bytes: &[u8]) {
        let (digest, mut findings) = (Digest::of(bytes), self.findings.of(Point::Contents));
        if name.strip_prefix("content/") != Some(digest.to_hex().as_str()) {
            return findings.add(0..0, format!("`{name}` is not what its name says"));
        }
        // All entries have come before.
        match self.named.remove(&digest) {
            Some(index) => {
                self.report.contents += 1;
                if self.report.organisation.is_some() {
                    let what = "policies and entities are shown that it was decided from, and may name others";
                    self.warnings.of(Point::Contents).add(index..index + 1, what);
                }
            }
            None => findings.add(0..0, format!("`{name}` is named by no entry here")),
        }
    }

    fn finish(mut self) -> Result<ArchiveReport, Unusable> {
        self.settle_part();
        self.settle_missing();
        let Some(asked) = self.asked.take() else {
            return Err(Unusable::NoArchive(String::from("it has no `manifest.json`")));
        };
        self.whole();
        self.bounds(&asked);
        self.tail(&asked);
        for (digest, index) in std::mem::take(&mut self.named) {
            let what = format!("names {} by digest, which is not in the archive", digest.to_hex());
            match asked.organisation {
                None => self.findings.of(Point::Contents).add(index..index + 1, what),
                Some(_) => continue,
            }
        }
        if let Some(organisation) = &asked.organisation {
            self.report.limits.push(format!(
                "policies and entities are left out, because they name others than {organisation}: nothing here can be decided again"
            ));
        }
        self.unruled();
        self.results(&asked);
        let Self { rules, findings, mut warnings, mut report, ends, places, .. } = self;
        report.complete.inside = complete::is_whole(findings.failed(), asked.organisation.is_some());
        if !report.complete.inside {
            (report.complete.since, report.complete.until) = (None, None);
        }
        if !report.complete.is_proven() {
            let why =
                "the archive leaves open what `complete` and `not_proven` say; with `--complete` that is a finding";
            report.verdict.not_done(Point::Complete, why);
        }
        report.verdict.fail(findings.failed());
        report.open = rules.finish(&mut warnings);
        report.organisations = rules.organisations();
        report.indexes = ends.map(|[first, last]| (first.0, last.0));
        report.numbers = places.map(|(first, last)| (first.sequence, last.sequence));
        (report.findings, report.findings_left_off) = findings.finish();
        (report.warnings, report.warnings_left_off) = warnings.finish();
        Ok(report)
    }

    /// Decisions that nothing here tells of whether their policies were in use.
    fn unruled(&mut self) {
        let unruled = self.rules.unruled();
        if unruled > 0 {
            let these = count(unruled, "decision names", "decisions name");
            self.report.limits.push(format!(
                "whether the policies that {these} were in use: the entries that say which were when it begins are not in the archive"
            ));
            let why = "of some decisions it does not show which policies were in use";
            self.report.verdict.not_done(Point::PoliciesInUse, why);
        }
    }

    /// What was checked, and why not the rest.
    fn results(&mut self, asked: &Asked) {
        let verdict = &mut self.report.verdict;
        verdict.not_done(Point::Cosignatures, NO_WITNESSES);
        verdict.not_done(Point::Clocks, NO_WITNESSES);
        if self.signed.is_none() {
            verdict.not_done(Point::Tree, "no checkpoint verifies");
        }
        verdict.of_entries(self.seen, None);
        if asked.pruning.is_none() && !self.seen.has(Point::Pruning) {
            verdict.not_done(Point::Pruning, "nothing was pruned, as far as it shows");
        }
        if asked.organisation.is_some() {
            verdict.not_done(Point::Contents, "they are left out, because they name others");
        }
        if asked.disclose.is_empty() && self.report.disclosed == 0 {
            verdict.not_done(Point::Disclosures, "no values are shown");
        }
    }

    /// Entries and hashes are the tree that was signed.
    fn whole(&mut self) {
        let Some(signed) = &self.signed else {
            let what = "no checkpoint verifies, so nothing is proven";
            return self.findings.of(Point::CheckpointSignature).add(0..0, what);
        };
        if let Err(why) = self.ring.judge(&self.report.note) {
            self.findings.of(Point::CheckpointSignature).add(0..0, format!("`checkpoint`: {why}"));
        }
        for key in self.ring.strangers(&self.report.note) {
            let what = format!(
                "`checkpoint` is not signed by the key {}, which you gave, and no entry here names that: if it was the log's key by \
                 then, whoever has an older one made this",
                key.to_text()
            );
            self.warnings.of(Point::Keys).add(0..0, what);
        }
        if self.is_broken {
            return;
        }
        if self.walk.size() != signed.size {
            let what = format!("stands for {} entries; the checkpoint is of {}", self.walk.size(), signed.size);
            self.findings.of(Point::Tree).add(0..0, what);
        } else if self.walk.root() != signed.root {
            let what = "entries and hashes do not have the root of the checkpoint: something was changed";
            self.findings.of(Point::Tree).add(0..0, what);
        }
    }

    /// Whether the newest entries of the organisation whose it is are kept back, as far as its own entries tell.
    fn tail(&mut self, asked: &Asked) {
        let Some((organisation, (entry, summary))) = asked.organisation.as_ref().zip(self.summed_up) else { return };
        let tail = Tail { entry, summary, to: asked.to, is_open: !self.report.complete.end };
        self.report.summary = Some(tail);
        if !tail.is_open {
            return;
        }
        let verdict = &mut self.report.verdict;
        let Some(next) = summary.next.map(Timestamp::to_rfc3339) else {
            let why = format!(
                "its summaries end with entry {entry}, and nothing tells whether there are entries behind the last"
            );
            return verdict.not_done(Point::OrganisationSummaries, why);
        };
        let at = entry..entry + 1;
        let latest = self.report.latest.and_then(|(latest, _)| tail.withheld(organisation.as_str(), latest));
        if let Some(Finding { what, .. }) = latest {
            return self.findings.of(Point::OrganisationSummaries).add(at, what);
        }
        let why =
            "no cosignature says when its checkpoint was there, and so whether another summary must be (`--policy`)";
        verdict.not_done(Point::OrganisationSummaries, why);
        if let Some(made) = asked.made.filter(|made| tail.withheld(organisation.as_str(), *made).is_some()) {
            let what = format!(
                "promises another summary of `{organisation}` by {next}, and there is none, although the archive says that it was made at \
                 {}: if its checkpoint is not from before that, the newest entries are kept back",
                made.to_rfc3339()
            );
            self.warnings.of(Point::OrganisationSummaries).add(at, what);
        }
    }

    /// Whether it holds everything of the time that was asked for.
    fn bounds(&mut self, asked: &Asked) {
        let Some([first, last]) = self.ends else {
            return self.findings.of(Point::EntriesPresent).add(0..0, "holds no entry");
        };
        let size = self.signed.as_ref().map_or(0, |signed| signed.size);
        if let (Some(index), None) = (asked.pruning, &self.report.pruned) {
            let what = format!("says that entry {index} prunes, and does not show that it does");
            self.findings.of(Point::Pruning).add(0..0, what);
        }
        if let Some(pruned) = &self.report.pruned {
            let Pruned { below, under, before, days, .. } = pruned;
            if first.0 < *below {
                let what = format!("shown, although entry {under} says that they are gone");
                self.findings.of(Point::Pruning).add(first.0..*below, what);
            }
            self.report.limits.push(format!(
                "what entries before {below} said: they were pruned under entry {under}, which says that all are of before {before} \
                 and were kept for {days} days"
            ));
        }
        let is_first = match &asked.organisation {
            None => first.0 == 0,
            Some(_) => self.places.is_some_and(|(first, _)| first.sequence == 1),
        };
        let limits = &mut self.report.limits;
        let complete = &mut self.report.complete;
        complete.beginning = is_first || first.1 < asked.from.plus_millis(-MARGIN_MS);
        complete.end = last.1 >= asked.to.plus_millis(MARGIN_MS);
        complete.bound((asked.from, asked.to), (first.1.plus_millis(MARGIN_MS + 1), last.1.plus_millis(-MARGIN_MS)));
        if !complete.beginning {
            let from = asked.from.to_rfc3339();
            limits.push(format!("whether there are entries between {from} and the first of the archive"));
        }
        if !complete.end {
            let to = asked.to.to_rfc3339();
            match &asked.organisation {
                None if last.0 + 1 == size => {
                    let at = last.1.to_rfc3339();
                    limits.push(format!(
                        "whether there are entries up to {to} behind the checkpoint, whose last is of {at}"
                    ));
                }
                None => limits.push(format!("whether there are entries between the last of the archive and {to}")),
                Some(organisation) => {
                    let behind = self.places.map_or(0, |(_, last)| last.sequence);
                    limits.push(format!("whether {organisation} has entries behind its {behind}."));
                }
            }
        }
        // The order of a log is proven, and its clock is not.
        limits.push(String::from(
            "whether entries of this time stand elsewhere in the log, if the broker's clock was put back",
        ));
    }
}

impl ArchiveReport {
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// Holds it against the caller's own policy: who cosigned its checkpoint, when, and whether it names other witnesses.
    pub fn witnessed(&mut self, policy: &TrustPolicy) {
        self.cosigned = policy.cosigned(&self.note);
        let times = Cosigned::of(&self.cosigned).filter(|_| policy.is_met(&self.cosigned));
        if !policy.witnesses.is_empty() {
            self.verdict.done(Point::Clocks);
        }
        if times.is_none() {
            self.verdict.not_done(Point::Clocks, "its checkpoint was not cosigned by a quorum of the trust policy");
        }
        if self.tree.is_none() {
            self.verdict.not_done(Point::Clocks, "its checkpoint does not verify");
        }
        if let Some(times) = times.filter(|_| self.tree.is_some()) {
            let size = self.tree.as_ref().map_or(0, |(size, _)| *size);
            if let Some((latest, index)) = self.latest
                && let Some(what) = times.too_late(latest, size)
            {
                self.findings.push(Finding { check: Point::Clocks, what, entries: Some((index, index)) });
            }
        }
        if let Some((tail, times)) = self.summary.filter(Tail::tells).zip(times.filter(|_| self.tree.is_some())) {
            self.verdict.done(Point::OrganisationSummaries);
            let organisation = self.organisation.as_deref().unwrap_or_default();
            let is_told = self.findings.iter().any(|finding| {
                finding.check == Point::OrganisationSummaries && finding.entries == Some((tail.entry, tail.entry))
            });
            self.findings.extend(tail.withheld(organisation, times.earliest()).filter(|_| !is_told));
        }
        let Some(inside) = self.policy_inside.as_ref().filter(|_| !policy.witnesses.is_empty()) else { return };
        let named = |policy: &TrustPolicy| -> BTreeSet<String> {
            policy.witnesses.iter().map(|witness| witness.key.to_text()).collect()
        };
        let (inside, given) = (named(inside), named(policy));
        let warning = |what: String| Finding { check: Point::Cosignatures, what: printable(&what), entries: None };
        let more =
            inside.difference(&given).map(|key| format!("`policy` in it names the witness {key}, and yours does not"));
        let less =
            given.difference(&inside).map(|key| format!("`policy` in it does not name the witness {key} of yours"));
        self.warnings.extend(more.chain(less).map(warning));
    }

    /// That anything may be missing is a fault from now on.
    pub fn demand_complete(&mut self) {
        let faults = self.complete.faults(&self.from, &self.to);
        self.findings.extend(faults.map(|what| Finding { check: Point::Complete, what, entries: None }));
    }

    pub fn to_json(&self) -> serde_json::Value {
        let witnesses = |policy: &TrustPolicy| -> Vec<String> {
            policy.witnesses.iter().map(|witness| witness.key.to_text()).collect()
        };
        let keys_inside = self.keys_inside.iter().map(|(key, is_given)| json!({ "key": key, "given": is_given }));
        json!({
            "ok": self.is_ok(),
            "checks": self.verdict.to_json(&Point::OF_ARCHIVE, &self.findings),
            "complete": self.complete.to_json(),
            "summary": self.summary.map(Tail::to_json),
            "in_use": self.in_use,
            "keys_inside": keys_inside.collect::<Vec<_>>(),
            "witnesses_inside": self.policy_inside.as_ref().map(witnesses),
            "origin": self.origin,
            "size": self.tree.as_ref().map(|(size, _)| size),
            "root": self.tree.as_ref().map(|(_, root)| root),
            "organisation": self.organisation,
            "from": self.from,
            "to": self.to,
            "entries": self.entries,
            "first": self.indexes.map(|(first, _)| first),
            "last": self.indexes.map(|(_, last)| last),
            "first_of_organisation": self.numbers.map(|(first, _)| first),
            "last_of_organisation": self.numbers.map(|(_, last)| last),
            "organisations": self.organisations,
            "contents": self.contents,
            "disclosed": self.disclosed,
            "erased": self.erased.iter().map(|(under, count)| (under.to_string(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "open": self.open,
            "pruned": self.pruned.as_ref().map(Pruned::to_json),
            "cosigned": cosigned_json(&self.cosigned),
            "signed_by": self.signed_by,
            "not_proven": self.limits,
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "findings_left_off": self.findings_left_off,
            "warnings": self.warnings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "warnings_left_off": self.warnings_left_off,
        })
    }
}

impl fmt::Display for ArchiveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.findings.len() as u64 + self.findings_left_off;
        let verdict = if self.is_ok() { "fine".to_owned() } else { count(found, "finding", "findings") };
        writeln!(f, "archive of log {}: {verdict}", self.origin)?;
        self.verdict.lines(f, &Point::OF_ARCHIVE, &self.findings)?;
        let Self { findings, findings_left_off, warnings, warnings_left_off, .. } = self;
        let (findings_left_off, warnings_left_off) = (*findings_left_off, *warnings_left_off);
        Found { findings, findings_left_off, warnings, warnings_left_off }.lines(f)?;
        writeln!(f, "  time           {} to {}", self.from, self.to)?;
        self.complete.fmt(f)?;
        if let Some((first, last)) = self.indexes {
            writeln!(f, "  entries        {}, indexes {first} to {last}", self.entries)?;
        }
        match (&self.organisation, self.numbers) {
            (Some(organisation), Some((first, last))) => {
                writeln!(f, "  organisation   {organisation} alone, its {first}. to {last}. entry")?;
            }
            _ => writeln!(f, "  organisations  {}", self.organisations)?,
        }
        if let Some(tail) = self.summary {
            writeln!(f, "  summed up      {}", tail.to_text())?;
        }
        if let Some((size, root)) = &self.tree {
            writeln!(f, "  tree           {size} entries, root {root}")?;
        }
        writeln!(f, "  contents       {}", self.contents)?;
        writeln!(f, "  disclosed      {}", self.disclosed)?;
        for (under, values) in &self.erased {
            writeln!(f, "  erased         {} under entry {under}", count(*values, "value", "values"))?;
        }
        writeln!(f, "  open           {}", count(self.open, "exchange without outcome", "exchanges without outcome"))?;
        signed_lines(f, &self.signed_by)?;
        cosigned_lines(f, &self.cosigned)?;
        // Whoever made the archive has put them there.
        for (key, _) in self.keys_inside.iter().filter(|(_, is_given)| !is_given) {
            writeln!(f, "  names a key    {}, which you did not give", printable(key))?;
        }
        self.limits.iter().try_for_each(|limit| writeln!(f, "  not proven     {limit}"))
    }
}

#[cfg(test)]
mod tests;
