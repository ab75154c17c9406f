//! Whether this process can serve: a set of named conditions, each met or not met for a stated reason.
//!
//! Ready means that every condition that was ever named is met. A condition starts unmet, so a process that has not got
//! round to a check is not ready. Conditions are few and change rarely; reading them costs one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `None` when met, otherwise why not.
type Conditions = BTreeMap<&'static str, Option<String>>;

#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Conditions>>,
}

/// One condition, to be held by the part that knows whether it is met.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// Names a condition, unmet until its holder says otherwise.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.lock().entry(name).or_insert_with(|| Some(String::from("not checked yet")));
        Condition { name, readiness: self.clone() }
    }

    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    /// Every condition by name, with the reason if it is not met.
    pub fn report(&self) -> Vec<(&'static str, Option<String>)> {
        self.lock().iter().map(|(name, reason)| (*name, reason.clone())).collect()
    }

    /// A panic elsewhere leaves the map whole, because every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    pub fn met(&self) {
        self.readiness.lock().insert(self.name, None);
    }

    /// `reason` is shown on the operator listener: no secrets, no personal data.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.readiness.lock().insert(self.name, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_condition_is_met() {
        let readiness = Readiness::new();
        let log = readiness.condition("audit_log");
        let policies = readiness.condition("policies");
        assert!(!readiness.is_ready());
        log.met();
        assert!(!readiness.is_ready());
        policies.met();
        assert!(readiness.is_ready());
        log.unmet("disk full");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.report(), [("audit_log", Some("disk full".into())), ("policies", None)]);
    }

    #[test]
    fn naming_a_condition_again_keeps_its_state() {
        let readiness = Readiness::new();
        readiness.condition("audit_log").met();
        let again = readiness.condition("audit_log");
        assert!(readiness.is_ready());
        again.unmet("poisoned");
        assert!(!readiness.is_ready());
    }
}
