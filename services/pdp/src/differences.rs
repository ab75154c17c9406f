//! What is other in a policy set than in the one before it, by the ids of its policies.

use crate::PolicySet;
use cedar_policy::{Policy, PolicyId};

/// Ids, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Scope, conditions or annotations are other; layout and comments do not count.
    pub changed: Vec<String>,
}

impl PolicySet {
    /// What is other here than in `before`.
    pub fn differences(&self, before: &Self) -> Differences {
        let lacks = |set: &Self, policy: &&Policy| set.all.policy(policy.id()).is_none();
        let is_other =
            |policy: &&Policy| before.all.policy(policy.id()).is_some_and(|old| !means_the_same(old, policy));
        Differences {
            added: ids(self.all.policies().filter(|policy| lacks(before, policy))),
            removed: ids(before.all.policies().filter(|policy| lacks(self, policy))),
            changed: ids(self.all.policies().filter(is_other)),
        }
    }
}

fn ids<'p>(policies: impl Iterator<Item = &'p Policy>) -> Vec<String> {
    let mut ids: Vec<String> = policies.map(Policy::id).map(PolicyId::to_string).collect();
    ids.sort();
    ids
}

/// Most are the same text, and reading one as JSON costs more than parsing it.
fn means_the_same(a: &Policy, b: &Policy) -> bool {
    (a.to_cedar().is_some() && a.to_cedar() == b.to_cedar()) || is_same_json(a, b)
}

fn is_same_json(a: &Policy, b: &Policy) -> bool {
    a.to_json().ok().is_some_and(|json| b.to_json().ok() == Some(json))
}
