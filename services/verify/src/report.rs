//! What a check has found, for people and for scripts.

use crate::incarnation::Incarnation;
use crate::keys::Keys;
use crate::pruned::Pruned;
use crate::verdict::{Point, Results};
use model::Timestamp;
use serde_json::{Value, json};
use std::fmt;

/// Something that must not be in a log that can be trusted, or (as a warning) something to look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: Point,
    pub what: String,
    /// Indexes of the first and the last entry concerned, as narrow as can be told; `None` when no entry is.
    pub entries: Option<(u64, u64)>,
}

/// The result of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub origin: String,
    /// Entries that the published checkpoint counts.
    pub size: u64,
    /// The root that the published checkpoint states, in base64.
    pub root: String,
    /// Entries whose bytes were read and found to be what was signed for.
    pub entries: u64,
    /// Kept checkpoints whose signature verified.
    pub checkpoints: u64,
    pub bundles: u64,
    pub tiles: u64,
    pub organisations: u64,
    /// Allowed exchanges that have no outcome yet.
    pub open: u64,
    /// The signed note of that checkpoint, as it was read once and verified.
    pub note: String,
    /// Witnesses of the trust policy that cosigned the published checkpoint, and when, in seconds since 1970.
    pub cosigned: Vec<(String, u64)>,
    /// The log that this one takes the place of, as its operator says.
    pub incarnation: Option<Incarnation>,
    /// Entries that are not kept any longer, as one of them says.
    pub pruned: Option<Pruned>,
    /// What its entries say of its keys.
    pub keys: Keys,
    /// What its checks have come to, beside what was found.
    pub verdict: Results,
    pub findings: Vec<Finding>,
    /// Findings beyond those that are listed.
    pub findings_left_off: u64,
    pub warnings: Vec<Finding>,
    pub warnings_left_off: u64,
}

impl Report {
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// One object; `first` and `last` are absent where no entry is concerned.
    pub fn to_json(&self) -> Value {
        json!({
            "ok": self.is_ok(),
            "checks": self.verdict.to_json(&Point::OF_LOG, &self.findings),
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "entries": self.entries,
            "checkpoints": self.checkpoints,
            "bundles": self.bundles,
            "tiles": self.tiles,
            "organisations": self.organisations,
            "open": self.open,
            "cosigned": cosigned_json(&self.cosigned),
            "pruned": self.pruned.as_ref().map(Pruned::to_json),
            "keys": self.keys.to_json(),
            "incarnation": self.incarnation.as_ref().map(Incarnation::to_json),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "findings_left_off": self.findings_left_off,
            "warnings": self.warnings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "warnings_left_off": self.warnings_left_off,
        })
    }
}

impl Finding {
    pub(crate) fn to_json(&self) -> Value {
        let check = self.check.code();
        match self.entries {
            Some((first, last)) => json!({ "check": check, "what": self.what, "first": first, "last": last }),
            None => json!({ "check": check, "what": self.what }),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            Some((first, last)) if first == last => write!(f, "entry {first}: {}", self.what),
            Some((first, last)) => write!(f, "entries {first} to {last}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Text from elsewhere on its way to a terminal.
pub fn shown(text: &str) -> String {
    crate::findings::printable(text)
}

/// A message of ours, with what it cites from elsewhere.
pub fn said(text: &str) -> String {
    crate::findings::worded(text)
}

/// One line of JSON, in which nothing of what it cites steers the terminal that it is shown on.
pub fn line(json: &Value) -> String {
    crate::findings::escaped(&json.to_string())
}

/// `1 entry`, `2 entries`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.findings.len() as u64 + self.findings_left_off;
        let verdict = if self.is_ok() { "fine".to_owned() } else { count(found, "finding", "findings") };
        writeln!(f, "log {}: {verdict}", self.origin)?;
        self.verdict.lines(f, &Point::OF_LOG, &self.findings)?;
        let Self { findings, findings_left_off, warnings, warnings_left_off, .. } = self;
        let (findings_left_off, warnings_left_off) = (*findings_left_off, *warnings_left_off);
        Found { findings, findings_left_off, warnings, warnings_left_off }.lines(f)?;
        writeln!(f, "  entries        {} of {}", self.entries, self.size)?;
        self.pruned.as_ref().map_or(Ok(()), |pruned| pruned.fmt(f))?;
        writeln!(f, "  root           {}", self.root)?;
        writeln!(f, "  checkpoints    {} kept", self.checkpoints)?;
        writeln!(
            f,
            "  files          {}, {}",
            count(self.bundles, "bundle", "bundles"),
            count(self.tiles, "tile", "tiles")
        )?;
        writeln!(f, "  organisations  {}", self.organisations)?;
        writeln!(f, "  open           {}", count(self.open, "exchange without outcome", "exchanges without outcome"))?;
        cosigned_lines(f, &self.cosigned)?;
        self.keys.fmt(f)?;
        self.incarnation.as_ref().map_or(Ok(()), |incarnation| incarnation.fmt(f))
    }
}

pub(crate) fn cosigned_json(cosigned: &[(String, u64)]) -> Value {
    let time = |seconds: u64| Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000)).to_rfc3339();
    cosigned.iter().map(|(name, seconds)| json!({ "witness": name, "time": time(*seconds) })).collect()
}

/// The log's keys that signed a checkpoint, which may have had several.
pub(crate) fn signed_lines(f: &mut fmt::Formatter<'_>, keys: &[String]) -> fmt::Result {
    keys.iter().try_for_each(|key| writeln!(f, "  signed         by {key}"))
}

pub(crate) fn cosigned_lines(f: &mut fmt::Formatter<'_>, cosigned: &[(String, u64)]) -> fmt::Result {
    cosigned.iter().try_for_each(|(name, seconds)| {
        let time = Timestamp(i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
        writeln!(f, "  cosigned       by {}, {}", crate::findings::printable(name), time.to_rfc3339())
    })
}

/// What was found, below the check that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'r> {
    pub findings: &'r [Finding],
    pub findings_left_off: u64,
    pub warnings: &'r [Finding],
    pub warnings_left_off: u64,
}

impl Found<'_> {
    pub(crate) fn lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in Point::ALL {
            let findings = self.findings.iter().map(|finding| ("", finding));
            let warnings = self.warnings.iter().map(|warning| ("warning: ", warning));
            let mut of = findings.chain(warnings).filter(|(_, one)| one.check == check).peekable();
            if of.peek().is_some() {
                writeln!(f, "  {}:", check.code())?;
            }
            of.try_for_each(|(prefix, one)| writeln!(f, "    {prefix}{one}"))?;
        }
        for (prefix, left_off) in [("", self.findings_left_off), ("warning: ", self.warnings_left_off)] {
            if left_off > 0 {
                writeln!(f, "  {prefix}{left_off} more are not listed")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let finding = |check, what: &str, entries| Finding { check, what: what.into(), entries };
        let nobody = Results::only(&Point::OF_LOG, &Point::OF_LOG[2..], "no policy was given");
        Report {
            origin: "plant.example/log".into(),
            size: 600,
            root: "cm9vdA==".into(),
            entries: 599,
            checkpoints: 2,
            bundles: 3,
            tiles: 1,
            organisations: 2,
            open: 1,
            verdict: nobody,
            findings: vec![
                finding(Point::Tree, "changed", Some((17, 17))),
                finding(Point::CheckpointSignature, "`checkpoint` is bad", None),
            ],
            findings_left_off: 3,
            warnings: vec![finding(Point::Clocks, "the clock went back", Some((4, 9)))],
            ..Report::default()
        }
    }

    #[test]
    fn people_read_the_verdict_first() {
        assert_eq!(
            report().to_string(),
            "log plant.example/log: 5 findings\n\
             \x20 checkpoint-signature    failed\n\
             \x20 cosignatures            not done: no policy was given\n\
             \x20 kept-checkpoints        passed\n\
             \x20 remembered-checkpoint   passed\n\
             \x20 entries-present         passed\n\
             \x20 entry-form              passed\n\
             \x20 tree                    failed\n\
             \x20 organisation-sequences  passed\n\
             \x20 organisation-summaries  passed\n\
             \x20 outcomes                passed\n\
             \x20 policies-in-use         passed\n\
             \x20 erasures                passed\n\
             \x20 pruning                 passed\n\
             \x20 keys                    passed\n\
             \x20 clocks                  passed\n\
             \x20 checkpoint-signature:\n\
             \x20   `checkpoint` is bad\n\
             \x20 tree:\n\
             \x20   entry 17: changed\n\
             \x20 clocks:\n\
             \x20   warning: entries 4 to 9: the clock went back\n\
             \x20 3 more are not listed\n\
             \x20 entries        599 of 600\n\
             \x20 root           cm9vdA==\n\
             \x20 checkpoints    2 kept\n\
             \x20 files          3 bundles, 1 tile\n\
             \x20 organisations  2\n\
             \x20 open           1 exchange without outcome\n"
        );
    }

    #[test]
    fn scripts_get_one_object() {
        let json = report().to_json();
        assert_eq!(json["ok"], false);
        assert_eq!(
            json["findings"],
            json!([
                { "check": "tree", "what": "changed", "first": 17, "last": 17 },
                { "check": "checkpoint-signature", "what": "`checkpoint` is bad" },
            ])
        );
        assert_eq!(json["checks"][0], json!({ "check": "checkpoint-signature", "result": "failed" }));
        assert_eq!(json["checks"][2], json!({ "check": "kept-checkpoints", "result": "passed" }));
        assert_eq!(json["warnings"][0]["last"], 9);
        assert_eq!(Report::default().to_json()["ok"], true);
    }
}
