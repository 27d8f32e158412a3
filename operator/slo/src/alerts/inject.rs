//! Matchers that are put into every selector of a PromQL expression, through its tree.

use plimsoll_api::Problem;
use promql_parser::{
    label::{MatchOp, Matcher as Parsed},
    parser::{BinModifier, Expr, LabelModifier, VectorSelector},
};

use super::matchers::Matcher;
use crate::promql;

/// Deepest tree that is rewritten: printing one descends into it.
const MAX_DEPTH: usize = 256;

/// The expression with every matcher in every selector. Without matchers it is the author's own text.
///
/// # Errors
/// What keeps the expression from being rewritten.
pub(super) fn inject(parsed: &promql::Parsed, matchers: &[Matcher], path: &str) -> Result<String, Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    if depth(&parsed.expr) > MAX_DEPTH {
        return Err(Problem::error(path, format!("{field} is too deep"))
            .label(format!("more than {MAX_DEPTH} operators within each other"))
            .help("record a part of it as a rule of its own"));
    }
    if matchers.is_empty() {
        return Ok(parsed.text.clone());
    }
    let added: Vec<Parsed> = matchers.iter().filter_map(Matcher::parsed).collect();
    let mut tree = parsed.expr.clone();
    promql::each_selector(&mut tree, &mut |selector| selector.matchers.matchers.extend(added.iter().cloned()));
    printed(&mut tree).ok_or_else(|| {
        Problem::error(path, format!("{field} cannot be rewritten with the matchers"))
            .help("write it in a plainer form, without negative times after @")
    })
}

/// The tree as text. The text must mean the tree: what the printer cannot say is refused, never guessed.
pub(crate) fn printed(tree: &mut Expr) -> Option<String> {
    if depth(tree) > MAX_DEPTH {
        return None;
    }
    tidy(tree);
    let text = tree.to_string();
    let mut again = promql::tree(&text).ok()?;
    tidy(&mut again);
    (again == *tree).then_some(text)
}

/// Brings a tree into the form in which it is printed: matchers sorted, without what means nothing,
/// such as `by ()` and `ignoring ()`.
fn tidy(expr: &mut Expr) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::Aggregate(a) => {
                if matches!(&a.modifier, Some(LabelModifier::Include(labels)) if labels.is_empty()) {
                    a.modifier = None;
                }
            }
            Expr::Binary(b) => {
                if let Some(modifier) = &mut b.modifier
                    && matches!(&modifier.matching, Some(LabelModifier::Exclude(labels)) if labels.is_empty())
                {
                    modifier.matching = None;
                }
                if b.modifier == Some(BinModifier::default()) {
                    b.modifier = None;
                }
            }
            Expr::VectorSelector(selector) => sort(selector),
            Expr::MatrixSelector(matrix) => sort(&mut matrix.vs),
            _ => {}
        }
        open.extend(promql::children_mut(expr));
    }
}

fn sort(selector: &mut VectorSelector) {
    let all = &mut selector.matchers.matchers;
    // A name that is no plain one is printed as a matcher.
    if let Some(odd) = selector.name.take_if(|name| !promql::is_metric(name)) {
        all.push(Parsed::new(MatchOp::Equal, "__name__", &odd));
    }
    all.sort_by_cached_key(ToString::to_string);
}

fn depth(expr: &Expr) -> usize {
    let (mut open, mut deepest) = (vec![(expr, 1)], 0);
    while let Some((expr, depth)) = open.pop() {
        deepest = deepest.max(depth);
        open.extend(promql::children(expr).into_iter().map(|child| (child, depth + 1)));
    }
    deepest
}

/// True when a node of the tree has the property.
pub(super) fn any(expr: &Expr, has: &impl Fn(&Expr) -> bool) -> bool {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if has(expr) {
            return true;
        }
        open.extend(promql::children(expr));
    }
    false
}
