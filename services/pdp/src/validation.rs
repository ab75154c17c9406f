//! Policies against the schema: every part of them well typed, and no attribute of a neighbour looked at.

use crate::Finding;
use crate::finding::line_of;
use crate::policies::Note;
use cedar_policy::ffi::DetailedError;
use cedar_policy::{Policy, PolicyId, PolicySet as CedarSet, Schema, ValidationMode, Validator};
use std::collections::{BTreeMap, BTreeSet};

/// A policy reads attributes of the principal, the resource and the context; see `policies/README.md`.
const LEVEL: u32 = 1;
/// Policies that one thread goes through at a time.
const AT_ONCE: usize = 500;
/// A change of policies must not take a large machine from its requests.
const THREADS_MAX: usize = 4;

/// What is wrong with `policies`: strict validation of all policies; level 1 of those that are well typed, because Cedar stops
/// before it otherwise. Ends early where more is wrong than anybody reads: saying it costs far more than finding it.
pub(crate) fn validate<N: AsRef<str>, T: AsRef<str>>(
    schema: &Schema,
    policies: &[&Policy],
    notes: &BTreeMap<String, Note>,
    files: &[(N, T)],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if policies.is_empty() {
        return findings;
    }
    let validator = Validator::new(schema.clone());
    let mut left = policies;
    while !left.is_empty() && findings.len() <= Finding::MAX {
        let (now, later) = left.split_at(left.len().min(AT_ONCE * threads()));
        left = later;
        findings.extend(bad(&validator, now).iter().flat_map(|part| explain(&validator, part, notes, files)));
    }
    if !left.is_empty() {
        let message =
            format!("{} more policies were not looked at: there is too much wrong with the others", left.len());
        findings.push(Finding::new(message));
    }
    findings
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX)
}

/// The parts of `policies` in which something is wrong. A good set is gone through once, on all cores.
fn bad(validator: &Validator, policies: &[&Policy]) -> Vec<CedarSet> {
    let is_good = |part: &CedarSet| {
        let result = validator.validate_with_level(part, ValidationMode::Strict, LEVEL);
        result.validation_passed() && result.validation_warnings().next().is_none()
    };
    let look = |part: &[&Policy]| {
        // Ids are unique already.
        let part = CedarSet::from_policies(part.iter().map(|policy| (*policy).clone())).ok()?;
        (!is_good(&part)).then_some(part)
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = policies.chunks(AT_ONCE).map(|part| scope.spawn(move || look(part))).collect();
        // A part that could not be looked at is bad; what is wrong with it will come up again, on this thread.
        parts
            .into_iter()
            .zip(policies.chunks(AT_ONCE))
            .filter_map(|(looked, part)| match looked.join() {
                Ok(bad) => bad,
                Err(_) => CedarSet::from_policies(part.iter().map(|policy| (*policy).clone())).ok(),
            })
            .collect()
    })
}

fn explain<N: AsRef<str>, T: AsRef<str>>(
    validator: &Validator,
    set: &CedarSet,
    notes: &BTreeMap<String, Note>,
    files: &[(N, T)],
) -> Vec<Finding> {
    let place = |id: &PolicyId, error: &DetailedError| place(notes, files, id.as_ref(), error);
    let strict = validator.validate(set, ValidationMode::Strict);
    let bad: BTreeSet<&PolicyId> = strict.validation_errors().map(|e| e.policy_id()).collect();
    let mut findings: Vec<Finding> =
        strict.validation_errors().map(|e| place(e.policy_id(), &DetailedError::from(e))).collect();
    // What is wrong in a policy makes it impossible, too; saying both helps nobody.
    let warnings = strict.validation_warnings().filter(|w| !bad.contains(w.policy_id()));
    findings.extend(warnings.map(|w| place(w.policy_id(), &DetailedError::from(w))));
    let typed = set.policies().filter(|p| !bad.contains(p.id())).cloned();
    if let Ok(typed) = CedarSet::from_policies(typed) {
        let level = validator.validate_with_level(&typed, ValidationMode::Strict, LEVEL);
        findings.extend(level.validation_errors().map(|e| place(e.policy_id(), &DetailedError::from(e))));
    }
    findings
}

/// What Cedar says of policy `id`, where it stands.
fn place<N: AsRef<str>, T: AsRef<str>>(
    notes: &BTreeMap<String, Note>,
    files: &[(N, T)],
    id: &str,
    error: &DetailedError,
) -> Finding {
    let message = error.message.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(&error.message);
    // The type checker's name for any entity type at all.
    let mut finding = Finding::new(message.replace("__cedar::internal::AnyEntity", "entity")).of(id);
    finding.help.clone_from(&error.help);
    let Some(note) = notes.get(id) else { return finding };
    let text = files.iter().find(|(name, _)| name.as_ref() == note.file).map_or("", |(_, text)| text.as_ref());
    let line = error.source_locations.first().map_or(note.line, |at| line_of(text, at.loc.start));
    finding.at(&note.file, line)
}
