//! What policies ask beside their scope, each condition once however many policies have it.
//!
//! The parts of a conjunction are conditions of their own: `a && b && c` holds, fails or is false as its parts say from
//! left to right, so that a part which many policies begin with is looked at once per question.

use super::index::Questioned;
use super::shortcut::{Shortcut, Sight, Terms};
use cedar_policy_core::ast::{Expr, ExprKind};
use std::collections::HashMap;

/// Conjunctions are taken apart to this depth. What is left is one part.
const DEPTH_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Condition {
    expression: Expr,
    shortcut: Option<Shortcut>,
    /// Where the result of this question is kept, when several policies ask it.
    place: Option<usize>,
}

/// A policy failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

/// Conditions by their number.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    all: Vec<Condition>,
    terms: Terms,
    places: usize,
}

/// Results of conditions that several policies have, for one question.
pub(super) struct Results(Vec<Option<Result<bool, Failed>>>);

impl Conditions {
    /// Whether all of `numbers` hold, looked at in their order as Cedar does: the first that is false or fails decides.
    pub(super) fn hold(&self, numbers: &[usize], sight: &Sight<'_, '_>, results: &mut Results) -> Result<bool, Failed> {
        for number in numbers {
            let condition = self.all.get(*number).ok_or(Failed)?;
            if !condition.result(sight, results)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn sight<'s, 'q>(&'s self, question: &'s Questioned<'q>) -> Sight<'s, 'q> {
        self.terms.sight(question)
    }

    pub(super) fn results(&self) -> Results {
        Results(vec![None; self.places])
    }
}

impl Condition {
    fn result(&self, sight: &Sight<'_, '_>, results: &mut Results) -> Result<bool, Failed> {
        let Some(place) = self.place.and_then(|place| results.0.get_mut(place)) else { return self.holds(sight) };
        *place.get_or_insert_with(|| self.holds(sight))
    }

    fn holds(&self, sight: &Sight<'_, '_>) -> Result<bool, Failed> {
        match self.shortcut.as_ref().and_then(|shortcut| shortcut.holds(sight)) {
            Some(held) => Ok(held),
            None => sight.question.interpret(&self.expression).ok_or(Failed),
        }
    }
}

/// Gives equal conditions one number.
#[derive(Default)]
pub(super) struct Collector {
    conditions: Conditions,
    numbers: HashMap<Expr, usize>,
}

impl Collector {
    /// The numbers of the parts of `expression`, in order; none for a policy without conditions.
    pub(super) fn add(&mut self, expression: Option<&Expr>) -> Box<[usize]> {
        let mut parts = Vec::new();
        if let Some(expression) = expression {
            apart(expression, DEPTH_MAX, &mut parts);
        }
        parts.into_iter().map(|part| self.number(part)).collect()
    }

    fn number(&mut self, part: &Expr) -> usize {
        if let Some(number) = self.numbers.get(part).copied() {
            let places = &mut self.conditions.places;
            if let Some(condition) = self.conditions.all.get_mut(number) {
                condition.place.get_or_insert_with(|| {
                    *places += 1;
                    *places - 1
                });
            }
            return number;
        }
        let number = self.conditions.all.len();
        let shortcut = Shortcut::of(part, &mut self.conditions.terms);
        self.conditions.all.push(Condition { expression: part.clone(), shortcut, place: None });
        self.numbers.insert(part.clone(), number);
        number
    }

    pub(super) fn finish(self) -> Conditions {
        self.conditions
    }
}

fn apart<'e>(expression: &'e Expr, depth: usize, parts: &mut Vec<&'e Expr>) {
    match (expression.expr_kind(), depth.checked_sub(1)) {
        (ExprKind::And { left, right }, Some(depth)) => {
            apart(left, depth, parts);
            apart(right, depth, parts);
        }
        _ => parts.push(expression),
    }
}
