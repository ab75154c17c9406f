//! What a `forbid` may not hold: whatever can fail when it is evaluated.
//!
//! Cedar skips a policy that fails. A `forbid` that is skipped would let pass what it was written against, so here a
//! failing policy denies the request, and one that fails for everybody closes the plant. Strict validation proves that
//! types fit and that what may be missing is asked for with `has`, level 1 that all that is read is there. What is left
//! are operations that can fail on some values: they are refused in a `forbid`, which is asked on every request.

use crate::Finding;
use crate::engine::fallible_operations;
use crate::policies::Note;
use cedar_policy::{Effect, Policy};
use std::collections::BTreeMap;

/// What can fail in each `forbid` of `policies`.
pub(crate) fn check(policies: &[&Policy], notes: &BTreeMap<String, Note>) -> Vec<Finding> {
    let forbids = policies.iter().filter(|policy| policy.effect() == Effect::Forbid);
    forbids.flat_map(|policy| of_policy(policy, notes)).collect()
}

fn of_policy(policy: &Policy, notes: &BTreeMap<String, Note>) -> Vec<Finding> {
    let id: &str = policy.id().as_ref();
    let finding = |operation: String| {
        let finding = Finding::new(format!("{operation} can fail, and a failing `forbid` denies everything it is asked for"))
            .of(id)
            .help("compare attributes with each other or with literals; what has to be reckoned belongs in the catalog or the agreement");
        match notes.get(id) {
            Some(note) => finding.at(&note.file, note.line),
            None => finding,
        }
    };
    fallible_operations(policy).into_iter().map(finding).collect()
}
