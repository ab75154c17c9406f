//! `millgate audit quarantine`: what a quarantine rests on, and its end by an operator's word where nobody signed anything.
//!
//! The broker is stopped. What is written is a file beside the mark: the next start asks everybody again, records the word as
//! an entry of the log, and serves; or stays in quarantine, where somebody contradicts still.

use crate::out::say;
use crate::quarantine::{Lift, Mark};
use anyhow::{Context as _, ensure};
use audit::incarnation::Standstill;
use clap::Args;
use model::Clock as _;
use runtime::clock::SystemClock;
use runtime::config::Config;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct QuarantineArgs {
    /// The configuration that the broker is started with
    #[arg(long, value_name = "FILE", default_value = "millgate.toml")]
    config: PathBuf,
    /// End it at the next start, if it rests on nothing that the log's own key has signed
    #[arg(long, requires = "reason")]
    lift: bool,
    /// Why, in the log for ever. Name no persons
    #[arg(long, value_name = "TEXT", requires = "lift")]
    reason: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// The reason stands in an entry.
const REASON_CHARS_MAX: usize = 2_000;

pub(super) fn run(args: &QuarantineArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("`{}` cannot be used\n{}", args.config.display(), text.join("\n"))
    })?;
    let audit = &config.audit;
    let reason = args.reason.as_deref().map(str::trim);
    let is_line =
        |text: &str| (1..=REASON_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    ensure!(reason.is_none_or(is_line), "`--reason` takes one line of 1 to {REASON_CHARS_MAX} characters");
    let Some(mark) = Mark::read(audit)? else {
        let why = format!("the log `{}` is not in quarantine", audit.origin);
        say(if args.json { serde_json::json!({ "quarantined": false }).to_string() } else { why });
        // Who wants to end something has mistaken something.
        return Ok(ExitCode::from(u8::from(args.lift)));
    };
    let signed: Vec<String> = mark.signed().map(ToString::to_string).collect();
    let is_lifted = match reason.filter(|_| signed.is_empty()) {
        Some(reason) => {
            // A log in a database has no lock here; its broker reads the file when it starts.
            let standstill = match audit.store {
                None => Some(Standstill::of(&audit.directory).context("stop the broker first")?),
                Some(_) => None,
            };
            Lift::put(audit, mark.clone(), reason, SystemClock.now())?;
            drop(standstill);
            true
        }
        None => Lift::of(audit, &mark).is_some(),
    };
    report(args, &mark, &signed, is_lifted);
    Ok(if args.lift && is_lifted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn report(args: &QuarantineArgs, mark: &Mark, signed: &[String], is_lifted: bool) {
    if args.json {
        let report = serde_json::json!({
            "quarantined": true, "origin": mark.origin, "since": mark.since, "contradictions": mark.contradictions,
            "can_be_lifted": signed.is_empty(), "lifted_at_next_start": is_lifted,
        });
        return say(report);
    }
    let mut lines = vec![format!("The log `{}` is in quarantine since {}:", mark.origin, mark.since)];
    lines.extend(mark.contradictions.iter().map(|one| {
        format!(
            "  {one}{}",
            if one.checkpoint.is_some() { " (signed by the log's own key)" } else { " (nobody signed that)" }
        )
    }));
    lines.push(String::from(if is_lifted {
        "It ends with the next start of the broker, which records your reason, unless somebody contradicts still: set the witness \
         right first, or take it out of the trust policy."
    } else if signed.is_empty() {
        "Nobody signed what it rests on. If you know that it is wrong, stop the broker and end it: `millgate audit quarantine --lift \
         --reason TEXT`. If it may be right, look for the newer copy first: what is lifted cannot be taken back."
    } else {
        "What the log's own key has signed is evidence, and no word takes it back. Bring the newer copy back, or begin another log: \
         `millgate audit incarnate`."
    }));
    say(lines.join("\n"));
}
