//! One question to Cedar.

use crate::engine::{Facts, Outcome, Store};
use crate::policies::PolicySet;
use crate::refusal::Refusal;
use cedar_policy::{AuthorizationError, Authorizer, Decision, Entities, EntityUid, PolicySet as CedarSet, Request};
use model::Action;

/// Cedar's answer to one question, before errors deny.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub allow: bool,
    /// Determining policies.
    pub policies: Vec<String>,
    pub errors: Vec<String>,
}

impl Answer {
    /// Cedar skips a policy that fails, a `forbid` included. Here it denies.
    pub(crate) fn sound(self) -> Result<Self, Box<Refusal>> {
        if self.errors.is_empty() { Ok(self) } else { Err(Refusal::errors(self.errors)) }
    }

    /// The same policies, in whatever order.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let sorted = |ids: &[String]| -> Vec<String> {
            let mut ids = ids.to_vec();
            ids.sort();
            ids
        };
        self.allow == other.allow
            && sorted(&self.policies) == sorted(&other.policies)
            && sorted(&self.errors) == sorted(&other.errors)
    }

    fn failed(message: String) -> Self {
        Self { allow: false, policies: Vec::new(), errors: vec![message] }
    }
}

impl PolicySet {
    /// Cedar's answer, from the policies whose scope can match; see [`crate::engine::Index`].
    pub(crate) fn ask(
        &self,
        principal: &EntityUid,
        action: Action,
        resource: &EntityUid,
        facts: &Facts<'_>,
        store: &Store<'_>,
    ) -> Answer {
        let index = self.index.as_ref();
        let outcome = index.and_then(|index| index.answer(principal, action, resource, facts, store, &self.actions));
        outcome.map_or_else(|| self.scan(principal, action, resource, facts, store), Answer::from)
    }

    /// The same answer by Cedar's public interface from all policies: slow, and what [`Self::ask`] is measured by.
    pub(crate) fn scan(
        &self,
        principal: &EntityUid,
        action: Action,
        resource: &EntityUid,
        facts: &Facts<'_>,
        store: &Store<'_>,
    ) -> Answer {
        let Some(action_uid) = self.names.actions.get(&action) else {
            return Answer::failed(format!("action `{}` is not known", action.as_str()));
        };
        let Some(store) = store.whole() else { return Answer::failed(String::from("the entities are contradictory")) };
        match Request::new(principal.clone(), action_uid.clone(), resource.clone(), facts.whole().clone(), None) {
            Ok(request) => answer(&request, &self.all, store),
            Err(e) => Answer::failed(e.to_string()),
        }
    }
}

impl From<Outcome<'_>> for Answer {
    fn from(Outcome { allow, policies, errors }: Outcome<'_>) -> Self {
        let owned = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect();
        Self { allow, policies: owned(policies), errors: owned(errors) }
    }
}

pub(crate) fn answer(request: &Request, set: &CedarSet, store: &Entities) -> Answer {
    let response = Authorizer::new().is_authorized(request, set, store);
    let diagnostics = response.diagnostics();
    let errors = diagnostics.errors().map(|e| match e {
        AuthorizationError::PolicyEvaluationError(e) => e.policy_id().to_string(),
    });
    Answer {
        allow: response.decision() == Decision::Allow,
        policies: diagnostics.reason().map(ToString::to_string).collect(),
        errors: errors.collect(),
    }
}
