//! The kind AlertRule: what is refused in which words, and what is rendered.

use plimsoll_api::AlertRule;
use plimsoll_slo::alerts::{self, Valid};
use serde_json::{Value, json};

use crate::merge;

/// One alert on restarts, with `patch` merged into its spec (null removes).
pub(crate) fn object(patch: &Value) -> AlertRule {
    let mut spec = json!({"rules": [{"alert": "PodRestarting", "expr": "increase(restarts_total[10m]) > 5"}]});
    merge(&mut spec, patch);
    serde_json::from_value(json!({
        "apiVersion": "plimsoll.dev/v1alpha1", "kind": "AlertRule",
        "metadata": {"name": "pods", "namespace": "shop"}, "spec": spec
    }))
    .unwrap()
}

pub(crate) fn valid(patch: &Value) -> Valid {
    alerts::validate(&object(patch)).unwrap_or_else(|problems| panic!("{patch}: {problems:?}"))
}

pub(crate) fn problems(patch: &Value) -> Vec<String> {
    let found = match alerts::validate(&object(patch)) {
        Ok(valid) => valid.warnings,
        Err(problems) => problems,
    };
    found.iter().map(|p| format!("{}: {p}", p.level)).collect()
}

/// The rule with `patch` merged into it.
pub(crate) fn rule(patch: Value) -> Value {
    let mut rule = json!({"alert": "PodRestarting", "expr": "increase(restarts_total[10m]) > 5"});
    merge(&mut rule, &patch);
    json!({"rules": [rule]})
}

fn check(cases: &[(&str, Value, &[&str])]) {
    for (what, patch, want) in cases {
        assert_eq!(problems(patch), *want, "{what}");
    }
}

#[test]
fn times() {
    check(&[
        (
            "negative",
            rule(json!({"for": "-5m"})),
            &["error: spec.rules[0].for: for is not a duration (it is negative); write it like 30d, 1h30m or 5m"],
        ),
        (
            "no unit",
            rule(json!({"for": "5"})),
            &["error: spec.rules[0].for: for is not a duration (5 has no unit); add one: 5s, 5m, 5h or 5d"],
        ),
        (
            "unit",
            rule(json!({"for": "5min"})),
            &["error: spec.rules[0].for: for is not a duration (unit min is unknown); write 5m"],
        ),
        (
            "years",
            rule(json!({"keepFiringFor": "1y"})),
            &["error: spec.rules[0].keepFiringFor: keepFiringFor is too long (1y); use at most 31d"],
        ),
        ("interval", json!({"interval": "10m"}), &["error: spec.interval: interval is too long (10m); use at most 5m"]),
        (
            "timings of the route",
            json!({"route": {"receiver": "r", "groupWait": "0s", "groupInterval": "5m", "repeatInterval": "1m"}}),
            &[
                "error: spec.route.groupWait: groupWait is not a duration (it is zero); write a time above zero, such as 300ms, 5m or 30d",
                "warning: spec.route.repeatInterval: repeatInterval is shorter than groupInterval (1m against 5m); Alertmanager looks at a group only every groupInterval: use a multiple of it",
            ],
        ),
    ]);
}

#[test]
fn matchers() {
    let one = |value: &str| json!({"matchers": {"cluster": value}});
    check(&[
        (
            "broken",
            one("=~prod-("),
            &[
                "error: spec.matchers.cluster: matcher cluster has a broken regular expression (a ( is never closed); close it, or write \\(",
            ],
        ),
        (
            "of another dialect",
            one("=~[a-z&&[^x]]"),
            &[
                "error: spec.matchers.cluster: matcher cluster has a broken regular expression (Prometheus has no &&, -- or ~~ in classes); write \\ before the characters, or list what is meant",
            ],
        ),
        (
            "look-ahead",
            one("=~(?!prod).*"),
            &[
                "error: spec.matchers.cluster: matcher cluster has a broken regular expression (Prometheus has neither look-around nor back references); say it by a second matcher",
            ],
        ),
        (
            "everything",
            one("=~.*"),
            &[
                "error: spec.matchers.cluster: matcher cluster tells nothing apart (it matches everything, as if it were not there); name what is meant, such as cluster: prod-eu; or remove it",
            ],
        ),
        (
            "everything, hidden",
            one("=~(prod|.*)"),
            &[
                "error: spec.matchers.cluster: matcher cluster tells nothing apart (it matches everything, as if it were not there); name what is meant, such as cluster: prod-eu; or remove it",
            ],
        ),
        (
            "nothing",
            one("!~.*"),
            &[
                "error: spec.matchers.cluster: matcher cluster tells nothing apart (it excludes everything, so that no alert can fire); name what is not meant, or remove it",
            ],
        ),
        (
            "empty",
            one(""),
            &[
                "error: spec.matchers.cluster: matcher cluster is empty (only series without cluster would be seen); give it a value, or remove it",
            ],
        ),
        (
            "name",
            json!({"matchers": {"data-centre": "a"}}),
            &["error: spec.matchers.data-centre: data-centre is not a label name; write data_centre"],
        ),
        (
            "metric name",
            json!({"matchers": {"__name__": "a"}}),
            &[
                "error: spec.matchers.__name__: label __name__ is reserved by Prometheus; use a name without leading underscores",
            ],
        ),
        (
            "contradiction by exclusion",
            json!({"matchers": {"cluster": "eu"}, "rules": [{"alert": "A", "expr": "up{cluster!=\"eu\",job!=\"eu\"} == 0"}]}),
            &[
                "warning: spec.rules[0].expr: expr selects nothing (cluster!=\"eu\" here, cluster=\"eu\" in spec.matchers; both must hold); remove one of them",
            ],
        ),
        (
            "label that its series contradict",
            json!({"matchers": {"cluster": "eu", "zone": "=~a|b"}, "rules": [{"alert": "A", "expr": "up == 0",
                "labels": {"cluster": "us", "zone": "c", "team": "[[ owner ]]"}}]}),
            &[
                "warning: spec.rules[0].labels.cluster: label cluster says another value than its series (spec.matchers has cluster: eu); remove it, or name it otherwise: the alert has the label of its series",
                "warning: spec.rules[0].labels.team: label team keeps its [[ ]] (only annotations are filled in); write the value itself, or put it into an annotation",
            ],
        ),
        (
            "contradiction",
            json!({"matchers": {"cluster": "eu"}, "rules": [{"alert": "A", "expr": "up{cluster=\"us\"} == 0"}]}),
            &[
                "warning: spec.rules[0].expr: expr selects nothing (cluster=\"us\" here, cluster=\"eu\" in spec.matchers; both must hold); remove one of them",
            ],
        ),
    ]);
}

#[test]
fn expressions() {
    check(&[
        (
            "none",
            rule(json!({"expr": null})),
            &["error: spec.rules[0]: a rule has exactly one of expr, logql and anomaly (there is none); add one"],
        ),
        (
            "buckets without le",
            rule(json!({"expr": "histogram_quantile(0.9, (sum by (job) (rate(x_bucket[5m])))) > 1"})),
            &[
                "warning: spec.rules[0].expr: histogram_quantile gets no buckets (sum drops the label le, so that it yields nothing); keep it: sum by (le) (…), with the other labels that are needed",
            ],
        ),
        (
            "buckets with le, and native histograms",
            rule(
                json!({"expr": "histogram_quantile(0.9, sum by (le, a) (rate(x_bucket[5m]))) + histogram_quantile(0.9, sum without (a) (x_bucket)) + histogram_quantile(0.9, sum by (a) (rate(x[5m]))) > 1"}),
            ),
            &[],
        ),
        ("comment", rule(json!({"expr": "# of all\nup{job=~`a\\d+`} == 0 # down"})), &[]),
        (
            "two",
            rule(json!({"logql": "rate({a=\"b\"}[1m]) > 0"})),
            &[
                "error: spec.rules[0]: a rule has exactly one of expr, logql and anomaly (there are expr and logql); keep one",
            ],
        ),
        (
            "unbalanced",
            rule(json!({"expr": "sum(rate(a[5m]) > 1"})),
            &["error: spec.rules[0].expr: expr is not valid PromQL (this ( is never closed); close it"],
        ),
        (
            "number",
            rule(json!({"expr": "time() > bool 5"})),
            &[
                "error: spec.rules[0].expr: expr is not an instant vector (it is a number, so the alert would never end); write an expression that yields series",
            ],
        ),
        (
            "range",
            rule(json!({"expr": "a[5m]"})),
            &[
                "error: spec.rules[0].expr: expr is not an instant vector (it is a range vector); write an expression that yields series",
            ],
        ),
        (
            "window",
            rule(json!({"expr": "rate(a[$window]) > 1"})),
            &["error: spec.rules[0].expr: expr has $window, which only SLOs have; write a range, such as [5m]"],
        ),
        (
            "dialect of regular expressions",
            rule(json!({"expr": "a{b=~\"[x[yz]]\"} > 1"})),
            &[
                "error: spec.rules[0].expr: expr has a regular expression that Prometheus refuses or reads otherwise (Prometheus has no classes within classes); write \\[ for a bracket within a class",
            ],
        ),
        (
            "or between matchers",
            rule(json!({"expr": "a{b=\"1\" or c=\"2\"} > 1"})),
            &[
                "error: spec.rules[0].expr: expr has or between matchers (Prometheus does not know that); write two selectors with or between them",
            ],
        ),
        (
            "everything, after a word",
            rule(json!({"expr": "up == 0 and {job=~\".*\"}"})),
            &[
                "error: spec.rules[0].expr: expr is not valid PromQL (vector selector must contain at least one non-empty matcher); name a metric before the brace, or what must be there: job=~\".+\"",
            ],
        ),
        (
            "bytes",
            json!({"matchers": {"cluster": "prod"}, "rules": [{"alert": "A", "expr": "x{a=\"caf\\xc3\\xa9\"} > 1"}]}),
            &["error: spec.rules[0].expr: expr has bytes by their numbers (\\xc3\\xa9); write é instead"],
        ),
        (
            "experiment",
            rule(json!({"expr": "a + fill(0) b > 1"})),
            &[
                "error: spec.rules[0].expr: expr uses fill, which Prometheus has only as an experiment; write (a or b * 0) instead: a Prometheus without that feature flag would refuse the whole rule file",
            ],
        ),
        (
            "experimental function",
            rule(json!({"expr": "a > start()"})),
            &[
                "error: spec.rules[0].expr: expr uses start, which Prometheus has only as an experiment; use another function: a Prometheus without that feature flag would refuse the whole rule file",
            ],
        ),
        (
            "what the printer cannot say",
            json!({"matchers": {"cluster": "eu"}, "rules": [{"alert": "A", "expr": "a @ -5 > 1"}]}),
            &[
                "error: spec.rules[0].expr: expr cannot be rewritten with the matchers; write it in a plainer form, without negative times after @",
            ],
        ),
        (
            "always",
            rule(json!({"expr": "rate(errors_total[5m])"})),
            &[
                "warning: spec.rules[0].expr: expr compares nothing (it fires for every series that exists); compare it, such as > 5",
            ],
        ),
        (
            "also when false",
            rule(json!({"expr": "a > 1 == bool 2"})),
            &[
                "warning: spec.rules[0].expr: expr yields 0 instead of nothing (it fires also when the answer is 0); remove bool",
            ],
        ),
        (
            "lines",
            rule(json!({"expr": null, "logql": "{app=\"x\"} |= \"error\""})),
            &[
                "error: spec.rules[0].logql: logql yields log lines instead of numbers; write numbers over a stream, such as sum(count_over_time({app=\"checkout\"} |= \"error\" [5m])) > 10",
            ],
        ),
        (
            "languages",
            json!({"rules": [{"alert": "A", "expr": "up == 0"}, {"alert": "B", "logql": "rate({a=\"b\"}[1m]) > 0"}]}),
            &[
                "error: spec.rules[1]: PromQL and LogQL are mixed (the first rule is PromQL, and all rules go to one backend); put the LogQL rules into an AlertRule of their own",
            ],
        ),
        (
            "same name",
            json!({"rules": [{"alert": "A", "expr": "up == 0"}, {"alert": "A", "expr": "up == 1"}]}),
            &["error: spec.rules[1].alert: alert A is there twice; rename one, or tell them apart by what they mean"],
        ),
        (
            "template as a name",
            rule(json!({"alert": "{{ $labels.pod }}"})),
            &[
                "error: spec.rules[0].alert: alert is not a name (Prometheus does not expand templates here); write plain words, such as PodRestarting",
            ],
        ),
        ("no rules", json!({"rules": []}), &["error: spec.rules: rules is empty; add an alert, or remove the object"]),
    ]);
}

#[test]
fn long_and_deep_expressions_cost_nothing() {
    let refused =
        |expr: String| problems(&json!({"matchers": {"cluster": "eu"}, "rules": [{"alert": "A", "expr": expr}]}));
    assert_eq!(
        refused("(".repeat(40_000)),
        [
            "error: spec.rules[0].expr: expr is too long (40000 bytes); use at most 4096 bytes; record a part of it as a rule of its own"
        ]
    );
    for chain in [vec!["a"; 2000].join("+"), "-".repeat(4000) + "a", vec!["a"; 2000].join("^")] {
        assert_eq!(
            refused(chain),
            [
                "error: spec.rules[0].expr: expr is too deep (more than 256 operators within each other); record a part of it as a rule of its own"
            ]
        );
    }
}

#[test]
fn anomalies() {
    let anomaly = |patch: Value| {
        let mut rule = json!({"alert": "Unusual", "anomaly": {"query": "sum(rate(a[5m]))"}});
        merge(&mut rule, &patch);
        json!({"rules": [rule]})
    };
    check(&[
        ("fine", anomaly(json!({})), &[]),
        (
            "page",
            anomaly(json!({"severity": "Page"})),
            &[
                "error: spec.rules[0].severity: an anomaly does not page by itself (unusual is not yet broken); use Ticket; what must page is an SLO, whose spec.anomaly tells of the same earlier",
            ],
        ),
        (
            "threshold",
            anomaly(json!({"anomaly": {"query": "a > 5"}})),
            &[
                "warning: spec.rules[0].anomaly.query: query compares (the scorer sees gaps where the comparison is false); query the value alone: the scorer finds out what is unusual",
            ],
        ),
        (
            "number",
            anomaly(json!({"anomaly": {"query": "5"}})),
            &[
                "error: spec.rules[0].anomaly.query: query is not an instant vector (it is a number, so the alert would never end); write an expression that yields series",
            ],
        ),
    ]);
}

#[test]
fn words() {
    let annotation = |value: &str| rule(json!({"annotations": {"note": value}}));
    check(&[
        (
            "function of Prometheus",
            annotation("{{ $labels.x | badfunc }}"),
            &[
                "error: spec.rules[0].annotations.note: note has a broken template (function badfunc is unknown); use a function of Prometheus' templates",
            ],
        ),
        (
            "value of ours",
            annotation("ask [[ team ]]"),
            &[
                "error: spec.rules[0].annotations.note: note has a broken template (Variable `team` is not defined); [[ ]] knows name, namespace, alert, severity, matchers.LABEL; what is known only when the alert fires stands in {{ }}",
            ],
        ),
        (
            "never closed",
            annotation("ask [[ name"),
            &[
                "error: spec.rules[0].annotations.note: note has a broken template (Unexpected end of input); [[ ]] knows name, namespace, alert, severity, matchers.LABEL; what is known only when the alert fires stands in {{ }}",
            ],
        ),
        (
            "what could grow",
            annotation("[[ name | replace(from=\"\", to=name) ]]"),
            &[
                "error: spec.rules[0].annotations.note: note has a broken template (filter replace is not offered here; use one of default, upper, lower, capitalize, title, trim, trim_start, trim_end, truncate, first, last, length, get); remove it",
            ],
        ),
        (
            "script",
            rule(json!({"annotations": {"runbook_url": "javascript:alert(1)"}})),
            &[
                "error: spec.rules[0].annotations.runbook_url: runbook_url is not a web address (it begins with javascript:); write https://…",
            ],
        ),
        (
            "script, filled in",
            rule(json!({"annotations": {"runbook_url": "[[ 'javascript' ]]:alert(1)"}})),
            &[
                "error: spec.rules[0].annotations.runbook_url: runbook_url is not a web address (it begins with javascript:); write https://…",
            ],
        ),
        (
            "control character",
            annotation("a\u{1}\u{2}b"),
            &["error: spec.rules[0].annotations.note: note has a control character; remove it"],
        ),
        (
            "value in a label",
            rule(json!({"labels": {"load": "{{ $value }}"}})),
            &[
                "error: spec.rules[0].labels.load: label load has $value (each new value would be a new alert); put it into an annotation",
            ],
        ),
        (
            "value by its field",
            rule(
                json!({"labels": {"load": "{{ .Value }}", "all": "{{ printf \"%v\" $ }}", "pod": "{{ .Labels.pod }}"}}),
            ),
            &[
                "error: spec.rules[0].labels.all: label all has $ alone (the value is in it, and each new value would be a new alert); put it into an annotation",
                "error: spec.rules[0].labels.load: label load has .Value (each new value would be a new alert); put it into an annotation",
            ],
        ),
        (
            "label of ours",
            rule(json!({"labels": {"alertrule": "a/b", "severity": "x", "namespace": "victim", "owner": "me"}})),
            &[
                "error: spec.rules[0].labels.alertrule: label alertrule is set by Plimsoll; use another name",
                "error: spec.rules[0].labels.namespace: label namespace is that of the AlertRule; use another name",
                "error: spec.rules[0].labels.owner: label owner has a field of its own; set spec.owner",
                "error: spec.rules[0].labels.severity: label severity is set by Plimsoll; use another name",
            ],
        ),
        (
            "runbook",
            rule(json!({"runbooks": ["Bad Name"]})),
            &[
                "error: spec.rules[0].runbooks[0]: \"Bad Name\" is not a name of an object; use lower-case letters, digits, dashes and dots",
            ],
        ),
    ]);
}

#[test]
fn routes() {
    let route = |route: Value| json!({"route": route});
    check(&[
        (
            "empty",
            route(json!({"receiver": ""})),
            &["error: spec.route.receiver: receiver is empty; name a receiver of an AlertmanagerConfig here"],
        ),
        (
            "elsewhere",
            route(json!({"receiver": "payments/pager"})),
            &[
                "error: spec.route.receiver: receiver is in namespace payments (a receiver's secrets can be read only in its own namespace); define the receiver in an AlertmanagerConfig of namespace shop",
            ],
        ),
        (
            "itself",
            route(json!({"receiver": "pager", "inhibitedBy": ["PodRestarting"]})),
            &[
                "error: spec.route.inhibitedBy[0]: PodRestarting would inhibit itself (every alert of this object is in inhibitedBy, so none could be sent); leave one alert out of inhibitedBy",
            ],
        ),
        (
            "label",
            route(json!({"receiver": "pager", "groupBy": ["a-b", "pod", "pod"]})),
            &[
                "error: spec.route.groupBy[0]: a-b is not a label name; write a_b",
                "error: spec.route.groupBy[2]: label pod is there twice; remove one",
            ],
        ),
        (
            "all labels and more",
            route(
                json!({"receiver": "pager", "groupBy": ["...", "job"], "inhibitedBy": ["NodeDown"], "equal": ["..."]}),
            ),
            &[
                "error: spec.route.groupBy[0]: ... stands with other labels (it means all labels, and Alertmanager takes it only alone); remove it, or the others",
                "error: spec.route.equal[0]: ... is not a label name; use letters, digits and underscores",
            ],
        ),
        (
            "nothing to compare",
            route(json!({"receiver": "pager", "equal": ["pod"]})),
            &["warning: spec.route.equal: equal has nothing to compare; add inhibitedBy, or remove equal"],
        ),
        ("another's alert", route(json!({"receiver": "pager", "inhibitedBy": ["NodeDown"], "groupBy": ["..."]})), &[]),
    ]);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let found = problems(&json!({
        "matchers": {"a-b": "x"}, "interval": "5", "backend": "Not A Name",
        "rules": [
            {"alert": "", "expr": "a(", "for": "1t", "labels": {"a-b": ""}, "annotations": {"x_url": "ftp:"}},
            {"alert": "B"}
        ],
        "route": {"receiver": "", "inhibitedBy": [""]}
    }));
    let fields: Vec<&str> = found.iter().filter_map(|p| p.split(": ").nth(1)).collect();
    assert_eq!(
        fields,
        [
            "spec.matchers.a-b",
            "spec.rules[0].alert",
            "spec.rules[0].expr",
            "spec.rules[0].for",
            "spec.rules[0].labels.a-b",
            "spec.rules[0].annotations.x_url",
            "spec.rules[1]",
            "spec.interval",
            "spec.route.receiver",
            "spec.route.inhibitedBy[0]",
            "spec.backend"
        ]
    );
}

/// The example of the documentation, to the byte.
#[test]
fn golden() {
    let valid = valid(&json!({
        "owner": "payments",
        "matchers": {"cluster": "prod-eu", "environment": "=~prod|live"},
        "rules": [
            {
                "alert": "PodRestarting", "for": "1m", "severity": "Page", "runbooks": ["crashloop-capture"],
                "expr": "increase(kube_pod_container_status_restarts_total[10m]) > 5",
                "annotations": {
                    "summary": "{{ $labels.pod }} restarts again and again",
                    "dashboard": "https://grafana.example/d/pods?var-cluster=[[ matchers.cluster ]]&var-pod={{ $labels.pod }}",
                    "escalation": "[[ owner | upper ]]: [[ runbooks ]]"
                }
            },
            {
                "alert": "CheckoutLatencyUnusual",
                "anomaly": {"query": "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{job=\"checkout\"}[5m])))", "direction": "Up", "sensitivity": "Low"}
            }
        ],
        "route": {"receiver": "payments-pager", "groupBy": ["service"], "inhibitedBy": ["PodRestarting"], "repeatInterval": "4h"}
    }));
    let route = valid.model.route.as_ref().unwrap();
    let (own, inhibit) = route.fragment(&valid.model.id);
    let config = route.config(
        &valid.model.id,
        &json!({"name": "x", "pagerdutyConfigs": [{"routingKey": {"name": "pagerduty", "key": "routing"}}]}),
    );
    insta::assert_json_snapshot!(json!({
        "rules": alerts::render(&valid.model), "alertmanagerConfig": config, "route": own, "inhibit": inhibit,
    }));
}

#[test]
fn values_are_no_templates() {
    let rendered = alerts::render(&valid(&json!({
        "owner": "a {{ $value }}", "rules": [{"alert": "A", "expr": "up == 0", "annotations": {"note": "[[ owner ]]"}}]
    })).model);
    let rule = &rendered.groups[0].rules[0];
    assert_eq!(rule.annotations["note"], "a {{ \"{{\" }} $value }}");
    assert_eq!(rule.labels["owner"], "a {{ \"{{\" }} $value }}");
}
