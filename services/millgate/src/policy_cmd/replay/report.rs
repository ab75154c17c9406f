//! What a replay has found, for people and for programs.

use crate::table;
use model::Timestamp;
use pdp::PolicySet;
use pdp::replay::{Direction, Example, Group, Tally};
use serde_json::{Value, json};

/// One object with everything. Counts are of decisions.
pub(super) fn json(tally: &Tally, (from, to): (Timestamp, Timestamp), candidate: Option<&PolicySet>) -> Value {
    let mut object = counts(tally);
    if let Some(object) = object.as_object_mut() {
        object.insert("from".into(), json!(from.to_rfc3339()));
        object.insert("to".into(), json!(to.to_rfc3339()));
    }
    if let (Some(candidate), Some(object)) = (candidate, object.as_object_mut()) {
        object.insert("candidate".into(), json!(candidate.policies().digest.to_hex()));
        object.insert("changed".into(), json!(tally.changed()));
        object.insert("changes".into(), tally.changes.iter().map(group).collect());
        object.insert("changes_beyond".into(), json!(tally.changes_beyond));
    }
    object
}

/// How much was decided again, and what was other.
pub(super) fn counts(tally: &Tally) -> Value {
    let findings = tally.findings.iter();
    let not_replayable = tally.not_replayable.iter();
    json!({
        "looked_at": tally.looked_at,
        "replayed": tally.replayed,
        "not_asked": tally.not_asked,
        "decided": tally.decided,
        "not_replayable": not_replayable
            .map(|(why, e)| json!({ "reason": why, "count": e.count, "first": e.index }))
            .collect::<Vec<_>>(),
        "findings": findings
            .map(|f| json!({ "index": f.index, "request": f.request, "what": f.what }))
            .collect::<Vec<_>>(),
        "findings_total": tally.findings_total,
    })
}

fn group((group, example): (&Group, &Example)) -> Value {
    let said = group.change.said.as_ref().map(|(before, after)| json!({ "before": before, "after": after }));
    json!({
        "direction": group.change.direction,
        "organisation": group.organisation,
        "product": group.product,
        "resource": group.resource,
        "action": group.action,
        "gains": group.change.gains,
        "loses": group.change.loses,
        "said": said,
        "policies": group.change.policies,
        "count": example.count,
        "request": example.request,
        "index": example.index,
    })
}

pub(super) fn text(tally: &Tally, candidate: bool) -> String {
    let mut lines = Vec::new();
    for finding in &tally.findings {
        lines.push(format!("entry {}, request {}: not as recorded", finding.index, finding.request));
        lines.extend(finding.what.iter().map(|what| format!("  {what}")));
    }
    let more = tally.findings_total.saturating_sub(tally.findings.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more like these"));
    }
    if candidate {
        lines.extend(changes(tally));
    }
    lines.extend(coverage(tally));
    lines.push(verdict(tally, candidate));
    lines.join("\n")
}

const COLUMNS: [&str; 7] = ["organisation", "resource", "action", "what", "policies", "count", "such as"];

fn changes(tally: &Tally) -> Vec<String> {
    let titles = [
        (Direction::WouldGain, "would gain"),
        (Direction::WouldLose, "would lose"),
        (Direction::WouldGainAndLose, "would gain some and lose some"),
        (Direction::Reasons, "would be told otherwise"),
        (Direction::Policies, "the same, by other policies (not counted as a change)"),
    ];
    let mut lines = Vec::new();
    for (direction, title) in titles {
        let of = tally.changes.iter().filter(|(group, _)| group.change.direction == direction);
        let rows: Vec<Vec<String>> = of.map(row).collect();
        if !rows.is_empty() {
            lines.push(format!("{title}:\n{}\n", table::render(&COLUMNS, &rows)));
        }
    }
    if tally.changes_beyond > 0 {
        lines.push(format!("and {} decisions that would change in ways beyond those listed\n", tally.changes_beyond));
    }
    lines
}

fn row((group, example): (&Group, &Example)) -> Vec<String> {
    let change = &group.change;
    let gains = change.gains.iter().map(|what| format!("+ {what}"));
    let loses = change.loses.iter().map(|what| format!("- {what}"));
    let mut what: Vec<String> = gains.chain(loses).collect();
    if let (true, Some((before, after))) = (what.is_empty(), &change.said) {
        what.push(format!("{before} -> {after}"));
    }
    let what = if what.is_empty() { String::from("nothing") } else { what.join("; ") };
    let policies = change.policies.join(" ");
    let Group { organisation, resource, action, .. } = group;
    let count = example.count.to_string();
    vec![organisation.clone(), resource.clone(), action.clone(), what, policies, count, example.request.clone()]
}

/// How many of how many, and why not the others.
fn coverage(tally: &Tally) -> Vec<String> {
    let mut lines = vec![format!("{} of {} decisions replayed", tally.replayed, tally.looked_at)];
    if tally.not_asked > 0 {
        lines.push(format!("  {} were refused before any policy was asked", tally.not_asked));
    }
    let not = tally.not_replayable.iter();
    lines.extend(not.map(|(why, e)| format!("  {} not replayable: {why}; the first is entry {}", e.count, e.index)));
    lines
}

fn verdict(tally: &Tally, candidate: bool) -> String {
    let found = match tally.findings_total {
        0 if tally.replayed == 0 => String::from("nothing was compared"),
        0 => String::from("every one as recorded"),
        1 => String::from("1 finding"),
        n => format!("{n} findings"),
    };
    match (candidate, tally.changed()) {
        (false, _) => found,
        (true, 0) => format!("{found}; nothing would change for anybody"),
        (true, n) => format!("{found}; {n} would change"),
    }
}
