//! Whether an organisation's newest entries are kept back. Behind the last that an archive shows there may be others, and no number
//! tells; but its last summary says by when there is another one, so whoever knows that the checkpoint is of later knows that something
//! is not shown.

use super::Check;
use super::manifest::Asked;
use crate::report::Finding;
use crate::verdict::Point;
use model::Timestamp;
use model::summary::{Summary, is_overdue};
use serde_json::{Value, json};

/// The last summary, with what its organisation's own entries say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummedUp {
    /// Where it stands.
    pub entry: u64,
    pub summary: Summary,
    /// Since when the organisation was silent before it, as far as that is shown.
    pub(super) silent_since: Option<Timestamp>,
    /// When the organisation's first entry behind it was.
    pub(super) behind: Option<Timestamp>,
}

/// The last summary that an archive of one organisation shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    pub last: SummedUp,
    /// The time that was asked for ends here. What came later need not be in the archive.
    pub(super) to: Timestamp,
    /// No entry of later than that shows that none is missing before it.
    pub(super) is_open: bool,
}

impl Tail {
    /// Whether somebody who knows when the checkpoint was there can tell anything by it.
    pub(super) fn tells(&self) -> bool {
        self.is_open && self.due().is_some()
    }

    /// By when there is another one.
    fn due(&self) -> Option<Timestamp> {
        self.last.summary.due_after_silence(self.last.silent_since, self.last.behind)
    }

    /// `seen`: a time at which the checkpoint was there, or that entries under it have.
    pub(super) fn withheld(&self, organisation: &str, seen: Timestamp) -> Option<Finding> {
        let (seen, due) = (seen.min(self.to), self.due()?);
        if !self.is_open || !is_overdue(due, seen) {
            return None;
        }
        let what = format!(
            "promises another summary of `{organisation}` by {}, and there is none, although the archive is of entries up to {} at least: the \
             newest entries of `{organisation}` are kept back, or its summaries have stopped. A broker that had just come to again may not \
             have written it yet: then a new archive has it",
            due.to_rfc3339(),
            seen.to_rfc3339()
        );
        Some(Finding { check: Point::OrganisationSummaries, what, entries: Some((self.last.entry, self.last.entry)) })
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "entry": self.last.entry,
            "last": self.last.summary.last,
            "time": self.last.summary.time.to_rfc3339(),
            "next": self.due().map(Timestamp::to_rfc3339),
        })
    }

    /// For people, behind the index of the entry.
    pub(super) fn to_text(self) -> String {
        let SummedUp { entry, summary, .. } = self.last;
        let next =
            self.due().map_or("none other is promised".to_owned(), |next| format!("another by {}", next.to_rfc3339()));
        format!("entry {entry} of {}, behind its {}.; {next}", summary.time.to_rfc3339(), summary.last)
    }
}

impl Check<'_> {
    /// Whether the newest entries of the organisation whose it is are kept back, as far as its own entries tell.
    pub(super) fn tail(&mut self, asked: &Asked) {
        let Some((organisation, last)) = asked.organisation.as_ref().zip(self.summed_up) else { return };
        let entry = last.entry;
        let tail = Tail { last, to: asked.to, is_open: !self.report.complete.end };
        self.report.summary = Some(tail);
        if !tail.is_open {
            return;
        }
        let verdict = &mut self.report.verdict;
        let Some(next) = tail.due().map(Timestamp::to_rfc3339) else {
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
}

#[cfg(test)]
mod tests {
    use super::super::ArchiveReport;
    use super::super::tests::{Made, START_MS, at, failed};
    use super::*;
    use crate::log::published::{Told, checkpoint, key, seal, story, told};
    use model::entry::Kind;
    use tlog::{CosigningKey, TrustPolicy};

    const HOUR: i64 = 3_600;

    fn sums_up(next: Option<i64>) -> Told {
        let next = next.map(|second| ("next", at(second * 1_000)));
        Told { members: next.into_iter().collect(), ..told(Kind::OrgSummary, "acme") }
    }

    /// A minute of a log with these summaries of `acme`, of which the witness has seen the end in this second: the archive of its
    /// entries of two hours.
    fn of(summaries: &[(usize, Option<i64>)], seen: i64) -> Made {
        of_story(summaries, seen, &|_| {})
    }

    fn of_story(summaries: &[(usize, Option<i64>)], seen: i64, change: &dyn Fn(&mut Vec<Told>)) -> Made {
        let mut story = story(300);
        for (index, next) in summaries {
            story[*index] = sums_up(*next);
        }
        change(&mut story);
        let mut made = Made::of_organisation(seal(&story), "acme");
        made.manifest[3].1 = at(2 * HOUR * 1_000);
        made.shown = (0..300).filter(|index| index % 16 < 7).collect();
        let note = checkpoint(&made.entries, &key(1));
        let text = format!("{}\n", note.split("\n\n").next().unwrap());
        let seen = u64::try_from(START_MS / 1_000 + seen).unwrap();
        made.checkpoint = note + &witness().cosign(&text, seen);
        made
    }

    fn witness() -> CosigningKey {
        CosigningKey::generate("w.example/7", [7; 32]).unwrap()
    }

    fn witnessed(made: &Made) -> ArchiveReport {
        let mut report = made.check();
        let (log, witness) = (key(1).verifier().to_text(), witness().verifier().to_text());
        report.witnessed(&TrustPolicy::parse(&format!("log {log}\nwitness w {witness}\nquorum w\n")).unwrap());
        report
    }

    fn result(report: &ArchiveReport) -> (String, String) {
        let json = report.to_json();
        let found = json["checks"].as_array().unwrap().iter().find(|one| one["check"] == "organisation-summaries");
        let text = |name: &str| found.unwrap()[name].as_str().unwrap_or_default().to_owned();
        (text("result"), text("why"))
    }

    /// An operator shows everything up to some summary, and hashes in the place of what came later.
    fn kept_back(mut made: Made, behind: u64) -> Made {
        made.shown.retain(|index| *index <= behind);
        made
    }

    #[test]
    fn newest_entries_that_are_kept_back_are_found_when_another_summary_must_have_come() {
        let summaries = [(150, Some(31)), (166, Some(HOUR))];
        let honest = witnessed(&of(&summaries, 700));
        assert!(honest.is_ok() && honest.warnings.is_empty(), "{honest}");
        assert_eq!(result(&honest).0, "passed");
        let text = honest.to_string();
        assert!(text.contains("  complete       2026-11-22T19:20:20.000Z to 2026-11-22T19:20:"), "{text}");
        assert!(text.contains("  summed up      entry 166 of 2026-11-22T19:20:33.200Z, behind its "), "{text}");
        assert!(text.contains("; another by 2026-11-22T20:20:00.000Z\n"), "{text}");
        assert_eq!(honest.to_json()["summary"]["next"], "2026-11-22T20:20:00.000Z");

        let doctored = witnessed(&kept_back(of(&summaries, 700), 165));
        assert_eq!(failed(&doctored), ["organisation-summaries"]);
        assert_eq!(doctored.findings.len(), 1, "{doctored}");
        let what = "entry 150: promises another summary of `acme` by 2026-11-22T19:20:31.000Z, and there is none, although the archive \
                    is of entries up to 2026-11-22T19:31:40.000Z at least: the newest entries of `acme` are kept back, or its summaries \
                    have stopped.";
        assert!(doctored.findings[0].to_string().starts_with(what), "{doctored}");
        // Up to ten minutes nobody is accused.
        let soon = witnessed(&kept_back(of(&summaries, 630), 165));
        assert!(soon.is_ok() && result(&soon).0 == "passed", "{soon}");
        // Nor by what was not asked for.
        let mut earlier = kept_back(of(&summaries, 700), 165);
        earlier.manifest[3].1 = at(600_000);
        assert!(witnessed(&earlier).is_ok());
        let mut ended = of(&summaries, 9 * HOUR);
        ended.manifest[3].1 = at(40_000);
        let ended = witnessed(&ended);
        assert!(ended.is_ok() && ended.complete.is_proven() && result(&ended).0 == "passed", "{ended}");
    }

    #[test]
    fn of_an_organisation_that_was_silent_newest_entries_are_kept_back_no_longer_than_of_others() {
        // Its last entries before it are of a day ago.
        let silent = |story: &mut Vec<Told>| {
            story[150].members.push(("again_ms", model::Value::int(1_000)));
            story[..150].iter_mut().for_each(|told| told.days = -1);
        };
        // Behind its next entry another summary was to come within a second, and it is kept back with all that is behind.
        let doctored = witnessed(&kept_back(of_story(&[(150, Some(HOUR)), (166, Some(HOUR))], 700, &silent), 165));
        assert_eq!(failed(&doctored), ["organisation-summaries"]);
        let what = doctored.findings[0].to_string();
        assert!(
            what.starts_with("entry 150: promises another summary of `acme` by 2026-11-22T19:20:33.000Z"),
            "{what}"
        );
        // While it has no entry there is nothing to come.
        let silent_still = witnessed(&kept_back(of_story(&[(150, Some(HOUR))], 700, &silent), 150));
        assert!(silent_still.is_ok() && result(&silent_still).0 == "passed", "{silent_still}");
    }

    #[test]
    fn an_organisation_that_is_not_silent_cannot_be_called_silent_to_keep_its_newest_entries_back() {
        let told = |next: i64| {
            let silent = move |story: &mut Vec<Told>| story[150].members.push(("again_ms", model::Value::int(1_000)));
            // It had entries up to this very summary, and everything behind it is kept back.
            witnessed(&kept_back(of_story(&[(150, Some(next))], 700, &silent), 150))
        };
        let doctored = told(31 * 24 * HOUR);
        assert_eq!(failed(&doctored), ["organisation-summaries"]);
        let what = "entry 150: a summary that promises the next by 2026-12-23T19:20:00.000Z, as if the organisation had been silent for \
                    long, and by 2026-11-22T19:20:31.000Z there must be another";
        assert!(doctored.findings.iter().any(|one| one.to_string().starts_with(what)), "{doctored}");
        // Within what nobody is accused for, it has to come by when it was to be promised.
        let doctored = told(400);
        assert_eq!(doctored.findings.len(), 1, "{doctored}");
        let what = "entry 150: promises another summary of `acme` by 2026-11-22T19:20:31.000Z, and there is none";
        assert!(doctored.findings[0].to_string().starts_with(what), "{doctored}");
    }

    #[test]
    fn what_its_own_entries_say_of_the_time_tells_without_a_witness() {
        let mut made = of(&[(150, Some(31))], 0);
        // Its last entry is of an hour later.
        let last = made.shown.last().copied().unwrap();
        let entry = &mut made.entries[usize::try_from(last).unwrap()];
        *entry = String::from_utf8(entry.clone()).unwrap().replace("T19:", "T20:").into_bytes();
        made.checkpoint = checkpoint(&made.entries, &key(1));
        assert_eq!(failed(&made.check()), ["organisation-summaries"]);
    }

    #[test]
    fn what_no_summary_and_no_clock_tells_of_does_not_pass() {
        let not_done = |report: &ArchiveReport, why: &str| {
            assert!(report.is_ok(), "{report}");
            let (result, found) = result(report);
            assert_eq!(result, "not-done");
            assert!(found.contains(why), "{found}");
        };
        not_done(&witnessed(&of(&[], 700)), "no entry is a summary of an organisation's entries");
        not_done(&witnessed(&of(&[(150, Some(31)), (166, None)], 700)), "its summaries end with entry 166");
        let without = kept_back(of(&[(150, Some(31)), (166, Some(HOUR))], 700), 165);
        let report = without.check();
        not_done(&report, "no cosignature says when its checkpoint was there");
        assert_eq!(report.warnings.len(), 0, "{report}");
        // Nobody has signed when it was made, but whoever was given it knows.
        let mut made = without;
        made.manifest.push(("made", at(2 * HOUR * 1_000)));
        let report = made.check();
        not_done(&report, "no cosignature says when its checkpoint was there");
        assert!(
            report.warnings[0].what.contains("the archive says that it was made at 2026-11-22T21:20:00.000Z"),
            "{report}"
        );
        assert_eq!(report.warnings[0].check, Point::OrganisationSummaries);
    }
}
