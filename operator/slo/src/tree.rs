//! The syntax tree of an expression: made without compiling its patterns, and walked without recursion.

use std::{borrow::Cow, fmt::Write as _, sync::LazyLock};

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{self, Expr, LabelModifier, VectorSelector, token, value::ValueType},
};

use crate::re2;

/// The syntax tree of `text`. Of a matcher by regular expression its `op` says only which of the two it is, its `value`
/// is the pattern: the parser would compile each one, which costs more than all the rest, and `re2` judges them better.
///
/// # Errors
/// The parser's message.
pub(crate) fn tree(text: &str) -> Result<Expr, String> {
    let masked = plain_patterns(text).and_then(|(masked, patterns)| {
        let mut expr = parser::parse(&masked).ok()?;
        each_matcher(&mut expr, &mut |matcher| {
            if uncompile(matcher)
                && let Some(pattern) =
                    matcher.value.trim_end_matches('|').parse::<usize>().ok().and_then(|at| patterns.get(at))
            {
                (*pattern).clone_into(&mut matcher.value);
            }
        });
        let mut fine = true;
        each_selector(&mut expr, &mut |selector| fine &= !selects_everything(selector));
        fine.then_some(expr)
    });
    if let Some(expr) = masked {
        return Ok(expr);
    }
    // Of what does not parse, the message should speak of the author's text.
    let mut expr = parser::parse(&interpreted(text))?;
    each_matcher(&mut expr, &mut |matcher| {
        uncompile(matcher);
    });
    Ok(expr)
}

/// The text with `"a\\d"` for `` `a\d` ``: the parser takes a backslash between backquotes for the begin of an escape.
fn interpreted(text: &str) -> Cow<'_, str> {
    if !(text.contains('`') && text.contains('\\')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '`') | (Some('`'), '`') => out.push('"'),
            (Some('`'), '\\' | '"') => out.extend(['\\', c]),
            (Some('`'), '\n') => out.push_str("\\n"),
            (Some(_), '\\') => {
                out.push(c);
                out.extend(chars.next());
            }
            _ => out.push(c),
        }
        quote = match quote {
            None => matches!(c, '"' | '\'' | '`').then_some(c),
            open => open.filter(|open| *open != c),
        };
    }
    Cow::Owned(out)
}

fn each_matcher(expr: &mut Expr, visit: &mut impl FnMut(&mut Matcher)) {
    each_selector(expr, &mut |selector| {
        selector
            .matchers
            .matchers
            .iter_mut()
            .chain(selector.matchers.or_matchers.iter_mut().flatten())
            .for_each(&mut *visit);
    });
}

/// The labels that a result can have, where an aggregation outside of all else says which: `sum by (pod) (…) > 5` has `pod`
/// alone. `None`: it may have others.
pub fn grouped_by(expr: &Expr) -> Option<&[String]> {
    match expr {
        Expr::Paren(paren) => grouped_by(&paren.expr),
        Expr::Aggregate(aggregate) => match &aggregate.modifier {
            // These pick series, with all their labels, or add one.
            _ if [token::T_TOPK, token::T_BOTTOMK, token::T_COUNT_VALUES].contains(&aggregate.op.id()) => None,
            None => Some(&[]),
            Some(LabelModifier::Include(labels)) => Some(&labels.labels),
            Some(LabelModifier::Exclude(_)) => None,
        },
        // The right side says only which series of the left one stay.
        Expr::Binary(binary) if [token::T_LAND, token::T_LUNLESS].contains(&binary.op.id()) => grouped_by(&binary.lhs),
        Expr::Binary(binary) => match (binary.lhs.value_type(), binary.rhs.value_type()) {
            (_, ValueType::Scalar) => grouped_by(&binary.lhs),
            (ValueType::Scalar, _) => grouped_by(&binary.rhs),
            _ => None,
        },
        _ => None,
    }
}

/// True when a selector without a name has no matcher that the empty text fails, by the patterns themselves: Prometheus
/// refuses it, and with it the whole rule file.
fn selects_everything(selector: &VectorSelector) -> bool {
    let matches_empty = |matcher: &Matcher| match matcher.op {
        MatchOp::Equal => matcher.value.is_empty(),
        MatchOp::NotEqual => !matcher.value.is_empty(),
        MatchOp::Re(_) => re2::may_be_empty(&matcher.value),
        MatchOp::NotRe(_) => !re2::may_be_empty(&matcher.value),
    };
    let mut all = selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten());
    selector.name.is_none() && all.all(matches_empty)
}

/// Takes the compiled pattern out of a matcher; false when it has none.
pub(crate) fn uncompile(matcher: &mut Matcher) -> bool {
    static NONE: LazyLock<Option<(MatchOp, MatchOp)>> = LazyLock::new(|| {
        let op = |id| Some(Matcher::new_matcher(id, String::new(), String::new()).ok()?.op);
        Some((op(token::T_EQL_REGEX)?, op(token::T_NEQ_REGEX)?))
    });
    let Some((matches, matches_not)) = NONE.as_ref() else { return false };
    match matcher.op {
        MatchOp::Re(_) => matcher.op = matches.clone(),
        MatchOp::NotRe(_) => matcher.op = matches_not.clone(),
        MatchOp::Equal | MatchOp::NotEqual => return false,
    }
    true
}

/// Calls `visit` with every node, from left to right; the parser's own walk leaves out parameters of aggregations.
pub(crate) fn each<'e>(expr: &'e Expr, visit: &mut impl FnMut(&'e Expr)) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        visit(expr);
        open.extend(children(expr).into_iter().rev());
    }
}

/// The children of a node, for walks that must not recurse.
pub(crate) fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Aggregate(a) => a.param.as_deref().into_iter().chain([a.expr.as_ref()]).collect(),
        Expr::Unary(u) => vec![&u.expr],
        Expr::Binary(b) => vec![&b.lhs, &b.rhs],
        Expr::Paren(p) => vec![&p.expr],
        Expr::Subquery(s) => vec![&s.expr],
        Expr::Call(c) => c.args.args.iter().map(AsRef::as_ref).collect(),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => Vec::new(),
    }
}

/// The same, to be changed.
pub(crate) fn children_mut(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::Aggregate(a) => a.param.as_deref_mut().into_iter().chain([a.expr.as_mut()]).collect(),
        Expr::Unary(u) => vec![&mut u.expr],
        Expr::Binary(b) => vec![&mut b.lhs, &mut b.rhs],
        Expr::Paren(p) => vec![&mut p.expr],
        Expr::Subquery(s) => vec![&mut s.expr],
        Expr::Call(c) => c.args.args.iter_mut().map(AsMut::as_mut).collect(),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => Vec::new(),
    }
}

/// Calls `visit` with every selector, also inside ranges.
pub(crate) fn each_selector(expr: &mut Expr, visit: &mut impl FnMut(&mut VectorSelector)) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::VectorSelector(selector) => visit(selector),
            Expr::MatrixSelector(matrix) => visit(&mut matrix.vs),
            other => open.extend(children_mut(other)),
        }
    }
}

/// The text with each pattern of a matcher replaced by its number, and the patterns. `None` where one is written with
/// escapes, or there is none. The number matches no empty text, and what must not match matches the empty text too: so
/// the parser, which wants one matcher that the empty text fails where there is no name, complains of none of them.
fn plain_patterns(text: &str) -> Option<(String, Vec<&str>)> {
    let (mut masked, mut patterns) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let (before, from) = rest.split_at(at);
        let quote = from.chars().next()?;
        let content = from.get(1..)?.split(quote).next()?;
        // An escape may be of the quote itself, and what it stands for is the parser's business, as is a broken line.
        if quote != '`' && content.contains(['\\', '\n']) {
            return None;
        }
        masked.push_str(before);
        let negative = before.trim_end().ends_with("!~");
        if negative || before.trim_end().ends_with("=~") {
            let _ = write!(masked, "\"{}{}\"", patterns.len(), if negative { "|" } else { "" });
            patterns.push(content);
        } else {
            masked.push_str(&interpreted(from.get(..content.len() + 2)?));
        }
        rest = from.get(content.len() + 2..)?;
    }
    masked.push_str(rest);
    (!patterns.is_empty()).then_some((masked, patterns))
}
