//! What a rule reads: which series, and how far back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, anyhow};
use promql_parser::parser::{self, Expr};

/// How far back an instant selector looks.
const LOOKBACK: Duration = Duration::from_secs(300);

/// The metrics that an expression reads, each with the furthest past that it reads of it.
pub(crate) fn reads(expression: &str) -> Result<BTreeMap<String, Duration>> {
    let expression = parser::parse(expression).map_err(|error| anyhow!("{expression}: {error}"))?;
    let mut found = BTreeMap::new();
    walk(&expression, Duration::ZERO, &mut found);
    Ok(found)
}

fn walk(expression: &Expr, past: Duration, found: &mut BTreeMap<String, Duration>) {
    let mut read = |name: &Option<String>, range: Duration| {
        let depth = found.entry(name.clone().unwrap_or_default()).or_default();
        *depth = (*depth).max(past + range);
    };
    match expression {
        Expr::VectorSelector(selector) => read(&selector.name, LOOKBACK),
        Expr::MatrixSelector(matrix) => read(&matrix.vs.name, matrix.range),
        Expr::Subquery(subquery) => walk(&subquery.expr, past + subquery.range, found),
        Expr::Aggregate(aggregate) => walk(&aggregate.expr, past, found),
        Expr::Unary(unary) => walk(&unary.expr, past, found),
        Expr::Paren(paren) => walk(&paren.expr, past, found),
        Expr::Binary(binary) => {
            walk(&binary.lhs, past, found);
            walk(&binary.rhs, past, found);
        }
        Expr::Call(call) => call.args.args.iter().for_each(|argument| walk(argument, past, found)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_subqueries_add_up() -> Result<()> {
        let found = reads("sum_over_time(a[1h:1m]) / (b > 0) + max_over_time(rate(c[5m])[30m:]) or a")?;
        let seconds: Vec<_> = found.iter().map(|(name, depth)| (name.as_str(), depth.as_secs())).collect();
        assert_eq!(seconds, [("a", 3900), ("b", 300), ("c", 2100)]);
        Ok(())
    }
}
