//! `millgate policy …`: what a policy set decides, before it decides anything.

mod check;
mod explain;
mod junit;
mod matrix;
pub mod replay;
mod shadow;
mod test;
#[cfg(test)]
mod tests;

use crate::serve::folders;
use broker::upstream::Upstreams;
use broker::{Folders, World};
use clap::{Args, Subcommand};
use model::Timestamp;
use runtime::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say everything that keeps a policy set from being used, its failing cases included
    #[command(after_help = "Examples:\n  \
        millgate policy check --config millgate.toml\n  \
        millgate policy check --config millgate.toml --policies base --policies changed --json\n\n\
        Exit status: 0 it would be used; 1 it would not, and why.")]
    Check(check::CheckArgs),
    /// Ask the questions of a folder of cases, and compare the answers with those that they expect
    #[command(after_help = "Examples:\n  \
        millgate policy test --config millgate.toml --cases cases\n  \
        millgate policy test --config millgate.toml --cases cases --at 2026-11-22T08:00:00Z --junit report.xml\n\n\
        A file of cases is a JSON list; policies/README.md has the form.\n\
        Exit status: 0 all as expected; 1 some are not; 2 usage, configuration or a case that cannot be asked.")]
    Test(test::TestArgs),
    /// Say what is decided for whom: every caller, everything that there is, every purpose
    #[command(after_help = "Example:\n  \
        millgate policy matrix --config millgate.toml --at 2026-11-22T08:00:00Z > matrix.txt\n\n\
        Callers, purposes and data that are treated alike stand together. Keep the text beside the policies, and let a \
        build compare it.")]
    Matrix(matrix::MatrixArgs),
    /// Say what another folder of policies changes: who gains, who loses, what and for which purpose
    #[command(after_help = "Example:\n  \
        millgate policy diff policies changed --config millgate.toml --with base\n\n\
        Both sets are asked at the same moment over the same catalog and registry.\n\
        Exit status: 0 nothing changes; 1 something does; 2 usage, configuration, or a set that cannot be used.")]
    Diff(matrix::DiffArgs),
    /// Say why a request is decided as it is: which policies, and which of their conditions
    #[command(after_help = "Examples:\n  \
        millgate policy explain --config millgate.toml --organisation acme --subject engineer-1 \\\n      \
          --resource Signal/press-3.force --purpose predictive-maintenance --resolution 1m --window 7d\n  \
        millgate policy explain 01a20522-59ec-7312-8079-6642e2582ffb --config millgate.toml \\\n      \
          --url https://broker:8444 --token-file auditor.jwt\n\n\
        A recorded request is asked again by the policies of now. What is printed is for the steward: it quotes policies.\n\
        Exit status: 0 permitted; 1 refused; 2 usage, configuration, or a request that cannot be asked.")]
    Explain(Box<explain::ExplainArgs>),
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

/// Whose plant, and which policies.
#[derive(Clone, Debug, Args)]
pub struct Chosen {
    /// The configuration file; catalog, registry and policies are those of its folders
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// A folder of policies in place of those of the configuration; may be repeated
    #[arg(long, value_name = "DIR")]
    policies: Vec<PathBuf>,
}

impl Chosen {
    fn config(&self) -> anyhow::Result<Config> {
        Config::load(&self.config).map_err(|problems| lines(&problems))
    }

    fn folders(&self, mut folders: Folders) -> Folders {
        if !self.policies.is_empty() {
            folders.policies.clone_from(&self.policies);
        }
        folders
    }

    fn world(&self, config: &Config) -> anyhow::Result<World> {
        let parts = self.folders(folders(config)).load().map_err(|problems| lines(&problems))?;
        World::join(&parts, 1, Upstreams::new()).map_err(|problems| lines(&problems))
    }
}

fn lines<T: ToString>(problems: &[T]) -> anyhow::Error {
    anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| String::from("write it as in 2026-11-22T08:00:00Z"))
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => Ok(check::run(&args)),
        Command::Test(args) => test::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Diff(args) => matrix::run_diff(&args),
        Command::Explain(args) => explain::run(*args).await.map_err(unusable),
        Command::Replay(args) => replay::run(args).await.map_err(unusable),
        Command::Shadow(args) => shadow::run(args).await.map_err(unusable),
    }
}

/// A log that may not be read says nothing of policies: a gate must not take it for a finding.
fn unusable(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<crate::client::Refused>() {
        Ok(refused) => anyhow::anyhow!("the log cannot be read: {refused}"),
        Err(error) => error,
    }
}
