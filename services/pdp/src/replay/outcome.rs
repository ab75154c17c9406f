//! What a decision comes to for those whom it is about, and how two of them differ.

use crate::decision::Decision;
use model::canonical::Value;
use model::entry::Entry;
use model::plant::{Acknowledgement, Demands, RecordAttribute, RecordKind};
use model::{AgreementId, FieldClassId};
use std::collections::BTreeSet;

/// All that a decision says, but for its request and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub allow: bool,
    /// Refused as if there were nothing.
    pub hidden: bool,
    pub reasons: Vec<String>,
    /// `@id`s of those that determined it, sorted.
    pub policies: Vec<String>,
    /// Those that could not be evaluated.
    pub errors: Vec<String>,
    pub agreement: Option<AgreementId>,
    /// Of each actor; empty in a refusal.
    pub actor_agreements: Vec<Option<AgreementId>>,
    pub reveals: Vec<FieldClassId>,
    pub hides: Vec<FieldClassId>,
    kinds_hidden: Vec<RecordKind>,
    /// What the answer waits for in the log; nothing in a refusal.
    demands: Demands,
    /// As in entries.
    kinds_told: Option<Vec<RecordKind>>,
}

impl Outcome {
    pub fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Permit(permit) => Self {
                allow: true,
                hidden: false,
                reasons: Vec::new(),
                policies: permit.policies().to_vec(),
                errors: Vec::new(),
                agreement: permit.agreement().cloned(),
                actor_agreements: permit.actor_agreements().to_vec(),
                reveals: permit.classes_revealed().to_vec(),
                hides: permit.classes_hidden().to_vec(),
                kinds_hidden: permit.kinds_hidden().to_vec(),
                demands: permit.demands(),
                kinds_told: permit.kinds_told().map(|told| told.cloned().collect()),
            },
            Decision::Denied(denial) => Self {
                allow: false,
                hidden: denial.hidden,
                reasons: denial.reasons.iter().map(ToString::to_string).collect(),
                policies: denial.policies.clone(),
                errors: denial.errors.clone(),
                agreement: denial.agreement.clone(),
                actor_agreements: Vec::new(),
                reveals: Vec::new(),
                hides: denial.classes_hidden.clone(),
                kinds_hidden: Vec::new(),
                demands: Demands::default(),
                kinds_told: None,
            },
        }
    }

    /// Members of a recorded decision that say something else, each with both: none when it is this one.
    pub(super) fn differences(&self, entry: &Entry) -> Vec<String> {
        let texts = |items: &[String]| (!items.is_empty()).then(|| Value::texts(items.iter().cloned()));
        let classes = |items: &[FieldClassId]| Value::texts(items.iter().map(FieldClassId::as_str));
        let told = self.kinds_told.as_ref().map(|kinds| Value::Array(kinds.iter().map(kind_value).collect()));
        let Demands { acknowledgement, outcome_before_complete } = self.demands;
        let waits = acknowledgement > Acknowledgement::Durable;
        let expected = [
            ("acknowledgement", waits.then(|| Value::text(acknowledgement.as_str()))),
            ("outcome_before_complete", outcome_before_complete.then_some(Value::Bool(true))),
            ("decision", Some(Value::text(if self.allow { "allow" } else { "deny" }))),
            ("hidden", self.hidden.then_some(Value::Bool(true))),
            ("reasons", texts(&self.reasons)),
            ("policies", Some(Value::texts(self.policies.iter().cloned()))),
            ("errors", texts(&self.errors)),
            ("agreement", self.agreement.as_ref().map(|a| Value::text(a.as_str()))),
            ("reveals", self.allow.then(|| classes(&self.reveals))),
            ("hides", (!self.hides.is_empty()).then(|| classes(&self.hides))),
            ("records", told),
        ];
        let differs = expected.iter().filter(|(name, value)| entry.get(name) != value.as_ref());
        let mut all: Vec<String> =
            differs.map(|(name, value)| difference(name, entry.get(name), value.as_ref())).collect();
        if self.allow && !self.actors_agree(entry) {
            all.push(String::from("the agreements of those who act are others"));
        }
        all
    }

    fn actors_agree(&self, entry: &Entry) -> bool {
        let recorded = match entry.get("actors") {
            Some(Value::Array(actors)) => actors.iter().map(|a| a.get("agreement").and_then(Value::as_text)).collect(),
            _ => Vec::new(),
        };
        let ours = self.actor_agreements.iter().map(|a| a.as_ref().map(AgreementId::as_str));
        ours.eq(recorded)
    }
}

fn difference(name: &str, recorded: Option<&Value>, now: Option<&Value>) -> String {
    let text = |value: Option<&Value>| {
        value.map_or_else(|| String::from("nothing"), |v| String::from_utf8_lossy(&v.encode()).into_owned())
    };
    format!("{name}: recorded {}, decided {}", text(recorded), text(now))
}

const ATTRIBUTES: [(&str, RecordAttribute); 3] = [
    ("supplier", RecordAttribute::Supplier),
    ("customer", RecordAttribute::Customer),
    ("export_class", RecordAttribute::ExportClass),
];

fn kind_value(kind: &RecordKind) -> Value {
    Value::object(ATTRIBUTES.into_iter().filter_map(|(name, of)| Some((name, Value::text(kind.get(of)?)))))
}

// === changes

/// Which way a decision would change for those whom it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    WouldGain,
    WouldLose,
    /// Some of each.
    WouldGainAndLose,
    /// Neither, but it would be said otherwise: other reasons, another agreement.
    Reasons,
    /// The same in all but the policies that determine it.
    Policies,
}

impl Direction {
    pub const ALL: [Self; 5] =
        [Self::WouldGain, Self::WouldLose, Self::WouldGainAndLose, Self::Reasons, Self::Policies];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::WouldGain => "would_gain",
            Self::WouldLose => "would_lose",
            Self::WouldGainAndLose => "would_gain_and_lose",
            Self::Reasons => "reasons",
            Self::Policies => "policies",
        }
    }

    /// Whether anybody would notice.
    pub fn is_felt(self) -> bool {
        self != Self::Policies
    }
}

/// How a decision under other policies differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    pub direction: Direction,
    /// `access`, `knowledge of it`, `fields of class personal`, `records of supplier bolt`; sorted.
    pub gains: Vec<String>,
    pub loses: Vec<String>,
    /// Reasons, agreement and errors before and after, where these differ.
    pub said: Option<(String, String)>,
    /// Determining policies that come, as `+id`, and that go, as `-id`.
    pub policies: Vec<String>,
}

impl Change {
    /// `None` when nothing differs.
    pub fn between(before: &Outcome, after: &Outcome) -> Option<Self> {
        let (gains, loses) = (gains(before, after), gains(after, before));
        let said = (said(before), said(after));
        let said = (said.0 != said.1).then_some(said);
        let policies = moved(&before.policies, &after.policies);
        let direction = match (gains.is_empty(), loses.is_empty()) {
            (false, true) => Direction::WouldGain,
            (true, false) => Direction::WouldLose,
            (false, false) => Direction::WouldGainAndLose,
            (true, true) if said.is_some() => Direction::Reasons,
            (true, true) if !policies.is_empty() => Direction::Policies,
            (true, true) => return None,
        };
        Some(Self { direction, gains, loses, said, policies })
    }
}

/// What `after` gives that `before` does not.
fn gains(before: &Outcome, after: &Outcome) -> Vec<String> {
    let one = |what: &str| vec![what.to_owned()];
    match (before.allow, after.allow) {
        (false, true) => one("access"),
        (true, true) => {
            let new = |class: &&FieldClassId| !before.reveals.contains(class);
            let fields = after.reveals.iter().filter(new).map(|class| format!("fields of class {class}"));
            let shown = |kind: &&RecordKind| !after.kinds_hidden.contains(kind);
            fields.chain(before.kinds_hidden.iter().filter(shown).map(records_of)).collect()
        }
        (false, false) if before.hidden && !after.hidden => one("knowledge of it"),
        (_, false) => Vec::new(),
    }
}

fn records_of(kind: &RecordKind) -> String {
    let of = ATTRIBUTES.into_iter().filter_map(|(name, of)| Some(format!("{name} {}", kind.get(of)?)));
    let of: Vec<String> = of.collect();
    if of.is_empty() { String::from("records of nobody") } else { format!("records of {}", of.join(", ")) }
}

fn said(outcome: &Outcome) -> String {
    let agreements = std::iter::once(&outcome.agreement).chain(&outcome.actor_agreements);
    let agreements = agreements.flatten().map(|a| format!("under {a}"));
    let errors = outcome.errors.iter().map(|policy| format!("{policy} failed"));
    let hidden = outcome.hidden.then(|| String::from("hidden"));
    let Demands { acknowledgement, outcome_before_complete } = outcome.demands;
    let waits = (acknowledgement > Acknowledgement::Durable).then(|| format!("once {}", acknowledgement.as_str()));
    let ends = outcome_before_complete.then(|| String::from("complete once its outcome is durable"));
    let waits = waits.into_iter().chain(ends);
    outcome
        .reasons
        .iter()
        .cloned()
        .chain(hidden)
        .chain(agreements)
        .chain(waits)
        .chain(errors)
        .collect::<Vec<_>>()
        .join(", ")
}

fn moved(before: &[String], after: &[String]) -> Vec<String> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
    let come = after.difference(&before).map(|id| format!("+{id}"));
    come.chain(before.difference(&after).map(|id| format!("-{id}"))).collect()
}
