//! The kind AlertRule on real servers: what its matchers select, from an object to a message, what is
//! refused, and that the presets work on what real processes show.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use plimsoll::controller::route;
use plimsoll_api::{AlertRule, conditions};
use plimsoll_e2e::{CONTROL_PLANE, PROMETHEUS, STACK, Test, Testbed, operator::Operator, test};
use plimsoll_slo::{alerts, promql};
use plimsoll_testbed::{
    Component, ControlPlane, ControlPlaneOptions, Prometheus, PrometheusOptions, SampleService, Series, free_port,
    wait_until,
};
use serde_json::{Value, json};

use crate::{
    cluster::{SOON, install, rules, start},
    traffic::Simulation,
};

/// An API server, and the definitions of prometheus-operator.
const API: &[Component] = &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(PROMETHEUS, injected_expressions_see_exactly_the_matching_series),
        test(STACK, an_alert_rule_becomes_a_message),
        test(API, a_route_leaves_nothing_of_what_it_was),
        test(CONTROL_PLANE, the_webhook_refuses_in_the_words_of_the_command_line),
        test(PROMETHEUS, the_presets_for_go_fire),
        test(PROMETHEUS, the_presets_for_istio_find_a_flag_among_others),
        test(PROMETHEUS, the_presets_see_what_is_gone_and_what_does_not_answer),
        test(PROMETHEUS, the_presets_for_go_read_what_a_go_process_shows),
    ]
}

fn rule(spec: &Value) -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "AlertRule",
        "metadata": {"name": "alerts", "namespace": "shop"}, "spec": spec})
}

/// The only expression of an AlertRule, its matchers in it.
fn injected(matchers: &Value, expr: &str) -> Result<String> {
    let object: AlertRule =
        serde_json::from_value(rule(&json!({"matchers": matchers, "rules": [{"alert": "A", "expr": expr}]})))?;
    let valid = alerts::validate(&object).map_err(|problems| anyhow::anyhow!("{expr}: {problems:?}"))?;
    Ok(alerts::render(&valid.model).groups[0].rules[0].expr.clone())
}

/// What matters of an answer: labels without the metric's name, and the value's bits.
fn answers(series: &[Series]) -> BTreeMap<Vec<(String, String)>, u64> {
    series
        .iter()
        .map(|one| {
            let labels = one.labels.iter().filter(|(name, _)| name.as_str() != "__name__");
            let labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
            (labels, one.value().unwrap_or(f64::NAN).to_bits())
        })
        .collect()
}

/// Two clusters' series together, and a copy of one cluster's alone under other names: what the injected
/// expression finds in the first is what the author's own finds in the second.
async fn injected_expressions_see_exactly_the_matching_series(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    for (i, cluster) in ["eu", "us"].into_iter().enumerate() {
        let worth = i as f64 + 1.0;
        for (j, pod) in ["a", "b", "c"].into_iter().enumerate() {
            let value = worth * 10.0 + j as f64;
            let labels = format!("cluster=\"{cluster}\",pod=\"{pod}\"");
            let mut all = vec![("both_", labels.clone())];
            if cluster == "eu" {
                all.push(("only_", labels));
            }
            for (prefix, labels) in all {
                sample.set(&format!("{prefix}load"), &labels, value);
                sample.set(&format!("{prefix}limit"), &labels, 11.0);
                sample.set(&format!("{prefix}latency_bucket"), &format!("{labels},le=\"1\""), value);
                // The other cluster is the slower one.
                for le in ["2", "+Inf"] {
                    sample.set(
                        &format!("{prefix}latency_bucket"),
                        &format!("{labels},le=\"{le}\""),
                        value * 2.0 * worth,
                    );
                }
            }
        }
    }
    sample.set("both_rare", "cluster=\"us\"", 1.0);
    let options = PrometheusOptions {
        scrape: vec![("sample".to_owned(), vec![sample.target()])],
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    prometheus.wait_for("count_over_time(both_load[1m]) >= 3", SOON).await?;
    let newest = prometheus.wait_for("max(timestamp(both_load))", SOON).await?;
    let now = newest.first().and_then(Series::value).context("a time")?;
    let mut told = 0;
    for expr in [
        "P_load > 10",
        "sum(P_load) > 0",
        "sum by (pod) (P_load) > 0",
        "topk(2, P_load)",
        "P_load > on (cluster, pod) P_limit",
        "P_load / on (pod) group_left () max by (pod) (P_limit) > 0",
        "P_load unless P_load{pod=\"a\"}",
        "P_load{pod!=\"a\"} or P_limit{pod=\"a\"}",
        "histogram_quantile(0.5, sum by (le) (P_latency_bucket)) > 0",
        "avg_over_time(P_load[30s]) > 0",
        "max_over_time(sum(P_load)[30s:1s]) > 0",
        "quantile_over_time(0.5, P_load[30s] offset 1s) > 0",
        "count(P_load == bool 11) > 0",
        "label_replace(P_load, \"x\", \"$1{y}\", \"pod\", \"(.*)\") > 0",
        "absent(P_rare{job=\"sample\"})",
        "-P_load < -10",
        "count({__name__=~\"P_load|P_limit\"}) > 0",
    ] {
        for matchers in [
            json!({"cluster": "eu"}),
            json!({"cluster": "=~e.|x"}),
            json!({"cluster": "!=us"}),
            json!({"cluster": "!~u.*", "job": "sample"}),
        ] {
            let both = injected(&matchers, &expr.replace("P_", "both_"))?;
            let only = expr.replace("P_", "only_");
            let (found, wanted) =
                (answers(&prometheus.query_at(&both, now).await?), answers(&prometheus.query_at(&only, now).await?));
            // What absent() says of itself are the matchers that it was given.
            let same = if expr.starts_with("absent") { found.len() == wanted.len() } else { found == wanted };
            ensure!(same && !wanted.is_empty(), "{both}: {found:?}\n{only}: {wanted:?}");
            told += wanted.len();
        }
        let without = answers(&prometheus.query_at(&expr.replace("P_", "both_"), now).await?);
        let with = answers(
            &prometheus.query_at(&injected(&json!({"cluster": "eu"}), &expr.replace("P_", "both_"))?, now).await?,
        );
        ensure!(without != with, "{expr} sees the same with and without the other cluster");
    }
    ensure!(told > 60, "only {told} series were compared");
    Ok(())
}

async fn an_alert_rule_becomes_a_message(testbed: &Testbed) -> Result<()> {
    let stack = testbed.shared().await?;
    let client = install(&stack.control_plane).await?;
    let namespace = testbed.namespace("alerts").await?;
    let mut operator =
        Operator::start(testbed.plimsoll()?, &stack.control_plane, &["--prometheus", stack.prometheus.url()]).await?;
    for cluster in ["eu", "us"] {
        stack.sample.set("restarts", &format!("cluster=\"{cluster}\",pod=\"cart-0\",namespace=\"elsewhere\""), 7.0);
    }
    let mut object = rule(&json!({
        "owner": "payments", "matchers": {"cluster": "eu"}, "interval": "1s",
        "rules": [{
            "alert": "PodRestarting", "expr": "restarts > 5", "severity": "Page", "runbooks": ["crashloop-capture"],
            "labels": {"pager": "{{ $labels.pod }}"},
            "annotations": {"summary": "{{ $labels.pod }} of [[ matchers.cluster ]] restarts, says [[ owner ]]"}
        }]
    }));
    object["metadata"]["namespace"] = json!(namespace);
    let api: Api<AlertRule> = Api::namespaced(client.clone(), &namespace);
    api.patch("alerts", &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
    let id = format!("{namespace}/alerts");
    let alert = stack
        .webhook
        .wait_for_alert(SOON, |alert| alert["labels"]["alertrule"] == id && alert["status"] == "firing")
        .await?;
    for (label, value) in [
        ("alertname", "PodRestarting"),
        ("severity", "page"),
        ("owner", "payments"),
        ("cluster", "eu"),
        ("namespace", namespace.as_str()),
        ("pager", "cart-0"),
        // Of the series, whose own namespace is not the AlertRule's.
        ("series_namespace", "elsewhere"),
    ] {
        ensure!(alert["labels"][label] == value, "{label} in {alert}");
    }
    ensure!(alert["annotations"]["summary"] == "cart-0 of eu restarts, says payments", "{alert}");
    ensure!(alert["annotations"]["runbooks"] == "crashloop-capture", "{alert}");
    // Prometheus sends an alert before it stores that it fires.
    let firing = stack.prometheus.wait_for(&format!("ALERTS{{alertrule=\"{id}\"}}"), SOON).await?;
    ensure!(firing.len() == 1, "the other cluster fires too: {firing:?}");
    let status = wait_until("the status to say that it fires", SOON, async || {
        let status = api.get("alerts").await?.status.unwrap_or_default();
        let is = |type_| conditions::status(&status.conditions, type_) == Some("True");
        Ok((is(conditions::FIRING) && is(conditions::READY)).then_some(status))
    })
    .await?;
    ensure!((status.rules, status.firing) == (Some(1), Some(1)), "{status:?}");
    let columns = stack.control_plane.kubectl(["-n", &namespace, "get", "alr"]).await?;
    ensure!(columns.contains("READY") && columns.contains("FIRING"), "{columns}");
    // Nothing more is written while nothing changes, be it of the rules or of the status. What else the operator writes is of
    // other tests, which run beside this one.
    let rules = rules(&client, &namespace);
    let written = async || anyhow::Ok(rules.get("plimsoll.alertrule-alerts").await?.resource_version());
    let before = written().await?;
    let annotated = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let annotated = api.patch_metadata("alerts", &PatchParams::default(), &annotated).await?.resource_version();
    // By the same watch, so that the one of before was seen when this one is.
    object["metadata"]["name"] = json!("later");
    api.patch("later", &PatchParams::apply("test").force(), &Patch::Apply(&object)).await?;
    wait_until("the next one to be seen", SOON, async || {
        Ok(api.get("later").await?.status.unwrap_or_default().observed_generation)
    })
    .await?;
    ensure!(written().await? == before, "the same rules are written again");
    ensure!(api.get("alerts").await?.resource_version() == annotated, "the same status is written again");
    stack.sample.remove("restarts", "cluster=\"eu\",pod=\"cart-0\",namespace=\"elsewhere\"");
    operator.stop().await
}

/// The API server adds defaults to an AlertmanagerConfig; what the route said before is none of them.
async fn a_route_leaves_nothing_of_what_it_was(testbed: &Testbed) -> Result<()> {
    // Of its own: on the servers that tests share, the operator of another test would write the route as well, and perhaps
    // later what it was before.
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let namespace = "default";
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &[]).await?;
    let configs: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &route::resource());
    let rules: Api<AlertRule> = Api::namespaced(client, namespace);
    let force = PatchParams::apply("test").force();
    let receive = async |receiver: Value| {
        let config = json!({"apiVersion": "monitoring.coreos.com/v1alpha1", "kind": "AlertmanagerConfig",
            "metadata": {"name": "own", "namespace": namespace},
            "spec": {"route": {"receiver": "pager"}, "receivers": [receiver]}});
        configs.patch("own", &force, &Patch::Apply(&config)).await
    };
    let lead = async |route: Value| {
        let mut object = rule(&json!({"rules": [{"alert": "A", "expr": "up == 0"}], "route": route}));
        object["metadata"]["namespace"] = json!(namespace);
        rules.patch("alerts", &force, &Patch::Apply(&object)).await
    };
    let spec = async || -> Result<Option<Value>> {
        let found = configs.get_opt("plimsoll.alertrule-alerts").await?;
        Ok(found.and_then(|object| object.data.get("spec").cloned()))
    };
    let hook = json!([{"url": "http://pager.example"}]);
    receive(json!({"name": "pager", "webhookConfigs": hook})).await?;
    lead(json!({"receiver": "pager"})).await?;
    let plain = wait_until("the route", SOON, spec).await?;
    let mail = json!([{"to": "a@b.example", "from": "c@b.example", "smarthost": "mail.example:25"}]);
    receive(json!({"name": "pager", "webhookConfigs": hook, "emailConfigs": mail})).await?;
    lead(json!({"receiver": "pager", "inhibitedBy": ["NodeDown"], "groupWait": "1m", "repeatInterval": "4h"})).await?;
    wait_until("the fuller route", SOON, async || {
        Ok(spec()
            .await?
            .filter(|spec| spec["inhibitRules"].is_array() && spec["receivers"][0]["emailConfigs"].is_array()))
    })
    .await?;
    receive(json!({"name": "pager", "webhookConfigs": hook})).await?;
    lead(json!({"receiver": "pager"})).await?;
    wait_until("nothing of it to be left", SOON, async || Ok(spec().await?.filter(|spec| *spec == plain))).await?;
    // And once it is so, an edit of something else writes nothing here.
    let before = configs.get("plimsoll.alertrule-alerts").await?.metadata.resource_version;
    let interval = Patch::Merge(json!({"spec": {"interval": "1m"}}));
    let edited = rules.patch("alerts", &PatchParams::default(), &interval).await?.metadata.generation;
    wait_until("the edit to be seen", SOON, async || {
        let status = rules.get("alerts").await?.status.unwrap_or_default();
        Ok((status.observed_generation == edited).then_some(()))
    })
    .await?;
    let after = configs.get("plimsoll.alertrule-alerts").await?.metadata.resource_version;
    ensure!(before == after, "{before:?} became {after:?}");
    operator.stop().await
}

async fn the_webhook_refuses_in_the_words_of_the_command_line(testbed: &Testbed) -> Result<()> {
    let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    let client = install(&plane).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("https://{address}");
    let arguments = ["--webhook-listen", &address, "--webhook-url", &url, "--namespace", "default"];
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &arguments).await?;
    let api: Api<AlertRule> = Api::namespaced(client, "default");
    let apply = async |spec: Value| -> Result<String> {
        let mut object = rule(&spec);
        object["metadata"]["namespace"] = json!("default");
        match api.patch("alerts", &PatchParams::apply("test").force(), &Patch::Apply(&object)).await {
            Ok(_) => Ok(String::new()),
            Err(error) => Ok(error.to_string()),
        }
    };
    let broken = json!({"matchers": {"cluster": "=~prod-("}, "rules": [{"alert": "A", "expr": "up == 0"}]});
    let words = "spec.matchers.cluster: matcher cluster has a broken regular expression (a ( is never closed); close it, or write \\(";
    wait_until("the webhook to refuse", SOON, async || Ok(apply(broken.clone()).await?.contains(words).then_some(())))
        .await?;
    for (spec, words) in [
        (
            json!({"rules": [{"alert": "A", "expr": "sum(up"}]}),
            "spec.rules[0].expr: expr is not valid PromQL (this ( is never closed); close it",
        ),
        (
            json!({"rules": [{"alert": "A", "expr": "up == 0"}], "route": {"receiver": "pager", "inhibitedBy": ["A"]}}),
            "spec.route.inhibitedBy[0]: A would inhibit itself",
        ),
        (
            json!({"rules": [{"alert": "A", "anomaly": {"query": "up"}, "severity": "Page"}]}),
            "spec.rules[0].severity: an anomaly does not page by itself",
        ),
        // By the definition's own rules, before any webhook is asked.
        (json!({"rules": [{"alert": "A"}]}), "a rule has exactly one of expr, logql and anomaly"),
        (json!({"rules": [{"alert": "A", "expr": "up == 0", "for": "5min"}]}), "for is not a duration"),
        (json!({"rules": [{"alert": "A", "anomaly": {"query": "up", "sensitivity": "NaN"}}]}), "sensitivity"),
    ] {
        let answer = apply(spec).await?;
        ensure!(answer.contains(words), "{words}: {answer:?}");
    }
    let fine = apply(json!({"rules": [{"alert": "A", "expr": "up == 0"}]})).await?;
    ensure!(fine.is_empty(), "{fine}");
    operator.stop().await
}

/// The AlertRules of a file of presets.
pub(crate) fn preset(name: &str) -> Result<Vec<Value>> {
    let path = format!("{}/../../examples/presets/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let all: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(path)?)?;
    Ok(all.into_iter().filter(|object| object["kind"] == "AlertRule").collect())
}

pub(crate) fn firing(alert: &str) -> String {
    format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}")
}

/// Each alert on series of a process that misbehaves in its way, beside one that does not.
async fn the_presets_for_go_fire(testbed: &Testbed) -> Result<()> {
    let mut simulation = Simulation::new(testbed, "1m", &preset("go-runtime")?).await?;
    let target = |name: &str, job: &str, more: &str| format!("{name}{{job=\"{job}\",instance=\"{job}:1\"{more}}}");
    // A collection a minute, of 80 ms each; the healthy one's take 1 ms.
    for (job, pause) in [("checkout", "0.08"), ("cart", "0.001")] {
        simulation.series(&target("go_gc_duration_seconds_sum", job, ""), &format!("0+{pause}x200"));
        simulation.series(&target("go_gc_duration_seconds_count", job, ""), "0+1x200");
    }
    // Of 1,000 waits a minute 50 take more than 10 ms; the healthy one has one of them.
    for (job, below) in [("checkout", 950), ("cart", 999)] {
        for (le, n) in [
            ("0.0009175039999999999", below),
            ("0.010485759999999998", below),
            ("0.11744051199999998", 1000),
            ("+Inf", 1000),
        ] {
            simulation.series(
                &target("go_sched_latencies_seconds_bucket", job, &format!(",le=\"{le}\"")),
                &format!("0+{n}x200"),
            );
        }
    }
    // 200 MB in use, of which half or nothing is holes; and a small heap full of them.
    for (job, inuse, alloc) in
        [("checkout", "200000000", "100000000"), ("cart", "200000000", "190000000"), ("search", "10000000", "1000000")]
    {
        simulation.series(&target("go_memstats_heap_inuse_bytes", job, ""), &format!("{inuse}x200"));
        simulation.series(&target("go_memstats_heap_alloc_bytes", job, ""), &format!("{alloc}x200"));
    }
    // 100 more every minute; as many as ever.
    simulation.series(&target("go_goroutines", "checkout", ""), "500+100x200");
    simulation.series(&target("go_goroutines", "cart", ""), "5000x200");
    for (alert, before, after) in [
        ("GoGCPausesLong", "1m", "6m"),
        ("GoSchedulerLatencyHigh", "1m", "8m"),
        ("GoHeapFragmented", "14m", "17m"),
        ("GoGoroutinesGrow", "60m", "80m"),
    ] {
        simulation.expect_nothing(before, &firing(alert));
        simulation.expect(after, &format!("{} == bool 1", firing(alert)));
        let healthy = format!("ALERTS{{alertname=\"{alert}\",job!=\"checkout\"}}");
        simulation.expect_nothing(after, &healthy);
    }
    simulation.run().await
}

/// Envoy writes all flags of a request into one label; a flag whose name begins like another is another one.
async fn the_presets_for_istio_find_a_flag_among_others(testbed: &Testbed) -> Result<()> {
    let mut simulation = Simulation::new(testbed, "1m", &preset("istio")?).await?;
    for (service, reporter, flags, each) in [
        ("alone", "source", "UF", 60),
        ("first", "source", "UF,URX", 60),
        ("last", "source", "DI,UH", 60),
        ("other", "source", "UFX,UHX", 60),
        ("none", "source", "-", 60),
        ("left", "destination", "DC", 10),
        ("left-early", "destination", "DC,DI", 10),
        ("stayed", "destination", "DCX", 10),
    ] {
        let labels = format!("destination_service_name=\"{service}\",destination_service_namespace=\"shop\"");
        let series = |flags: &str| {
            format!("istio_requests_total{{reporter=\"{reporter}\",response_flags=\"{flags}\",{labels}}}")
        };
        simulation.series(&series(flags), &format!("0+{each}x60"));
        if reporter == "destination" {
            simulation.series(&series("-"), "0+60x60");
        }
    }
    for (alert, services) in [("IstioNoHealthyUpstream", "alone|first|last"), ("IstioCallersGiveUp", "left|left-early")]
    {
        let all = firing(alert);
        let meant = all.replace('}', &format!(",destination_service_name=~\"{services}\"}}"));
        simulation.expect("30m", &format!("count({meant}) == bool {}", services.split('|').count()));
        simulation.expect("30m", &format!("count({all}) == bool count({meant})"));
    }
    simulation.run().await
}

/// The worst that may happen to a service leaves no series that could say so: its own counter is gone, or its calls have
/// no status.
async fn the_presets_see_what_is_gone_and_what_does_not_answer(testbed: &Testbed) -> Result<()> {
    for (traffic, fires) in [("0+60x90 _x90", true), ("0+60x90 5400x90", true), ("0+60x180", false)] {
        let mut simulation = Simulation::new(testbed, "1m", &preset("http")?).await?;
        simulation.series("http_requests_total{job=\"checkout\",code=\"200\"}", traffic);
        let gone = firing("HttpTrafficGone");
        simulation.expect_nothing("85m", &gone);
        if fires {
            simulation.expect("120m", &format!("{gone} == bool 1"));
        } else {
            simulation.expect_nothing("120m", &gone);
        }
        simulation.run().await?;
    }
    let mut simulation = Simulation::new(testbed, "1m", &preset("opentelemetry")?).await?;
    let calls = |address: &str, more: &str| {
        format!("http_client_request_duration_seconds_count{{job=\"shop/search\",server_address=\"{address}\"{more}}}")
    };
    for (address, bad) in [
        ("refuses", ",error_type=\"ECONNREFUSED\""),
        ("fails", ",error_type=\"503\",http_response_status_code=\"503\""),
        ("is-asked-wrongly", ",error_type=\"404\",http_response_status_code=\"404\""),
    ] {
        simulation.series(&calls(address, ",http_response_status_code=\"200\""), "0+60x60");
        simulation.series(&calls(address, bad), "0+60x60");
    }
    let failing = firing("OtelDependencyFails");
    simulation.expect("30m", &format!("count({failing}) == bool 2"));
    simulation.expect_nothing("30m", &failing.replace('}', ",server_address=\"is-asked-wrongly\"}"));
    simulation.run().await
}

/// Prometheus is a Go process that shows itself; every series that the presets name is there, and no
/// expression fails.
async fn the_presets_for_go_read_what_a_go_process_shows(testbed: &Testbed) -> Result<()> {
    let mut prometheus = Prometheus::start(testbed.bin(), PrometheusOptions::default()).await?;
    let own = prometheus.url().trim_start_matches("http://").to_owned();
    prometheus.reconfigure(|options| options.scrape = vec![("checkout".to_owned(), vec![own])]).await?;
    prometheus.wait_for("go_goroutines", SOON).await?;
    for object in preset("go-runtime")? {
        let object: AlertRule = serde_json::from_value(object)?;
        let valid = alerts::validate(&object).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        for rule in &alerts::render(&valid.model).groups[0].rules {
            if rule.alert.is_none() {
                continue;
            }
            prometheus.query(&rule.expr).await.with_context(|| rule.expr.clone())?;
            let parsed = promql::parse(&rule.expr, "expr").map_err(|problem| anyhow::anyhow!("{problem}"))?;
            for selector in parsed.selectors() {
                let selector = promql::split(&selector).to_string();
                let found = prometheus.query(&format!("count({selector})")).await?;
                ensure!(!found.is_empty(), "nothing matches {selector}");
            }
        }
    }
    Ok(())
}
