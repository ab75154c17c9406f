//! The end of an archive: whether it is the tree that was signed, whether anything is missing at its edges, and what it leaves
//! open.

use super::manifest::Asked;
use super::{ArchiveReport, Check, MARGIN_MS, Unusable, complete};
use crate::clocks::NO_WITNESSES;
use crate::pruned::Pruned;
use crate::report::count;
use crate::verdict::Point;

impl Check<'_> {
    pub(super) fn finish(mut self) -> Result<ArchiveReport, Unusable> {
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
