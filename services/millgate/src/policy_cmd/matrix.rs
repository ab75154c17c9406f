//! `millgate policy matrix` and `diff`: what is decided for whom, and what another set changes in it.

use super::{Chosen, time};
use crate::out::say;
use clap::Args;
use model::{Clock as _, Timestamp};
use pdp::matrix::{Change, Matrix, Turn, lines};
use runtime::clock::SystemClock;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct MatrixArgs {
    #[command(flatten)]
    pub(super) chosen: Chosen,
    /// The moment, as in 2026-11-22T08:00:00Z; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<Timestamp>,
    /// One JSON object on standard output: a list of all cells
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &MatrixArgs) -> anyhow::Result<ExitCode> {
    let matrix = matrix(args)?;
    say(if args.json { serde_json::to_string(&matrix)? } else { matrix.to_string().trim_end().to_owned() });
    Ok(ExitCode::SUCCESS)
}

pub(super) fn matrix(args: &MatrixArgs) -> anyhow::Result<Matrix> {
    let world = args.chosen.world(&args.chosen.config()?)?;
    Ok(Matrix::of(&world.snapshot, args.at.unwrap_or_else(|| SystemClock.now())))
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The configuration file; catalog, registry and schema are those of its folders
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    pub(super) config: PathBuf,
    /// Folder of the policies as they are
    #[arg(value_name = "A")]
    pub(super) before: PathBuf,
    /// Folder of the policies as they would be
    #[arg(value_name = "B")]
    pub(super) after: PathBuf,
    /// A folder of policies that both sets have, such as the base policies; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) with: Vec<PathBuf>,
    /// The moment, as in 2026-11-22T08:00:00Z; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<Timestamp>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run_diff(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (changes, notes) = diff(args)?;
    if args.json {
        say(serde_json::json!({ "ok": changes.is_empty(), "changes": changes, "notes": notes }));
    } else {
        lines(&changes).iter().for_each(say);
        say(summary(&changes));
        notes.iter().for_each(|note| say(format!("note: {note}")));
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What changes, and what makes that a question.
pub(super) fn diff(args: &DiffArgs) -> anyhow::Result<(Vec<Change>, Vec<String>)> {
    let at = args.at.unwrap_or_else(|| SystemClock.now());
    let of = |folder: &PathBuf| {
        let policies = args.with.iter().chain([folder]).cloned().collect();
        let chosen = Chosen { config: args.config.clone(), policies };
        let world = chosen.world(&chosen.config()?)?;
        Ok::<_, anyhow::Error>(Matrix::of(&world.snapshot, at))
    };
    let (before, after) = (of(&args.before)?, of(&args.after)?);
    // A folder without the base policies permits nobody anything, and so changes nothing.
    let barren = [(&args.before, &before), (&args.after, &after)].into_iter().filter(|(_, m)| !m.permits_something());
    let notes = barren.map(|(folder, _)| {
        let folder = folder.display();
        format!("{folder} permits nobody anything; if it stands on other policies, name them: --with policies/base")
    });
    Ok((before.changes(&after), notes.collect()))
}

pub(super) fn summary(changes: &[Change]) -> String {
    if changes.is_empty() {
        return String::from("nothing changes for anybody");
    }
    let count = |turn: Turn| changes.iter().filter(|change| change.turn == turn).count();
    let (gains, losses, others) = (count(Turn::Gains), count(Turn::Loses), count(Turn::Differs));
    format!("{} cells change: {gains} gain, {losses} lose, {others} differ otherwise", changes.len())
}
