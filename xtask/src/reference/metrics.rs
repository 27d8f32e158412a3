//! The operator's own metrics, from where they are registered.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::NOTICE;
use super::markdown::table;

/// The page, from the module's source.
pub(super) fn page(source: &str) -> Result<String> {
    let (code, _tests) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
    let labels = labels(code);
    let types: BTreeMap<&str, &str> = code
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter_map(|line| line.split_once(": "))
        .filter(|(_, type_)| ["Counter", "Gauge", "Histogram"].iter().any(|kind| type_.contains(kind)))
        .collect();
    let mut rows = Vec::new();
    for call in code.split("registry.register(").skip(1) {
        let mut texts = call.split('"');
        let (name, help) = (texts.nth(1).context("a metric without a name")?, texts.nth(1).context("no help")?);
        let variable = texts.next().and_then(|rest| rest.split(".clone()").next());
        let variable = variable.context("no variable")?.trim_matches([',', ' ', '\n']);
        let type_ = types.get(variable).with_context(|| format!("{name} has no field {variable}"))?;
        let (kind, end) = match *type_ {
            type_ if type_.contains("Counter") => ("counter", "_total"),
            type_ if type_.contains("Gauge") => ("gauge", ""),
            _ => ("histogram", ""),
        };
        let of = type_.split_once("Family<").and_then(|(_, rest)| rest.split_once(',')).map(|(label, _)| label);
        let of =
            of.and_then(|label| labels.get(label)).map(|names| format!("{{{}}}", names.join(","))).unwrap_or_default();
        rows.push([format!("`plimsoll_{name}{end}{of}`"), kind.to_owned(), help.to_owned()]);
    }
    ensure!(!rows.is_empty(), "no metrics are found where their table is made from");
    rows.sort();
    Ok(format!(
        "{NOTICE}\n\n# The operator's metrics\n\n\
        At `/metrics` of `--listen`. Of what the anomaly scorer exports, see [Anomalies](../anomaly.md#in-the-cluster).\n\n{}",
        table(["metric", "type", "what"], rows),
    ))
}

/// The fields of each struct of labels.
fn labels(code: &str) -> BTreeMap<&str, Vec<&str>> {
    let structs = code.split("EncodeLabelSet)]\nstruct ").skip(1);
    structs
        .filter_map(|text| {
            let (name, rest) = text.split_once(" {")?;
            let (fields, _) = rest.split_once('}')?;
            Some((name, fields.lines().filter_map(|line| Some(line.trim().split_once(": ")?.0)).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_its_type_labels_and_help() {
        let source = "#[derive(EncodeLabelSet)]\nstruct L {\n    outcome: &'static str,\n}\npub struct Metrics {\n    \
            reconciles: Family<L, Counter>,\n    leader: Gauge,\n}\n\
            registry.register(\"reconciles\", \"By outcome\", reconciles.clone());\n\
            registry.register(\n    \"leader\",\n    \"1 while it leads\",\n    leader.clone(),\n);\n";
        let page = page(source).unwrap();
        assert!(page.contains("| `plimsoll_reconciles_total{outcome}` | counter | By outcome |"), "{page}");
        assert!(page.contains("| `plimsoll_leader` | gauge | 1 while it leads |"), "{page}");
        assert!(super::page("fn main() {}").is_err());
    }
}
