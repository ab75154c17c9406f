//! The checks of a login, told one by one to somebody who asks why.
//!
//! A request tells nobody: [`Notes::none`] costs nothing, and no text is made for it.

use crate::LoginError;
use crate::refusal::Refusal;
use model::Authenticated;

/// What Millgate makes of a credential, check by check. Holds no secret part of it: neither the token's text nor its
/// signature.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// In the order in which the checks are made. A failed one is the last.
    pub steps: Vec<Step>,
    pub outcome: Result<Authenticated, LoginError>,
    /// Why the issuer of a refused credential could not be asked, if it could not.
    pub failure: Option<Failure>,
}

/// Why an issuer could not be asked. For the operator's eyes: it may name internal hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the issuer's keys could not be fetched: {0}")]
    Keys(String),
    #[error("the issuer could not be asked about the token: {0}")]
    Question(String),
    /// It was asked, and refuses our own name and secret.
    #[error("the issuer could not be asked about the token: {0}")]
    Credentials(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    pub outcome: StepOutcome,
    /// What was found, or why it was refused.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    Passed,
    Failed,
    /// There was nothing to check, or the answer was known.
    Skipped,
}

/// Where the steps of a login are noted, if anybody wants to know.
#[derive(Debug)]
pub(crate) struct Notes<'n>(Option<&'n mut Vec<Step>>);

// === impl Notes ===

impl<'n> Notes<'n> {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn to(steps: &'n mut Vec<Step>) -> Self {
        Self(Some(steps))
    }

    /// Notes one check and hands its result on. `detail` is called only if it passed and somebody listens; what it says
    /// must not hold a secret.
    pub(crate) fn check<T>(
        &mut self,
        name: &'static str,
        result: Result<T, Refusal>,
        detail: impl FnOnce(&T) -> String,
    ) -> Result<T, Refusal> {
        if let Some(steps) = &mut self.0 {
            let (outcome, detail) = match &result {
                Ok(found) => (StepOutcome::Passed, detail(found)),
                Err(refusal) => (StepOutcome::Failed, refusal.to_string()),
            };
            steps.push(Step { name, outcome, detail });
        }
        result
    }

    /// Notes a check only if it failed: passing it would tell nobody anything.
    pub(crate) fn refused<T>(&mut self, name: &'static str, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if result.is_err() { self.check(name, result, |_| String::new()) } else { result }
    }

    pub(crate) fn skipped(&mut self, name: &'static str, why: &'static str) {
        if let Some(steps) = &mut self.0 {
            steps.push(Step { name, outcome: StepOutcome::Skipped, detail: why.to_owned() });
        }
    }
}
