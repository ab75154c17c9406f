//! Conditions of the usual forms, answered without Cedar's interpreter.
//!
//! A shortcut answers only where the answer is certain: attributes that are there, of the types that the operator takes.
//! For all else it says nothing and the interpreter is asked, so no error and no rule of Cedar is decided here. Equality and
//! order of values are Cedar's own functions.

use super::Found;
use super::index::Questioned;
use super::ready::is_same;
use cedar_policy_core::ast::{
    BinaryOp, BorrowedRestrictedExpr, EntityUID, Expr, ExprKind, Literal, PartialValue, UnaryOp, Value, ValueKind, Var,
};
use cedar_policy_core::evaluator::{RestrictedEvaluator, binary_relation};
use cedar_policy_core::extensions::Extensions;
use std::cell::Cell;
use std::collections::HashMap;

/// Conditions that are nested deeper are left to the interpreter, which guards its stack.
const DEPTH_MAX: usize = 16;
/// Sets of this size are looked through.
const FEW: usize = 4;

#[derive(Debug)]
pub(super) enum Shortcut {
    Is(Operand),
    Compare(BinaryOp, Operand, Operand),
    Contains(Operand, Operand),
    In(Operand, Operand),
    Has(Operand, Box<str>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

#[derive(Debug)]
pub(super) enum Operand {
    Constant(Value),
    /// By its number.
    Term(usize),
}

/// What conditions look at. The schema bounds how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Term {
    Principal,
    Resource,
    Context,
    /// Of another term.
    Attribute(usize, Box<str>),
}

/// Terms by their number, each once.
#[derive(Debug, Default)]
pub(super) struct Terms {
    all: Vec<Term>,
    numbers: HashMap<Term, usize>,
}

/// What a term stands for.
#[derive(Clone, Copy)]
enum Seen<'q> {
    Entity(&'q EntityUID),
    Context,
    Value(&'q Value),
}

/// One question, with what has been seen of it.
pub(super) struct Sight<'s, 'q> {
    pub question: &'s Questioned<'q>,
    terms: &'s [Term],
    /// `Some(None)`: not there, or not certain.
    seen: Vec<Cell<Option<Option<Seen<'s>>>>>,
}

// === what has a shortcut

impl Shortcut {
    pub(super) fn of(expression: &Expr, terms: &mut Terms) -> Option<Self> {
        Self::within(expression, DEPTH_MAX, terms)
    }

    fn within(expression: &Expr, depth: usize, terms: &mut Terms) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let mut inner = |e: &Expr| Self::within(e, depth, terms).map(Box::new);
        match expression.expr_kind() {
            ExprKind::And { left, right } => Some(Self::And(inner(left)?, inner(right)?)),
            ExprKind::Or { left, right } => Some(Self::Or(inner(left)?, inner(right)?)),
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Some(Self::Not(inner(arg)?)),
            ExprKind::If { test_expr, then_expr, else_expr } => {
                Some(Self::If(inner(test_expr)?, inner(then_expr)?, inner(else_expr)?))
            }
            ExprKind::HasAttr { expr, attr } => {
                Some(Self::Has(Operand::within(expr, depth, terms)?, attr.as_str().into()))
            }
            ExprKind::BinaryApp { op, arg1, arg2 } => {
                let mut operand = |e: &Expr| Operand::within(e, depth, terms);
                match op {
                    BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq => {
                        Some(Self::Compare(*op, operand(arg1)?, operand(arg2)?))
                    }
                    BinaryOp::Contains => Some(Self::Contains(operand(arg1)?, operand(arg2)?)),
                    BinaryOp::In => Some(Self::In(operand(arg1)?, operand(arg2)?)),
                    _ => None,
                }
            }
            _ => Operand::within(expression, depth, terms).map(Self::Is),
        }
    }
}

impl Operand {
    fn within(expression: &Expr, depth: usize, terms: &mut Terms) -> Option<Self> {
        match expression.expr_kind() {
            // A constant that fails fails in the interpreter.
            ExprKind::Lit(_) | ExprKind::Set(_) | ExprKind::ExtensionFunctionApp { .. } => {
                let constant = BorrowedRestrictedExpr::new(expression).ok()?;
                let value = RestrictedEvaluator::new(Extensions::all_available()).interpret(constant);
                value.ok().map(Self::Constant)
            }
            _ => terms.within(expression, depth).map(Self::Term),
        }
    }
}

impl Terms {
    fn within(&mut self, expression: &Expr, depth: usize) -> Option<usize> {
        let depth = depth.checked_sub(1)?;
        let term = match expression.expr_kind() {
            ExprKind::Var(Var::Principal) => Term::Principal,
            ExprKind::Var(Var::Resource) => Term::Resource,
            ExprKind::Var(Var::Context) => Term::Context,
            ExprKind::GetAttr { expr, attr } => Term::Attribute(self.within(expr, depth)?, attr.as_str().into()),
            _ => return None,
        };
        let next = self.all.len();
        let number = *self.numbers.entry(term.clone()).or_insert(next);
        if number == next {
            self.all.push(term);
        }
        Some(number)
    }

    pub(super) fn sight<'s, 'q>(&'s self, question: &'s Questioned<'q>) -> Sight<'s, 'q> {
        Sight { question, terms: &self.all, seen: vec![const { Cell::new(None) }; self.all.len()] }
    }
}

// === what it comes to

impl Shortcut {
    /// `None`: ask the interpreter.
    pub(super) fn holds(&self, sight: &Sight<'_, '_>) -> Option<bool> {
        match self {
            Self::Is(operand) => sight.see(operand)?.truth(),
            Self::Compare(op, left, right) => compare(*op, sight.see(left)?, sight.see(right)?),
            Self::Contains(set, one) => match (&sight.see(set)?.value()?.value, sight.see(one)?) {
                // Looked through, where there is little to hash for.
                (ValueKind::Set(set), Seen::Value(one)) if set.len() <= FEW => {
                    Some(set.iter().any(|other| is_equal(other, one)))
                }
                (ValueKind::Set(set), Seen::Value(one)) => Some(set.contains(one)),
                _ => None,
            },
            Self::In(one, others) => is_in(sight.question, sight.see(one)?.entity()?, sight.see(others)?),
            Self::Has(operand, name) => has(sight.question, sight.see(operand)?, name),
            Self::Not(inner) => inner.holds(sight).map(|held| !held),
            Self::And(left, right) => {
                if left.holds(sight)? {
                    right.holds(sight)
                } else {
                    Some(false)
                }
            }
            Self::Or(left, right) => {
                if left.holds(sight)? {
                    Some(true)
                } else {
                    right.holds(sight)
                }
            }
            Self::If(test, then, otherwise) => {
                if test.holds(sight)? {
                    then.holds(sight)
                } else {
                    otherwise.holds(sight)
                }
            }
        }
    }
}

impl<'s> Sight<'s, '_> {
    fn see<'o>(&'o self, operand: &'o Operand) -> Option<Seen<'o>> {
        match operand {
            Operand::Constant(value) => Some(Seen::Value(value)),
            Operand::Term(number) => self.term(*number),
        }
    }

    fn term(&self, number: usize) -> Option<Seen<'s>> {
        let place = self.seen.get(number)?;
        if let Some(known) = place.get() {
            return known;
        }
        let seen = self.look(self.terms.get(number)?);
        place.set(Some(seen));
        seen
    }

    fn look(&self, term: &'s Term) -> Option<Seen<'s>> {
        match term {
            Term::Principal => Some(Seen::Entity(self.question.principal.uid)),
            Term::Resource => Some(Seen::Entity(self.question.resource.uid)),
            Term::Context => Some(Seen::Context),
            Term::Attribute(of, name) => match self.term(*of)? {
                Seen::Context => self.question.context(name).map(Seen::Value),
                Seen::Entity(uid) => attribute(self.question.entity(uid)?, name),
                Seen::Value(value) => match &value.value {
                    ValueKind::Record(fields) => fields.get(&**name).map(Seen::Value),
                    ValueKind::Lit(Literal::EntityUID(uid)) => attribute(self.question.entity(uid)?, name),
                    _ => None,
                },
            },
        }
    }
}

fn attribute<'s>(entity: Found<'s>, name: &str) -> Option<Seen<'s>> {
    match entity.attribute(name)? {
        PartialValue::Value(value) => Some(Seen::Value(value)),
        PartialValue::Residual(_) => None,
    }
}

impl<'s> Seen<'s> {
    fn value(self) -> Option<&'s Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Entity(_) | Self::Context => None,
        }
    }

    fn truth(self) -> Option<bool> {
        match self.value()?.value {
            ValueKind::Lit(Literal::Bool(truth)) => Some(truth),
            _ => None,
        }
    }

    fn entity(self) -> Option<&'s EntityUID> {
        match self {
            Self::Entity(uid) => Some(uid),
            Self::Value(Value { value: ValueKind::Lit(Literal::EntityUID(uid)), .. }) => Some(uid),
            Self::Value(_) | Self::Context => None,
        }
    }
}

fn compare(op: BinaryOp, left: Seen<'_>, right: Seen<'_>) -> Option<bool> {
    match (left, right) {
        (Seen::Value(left), Seen::Value(right)) if op == BinaryOp::Eq => Some(is_equal(left, right)),
        (Seen::Value(left), Seen::Value(right)) => {
            Seen::Value(&binary_relation(op, left, right, Extensions::all_available()).ok()?).truth()
        }
        _ if op == BinaryOp::Eq => Some(is_same(left.entity()?, right.entity()?)),
        _ => None,
    }
}

/// As Cedar compares, with a shorter way for names.
fn is_equal(left: &Value, right: &Value) -> bool {
    match (&left.value, &right.value) {
        (ValueKind::Lit(Literal::EntityUID(left)), ValueKind::Lit(Literal::EntityUID(right))) => is_same(left, right),
        _ => left == right,
    }
}

fn is_in(question: &Questioned<'_>, one: &EntityUID, others: Seen<'_>) -> Option<bool> {
    let entity = question.entity(one);
    let within = |other: &EntityUID| is_same(one, other) || entity.is_some_and(|e| e.is_below(other));
    match others {
        Seen::Value(Value { value: ValueKind::Set(set), .. }) => {
            // All must be entities, those behind the first that matches too.
            let uids = set.iter().map(|other| Seen::Value(other).entity());
            uids.collect::<Option<Vec<_>>>().map(|uids| uids.into_iter().any(within))
        }
        _ => others.entity().map(within),
    }
}

fn has(question: &Questioned<'_>, of: Seen<'_>, name: &str) -> Option<bool> {
    match of {
        Seen::Context => Some(question.context(name).is_some()),
        Seen::Value(Value { value: ValueKind::Record(fields), .. }) => Some(fields.contains_key(name)),
        _ => {
            let uid = of.entity()?;
            Some(question.entity(uid).is_some_and(|entity| entity.attribute(name).is_some()))
        }
    }
}
