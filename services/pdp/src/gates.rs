//! What a `forbid` may not hold: whatever can fail when it is evaluated.
//!
//! Cedar skips a policy that fails. A `forbid` that is skipped would let pass what it was written against, so here a
//! failing policy denies the request, and one that fails for everybody closes the plant. Strict validation proves that
//! types fit and that what may be missing is asked for with `has`, level 1 that all that is read is there. What is left
//! are operations that can fail on some values: they are refused in a `forbid`, which is asked on every request.

use crate::Finding;
use crate::policies::Note;
use cedar_policy::{Effect, Policy, PolicySet};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Functions that are given a text and fail when it is not one of theirs.
const FROM_TEXT: [&str; 4] = ["datetime", "decimal", "duration", "ip"];
/// Functions of times that fail beyond the ends of what Cedar can count.
const OF_TIMES: [&str; 3] = ["durationSince", "offset", "toDate"];

/// What can fail in each `forbid` of `set`.
pub(crate) fn check(set: &PolicySet, notes: &BTreeMap<String, Note>) -> Vec<Finding> {
    let forbids = set.policies().filter(|policy| policy.effect() == Effect::Forbid);
    forbids.flat_map(|policy| of_policy(policy, notes)).collect()
}

fn of_policy(policy: &Policy, notes: &BTreeMap<String, Note>) -> Vec<Finding> {
    let id: &str = policy.id().as_ref();
    let mut operations = BTreeSet::new();
    match policy.to_json() {
        Ok(json) => json.get("conditions").into_iter().for_each(|conditions| collect(conditions, &mut operations)),
        Err(_) => drop(operations.insert(String::from("a condition that cannot be looked at"))),
    }
    let finding = |operation: String| {
        let finding = Finding::new(format!("{operation} can fail, and a failing `forbid` denies everything it is asked for"))
            .of(id)
            .help("compare attributes with each other or with literals; what has to be reckoned belongs in the catalog or the agreement");
        match notes.get(id) {
            Some(note) => finding.at(&note.file, note.line),
            None => finding,
        }
    };
    operations.into_iter().map(finding).collect()
}

/// Adds what can fail in an expression in Cedar's JSON format, in words.
fn collect(expression: &Json, found: &mut BTreeSet<String>) {
    match expression {
        Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Json::Object(members) => {
            for (operator, of) in members.iter().filter(|_| number(expression).is_none()) {
                found.extend(can_fail(operator, of));
                collect(of, found);
            }
        }
        _ => {}
    }
}

fn can_fail(operator: &str, of: &Json) -> Option<String> {
    match operator {
        // The operands of a record's member and of a literal are no operations.
        "+" | "-" | "*" if of.get("left").is_some() => Some(format!("arithmetic (`{operator}`)")),
        "neg" if of.get("arg").is_some() => Some(String::from("arithmetic (`-`)")),
        _ if OF_TIMES.contains(&operator) && of.is_array() => Some(format!("`{operator}`")),
        _ if FROM_TEXT.contains(&operator) && of.is_array() && !is_literal(of) => {
            Some(format!("`{operator}(…)` of something else than a literal"))
        }
        _ => None,
    }
}

fn is_literal(arguments: &Json) -> bool {
    arguments.get(0).and_then(|argument| argument.get("Value")).is_some_and(Json::is_string)
}

/// What an expression of literals alone comes to: `60 * 1000` cannot fail later.
fn number(expression: &Json) -> Option<i64> {
    let (operator, of) = expression.as_object().filter(|members| members.len() == 1)?.iter().next()?;
    let both = || Some((number(of.get("left")?)?, number(of.get("right")?)?));
    match operator.as_str() {
        "Value" => of.as_i64(),
        "neg" => number(of.get("arg")?)?.checked_neg(),
        "+" => both().and_then(|(a, b)| a.checked_add(b)),
        "-" => both().and_then(|(a, b)| a.checked_sub(b)),
        "*" => both().and_then(|(a, b)| a.checked_mul(b)),
        _ => None,
    }
}
