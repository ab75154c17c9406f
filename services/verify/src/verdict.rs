//! The checks of a report by name, and what each has come to.
//!
//! A check that nothing was found against has passed only if it was made: what was not given, what a file does not hold and
//! what could not be reached any more is said to be not done, and why.

use crate::facts::{Facts, Ruled};
use crate::report::Finding;
use model::entry::Kind;
use serde_json::{Value, json};
use std::fmt;

/// What is checked. The codes are part of the output's format: none changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    ArchiveForm,
    CheckpointSignature,
    Cosignatures,
    KeptCheckpoints,
    RememberedCheckpoint,
    EntriesPresent,
    Complete,
    #[default]
    EntryForm,
    Tree,
    OrganisationSequences,
    OrganisationSummaries,
    Outcomes,
    PoliciesInUse,
    Erasures,
    Pruning,
    Keys,
    Clocks,
    Contents,
    Disclosures,
    Receipt,
    Silence,
}

impl Point {
    /// In the order in which reports list them.
    pub const ALL: [Self; 21] = [
        Self::ArchiveForm,
        Self::CheckpointSignature,
        Self::Cosignatures,
        Self::KeptCheckpoints,
        Self::RememberedCheckpoint,
        Self::EntriesPresent,
        Self::Complete,
        Self::EntryForm,
        Self::Tree,
        Self::OrganisationSequences,
        Self::OrganisationSummaries,
        Self::Outcomes,
        Self::PoliciesInUse,
        Self::Erasures,
        Self::Pruning,
        Self::Keys,
        Self::Clocks,
        Self::Contents,
        Self::Disclosures,
        Self::Receipt,
        Self::Silence,
    ];

    /// Those of a published log.
    pub(crate) const OF_LOG: [Self; 15] = [
        Self::CheckpointSignature,
        Self::Cosignatures,
        Self::KeptCheckpoints,
        Self::RememberedCheckpoint,
        Self::EntriesPresent,
        Self::EntryForm,
        Self::Tree,
        Self::OrganisationSequences,
        Self::OrganisationSummaries,
        Self::Outcomes,
        Self::PoliciesInUse,
        Self::Erasures,
        Self::Pruning,
        Self::Keys,
        Self::Clocks,
    ];

    pub(crate) const OF_ARCHIVE: [Self; 17] = [
        Self::ArchiveForm,
        Self::CheckpointSignature,
        Self::Cosignatures,
        Self::EntriesPresent,
        Self::Complete,
        Self::EntryForm,
        Self::Tree,
        Self::OrganisationSequences,
        Self::OrganisationSummaries,
        Self::Outcomes,
        Self::PoliciesInUse,
        Self::Erasures,
        Self::Pruning,
        Self::Keys,
        Self::Clocks,
        Self::Contents,
        Self::Disclosures,
    ];

    pub(crate) const OF_PROOF: [Self; 6] = [
        Self::CheckpointSignature,
        Self::Cosignatures,
        Self::EntriesPresent,
        Self::EntryForm,
        Self::Tree,
        Self::Disclosures,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::ArchiveForm => "archive-form",
            Self::CheckpointSignature => "checkpoint-signature",
            Self::Cosignatures => "cosignatures",
            Self::KeptCheckpoints => "kept-checkpoints",
            Self::RememberedCheckpoint => "remembered-checkpoint",
            Self::EntriesPresent => "entries-present",
            Self::Complete => "complete",
            Self::EntryForm => "entry-form",
            Self::Tree => "tree",
            Self::OrganisationSequences => "organisation-sequences",
            Self::OrganisationSummaries => "organisation-summaries",
            Self::Outcomes => "outcomes",
            Self::PoliciesInUse => "policies-in-use",
            Self::Erasures => "erasures",
            Self::Pruning => "pruning",
            Self::Keys => "keys",
            Self::Clocks => "clocks",
            Self::Contents => "contents",
            Self::Disclosures => "disclosures",
            Self::Receipt => "receipt",
            Self::Silence => "silence",
        }
    }
}

/// A few of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points(u32);

impl Points {
    pub fn insert(&mut self, point: Point) {
        self.0 |= 1 << point as u32;
    }

    pub fn has(self, point: Point) -> bool {
        self.0 & 1 << point as u32 != 0
    }

    /// What there is to check about an entry.
    pub fn see(&mut self, facts: &Facts) {
        let Facts { organisation, erasure, pruning, summary, ruled, kind, opens, .. } = facts;
        self.insert(Point::EntryForm);
        let has = [
            (organisation.is_some(), Point::OrganisationSequences),
            (summary.is_some(), Point::OrganisationSummaries),
            (*opens || *kind == Kind::Outcome, Point::Outcomes),
            (matches!(ruled, Some(Ruled::Asked(_) | Ruled::Unnamed)), Point::PoliciesInUse),
            (erasure.is_some(), Point::Erasures),
            (pruning.is_some(), Point::Pruning),
        ];
        has.into_iter().filter(|(has, _)| *has).for_each(|(_, point)| self.insert(point));
    }
}

/// What one check has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'v> {
    Passed,
    Failed,
    /// And why.
    NotDone(&'v str),
}

/// What a report says of its checks beside its findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Also those whose findings are not listed, because there are too many.
    failed: Points,
    not_done: Vec<(Point, String)>,
}

impl Results {
    /// Of a report in which nothing but these was checked.
    pub fn only(points: &[Point], done: &[Point], why: &str) -> Self {
        let mut verdict = Self::default();
        points.iter().filter(|point| !done.contains(point)).for_each(|point| verdict.not_done(*point, why));
        verdict
    }

    pub fn fail(&mut self, failed: Points) {
        self.failed.0 |= failed.0;
    }

    /// What was said first counts.
    pub fn not_done(&mut self, point: Point, why: impl Into<String>) {
        if !self.not_done.iter().any(|(known, _)| *known == point) {
            self.not_done.push((point, why.into()));
        }
    }

    pub fn done(&mut self, point: Point) {
        self.not_done.retain(|(known, _)| *known != point);
    }

    /// Of what is not among these entries nothing was checked; nor is everything where `holes` says that some are not known.
    pub fn of_entries(&mut self, seen: Points, holes: Option<&str>) {
        for (point, why) in [
            (Point::EntryForm, "there is no entry"),
            (Point::OrganisationSequences, "no entry is of an organisation"),
            (Point::OrganisationSummaries, "no entry is a summary of an organisation's entries"),
            (Point::Outcomes, "no exchange was allowed"),
            (Point::PoliciesInUse, "no decision names policies"),
            (Point::Erasures, "nothing was erased"),
        ] {
            if !seen.has(point) {
                self.not_done(point, why);
            } else if let Some(holes) = holes.filter(|_| point != Point::EntryForm) {
                self.not_done(point, holes);
            }
        }
    }

    /// What each of `points` has come to, and any other that failed.
    pub fn outcomes(&self, points: &[Point], findings: &[Finding]) -> Vec<(Point, Outcome<'_>)> {
        let has_failed = |point| self.failed.has(point) || findings.iter().any(|finding| finding.check == point);
        let listed = Point::ALL.into_iter().filter(|point| points.contains(point) || has_failed(*point));
        let outcome = |point| {
            let not_done = self.not_done.iter().find(|(known, _)| *known == point);
            match not_done {
                _ if has_failed(point) => Outcome::Failed,
                Some((_, why)) => Outcome::NotDone(why),
                None => Outcome::Passed,
            }
        };
        listed.map(|point| (point, outcome(point))).collect()
    }

    /// Codes of those that failed.
    #[cfg(test)]
    pub(crate) fn failed(&self, points: &[Point], findings: &[Finding]) -> Vec<&'static str> {
        let outcomes = self.outcomes(points, findings).into_iter();
        outcomes.filter(|(_, outcome)| *outcome == Outcome::Failed).map(|(point, _)| point.code()).collect()
    }

    pub(crate) fn to_json(&self, points: &[Point], findings: &[Finding]) -> Value {
        let outcomes = self.outcomes(points, findings).into_iter();
        outcomes
            .map(|(point, outcome)| match outcome {
                Outcome::Passed => json!({ "check": point.code(), "result": "passed" }),
                Outcome::Failed => json!({ "check": point.code(), "result": "failed" }),
                Outcome::NotDone(why) => json!({ "check": point.code(), "result": "not-done", "why": why }),
            })
            .collect()
    }

    /// One line each.
    pub(crate) fn lines(&self, f: &mut fmt::Formatter<'_>, points: &[Point], findings: &[Finding]) -> fmt::Result {
        self.outcomes(points, findings).into_iter().try_for_each(|(point, outcome)| {
            let code = point.code();
            match outcome {
                Outcome::Passed => writeln!(f, "  {code:<23} passed"),
                Outcome::Failed => writeln!(f, "  {code:<23} failed"),
                Outcome::NotDone(why) => writeln!(f, "  {code:<23} not done: {why}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveReport;
    use crate::proof::ProofReport;
    use crate::report::Report;
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../../docs/audit-log.md");

    fn section<'p>(from: &str) -> &'p str {
        PAGE.split_once(from).map(|(_, behind)| behind.split("\n## ").next().unwrap()).unwrap()
    }

    #[test]
    fn a_check_passes_only_if_it_was_made_and_nothing_was_found() {
        let mut verdict = Results::default();
        verdict.not_done(Point::Cosignatures, "nobody was asked for");
        verdict.not_done(Point::Tree, "it was lost");
        let found = [Finding { check: Point::Tree, what: "changed".into(), entries: None }];
        let of = |verdict: &Results, point| {
            let outcomes = verdict.to_json(&Point::OF_LOG, &found);
            outcomes.as_array().unwrap().iter().find(|one| one["check"] == Point::code(point)).cloned().unwrap()
        };
        assert_eq!(of(&verdict, Point::Tree), json!({ "check": "tree", "result": "failed" }));
        let why = json!({ "check": "cosignatures", "result": "not-done", "why": "nobody was asked for" });
        assert_eq!(of(&verdict, Point::Cosignatures), why);
        assert_eq!(of(&verdict, Point::Outcomes)["result"], "passed");
        // Beyond what is listed, and of a check that this report does not have.
        let mut failed = Points::default();
        failed.insert(Point::Contents);
        verdict.fail(failed);
        assert_eq!(of(&verdict, Point::Contents)["result"], "failed");
    }

    #[test]
    fn every_code_that_can_occur_is_documented() {
        let codes: BTreeSet<&str> = Point::ALL.into_iter().map(Point::code).collect();
        assert_eq!(codes.len(), Point::ALL.len());
        let section = section("### What it says");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<&str> = rows.filter(|code| !code.contains('_')).collect();
        let missing: Vec<_> = codes.difference(&documented).collect();
        assert!(missing.is_empty(), "{missing:?}");
        // In the row of each stands which reports have it.
        for (report, points) in
            [("log", &Point::OF_LOG[..]), ("archive", &Point::OF_ARCHIVE), ("proof", &Point::OF_PROOF)]
        {
            for point in Point::ALL {
                let row = section.lines().find(|line| line.starts_with(&format!("| `{}` |", point.code()))).unwrap();
                let of = row.split('|').nth(2).unwrap();
                assert_eq!(of.contains(report), points.contains(&point), "{report}: {row}");
            }
        }
    }

    #[test]
    fn every_member_of_the_json_is_documented() {
        let section = section("### What it says");
        let reports =
            [Report::default().to_json(), ArchiveReport::default().to_json(), ProofReport::default().to_json()];
        let members: BTreeSet<&String> = reports.iter().flat_map(|report| report.as_object().unwrap().keys()).collect();
        let missing: Vec<_> = members.iter().filter(|member| !section.contains(&format!("`{member}`"))).collect();
        assert!(members.len() > 20 && missing.is_empty(), "{missing:?}");
    }
}
