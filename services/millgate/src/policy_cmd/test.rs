//! `millgate policy test`: cases and what came of them.

use super::{Chosen, junit, time};
use crate::out::say;
use anyhow::{Context as _, bail};
use broker::cases::{self, Filed};
use clap::Args;
use model::{Clock as _, Timestamp};
use pdp::cases::{Expected, coverage};
use pdp::explain::{ConditionCoverage, Tried};
use runtime::clock::SystemClock;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    pub(super) chosen: Chosen,
    /// Folders with the cases, all of their *.json; those of the configuration if left out
    #[arg(long, value_name = "DIR")]
    pub(super) cases: Vec<PathBuf>,
    /// The time of cases that do not say one, as in 2026-11-22T08:00:00Z; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<Timestamp>,
    /// Also write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// What came of all cases.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) cases: Vec<Outcome>,
    /// How many cases each policy determines.
    pub(super) coverage: BTreeMap<String, usize>,
    /// How often each condition of each policy is the one that keeps it from applying.
    conditions: Vec<Tried>,
}

/// What came of one case.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) file: String,
    pub(super) title: String,
    pub(super) ok: bool,
    pub(super) expected: Expected,
    pub(super) got: Expected,
}

/// Conditions that are named one by one.
const IDLE_MAX: usize = 20;

pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let report = test(args)?;
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::report(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(if args.json { serde_json::to_string(&report)? } else { text(&report) });
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

pub(super) fn test(args: &TestArgs) -> anyhow::Result<Report> {
    let config = args.chosen.config()?;
    let world = args.chosen.world(&config)?;
    let folders = if args.cases.is_empty() { &config.folders.cases } else { &args.cases };
    if folders.is_empty() {
        bail!("no cases: name a folder with `--cases`, or `cases` in `[folders]` of the configuration");
    }
    let filed = cases::load(folders).map_err(|problems| super::lines(&problems))?;
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let mut tried = Vec::new();
    let mut conditions = ConditionCoverage::new(&world.snapshot);
    for Filed { file, case, .. } in filed {
        let file = file.display().to_string();
        let cannot = || format!("{file}: `{}`", case.title);
        let got = case.decide(&world.snapshot, now).with_context(cannot)?;
        let request = case.request.request(&world.parties, now).with_context(cannot)?;
        conditions.count(&request).map_err(anyhow::Error::msg).with_context(cannot)?;
        tried.push(Outcome { ok: got == case.expect, file, title: case.title, expected: case.expect, got });
    }
    let coverage = coverage(&world.policies, tried.iter().map(|t| &t.got));
    let conditions = conditions.finish();
    Ok(Report { ok: tried.iter().all(|t| t.ok), cases: tried, coverage, conditions })
}

pub(super) fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for tried in report.cases.iter().filter(|t| !t.ok) {
        lines.push(format!("{}: {}", tried.file, tried.title));
        lines.extend(tried.expected.differences(&tried.got).map(|line| format!("  {line}")));
    }
    let failed = report.cases.iter().filter(|t| !t.ok).count();
    let never: Vec<&str> = report.coverage.iter().filter(|(_, n)| **n == 0).map(|(id, _)| id.as_str()).collect();
    if !never.is_empty() {
        lines.push(format!("no case is determined by {}", never.join(", ")));
    }
    // A policy that no case determines has been named already.
    let idle = report.conditions.iter().filter(|tried| tried.decisive == 0 && !never.contains(&tried.policy.as_str()));
    let idle: Vec<&Tried> = idle.collect();
    if !idle.is_empty() {
        lines.push(String::from("no case is decided by one of these conditions:"));
        let words = |tried: &&Tried| format!("  {}:{}: {}: {}", tried.file, tried.line, tried.policy, tried.condition);
        lines.extend(idle.iter().take(IDLE_MAX).map(words));
        if idle.len() > IDLE_MAX {
            lines.push(format!("  and {} more; `--json` has them all", idle.len() - IDLE_MAX));
        }
    }
    let covered = report.coverage.len() - never.len();
    lines.push(format!(
        "{} passed, {failed} failed; {covered} of {} policies determine a case, {} of {} conditions decide one",
        report.cases.len() - failed,
        report.coverage.len(),
        report.conditions.iter().filter(|tried| tried.decisive > 0).count(),
        report.conditions.len()
    ));
    lines.join("\n")
}
