//! The values behind commitments: that they are what was recorded, or were erased by an entry that says so.

use super::findings::Findings;
use crate::erase::erasures;
use crate::error::ReadError;
use crate::reader::Reader;
use crate::store::DisclosureRow;
use model::canonical::{self, Value};
use model::disclosed::{Salts, Verdict, compare};
use model::entry::{CommitmentClass, Entry, Kind};
use model::erasure::{Erasures, Event, People, Requests};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;

/// Rows that are read at a time.
const ROWS_AT_ONCE: u32 = 1_000;
const REFERENCES_AT_ONCE: usize = 500;
/// Values that are missing and are looked at again at the end; more are told at once.
const MISSING_MAX: usize = 100_000;

/// Goes along with the entries, in order.
pub(super) struct Values<'a> {
    reader: &'a Reader,
    erasures: Erasures,
    /// Where the store says that erasures stand.
    listed: BTreeSet<u64>,
    /// Entries that the store lists as changes of keys, where it does.
    keys: Option<BTreeSet<u64>>,
    /// Erasures that somebody asked for.
    requests: Requests,
    /// Entries that could not be read.
    holes: Vec<Range<u64>>,
    /// The next entry, if none is passed over.
    at: u64,
    rows: VecDeque<DisclosureRow>,
    /// From here on rows are still to be read; `None` when there are none.
    next: Option<u64>,
    last: u64,
    salts: Salts,
    missing: Vec<(u64, CommitmentClass, People)>,
    /// Who takes part in entries, with the first entry of each.
    references: HashMap<String, u64>,
}

impl<'a> Values<'a> {
    /// Of a log of `size` entries.
    pub(super) async fn new(reader: &'a Reader, size: u64) -> Result<Self, ReadError> {
        Ok(Self {
            reader,
            erasures: erasures(reader).await?,
            listed: reader.erasure_entries().await?.into_iter().collect(),
            keys: reader.key_entries().await?.map(|keys| keys.into_iter().collect()),
            requests: Requests::default(),
            holes: Vec::new(),
            at: 0,
            rows: VecDeque::new(),
            next: (size > 0).then_some(0),
            last: size.saturating_sub(1),
            salts: Salts::default(),
            missing: Vec::new(),
            references: HashMap::new(),
        })
    }

    pub(super) async fn see(&mut self, index: u64, entry: &Entry, findings: &mut Findings) -> Result<(), ReadError> {
        if index > self.at {
            self.holes.push(self.at..index);
        }
        self.at = index + 1;
        self.see_event(index, entry, findings);
        if entry.kind == Kind::Key && self.keys.as_mut().is_some_and(|listed| !listed.remove(&index)) {
            findings.add((index, index), "it is a change of keys, and the store does not list it as one");
        }
        let people = People::of(entry);
        for reference in &people.references {
            if !self.references.contains_key(reference) {
                self.references.insert(reference.clone(), index);
            }
        }
        let row = self.row(index).await?;
        if row.is_none() && entry.get("commit").is_none() {
            return Ok(());
        }
        let shown = row.as_ref().map(|row| row.body.as_slice());
        let classes = match compare(entry, shown) {
            Ok(classes) => classes,
            Err(what) => {
                findings.add((index, index), format!("what is stored behind its commitments: {what}"));
                return Ok(());
            }
        };
        for one in classes {
            let class = CommitmentClass::parse(&one.class);
            let erased = class.and_then(|class| self.erasures.of(index, &people, class));
            match (one.verdict, erased, class) {
                (Verdict::Matches, Some(under), _) => {
                    let what =
                        format!("`{}` was erased under entry {under}, and its values are still there", one.class);
                    findings.add((index, index), what);
                }
                (Verdict::NotShown, None, Some(class)) => self.miss(index, class, &people, findings),
                (Verdict::Mismatch | Verdict::NotCommitted, ..) => {
                    let what = format!("the values of `{}` are not those that were recorded", one.class);
                    findings.add((index, index), what);
                }
                _ => {}
            }
        }
        let shown = shown.and_then(|shown| canonical::parse(shown).ok()).unwrap_or(Value::Bool(false));
        for class in self.salts.reused(&shown) {
            findings.add((index, index), format!("the salt of `{class}` is that of another value"));
        }
        Ok(())
    }

    /// Entries before `minimum` are gone. Nothing of them is unknown: what an entry behind them depends on is carried forward.
    pub(super) fn begin(&mut self, minimum: u64) {
        self.at = minimum;
    }

    /// An entry that is carried forward and cannot be read.
    pub(super) fn miss_carried(&mut self, index: u64) {
        self.holes.push(index..index.saturating_add(1));
    }

    /// An entry that was pruned and is kept all the same, without the values behind it.
    pub(super) fn see_carried(&mut self, index: u64, entry: &Entry, findings: &mut Findings) {
        self.see_event(index, entry, findings);
    }

    fn see_event(&mut self, index: u64, entry: &Entry, findings: &mut Findings) {
        if entry.kind != Kind::Erasure {
            return;
        }
        if !self.listed.remove(&index) {
            findings.add((index, index), "it is an erasure, and the store does not list it as one");
        }
        match Event::read(index, entry) {
            Some(Ok(event)) => {
                let fault = if let Event::Erased(erasure) = &event { erasure.fault() } else { None };
                let Self { requests, holes, .. } = self;
                let asked = requests.see(index, &event, |other| holes.iter().any(|hole| hole.contains(&other)));
                for what in fault.into_iter().chain(asked.err()) {
                    findings.add((index, index), what);
                }
            }
            Some(Err(member)) => {
                findings.add((index, index), format!("an erasure whose member `{member}` cannot be understood"));
            }
            None => {}
        }
    }

    /// A running log may be erasing at this moment: what is missing is judged when all has been seen.
    fn miss(&mut self, index: u64, class: CommitmentClass, people: &People, findings: &mut Findings) {
        if self.missing.len() < MISSING_MAX {
            self.missing.push((index, class, people.clone()));
        } else {
            tell_missing(index, class, findings);
        }
    }

    /// The row of this entry. Rows before it belong to entries that could not be read.
    async fn row(&mut self, index: u64) -> Result<Option<DisclosureRow>, ReadError> {
        loop {
            while self.rows.front().is_some_and(|row| row.entry_index < index) {
                self.rows.pop_front();
            }
            if let Some(row) = self.rows.front() {
                let is_it = row.entry_index == index;
                return Ok(if is_it { self.rows.pop_front() } else { None });
            }
            let Some(next) = self.next.filter(|next| (*next).max(index) <= self.last) else { return Ok(None) };
            self.rows = self.reader.disclosures((next.max(index), self.last), ROWS_AT_ONCE).await?.into();
            self.next = self.rows.back().map(|row| row.entry_index + 1);
        }
    }

    /// What was found missing, and whom the directory still has. `size` is what was gone through.
    pub(super) async fn finish(self, size: u64, findings: &mut Findings) -> Result<(), ReadError> {
        let Self { reader, missing, listed, keys, references: seen, .. } = self;
        let erasures = erasures(reader).await?;
        for (index, class, people) in missing {
            if erasures.of(index, &people, class).is_none() {
                tell_missing(index, class, findings);
            }
        }
        for index in listed.range(..size) {
            findings.add((*index, *index), "the store lists it as an erasure, and it is none");
        }
        for index in keys.iter().flat_map(|keys| keys.range(..size)) {
            findings.add((*index, *index), "the store lists it as a change of keys, and it is none");
        }
        let mut forgotten: Vec<(&str, u64)> = erasures.forgotten().collect();
        forgotten.sort_by_key(|(_, under)| *under);
        let references: Vec<&str> = forgotten.iter().map(|(reference, _)| *reference).collect();
        let known = reader.principals_of(&references).await?;
        let mut seen: Vec<(String, u64)> = seen.into_iter().collect();
        seen.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        for some in seen.chunks(REFERENCES_AT_ONCE) {
            let references: Vec<&str> = some.iter().map(|(reference, _)| reference.as_str()).collect();
            let in_directory = reader.principals_of(&references).await?;
            let is_gone = |one: &&(String, u64)| {
                !in_directory.contains_key(&one.0) && !forgotten.iter().any(|(reference, _)| *reference == one.0)
            };
            for (reference, index) in some.iter().filter(is_gone) {
                let what =
                    format!("the directory does not say who `{reference}` is, and no entry says that it was erased");
                findings.add((*index, *index), what);
            }
        }
        for (reference, under) in forgotten.into_iter().filter(|(reference, _)| known.contains_key(*reference)) {
            findings.add((under, under), format!("`{reference}` was erased, and the directory still says who it is"));
        }
        Ok(())
    }
}

fn tell_missing(index: u64, class: CommitmentClass, findings: &mut Findings) {
    let what = format!("the values of `{}` are missing, and no entry says that they were erased", class.as_str());
    findings.add((index, index), what);
}
