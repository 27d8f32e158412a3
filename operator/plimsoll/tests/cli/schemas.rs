//! The schemas for editors: they take what `validate` takes, and underline what a schema can know to be wrong.

use jsonschema::Validator;
use plimsoll::source::Documents;
use serde_json::Value;

use super::*;

/// Schemas as the command writes them, by the kind.
struct Schemas(std::collections::BTreeMap<String, Validator>, Validator);

impl Schemas {
    fn written() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ran = run(directory.path(), &["schemas", "--output", "."]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        let of_kinds = fs::read_dir(directory.path()).unwrap().map(|entry| {
            let schema: Value = serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
            (schema["title"].as_str().unwrap().to_owned(), jsonschema::validator_for(&schema).unwrap())
        });
        let any: Value = serde_json::from_str(&run(directory.path(), &["schemas"]).stdout).unwrap();
        Self(of_kinds.collect(), jsonschema::validator_for(&any).unwrap())
    }

    /// Where and why an object is refused; the schema of all kinds says the same.
    fn complaints(&self, object: &Value) -> Vec<String> {
        let of = |validator: &Validator| -> Vec<String> {
            validator.iter_errors(object).map(|error| format!("{}: {error}", error.instance_path())).collect()
        };
        let found = of(&self.0[object["kind"].as_str().unwrap()]);
        assert_eq!(of(&self.1), found);
        found
    }
}

fn objects(text: &str) -> Vec<Value> {
    Documents::new(text).map(|document| document.node.unwrap().to_json()).filter(|object| !object.is_null()).collect()
}

#[test]
fn examples_and_shipped_runbooks_fit_the_schemas() {
    let schemas = Schemas::written();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    for folder in ["examples", "runbooks"] {
        for entry in walkdir::WalkDir::new(root.join(folder)) {
            let entry = entry.unwrap();
            if !entry.path().extension().is_some_and(|extension| extension == "yaml" || extension == "json") {
                continue;
            }
            for object in objects(&fs::read_to_string(entry.path()).unwrap()) {
                let ours = object["apiVersion"].as_str().is_some_and(|version| version.starts_with("plimsoll.dev/"));
                if ours {
                    seen += 1;
                    assert_eq!(schemas.complaints(&object), [""; 0], "{}", entry.path().display());
                }
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

/// What begins a file in an editor must be right itself.
#[test]
fn the_examples_of_the_schemas_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    run(d, &["schemas", "--output", "schemas"]);
    for kind in ["slo", "alertrule", "runbook"] {
        let text = fs::read_to_string(d.join(format!("schemas/{kind}.json"))).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        write(d, &format!("examples/{kind}.json"), schema["examples"][0].to_string());
    }
    let ran = run(d, &["validate", "examples"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "checked 3 objects in 3 files: 0 errors, 0 warnings\n"));
}

/// What the command line calls valid is not refused by the API server, nor the other way round.
#[test]
fn an_objective_is_written_as_the_definition_says() {
    let definition = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/slo.yaml")).unwrap();
    let rule = definition.split("self.matches('^[0-9]").nth(1).unwrap();
    let pattern = format!("^[0-9]{}", rule.split("')").next().unwrap());
    let definition = jsonschema::validator_for(&serde_json::json!({"pattern": pattern, "maxLength": 16})).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut taken = 0;
    for objective in [
        "99",
        "99.9",
        "099.9",
        "99.9%",
        "99.1234567890",
        "99.1234567890%",
        "0099.9",
        "99.12345678901",
        "99.900000000000",
        "99.",
        ".9",
        "99.9 %",
        "+99",
        "9_9",
        "٩٩",
        "",
    ] {
        write(directory.path(), "slo.yaml", SLO.replace("99.95", objective));
        let ran = run(directory.path(), &["validate", "slo.yaml"]);
        let fits = definition.is_valid(&serde_json::json!(objective));
        assert_eq!(ran.code == 0, fits, "{objective}: {}", ran.stdout);
        taken += usize::from(fits);
    }
    assert_eq!(taken, 6);
}

const SLO: &str = "\
apiVersion: plimsoll.dev/v1alpha1
kind: SLO
metadata: {name: checkout, namespace: shop}
spec:
  objective: \"99.95\"
  sli: {up: {series: up}}
";

#[test]
fn wrong_files_are_refused_where_they_are_wrong() {
    let schemas = Schemas::written();
    assert_eq!(schemas.complaints(&objects(SLO)[0]), [""; 0]);
    let (objective, sli, spec) = ("objective: \"99.95\"", "sli: {up: {series: up}}", "spec:");
    for (old, new, place) in [
        (objective, "objective: \"0.9995\"", "/spec/objective"),
        (objective, "objective: \"100\"", "/spec/objective"),
        (objective, "objective: \"1\"", "/spec/objective"),
        (objective, "objective: \"-1\"", "/spec/objective"),
        (objective, "objective: \"99,9\"", "/spec/objective"),
        (objective, "objective: 99.95", "/spec/objective"),
        (objective, "objektive: \"99.95\"", "/spec"),
        ("  objective: \"99.95\"\n", "", "/spec"),
        (sli, "sli: {}", "/spec/sli"),
        (sli, "sli: {up: {series: up}, ratio: {errors: a}}", "/spec/sli"),
        (sli, "sli: {events: {bad: a}}", "/spec/sli/events"),
        (sli, "sli: {events: {bad: a, good: b, total: c}}", "/spec/sli/events"),
        (sli, "sli: {events: {bad: a, totl: c}}", "/spec/sli/events"),
        (sli, "sli: {latency: {histogram: a, threshold: 300}}", "/spec/sli/latency/threshold"),
        (sli, "sli: {latency: {histogram: a, threshold: 0.3s}}", "/spec/sli/latency/threshold"),
        (sli, "sli: {latency: {histogram: a, threshold: 300ms, unit: Minutes}}", "/spec/sli/latency/unit"),
        (sli, "sli: {composite: {weighted: [{slo: a}], worstOf: [a]}}", "/spec/sli/composite"),
        (sli, "sli: {composite: {worstOf: []}}", "/spec/sli/composite/worstOf"),
        (spec, "spec:\n  period: {rolling: 4t}", "/spec/period/rolling"),
        (spec, "spec:\n  period: {rolling: 1.5d}", "/spec/period/rolling"),
        (spec, "spec:\n  period: {rolling: 30d, calendar: Month}", "/spec/period"),
        (spec, "spec:\n  period: {calendar: month}", "/spec/period/calendar"),
        (spec, "spec:\n  alerting: {noData: Maybe}", "/spec/alerting/noData"),
        (spec, "spec:\n  alerting: {minimumBadEvents: -1}", "/spec/alerting/minimumBadEvents"),
        (
            spec,
            "spec:\n  alerting: {tiers: [{name: a, burnRate: \"-2\", longWindow: 1h}]}",
            "/spec/alerting/tiers/0/burnRate",
        ),
        (
            spec,
            "spec:\n  alerting: {tiers: [{name: a, burnRate: \"2\", longWindow: 1h, shortWindow: 5min}]}",
            "/spec/alerting/tiers/0/shortWindow",
        ),
        (spec, "spec:\n  exclusions: [{name: a, from: \"2026-12-01T22:00:00Z\"}]", "/spec/exclusions/0"),
        (spec, "spec:\n  exclusions: [{name: a, every: \"Sun 03:00\", for: 2h, to: x}]", "/spec/exclusions/0"),
        (spec, "spec:\n  groupBy: route", "/spec/groupBy"),
        (spec, "name: checkout\nspec:", ""),
        ("name: checkout,", "name: Checkout,", "/metadata/name"),
        ("name: checkout,", "", "/metadata"),
        ("namespace: shop", "namespace: shop, lables: {}", "/metadata"),
        ("v1alpha1", "v1", "/apiVersion"),
    ] {
        assert!(SLO.contains(old), "{old}");
        let object = objects(&SLO.replacen(old, new, 1)).remove(0);
        let found = schemas.complaints(&object);
        assert!(found.iter().any(|complaint| complaint.starts_with(&format!("{place}: "))), "{new}: {found:#?}");
    }
    let rule = |rule: &str| {
        format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: AlertRule\nmetadata: {{name: a}}\nspec: {{rules: [{rule}]}}\n"
        )
    };
    let runbook = |steps: &str, more: &str| {
        format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: Runbook\nmetadata: {{name: a}}\nspec: {{serviceAccountName: a, trigger: {{manual: {{}}}}, steps: [{steps}]{more}}}\n"
        )
    };
    for (text, place) in [
        (rule("{alert: A, expr: up == 0, for: -5m}"), "/spec/rules/0/for"),
        (rule("{alert: A, expr: up == 0, logql: x}"), "/spec/rules/0"),
        (rule("{alert: A}"), "/spec/rules/0"),
        (rule("{alert: A, expr: up == 0, severity: page}"), "/spec/rules/0/severity"),
        (rule("{alert: A, expr: up == 0, annotations: {a: 5}}"), "/spec/rules/0/annotations/a"),
        (runbook("{name: a, wait: 5 minutes}", ""), "/spec/steps/0/wait"),
        (runbook("{name: a}", ""), "/spec/steps/0"),
        (runbook("{name: a, wait: 5m, logs: {pod: a}}", ""), "/spec/steps/0"),
        (runbook("{name: a, scale: {workload: w, replicas: 1, by: 1}}", ""), "/spec/steps/0/scale"),
        (runbook("{name: a, wait: 5m}", ", mode: Automatic"), "/spec/mode"),
        (
            runbook("{name: a, wait: 5m}", ", parameters: [{name: p, object: Pod, fromLabel: a, ownerOf: b}]"),
            "/spec/parameters/0",
        ),
    ] {
        let found = schemas.complaints(&objects(&text).remove(0));
        assert!(found.iter().any(|complaint| complaint.starts_with(&format!("{place}: "))), "{text}: {found:#?}");
    }
}
