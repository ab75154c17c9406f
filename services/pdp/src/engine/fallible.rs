//! Operations that can fail on values of the right types.

use cedar_policy::Policy;
use cedar_policy_core::ast::{self, BinaryOp, Expr, ExprKind, Literal, UnaryOp};
use std::collections::BTreeSet;

/// Functions that are given a text and fail when it is not one of theirs.
const FROM_TEXT: [&str; 4] = ["datetime", "decimal", "duration", "ip"];
/// Functions of times that fail beyond the ends of what Cedar can count.
const OF_TIMES: [&str; 3] = ["durationSince", "offset", "toDate"];

/// Those in the conditions of a policy, in words.
pub(crate) fn fallible_operations(policy: &Policy) -> BTreeSet<String> {
    let core: &ast::Policy = policy.as_ref();
    let mut found = BTreeSet::new();
    if let Some(condition) = core.non_scope_constraints() {
        collect(condition, &mut found);
    }
    found
}

fn collect(expression: &Expr, found: &mut BTreeSet<String>) {
    if number(expression).is_some() {
        return;
    }
    found.extend(can_fail(expression));
    match expression.expr_kind() {
        ExprKind::Lit(_) | ExprKind::Var(_) => {}
        ExprKind::And { left, right } | ExprKind::Or { left, right } => {
            collect(left, found);
            collect(right, found);
        }
        ExprKind::If { test_expr, then_expr, else_expr } => {
            [test_expr, then_expr, else_expr].into_iter().for_each(|part| collect(part, found));
        }
        ExprKind::BinaryApp { arg1, arg2, .. } => {
            collect(arg1, found);
            collect(arg2, found);
        }
        ExprKind::UnaryApp { arg: expr, .. }
        | ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::Like { expr, .. }
        | ExprKind::Is { expr, .. } => collect(expr, found),
        ExprKind::ExtensionFunctionApp { args, .. } => args.iter().for_each(|part| collect(part, found)),
        ExprKind::Set(items) => items.iter().for_each(|part| collect(part, found)),
        ExprKind::Record(fields) => fields.values().for_each(|part| collect(part, found)),
        _ => drop(found.insert(String::from("a condition that cannot be looked at"))),
    }
}

fn can_fail(expression: &Expr) -> Option<String> {
    let arithmetic = |sign: &str| Some(format!("arithmetic (`{sign}`)"));
    match expression.expr_kind() {
        ExprKind::BinaryApp { op: BinaryOp::Add, .. } => arithmetic("+"),
        ExprKind::BinaryApp { op: BinaryOp::Sub, .. } | ExprKind::UnaryApp { op: UnaryOp::Neg, .. } => arithmetic("-"),
        ExprKind::BinaryApp { op: BinaryOp::Mul, .. } => arithmetic("*"),
        ExprKind::ExtensionFunctionApp { fn_name, args } => {
            let name = fn_name.to_string();
            if OF_TIMES.contains(&name.as_str()) {
                return Some(format!("`{name}`"));
            }
            let of_literal = matches!(args.first().map(Expr::expr_kind), Some(ExprKind::Lit(Literal::String(_))));
            let is_made = FROM_TEXT.contains(&name.as_str()) && !of_literal;
            is_made.then(|| format!("`{name}(…)` of something else than a literal"))
        }
        _ => None,
    }
}

/// What an expression of literals alone comes to: `60 * 1000` cannot fail later.
fn number(expression: &Expr) -> Option<i64> {
    match expression.expr_kind() {
        ExprKind::Lit(Literal::Long(n)) => Some(*n),
        ExprKind::UnaryApp { op: UnaryOp::Neg, arg } => number(arg)?.checked_neg(),
        ExprKind::BinaryApp { op, arg1, arg2 } => {
            let combine = match op {
                BinaryOp::Add => i64::checked_add,
                BinaryOp::Sub => i64::checked_sub,
                BinaryOp::Mul => i64::checked_mul,
                _ => return None,
            };
            combine(number(arg1)?, number(arg2)?)
        }
        _ => None,
    }
}
