//! Conditions of time slices: what compares with nothing is neither good nor bad.
//!
//! `NaN >= bool 0.99` is 0 in Prometheus, and a ratio or quantile without traffic is NaN: an idle minute would be a bad
//! one. So a comparison is written as what it says of the sign of a difference, where a NaN stays one, and which reads
//! its series once. vmalert has no value there by itself.

use promql_parser::parser::{BinModifier, BinaryExpr, Expr, ParenExpr, token, value::ValueType};

use crate::{alerts::printed, promql};

/// The expression, in which every condition that decides by itself is unknown where a side of it is NaN. The text as it
/// is where there is none, or it cannot be written otherwise.
pub(super) fn known(text: &str) -> String {
    let Ok(mut expr) = promql::tree(text) else { return text.to_owned() };
    if !rewrite(&mut expr) {
        return text.to_owned();
    }
    printed(&mut expr).unwrap_or_else(|| text.to_owned())
}

/// True when anything was rewritten.
fn rewrite(expr: &mut Expr) -> bool {
    if let Expr::Binary(b) = expr
        && let Some(template) = template(b)
    {
        let (lhs, rhs) = (b.lhs.as_ref().clone(), b.rhs.as_ref().clone());
        return put(expr, template, lhs, rhs);
    }
    match expr {
        Expr::Paren(p) => rewrite(&mut p.expr),
        // Both pass by NaN as long as there is a number.
        Expr::Aggregate(a) if [token::T_MIN, token::T_MAX].contains(&a.op.id()) => rewrite(&mut a.expr),
        Expr::Binary(b) => match b.op.id() {
            token::T_LAND | token::T_LUNLESS => rewrite(&mut b.lhs),
            token::T_LOR => {
                let lhs = rewrite(&mut b.lhs);
                rewrite(&mut b.rhs) || lhs
            }
            // Bad where one is known to be bad, else unknown where one is unknown: `1 ^ NaN` and `NaN ^ 0` are 1.
            token::T_MUL if condition(&b.lhs) && condition(&b.rhs) => {
                rewrite(&mut b.lhs);
                rewrite(&mut b.rhs);
                let (lhs, rhs) = (b.lhs.as_ref().clone(), b.rhs.as_ref().clone());
                put(expr, ("(1 - plimsoll_sides)", token::T_POW), wrapped("(1 - plimsoll_sides)", bracketed(lhs)), rhs)
            }
            _ => false,
        },
        _ => false,
    }
}

/// What a comparison with `bool` says of the sign of a difference, and the operator that takes the place of its own.
fn template(b: &BinaryExpr) -> Option<(&'static str, u16)> {
    if !b.return_bool() || ![&b.lhs, &b.rhs].iter().any(|side| side.value_type() == ValueType::Vector) {
        return None;
    }
    let template = match b.op.id() {
        token::T_GTR => "clamp_min(sgn(plimsoll_sides), 0)",
        token::T_GTE => "clamp_max(1 + sgn(plimsoll_sides), 1)",
        token::T_LSS => "clamp_min(-sgn(plimsoll_sides), 0)",
        token::T_LTE => "clamp_max(1 - sgn(plimsoll_sides), 1)",
        token::T_EQLC => "(1 - abs(sgn(plimsoll_sides)))",
        token::T_NEQ => "abs(sgn(plimsoll_sides))",
        _ => return None,
    };
    Some((template, token::T_SUB))
}

/// Whether an expression is 0 or 1 by a comparison.
fn condition(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(p) => condition(&p.expr),
        Expr::Aggregate(a) => [token::T_MIN, token::T_MAX].contains(&a.op.id()) && condition(&a.expr),
        Expr::Binary(b) => match b.op.id() {
            token::T_LAND | token::T_LUNLESS => condition(&b.lhs),
            token::T_MUL => condition(&b.lhs) && condition(&b.rhs),
            _ => template(b).is_some(),
        },
        _ => false,
    }
}

/// Puts both sides, joined by another operator, where the template has them, and that in the place of the expression.
fn put(expr: &mut Expr, (template, op): (&str, u16), lhs: Expr, rhs: Expr) -> bool {
    let Expr::Binary(b) = &*expr else { return false };
    let modifier = b.modifier.clone().map(|modifier| BinModifier { return_bool: false, ..modifier });
    let (lhs, rhs) = (Box::new(bracketed(lhs)), Box::new(bracketed(rhs)));
    *expr = wrapped(template, Expr::Binary(BinaryExpr { op: token::TokenType::new(op), lhs, rhs, modifier }));
    true
}

/// The template with an expression where it says so.
fn wrapped(template: &str, inner: Expr) -> Expr {
    let Ok(mut outer) = promql::tree(template) else { return inner };
    let mut open = vec![&mut outer];
    while let Some(expr) = open.pop() {
        if matches!(expr, Expr::VectorSelector(selector) if selector.name.as_deref() == Some("plimsoll_sides")) {
            *expr = inner;
            break;
        }
        open.extend(promql::children_mut(expr));
    }
    outer
}

/// In brackets, where an operator beside it could take a part of it.
fn bracketed(expr: Expr) -> Expr {
    match expr {
        Expr::Binary(_) | Expr::Unary(_) => Expr::Paren(ParenExpr { expr: Box::new(expr) }),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_decide_are_those_of_a_sign() {
        for (text, known_text) in [
            ("a / b >= bool 0.99", "clamp_max(1 + sgn((a / b) - 0.99), 1)"),
            ("0.5 > bool a", "clamp_min(sgn(0.5 - a), 0)"),
            ("(a < bool on (x) b)", "(clamp_min(-sgn(a - on (x) b), 0))"),
            ("min by (x) (a <= bool 1) and b > 0", "min by (x) (clamp_max(1 - sgn(a - 1), 1)) and b > 0"),
            ("a == bool 1 or b != bool 1", "(1 - abs(sgn(a - 1))) or abs(sgn(b - 1))"),
            (
                "(a > bool 1) * on (x) group_left (y) (b > bool 2)",
                "(1 - (1 - (clamp_min(sgn(a - 1), 0))) ^ on (x) group_left (y) (clamp_min(sgn(b - 2), 0)))",
            ),
            (
                "(a > bool 1) * (b > bool 2) * (c > bool 3)",
                "(1 - (1 - (1 - (1 - (clamp_min(sgn(a - 1), 0))) ^ (clamp_min(sgn(b - 2), 0)))) ^ (clamp_min(sgn(c - 3), 0)))",
            ),
        ] {
            assert_eq!(promql::tree(&known(text)), promql::tree(known_text), "{text}: {}", known(text));
        }
        // Neither decides by itself, nor is a vector.
        for text in
            ["1 - (a > bool 1)", "avg(a > bool 1)", "a * (b > bool 1)", "vector(time() > bool 5)", "a", "min(a)"]
        {
            assert_eq!(known(text), text);
        }
    }
}
