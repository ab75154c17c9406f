//! `millgate audit index`: builds the index of a log.

use crate::out::say;
use anyhow::Context as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct IndexArgs {
    /// The log's own directory, which holds `log.db`
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// Begin anew instead of going on with what is there
    #[arg(long)]
    anew: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub async fn run(args: &IndexArgs) -> anyhow::Result<ExitCode> {
    let terminal = std::io::stderr().is_terminal();
    let progress = move |done: u64, total: u64| {
        if terminal {
            eprint!("\r{done} of {total} entries");
        }
    };
    let indexed = audit::index::build(&args.directory, args.anew, progress)
        .await
        .with_context(|| format!("the log in `{}` cannot be indexed", args.directory.display()))?;
    if terminal {
        eprintln!();
    }
    if args.json {
        say(serde_json::json!({ "indexed": indexed }));
    } else {
        say(format_args!("{indexed} entries are indexed; the latest are looked through with each question"));
    }
    Ok(ExitCode::SUCCESS)
}
