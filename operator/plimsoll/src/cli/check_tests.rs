#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

const NAMESPACE: &str = "default";

/// An SLO with this indicator, and with these other fields.
fn slo(sli: &str, more: &str) -> String {
    format!(
        "{{apiVersion: plimsoll.dev/v1alpha1, kind: SLO, metadata: {{name: a, labels: {{b: c}}, annotations: {{d: e}}}}, spec: {{
  objective: '99.9', description: Checkout answers., owner: shop, service: checkout, labels: {{a: b}}, backend: default,
  period: {{rolling: 30d}}, runbooks: [restart], sli: {sli}, alerting: {{minimumBadEvents: 10, labels: {{team: shop}},
    annotations: {{summary: It burns.}}, tiers: [{{name: fast, burnRate: '14.4', longWindow: 1h, shortWindow: 5m, severity: Page}}]}}{more}}}}}"
    )
}

/// Fields that not every indicator can have.
const MORE: &str = ", groupBy: [route], anomaly: {sensitivity: Low}, exclusions: [
    {name: move, from: '2026-12-01T22:00:00Z', to: '2026-12-02T02:00:00Z', reason: move},
    {name: night, every: 'Sun 03:00', for: 2h, timeZone: Europe/Berlin}]";

fn objects() -> Vec<(&'static str, Value)> {
    let slos = [
        ("events", "{events: {bad: 'errors_total{job=\"a\"}', total: 'requests_total{job=\"a\"}'}}", MORE),
        ("good events", "{events: {good: good_total, total: requests_total}}", ""),
        ("ratio", "{ratio: {errors: 'sum(rate(errors[$window])) / sum(rate(all[$window]))'}}", ""),
        ("latency", "{latency: {histogram: request_duration_seconds, threshold: 300ms, unit: Seconds}}", ""),
        ("up", "{up: {series: 'up{job=\"a\"}'}}", ""),
        ("slices", "{timeSlices: {good: 'a < bool 1', slice: 1m}}", ""),
        ("preset", "{preset: {name: grpc-availability, with: {job: cart}}}", ""),
        ("weighted", "{composite: {weighted: [{slo: cart, weight: 2}, {slo: pay, weight: 1}]}}", ""),
        ("worst", "{composite: {worstOf: [cart, pay]}}", ""),
    ];
    let others = [
        (
            "AlertRule",
            "{apiVersion: plimsoll.dev/v1alpha1, kind: AlertRule, metadata: {name: a, namespace: shop}, spec: {
  owner: shop, matchers: {cluster: eu}, interval: 1m, backend: default, rules: [
    {alert: Down, expr: up == 0, for: 5m, keepFiringFor: 1m, severity: Page, labels: {a: b}, annotations: {summary: Down.}, runbooks: [restart]},
    {alert: Odd, anomaly: {query: 'sum(rate(a_total[5m]))', direction: Up, sensitivity: Low}}],
  route: {receiver: pager, groupBy: [job], inhibitedBy: [Down], equal: [cluster], groupWait: 30s, groupInterval: 5m, repeatInterval: 4h}}}",
        ),
        (
            "Runbook",
            "{apiVersion: plimsoll.dev/v1alpha1, kind: Runbook, metadata: {name: a, namespace: shop}, spec: {
  description: Takes its last words., owner: shop, mode: Approve, serviceAccountName: evidence,
  trigger: {alert: ['alertname=\"PodRestarting\"']}, target: pod, deadline: 1h,
  parameters: [{name: pod, object: Pod, fromLabel: pod}, {name: container, string: '[a-z0-9-]{1,63}', fromLabel: container}],
  steps: [{name: last-words, logs: {pod: pod, container: container, previous: true}}, {name: again, evictPod: {pod: pod}, onFailure: Continue},
    {name: look, exec: {pod: pod, command: [ls, /tmp]}}, {name: rest, wait: 1m}],
  artifacts: {volume: evidence}}}",
        ),
    ];
    let slos = slos.into_iter().map(|(name, sli, more)| (name, slo(sli, more)));
    let others = others.into_iter().map(|(name, text)| (name, text.to_owned()));
    slos.chain(others).map(|(name, text)| (name, serde_saphyr::from_str(&text).unwrap())).collect()
}

/// What a file with this object yields: whether it is usable, and the errors.
fn found(object: &Value) -> (bool, Vec<String>) {
    let file = File::new("a.yaml".into(), object.to_string(), 1, (true, true));
    let read = Documents::new(&file.text).next().unwrap();
    let findings =
        findings(&file, 0, &read, How { namespace: NAMESPACE, keep: false, destinations: None, elsewhere: false });
    let errors = findings.iter().flat_map(|finding| &finding.diagnostics).filter(|d| d.level == Level::Error);
    (
        findings.iter().any(|finding| finding.usable.is_some()),
        errors.map(|d| format!("{}: {}", d.path, d.message)).collect(),
    )
}

/// Pointers to every value below, inner ones last.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{i}"), all);
            }
        }
        _ => {}
    }
}

/// An object that vanished without a word would have its rules removed by `generate --prune`.
#[test]
fn whatever_is_written_an_object_is_usable_or_has_an_error() {
    let shapes = [
        json!("99.9"),
        json!(""),
        json!(99.9),
        json!(5),
        json!(["99.9"]),
        json!([]),
        json!({"value": "99.9"}),
        json!({}),
        json!(null),
        json!(true),
    ];
    for (name, object) in objects() {
        assert_eq!(found(&object), (true, Vec::new()), "{name}");
        let mut all = Vec::new();
        for part in ["metadata", "spec"] {
            pointers(object.get(part).unwrap(), &format!("/{part}"), &mut all);
        }
        for pointer in &all {
            for shape in &shapes {
                let mut changed = object.clone();
                *changed.pointer_mut(pointer).unwrap() = shape.clone();
                let (usable, errors) = found(&changed);
                assert_ne!(usable, !errors.is_empty(), "{name}: {shape} at {pointer}: {errors:?}");
            }
        }
    }
}

/// Where the shape is wrong, that is what is said, and no rule about what stands in its place.
#[test]
fn a_wrong_shape_is_told_as_such() {
    for (pointer, shape, wanted) in [
        ("/spec/objective", json!({"value": "99.9"}), "spec.objective: objective is a string"),
        ("/spec/objective", json!(["99.9"]), "spec.objective: objective is a string"),
        ("/spec/groupBy/0", json!({}), "spec.groupBy[0]: groupBy[0] is a string"),
        ("/spec/alerting/tiers/0/name", json!([]), "spec.alerting.tiers[0].name: name is a string"),
        ("/spec/alerting/tiers/0/longWindow", json!({}), "spec.alerting.tiers[0].longWindow: longWindow is a string"),
        ("/spec/runbooks/0", json!([]), "spec.runbooks[0]: runbooks[0] is a string"),
        // Quotes are not what it lacks most.
        ("/spec/objective", json!(0.9995), "spec.objective: objective is a percentage"),
    ] {
        let (_, mut object) = objects().into_iter().next().unwrap();
        *object.pointer_mut(pointer).unwrap() = shape;
        assert_eq!(found(&object), (false, vec![wanted.to_owned()]));
    }
}

#[test]
fn a_destination_that_the_configuration_lacks_is_told_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = |mode: &str| {
        format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: Runbook\nmetadata: {{name: tell}}\nspec:\n  mode: {mode}\n  serviceAccountName: a\n  trigger: {{manual: {{}}}}\n  steps:\n  - {{name: rest, wait: 1m}}\n  - name: tell\n    notify:\n      destination: pagr\n      message: look\n"
        )
    };
    let known = ["pager".to_owned()];
    for (mode, known, lines) in [
        (
            "Auto",
            Some(&known[..]),
            &[
                "tell.yaml:12: spec.steps[1].notify.destination: the file of --runbooks has no destination pagr; did you mean pager? Else add it to runbooks.destinations of that file, and start again",
            ][..],
        ),
        // What is only shown may name what nobody has allowed yet; without a file nobody knows.
        ("DryRun", Some(&known), &[]),
        ("Auto", None, &[]),
    ] {
        std::fs::write(folder.path().join("tell.yaml"), file(mode)).unwrap();
        let checked = super::objects(&[folder.path().to_owned()], "shop", known);
        let said: Vec<String> = checked.diagnostics.iter().map(Diagnostic::line).collect();
        assert!(
            said.len() == lines.len() && said.iter().zip(lines).all(|(said, line)| said.ends_with(line)),
            "{said:?}"
        );
        assert!(checked.found.iter().all(|found| found.object.is_ok()));
    }
}

/// What is wrong with this text, in order.
fn told(name: &str, text: String) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    check(&[path], NAMESPACE).diagnostics.iter().map(|one| format!("{}: {}", one.path, one.message)).collect()
}

/// To find the place of each one costs the length of the object, so that their number must have a bound.
#[test]
fn very_many_problems_of_an_object_are_counted() {
    const MANY: usize = 3000;
    let object = |fields: &str, labels: &str| {
        format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: SLO\nmetadata: {{name: a}}\nspec:\n  objective: '99.9'\n  sli: {{events: {{bad: a_total, total: b_total}}}}\n{fields}  labels:\n{labels}"
        )
    };
    let unknown: String = (0..MANY).map(|n| format!("  aFieldOfANameThatNoOtherFieldIsLike{n:06}: x\n")).collect();
    let numbers: String = (0..MANY).map(|n| format!("    aLabel{n:06}: 5\n")).collect();
    for (text, first) in [
        (object(&unknown, "    a: b\n"), "unknown field aFieldOfANameThatNoOtherFieldIsLike000000"),
        (object("", &numbers), "aLabel000000 is a string"),
    ] {
        let told = told("a.yaml", text);
        assert_eq!(told.len(), 101);
        assert!(told.iter().any(|line| line.ends_with(first)), "{told:#?}");
        let more = told.last().unwrap().strip_suffix(" more problems of this object are not told").unwrap();
        // There is a warning or so beside them.
        let more: usize = more.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((MANY - 100..MANY).contains(&more), "{more}");
    }
}
