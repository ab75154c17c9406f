//! `millgate policy explain`: why a request is decided as it is, one that was made up or one that was recorded.
//!
//! It is for whoever runs the broker: it reads the configuration, and shows what no caller is shown.

mod recorded;

use super::{Chosen, time};
use crate::client::Server;
use crate::out::say;
use anyhow::{Context as _, bail};
use clap::Args;
use model::{Action, Clock as _, Timestamp};
use pdp::cases::{Asked, Who};
use pdp::explain::{Answered, Demanded, Explanation, Quoted};
use recorded::Recorded;
use runtime::clock::SystemClock;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The request id of a recorded decision, as in an answer's Millgate-Request-Id
    #[arg(value_name = "REQUEST", conflicts_with_all = ["resource", "action"])]
    pub(super) request: Option<String>,
    #[command(flatten)]
    pub(super) chosen: Chosen,
    #[command(flatten)]
    pub(super) server: Server,
    /// Read a published directory instead of asking the broker; this reading is not recorded
    #[arg(long, value_name = "DIR", conflicts_with = "token_file", requires = "request")]
    pub(super) offline: Option<PathBuf>,
    #[command(flatten)]
    pub(super) made_up: MadeUp,
    /// The moment, as in 2026-11-22T08:00:00Z; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<Timestamp>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// A request that nobody has made. With a recorded one, what is given here takes the place of what was recorded.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Request")]
pub struct MadeUp {
    #[arg(long, value_name = "ID")]
    pub organisation: Option<String>,
    #[arg(long, value_name = "WHO")]
    pub subject: Option<String>,
    /// The caller is a machine
    #[arg(long)]
    pub service: bool,
    /// Dataset/ID, Signal/ID, AuditScope/ORGANISATION or AuditScope/*
    #[arg(long, value_name = "WHAT")]
    pub resource: Option<String>,
    /// By default the one that goes with the resource
    #[arg(long, value_parser = ["read", "readSeries", "readAudit", "eraseAudit"])]
    pub action: Option<String>,
    #[arg(long, value_name = "ID")]
    pub purpose: Option<String>,
    /// As in the header Millgate-Agreement
    #[arg(long, value_name = "ID")]
    pub agreement: Option<String>,
    /// Distance of values, as in 1m; raw values if left out
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub resolution: Option<i64>,
    /// Length of time asked for, as in 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub window: Option<i64>,
    #[arg(long, value_name = "N")]
    pub rows: Option<i64>,
    /// A role that the token's groups stand for; may be repeated
    #[arg(long = "role", value_name = "ID")]
    pub roles: Vec<String>,
    /// How the sender is bound to the credential
    #[arg(long, value_parser = ["none", "certificate", "dpop"])]
    pub binding: Option<String>,
    /// How sure the issuer is of the caller
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub assurance: Option<u8>,
    /// Where the request comes from, two letters as in DE; not known if left out
    #[arg(long, value_name = "CC")]
    pub country: Option<String>,
    /// A machine that acts for the caller, ORGANISATION/SUBJECT; may be repeated
    #[arg(long = "actor", value_name = "WHO")]
    pub actors: Vec<String>,
}

fn duration(text: &str) -> Result<i64, String> {
    model::time::parse_duration_ms(text).ok_or_else(|| String::from("write it as in 250ms, 10s, 5m, 12h or 30d"))
}

/// What is said of one request.
#[derive(Debug, serde::Serialize)]
pub(super) struct Report {
    /// What cannot be known, and what was taken in its place.
    notes: Vec<String>,
    at: String,
    asked: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<Recorded>,
    #[serde(flatten)]
    explanation: Explanation,
}

pub(super) async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let report = explain(&args).await?;
    say(if args.json { serde_json::to_string(&report)? } else { report.text() });
    let permitted = report.explanation.decided.decision == "permit";
    Ok(if permitted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

pub(super) async fn explain(args: &ExplainArgs) -> anyhow::Result<Report> {
    let world = args.chosen.world(&args.chosen.config()?)?;
    let (recorded, mut notes) = match &args.request {
        Some(id) => recorded::find(id, &args.server, args.offline.as_deref()).await.map(|(r, n)| (Some(r), n))?,
        None => (None, Vec::new()),
    };
    let asked = match &recorded {
        Some(recorded) => args.made_up.over(recorded.asked(&mut notes)?)?,
        None => args.made_up.alone()?,
    };
    let unknown = asked.unknown_names(world.snapshot.plant(), &world.parties);
    notes.extend(unknown.iter().map(|what| format!("{what} does not exist in this catalog and registry")));
    let at = args.at.unwrap_or_else(|| SystemClock.now());
    let request = asked.request(&world.parties, at).context("the request cannot be asked")?;
    let explanation = world.snapshot.explain(&request).map_err(anyhow::Error::msg)?;
    Ok(Report { notes, at: at.to_rfc3339(), asked: words(&asked), recorded, explanation })
}

impl MadeUp {
    fn alone(&self) -> anyhow::Result<Asked> {
        let (Some(organisation), Some(subject), Some(resource)) = (&self.organisation, &self.subject, &self.resource)
        else {
            bail!("nothing to explain: name a recorded request, or `--organisation`, `--subject` and `--resource`");
        };
        let action = match resource.split_once('/') {
            Some(("Signal", _)) => Action::ReadSeries,
            Some(("AuditScope", _)) => Action::ReadAudit,
            _ => Action::Read,
        };
        self.over(Asked::new(organisation, subject, self.service, action, resource))
    }

    /// `asked` with what was said on the command line.
    fn over(&self, mut asked: Asked) -> anyhow::Result<Asked> {
        fn set<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        set(&mut asked.organisation, self.organisation.as_ref());
        set(&mut asked.subject, self.subject.as_ref());
        asked.service |= self.service;
        if let Some(action) = &self.action {
            asked.action = serde_json::from_value(action.as_str().into())?;
        }
        asked.purpose = self.purpose.clone().or(asked.purpose);
        asked.agreement = self.agreement.clone().or(asked.agreement);
        set(&mut asked.resolution_ms, self.resolution.as_ref());
        set(&mut asked.window_ms, self.window.as_ref());
        set(&mut asked.rows, self.rows.as_ref());
        set(&mut asked.assurance, self.assurance.as_ref());
        asked.binding = self.binding.clone().or(asked.binding);
        asked.country = self.country.clone().or(asked.country);
        asked.roles.extend(self.roles.iter().cloned());
        if !self.actors.is_empty() {
            asked.actors = self.actors.iter().map(|who| actor(who)).collect::<anyhow::Result<_>>()?;
        }
        Ok(asked)
    }
}

fn actor(who: &str) -> anyhow::Result<Who> {
    let (organisation, subject) =
        who.split_once('/').with_context(|| format!("`{who}` is no actor: write `ORGANISATION/SUBJECT`"))?;
    Ok(Who { organisation: organisation.to_owned(), subject: subject.to_owned(), service: true })
}

// === in words

fn words(asked: &Asked) -> String {
    let mut words = format!("{}/{} {} {}", asked.organisation, asked.subject, asked.action.as_str(), asked.resource);
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push_str(&format!(" {word} {value}"));
        }
    };
    add("for", asked.purpose.clone());
    add("under", asked.agreement.clone());
    let duration = |ms: i64| (ms > 0).then(|| model::time::format_duration_ms(ms));
    add("every", duration(asked.resolution_ms));
    add("of", duration(asked.window_ms));
    add("rows", (asked.rows > 0).then(|| asked.rows.to_string()));
    let actors: Vec<String> = asked.actors.iter().map(|who| format!("{}/{}", who.organisation, who.subject)).collect();
    add("from", asked.country.clone());
    add("through", (!actors.is_empty()).then(|| actors.join(", ")));
    words
}

impl Report {
    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.asked.clone()];
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(self.recorded.iter().map(Recorded::line));
        let decided = &self.explanation.decided;
        lines.push(format!("at {}: {}", self.at, outcome(decided)));
        lines.extend(self.explanation.demands.and_then(demanded));
        lines.extend(self.explanation.ask.iter().map(|ask| format!("what to ask for: {ask}")));
        for answered in &self.explanation.questions {
            lines.push(String::new());
            lines.extend(question(answered));
        }
        lines.join("\n")
    }
}

/// What the answer waits for, and whether that is the product's or the policies' doing.
fn demanded(demands: Demanded) -> Option<String> {
    let Demanded { acknowledgement, outcome_before_complete, product_acknowledgement, product_outcome_before_complete } =
        demands;
    let by = |is_product: bool| if is_product { "the product" } else { "policies" };
    let level = (acknowledgement != "durable").then(|| {
        let by = by(acknowledgement == product_acknowledgement);
        format!("the source is asked once the record is {acknowledgement} (demanded by {by})")
    });
    let end = outcome_before_complete.then(|| {
        let by = by(product_outcome_before_complete);
        format!("the answer ends once its outcome is durable (demanded by {by})")
    });
    let all: Vec<String> = level.into_iter().chain(end).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

pub(super) fn outcome(decided: &pdp::cases::Expected) -> String {
    let mut out = decided.decision.clone();
    for (word, items) in [("because", &decided.reasons), ("by", &decided.policies), ("hiding", &decided.classes_hidden)]
    {
        if !items.is_empty() {
            out.push_str(&format!(", {word} {}", items.join(", ")));
        }
    }
    if decided.records_hidden {
        out.push_str(", hiding some records");
    }
    if let Some(level) = &decided.acknowledgement {
        out.push_str(&format!(", once {level}"));
    }
    if decided.outcome_before_complete {
        out.push_str(", outcome first");
    }
    if let Some(agreement) = &decided.agreement {
        out.push_str(&format!(", under {agreement}"));
    }
    out
}

fn question(answered: &Answered) -> Vec<String> {
    let under =
        answered.agreement.as_ref().map_or_else(|| String::from("without an agreement"), |a| format!("under {a}"));
    let answer = if answered.allowed { "allowed" } else { "not allowed" };
    let mut lines = vec![format!("{}: {} {} {under}: {answer}", answered.who, answered.action, answered.resource)];
    for quoted in &answered.by {
        let word = match (answered.allowed, &quoted.error) {
            (_, Some(_)) => "failed in",
            (true, None) => "by",
            (false, None) => "forbidden by",
        };
        lines.extend(policy(word, quoted));
    }
    answered.missing.iter().for_each(|quoted| lines.extend(policy("not by", quoted)));
    if !answered.allowed && answered.by.is_empty() && answered.missing.is_empty() {
        lines.push(String::from("  no policy permits this action"));
    }
    lines
}

fn policy(word: &str, quoted: &Quoted) -> Vec<String> {
    let title = quoted.title.as_ref().map(|title| format!(", {title}")).unwrap_or_default();
    let mut lines = vec![format!("  {word} {}{title} ({}:{})", quoted.policy, quoted.file, quoted.line)];
    if let Some(level) = quoted.acknowledgement {
        lines.push(format!("    demands: the record {level}"));
    }
    if quoted.outcome_before_complete {
        lines.push(String::from("    demands: the outcome before the end"));
    }
    let verb = if quoted.error.is_some() { "fails" } else { "is not so" };
    lines.extend(quoted.condition.iter().map(|condition| format!("    {verb}: {condition}")));
    lines.extend(quoted.error.iter().map(|error| format!("    {error}")));
    lines.extend(quoted.also.iter().map(|condition| format!("    nor is: {condition}")));
    lines
}
