//! `plimsoll backtest` on a real Prometheus: it says what the rules themselves would have done.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result, ensure};
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use plimsoll_testbed::{Folder, Output, Program, Prometheus, PrometheusOptions, Promtool};
use serde_json::{Value, json};

use crate::traffic::{generate, slo};

pub(crate) fn tests() -> Vec<Test> {
    vec![test(PROMETHEUS, what_would_have_fired), test(PROMETHEUS, what_cannot_be_tried)]
}

const STEP: i64 = 30;
const HOURS: i64 = 10;

async fn backtest(testbed: &Testbed, arguments: &[&str]) -> Result<Output> {
    Program::new(testbed.plimsoll()?).arg("backtest").args(arguments).run("", Duration::from_secs(60)).await
}

/// A counter of all and one of failed requests for ten hours until now; from the fourth hour on, a tenth fails for 40 minutes.
fn history(start: i64) -> Vec<(&'static str, Vec<i64>)> {
    let outage = |i: i64| (4 * 3600..4 * 3600 + 2400).contains(&(i * STEP));
    let count = |each: &dyn Fn(i64) -> i64| {
        (0..HOURS * 3600 / STEP)
            .scan(0, |sum, i| {
                *sum += each(i);
                Some(*sum)
            })
            .collect::<Vec<i64>>()
    };
    let all = |i: i64| 900 + (i + start / STEP) % 7 * 30;
    let bad = move |i: i64| if outage(i) { all(i) / 10 } else { i64::from(i % 5 == 0) };
    vec![
        ("web_requests_total{code=\"200\"}", count(&|i| all(i) - bad(i))),
        ("web_requests_total{code=\"500\"}", count(&bad)),
    ]
}

fn web(objective: &str) -> Value {
    let events = json!({"events": {"bad": "web_requests_total{code=\"500\"}", "total": "web_requests_total"}});
    slo("web", &json!({"objective": objective, "sli": events}))
}

async fn server(testbed: &Testbed, folder: &Folder, start: i64, more: &[&str]) -> Result<Prometheus> {
    let mut text = String::new();
    for (series, values) in history(start) {
        for (i, value) in (0..).zip(values) {
            writeln!(text, "{series} {value} {}", start + i * STEP)?;
        }
    }
    text.push_str("# EOF\n");
    std::fs::write(folder.join("history.txt"), text)?;
    let blocks = folder.join("data");
    Promtool::new(testbed.bin())?.create_blocks(&folder.join("history.txt"), &blocks).await?;
    let arguments = more.iter().map(|argument| (*argument).to_owned()).collect();
    let options = PrometheusOptions { blocks: Some(blocks), arguments, ..PrometheusOptions::default() };
    Prometheus::start(testbed.bin(), options).await
}

fn now() -> Result<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_secs())?)
}

async fn what_would_have_fired(testbed: &Testbed) -> Result<()> {
    let folder = Folder::new("backtest")?;
    let start = (now()? - HOURS * 3600).div_euclid(240) * 240;
    let server = server(testbed, &folder, start, &[]).await?;
    let (file, plot) = (folder.join("web.json"), folder.join("web.svg"));
    std::fs::write(&file, web("99.9").to_string())?;
    let (file, plot) = (file.display().to_string(), plot.display().to_string());
    let arguments = [&file, "--prometheus", server.url(), "--from", "9h", "-o", "json", "--plot", &plot];
    let told: Value = serde_json::from_str(&backtest(testbed, &arguments).await?.success()?)?;
    let cases = told["slos"][0]["cases"].as_array().context("no cases")?;
    let of = |objective: &str, factor: &str| {
        let found = cases.iter().find(|case| case["objective"] == objective && case["burnRateFactor"] == factor);
        found.with_context(|| format!("no case {objective} {factor}: {told}"))
    };
    let own = of("99.9", "1")?;
    // 40 of 540 minutes at 10 %.
    let spent = own["budgetSpent"].as_f64().context("nothing spent")?;
    ensure!((spent / (40.0 / 540.0 * 0.1 / 0.001) - 1.0).abs() < 0.06, "{spent}");
    ensure!(std::fs::read_to_string(&plot)?.starts_with("<svg"), "no picture");

    // The same history under the rules themselves.
    let rules = generate(testbed, &[web("99.9")]).await?;
    std::fs::write(folder.join("rules.yaml"), rules)?;
    let mut tests = Vec::new();
    let mut expect = |at: i64, expression: String, fires: bool| {
        let samples = if fires { vec![json!({"labels": "{}", "value": 1})] } else { Vec::new() };
        let after = at - start;
        tests.push(
            json!({"eval_time": format!("{after}s"), "expr": format!("max({expression})"), "exp_samples": samples}),
        );
    };
    let end = start + HOURS * 3600 - STEP;
    let alerts = own["alerts"].as_array().context("no alerts")?;
    for tier in ["fast", "medium", "slow", "trickle"] {
        let firing =
            format!("ALERTS{{alertname=\"SLOErrorBudgetBurn\",burnrate_tier=\"{tier}\",alertstate=\"firing\"}}");
        let mine: Vec<&Value> = alerts.iter().filter(|alert| alert["tier"] == tier).collect();
        let [alert] = mine.as_slice() else {
            expect(end, format!("last_over_time({firing}[10h])"), !mine.is_empty());
            ensure!(mine.is_empty(), "{tier} fires more than once: {told}");
            continue;
        };
        let time = |name: &str| -> Result<Option<i64>> {
            let Some(text) = alert[name].as_str() else { return Ok(None) };
            Ok(Some(text.parse::<k8s_openapi::jiff::Timestamp>()?.as_second()))
        };
        let fired = time("firedAt")?.context("never fired")?;
        // The groups of rules are evaluated at other seconds there; the slowest of them every four minutes.
        expect(fired - 300, firing.clone(), false);
        expect(fired + 300, firing.clone(), true);
        if let Some(ended) = time("endedAt")? {
            expect(ended - 300, firing.clone(), true);
            expect((ended + 300).min(end), firing, false);
        }
    }
    ensure!(alerts.len() >= 3, "an outage that wakes nobody: {told}");
    let series = history(start).into_iter().map(|(series, values)| {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        json!({"series": series, "values": values.join(" ")})
    });
    let test = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": [{"interval": "30s",
        "start_timestamp": start.to_string(), "input_series": series.collect::<Vec<_>>(), "promql_expr_test": tests}]});
    let path = folder.join("test.json");
    std::fs::write(&path, test.to_string())?;
    Promtool::new(testbed.bin())?.test_rules(&[&path]).await.context("the rules do something else")?;

    // A tighter promise costs more, a looser one less, and ten times looser wakes nobody fast.
    let spent = |objective: &str| Ok::<_, anyhow::Error>(of(objective, "1")?["budgetSpent"].as_f64().unwrap_or(0.0));
    ensure!(spent("99.8")? < spent("99.9")? && spent("99.9")? < spent("99.95")?, "{told}");
    let text = backtest(testbed, &[&file, "--prometheus", server.url(), "--from", "9h", "--objective", "98"])
        .await?
        .success()?;
    for part in
        ["shop/web   objective 99.9 %", "fast", "WHAT IF", "99.9 (as written)", "98 (looser)", "double the burn rates"]
    {
        ensure!(text.contains(part), "{part} is missing:\n{text}");
    }
    Ok(())
}

async fn what_cannot_be_tried(testbed: &Testbed) -> Result<()> {
    let folder = Folder::new("backtest")?;
    let start = (now()? - HOURS * 3600).div_euclid(240) * 240;
    let server = server(testbed, &folder, start, &["--storage.tsdb.retention.time=1d"]).await?;
    let file = folder.join("web.json");
    let nothing = json!({"events": {"bad": "no_such_bad_total", "total": "no_such_total"}});
    let items = json!([web("99.9"), slo("empty", &json!({"objective": "99", "sli": nothing}))]);
    std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    let file = file.display().to_string();
    for (arguments, code, said) in [
        (
            vec![&*file, "--prometheus", server.url(), "--from", "30d"],
            2,
            "keeps samples for 1d, and --from asks for 30d",
        ),
        (vec![&*file, "--prometheus", server.url(), "--from", "30d"], 2, "help: use --from 1d"),
        (vec![&*file, "--prometheus", "http://127.0.0.1:1", "--from", "1h"], 2, "http://127.0.0.1:1 does not answer"),
        (vec![&*file, "--prometheus", "prometheus:9090"], 2, "--prometheus"),
        (vec![&*file, "--prometheus", server.url(), "--from", "yesterday"], 2, "neither a time nor a duration"),
        (vec![&*file, "--prometheus", server.url(), "--from", "5h", "--to", "6h"], 2, "--from is not before --to"),
        (vec![&*file, "--prometheus", server.url(), "--from", "9h", "--objective", "0.999"], 2, "write percent"),
        (vec![&*file, "--prometheus", server.url(), "--from", "9h"], 1, "shop/empty has no data in that time"),
    ] {
        let output = backtest(testbed, &arguments).await?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {}\n{}", output.status, output.stderr);
        ensure!(output.stderr.contains(said), "{arguments:?} does not say {said}:\n{}", output.stderr);
    }
    // What has data is told all the same.
    let output = backtest(testbed, &[&file, "--prometheus", server.url(), "--from", "9h"]).await?;
    ensure!(output.stdout.contains("shop/web") && !output.stdout.contains("shop/empty"), "{}", output.stdout);
    Ok(())
}
