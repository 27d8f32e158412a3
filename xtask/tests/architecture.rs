//! The invariants of ARCHITECTURE.md that the dependency graph can show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Normal dependencies of each package, by name.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |id: &Value| {
        metadata["packages"].as_array().unwrap().iter().find(|p| p["id"] == *id).unwrap()["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let names: BTreeMap<String, String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["id"].as_str().unwrap().to_owned(), name(&p["id"])))
        .collect();
    metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let normal = node["deps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dep| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null()));
            (
                names[node["id"].as_str().unwrap()].clone(),
                normal.map(|dep| names[dep["pkg"].as_str().unwrap()].clone()).collect(),
            )
        })
        .collect()
}

fn tree(graph: &BTreeMap<String, BTreeSet<String>>, root: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![root.to_owned()];
    while let Some(name) = next.pop() {
        if seen.insert(name.clone()) {
            next.extend(graph[&name].iter().cloned());
        }
    }
    seen
}

#[test]
fn thinking_crates_do_no_io() {
    let graph = graph();
    for pure in ["plimsoll-anomaly", "plimsoll-api", "plimsoll-page", "plimsoll-runbook", "plimsoll-slo"] {
        let tree = tree(&graph, pure);
        for shell in ["tokio", "kube", "kube-client", "reqwest", "hyper", "axum"] {
            assert!(!tree.contains(shell), "{pure} depends on {shell}");
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let graph = graph();
    assert!(!tree(&graph, "plimsoll-api").contains("plimsoll-slo"));
    assert!(!tree(&graph, "plimsoll-slo").contains("plimsoll-runbook"));
    for shipped in ["plimsoll-anomaly", "plimsoll-api", "plimsoll-page", "plimsoll-runbook", "plimsoll-slo", "plimsoll"]
    {
        let tree = tree(&graph, shipped);
        for of_tests in ["plimsoll-testbed", "plimsoll-e2e", "xtask"] {
            assert!(!tree.contains(of_tests), "{shipped} depends on {of_tests}");
        }
    }
}

#[test]
fn one_tls_library() {
    let tree = tree(&graph(), "plimsoll");
    for unwanted in ["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys", "serde_yaml"] {
        assert!(!tree.contains(unwanted), "plimsoll depends on {unwanted}");
    }
}

/// ARCHITECTURE.md says why each direct dependency is there.
#[test]
fn every_dependency_has_its_reason() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |file: &str| std::fs::read_to_string(format!("{root}/{file}")).unwrap();
    let (manifest, map) = (read("Cargo.toml"), read("ARCHITECTURE.md"));
    let (_, dependencies) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[").unwrap();
    let names: Vec<&str> =
        dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim()).collect();
    assert!(names.len() > 20, "{names:?}");
    let rows = map.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(" | ").next());
    let told: BTreeSet<&str> = rows.flat_map(|cell| cell.split(['|', ' ', ','])).collect();
    for name in names.iter().filter(|name| !name.starts_with("plimsoll") && !name.starts_with('#')) {
        assert!(told.contains(name), "ARCHITECTURE.md does not say why {name} is a dependency");
    }
}
