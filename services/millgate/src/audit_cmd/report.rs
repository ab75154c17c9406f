//! `millgate audit report`: questions that are asked again and again, by name.
//!
//! A saved question is a TOML file: what to ask, of which time, and what must be the case. Some come with the executable;
//! a folder of one's own adds to them and may replace them.

use super::output::{Forms, Output, measure};
use super::{Filter, ask, asked, summary, target, time};
use crate::client::Server;
use crate::out::say;
use crate::table;
use anyhow::{Context as _, bail};
use audit::index::{By, Dimension, ROWS_MAX, Summary};
use formats::Measure;
use include_dir::{Dir, include_dir};
use model::entry::Kind;
use model::{Clock as _, OrganisationId, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

static OURS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/audit_cmd/reports");

const DAY_MS: i64 = 86_400_000;
const LIMIT: usize = 100;

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Which; without it, which there are
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// A folder with more saved questions, NAME.toml each
    #[arg(long, env = "MILLGATE_REPORTS", value_name = "DIR")]
    reports: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
    /// What is said here replaces what the question says
    #[command(flatten)]
    filter: Filter,
    /// The moment, for a question about one; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    /// At most this many rows or entries
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: Option<u64>,
    /// In a chart: decisions, ended, complete, rows or bytes
    #[arg(long, value_name = "WHAT", default_value = "decisions", value_parser = measure, help_heading = "Output")]
    measure: Measure,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    forms: Forms,
}

/// A saved question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    title: String,
    #[serde(default)]
    about: String,
    question: Form,
    /// Rows of a summary.
    #[serde(default)]
    by: Vec<String>,
    #[serde(default)]
    new: bool,
    /// About a moment.
    #[serde(default)]
    open: bool,
    /// So long until now, in whole days: `30d`.
    last: Option<String>,
    limit: Option<usize>,
    /// What whoever asks must add.
    #[serde(default)]
    needs: Vec<String>,
    organisation: Option<String>,
    kind: Option<String>,
    principal: Option<String>,
    resource: Option<String>,
    product: Option<String>,
    agreement: Option<String>,
    action: Option<String>,
    purpose: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    policy: Option<String>,
    ended: Option<String>,
    country: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Entries,
    Summary,
}

pub async fn run(args: ReportArgs) -> anyhow::Result<ExitCode> {
    let saved = all(args.reports.as_deref())?;
    let Some(name) = &args.name else {
        list(&saved, args.output.json);
        return Ok(ExitCode::SUCCESS);
    };
    let Some(question) = saved.get(name) else {
        let near = saved.keys().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
        let hint = near.filter(|near| strsim::jaro(near, name) > 0.7).map(|near| format!(" did you mean `{near}`?"));
        bail!("there is no report `{name}`;{} `millgate audit report` lists them", hint.unwrap_or_default());
    };
    let filter = question.filter(&args.filter).with_context(|| format!("the report `{name}`"))?;
    let pairs = filter.pairs();
    for needed in &question.needs {
        if !pairs.iter().any(|(known, _)| known == needed) {
            bail!("the report `{name}` needs `--{needed}`");
        }
    }
    let limit = args.limit.and_then(|limit| usize::try_from(limit).ok()).or(question.limit).unwrap_or(LIMIT);
    if !args.output.is_for_a_program() {
        eprintln!("{}", question.title);
    }
    match question.question {
        Form::Summary => {
            let table = ask(&args.server, &summary::target(&question.summary(&filter, limit)?)).await?;
            summary::show(&table, &args.output, (args.measure, Some(&question.title)))?;
        }
        Form::Entries => {
            let mut pairs = pairs;
            if question.open {
                let at = args.at.unwrap_or_else(|| runtime::clock::SystemClock.now());
                pairs.push(("open_at", at.to_rfc3339()));
            }
            pairs.push(("limit", limit.to_string()));
            let mut entries = args.output.entries(&args.forms)?;
            let (next, _) = entries.page(&asked(&args.server, &target(&pairs)).await?)?;
            entries.finish(next, "before")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(saved: &BTreeMap<String, Saved>, json: bool) {
    if json {
        let all =
            saved.iter().map(|(name, one)| serde_json::json!({ "name": name, "title": one.title, "about": one.about }));
        return say(serde_json::Value::Array(all.collect()));
    }
    let rows: Vec<Vec<String>> =
        saved.iter().map(|(name, one)| vec![name.clone(), one.title.clone(), one.about.clone()]).collect();
    say(table::render(&["report", "what it answers", "about"], &rows));
}

/// Ours, and those of the folder in their place or beside them.
fn all(folder: Option<&Path>) -> anyhow::Result<BTreeMap<String, Saved>> {
    let mut saved = BTreeMap::new();
    for file in OURS.files() {
        let text = file.contents_utf8().context("a report of ours is not text")?;
        add(&mut saved, file.path(), text)?;
    }
    let Some(folder) = folder else { return Ok(saved) };
    let entries = std::fs::read_dir(folder).with_context(|| format!("`{}` cannot be read", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("`{}` cannot be read", path.display()))?;
            add(&mut saved, &path, &text)?;
        }
    }
    Ok(saved)
}

fn add(saved: &mut BTreeMap<String, Saved>, path: &Path, text: &str) -> anyhow::Result<()> {
    let one: Saved = toml::from_str(text).with_context(|| format!("`{}` is no saved question", path.display()))?;
    one.check().with_context(|| format!("`{}`", path.display()))?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    saved.insert(name, one);
    Ok(())
}

impl Saved {
    fn check(&self) -> anyhow::Result<()> {
        self.by()?;
        self.last()?;
        self.filter(&Filter::default())?;
        if self.question == Form::Summary && (self.open || self.ended.is_some()) {
            bail!("`open` and `ended` belong to `question = \"entries\"`");
        }
        if self.question == Form::Entries && (self.new || !self.by.is_empty()) {
            bail!("`by` and `new` belong to `question = \"summary\"`");
        }
        if self.limit.is_some_and(|limit| !(1..=ROWS_MAX).contains(&limit)) {
            bail!("`limit` takes 1 to {ROWS_MAX}");
        }
        Ok(())
    }

    fn by(&self) -> anyhow::Result<Vec<By>> {
        let all: Vec<&str> = By::all().map(By::as_str).collect();
        let parse =
            |text: &String| By::parse(text).with_context(|| format!("`by` has `{text}`; there are {}", all.join(", ")));
        self.by.iter().map(parse).collect()
    }

    /// Days.
    fn last(&self) -> anyhow::Result<Option<i64>> {
        let days = |text: &String| {
            let days =
                text.strip_suffix('d').and_then(|days| days.parse().ok()).filter(|days| (1..=36_500).contains(days));
            days.with_context(|| format!("`last` is `{text}`; write a number of days, as in \"30d\""))
        };
        self.last.as_ref().map(days).transpose()
    }

    /// What is asked for, with what the caller says in the place of what is saved.
    fn filter(&self, said: &Filter) -> anyhow::Result<Filter> {
        let or = |said: &Option<String>, saved: &Option<String>| said.clone().or_else(|| saved.clone());
        let saved_kind = |text: &String| {
            let all = Kind::ALL.map(Kind::as_str).join(", ");
            Kind::parse(text).with_context(|| format!("`kind` is `{text}`; there are {all}"))
        };
        let kind = self.kind.as_ref().map(saved_kind).transpose()?;
        let organisation = self.organisation.as_ref().map(|text| {
            OrganisationId::new(text)
                .map_err(|_| anyhow::anyhow!("`organisation` is `{text}`, which is no organisation's id"))
        });
        // Whole days, today's included.
        let since = self.last()?.map(|days| {
            let today = runtime::clock::SystemClock.now().millis() / DAY_MS;
            Timestamp((today + 1 - days).max(0) * DAY_MS)
        });
        Ok(Filter {
            from: said.from.or(since),
            to: said.to,
            organisation: said.organisation.clone().or(organisation.transpose()?),
            principal: or(&said.principal, &self.principal),
            resource: or(&said.resource, &self.resource),
            decision: or(&said.decision, &self.decision),
            reason: or(&said.reason, &self.reason),
            request: said.request.clone(),
            kind: said.kind.or(kind),
            product: or(&said.product, &self.product),
            agreement: or(&said.agreement, &self.agreement),
            action: or(&said.action, &self.action),
            purpose: or(&said.purpose, &self.purpose),
            policy: or(&said.policy, &self.policy),
            ended: or(&said.ended, &self.ended),
            country: or(&said.country, &self.country),
        })
    }

    fn summary(&self, filter: &Filter, limit: usize) -> anyhow::Result<Summary> {
        let mut only = Vec::new();
        for (name, value) in filter.pairs() {
            match Dimension::parse(name) {
                Some(Dimension::Organisation) => {}
                Some(dimension) => only.push((dimension, value)),
                None if matches!(name, "from" | "to") => {}
                None => bail!("a summary does not tell decisions apart by `--{name}`"),
            }
        }
        let organisation = filter.organisation.clone();
        let summary =
            Summary { by: self.by()?, from: filter.from, to: filter.to, organisation, only, new: self.new, limit };
        if summary.days().is_none() {
            bail!("this report counts whole days (UTC): write `--from` and `--to` as in 2026-11-22");
        }
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_of_ours_is_a_question_that_can_be_asked() {
        let saved = all(None).unwrap();
        assert!(saved.len() >= 13);
        for (name, one) in &saved {
            assert!(!one.title.is_empty() && !one.about.is_empty(), "{name}");
            let filter = one.filter(&Filter::default()).unwrap();
            if one.question == Form::Summary {
                let summary = one.summary(&filter, LIMIT).unwrap();
                assert!(!summary.new || summary.from.is_some(), "{name}");
                assert!(summary::target(&summary).starts_with("/v1/audit/summary?by="), "{name}");
            }
        }
    }

    #[test]
    fn what_is_said_replaces_what_is_saved() {
        let saved = all(None).unwrap();
        let said = Filter {
            from: Some(Timestamp(0)),
            decision: Some(String::from("deny")),
            product: Some(String::from("parts")),
            ..Filter::default()
        };
        let filter = saved["who-read"].filter(&said).unwrap();
        let summary = saved["who-read"].summary(&filter, 7).unwrap();
        assert_eq!(
            summary::target(&summary),
            "/v1/audit/summary?by=organisation%2Cprincipal%2Cresource&from=1970-01-01T00%3A00%3A00.000Z&limit=7\
             &decision=deny&kind=decision&product=parts"
        );
    }

    #[test]
    fn a_saved_question_that_cannot_be_asked_says_why() {
        for (text, why) in [
            ("title = \"t\"\nquestion = \"summary\"\nby = [\"colour\"]", "`by` has `colour`; there are day, week"),
            ("title = \"t\"\nquestion = \"summary\"\nlast = \"month\"", "write a number of days"),
            ("title = \"t\"\nquestion = \"entries\"\nkind = \"lie\"", "`kind` is `lie`; there are decision"),
            ("title = \"t\"\nquestion = \"entries\"\nnew = true", "belong to `question = \"summary\"`"),
            ("title = \"t\"\nquestion = \"entries\"\ncolour = 1", "unknown field `colour`"),
            ("title = \"t\"\nquestion = \"summary\"\nlimit = 0", "`limit` takes 1 to 1000"),
        ] {
            let error = add(&mut BTreeMap::new(), Path::new("mine.toml"), text).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
    }
}
