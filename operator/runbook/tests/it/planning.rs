//! What is planned and what is sent.

use std::collections::BTreeMap;

use plimsoll_api::{execution::TriggerKind, runbook::Step};
use plimsoll_runbook::{
    matching::{self, Alert, Occurrence, Score, matches},
    names,
    parameters::{picked, queries, resolve},
    requests::{self, Call, Expect, Run},
};
use serde_json::{Value, json};

use crate::{IMAGE, alert, labels, model, noon, planned, planned_with};

/// The requests of the first step of a runbook, as lines, and the calls themselves.
pub(crate) fn sent(patch: &Value, undo: bool) -> (Vec<String>, Vec<Call>) {
    let planned = planned(patch).unwrap_or_else(|wrong| panic!("{patch}: {wrong:?}"));
    let run = Run {
        namespace: "shop",
        name: "crashloop-1",
        uid: "rbx-uid",
        created: noon(),
        begun: crate::at("2026-11-26T14:00:00Z"),
        first: crate::at("2026-11-26T14:00:00Z"),
        spec: &planned.spec,
    };
    let step: &Step = &planned.spec.steps[0];
    let calls = if undo { requests::undo(&run, step) } else { requests::of(&run, step) }.unwrap();
    (calls.iter().map(|call| call.request.to_string()).collect(), calls)
}

pub(crate) fn with(step: Value) -> Value {
    // A fault hits the target alone.
    let target = step.pointer("/chaos/object").cloned().unwrap_or_else(|| json!("pod"));
    json!({
        "target": target,
        "parameters": [
            {"name": "pod", "object": "Pod", "fromLabel": "pod"},
            {"name": "app", "object": "Deployment", "ownerOf": "pod"},
            {"name": "node", "object": "Node", "ownerOf": "pod"},
            {"name": "monitor", "object": "ServiceMonitor", "default": "checkout"},
        ],
        "steps": [step],
    })
}

fn lines(step: Value) -> Vec<String> {
    sent(&with(step), false).0
}

const POD: &str = "/api/v1/namespaces/shop/pods/checkout-1";
const APP: &str = "/apis/apps/v1/namespaces/shop/deployments/owner";

/// The Pod that is to blame is named by no alert of an SLO: a query finds it. Whichever it finds, the alert is one run.
#[test]
fn a_query_picks_the_object() {
    let patch = json!({"parameters": [{"name": "pod", "object": "Pod", "fromQuery": "rate(restarts[5m])", "fromLabel": "pod"}]});
    let model = model(&patch);
    let none = BTreeMap::new();
    let (parameter, query) = queries(&model, &none).next().unwrap();
    assert_eq!(query, "rate(restarts[5m])");
    let series = |pod: &str, value: &str| json!({"metric": {"pod": pod, "namespace": "shop"}, "value": [0, value]});
    let answer = |series: Vec<Value>| json!({"status": "success", "data": {"resultType": "vector", "result": series}});
    let pick = |series: Vec<Value>| picked(parameter, &answer(series)).unwrap();
    let all = vec![series("a", "1"), series("c", "9"), series("b", "9"), series("d", "NaN")];
    assert_eq!(pick(all), Some("shop/b".to_owned()));
    assert_eq!(pick(vec![json!({"metric": {}, "value": [0, "1"]})]), None);
    assert!(picked(parameter, &json!({"status": "error"})).is_err());
    // The trigger's own label is not meant.
    let labels = BTreeMap::from([("pod".to_owned(), "other".to_owned())]);
    let wrong = resolve(&model, &labels, &none).unwrap_err();
    assert_eq!(wrong[0].message, "its query yields no series with the label, and there is no default");
    let given = BTreeMap::from([("pod".to_owned(), "shop/b".to_owned())]);
    assert_eq!(resolve(&model, &labels, &given).unwrap().values["pod"], "b");
    let mut patch = patch;
    patch["parameters"][0]["default"] = json!("checkout-1");
    let names = ["one", "another"].map(|uid| planned_with(&patch, |object| object.uid = uid.to_owned()).unwrap().name);
    assert_eq!(names[0], names[1]);
}

#[test]
fn every_action_has_its_requests() {
    let own = names::of_step("crashloop-1", "a");
    let get = format!("GET {POD}");
    let cases = [
        (json!({"describe": {"object": "pod"}}), vec![
            get.clone(),
            get.clone(),
            "GET /api/v1/namespaces/shop/events?fieldSelector=involvedObject%2Euid%3Dcheckout%2D1%2Duid&limit=500".to_owned(),
        ]),
        (json!({"logs": {"pod": "pod", "previous": true, "tail": 9}}), vec![
            get.clone(),
            format!("GET {POD}/log?container=app&timestamps=true&previous=true&tailLines=9"),
        ]),
        (json!({"debugContainer": {"pod": "pod", "image": IMAGE, "command": ["ps", "$(pod)"]}}), vec![
            format!("PATCH {POD}/ephemeralcontainers (application/strategic-merge-patch+json)"),
            get.clone(),
            format!("GET {POD}/log?container={own}&limitBytes=10485761"),
        ]),
        (json!({"profile": {"pod": "pod", "port": 6060, "kinds": ["heap", "profile"], "for": "10s"}}), vec![
            get.clone(),
            "GET /api/v1/namespaces/shop/pods/checkout-1:6060/proxy/debug/pprof/heap".to_owned(),
            "GET /api/v1/namespaces/shop/pods/checkout-1:6060/proxy/debug/pprof/profile?seconds=10".to_owned(),
        ]),
        (json!({"exec": {"pod": "pod", "command": ["cat", "/proc/1/status"]}}), vec![
            get.clone(),
            format!("GET {POD}/exec?container=app&stdout=true&stderr=true&command=cat&command=%2Fproc%2F1%2Fstatus"),
        ]),
        (json!({"scale": {"workload": "app", "by": 2, "max": 5}}), vec![
            format!("GET {APP}"),
            format!("PATCH {APP}/scale (application/json-patch+json)"),
        ]),
        (json!({"restart": {"workload": "app"}}), vec![
            format!("GET {APP}"),
            format!("PATCH {APP} (application/merge-patch+json)"),
            format!("GET {APP}"),
        ]),
        (json!({"rollback": {"workload": "app"}}), vec![
            format!("GET {APP}"),
            format!("PATCH {APP} (application/json-patch+json)"),
            format!("GET {APP}"),
        ]),
        (json!({"evictPod": {"pod": "pod"}}), vec![format!("POST {POD}/eviction (application/json)")]),
        (json!({"cordon": {"node": "node"}}), vec![
            "GET /api/v1/nodes/owner".to_owned(),
            "PATCH /api/v1/nodes/owner (application/merge-patch+json)".to_owned(),
        ]),
        (json!({"chaos": {"object": "app", "duration": "30s", "networkChaos": {"delay": {"latency": "100ms"}}}}), {
            let all = "/apis/chaos-mesh.org/v1alpha1/namespaces/shop/networkchaos";
            vec![
                format!("POST {all} (application/json)"),
                format!("GET {all}/{own}"),
                format!("GET {all}/{own}"),
                format!("GET {all}/{own}"),
            ]
        }),
        (json!({"telemetryProfile": {"object": "monitor", "profile": "debug"}}), vec![
            "GET /apis/monitoring.coreos.com/v1/namespaces/shop/servicemonitors/checkout".to_owned(),
            "PATCH /apis/monitoring.coreos.com/v1/namespaces/shop/servicemonitors/checkout (application/json-patch+json)".to_owned(),
        ]),
        (json!({"silence": {"matchers": ["pod=\"$(pod)\""], "for": "1h", "comment": "$(pod)"}}), vec![
            "Alertmanager: POST /api/v2/silences (application/json)".to_owned(),
        ]),
        (json!({"notify": {"destination": "payments", "message": "$(pod) restarts"}}), vec![
            "destination payments: POST (application/json)".to_owned(),
        ]),
        (json!({"annotate": {"text": "$(pod)"}}), vec!["Grafana: POST /api/annotations (application/json)".to_owned()]),
        (json!({"wait": "5s"}), vec![]),
        (json!({"query": {"expr": "up{pod=\"$(pod)\"}"}}), vec![
            "Prometheus: GET /api/v1/query?query=up%7Bpod%3D%22checkout%2D1%22%7D".to_owned(),
        ]),
        (json!({"verify": {"slo": "checkout"}}), vec![
            "Prometheus: GET /api/v1/query?query=slo%3Aburn%5Frate%3Awindow%7Bslo%5Fid%3D%22shop%2Fcheckout%22%2Cwindow%3D%225m%22%7D".to_owned(),
        ]),
    ];
    for (action, want) in cases {
        let mut step = action.clone();
        step["name"] = json!("a");
        assert_eq!(lines(step), want, "{action}");
    }
}

#[test]
fn nobody_smuggles_privileges_in() {
    let (_, calls) = sent(
        &with(
            json!({"name": "a", "debugContainer": {"pod": "pod", "image": IMAGE, "command": ["ps"], "ptrace": true}}),
        ),
        false,
    );
    let body = calls[0].request.body.as_ref().unwrap();
    assert_eq!(body["metadata"]["uid"], "checkout-1-uid");
    assert_eq!(
        body["spec"]["ephemeralContainers"][0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}, "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    let (_, calls) = sent(&with(json!({"name": "a", "job": {"image": IMAGE, "command": ["true"]}})), false);
    let spec = &calls[0].request.body.as_ref().unwrap()["spec"];
    assert_eq!((&spec["backoffLimit"], &spec["activeDeadlineSeconds"]), (&json!(0), &json!(300)));
    assert_eq!(spec["template"]["spec"]["automountServiceAccountToken"], json!(false));
    assert_eq!(calls[0].fine, [409]);
    assert_eq!(calls[1].expect, Expect::Ours("crashloop-1".to_owned()));
}

#[test]
fn bodies_are_fixed_when_the_run_is_planned() {
    let body = |step: Value, undo: bool| sent(&with(step), undo).1.iter().find_map(|c| c.request.body.clone()).unwrap();
    let scale = json!({"name": "a", "scale": {"workload": "app", "by": 9, "max": 5}});
    let number = |from: i64, to: i64| {
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "owner-uid"},
            {"op": "test", "path": "/spec/replicas", "value": from},
            {"op": "add", "path": "/spec/replicas", "value": to},
        ])
    };
    assert_eq!(body(scale.clone(), false), number(4, 5));
    assert_eq!(body(scale, true), number(5, 4));
    let restart = body(json!({"name": "a", "restart": {"workload": "app"}}), false);
    let annotations = &restart["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["kubectl.kubernetes.io/restartedAt"], "2026-11-26T12:00:00Z");
    let image = "/2/value/spec/containers/0/image";
    let rollback = json!({"name": "a", "rollback": {"workload": "app"}});
    assert_eq!(body(rollback.clone(), false).pointer(image), Some(&json!("checkout:7")));
    assert_eq!(body(rollback, true).pointer(image), Some(&json!("checkout:8")));
    let telemetry = json!({"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug"}});
    let path = |i: usize| format!("/spec/endpoints/{i}/interval");
    assert_eq!(
        body(telemetry.clone(), false),
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "checkout-uid"},
            {"op": "test", "path": path(0), "value": "30s"},
            {"op": "add", "path": path(0), "value": "5s"},
            {"op": "add", "path": path(1), "value": "5s"},
        ])
    );
    assert_eq!(
        body(telemetry, true),
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "checkout-uid"},
            {"op": "test", "path": path(0), "value": "5s"},
            {"op": "add", "path": path(0), "value": "30s"},
            {"op": "test", "path": path(1), "value": "5s"},
            {"op": "add", "path": path(1), "value": ""},
            {"op": "remove", "path": path(1)},
        ])
    );
    let silence = json!({"name": "a", "silence": {"matchers": ["pod=\"$(pod)\"", "namespace=\"other\""], "for": "1h", "comment": "$(pod)"}});
    let silence = body(silence, false);
    let matcher = |name: &str, value: &str| json!({"name": name, "value": value, "isRegex": false, "isEqual": true});
    assert_eq!(silence["matchers"], json!([matcher("pod", "checkout-1"), matcher("namespace", "shop")]));
    // From when it is silenced, however long somebody thought about it.
    assert_eq!(
        (silence["startsAt"].as_str(), silence["endsAt"].as_str()),
        (Some("2026-11-26T14:00:00Z"), Some("2026-11-26T15:00:00Z"))
    );
}

/// To more is never to fewer, and what somebody has turned off stays so.
#[test]
fn a_scale_never_goes_the_other_way() {
    let scaled = |scale: Value, replicas: i64| {
        let mut step = json!({"name": "a", "scale": {"workload": "app", "max": 10}});
        step["scale"].as_object_mut().unwrap().extend(scale.as_object().unwrap().clone());
        let planned = planned_with(&with(step), |object| object.facts.replicas = Some(replicas));
        planned.map(|planned| planned.spec.steps[0].action.scale.as_ref().unwrap().replicas.unwrap())
    };
    for (scale, replicas, wanted) in [
        (json!({"by": 2}), 4, Ok(6)),
        (json!({"by": 2}), 9, Ok(10)),
        (json!({"by": 2}), 10, Ok(10)),
        (json!({"by": 2}), 14, Err("has 14 replicas, above max 10 already")),
        (json!({"percent": 150}), 14, Err("has 14 replicas, above max 10 already")),
        (json!({"percent": 150}), 5, Ok(8)),
        (json!({"by": 2}), 0, Err("has 0 replicas: somebody has turned it off")),
        (json!({"percent": 50}), 0, Err("has 0 replicas: somebody has turned it off")),
        (json!({"by": -1, "min": 3}), 2, Err("has 2 replicas, below min 3 already")),
        (json!({"percent": 50, "min": 3}), 4, Ok(3)),
        (json!({"by": -1}), 14, Ok(10)),
        // A number is what the author has written.
        (json!({"replicas": 3}), 14, Ok(3)),
        (json!({"replicas": 3}), 0, Ok(3)),
    ] {
        match (scaled(scale.clone(), replicas), wanted) {
            (Ok(number), wanted) => assert_eq!(Ok(number), wanted, "{scale} of {replicas}"),
            (Err(wrong), Err(wanted)) => assert!(wrong[0].contains(wanted), "{scale} of {replicas}: {wrong:?}"),
            (Err(wrong), Ok(_)) => panic!("{scale} of {replicas}: {wrong:?}"),
        }
    }
}

/// A revision that was not looked up is not gone back to, nor another one instead.
#[test]
fn a_rollback_goes_to_its_own_revision() {
    let to =
        |revision: i64| planned(&with(json!({"name": "a", "rollback": {"workload": "app", "revision": revision}})));
    assert_eq!(to(7).unwrap().spec.steps[0].action.rollback.as_ref().unwrap().revision, Some(7));
    let wrong = to(5).unwrap_err();
    assert_eq!(
        wrong,
        ["step a: another step takes app to revision 7; one runbook goes back to one revision of a Deployment"]
    );
}

#[test]
fn the_name_is_the_lock() {
    let first = planned(&json!({})).unwrap();
    assert_eq!(planned(&json!({})).unwrap(), first);
    assert_eq!(first.name.len(), "crashloop-".len() + 16);
    let other = planned_with(&json!({}), |object| object.uid = "another".to_owned()).unwrap();
    assert_ne!(other.name, first.name);
    // What is done is a part of the hash that an approval names, not of the name.
    let edited = planned(&json!({"deadline": "30m"})).unwrap();
    assert_eq!(edited.name, first.name);
    assert_ne!(edited.spec_hash, first.spec_hash);
    let stored: plimsoll_api::RunbookExecutionSpec =
        serde_json::from_str(&serde_json::to_string(&first.spec).unwrap()).unwrap();
    assert_eq!(names::spec_hash(&stored).unwrap(), first.spec_hash);
}

#[test]
fn what_matches_and_why_not() {
    let base = model(&json!({}));
    let refused = |occurrence: &Occurrence| matches(&base, occurrence, noon()).unwrap_err();
    let evidence =
        matches(&base, &alert(&[("alertname", "PodRestarting"), ("pod", "a"), ("cluster", "eu")]), noon()).unwrap();
    assert_eq!((evidence.kind, evidence.fingerprint.as_str()), (TriggerKind::Alert, "f1"));
    // External labels are not on the series of Prometheus.
    assert_eq!(evidence.condition.as_deref(), Some(r#"ALERTS{alertname="PodRestarting",alertstate="firing",pod="a"}"#));
    // What it was chosen by is on its series, or nothing is: an alert of the same name elsewhere is another one.
    let chosen = ["alertname=\"PodRestarting\"", "team=\"a.b\"", "tier!=\"test\"", "route=\"\""];
    let here = model(&json!({"trigger": {"alert": chosen}}));
    let of_here = [("alertname", "PodRestarting"), ("pod", "a"), ("namespace", "shop"), ("team", "a.b")];
    let condition = matches(&here, &alert(&of_here), noon()).unwrap().condition.unwrap();
    assert_eq!(
        condition,
        r#"ALERTS{alertname="PodRestarting",alertstate="firing",pod="a",namespace=~"shop|",team=~"a\\.b|",tier!="test"}"#
    );
    promql_parser::parser::parse(&condition).unwrap();
    // However a matcher asks for a label, the alert's own value is what it was chosen by: a ticket is no page.
    let chosen =
        ["alertname=\"PodRestarting\"", "severity=~\"page|critical\"", "tier!~\"test|\"", "team!=\"b\"", "pod!=\"b\""];
    let severe = model(&json!({"trigger": {"alert": chosen}}));
    let of_page = [("alertname", "PodRestarting"), ("pod", "a"), ("severity", "page"), ("tier", "web")];
    let condition = matches(&severe, &alert(&of_page), noon()).unwrap().condition.unwrap();
    assert_eq!(
        condition,
        r#"ALERTS{alertname="PodRestarting",alertstate="firing",pod="a",severity=~"page|",tier=~"web|",team!="b"}"#
    );
    promql_parser::parser::parse(&condition).unwrap();
    assert_eq!(
        refused(&alert(&[("alertname", "Other")])),
        r#"the alert does not match alertname="PodRestarting": it has "Other""#
    );
    assert_eq!(
        refused(&alert(&[("alertname", "PodRestarting"), ("namespace", "kube-system")])),
        "the alert is of namespace kube-system, which is neither its own nor one of spec.namespaces"
    );
    let resolved = Occurrence::Alert(Alert { firing: false, ..Alert::default() });
    assert_eq!(refused(&resolved), "the alert is resolved");
    assert_eq!(refused(&Occurrence::Moment(noon())), "it is started by an alert");
    let asked =
        Occurrence::Asked { id: "1".to_owned(), by: "sre".to_owned(), groups: vec!["oncall".to_owned()], at: noon() };
    let evidence = matches(&base, &asked, noon()).unwrap();
    assert_eq!(
        (evidence.requested_by.as_deref(), &evidence.requested_groups[..]),
        (Some("sre"), &["oncall".to_owned()][..])
    );
    let off = model(&json!({"mode": "Off"}));
    assert_eq!(matches(&off, &asked, noon()).unwrap_err(), "its mode is Off");
}

/// What a query has found is asked for again by its labels: another series does not keep it alive.
#[test]
fn a_series_holds_only_itself() {
    let model = model(&json!({"trigger": {"alert": null, "query": "up == 0"}}));
    let series = |pod: &str| labels(&[("pod", pod)]);
    let found = Occurrence::Series { labels: series("a"), value: "0".to_owned(), since: noon() };
    let evidence = matches(&model, &found, noon()).unwrap();
    let answer = |pods: &[&str]| {
        let all: Vec<Value> =
            pods.iter().map(|pod| json!({"metric": {"__name__": "up", "pod": pod}, "value": [0, "0"]})).collect();
        json!({"status": "success", "data": {"resultType": "vector", "result": all}})
    };
    let holds = |pods: &[&str]| matching::holds(&evidence, &answer(pods)).unwrap();
    assert!(holds(&["a"]) && holds(&["b", "a"]));
    assert!(!holds(&["b"]) && !holds(&[]));
    assert!(matching::holds(&evidence, &json!({"status": "error"})).is_err());
    // The condition of an alert names its labels itself; what Prometheus adds besides is not compared.
    let of_alert = matches(&crate::model(&json!({})), &alert(&[("alertname", "PodRestarting")]), noon()).unwrap();
    assert_eq!(matching::holds(&of_alert, &answer(&["b"])), Ok(true));
}

#[test]
fn slos_and_scores_start_what_they_name() {
    let burn = |severity: &str, runbooks: &[&str]| {
        Occurrence::Alert(Alert {
            labels: labels(&[("alertname", "SLOErrorBudgetBurn"), ("slo_id", "shop/checkout"), ("severity", severity)]),
            firing: true,
            runbooks: runbooks.iter().map(|name| (*name).to_owned()).collect(),
            ..Alert::default()
        })
    };
    let page = model(&json!({"trigger": {"alert": null, "slo": {"burning": "Page"}}}));
    assert_eq!(matches(&page, &burn("page", &["crashloop"]), noon()).map(|e| e.kind), Ok(TriggerKind::Slo));
    assert_eq!(
        matches(&page, &burn("page", &[]), noon()).unwrap_err(),
        "SLO checkout does not name it in its runbooks"
    );
    assert_eq!(
        matches(&page, &burn("ticket", &["crashloop"]), noon()).unwrap_err(),
        "SLO checkout burns at severity \"ticket\", not Page"
    );
    let named = model(&json!({"trigger": {"alert": null, "slo": {"burning": "Ticket", "names": ["cart"]}}}));
    assert_eq!(matches(&named, &burn("page", &[]), noon()).unwrap_err(), "SLO checkout is none of cart");
    // A page that is over does not hold because tickets of the same SLO go on; of a ticket, either holds.
    let condition = |model: &plimsoll_runbook::Model, severity: &str| {
        matches(model, &burn(severity, &["crashloop"]), noon()).unwrap().condition.unwrap()
    };
    assert_eq!(
        condition(&page, "page"),
        r#"ALERTS{alertname="SLOErrorBudgetBurn",alertstate="firing",severity="page",slo_id="shop/checkout"}"#
    );
    let ticket = model(&json!({"trigger": {"alert": null, "slo": {"burning": "Ticket"}}}));
    for severity in ["page", "ticket"] {
        assert_eq!(
            condition(&ticket, severity),
            r#"ALERTS{alertname="SLOErrorBudgetBurn",alertstate="firing",slo_id="shop/checkout"}"#
        );
    }

    let odd = model(&json!({"trigger": {"alert": null, "anomaly": {"above": "0.9", "slo": "checkout"}, "for": "1m"}}));
    let score = |score: &str, since: &str| {
        Occurrence::Score(Score {
            labels: labels(&[("slo_id", "shop/checkout")]),
            score: score.parse().unwrap(),
            since: crate::at(since),
            runbooks: Vec::new(),
        })
    };
    let evidence = matches(&odd, &score("0.95", "2026-11-26T11:59:00Z"), noon()).unwrap();
    assert_eq!(evidence.condition.as_deref(), Some("plimsoll_anomaly_score{slo_id=\"shop/checkout\"} > 0.9"));
    assert_eq!(
        matches(&odd, &score("0.9", "2026-11-26T11:59:00Z"), noon()).unwrap_err(),
        "the score 0.9 is not above 0.9"
    );
    assert_eq!(
        matches(&odd, &score("0.95", "2026-11-26T11:59:30Z"), noon()).unwrap_err(),
        "it has held for 30 s, not yet for 1m"
    );
}

/// What the account must be able to read, beside what the steps do.
#[test]
fn what_is_read_before_it_is_planned() {
    let read = |step: Value| -> Vec<(String, bool)> {
        let planned = planned(&with(step)).unwrap();
        let calls = requests::reads(&planned.spec.objects, &planned.spec.steps);
        calls.iter().map(|call| (call.request.to_string(), call.fine == [403])).collect()
    };
    let evict = read(json!({"name": "a", "evictPod": {"pod": "pod"}}));
    assert_eq!(evict[0], (format!("GET {POD}"), false));
    assert!(evict.contains(&("GET /apis/policy/v1/namespaces/shop/poddisruptionbudgets".to_owned(), true)));
    assert!(evict.contains(&("GET /api/v1/nodes/owner".to_owned(), false)));
    let lists = |reads: &[(String, bool)], plural: &str| reads.iter().any(|(request, _)| request.ends_with(plural));
    assert!(!lists(&evict, "/horizontalpodautoscalers") && !lists(&evict, "/replicasets"));
    let scale = read(json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 5}}));
    assert!(lists(&scale, "/horizontalpodautoscalers") && !lists(&scale, "/replicasets"));
    let rollback = read(json!({"name": "a", "rollback": {"workload": "app"}}));
    assert!(!lists(&rollback, "/horizontalpodautoscalers") && lists(&rollback, "/replicasets"));
}

/// A kubelet fills in what looks like a variable of the container, also where a label said so.
#[test]
fn a_value_of_a_container_is_what_it_was() {
    for (value, wanted) in [("$(TOKEN)", "$$(TOKEN)"), ("$$(TOKEN)", "$$$$(TOKEN)"), ("a$b", "a$b"), ("$", "$")] {
        let with = |step: Value| {
            let mut patch = with(step);
            patch["parameters"][2] = json!({"name": "what", "string": "[$()a-zA-Z]{1,20}", "default": value});
            patch
        };
        let job =
            json!({"name": "a", "job": {"image": IMAGE, "command": ["look", "$(what)"], "env": {"WHAT": "$(what)"}}});
        let body = sent(&with(job), false).1.swap_remove(0).request.body.unwrap();
        let container = &body["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["look", wanted]));
        assert_eq!(container["env"], json!([{"name": "WHAT", "value": wanted}]));
        let debug =
            json!({"name": "a", "debugContainer": {"pod": "pod", "image": IMAGE, "command": ["look", "$(what)"]}});
        let body = sent(&with(debug), false).1.swap_remove(0).request.body.unwrap();
        assert_eq!(body["spec"]["ephemeralContainers"][0]["command"], json!(["look", wanted]));
    }
}

/// Whoever must approve reads what would be done, on what and with what, and until when; values that are secret by their name
/// stay here, and so does all that a step sends.
#[test]
fn who_must_approve_is_told_what_would_be_done() {
    let mut patch = with(json!({"name": "again", "restart": {"workload": "app"}}));
    patch["mode"] = json!("Approve");
    patch["approval"] = json!({"within": "30m", "notify": "payments"});
    patch["parameters"].as_array_mut().unwrap().extend([
        json!({"name": "ticket", "string": "[A-Z]+-[0-9]+", "default": "CHG-1"}),
        json!({"name": "api-token", "string": "[a-z]+", "default": "hidden"}),
    ]);
    patch["steps"].as_array_mut().unwrap().extend([
        json!({"name": "look", "logs": {"pod": "pod"}}),
        json!({"name": "call", "exec": {"pod": "pod", "command": ["payout", "$(api-token)", "$(ticket)"]}}),
        json!({"name": "rest", "wait": "1m"}),
    ]);
    let planned = planned_with(&patch, |object| object.facts.managed_by = Some("Flux".to_owned())).unwrap();
    let (namespace, name, uid, spec) = ("shop", "crashloop-1", "rbx-uid", &planned.spec);
    let run = Run { namespace, name, uid, created: noon(), begun: noon(), first: noon(), spec };
    let call = requests::approval(&run, "payments", Some("Restarts what leaks"), noon());
    let body = call.request.body.unwrap();
    let wanted = "\
somebody must approve it: runbook shop/crashloop (Restarts what leaks)
started by Alert, since 2026-11-26T11:58:00Z
pod = Pod checkout-1 in namespace shop
monitor = ServiceMonitor checkout in namespace shop
app = Deployment owner in namespace shop
node = Node owner
api-token = \"(not shown)\"
ticket = \"CHG-1\"
1. again (restart): begin a rollout of the same template
2. look (logs): keep the log
3. call (exec): run payout
4. rest (wait)
! step again: Flux keeps Deployment owner as it is in Git and may undo the change
until 2026-11-26T12:30:00Z: plimsoll runbook approve crashloop-1 -n shop";
    assert_eq!(body["message"].as_str().unwrap(), wanted);
    assert_eq!(body["approveUntil"], "2026-11-26T12:30:00Z");
    let parameters = json!({"pod": "checkout-1", "app": "owner", "node": "owner", "monitor": "checkout",
        "ticket": "CHG-1", "api-token": "(not shown)"});
    assert_eq!(body["parameters"], parameters);
    assert!(!body.to_string().contains("hidden"), "{body}");
}
