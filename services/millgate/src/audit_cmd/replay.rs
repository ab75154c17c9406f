//! `millgate audit replay`: an archive, verified and decided again with nothing but itself.

use crate::out::say;
use crate::policy_cmd::replay::{archived, described};
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use tlog::VerifierKey;
use verify::archive;

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The archive, as `millgate audit export` writes it
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// The log's public key, from somebody whom you believe
    #[arg(long, value_name = "VKEY")]
    key: String,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let key =
        VerifierKey::parse(args.key.trim()).map_err(|e| anyhow!("the key given with `--key` cannot be used: {e}"))?;
    let name = args.archive.display();
    let file = std::fs::File::open(&args.archive).with_context(|| format!("`{name}` cannot be read"))?;
    let report = archive::check(BufReader::new(file), &key, |_| {}).map_err(|e| anyhow!("`{name}` {e}"))?;
    if let Some(organisation) = &report.organisation {
        bail!(
            "`{name}` is an archive of {organisation} alone: it holds no policies and no entities, because they name others, and \
             so nothing can be decided again. `millgate-verify archive` checks all that it proves"
        );
    }
    // What the log has not signed proves nothing, however it is decided.
    if !report.is_ok() {
        say(if args.json {
            serde_json::json!({ "archive": report.to_json() }).to_string()
        } else {
            report.to_string()
        });
        return Ok(ExitCode::from(1));
    }
    let tree = report.tree.clone().unwrap_or_default();
    let tally = archived(&args.archive, report.entries, tree).await?;
    if tally.replayed == 0 {
        bail!(
            "`{name}` is genuine, and holds no decision that can be made again; a replay of nothing would pass whatever it says"
        );
    }
    let (text, counts) = described(&tally);
    if args.json {
        say(serde_json::json!({ "archive": report.to_json(), "replay": counts }));
    } else {
        say(format_args!("{}{text}", report));
    }
    Ok(if tally.findings_total == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
