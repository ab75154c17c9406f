//! Lives of a plant, as a log records them.

use super::DAY_MS;
use crate::Log;
use crate::tests::harness::*;
use model::Value;
use model::entry::{Common, DirectoryRow, Draft, Effect, Kind};
use std::collections::BTreeSet;

/// One step of a plant's life.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Who, of which organisation, wants what; for which reasons it is refused, or under which policies allowed.
    Decision {
        who: u8,
        organisation: u8,
        what: u8,
        reasons: Vec<u8>,
        policies: Vec<u8>,
        actor: Option<u8>,
        country: u8,
    },
    /// The exchange that has been open for so many steps ends.
    Outcome {
        back: u8,
        complete: bool,
        bytes: i64,
    },
    Refused(u8, u8),
    RefusedMany(Vec<(u8, i64)>),
    Policy,
    /// The clock is put forward, or back.
    Wait(i64),
}

const ORGANISATIONS: [&str; 3] = ["acme", "borealis", "cresta"];
const REASONS: [&str; 3] = ["not_permitted", "purpose_unknown", "agreement_unknown"];
const COUNTRIES: [&str; 3] = ["DE", "FR", "SE"];
const POLICIES: [&str; 4] = ["read", "reveal", "forbid-night", "see"];

/// Of every fourth nobody knows where it came from.
fn member_of(country: u8) -> Option<(&'static str, Value)> {
    COUNTRIES.get(usize::from(country)).map(|country| ("country", Value::text(*country)))
}

fn pick<'a>(list: &[&'a str], chosen: &[u8]) -> Vec<&'a str> {
    let set: BTreeSet<&str> = chosen.iter().map(|n| list[usize::from(*n) % list.len()]).collect();
    set.into_iter().collect()
}

/// Whom a reference stands for.
pub(super) fn row(who: u8) -> DirectoryRow {
    DirectoryRow { principal: format!("acme/person-{who}"), reference: format!("{who:032x}") }
}

/// Writes the life into a log.
pub(super) async fn live(log: &Log, steps: &[Step]) {
    let mut now = START;
    let mut open: Vec<(u64, String, &str)> = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        now = now.plus_millis(1);
        let common = Common { time: now, ..log.common() };
        let draft = |kind: Kind, of: Option<&str>, members: Vec<(&'static str, Value)>| {
            Draft::new(kind, &common, of.map(organisation).as_ref(), members, vec![]).unwrap()
        };
        match step {
            Step::Wait(millis) => now = now.plus_millis(*millis),
            Step::Policy => {
                log.append(draft(Kind::Policy, None, vec![("event", Value::text("activated"))])).await.unwrap();
            }
            Step::Refused(reason, country) => {
                let mut members = vec![("reasons", Value::texts(pick(&REASONS, &[*reason])))];
                members.extend(member_of(*country));
                log.append(draft(Kind::RefusedLogin, None, members)).await.unwrap();
            }
            Step::RefusedMany(counts) => {
                let counts = Value::object(counts.iter().map(|(r, n)| (REASONS[usize::from(*r)], Value::int(*n))));
                log.append(draft(Kind::RefusedLogins, None, vec![("counts", counts)])).await.unwrap();
            }
            Step::Decision { who, organisation, what, reasons, policies, actor, country } => {
                let allowed = reasons.is_empty();
                let request = format!("r{n}");
                let mut members = vec![
                    ("action", Value::text(["read", "readSeries"][usize::from(*what % 2)])),
                    ("decision", Value::text(if allowed { "allow" } else { "deny" })),
                    ("policies", Value::texts(pick(&POLICIES, policies))),
                    ("principal", Value::text(format!("{who:032x}"))),
                    ("request", Value::text(request.as_str())),
                    ("resource", Value::text(format!("Dataset/d{what}"))),
                ];
                if !allowed {
                    members.push(("reasons", Value::texts(pick(&REASONS, reasons))));
                }
                if what % 3 > 0 {
                    members.push(("product", Value::text(format!("p{what}"))));
                    members.push(("agreement", Value::text(["a1", "a2"][usize::from(*who % 2)])));
                    members.push(("purpose", Value::text("maintenance")));
                }
                members.extend(member_of(*country));
                let acts = *actor;
                let actor = actor.map(|actor| {
                    Value::object([
                        ("principal", Value::text(format!("{actor:032x}"))),
                        ("agreement", Value::text("a3")),
                    ])
                });
                members.extend(actor.map(|actor| ("actors", Value::Array(vec![actor]))));
                let name = ORGANISATIONS[usize::from(*organisation)];
                let mut draft = draft(Kind::Decision, Some(name), members);
                draft.directory = [Some(*who), acts].into_iter().flatten().map(row).collect();
                if allowed {
                    draft.effect = Effect::Opens;
                }
                let appended = log.append(draft).await.unwrap();
                if allowed {
                    open.push((appended.index, request, name));
                }
            }
            Step::Outcome { back, complete, bytes } => {
                let Some(at) = open.len().checked_sub(1 + usize::from(*back)) else { continue };
                let (of, request, name) = open.remove(at);
                let members = vec![
                    ("bytes", Value::int(*bytes)),
                    ("ended", Value::text(if *complete { "complete" } else { "caller_aborted" })),
                    ("of", Value::int(of.try_into().unwrap())),
                    ("request", Value::text(request)),
                    ("rows", Value::int(bytes / 10)),
                ];
                let mut draft = draft(Kind::Outcome, Some(name), members);
                draft.effect = Effect::Closes(of);
                log.append_outcome(draft).await.unwrap();
            }
        }
    }
}

/// One of those that the strategy in `on_files` draws, the same every time: where a PostgreSQL is started there is no proptest.
pub(super) fn drawn_step(drawn: &mut Drawn) -> Step {
    let one = |drawn: &mut Drawn, end: usize| u8::try_from(drawn.below(end)).unwrap();
    let some = |drawn: &mut Drawn, end: usize| (0..drawn.below(3)).map(|_| one(drawn, end)).collect::<Vec<u8>>();
    match drawn.below(17) {
        0..6 => Step::Decision {
            who: one(drawn, 4),
            organisation: one(drawn, 3),
            what: one(drawn, 5),
            reasons: some(drawn, 3),
            policies: some(drawn, 4),
            actor: Some(one(drawn, 8)).filter(|who| *who < 4),
            country: one(drawn, 4),
        },
        6..11 => {
            Step::Outcome { back: one(drawn, 6), complete: drawn.below(2) == 0, bytes: i64::from(one(drawn, 250)) }
        }
        11 => Step::Refused(one(drawn, 3), one(drawn, 4)),
        12 => Step::RefusedMany(some(drawn, 3).into_iter().map(|reason| (reason, 1 + i64::from(reason))).collect()),
        13 => Step::Policy,
        14 => Step::Wait(DAY_MS / 3 * (1 + i64::from(one(drawn, 2)))),
        _ => Step::Wait(i64::from(one(drawn, 250)) * 20 - 2_000),
    }
}
