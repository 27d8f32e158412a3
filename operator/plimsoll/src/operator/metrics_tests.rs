//! The dashboards of `manifests/grafana` show what there is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use super::*;

/// Names of all series that rules record or the scorer exports.
fn recorded() -> BTreeSet<String> {
    let source = include_str!("../../../slo/src/names.rs");
    let texts = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1));
    texts.map(str::to_owned).collect()
}

/// Names of the operator's own series, each told once.
fn own() -> BTreeSet<String> {
    let metrics = Metrics::new();
    metrics.reconciled("unchanged", Duration::from_secs(1));
    metrics.wrote("SLO", "ok");
    metrics.admitted("allowed");
    metrics.alerts_posted("200");
    metrics.alert("stored");
    metrics.runbook_refused("Cooldown");
    metrics.runbook_ended("Succeeded");
    metrics.runbook_step("wait", "Succeeded");
    let text = metrics.text();
    let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    names.map(str::to_owned).collect()
}

struct Query {
    place: String,
    text: String,
}

/// All queries of a dashboard: of its panels and of its variables.
fn queries(name: &str, dashboard: &Value) -> Vec<Query> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let place = format!("{name}: {}", panel["title"]);
            all.push(Query { place, text: target["expr"].as_str().unwrap().to_owned() });
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|one| one["type"] == "query") {
        let text = variable["definition"].as_str().unwrap();
        // label_values(SELECTOR, LABEL)
        let (selector, _) = text.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", ")).unwrap();
        all.push(Query { place: format!("{name}: {}", variable["name"]), text: selector.to_owned() });
    }
    all
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/grafana"));
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect()
}

#[test]
fn dashboards_ask_for_series_that_exist() {
    let known: BTreeSet<String> = recorded().union(&own()).cloned().collect();
    let mut asked = BTreeSet::new();
    let dashboards = dashboards();
    assert_eq!(dashboards.len(), 3);
    for Query { place, text } in dashboards.iter().flat_map(|(name, dashboard)| queries(name, dashboard)) {
        // As Grafana fills its variables in.
        let variables = [("[$__rate_interval]", "[5m]"), ("$namespace", "shop|cart"), ("$slo", "shop/checkout")];
        let text = variables.iter().fold(text, |text, (variable, value)| text.replace(variable, value));
        let parsed =
            plimsoll_slo::promql::parse(&text, "expr").unwrap_or_else(|problem| panic!("{place}: {problem:?}"));
        for selector in parsed.selectors() {
            let name = selector.name.unwrap_or_else(|| panic!("{place}: a selector without a name"));
            assert!(known.contains(&name), "{place}: nobody writes {name}");
            asked.insert(name);
        }
    }
    // What the operator says of itself is on some dashboard.
    let unseen: Vec<_> = own().into_iter().filter(|name| !asked.contains(name)).collect();
    let bucketless = |name: &&String| !["_sum", "_count"].iter().any(|end| name.ends_with(*end));
    assert_eq!(unseen.iter().filter(bucketless).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn dashboards_are_whole() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{name}: its uid is another one's");
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}: two panels have one id");
        let mut cells = BTreeSet::new();
        for panel in panels {
            assert_ne!(panel["description"], "", "{name}: {}", panel["title"]);
            let at = |field: &str| panel["gridPos"][field].as_i64().unwrap();
            assert!(at("x") + at("w") <= 24, "{name}: {} is too wide", panel["title"]);
            for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{name}: {} covers another panel", panel["title"]);
            }
        }
    }
}
