//! What the check of an archive has come to, for people and for scripts.

use super::complete::Complete;
use super::tail::Tail;
use crate::clocks::Cosigned;
use crate::findings::printable;
use crate::pruned::Pruned;
use crate::report::{Finding, Found, cosigned_json, cosigned_lines, count, signed_lines};
use crate::verdict::{Point, Results};
use model::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tlog::TrustPolicy;

/// Keys of one sort that are named; whoever made the archive names as many as they like.
const PRINTED_MAX: usize = 20;

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
                finding.check == Point::OrganisationSummaries
                    && finding.entries == Some((tail.last.entry, tail.last.entry))
            });
            self.findings.extend(tail.withheld(organisation, times.earliest()).filter(|_| !is_told));
        }
        let Some(inside) = self.policy_inside.as_ref().filter(|_| !policy.witnesses.is_empty()) else { return };
        let named = |policy: &TrustPolicy| -> BTreeSet<String> {
            policy.witnesses.iter().map(|witness| witness.key.to_text()).collect()
        };
        let (inside, given) = (named(inside), named(policy));
        let warning = |what: String| Finding { check: Point::Cosignatures, what: printable(&what), entries: None };
        let strangers = inside.difference(&given);
        let left_off = strangers.clone().count().saturating_sub(PRINTED_MAX);
        let more = strangers
            .take(PRINTED_MAX)
            .map(|key| format!("`policy` in it names the witness {key}, and yours does not"));
        let rest = (left_off > 0).then(|| format!("`policy` in it names {left_off} more, and yours does not"));
        let less =
            given.difference(&inside).map(|key| format!("`policy` in it does not name the witness {key} of yours"));
        self.warnings.extend(more.chain(rest).chain(less).map(warning));
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
        let others: Vec<&String> = self.keys_inside.iter().filter(|(_, given)| !given).map(|(key, _)| key).collect();
        for key in others.iter().take(PRINTED_MAX) {
            writeln!(f, "  names a key    {}, which you did not give", printable(key))?;
        }
        if let Some(more @ 1..) = others.len().checked_sub(PRINTED_MAX) {
            writeln!(f, "  names a key    and {more} more")?;
        }
        self.limits.iter().try_for_each(|limit| writeln!(f, "  not proven     {limit}"))
    }
}
