//! Prunings: what is passed over, and what an entry that prunes says of entries that were seen.

use super::{Latest, Rules};
use crate::facts::Facts;
use crate::findings::Findings;
use crate::verdict::Point;
use model::Timestamp;
use model::entry::Kind;
use model::pruning::Pruning;

/// From which entry on there is one of a day (since 1970) or later. So that nobody calls entries older than they were.
#[derive(Clone, Debug, Default)]
pub(super) struct Days(pub(super) Vec<(i64, u64)>);

/// Eleven years. A hostile log can have one a day per entry.
const DAYS_MAX: usize = 4_096;
const DAY_MS: i64 = 86_400_000;

impl Days {
    pub(super) fn see(&mut self, index: u64, time: Timestamp) {
        let day = time.millis().div_euclid(DAY_MS);
        if self.0.last().is_none_or(|(last, _)| *last < day) {
            if self.0.len() >= DAYS_MAX {
                self.0.remove(0);
            }
            self.0.push((day, index));
        }
    }

    /// The first entry of that time, a midnight, or later.
    fn first_of(&self, time: Timestamp) -> Option<(i64, u64)> {
        let day = time.millis().div_euclid(DAY_MS);
        self.0.get(self.0.partition_point(|(seen, _)| *seen < day)).copied()
    }
}

impl Rules {
    /// Entries before `minimum` are gone. What is carried forward of them comes next, and then [`Rules::begin`].
    pub fn prune(&mut self, minimum: u64) {
        self.pruned = self.pruned.max(minimum);
    }

    /// An entry that is carried forward: it says what it says, and nothing follows from its place.
    pub fn carried(&mut self, index: u64, facts: &Facts, said: &Pruning, findings: &mut Findings) {
        if facts.time >= said.before {
            let what = format!("pruned under entry {} as one of before {}, and is later", said.index, said.before);
            findings.of(Point::Pruning).add(index..index + 1, what);
        }
        if facts.incarnation.is_some() && index > 0 {
            findings.of(Point::EntryForm).add(index..index + 1, "begins another log in the middle of this one");
        }
        if facts.opens || facts.kind == Kind::Outcome {
            findings.of(Point::Pruning).add(index..index + 1, "carried forward, and nothing depends on it");
        }
        self.policies(index, facts.ruled, &mut findings.of(Point::PoliciesInUse));
        if let Some(erasure) = &facts.erasure {
            self.erasure(index, erasure, |_| false, &mut findings.of(Point::Erasures));
        }
    }

    /// Everything before `said.minimum` is passed over: goes on with what the entry says of that, held against what is known.
    pub fn begin(&mut self, said: &Pruning, findings: &mut Findings) {
        self.prune(said.minimum);
        self.compare_opened(said, &mut findings.of(Point::Pruning));
        self.compare_places(said, &mut findings.of(Point::Pruning));
        let Self { summaries, organisations, .. } = self;
        summaries.pass_over(said, |organisation| Some(organisations.get(organisation)?.sequence));
        for (organisation, place) in &said.organisations {
            let latest = Latest { sequence: place.sequence, index: place.previous.unwrap_or(0) };
            self.organisations.insert(organisation.clone(), latest);
        }
        self.left_out |= said.organisations_left_out > 0;
        self.seen_to = self.seen_to.max(said.minimum);
        let run = self.run;
        let open = std::mem::take(&mut self.open);
        self.open = said.open.iter().map(|index| (*index, open.get(index).copied().unwrap_or(run))).collect();
    }

    /// The shortest time for which entries were kept that were pruned, in days, and by which entry.
    pub fn shortest(&self) -> Option<(u32, u64)> {
        self.shortest
    }

    /// The entry of a pruning: what it says of entries that were seen must be so.
    pub(super) fn pruning(&mut self, index: u64, said: &Result<Pruning, &'static str>, findings: &mut Findings) {
        let at = index..index + 1;
        let said = match said {
            Err(member) => return findings.add(at, format!("a pruning whose member `{member}` cannot be understood")),
            Ok(said) => Pruning { index, ..said.clone() },
        };
        let faults = said.fault().into_iter().chain(said.fault_behind(self.pruning.as_deref()));
        let faults: Vec<String> = faults.collect();
        let is_good = faults.is_empty();
        faults.iter().for_each(|what| findings.add(at.clone(), what));
        if let Some((day, seen)) = self.days.first_of(said.before).filter(|(_, seen)| *seen < said.minimum) {
            let of = Timestamp(day.saturating_mul(DAY_MS)).to_rfc3339();
            let what = format!(
                "says that all entries before {} are of before {}, and entry {seen} is of {of} or later",
                said.minimum, said.before
            );
            findings.add(at.clone(), what);
        }
        if let Some((open, _)) = self.open.range(..said.minimum).next() {
            findings.add(at, format!("prunes entry {open}, whose exchange has no outcome"));
        }
        // Where those entries were passed over, it was held against what was known of them then.
        if let Some(opened) = self.opened.filter(|opened| self.pruned < said.minimum && said.is_gone(*opened)) {
            let what = format!("does not carry entry {opened} forward, by which the log was opened last");
            findings.add(index..index + 1, what);
        }
        self.compare_places(&said, findings);
        if is_good {
            let shorter = self.shortest.is_none_or(|(days, _)| said.days < days);
            self.shortest = if shorter { Some((said.days, index)) } else { self.shortest };
            self.pruning = Some(Box::new(said));
        }
    }

    /// Every log was opened before any entry can go, and what came into use since then is carried forward with it: without it
    /// no policy could be held against anything.
    fn compare_opened(&self, said: &Pruning, findings: &mut Findings) {
        let is_carried = match self.opened {
            Some(opened) => said.carried.contains(&opened),
            // It may be one of those before whoever looks here began.
            None => said.carried.iter().any(|index| *index < self.seen_to || self.holes.contains(*index)),
        };
        if !is_carried {
            let what =
                format!("prunes entries before {}, and does not carry forward that the log was opened", said.minimum);
            findings.add(said.index..said.index + 1, what);
        }
    }

    /// Where organisations stood before the minimum index, as far as that is known here.
    fn compare_places(&self, said: &Pruning, findings: &mut Findings) {
        if !self.holes.0.is_empty() {
            return;
        }
        let at = said.index..said.index + 1;
        for (organisation, latest) in &self.organisations {
            let place = said.organisations.get(organisation).map(|place| (place.sequence, place.previous.unwrap_or(0)));
            let is_so = match place {
                None => said.organisations_left_out > 0 || latest.index >= said.minimum,
                Some(place) if latest.index < said.minimum && latest.index >= self.seen_from(said) => {
                    place == (latest.sequence, latest.index)
                }
                Some((sequence, index)) if latest.index < said.minimum => {
                    sequence >= latest.sequence && index >= latest.index
                }
                Some((sequence, _)) => sequence < latest.sequence,
            };
            if !is_so {
                let what = format!(
                    "does not say where the entries of organisation `{organisation}` stood before {}",
                    said.minimum
                );
                findings.add(at.clone(), what);
            }
        }
    }

    /// From here on up to the minimum index of `said` every entry was seen: then nobody's last entry can be a later one.
    fn seen_from(&self, said: &Pruning) -> u64 {
        if self.seen_to >= said.minimum { 0 } else { u64::MAX }
    }
}
