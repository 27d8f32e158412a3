//! `plimsoll explain` on real servers: the causes that only real servers bring about.

use anyhow::{Result, ensure};
use kube::api::PostParams;
use plimsoll_e2e::{PROMETHEUS, STACK, Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{
    Component, ControlPlaneOptions, Folder, Output, Program, Prometheus, PrometheusOptions, SampleService, free_port,
    wait_until,
};
use serde_json::{Value, json};

use crate::{
    cluster::{SOON, apply, install, reason, rules, slo as plain, start},
    traffic::{generate, slo},
};

/// An API server with prometheus-operator's definitions, and a Prometheus that it does not reach.
const APART: &[Component] =
    &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator, Component::Prometheus];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(STACK, quiet_burning_and_without_data),
        test(APART, nobody_selects_the_rules),
        test(PROMETHEUS, what_is_too_much_for_a_prometheus),
        test(PROMETHEUS, what_the_samples_are_not),
    ]
}

/// What it says about `what`, ended or not.
pub(crate) async fn explain(testbed: &Testbed, kubeconfig: &std::path::Path, arguments: &[&str]) -> Result<Output> {
    let program = Program::new(testbed.plimsoll()?).arg("explain").args(arguments).env("KUBECONFIG", kubeconfig);
    program.run("", SOON).await
}

/// The one thing to do next.
pub(crate) fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default().trim_start()
}

fn events(name: &str, metric: &str, more: Value) -> Value {
    let total = format!("{metric}{{job=\"sample\"}}");
    let bad = format!("{metric}{{job=\"sample\",code=~\"5..\"}}");
    let mut spec = json!({"objective": "99", "sli": {"events": {"bad": bad, "total": total}}});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    let mut object = slo(name, &spec);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    object
}

async fn quiet_burning_and_without_data(testbed: &Testbed) -> Result<()> {
    let stack = testbed.shared().await?;
    let client = install(&stack.control_plane).await?;
    let namespace = testbed.namespace("explain").await?;
    let url = stack.prometheus.url();
    let operator = Operator::start(testbed.plimsoll()?, &stack.control_plane, &["--prometheus", url]).await?;
    // 0.4 % of all, of which 1 % are allowed; and a quarter of all.
    for (metric, good, bad) in [("quiet_requests_total", 249.0, 1.0), ("burning_requests_total", 30.0, 10.0)] {
        stack.sample.rate(metric, "code=\"200\"", good);
        stack.sample.rate(metric, "code=\"500\"", bad);
    }
    stack.sample.observe_rate("coarse_seconds", "", &[0.1, 0.5, 1.0], 0.2, 10.0);
    stack.sample.rate("grouped_requests_total", "route=\"/pay\"", 10.0);
    stack.sample.rate("grouped_errors_total", "", 1.0);
    let theirs = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": "plimsoll-taken"}, "spec": {"groups": []}});
    rules(&client, &namespace).create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;
    let short =
        json!({"alerting": {"tiers": [{"name": "fast", "burnRate": "5", "longWindow": "20s", "shortWindow": "5s"}]}});
    let mut floor = short.clone();
    floor["alerting"]["minimumBadEvents"] = json!(1_000_000);
    let sli = |sli: Value| json!({"sli": sli});
    let objects = [
        events("taken", "quiet_requests_total", json!({})),
        events("few", "burning_requests_total", floor),
        events(
            "coarse",
            "",
            sli(json!({"latency": {"histogram": "coarse_seconds{job=\"sample\"}", "threshold": "300ms"}})),
        ),
        events(
            "off",
            "",
            sli(json!({"events": {
            "good": "coarse_seconds_bucket{job=\"sample\",le=\"0.3\"}", "total": "coarse_seconds_count{job=\"sample\"}"}})),
        ),
        events(
            "grouped",
            "",
            json!({"groupBy": ["route"], "sli": {"events": {
            "bad": "grouped_errors_total{job=\"sample\"}", "total": "grouped_requests_total{job=\"sample\"}"}}}),
        ),
        events(
            "surplus",
            "",
            sli(json!({"events": {
            "good": "quiet_requests_total{job=\"sample\"}", "total": "burning_requests_total{job=\"sample\"}"}})),
        ),
        events(
            "failing",
            "",
            sli(json!({"ratio": {"errors":
            "sum(rate(burning_requests_total{code=\"500\"}[$window])) / on () rate(burning_requests_total[$window])"}})),
        ),
        events("quiet", "quiet_requests_total", json!({})),
        events("burning", "burning_requests_total", short),
        events("misspelt", "quiet_request_total", json!({})),
        events(
            "elsewhere",
            "quiet_requests_total",
            json!({"sli": {"events": {
            "bad": "quiet_requests_total{job=\"other\",code=~\"5..\"}", "total": "quiet_requests_total{job=\"other\"}"}}}),
        ),
    ];
    apply(&client, &namespace, &objects).await?;
    let kubeconfig = stack.control_plane.kubeconfig();
    let says = async |name: &str, headline: &str, next: &str| -> Result<String> {
        wait_until(&format!("{name} to be explained"), SOON * 3, async || {
            let what = format!("slo/{name}");
            let ended = explain(testbed, kubeconfig, &[&what, "-n", &namespace, "--prometheus", url]).await?;
            let status = i32::from(headline.ends_with("it is invalid."));
            ensure!(ended.status.code() == Some(status), "{ended:?}");
            let text = ended.stdout;
            ensure!(text.starts_with(&format!("{name} {headline}\n")), "{text}");
            ensure!(last(&text).starts_with(next), "{text}");
            Ok(Some(text))
        })
        .await
    };
    says(
        "misspelt",
        "has no data: its selector for total matches nothing.",
        "→ check the metric's name and whether Prometheus scrapes it: quiet_request_total{job=\"sample\"}; did you mean quiet_requests_total",
    )
    .await?;
    says(
        "elsewhere",
        "has no data: its selector for total matches nothing.",
        "→ check the matchers: the metric has 2 series, but none of them fits quiet_requests_total{job=\"other\"}; job is sample in all of them",
    )
    .await?;
    let burning = says(
        "burning",
        "is burning: the fast tier fires.",
        "→ find out what fails, beginning with rate(burning_requests_total{job=\"sample\",code=~\"5..\"}[5m]); it stops when the burn over 20 s or 5 s is below 5 (now 2",
    )
    .await?;
    ensure!(burning.contains("✗ tier fast fires: burn 2"), "{burning}");
    let lines = [
        "✓ tier fast is quiet: burn 0.4 over 1h".to_owned(),
        format!("✓ valid, rendered to 28 rules in PrometheusRule {namespace}/plimsoll-quiet"),
        format!("✓ Prometheus {url} has loaded them"),
        "✓ bad: quiet_requests_total{job=\"sample\",code=~\"5..\"} matches 1 series".to_owned(),
        "✓ total: quiet_requests_total{job=\"sample\"} matches 2 series".to_owned(),
    ];
    wait_until("quiet to be explained", SOON * 3, async || {
        let ended = explain(testbed, kubeconfig, &["slo/quiet", "-n", &namespace, "--prometheus", url]).await?;
        let text = ended.success()?;
        // The long windows are recorded every four minutes, and until then nobody knows of them.
        let known = text.starts_with("quiet works; nothing is wrong.\n")
            && last(&text).starts_with("→ burn 0.4 over 1 h; the fast tier fires at 14.4");
        let in_part = text.starts_with("quiet is not wholly known yet: the burn over the windows of the ")
            && last(&text).starts_with("→ ask again when it is: it is recorded every ");
        ensure!(known || in_part, "{text}");
        // Of the first seconds, in which whole requests were counted, the burn may be another one.
        for line in &lines {
            ensure!(text.contains(line), "{line} in\n{text}");
        }
        Ok(Some(()))
    })
    .await?;

    let taken = format!("PrometheusRule {namespace}/plimsoll-taken exists and is not owned by this SLO");
    for (name, headline, next) in [
        (
            "taken",
            "is not ready: its rules could not be written.",
            format!("→ resolve this, the operator then goes on by itself: {taken}").as_str(),
        ),
        (
            "coarse",
            "has no data: its histogram has no bucket at the threshold.",
            "→ set the threshold to a bucket's bound: the nearest to 0.3 s are 100ms and 500ms",
        ),
        (
            "off",
            "counts every event as bad: its selector for good matches nothing.",
            "→ check the matchers: the metric has 4 series, but none of them fits coarse_seconds_bucket{job=\"sample\",le=\"0.3\"}",
        ),
        (
            "grouped",
            "cannot be grouped by route: the series of its bad do not have it.",
            "→ remove route from groupBy, or use series that have it: grouped_errors_total{job=\"sample\"}",
        ),
        (
            "surplus",
            "counts more good events than events.",
            "→ write spec.sli.events.good and total so that total counts each of the good events: in 5 m good grew by ",
        ),
        (
            "failing",
            "is not ready: one of its rules fails.",
            "→ repair the expression that this error is about: slo:total_events:rate5m: found duplicate series for the match group",
        ),
    ] {
        says(name, headline, next).await?;
    }

    wait_until("few to be explained", SOON * 3, async || {
        let ended = explain(testbed, kubeconfig, &["slo/few", "-n", &namespace, "--prometheus", url]).await?;
        let text = ended.success()?;
        // Until the rules of the period were evaluated, its budget is not known.
        let headlines = [
            "few works; its fast tier is held back, with too few bad events.\n",
            "few works, but its error budget is overspent.\n",
        ];
        ensure!(headlines.iter().any(|headline| text.starts_with(headline)), "{text}");
        ensure!(last(&text).contains("quiet, because the fast tier has only "), "{text}");
        Ok(Some(()))
    })
    .await?;

    let nowhere = ["slo/quiet", "-n", &namespace, "--prometheus", "http://127.0.0.1:1"];
    let away = explain(testbed, kubeconfig, &nowhere).await?;
    ensure!(away.status.code() == Some(2), "{away:?}");
    let away = away.stdout;
    ensure!(away.starts_with("quiet could not be examined: Prometheus does not answer.\n"), "{away}");
    ensure!(last(&away).starts_with("→ see that it runs and can be reached from here"), "{away}");
    ensure!(last(&away).contains("http://127.0.0.1:1 does not answer: ") && away.contains("refused"), "{away}");

    let unknown = explain(testbed, kubeconfig, &["slo/nobody", "-n", &namespace]).await?;
    ensure!(unknown.status.code() == Some(2) && unknown.stdout.is_empty(), "{unknown:?}");
    let wanted = format!("error: there is no SLO nobody in namespace {namespace}; kubectl get slo -A lists all\n");
    ensure!(unknown.stderr == wanted, "{}", unknown.stderr);
    let other = explain(testbed, kubeconfig, &["slo/misspelt", "-n", "default"]).await?;
    let hint = format!("it is in another one: plimsoll explain slo/misspelt -n {namespace}\n");
    ensure!(other.stderr.ends_with(&hint), "{}", other.stderr);

    // An edit that is wrong: the rules before it go on working.
    let mut invalid = events("quiet", "quiet_requests_total", json!({}));
    invalid["spec"]["sli"]["events"]["bad"] = json!("sum(");
    apply(&client, &namespace, &[invalid]).await?;
    let invalid = says("quiet", "is not ready: it is invalid.", "→ ").await?;
    let line = format!("its last good rules go on working in PrometheusRule {namespace}/plimsoll-quiet");
    ensure!(invalid.contains(&line), "{invalid}");
    drop(operator);
    Ok(())
}

async fn nobody_selects_the_rules(testbed: &Testbed) -> Result<()> {
    let (plane, client) = start(testbed, ControlPlaneOptions::api_only()).await?;
    let prometheus = Prometheus::start(testbed.bin(), PrometheusOptions::default()).await?;
    let main = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
        "metadata": {"name": "main", "namespace": "default"},
        "spec": {"ruleSelector": {"matchLabels": {"release": "main"}}, "ruleNamespaceSelector": {}}});
    plane.apply(&main.to_string()).await?;
    let operator = Operator::start(testbed.plimsoll()?, &plane, &["--prometheus", prometheus.url()]).await?;
    let mut cart = plain("cart");
    cart["metadata"]["labels"] = json!({"app": "cart"});
    apply(&client, "default", &[cart]).await?;
    let message = reason(&client, "default", "cart", plimsoll_api::conditions::REASON_NOT_LOADED).await?;
    ensure!(message.contains("has no group plimsoll.default.cart."), "{message}");
    let arguments = ["slo/cart", "-n", "default", "--prometheus", prometheus.url()];
    let text = explain(testbed, plane.kubeconfig(), &arguments).await?.success()?;
    ensure!(text.starts_with("cart is not ready: its rules are not loaded by Prometheus.\n"), "{text}");
    let why = "no Prometheus object selects the labels {app: cart}; default/main selects {release: main}";
    ensure!(text.contains(why), "{text}");
    ensure!(last(&text) == "→ do it with:  kubectl label slo cart -n default release=main", "{text}");
    drop(operator);
    Ok(())
}

/// A Prometheus that keeps samples for two hours, and an SLO of many groups.
async fn what_is_too_much_for_a_prometheus(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    for user in 0..400 {
        sample.rate("users_requests_total", &format!("code=\"200\",user=\"u{user}\",region=\"r{}\"", user % 4), 1.0);
    }
    let options = PrometheusOptions {
        scrape: vec![("sample".to_owned(), vec![sample.target()])],
        arguments: vec!["--storage.tsdb.retention.time=2h".to_owned()],
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    let no_tiers = json!({"period": {"rolling": "3d"}, "alerting": {"tiers": []}});
    let mut long = events("long", "users_requests_total", no_tiers);
    let grouped = json!({"period": {"rolling": "1h"}, "groupBy": ["region", "user"], "alerting": {"tiers": [], "noData": "Ignore"}});
    let mut many = events("many", "users_requests_total", grouped);
    for object in [&mut long, &mut many] {
        object["metadata"]["namespace"] = json!("shop");
    }
    prometheus.load_rules("slos.yaml", &generate(testbed, &[long.clone(), many.clone()]).await?).await?;
    let folder = Folder::new("explain")?;
    for (object, headline, what, next) in [
        (
            &long,
            "long works, but its period is longer than Prometheus keeps samples.",
            "! spec.period: the period of 3d is longer than the 2h for which Prometheus keeps samples, so the budget forgets what is older",
            "→ choose a period of at most 2h, or start Prometheus with --storage.tsdb.retention.time=3d or more",
        ),
        (
            &many,
            "many works, but it has more groups than a person can tell apart.",
            "! spec.groupBy: it makes 400 groups, and each has its own alerts",
            "→ remove user from groupBy, which has 400 values",
        ),
    ] {
        let file = folder.join("slo.json");
        std::fs::write(&file, object.to_string())?;
        let file = file.display().to_string();
        wait_until(headline, SOON * 2, async || {
            let arguments = [file.as_str(), "--prometheus", prometheus.url()];
            let text = explain(testbed, &folder.join("none"), &arguments).await?.success()?;
            ensure!(text.lines().next() == Some(headline) && last(&text) == next && text.contains(what), "{text}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

/// Gauges as counters and as histograms, percentages as ratios, parts that are not there, and targets that are away.
async fn what_the_samples_are_not(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    sample.set("queue_length", "", 50.0);
    sample.set("failed_percent", "", 5.5);
    sample.rate("requests_total", "code=\"200\"", 10.0);
    sample.rate("requests_total", "code=\"500\"", 1.0);
    sample.observe_rate("answer_seconds", "", &[0.1, 0.5], 0.2, 10.0);
    // A port that the kernel gave would be given to the next one that asks.
    let nobody = format!("127.0.0.1:{}", free_port()?);
    // Its histograms are native.
    let other = Prometheus::start(testbed.bin(), PrometheusOptions::default()).await?;
    let options = PrometheusOptions {
        scrape: vec![
            ("sample".to_owned(), vec![sample.target()]),
            ("gone".to_owned(), vec![nobody.clone()]),
            ("other".to_owned(), vec![other.url().trim_start_matches("http://").to_owned()]),
        ],
        ..PrometheusOptions::default()
    };
    let prometheus = Prometheus::start(testbed.bin(), options).await?;
    let events = |bad: &str, total: &str| json!({"objective": "99", "sli": {"events": {"bad": bad, "total": total}}});
    let of_job = |job: &str| {
        events(&format!("requests_total{{job=\"{job}\",code=\"500\"}}"), &format!("requests_total{{job=\"{job}\"}}"))
    };
    let gauge = events("requests_total{code=\"500\"}", "queue_length");
    let percent = json!({"objective": "99", "sli": {"ratio": {"errors": "avg_over_time(failed_percent[$window])"}}});
    let quiet = |sli: Value| json!({"objective": "99", "alerting": {"tiers": []}, "sli": sli});
    let latency = |histogram: &str| quiet(json!({"latency": {"histogram": histogram, "threshold": "500ms"}}));
    let right = quiet(of_job("sample")["sli"].clone());
    let specs = [
        ("queue", latency("queue_length{job=\"sample\"}")),
        ("counter", latency("requests_total{job=\"sample\"}")),
        ("gauge", gauge),
        ("percent", percent),
        ("gone", of_job("gone")),
        ("right", right),
        ("native", latency("prometheus_http_request_duration_seconds{job=\"other\"}")),
        ("lone", quiet(json!({"composite": {"worstOf": ["rigth"]}}))),
        ("half", quiet(json!({"composite": {"weighted": [{"slo": "right"}, {"slo": "not-there"}]}}))),
    ];
    let objects = specs.map(|(name, spec)| {
        let mut object = slo(name, &spec);
        object["metadata"]["namespace"] = json!("shop");
        object
    });
    let folder = Folder::new("explain")?;
    let mut length = 50.0;
    let mut says = async |object: &Value, headline: &str, next: &str, line: &str| -> Result<()> {
        let file = folder.join("slo.json");
        std::fs::write(&file, object.to_string())?;
        let file = file.display().to_string();
        wait_until(headline, SOON * 2, async || {
            // It falls again and again, however long the rules take to be evaluated.
            length = 90.0 - length;
            sample.set("queue_length", "", length);
            let arguments = [file.as_str(), "--prometheus", prometheus.url()];
            let text = explain(testbed, &folder.join("none"), &arguments).await?.success()?;
            ensure!(text.starts_with(headline) && last(&text).starts_with(next) && text.contains(line), "{text}");
            Ok(Some(()))
        })
        .await
    };
    let gone = format!("→ see why Prometheus cannot scrape http://{nobody}/metrics: ");
    let queue =
        "✗ histogram: queue_length is a gauge, no histogram: there are no _bucket series and no native samples\n";
    let all = [
        (
            "queue takes a gauge for a histogram: queue_length.",
            "→ name a histogram in spec.sli.latency.histogram, without _bucket; the one of {job=\"sample\"} is answer_seconds",
            queue,
        ),
        (
            "counter takes a counter for a histogram: requests_total.",
            "→ name a histogram in spec.sli.latency.histogram, without _bucket; ",
            "✗ histogram: requests_total is a counter, no histogram",
        ),
        ("gauge takes a gauge for a counter: queue_length, its total.", "→ count events with a counter", ""),
        (
            "percent has values that are not from 0 to 1: its ratio.errors is 5.5.",
            "→ if it is a percentage, divide spec.sli.ratio.errors by 100",
            "",
        ),
        ("gone has no data: the target of job=\"gone\" is down.", &gone, ""),
        ("right works", "→ ", ""),
        ("native works", "→ ", "\n  ✓ histogram: "),
        (
            "lone has no data: no SLO shop/rigth records anything.",
            "→ check the name in spec.sli.composite, or load the rules of shop/rigth and wait for a minute; did you mean right?",
            "✗ part rigth: ",
        ),
        (
            "half counts too little as bad: no SLO shop/not-there records anything, so 1 in 2 of its weight counts as good.",
            "→ check the name in spec.sli.composite, or load the rules of shop/not-there",
            "✓ part right has data\n",
        ),
    ];
    // Not loaded yet, and told all the same.
    for (object, (headline, next, line)) in objects.iter().zip(all).take(2) {
        says(object, headline, next, line).await?;
    }
    prometheus.load_rules("slos.yaml", &generate(testbed, &objects).await?).await?;
    for (object, (headline, next, line)) in objects.iter().zip(all) {
        says(object, headline, next, line).await?;
    }
    Ok(())
}
