//! `millgate policy …`: what a policy set decides, before it decides anything.

mod junit;
pub mod replay;
mod shadow;
#[cfg(test)]
mod tests;

use crate::out::say;
use crate::serve::folders;
use anyhow::{Context as _, bail};
use broker::World;
use broker::upstream::Upstreams;
use clap::{Args, Subcommand};
use model::{Clock as _, Timestamp};
use pdp::cases::{Case, Expected, coverage};
use runtime::clock::SystemClock;
use runtime::config::Config;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask the questions of a folder of cases, and compare the answers with those that they expect
    #[command(after_help = "Examples:\n  \
        millgate policy test --config millgate.toml --cases cases\n  \
        millgate policy test --config millgate.toml --cases cases --at 2026-11-22T08:00:00Z --junit report.xml\n\n\
        A file of cases is a JSON list; policies/README.md has the form.\n\
        Exit status: 0 all as expected; 1 some are not; 2 usage, configuration or a case that cannot be asked.")]
    Test(TestArgs),
    /// Decide recorded decisions again: by the policies of their time, and by a candidate
    #[command(after_help = "Examples:\n  \
        millgate policy replay --url https://broker:8444 --token-file me.jwt --since 7d\n  \
        millgate policy replay --url https://broker:8444 --token-file me.jwt --since 7d --candidate policies/next\n  \
        millgate policy replay --offline /var/lib/millgate/audit --since 2026-11-01T00:00:00Z --candidate policies/next --json\n\n\
        Exit status: 0 every decision as recorded, and nobody's would change; 1 some are not, or would; 2 usage, \
        configuration, or a candidate that cannot be used.")]
    Replay(replay::ReplayArgs),
    /// What the policies that are tried beside those in use would have decided otherwise
    #[command(after_help = "Examples:\n  \
        millgate policy shadow --url https://broker:8444 --token-file me.jwt --since 2d\n  \
        millgate policy shadow --offline /mnt/copy/of/published --json\n\n\
        Exit status: 0 no differences; 1 some; 2 usage or configuration.")]
    Shadow(shadow::ShadowArgs),
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The configuration file; catalog, registry and policies are those of its folders
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// Folder with the cases: all of its *.json
    #[arg(long, value_name = "DIR")]
    cases: PathBuf,
    /// The time of cases that do not say one, as in 2026-11-22T08:00:00Z; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// Also write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| String::from("write it as in 2026-11-22T08:00:00Z"))
}

/// What came of all cases.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    cases: Vec<Tried>,
    /// How many cases each policy determines.
    coverage: BTreeMap<String, usize>,
}

/// What came of one case.
#[derive(Debug, Serialize)]
struct Tried {
    file: String,
    title: String,
    ok: bool,
    expected: Expected,
    got: Expected,
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test(args) => run_cases(&args),
        Command::Replay(args) => replay::run(args).await,
        Command::Shadow(args) => shadow::run(args).await,
    }
}

fn run_cases(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let report = test(args)?;
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::report(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(if args.json { serde_json::to_string(&report)? } else { text(&report) });
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn test(args: &TestArgs) -> anyhow::Result<Report> {
    let lines = |problems: Vec<String>| anyhow::anyhow!("{}", problems.join("\n"));
    let config = Config::load(&args.config).map_err(|p| lines(p.iter().map(ToString::to_string).collect()))?;
    let parts = folders(&config).load().map_err(|p| lines(p.iter().map(ToString::to_string).collect()))?;
    let world = World::join(&parts, 1, Upstreams::new());
    let world = world.map_err(|p| lines(p.iter().map(ToString::to_string).collect()))?;
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let mut tried = Vec::new();
    for (file, case) in cases(&args.cases)? {
        let got = case.decide(&world.snapshot, now).with_context(|| format!("{file}: `{}`", case.title))?;
        tried.push(Tried { ok: got == case.expect, file, title: case.title, expected: case.expect, got });
    }
    let coverage = coverage(&world.policies, tried.iter().map(|t| &t.got));
    Ok(Report { ok: tried.iter().all(|t| t.ok), cases: tried, coverage })
}

/// The cases of a folder, in the order of files and of their lists.
fn cases(folder: &Path) -> anyhow::Result<Vec<(String, Case)>> {
    let unreadable = || format!("cannot read the folder of cases {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        files.extend(path.extension().is_some_and(|end| end == "json").then_some(path));
    }
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        let cases = Case::read(&text).with_context(|| format!("{file} is no list of cases"))?;
        all.extend(cases.into_iter().map(|case| (file.clone(), case)));
    }
    if all.is_empty() {
        bail!("there is no case in {}: a test of nothing would pass whatever the policies say", folder.display());
    }
    Ok(all)
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for tried in report.cases.iter().filter(|t| !t.ok) {
        lines.push(format!("{}: {}", tried.file, tried.title));
        lines.extend(differences(&tried.expected, &tried.got).map(|line| format!("  {line}")));
    }
    let failed = report.cases.iter().filter(|t| !t.ok).count();
    let never: Vec<&str> = report.coverage.iter().filter(|(_, n)| **n == 0).map(|(id, _)| id.as_str()).collect();
    if !never.is_empty() {
        lines.push(format!("no case is determined by {}", never.join(", ")));
    }
    let covered = report.coverage.len() - never.len();
    lines.push(format!(
        "{} passed, {failed} failed; {covered} of {} policies determine a case",
        report.cases.len() - failed,
        report.coverage.len()
    ));
    lines.join("\n")
}

/// Each member that is not as expected.
fn differences(expected: &Expected, got: &Expected) -> impl Iterator<Item = String> {
    let list = |items: &[String]| if items.is_empty() { String::from("none") } else { items.join(", ") };
    let of = |e: &Expected| {
        [
            ("decision", e.decision.clone()),
            ("reasons", list(&e.reasons)),
            ("policies", list(&e.policies)),
            ("agreement", e.agreement.clone().unwrap_or_else(|| String::from("none"))),
            ("classes_hidden", list(&e.classes_hidden)),
            ("records_hidden", e.records_hidden.to_string()),
        ]
    };
    let pairs = of(expected).into_iter().zip(of(got));
    pairs.filter(|((_, a), (_, b))| a != b).map(|((name, a), (_, b))| format!("{name}: expected {a}; got {b}"))
}
