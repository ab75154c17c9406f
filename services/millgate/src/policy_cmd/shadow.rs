//! `millgate policy shadow`: what the policies that are tried beside those in use would have decided otherwise.

use crate::client::Server;
use crate::out::say;
use crate::table;
use anyhow::Context as _;
use audit::query::{LIMIT_MAX, Query};
use clap::Args;
use http_body_util::BodyExt as _;
use model::entry::Kind;
use model::{Clock as _, Timestamp};
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ShadowArgs {
    #[command(flatten)]
    server: Server,
    /// The configuration file: without `--url`, its api listener is asked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Differences since then: how long ago, as in 7d, or a time as in 2026-11-22T08:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = super::replay::since)]
    since: super::replay::Since,
    /// Read a published directory instead; this reading is not recorded
    #[arg(long, value_name = "DIR", conflicts_with = "token_file")]
    offline: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Who, of which organisation, does what with which resource, and how it would change.
type Group = (String, String, String, String, String, String, String);

/// What the log says of a trial.
#[derive(Debug, Default)]
struct Seen {
    /// Each with how many there are and the request of the first.
    groups: BTreeMap<Group, (u64, String)>,
    /// Beyond what is recorded one by one, by direction.
    counted: BTreeMap<String, u64>,
    /// Digests of the sets that were tried, in order.
    sets: Vec<String>,
    refused: u64,
}

pub async fn run(args: ShadowArgs) -> anyhow::Result<ExitCode> {
    let from = args.since.time(SystemClock.now());
    let mut seen = Seen::default();
    let mut after = None;
    loop {
        let (entries, next) = match &args.offline {
            Some(directory) => offline(directory, from, after)?,
            None => online(&super::replay::server(&args.server, args.config.as_deref())?, from, after).await?,
        };
        entries.iter().for_each(|entry| seen.add(entry));
        after = next;
        if after.is_none() {
            break;
        }
    }
    say(if args.json { seen.json().to_string() } else { seen.text() });
    Ok(if seen.groups.is_empty() && seen.counted.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

type Page = (Vec<Value>, Option<u64>);

async fn online(server: &Server, from: Timestamp, after: Option<u64>) -> anyhow::Result<Page> {
    let from = from.to_rfc3339().replace(':', "%3A");
    let after = after.map(|index| format!("&after={index}")).unwrap_or_default();
    let target = format!("/v1/audit/entries?kind=policy&order=oldest&limit={LIMIT_MAX}&from={from}{after}");
    let body = server.get(&target).await?.into_body().collect().await.context("the answer broke off")?;
    let page: Value = serde_json::from_slice(&body.to_bytes()).context("the broker's answer is not JSON")?;
    let entries = page.get("entries").and_then(Value::as_array).into_iter().flatten();
    Ok((entries.filter_map(|found| found.get("entry").cloned()).collect(), page.get("next").and_then(Value::as_u64)))
}

fn offline(directory: &Path, from: Timestamp, after: Option<u64>) -> anyhow::Result<Page> {
    if after.is_none() {
        eprintln!("reading published files: nobody records this reading");
    }
    let (from, kind) = (Some(from), Some(Kind::Policy));
    let query = Query { from, kind, after, newest_first: false, limit: LIMIT_MAX, ..Query::default() };
    let page = audit::query::offline(directory, &query)
        .with_context(|| format!("`{}` cannot be read as a published log", directory.display()))?;
    Ok((page.entries.iter().filter_map(|found| serde_json::from_str(&found.entry).ok()).collect(), page.next))
}

impl Seen {
    fn add(&mut self, entry: &Value) {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match text("event").as_str() {
            "shadow_activated" => self.sets.push(text("digest")),
            "refused" if text("folder") == "shadow" => self.refused += 1,
            "shadow_differences" => {
                for (direction, n) in entry.get("counts").and_then(Value::as_object).into_iter().flatten() {
                    *self.counted.entry(direction.clone()).or_default() += n.as_u64().unwrap_or_default();
                }
            }
            "shadow_difference" => {
                let policies = list(entry, "policies").join(" ");
                let group = (
                    text("direction"),
                    text("of_organisation"),
                    text("principal"),
                    text("action"),
                    text("resource"),
                    what(entry),
                    policies,
                );
                self.groups.entry(group).or_insert_with(|| (0, text("request"))).0 += 1;
            }
            _ => {}
        }
    }

    fn json(&self) -> Value {
        let differences = self.groups.iter().map(|(group, (n, request))| {
            let (direction, organisation, principal, action, resource, what, policies) = group;
            json!({
                "direction": direction, "organisation": organisation, "principal": principal, "action": action,
                "resource": resource, "what": what, "policies": policies, "count": n, "request": request,
            })
        });
        json!({
            "differences": differences.collect::<Vec<_>>(),
            "counted": self.counted, "sets": self.sets, "refused": self.refused,
        })
    }

    fn text(&self) -> String {
        const COLUMNS: [&str; 9] =
            ["would", "organisation", "principal", "action", "resource", "what", "policies", "count", "such as"];
        let rows = self.groups.iter().map(|(group, (n, request))| {
            let (direction, organisation, principal, action, resource, what, policies) = group.clone();
            let principal = principal.chars().take(12).collect();
            vec![direction, organisation, principal, action, resource, what, policies, n.to_string(), request.clone()]
        });
        let rows: Vec<_> = rows.collect();
        let mut lines = if rows.is_empty() { Vec::new() } else { vec![table::render(&COLUMNS, &rows)] };
        lines.extend(self.counted.iter().map(|(direction, n)| format!("and {n} more: {direction}")));
        if self.refused > 0 {
            lines.push(format!("a shadow set was refused {} times; the broker's log says why", self.refused));
        }
        lines.push(match (self.sets.last(), rows.is_empty() && self.counted.is_empty()) {
            (None, true) => String::from("nothing was tried in this time, or nothing of it was recorded"),
            (None, false) => String::new(),
            (Some(set), true) => format!("no differences; the set that is tried is {set}"),
            (Some(set), false) => format!("the set that is tried is {set}"),
        });
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }
}

fn list<'v>(entry: &'v Value, name: &str) -> Vec<&'v str> {
    entry.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn what(entry: &Value) -> String {
    let gains = list(entry, "gains").into_iter().map(|what| format!("+ {what}"));
    let loses = list(entry, "loses").into_iter().map(|what| format!("- {what}"));
    let all: Vec<String> = gains.chain(loses).collect();
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    if all.is_empty() { format!("{} -> {}", text("said"), text("would_say")) } else { all.join("; ") }
}
