//! Conditions of the usual forms, answered without Cedar's interpreter.
//!
//! A shortcut answers only where the answer is certain: attributes that are there, of the types that the operator takes.
//! For all else it says nothing and the interpreter is asked, so no error and no rule of Cedar is decided here. Equality and
//! order of values are Cedar's own functions.

use super::index::Questioned;
use cedar_policy_core::ast::{
    BinaryOp, BorrowedRestrictedExpr, Entity, EntityUID, Expr, ExprKind, Literal, PartialValue, UnaryOp, Value,
    ValueKind, Var,
};
use cedar_policy_core::evaluator::{RestrictedEvaluator, binary_relation};
use cedar_policy_core::extensions::Extensions;

/// Conditions that are nested deeper are left to the interpreter, which guards its stack.
const DEPTH_MAX: usize = 16;

#[derive(Debug)]
pub(super) enum Shortcut {
    Is(Term),
    Compare(BinaryOp, Term, Term),
    Contains(Term, Term),
    In(Term, Term),
    Has(Term, Box<str>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

#[derive(Debug)]
pub(super) enum Term {
    Principal,
    Resource,
    Context,
    Constant(Value),
    Attribute(Box<Self>, Box<str>),
}

/// What a term stands for.
#[derive(Clone, Copy)]
enum Seen<'s> {
    Entity(&'s EntityUID),
    Context,
    Value(&'s Value),
}

// === what has a shortcut

impl Shortcut {
    pub(super) fn of(expression: &Expr) -> Option<Self> {
        Self::within(expression, DEPTH_MAX)
    }

    fn within(expression: &Expr, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let inner = |e: &Expr| Self::within(e, depth).map(Box::new);
        let term = |e: &Expr| Term::within(e, depth);
        match expression.expr_kind() {
            ExprKind::And { left, right } => Some(Self::And(inner(left)?, inner(right)?)),
            ExprKind::Or { left, right } => Some(Self::Or(inner(left)?, inner(right)?)),
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Some(Self::Not(inner(arg)?)),
            ExprKind::If { test_expr, then_expr, else_expr } => {
                Some(Self::If(inner(test_expr)?, inner(then_expr)?, inner(else_expr)?))
            }
            ExprKind::HasAttr { expr, attr } => Some(Self::Has(term(expr)?, attr.as_str().into())),
            ExprKind::BinaryApp { op, arg1, arg2 } => match op {
                BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq => Some(Self::Compare(*op, term(arg1)?, term(arg2)?)),
                BinaryOp::Contains => Some(Self::Contains(term(arg1)?, term(arg2)?)),
                BinaryOp::In => Some(Self::In(term(arg1)?, term(arg2)?)),
                _ => None,
            },
            _ => term(expression).map(Self::Is),
        }
    }
}

impl Term {
    fn within(expression: &Expr, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        match expression.expr_kind() {
            ExprKind::Var(Var::Principal) => Some(Self::Principal),
            ExprKind::Var(Var::Resource) => Some(Self::Resource),
            ExprKind::Var(Var::Context) => Some(Self::Context),
            ExprKind::GetAttr { expr, attr } => {
                Some(Self::Attribute(Box::new(Self::within(expr, depth)?), attr.as_str().into()))
            }
            // A constant that fails fails in the interpreter.
            ExprKind::Lit(_) | ExprKind::Set(_) | ExprKind::ExtensionFunctionApp { .. } => {
                let constant = BorrowedRestrictedExpr::new(expression).ok()?;
                let value = RestrictedEvaluator::new(Extensions::all_available()).interpret(constant);
                value.ok().map(Self::Constant)
            }
            _ => None,
        }
    }
}

// === what it comes to

impl Shortcut {
    /// `None`: ask the interpreter.
    pub(super) fn holds(&self, question: &Questioned<'_>) -> Option<bool> {
        match self {
            Self::Is(term) => term.see(question)?.truth(),
            Self::Compare(op, left, right) => compare(*op, left.see(question)?, right.see(question)?),
            Self::Contains(set, one) => match (&set.see(question)?.value()?.value, one.see(question)?) {
                (ValueKind::Set(set), Seen::Value(one)) => Some(set.contains(one)),
                _ => None,
            },
            Self::In(one, others) => is_in(question, one.see(question)?.entity()?, others.see(question)?),
            Self::Has(term, name) => has(question, term.see(question)?, name),
            Self::Not(inner) => inner.holds(question).map(|held| !held),
            Self::And(left, right) => {
                if left.holds(question)? {
                    right.holds(question)
                } else {
                    Some(false)
                }
            }
            Self::Or(left, right) => {
                if left.holds(question)? {
                    Some(true)
                } else {
                    right.holds(question)
                }
            }
            Self::If(test, then, otherwise) => {
                if test.holds(question)? {
                    then.holds(question)
                } else {
                    otherwise.holds(question)
                }
            }
        }
    }
}

impl Term {
    fn see<'s>(&'s self, question: &'s Questioned<'_>) -> Option<Seen<'s>> {
        match self {
            Self::Principal => Some(Seen::Entity(question.principal)),
            Self::Resource => Some(Seen::Entity(question.resource)),
            Self::Context => Some(Seen::Context),
            Self::Constant(value) => Some(Seen::Value(value)),
            Self::Attribute(of, name) => match of.see(question)? {
                Seen::Context => question.context(name).map(Seen::Value),
                Seen::Entity(uid) => attribute(question.entity(uid)?, name),
                Seen::Value(value) => match &value.value {
                    ValueKind::Record(fields) => fields.get(&**name).map(Seen::Value),
                    ValueKind::Lit(Literal::EntityUID(uid)) => attribute(question.entity(uid)?, name),
                    _ => None,
                },
            },
        }
    }
}

fn attribute<'s>(entity: &'s Entity, name: &str) -> Option<Seen<'s>> {
    match entity.get(name)? {
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
        (Seen::Value(left), Seen::Value(right)) => {
            Seen::Value(&binary_relation(op, left, right, Extensions::all_available()).ok()?).truth()
        }
        _ if op == BinaryOp::Eq => Some(left.entity()? == right.entity()?),
        _ => None,
    }
}

fn is_in(question: &Questioned<'_>, one: &EntityUID, others: Seen<'_>) -> Option<bool> {
    let entity = question.entity(one);
    let within = |other: &EntityUID| one == other || entity.is_some_and(|e| e.is_descendant_of(other));
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
            Some(question.entity(uid).is_some_and(|entity| entity.get(name).is_some()))
        }
    }
}
