//! `millgate audit summary`: counting instead of listing.

use super::output::{Output, measure};
use super::{ask, encode_query, time};
use crate::client::Server;
use crate::table;
use anyhow::{Context as _, bail};
use audit::index::{By, Dimension, Summary};
use formats::Measure;
use model::{OrganisationId, Timestamp};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct SummaryArgs {
    #[command(flatten)]
    server: Server,
    /// A row for each of these, with commas between them: day, week, month, kind, organisation, principal, resource, product,
    /// agreement, action, purpose, decision, reason, policy, country
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = by)]
    by: Vec<By>,
    /// From this day on (UTC), as in 2026-11-22
    #[arg(long, value_name = "DAY", value_parser = time)]
    from: Option<Timestamp>,
    /// Before this day
    #[arg(long, value_name = "DAY", value_parser = time)]
    to: Option<Timestamp>,
    #[command(flatten)]
    only: Only,
    /// Only what was there for the first time since `--from`
    #[arg(long, requires = "from")]
    new: bool,
    /// At most this many rows
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Read a published directory instead; this reading is not recorded
    #[arg(long, value_name = "DIR", conflicts_with = "token_file")]
    offline: Option<PathBuf>,
    /// In a chart: decisions, ended, complete, rows or bytes
    #[arg(long, value_name = "WHAT", default_value = "decisions", value_parser = measure, help_heading = "Output")]
    measure: Measure,
    #[command(flatten)]
    output: Output,
}

/// What must be the case.
#[derive(Clone, Debug, Default, clap::Args)]
struct Only {
    /// Of one organisation
    #[arg(long, value_name = "ID")]
    organisation: Option<OrganisationId>,
    /// decision, audit_read or refused_login
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// `organisation/subject`, or the reference that stands in entries
    #[arg(long, value_name = "WHO")]
    principal: Option<String>,
    /// As it stands in entries, e.g. Signal/press-3.force
    #[arg(long, value_name = "WHAT")]
    resource: Option<String>,
    #[arg(long, value_name = "ID")]
    product: Option<String>,
    #[arg(long, value_name = "ID")]
    agreement: Option<String>,
    /// read, readSeries, …
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    #[arg(long, value_name = "ID")]
    purpose: Option<String>,
    #[arg(long, value_parser = ["allow", "deny"])]
    decision: Option<String>,
    /// A reason code, alone or among others
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// A policy that determined the decision
    #[arg(long, value_name = "ID")]
    policy: Option<String>,
    /// Where requests came from, as in DE
    #[arg(long, value_name = "CC")]
    country: Option<String>,
}

fn by(text: &str) -> Result<By, String> {
    let all: Vec<&str> = By::all().map(By::as_str).collect();
    By::parse(text).ok_or_else(|| format!("there are {}", all.join(", ")))
}

impl Only {
    fn pairs(&self) -> Vec<(Dimension, &String)> {
        let all = [
            (Dimension::Kind, &self.kind),
            (Dimension::Principal, &self.principal),
            (Dimension::Resource, &self.resource),
            (Dimension::Product, &self.product),
            (Dimension::Agreement, &self.agreement),
            (Dimension::Action, &self.action),
            (Dimension::Purpose, &self.purpose),
            (Dimension::Decision, &self.decision),
            (Dimension::Reason, &self.reason),
            (Dimension::Policy, &self.policy),
            (Dimension::Country, &self.country),
        ];
        all.into_iter().filter_map(|(dimension, value)| Some((dimension, value.as_ref()?))).collect()
    }
}

pub async fn run(args: &SummaryArgs) -> anyhow::Result<ExitCode> {
    let only = args.only.pairs().into_iter().map(|(dimension, value)| (dimension, value.clone())).collect();
    let summary = Summary {
        by: args.by.clone(),
        from: args.from,
        to: args.to,
        organisation: args.only.organisation.clone(),
        only,
        new: args.new,
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
    };
    if summary.days().is_none() {
        bail!("a summary counts whole days (UTC): write `--from` and `--to` as in 2026-11-22");
    }
    let table = match &args.offline {
        Some(directory) => {
            eprintln!(
                "reading published files: nobody records this reading, and persons stand in it by reference only"
            );
            let table = audit::query::summary_offline(directory, &summary)
                .with_context(|| format!("`{}` cannot be summed up", directory.display()))?;
            table.to_json()
        }
        None => ask(&args.server, &target(&summary)).await?,
    };
    show(&table, &args.output, (args.measure, None))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn target(summary: &Summary) -> String {
    let by: Vec<&str> = summary.by.iter().map(|by| by.as_str()).collect();
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
    add("by", (!by.is_empty()).then(|| by.join(",")));
    add("from", summary.from.map(Timestamp::to_rfc3339));
    add("to", summary.to.map(Timestamp::to_rfc3339));
    add("organisation", summary.organisation.as_ref().map(ToString::to_string));
    add("new", summary.new.then(|| String::from("true")));
    add("limit", Some(summary.limit.to_string()));
    for (dimension, value) in &summary.only {
        add(dimension.as_str(), Some(value.clone()));
    }
    format!("/v1/audit/summary?{}", encode_query(&pairs))
}

pub(super) fn show(answer: &Value, output: &Output, (measure, title): (Measure, Option<&str>)) -> anyhow::Result<()> {
    output.summary(answer, measure, title)?;
    super::output::tell_pruned(answer.get("pruned"));
    if !output.is_for_a_program() {
        let size = answer.get("size").and_then(Value::as_u64).unwrap_or_default();
        let rows = answer.get("rows").and_then(Value::as_array).map_or(0, Vec::len);
        eprintln!("{rows} rows, from {size} entries");
    }
    if let Some(left_out) = answer.get("left_out").and_then(Value::as_u64).filter(|_| !output.json) {
        eprintln!("{left_out} more rows are not shown: take a larger `--limit`, or ask for less at once");
    }
    Ok(())
}

pub(super) fn table(answer: &Value) -> String {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
    };
    let by = texts(answer.get("by"));
    let measures = ["decisions", "ended", "complete", "rows", "bytes"];
    let header: Vec<&str> = by.iter().map(String::as_str).chain(measures).chain(["first"]).collect();
    let rows: Vec<Vec<String>> = answer
        .get("rows")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|row| {
            let group = texts(row.get("group")).into_iter().map(|text| if text.is_empty() { "-".into() } else { text });
            let numbers = measures.map(|name| row.get(name).map(ToString::to_string).unwrap_or_default());
            let first = row.get("first_time").and_then(Value::as_str).unwrap_or_default().to_owned();
            group.chain(numbers).chain([first]).collect()
        })
        .collect();
    table::render(&header, &rows)
}
