//! What a policy does with the time, and whether with the country.

use cedar_policy::Policy;
use cedar_policy_core::ast::{self, BinaryOp, Expr, ExprKind, Literal, Var};

/// The texts of the literals that a policy compares `context.now` with, beside attributes of entities. `None` when it
/// does anything else with the time, or with the whole context and so perhaps with the time in it.
pub(crate) fn times_compared(policy: &Policy) -> Option<Vec<&str>> {
    let core: &ast::Policy = policy.as_ref();
    let mut literals = Vec::new();
    if let Some(condition) = core.non_scope_constraints() {
        collect(condition, &mut literals)?;
    }
    Some(literals)
}

/// Whether a policy looks at `context.country`.
pub(crate) fn asks_for_country(policy: &Policy) -> bool {
    let core: &ast::Policy = policy.as_ref();
    let looks = |expression: &Expr| match expression.expr_kind() {
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } => {
            is_context(expr) && attr.as_str() == "country"
        }
        _ => false,
    };
    core.non_scope_constraints().is_some_and(|condition| condition.subexpressions().any(looks))
}

fn collect<'e>(expression: &'e Expr, literals: &mut Vec<&'e str>) -> Option<()> {
    let mut all = |parts: &mut dyn Iterator<Item = &'e Expr>| {
        for part in parts {
            collect(part, literals)?;
        }
        Some(())
    };
    match expression.expr_kind() {
        ExprKind::Lit(_) | ExprKind::Var(Var::Principal | Var::Action | Var::Resource) => Some(()),
        ExprKind::GetAttr { expr, attr } if is_context(expr) => (attr.as_str() != "now").then_some(()),
        ExprKind::HasAttr { expr, .. } if is_context(expr) => Some(()),
        ExprKind::BinaryApp { op: BinaryOp::Eq | BinaryOp::Less | BinaryOp::LessEq, arg1, arg2 } => {
            match (is_now(arg1), is_now(arg2)) {
                (true, _) => still(arg2, literals),
                (_, true) => still(arg1, literals),
                _ => all(&mut [&**arg1, &**arg2].into_iter()),
            }
        }
        ExprKind::BinaryApp { arg1, arg2, .. } => all(&mut [&**arg1, &**arg2].into_iter()),
        ExprKind::And { left, right } | ExprKind::Or { left, right } => all(&mut [&**left, &**right].into_iter()),
        ExprKind::If { test_expr, then_expr, else_expr } => {
            all(&mut [&**test_expr, &**then_expr, &**else_expr].into_iter())
        }
        ExprKind::UnaryApp { arg: expr, .. }
        | ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::Like { expr, .. }
        | ExprKind::Is { expr, .. } => collect(expr, literals),
        ExprKind::ExtensionFunctionApp { args, .. } => all(&mut args.iter()),
        ExprKind::Set(items) => all(&mut items.iter()),
        ExprKind::Record(fields) => all(&mut fields.values()),
        // The context as a whole, and what policies here do not have.
        _ => None,
    }
}

fn is_context(expression: &Expr) -> bool {
    matches!(expression.expr_kind(), ExprKind::Var(Var::Context))
}

fn is_now(expression: &Expr) -> bool {
    matches!(expression.expr_kind(), ExprKind::GetAttr { expr, attr } if is_context(expr) && attr.as_str() == "now")
}

/// A literal time, or an attribute of an entity: of principal or resource, of the agreement, of one named in the policy.
fn still<'e>(expression: &'e Expr, literals: &mut Vec<&'e str>) -> Option<()> {
    let ExprKind::ExtensionFunctionApp { fn_name, args } = expression.expr_kind() else { return attribute(expression) };
    let [literal] = args.as_slice() else { return None };
    match literal.expr_kind() {
        ExprKind::Lit(Literal::String(text)) if fn_name.to_string() == "datetime" => {
            literals.push(text.as_str());
            Some(())
        }
        _ => None,
    }
}

fn attribute(expression: &Expr) -> Option<()> {
    let ExprKind::GetAttr { expr, attr } = expression.expr_kind() else { return None };
    match expr.expr_kind() {
        ExprKind::Var(Var::Principal | Var::Resource) | ExprKind::Lit(Literal::EntityUID(_)) => Some(()),
        // Nothing else in a context is an entity with times, or a copy of one's attributes.
        ExprKind::Var(Var::Context) => matches!(attr.as_str(), "agreement" | "governance").then_some(()),
        ExprKind::Var(Var::Action) => None,
        _ => attribute(expr),
    }
}
