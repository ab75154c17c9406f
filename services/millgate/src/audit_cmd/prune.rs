//! `millgate audit prune`: what a pruning would do now, and what keeps it from doing more. It changes nothing: the broker alone
//! writes its log.

use crate::out::say;
use crate::{serve, store};
use anyhow::{Context as _, anyhow};
use audit::prune::preview;
use model::Clock as _;
use runtime::clock::SystemClock;
use runtime::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;
use tlog::TrustPolicy;

#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// The broker's configuration, whose policy and store are meant
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &PruneArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)
        .map_err(|p| anyhow!("{}", p.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let retention = serve::retention(&config.audit)?;
    let witnesses = config.audit.witnesses.as_ref().map(|file| {
        let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
        TrustPolicy::parse(&text).with_context(|| format!("`{}` is no trust policy", file.display()))
    });
    let witnesses = witnesses.transpose()?;
    let is_quorum = witnesses.map(|policy| move |note: &str| policy.is_met(&policy.cosigned(note)));
    let cosigned = is_quorum.as_ref().map(|is_quorum| is_quorum as &(dyn Fn(&str) -> bool + Send + Sync));
    let at = store::of(&config.audit)?;
    let published = &config.audit.publish_directory;
    let preview = preview(&at, &retention, SystemClock.now(), cosigned, published)
        .await
        .with_context(|| format!("the log in `{at}`"))?;
    if args.json {
        say(serde_json::to_string(&preview)?);
    } else {
        let gone = match preview.minimum {
            0 => String::from("all entries are there"),
            minimum => format!("entries before {minimum} are gone"),
        };
        let next = match preview.count {
            0 => String::from("none would go now"),
            count => format!("{count} more would go now, up to entry {}", preview.would_be - 1),
        };
        say(format_args!(
            "entries are kept for {} days, and go by whole months: those of before {}",
            preview.days, preview.cut_off
        ));
        say(format_args!("{gone}; {next}"));
        say(format_args!("entry {} is kept: {}", preview.held_back.index, preview.held_back.why));
        say(format_args!("policy {} {}", preview.policy_digest, preview.policy));
    }
    Ok(ExitCode::from(u8::from(preview.count > 0)))
}
