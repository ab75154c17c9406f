//! Why something is decided as it is: for each question behind a decision, which policies applied, and of each permit that
//! did not, the condition that kept it from applying. For the steward, never for a caller.

use crate::cases::Expected;
use crate::clauses::{self, Clause, Standing};
use crate::questions::{Asked, Questions};
use crate::{Decision, Permit, PolicySet, Snapshot};
use cedar_policy::{AuthorizationError, Authorizer, Decision as Answer, Effect, Entities, Policy};
use model::plant::Acknowledgement;
use model::{AccessRequest, Action};
use serde::Serialize;

/// A decision with the answers that it was made from.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub decided: Expected,
    /// What the caller is told to do about it; for a hidden resource, nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// What the answer waits for in the log, when it is permitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demands: Option<Demanded>,
    pub questions: Vec<Answered>,
}

/// What product and policies demand together, and the product alone.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Demanded {
    pub acknowledgement: &'static str,
    pub outcome_before_complete: bool,
    pub product_acknowledgement: &'static str,
    pub product_outcome_before_complete: bool,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    pub who: String,
    /// `discover`, `read`, `reveal`, …
    pub action: &'static str,
    pub resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<String>,
    pub allowed: bool,
    /// Those that determined the answer.
    pub by: Vec<Quoted>,
    /// Permits that could have allowed it, each with what kept it from that; when it is not allowed.
    pub missing: Vec<Quoted>,
}

/// A policy, and a condition of it where one decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quoted {
    pub policy: String,
    pub file: String,
    /// Of the condition, or of the policy.
    pub line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it demands of the log, if more than every decision does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outcome_before_complete: bool,
    /// That is not true, or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Conditions behind it that are not true either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

impl Snapshot {
    /// Decides `request` and says why.
    ///
    /// # Errors
    /// In words, when the questions cannot be put together: a fault of ours.
    pub fn explain(&self, request: &AccessRequest) -> Result<Explanation, String> {
        let decision = self.decide_anew(request.clone(), &["-"]);
        let questions = Questions::of(self, request, &decision)?;
        let decided = Expected::of(&decision);
        let hidden = decided.decision == "hidden";
        let told = questions.asked.iter().filter(|asked| hidden || asked.action != Action::Discover);
        let answered = told.map(|asked| self.policies.answered(asked, &questions.entities)).collect();
        let (ask, demands) = match &decision {
            Decision::Permit(permit) => (None, Some(self.demanded(permit))),
            Decision::Denied(denial) => (denial.ask.clone(), None),
        };
        Ok(Explanation { decided, ask, demands, questions: answered })
    }

    fn demanded(&self, permit: &Permit) -> Demanded {
        let (all, product) = (permit.demands(), self.product_demands(&permit.request().resource));
        Demanded {
            acknowledgement: all.acknowledgement.as_str(),
            outcome_before_complete: all.outcome_before_complete,
            product_acknowledgement: product.acknowledgement.as_str(),
            product_outcome_before_complete: product.outcome_before_complete,
        }
    }
}

impl PolicySet {
    fn answered(&self, asked: &Asked, entities: &Entities) -> Answered {
        let response = Authorizer::new().is_authorized(&asked.request, &self.all, entities);
        let determining = response.diagnostics().reason().filter_map(|id| self.quoted(id.as_ref()));
        let failed = response.diagnostics().errors().filter_map(|error| {
            let AuthorizationError::PolicyEvaluationError(error) = error;
            let mut quoted = self.quoted(error.policy_id().as_ref())?;
            self.stopped(self.all.policy(error.policy_id())?, &mut quoted, asked, entities);
            Some(quoted)
        });
        let failed: Vec<Quoted> = failed.collect();
        let allowed = response.decision() == Answer::Allow && failed.is_empty();
        let mut by: Vec<Quoted> = determining.chain(failed).collect();
        by.sort_by(|a, b| a.policy.cmp(&b.policy));
        let permits =
            self.all.policies().filter(|policy| policy.effect() == Effect::Permit && self.asks(policy, asked));
        let missing = permits.filter(|_| !allowed).filter_map(|policy| {
            let mut quoted = self.quoted(policy.id().as_ref())?;
            self.stopped(policy, &mut quoted, asked, entities).then_some(quoted)
        });
        let mut missing: Vec<Quoted> = missing.collect();
        missing.sort_by(|a, b| a.policy.cmp(&b.policy));
        Answered {
            who: asked.who.clone(),
            action: asked.action.as_str(),
            resource: asked.resource.clone(),
            agreement: asked.agreement.as_ref().map(ToString::to_string),
            allowed,
            by,
            missing,
        }
    }

    fn quoted(&self, id: &str) -> Option<Quoted> {
        let note = self.notes.get(id)?;
        let title = self.all.policy(&id.parse().ok()?).and_then(|policy| policy.annotation("title"));
        Some(Quoted {
            policy: id.to_owned(),
            file: note.file.clone(),
            line: note.line,
            title: title.map(str::to_owned),
            acknowledgement: Some(note.demands.acknowledgement)
                .filter(|level| *level > Acknowledgement::Durable)
                .map(Acknowledgement::as_str),
            outcome_before_complete: note.demands.outcome_before_complete,
            condition: None,
            error: None,
            also: Vec::new(),
        })
    }

    /// Whether the policy's scope admits the action.
    fn asks(&self, policy: &Policy, asked: &Asked) -> bool {
        self.admits(policy, asked.action)
    }

    /// Adds what keeps the policy from applying; `false` when nothing does.
    fn stopped(&self, policy: &Policy, quoted: &mut Quoted, asked: &Asked, entities: &Entities) -> bool {
        let Some(note) = self.notes.get(&quoted.policy) else { return false };
        let all = clauses::of(policy, note);
        let (number, error) = match clauses::standing(&all, &asked.request, entities) {
            Standing::Applies => return false,
            Standing::Stopped { clause } => (clause, None),
            Standing::Failed { clause, error } => (clause, Some(error)),
        };
        if let Some(clause) = all.get(number) {
            quoted.line = clause.line;
            quoted.condition = Some(clause.text.clone());
        }
        quoted.error = error;
        let behind = all.get(number + 1..).unwrap_or_default().iter();
        let untrue = |clause: &&Clause| clause.holds(&asked.request, entities) == Ok(false);
        quoted.also = behind.filter(untrue).map(|clause| clause.text.clone()).collect();
        true
    }
}

// === coverage

/// A condition, and in how many questions of all cases it was the one that kept its policy from applying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    pub policy: String,
    pub file: String,
    pub line: usize,
    pub condition: String,
    pub decisive: usize,
}

/// Counts, for each condition of each policy, how often it decides.
#[derive(Debug)]
pub struct ConditionCoverage<'s> {
    snapshot: &'s Snapshot,
    policies: Vec<(&'s Policy, Vec<Clause>, Vec<usize>)>,
}

impl<'s> ConditionCoverage<'s> {
    pub fn new(snapshot: &'s Snapshot) -> Self {
        let set = &snapshot.policies;
        let with_clauses = set.all.policies().filter_map(|policy| {
            let clauses = clauses::of(policy, set.notes.get(AsRef::<str>::as_ref(policy.id()))?);
            let counts = vec![0; clauses.len()];
            Some((policy, clauses, counts))
        });
        let mut policies: Vec<_> = with_clauses.collect();
        policies.sort_by_key(|(policy, ..)| policy.id().to_string());
        Self { snapshot, policies }
    }

    /// Counts the questions behind one decision.
    ///
    /// # Errors
    /// In words, when the questions cannot be put together: a fault of ours.
    pub fn count(&mut self, request: &AccessRequest) -> Result<(), String> {
        let decision = self.snapshot.decide_anew(request.clone(), &["-"]);
        let questions = Questions::of(self.snapshot, request, &decision)?;
        for asked in &questions.asked {
            let set = &self.snapshot.policies;
            for (_, clauses, counts) in self.policies.iter_mut().filter(|(policy, ..)| set.asks(policy, asked)) {
                let standing = clauses::standing(clauses, &asked.request, &questions.entities);
                if let Standing::Stopped { clause } = standing
                    && let Some(count) = counts.get_mut(clause)
                {
                    *count += 1;
                }
            }
        }
        Ok(())
    }

    /// Every condition in the order of policies.
    pub fn finish(self) -> Vec<Tried> {
        let notes = &self.snapshot.policies.notes;
        let tried = self.policies.into_iter().flat_map(|(policy, clauses, counts)| {
            let id = policy.id().to_string();
            let file = notes.get(&id).map(|note| note.file.clone()).unwrap_or_default();
            clauses.into_iter().zip(counts).map(move |(clause, decisive)| Tried {
                policy: id.clone(),
                file: file.clone(),
                line: clause.line,
                condition: clause.text,
                decisive,
            })
        });
        tried.collect()
    }
}
