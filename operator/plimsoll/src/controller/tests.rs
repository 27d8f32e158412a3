#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use kube::runtime::{reflector::store::Writer, watcher::Event};
use serde_json::{Value, json};

use super::*;
use crate::{
    operator::gate::GateLayer,
    prometheus::{LoadedGroup, LoadedRule},
    sinks::Config,
    testing::FakeApi,
};

const RULE: &str = "/apis/monitoring.coreos.com/v1/namespaces/shop/prometheusrules/plimsoll-checkout";
const SLO: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/checkout";

fn slo() -> Value {
    json!({
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "SLO",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u1", "generation": 1,
            "labels": {"release": "main", "app.kubernetes.io/instance": "argo"}, "annotations": {"a": "b"}},
        "spec": {"objective": "99.9", "sli": {"events": {
            "bad": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total"}}},
    })
}

/// A controller's parts over a fake API, without its queue.
struct Bench {
    kind: Kind,
    api: FakeApi,
    ctx: Arc<Context>,
    writer: Writer<Stored>,
    watch: tokio::task::JoinHandle<()>,
}

impl Bench {
    async fn new(api: FakeApi) -> Self {
        Self::with(api, &Config::default()).await
    }

    async fn with(api: FakeApi, config: &Config) -> Self {
        Self::of(Kind::Slo, api, config).await
    }

    async fn of(kind: Kind, api: FakeApi, config: &Config) -> Self {
        let client = api.client();
        let http = crate::prometheus::http_client().unwrap();
        let (sinks, kinds) = config.sinks(&client, &http, &GateLayer::open());
        let (touched, _) = tokio::sync::mpsc::unbounded_channel();
        let watch = tokio::spawn(Arc::clone(&kinds[0]).watch(touched));
        kinds[0].readiness().wait_for(|now| *now == kubernetes::Readiness::Ready).await.unwrap();
        let writer = Writer::<Stored>::new(kind);
        let ctx = Arc::new(Context::new(kind, client, writer.as_reader(), sinks, None, Metrics::new()));
        Self { kind, api, ctx, writer, watch }
    }

    fn path(&self) -> &'static str {
        match self.kind {
            Kind::Slo => SLO,
            Kind::AlertRule => ALERT_RULE,
        }
    }

    /// As the watch delivers what is stored now.
    fn deliver(&mut self) -> Arc<Stored> {
        let stored: Stored = serde_json::from_value(self.api.get(self.path()).unwrap()).unwrap();
        self.writer.apply_watcher_event(&Event::Apply(stored.clone()));
        Arc::new(stored)
    }

    async fn reconcile(&mut self) -> Vec<String> {
        let before = self.api.writes().len();
        let stored = self.deliver();
        let _ = reconcile(stored, Arc::clone(&self.ctx)).await;
        self.api.writes().split_off(before)
    }

    /// With a Prometheus, for which the test answers.
    fn asking(mut self) -> Self {
        let http = crate::prometheus::http_client().unwrap();
        let prometheus = Prometheus::new(http, "http://prometheus:9090").unwrap();
        Arc::get_mut(&mut self.ctx).unwrap().prometheus = Some(prometheus);
        self
    }

    /// It has all groups, but of other rules.
    fn others_are_loaded(&self) {
        let now = Instant::now() + Duration::from_secs(1);
        let question = self.ctx.observations.due(now, 10);
        assert!(!question.ids.is_empty());
        let rule = LoadedRule {
            name: "slo_info".to_owned(),
            query: "label_replace(vector(1), \"plimsoll_revision\", \"\", \"\", \"000000000000\")".to_owned(),
            health: "ok".to_owned(),
            last_error: String::new(),
        };
        let group =
            |name: &String| LoadedGroup { name: name.clone(), rules: vec![rule.clone()], ..LoadedGroup::default() };
        let found: Vec<LoadedGroup> = question.groups.iter().map(group).collect();
        self.ctx.observations.answer(&question, &found, now);
    }

    fn ready(&self) -> (String, String) {
        let status = self.api.get(self.path()).unwrap()["status"].clone();
        let ready = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap().clone();
        (ready["reason"].as_str().unwrap().to_owned(), ready["message"].as_str().unwrap().to_owned())
    }
}

fn api_with(object: Value) -> FakeApi {
    let api = FakeApi::default();
    api.put(SLO, object);
    api
}

#[tokio::test]
async fn the_second_reconcile_writes_nothing_nor_does_a_restart() {
    let mut bench = Bench::new(api_with(slo())).await;
    assert_eq!(bench.reconcile().await, [format!("PATCH {RULE}"), format!("PATCH {SLO}/status")]);
    assert_eq!(bench.reconcile().await, [""; 0]);
    let rule = bench.api.get(RULE).unwrap();
    let labels = json!({"release": "main", "app.kubernetes.io/managed-by": "plimsoll"});
    assert_eq!(rule["metadata"]["labels"], labels, "labels are copied, but not those of Argo CD");
    assert_eq!(rule["metadata"]["annotations"], Value::Null);
    bench.watch.abort();

    let mut restarted = Bench::new(bench.api).await;
    assert_eq!(restarted.reconcile().await, [""; 0]);
    assert_eq!(restarted.ready().0, "AsDeclared");
    assert_eq!(restarted.api.verbose(), [""; 0], "the API server does no more than it must");
}

/// The object does not look as it was applied, and only the watch tells: there is nothing to repair.
#[tokio::test]
async fn a_group_of_somebody_else_in_an_object_is_left_and_is_no_drift() {
    let api = api_with(slo());
    api.admits(json!({"name": "theirs", "rules": []}));
    let mut bench = Bench::new(api).await;
    assert_eq!(bench.reconcile().await, [format!("PATCH {RULE}"), format!("PATCH {SLO}/status")]);
    for _ in 0..3 {
        // The watch gets its turn.
        tokio::task::yield_now().await;
        assert_eq!(bench.reconcile().await, [""; 0]);
    }
    bench.watch.abort();

    // Another process has to ask, once, and changes nothing by it.
    let rule = bench.api.get(RULE).unwrap();
    let mut restarted = Bench::new(bench.api).await;
    assert_eq!(restarted.reconcile().await, [format!("PATCH {RULE}")]);
    assert_eq!(restarted.reconcile().await, [""; 0]);
    assert_eq!(restarted.api.get(RULE).unwrap(), rule);
}

/// How long rules have been on their way outlives the process.
#[tokio::test]
async fn a_restart_does_not_excuse_what_is_overdue() {
    let mut bench = Bench::new(api_with(slo())).await.asking();
    bench.reconcile().await;
    let mut object = bench.api.get(SLO).unwrap();
    for condition in object["status"]["conditions"].as_array_mut().unwrap() {
        condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    }
    bench.api.put(SLO, object);
    bench = Bench::new(bench.api).await.asking();
    bench.reconcile().await;
    assert_eq!(bench.ready().0, "Waiting");
    bench.others_are_loaded();
    bench.reconcile().await;
    let overdue = bench.ready();
    assert_eq!(overdue.0, "NotLoaded");
    assert!(overdue.1.contains("still has other rules of it (asked since 2026-01-01T00:00:00Z)"), "{}", overdue.1);

    bench = Bench::new(bench.api).await.asking();
    assert_eq!(bench.reconcile().await, [""; 0], "what was found stands until Prometheus is asked");
    bench.others_are_loaded();
    assert_eq!(bench.reconcile().await, [""; 0], "nor is it news then");
    assert_eq!(bench.ready(), overdue);
}

/// What is written for it then belongs to the garbage collector, which knows it by the uid.
#[tokio::test]
async fn an_slo_that_goes_while_it_is_reconciled_is_no_error() {
    let mut bench = Bench::new(api_with(slo())).await;
    let stored = bench.deliver();
    bench.api.remove(SLO);
    let done = reconcile(stored, Arc::clone(&bench.ctx)).await;
    assert_eq!(done.unwrap(), Action::await_change());
    assert_eq!(bench.api.writes(), [format!("PATCH {RULE}"), format!("PATCH {SLO}/status")], "and no event");
    assert_eq!(bench.api.get(SLO), None);
    assert_eq!(bench.api.get(RULE).unwrap()["metadata"]["ownerReferences"][0]["uid"], "u1");
}

/// There nobody collects garbage, so the finalizer comes first, and without it nothing.
#[tokio::test]
async fn an_slo_that_goes_leaves_nothing_outside() {
    let mut object = slo();
    object["spec"]["backend"] = json!("mimir");
    let mut bench = Bench::with(api_with(object), &Config::parse(AWAY).unwrap()).await;
    let stored = bench.deliver();
    bench.api.remove(SLO);
    let done = reconcile(Arc::clone(&stored), Arc::clone(&bench.ctx)).await;
    assert_eq!(done.unwrap(), Action::await_change(), "nor is it a failure");
    assert_eq!(bench.api.writes(), [format!("PATCH {SLO}")]);
    assert_eq!(bench.api.get(SLO), None);
    // Another one of its name stays as it is.
    let mut other = slo();
    other["metadata"]["uid"] = json!("u9");
    bench.api.put(SLO, other);
    let other = bench.api.get(SLO);
    assert_eq!(reconcile(stored, Arc::clone(&bench.ctx)).await.unwrap(), Action::await_change());
    assert_eq!(bench.api.get(SLO), other);
    assert_eq!(bench.api.writes(), [format!("PATCH {SLO}"), format!("PATCH {SLO}")]);
}

const ALERT_RULE: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/alertrules/checkout";
const ALERTS: &str = "/apis/monitoring.coreos.com/v1/namespaces/shop/prometheusrules/plimsoll.alertrule-checkout";

fn alert_rule() -> Value {
    json!({
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "AlertRule",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "u2", "generation": 1},
        "spec": {"matchers": {"cluster": "eu"}, "rules": [{"alert": "Down", "expr": "up == 0"}]},
    })
}

/// The same steps serve both kinds, also two objects of one name.
#[tokio::test]
async fn an_alert_rule_goes_the_same_way() {
    let api = api_with(slo());
    api.put(ALERT_RULE, alert_rule());
    let mut slos = Bench::new(api).await;
    slos.reconcile().await;
    let mut bench = Bench::of(Kind::AlertRule, slos.api.clone(), &Config::default()).await;
    assert_eq!(bench.reconcile().await, [format!("PATCH {ALERTS}"), format!("PATCH {ALERT_RULE}/status")]);
    assert_eq!(bench.reconcile().await, [""; 0]);
    assert_eq!(slos.reconcile().await, [""; 0], "the SLO of the same name is another object");
    let written = bench.api.get(ALERTS).unwrap();
    assert_eq!(written["spec"]["groups"][0]["rules"][0]["expr"], "up{cluster=\"eu\"} == 0");
    assert_eq!(written["metadata"]["ownerReferences"][0]["kind"], "AlertRule");
    let status = bench.api.get(ALERT_RULE).unwrap()["status"].clone();
    assert_eq!(
        (&status["rules"], &status["place"]),
        (&json!(1), &json!("PrometheusRule shop/plimsoll.alertrule-checkout"))
    );
    assert_eq!(bench.ready().0, "AsDeclared");
}

#[tokio::test]
async fn an_invalid_alert_rule_keeps_its_last_good_rules() {
    let api = api_with(slo());
    api.put(ALERT_RULE, alert_rule());
    let mut bench = Bench::of(Kind::AlertRule, api, &Config::default()).await;
    bench.reconcile().await;
    let good = bench.api.get(ALERTS);
    for (rule, reason, said) in [
        (json!({"alert": "Down", "expr": "up ="}), "Invalid", "spec.rules[0].expr: expr is not valid PromQL"),
        (json!({"alert": 5}), "Invalid", "spec.rules[0].alert: invalid type: integer"),
        (
            json!({"alert": "Lines", "logql": "rate({app=\"x\"}[1m]) > 0"}),
            "BackendLanguage",
            "spec.backend: backend default takes PromQL, and these rules are LogQL; name a backend that takes LogQL, a rulerApi with the path of Loki",
        ),
    ] {
        let mut object = alert_rule();
        object["spec"]["rules"][0] = rule;
        object["metadata"]["generation"] = json!(2);
        bench.api.put(ALERT_RULE, object);
        bench.reconcile().await;
        let (found, message) = bench.ready();
        assert_eq!(found, reason);
        assert!(message.starts_with(said), "{message}");
        assert_eq!(bench.api.get(ALERTS), good);
    }
}

#[tokio::test]
async fn a_stale_watch_does_not_lead_to_a_second_write() {
    let mut bench = Bench::new(api_with(slo())).await;
    let old = bench.deliver();
    reconcile(Arc::clone(&old), Arc::clone(&bench.ctx)).await.unwrap();
    let before = bench.api.writes().len();
    reconcile(old, Arc::clone(&bench.ctx)).await.unwrap();
    assert_eq!(bench.api.writes().len(), before);
}

/// Nor does one that has told of another change, or of the first of two statuses.
#[tokio::test]
async fn a_watch_that_is_behind_does_not_tell_twice() {
    let mut bench = Bench::new(api_with(slo())).await;
    let old = bench.deliver();
    // Somebody edits a label at the time of the first status.
    let mut edited = bench.api.get(SLO).unwrap();
    edited["metadata"]["labels"]["a"] = json!("b");
    bench.api.put(SLO, edited);
    let between: Stored = serde_json::from_value(bench.api.get(SLO).unwrap()).unwrap();
    reconcile(old, Arc::clone(&bench.ctx)).await.unwrap();
    let known = bench.ctx.status.stored(&between).unwrap();
    assert_eq!(known.conditions.len(), bench.api.get(SLO).unwrap()["status"]["conditions"].as_array().unwrap().len());
    let newest = bench.deliver();
    assert_eq!(bench.ctx.status.stored(&newest), newest.status);
    assert_eq!(bench.ctx.status.stored(&between), None, "forgotten, once it was told");
}

#[tokio::test]
async fn drift_of_the_time_without_an_operator_is_repaired() {
    let mut bench = Bench::new(api_with(slo())).await;
    bench.reconcile().await;
    bench.watch.abort();
    let mut rule = bench.api.get(RULE).unwrap();
    rule["spec"]["groups"][0]["interval"] = json!("1h");
    bench.api.put(RULE, rule);
    let mut restarted = Bench::new(bench.api).await;
    assert_eq!(restarted.reconcile().await, [format!("PATCH {RULE}")]);
    assert_ne!(restarted.api.get(RULE).unwrap()["spec"]["groups"][0]["interval"], json!("1h"));
}

#[tokio::test]
async fn what_is_not_ours_stays() {
    let api = api_with(slo());
    let theirs = json!({"metadata": {"name": "plimsoll-checkout", "namespace": "shop"}, "spec": {"groups": []}});
    api.put(RULE, theirs);
    let mut bench = Bench::new(api).await;
    let writes = bench.reconcile().await;
    assert_eq!(writes.first().unwrap(), &format!("PATCH {SLO}/status"));
    assert_eq!(bench.api.get(RULE).unwrap()["spec"], json!({"groups": []}));
    let (reason, message) = bench.ready();
    assert_eq!(reason, "NotOurs");
    assert!(message.contains("PrometheusRule shop/plimsoll-checkout exists and is not owned"), "{message}");
}

#[tokio::test]
async fn an_invalid_slo_keeps_its_last_good_rules() {
    let mut bench = Bench::new(api_with(slo())).await;
    bench.reconcile().await;
    let good = bench.api.get(RULE);
    for (field, value, reason) in [
        ("objective", json!("0.999"), "Invalid"),
        ("objective", json!(99.9), "Invalid"),
        ("backend", json!("mimir"), "BackendUnknown"),
        ("sli", json!({"composite": {"worstOf": ["cart"]}}), "ReferenceMissing"),
        ("sli", json!({"composite": {"worstOf": ["checkout"]}}), "Invalid"),
    ] {
        let mut object = slo();
        object["spec"][field] = value;
        object["metadata"]["generation"] = json!(2);
        bench.api.put(SLO, object);
        bench.reconcile().await;
        assert_eq!(bench.ready().0, reason, "{:?}", bench.ready());
        assert_eq!(bench.api.get(RULE), good);
    }
}

/// Nobody listens there.
const AWAY: &str = "backends: {default: {prometheusRule: {}}, mimir: {rulerApi: {url: 'http://127.0.0.1:1'}}}";
const HELD_BY: &str = "plimsoll.dev/backend-mimir";

#[tokio::test]
async fn a_deletion_that_hangs_says_why() {
    let mut object = slo();
    object["metadata"]["finalizers"] = json!([HELD_BY]);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut bench = Bench::with(api_with(object), &Config::parse(AWAY).unwrap()).await;
    let event = "POST /apis/events.k8s.io/v1/namespaces/shop/events";
    assert_eq!(bench.reconcile().await, [&format!("PATCH {SLO}/status"), event]);
    let (reason, message) = bench.ready();
    assert_eq!(reason, "CleanupFailed");
    for words in ["backend mimir: ruler http://127.0.0.1:1/", "refused", &format!("remove the finalizer {HELD_BY}")] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(bench.reconcile().await, [""; 0], "it is said once");
    assert_eq!(bench.api.get(SLO).unwrap()["metadata"]["finalizers"], json!([HELD_BY]));
}

#[tokio::test]
async fn rules_that_remain_elsewhere_are_told_and_the_new_ones_are_ready() {
    let mut object = slo();
    object["metadata"]["finalizers"] = json!([HELD_BY]);
    let mut bench = Bench::with(api_with(object), &Config::parse(AWAY).unwrap()).await;
    bench.reconcile().await;
    assert_eq!(bench.ready().0, "AsDeclared");
    let status = bench.api.get(SLO).unwrap()["status"]["conditions"].clone();
    let progress = status.as_array().unwrap().iter().find(|c| c["type"] == "Reconciling").unwrap();
    assert_eq!(progress["reason"], "CleanupFailed");
    assert_eq!(bench.reconcile().await, [""; 0], "it is said once");
}

/// Its finalizer names the backend, which knows its new place alone.
#[tokio::test]
async fn rules_that_remain_where_a_backend_was_before_are_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let directory = folder.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let backends = json!({"default": {"ruleFiles": {"directory": directory}}, "cluster": {"prometheusRule": {}}});
        Config::parse(&json!({"backends": backends}).to_string()).unwrap()
    };
    let events = |writes: Vec<String>| writes.iter().filter(|write| write.ends_with("/events")).count();
    let mut bench = Bench::with(api_with(slo()), &at("a")).await;
    assert_eq!(events(bench.reconcile().await), 0);
    let before = bench.api.get(SLO).unwrap()["status"]["rules"].as_str().unwrap().to_owned();
    assert!(before.starts_with("file ") && before.contains("/a/"), "{before}");

    let mut bench = Bench::with(bench.api, &at("b")).await;
    assert_eq!(events(bench.reconcile().await), 1);
    let notes: Vec<String> = bench.api.notes();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with(&format!("rules remain in {before}: backend default has another place")), "{notes:?}");
    assert_eq!(events(bench.reconcile().await), 0, "it is said once");

    // Whoever moves to another backend leaves nothing.
    let mut object = bench.api.get(SLO).unwrap();
    object["spec"]["backend"] = json!("cluster");
    bench.api.put(SLO, object);
    assert_eq!(events(bench.reconcile().await), 0);
    assert_eq!(std::fs::read_dir(folder.path().join("b")).unwrap().count(), 0);
}

#[tokio::test]
async fn parts_trigger_what_is_made_of_them() {
    let bench = Bench::new(api_with(slo())).await;
    let id = |name: &str| ("shop".to_owned(), name.to_owned());
    bench.ctx.depends(&id("all"), &["cart".to_owned(), "checkout".to_owned()]);
    bench.ctx.depends(&id("some"), &["cart".to_owned()]);
    assert_eq!(bench.ctx.users(&id("checkout")), [id("all")]);
    bench.ctx.depends(&id("all"), &["cart".to_owned()]);
    assert_eq!(bench.ctx.users(&id("checkout")), []);
    assert_eq!(bench.ctx.gone(&id("cart")).len(), 2);
}

/// The ruler backend knows its own rules by this label.
#[test]
fn every_rendered_rule_bears_the_id() {
    let rule: plimsoll_api::AlertRule = serde_json::from_value(alert_rule()).unwrap();
    for rule in
        plimsoll_slo::alerts::render(&plimsoll_slo::alerts::validate(&rule).unwrap().model).groups[0].rules.iter()
    {
        assert_eq!(
            rule.labels.get(plimsoll_slo::names::ALERT_RULE).map(String::as_str),
            Some("shop/checkout"),
            "{rule:?}"
        );
    }
    let slo: plimsoll_api::Slo = serde_json::from_value(slo()).unwrap();
    let rules = plimsoll_slo::render(&plimsoll_slo::validate(&slo).unwrap().model);
    for rule in rules.groups.iter().flat_map(|group| &group.rules) {
        assert_eq!(rule.labels.get(plimsoll_slo::names::SLO_ID).map(String::as_str), Some("shop/checkout"), "{rule:?}");
    }
}

const CONFIGS: &str = "/apis/monitoring.coreos.com/v1alpha1/namespaces/shop/alertmanagerconfigs";

/// A receiver must be defined in the namespace; then its definition is copied, and the route leads to it.
#[tokio::test]
async fn a_route_leads_to_a_receiver_of_the_namespace_or_says_why_not() {
    let api = FakeApi::default();
    let mut object = alert_rule();
    object["spec"]["route"] = json!({"receiver": "pager"});
    api.put(ALERT_RULE, object);
    let receivers = json!([{"name": "pager", "webhookConfigs": [{"url": "http://pager.example"}]}]);
    let theirs = json!({"metadata": {"name": "own", "namespace": "ops"}, "spec": {"receivers": receivers}});
    api.put("/apis/monitoring.coreos.com/v1alpha1/namespaces/ops/alertmanagerconfigs/own", theirs.clone());
    let mut bench = Bench::of(Kind::AlertRule, api, &Config::default()).await;
    bench.reconcile().await;
    let (reason, message) = bench.ready();
    assert_eq!(reason, "ReceiverMissing");
    assert!(message.contains("no AlertmanagerConfig of namespace shop defines the receiver pager"), "{message}");
    assert!(bench.api.get(ALERTS).is_some(), "the rules are written all the same");
    assert_eq!(bench.reconcile().await, [""; 0], "it is said once");

    bench.api.put(&format!("{CONFIGS}/own"), theirs.clone());
    let writes = bench.reconcile().await;
    let name = format!("{CONFIGS}/plimsoll.alertrule-checkout");
    assert_eq!(writes.first(), Some(&format!("PATCH {name}")));
    let written = bench.api.get(&name).unwrap();
    assert_eq!(written["spec"]["receivers"], receivers);
    assert_eq!(written["spec"]["route"]["matchers"][0]["value"], "shop/checkout");
    assert_eq!(bench.ready().0, "AsDeclared");
    assert_eq!(bench.reconcile().await, [""; 0]);

    // What is removed from the route, or from the receiver's definition, goes from the AlertmanagerConfig; what the API
    // server adds to it, and what others say, stays, and is written once.
    let with = |api: &FakeApi, route: Value| {
        let mut object = api.get(ALERT_RULE).unwrap();
        object["spec"]["route"] = route;
        api.put(ALERT_RULE, object);
    };
    with(&bench.api, json!({"receiver": "pager", "inhibitedBy": ["NodeDown"], "groupWait": "1m"}));
    let full = json!([{"name": "pager", "webhookConfigs": [{"url": "http://pager.example", "maxAlerts": 1}]}]);
    bench.api.put(
        &format!("{CONFIGS}/own"),
        json!({"metadata": {"name": "own", "namespace": "shop"}, "spec": {"receivers": full}}),
    );
    assert_eq!(bench.reconcile().await.first(), Some(&format!("PATCH {name}")));
    let mut all = bench.api.get(&name).unwrap();
    assert_eq!(all["spec"]["route"]["groupWait"], "1m");
    assert_eq!(all["spec"]["inhibitRules"][0]["sourceMatch"][0]["value"], "NodeDown");
    assert_eq!(all["spec"]["receivers"], full);
    all["spec"]["route"]["matchers"][0]["regex"] = json!(false);
    bench.api.put(&name, all);
    assert_eq!(bench.reconcile().await, [""; 0]);
    with(&bench.api, json!({"receiver": "pager"}));
    assert_eq!(bench.reconcile().await.first(), Some(&format!("PATCH {name}")));
    assert_eq!(bench.api.get(&name).unwrap()["spec"]["receivers"], full);
    bench.api.put(&format!("{CONFIGS}/own"), theirs);
    assert_eq!(bench.reconcile().await.first(), Some(&format!("PATCH {name}")));
    assert_eq!(bench.api.get(&name).unwrap()["spec"], written["spec"]);
    assert_eq!(bench.reconcile().await, [""; 0]);

    // What an earlier version made under another name would notify twice.
    let mut former = written;
    former["metadata"]["name"] = json!("plimsoll.alertrule-former");
    let former_name = format!("{CONFIGS}/plimsoll.alertrule-former");
    bench.api.put(&former_name, former);
    assert_eq!(bench.reconcile().await, [format!("DELETE {former_name}")]);
    assert_eq!(bench.reconcile().await, [""; 0]);

    bench.api.put(ALERT_RULE, {
        let mut object = bench.api.get(ALERT_RULE).unwrap();
        object["spec"].as_object_mut().unwrap().remove("route");
        object
    });
    assert_eq!(bench.reconcile().await.first(), Some(&format!("DELETE {name}")));
}
