//! The end of a check: what was compared, and what it comes to.

use super::Check;
use crate::checkpoints::{kept_path, load_judged};
use crate::clocks::NO_WITNESSES;
use crate::keys::Refusal;
use crate::pruned::Pruned;
use crate::report::{Report, count};
use crate::tree::Tree;
use crate::verdict::Point;

impl Check<'_> {
    pub(super) fn finish(mut self, note: &str) -> (Report, bool) {
        if self.lost.is_none() {
            self.check_tiles(Tree::take_partial);
        }
        self.finish_checkpoints();
        self.finish_pruned();
        let is_signed = self.finish_published(note);
        self.finish_verdict(note);
        self.report.open = self.rules.finish(&mut self.warnings);
        self.report.organisations = self.rules.organisations();
        self.report.checkpoints = self.checkpoints.verified();
        self.report.verdict.fail(self.findings.failed());
        (self.report.findings, self.report.findings_left_off) = self.findings.finish();
        (self.report.warnings, self.report.warnings_left_off) = self.warnings.finish();
        (self.report, is_signed)
    }

    /// What is gone is excused by an entry that was found in the tree, and by nothing else.
    fn finish_pruned(&mut self) {
        let Some(said) = &self.said else { return };
        if !self.is_said {
            let what = format!(
                "entries before {} are gone, and entry {}, which should say so, is not in the tree",
                said.minimum, said.index
            );
            self.findings.of(Point::Pruning).add(0..said.minimum, what);
        }
        let mut pruned = Pruned::of(said);
        pruned.shortest = self.rules.shortest().unwrap_or(pruned.shortest);
        self.report.pruned = Some(pruned);
    }

    /// Whether `checkpoint` is signed by a key that counts at its size, which is known when the entries are.
    fn finish_published(&mut self, note: &str) -> bool {
        match self.keys.judge_signed(note) {
            Ok((checkpoint, signers)) => {
                self.keys.signed_by(checkpoint.size, &signers);
                for what in self.keys.doubts(note, checkpoint.size) {
                    self.findings.of(Point::Keys).add(0..0, format!("`checkpoint`: {what}"));
                }
                true
            }
            // Nobody's is told by whoever asked for this.
            Err(Refusal::Unknown) => false,
            Err(Refusal::Other(why)) => {
                self.findings.of(Point::CheckpointSignature).add(0..0, format!("`checkpoint`: {why}"));
                false
            }
        }
    }

    fn finish_checkpoints(&mut self) {
        let size = self.published.size;
        let (beyond, earlier) = self.checkpoints.finish(
            &self.keys,
            &mut self.findings.of(Point::KeptCheckpoints),
            &mut self.warnings.of(Point::KeptCheckpoints),
        );
        self.report.keys = self.keys.report(earlier);
        if let Some(warning) = self.report.keys.warning() {
            self.warnings.of(Point::Keys).add(0..0, warning);
        }
        // What is kept since is of a log that has grown.
        if let Some((beyond, path)) = beyond.filter(|(beyond, _)| self.listed.is_some_and(|listed| *beyond <= listed)) {
            // A log that is being written to may have grown since its checkpoint was read.
            let now = load_judged(self.store, "checkpoint", &self.keys).map_or(size, |checkpoint| checkpoint.size);
            if now < beyond {
                self.tell_cut(Point::KeptCheckpoints, &path, beyond);
            }
        }
        if let Some(remembered) = self.remembered.filter(|remembered| remembered.checkpoint.size > size) {
            self.is_met = true;
            self.tell_cut(Point::RememberedCheckpoint, &remembered.name, remembered.checkpoint.size);
        }
        let (unchecked, from) = (self.checkpoints.unchecked(), self.lost.unwrap_or(0));
        if unchecked > 0 {
            let these = count(unchecked, "kept checkpoint", "kept checkpoints");
            let what = format!("{these} could not be compared, because the tree there is not known");
            self.findings.of(Point::KeptCheckpoints).add(from..size, what);
        }
        if self.lost.is_some() {
            let what = "the published checkpoint could not be compared with the entries";
            self.findings.of(Point::Tree).add(from..size, what);
        }
        if size > 0 && load_judged(self.store, &kept_path(size), &self.keys).is_err() {
            let what = format!("`checkpoint` is not kept as `{}`", kept_path(size));
            self.warnings.of(Point::KeptCheckpoints).add(0..0, what);
        }
    }

    /// What was checked, and why not the rest.
    fn finish_verdict(&mut self, note: &str) {
        let verdict = &mut self.report.verdict;
        verdict.not_done(Point::Cosignatures, NO_WITNESSES);
        if self.checkpoints.verified() == 0 {
            verdict.not_done(Point::KeptCheckpoints, "none is kept that is signed by a key which counts");
        }
        if self.checkpoints.is_partial() {
            verdict.not_done(Point::KeptCheckpoints, "a folder of them could not be listed");
        }
        match self.remembered {
            None => verdict.not_done(Point::RememberedCheckpoint, "none was given (`--checkpoint`)"),
            Some(_) if !self.is_met => verdict.not_done(Point::RememberedCheckpoint, "the tree was lost before it"),
            Some(_) => {}
        }
        let unknown = "some entries are missing or damaged, and nothing is known of these";
        verdict.of_entries(self.seen, (!self.rules.is_whole()).then_some(unknown));
        if self.rules.unruled() > 0 {
            verdict.not_done(Point::PoliciesInUse, "which policies were in use is not known of all decisions");
        }
        if self.said.is_none() && !self.seen.has(Point::Pruning) {
            verdict.not_done(Point::Pruning, "nothing was pruned");
        }
        let mut clocks = std::mem::take(&mut self.clocks);
        if self.lost.is_none() && self.tree.root() == self.published.root {
            clocks.checkpoint(self.published.size, note, &mut self.findings);
        }
        if let Some(from) = self.lost {
            clocks.lose(from);
        }
        if let Some(why) = clocks.finish(&mut self.findings) {
            verdict.not_done(Point::Clocks, why);
        }
    }

    fn tell_cut(&mut self, check: Point, name: &str, remembers: u64) {
        let size = self.published.size;
        let has = format!("`{name}` remembers {remembers} entries, the published log has {size}");
        self.findings.of(check).add(size..remembers, format!("the log was cut: {has}"));
    }
}
