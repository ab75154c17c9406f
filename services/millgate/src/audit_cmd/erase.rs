//! `millgate audit erase`: values of a person, out of the store of a running broker's log, under four eyes.

use crate::client::Server;
use crate::out::say;
use anyhow::{Context as _, bail};
use clap::Args;
use http_body_util::BodyExt as _;
use model::RequestId;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Args)]
#[group(id = "step", required = true, multiple = false, args = ["subject", "approve"])]
pub struct EraseArgs {
    #[command(flatten)]
    server: Server,
    /// Ask for the erasure of this person, as `organisation/subject`
    #[arg(long, value_name = "WHO", requires = "basis")]
    subject: Option<String>,
    /// On which grounds. It stands in the log for ever: name nobody
    #[arg(long, value_name = "TEXT", conflicts_with = "approve")]
    basis: Option<String>,
    /// Approve what somebody else has asked for, and carry it out
    #[arg(long, value_name = "ID")]
    approve: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &EraseArgs) -> anyhow::Result<ExitCode> {
    let answer = match (&args.subject, &args.approve) {
        (Some(subject), _) => {
            let body = json!({ "subject": subject, "basis": args.basis }).to_string();
            args.server.post("/v1/audit/erasures", body).await?
        }
        (None, Some(id)) => {
            if RequestId::parse(id).is_none() {
                bail!("`{id}` is no id of a request for an erasure");
            }
            args.server.post(&format!("/v1/audit/erasures/{id}/approval"), "").await?
        }
        (None, None) => bail!("say whom to erase, with `--subject`, or what to approve, with `--approve`"),
    };
    let body = answer.into_body().collect().await.context("the answer broke off")?;
    let said: Value = serde_json::from_slice(&body.to_bytes()).context("the broker's answer is not JSON")?;
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| said.get(name).and_then(Value::as_u64).unwrap_or_default();
    let is_wiped = args.subject.is_some() || said.get("wiped").and_then(Value::as_bool) == Some(true);
    if args.json {
        say(&said);
    } else if args.subject.is_some() {
        say(format_args!("{}: asked for in entry {}", text("id"), number("index")));
        eprintln!(
            "somebody else approves it until {}: millgate audit erase --approve {}",
            text("open_until"),
            text("id")
        );
    } else {
        let entries = said.get("entries").and_then(Value::as_array).into_iter().flatten();
        let entries: Vec<String> = entries.map(ToString::to_string).collect();
        let (count, named) = (number("count"), number("named"));
        say(format_args!(
            "values behind {count} entries are erased, under entry {}; {named} of them are others' that named the person",
            entries.join(", ")
        ));
        if number("held") > 0 {
            eprintln!(
                "values behind {} entries stay, because somebody takes part in them who is on hold; ask again when no hold does",
                number("held")
            );
        }
    }
    if !is_wiped {
        eprintln!(
            "older copies are still in the database's own files: in SQLite because somebody reads them, until the next erasure \
             or the broker's end; in PostgreSQL until the server has vacuumed them, and in its WAL and backups"
        );
    }
    Ok(ExitCode::SUCCESS)
}
