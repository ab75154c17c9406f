//! The rows of one block of entries. Pure: the same entries behind the same ones give the same rows.

use super::facts::{Alike, COLUMNS, Counted, Facet, Facts, HOUR_MS, Measures};
use super::positions::{BLOCK, Positions};
use model::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Members of a cell by their term ids, the day first.
pub(super) type CellKey = [i64; COLUMNS.len() + 1];

/// An allowed exchange without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub time: Timestamp,
    pub cell: CellKey,
}

/// What earlier blocks have left: the dictionary of terms, and the exchanges that are open.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub terms: Terms,
    pub last_term: i64,
    pub open: BTreeMap<u64, Open>,
}

/// Ids of terms, by the number of what they are of, and by what they say.
#[derive(Debug, Default)]
pub(super) struct Terms([HashMap<String, i64>; Facet::END]);

impl Terms {
    fn of(&self, facet: Facet) -> &HashMap<String, i64> {
        // Nothing has the number 0.
        let [nothing, ..] = &self.0;
        self.0.get(facet as usize).unwrap_or(nothing)
    }

    pub(super) fn insert(&mut self, facet: Facet, value: String, id: i64) {
        if let Some(of) = self.0.get_mut(facet as usize) {
            of.insert(value, id);
        }
    }
}

/// An exchange that took a second or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spanned {
    pub scale: u32,
    pub ended: i64,
    pub decision: u64,
    pub started: i64,
}

/// Shorter exchanges are not asked about by moment.
pub(crate) const SPAN_MS: i64 = 1000;

/// Rows to be written.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub block: u64,
    pub terms: Vec<(i64, Facet, String)>,
    pub postings: BTreeMap<i64, Positions>,
    pub marks: Vec<u32>,
    pub hours: BTreeMap<i64, (u64, u64)>,
    pub cells: BTreeMap<CellKey, Measures>,
    pub opened: Vec<u64>,
    pub closed: Vec<u64>,
    pub spans: Vec<Spanned>,
}

impl Rows {
    /// `entries` are all of block number `block` but the first `gone`, which the log does not have any longer.
    pub(super) fn of<'e>(
        (block, gone): (u64, usize),
        entries: impl IntoIterator<Item = &'e [u8]>,
        memory: &mut Memory,
    ) -> Self {
        let mut rows = Self { block, marks: vec![0; gone], ..Self::default() };
        let first = block * BLOCK;
        for (position, bytes) in (0_u16..).skip(gone).zip(entries) {
            let index = first + u64::from(position);
            let Some(facts) = Facts::of(bytes) else {
                rows.marks.push(0);
                continue;
            };
            rows.marks.push(facts.request);
            let hour = rows.hours.entry(facts.time.millis().div_euclid(HOUR_MS)).or_insert((index, index));
            hour.1 = index;
            for (facet, value) in &facts.terms {
                let term = rows.term(memory, *facet, value);
                rows.postings.entry(term).or_default().insert(position);
            }
            rows.count(index, facts.time, facts.counted, memory);
        }
        // What opened and ended within the block was never open to anybody else.
        let closed = std::mem::take(&mut rows.closed);
        rows.opened.retain(|index| memory.open.contains_key(index));
        rows.closed = closed.into_iter().filter(|index| *index < first).collect();
        rows
    }

    fn term(&mut self, memory: &mut Memory, facet: Facet, value: &str) -> i64 {
        if let Some(id) = memory.terms.of(facet).get(value) {
            return *id;
        }
        memory.last_term += 1;
        memory.terms.insert(facet, value.to_owned(), memory.last_term);
        self.terms.push((memory.last_term, facet, value.to_owned()));
        memory.last_term
    }

    fn cell(&mut self, memory: &mut Memory, alike: &Alike<'_>) -> CellKey {
        let mut key: CellKey = [0; COLUMNS.len() + 1];
        let members = COLUMNS.into_iter().zip(&alike.members);
        for (place, (facet, value)) in key.iter_mut().skip(1).zip(members) {
            *place = if value.is_empty() { 0 } else { self.term(memory, facet, value) };
        }
        if let Some(day) = key.first_mut() {
            *day = alike.day;
        }
        key
    }

    fn count(&mut self, index: u64, time: Timestamp, counted: Counted<'_>, memory: &mut Memory) {
        match counted {
            Counted::No => {}
            Counted::Decided { mut alike, times, opens } => {
                let known = memory.terms.of(Facet::Organisation);
                alike.settle(|organisation| known.contains_key(organisation));
                let cell = self.decided(index, time, &alike, times, memory);
                if opens {
                    memory.open.insert(index, Open { time, cell });
                    self.opened.push(index);
                }
            }
            Counted::Many(many) => {
                for (alike, times) in many {
                    self.decided(index, time, &alike, times, memory);
                }
            }
            Counted::Ended { of, complete, bytes, rows } => {
                // A log with a wrong outcome is found by `fsck`; here it counts for nothing.
                let Some(open) = memory.open.remove(&of) else { return };
                self.closed.push(of);
                let measures = Measures { ended: 1, complete: i64::from(complete), bytes, rows, ..Measures::default() };
                self.cells.entry(open.cell).or_default().add(&measures);
                self.spans.extend(Spanned::of(of, open.time, time));
            }
        }
    }

    fn decided(&mut self, index: u64, time: Timestamp, alike: &Alike<'_>, times: i64, memory: &mut Memory) -> CellKey {
        let cell = self.cell(memory, alike);
        let first_index = i64::try_from(index).unwrap_or(i64::MAX);
        let measures = Measures { decisions: times, first_index, first_time: time.millis(), ..Measures::default() };
        self.cells.entry(cell).or_default().add(&measures);
        cell
    }
}

impl Spanned {
    fn of(decision: u64, started: Timestamp, ended: Timestamp) -> Option<Self> {
        let millis = ended.millis().saturating_sub(started.millis());
        let scale = u64::try_from(millis).ok().filter(|_| millis >= SPAN_MS)?.ilog2() + 1;
        Some(Self { scale, ended: ended.millis(), decision, started: started.millis() })
    }
}
