//! `millgate policy check`: everything that keeps a policy set from being used.

use super::Chosen;
use crate::out::say;
use crate::serve::folders;
use broker::upstream::Upstreams;
use broker::{Parts, World, cases};
use clap::Args;
use registry::Problem;
use runtime::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub(super) chosen: Chosen,
    /// Folders of cases that must pass; those of the configuration if left out
    #[arg(long, value_name = "DIR")]
    pub(super) cases: Vec<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let (problems, counts) = match examine(args) {
        Ok(counts) => (Vec::new(), counts),
        Err(problems) => (problems, Counts::default()),
    };
    let good = problems.is_empty();
    if args.json {
        say(serde_json::json!({ "ok": good, "problems": problems, "counts": counts }));
    } else {
        problems.iter().for_each(say);
        match problems.len() {
            0 => say(format_args!("fine: {} policies, {} cases pass", counts.policies, counts.cases)),
            1 => say("1 problem"),
            n => say(format_args!("{n} problems")),
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Counts {
    policies: usize,
    cases: usize,
}

/// What the gates say, in the order in which a broker comes to them.
pub(super) fn examine(args: &CheckArgs) -> Result<Counts, Vec<String>> {
    let config = Config::load(&args.chosen.config).map_err(|problems| texts(&problems))?;
    let folders = args.chosen.folders(folders(&config));
    let parts = folders.load().map_err(|problems| texts(&problems))?;
    let found = if args.cases.is_empty() { &config.folders.cases } else { &args.cases };
    gates(&parts, found).map_err(|problems| texts(&problems))
}

/// The set fits the plant, and its cases pass.
fn gates(parts: &Parts, folders: &[PathBuf]) -> Result<Counts, Vec<Problem>> {
    let world = World::join(parts, 0, Upstreams::new())?;
    let failing = cases::failing(&world.snapshot, folders);
    if !failing.is_empty() {
        return Err(failing);
    }
    Ok(Counts { policies: parts.policies.len(), cases: cases::load(folders)?.len() })
}

fn texts<T: ToString>(problems: &[T]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
