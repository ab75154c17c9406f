//! `millgate audit index`: builds the index of a log.

use crate::out::say;
use crate::store::{Located, StoreArgs};
use anyhow::Context as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct IndexArgs {
    #[command(flatten)]
    store: StoreArgs,
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
    let Located { store, index, .. } = args.store.locate()?;
    let index =
        index.context("the index lies in the broker's own directory: name its configuration with `--config FILE`")?;
    let indexed = audit::index::build(&store, &index, args.anew, progress)
        .await
        .with_context(|| format!("the log in `{store}` cannot be indexed"))?;
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
