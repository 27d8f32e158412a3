//! The native engine and a real Prometheus record the same, number by number.
//!
//! A server is asked for the base series by the expressions of `render::raw`, as `plimsoll backtest` does, the engine
//! is run over them, and promtool evaluates the rendered rules over the same raw series, at the same times.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context, Result, ensure};
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use plimsoll_slo::{
    Model, Rule,
    evaluate::{ALERTS, Engine, LOOKBACK, Labels, Sample, Schedule, Turn},
    names,
    render::{self, render},
};
use plimsoll_testbed::{Folder, Prometheus, PrometheusOptions, Promtool, Series};
use serde_json::{Value, json};

use crate::traffic::slo;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(PROMETHEUS, every_indicator_period_and_policy),
        test(PROMETHEUS, windows_of_days),
        test(PROMETHEUS, every_rule_at_its_own_times),
    ]
}

/// 2026-03-28T14:00:00Z: the clocks of Berlin change eleven hours later.
const START: i64 = 1_774_706_400;

/// A raw series: its value at each step; `None` where a scrape failed.
struct Raw {
    name: &'static str,
    labels: &'static str,
    values: Vec<Option<f64>>,
}

/// A counter whose process restarts now and then, scraped but for some gaps.
fn counter(
    steps: usize,
    restart: usize,
    rate: impl Fn(usize) -> f64,
    unseen: impl Fn(usize) -> bool,
) -> Vec<Option<f64>> {
    let mut value = 0.0;
    let step = |i: usize| {
        value = if restart > 0 && i.is_multiple_of(restart) { 0.0 } else { value + rate(i).floor() };
        (!unseen(i)).then_some(value)
    };
    (0..steps).map(step).collect()
}

/// Numbers that look like chance and are not.
fn chance(i: usize, seed: usize) -> f64 {
    let x = ((i * 7919 + seed * 104_729).wrapping_mul(2_654_435_761) >> 8 & 0xff_ffff) as f64;
    x / 16_777_216.0
}

/// Traffic with restarts, failed scrapes and an outage; with `holes`, also with hours in which nothing happens or
/// nothing is seen.
fn shop(steps: usize, step: usize, holes: bool) -> Vec<Raw> {
    let minute = move |i: usize| i * step / 60;
    let idle = move |i: usize| holes && (180..260).contains(&(minute(i) % 1440));
    let gap = move |i: usize| holes && (500..522).contains(&(minute(i) % 1440)) || i % 97 == 5;
    let outage = move |i: usize| (600..680).contains(&minute(i));
    let busy = move |i: usize, seed: usize| if idle(i) { 0.0 } else { 400.0 + 300.0 * chance(i, seed) };
    let failing = move |i: usize, seed: usize| {
        let share = if outage(i) {
            0.4
        } else if chance(i, seed) < 0.02 {
            0.1
        } else {
            0.001
        };
        busy(i, seed) * share
    };
    let raw = |name, labels, values| Raw { name, labels, values };
    let never = |_: usize| false;
    let up = move |seed: usize| {
        let of = move |i: usize| f64::from(u8::from(!(outage(i) || chance(i, seed) < 0.005)));
        (0..steps).map(|i| (!gap(i)).then(|| of(i))).collect::<Vec<_>>()
    };
    vec![
        raw("r_total", r#"code="200",route="a""#, counter(steps, 777, move |i| busy(i, 1), gap)),
        raw("r_total", r#"code="500",route="a""#, counter(steps, 777, move |i| failing(i, 1), gap)),
        raw("r_total", r#"code="200",route="b""#, counter(steps, 0, move |i| busy(i, 2) / 50.0, never)),
        raw("r_total", r#"code="500",route="b""#, counter(steps, 0, move |i| failing(i, 3) / 9.0, never)),
        // A group that comes late and goes early.
        raw(
            "r_total",
            r#"code="200",route="c""#,
            counter(steps, 0, move |i| busy(i, 4), move |i| holes && !(300..700).contains(&minute(i))),
        ),
        // Gone for two hours, and back.
        raw(
            "lost_total",
            r#"code="200""#,
            counter(steps, 0, move |i| busy(i, 5), move |i| holes && (400..520).contains(&minute(i))),
        ),
        raw(
            "lost_total",
            r#"code="500""#,
            counter(steps, 0, move |i| failing(i, 5), move |i| holes && (400..520).contains(&minute(i))),
        ),
        raw("h_seconds_count", "", counter(steps, 500, move |i| busy(i, 6), gap)),
        raw("h_seconds_bucket", r#"le="0.3""#, counter(steps, 500, move |i| busy(i, 6) - failing(i, 6), gap)),
        raw("probe", r#"instance="x""#, up(7)),
        raw("probe", r#"instance="y""#, up(8)),
    ]
}

/// One SLO for each kind of everything. `wide` ones read more samples at once than promtool lets a query read.
fn slos(wide: bool) -> Vec<Value> {
    let most = |long: Value, short: Value| if wide { long } else { short };
    let days = |n: u32| json!({"rolling": format!("{n}d")});
    let events = json!({"events": {"bad": "r_total{code=~\"5..\"}", "total": "r_total"}});
    let lost = json!({"events": {"bad": "lost_total{code=~\"5..\"}", "total": "lost_total"}});
    let named = |name: &str, objective: &str, sli: &Value, more: Value| {
        let mut spec = json!({"objective": objective, "sli": sli});
        let more = more.as_object().cloned().unwrap_or_default();
        more.into_iter().for_each(|(key, value)| spec[key] = value);
        slo(name, &spec)
    };
    let calendar = |unit: &str| json!({"period": {"calendar": unit, "timeZone": "Europe/Berlin"}});
    let weekly = json!({"name": "patches", "every": "Sat,Sun 17:30", "for": "75m", "timeZone": if wide { "Europe/Berlin" } else { "UTC" }});
    let once = json!({"name": "move", "from": "2026-03-28T20:00:00Z", "to": "2026-03-28T21:10:00Z"});
    let freeze = json!({"name": "freeze", "from": "2026-03-01T00:00:00Z", "to": "2026-03-10T00:00:00Z"});
    let composite = |of: Value| json!({"composite": of});
    vec![
        named("events", "99.9", &events, json!({"alerting": {"minimumBadEvents": 300}})),
        named(
            "good-total",
            "99.9",
            &json!({"events": {"good": "r_total{code=\"200\"}", "total": "r_total"}}),
            calendar("Month"),
        ),
        named(
            "good-bad",
            "99.5",
            &json!({"events": {"good": "r_total{code=\"200\"}", "bad": "r_total{code=\"500\"}"}}),
            calendar("Week"),
        ),
        named("grouped", "99.9", &events, json!({"groupBy": ["route"], "alerting": {"minimumBadEvents": 50}})),
        named(
            "latency",
            "99",
            &json!({"latency": {"histogram": "h_seconds", "threshold": "300ms"}}),
            most(calendar("Quarter"), calendar("Month")),
        ),
        named("up", "99.5", &json!({"up": {"series": "probe"}}), json!({"period": {"rolling": "4h"}})),
        named(
            "fine",
            "99",
            &json!({"up": {"series": "probe"}}),
            json!({"exclusions": [once], "period": most(days(30), days(3)),
            "alerting": {"tiers": [{"name": "quick", "burnRate": "20", "longWindow": "20m", "shortWindow": "2m", "severity": "Page", "for": "4m", "keepFiringFor": "7m"}]}}),
        ),
        named(
            "ratio",
            "99",
            &json!({"ratio": {"errors": "sum(rate(r_total{code=\"500\"}[$window])) / sum(rate(r_total[$window]))"}}),
            most(calendar("Year"), calendar("Week")),
        ),
        named(
            "slices",
            "99",
            &json!({"timeSlices": {"good": "avg(probe) > bool 0.9", "slice": "1m"}}),
            json!({"period": {"rolling": "1d"}}),
        ),
        named(
            "excluded",
            "99.9",
            &events,
            json!({"groupBy": ["route"], "exclusions": [weekly, once], "period": most(days(30), days(2))}),
        ),
        named(
            "excluded-week",
            "99.9",
            &events,
            json!({"exclusions": [most(weekly.clone(), once.clone())], "period": most(calendar("Week")["period"].clone(), days(5))}),
        ),
        named("missing-is-bad", "99.9", &lost, json!({"alerting": {"noData": "Bad"}, "period": {"rolling": "1d"}})),
        // Gone since before the end of what is excluded; looked back at every five minutes, and more seldom.
        named(
            "missing-outlasts",
            "99.9",
            &lost,
            json!({"alerting": {"noData": "Bad"}, "period": {"rolling": "1d"}, "exclusions": [once]}),
        ),
        named(
            "missing-outlasts-longer",
            "99.9",
            &lost,
            json!({"alerting": {"noData": "Bad"}, "period": {"rolling": "1d"}, "exclusions": [once, freeze]}),
        ),
        named("missing-alerts", "99.9", &lost, json!({"alerting": {"noData": "Alert"}, "period": {"rolling": "7d"}})),
        named(
            "missing-is-nothing",
            "99.9",
            &lost,
            json!({"alerting": {"noData": "Ignore"}, "period": {"rolling": "1h"}}),
        ),
        named(
            "weighted",
            "99.5",
            &composite(
                json!({"weighted": [{"slo": "events", "weight": 3}, {"slo": "grouped"}, {"slo": "missing-alerts"}]}),
            ),
            json!({}),
        ),
        named("worst", "99.5", &composite(json!({"worstOf": ["up", "latency", "weighted"]})), calendar("Month")),
        named(
            "worst-excluded",
            "99.5",
            &composite(json!({"worstOf": ["events", "up"]})),
            json!({"exclusions": [once], "period": most(days(30), days(3))}),
        ),
        // Of a part that nobody has loaded.
        named(
            "partial",
            "99.5",
            &composite(json!({"worstOf": ["up", "gone"]})),
            json!({"exclusions": [once], "period": most(days(30), days(3))}),
        ),
        named(
            "partial-alerts",
            "99.5",
            &composite(json!({"weighted": [{"slo": "lost"}, {"slo": "missing-alerts"}]})),
            json!({"alerting": {"noData": "Alert"}}),
        ),
    ]
}

async fn every_indicator_period_and_policy(testbed: &Testbed) -> Result<()> {
    // Over the change of the clock, in the night to Sunday.
    compare(testbed, &slos(false), shop(14 * 60, 60, true), 60, 20).await
}

async fn windows_of_days(testbed: &Testbed) -> Result<()> {
    let events = json!({"events": {"bad": "r_total{code=~\"5..\"}", "total": "r_total"}});
    let tier = |name: &str, rate: &str, long: &str, short: &str| json!({"name": name, "burnRate": rate, "longWindow": long, "shortWindow": short, "severity": "Ticket"});
    // One window of each way in which windows are read: by minutes, by five minutes, and beyond four days by half hours.
    let long = json!([tier("days", "1", "2d", "5h"), tier("week", "1", "100h", "1d")]);
    let of = |name: &str, more: Value| {
        let mut spec =
            json!({"objective": "99.5", "sli": events, "alerting": {"tiers": long, "minimumBadEvents": 4000}});
        let more = more.as_object().cloned().unwrap_or_default();
        more.into_iter().for_each(|(key, value)| spec[key] = value);
        slo(name, &spec)
    };
    let both = json!({"composite": {"worstOf": ["single", "grouped"]}});
    let slos = [
        of("single", json!({"period": {"rolling": "10d"}})),
        of("grouped", json!({"period": {"rolling": "10d"}, "groupBy": ["route"]})),
        of(
            "excluded",
            json!({"period": {"rolling": "5d"}, "exclusions": [{"name": "patches", "every": "Mon 03:00", "for": "2h"}]}),
        ),
        slo("both", &json!({"objective": "99", "sli": both, "alerting": {"tiers": long}})),
    ];
    // Until the longest window is full. Two samples make a rate over five minutes.
    compare(testbed, &slos, shop(116 * 24, 150, true), 150, 90).await
}

/// Runs both over the raw series, evaluated once a `step` of seconds, and compares every recorded series and every
/// alert after each `every`-th step, and the alerts wherever one of them changes.
async fn compare(testbed: &Testbed, slos: &[Value], raw: Vec<Raw>, step: i64, every: i64) -> Result<()> {
    let models = slos.iter().map(model).collect::<Result<Vec<Model>>>()?;
    let steps = i64::try_from(raw.first().map_or(0, |raw| raw.values.len()))?;
    let folder = Folder::new("engine")?;
    let server = server(testbed, &folder, &raw, step, "").await?;
    let turn = Turn { interval: Some(step * 1000), phase: 0 };
    let schedule = Schedule { base: turn, slow: turn, period: turn };
    let mut engine = Engine::new(models.clone(), START * 1000, &schedule);
    for model in &models {
        feed(&mut engine, &server, model, (START, step, steps)).await?;
    }
    let end = START + step * (steps - 1);
    engine.run(end * 1000);

    let mut expected = Expected::default();
    let mut firing = 0;
    for model in &models {
        let id = model.id.to_string();
        let regular = |i: &i64| i % every == 0 || *i == steps - 1;
        let mut times: Vec<i64> = (1..steps).filter(regular).collect();
        for alert in engine.alerts(&id) {
            let changes: Vec<i64> = (1..steps)
                .filter(|i| {
                    let state = |i: i64| alert.state((START + i * step) * 1000);
                    state(*i) != state(i - 1)
                })
                .flat_map(|i| [i - 1, i])
                .collect();
            firing += alert.episodes.len();
            times.extend(changes);
        }
        times.sort_unstable();
        times.dedup();
        for i in times {
            let names = if regular(&i) { &Expected::ALL[..] } else { &[ALERTS] };
            expected.at(names, &engine, &id, i * step, (START + i * step) * 1000);
        }
    }
    ensure!(expected.values > 3000 && firing > 5, "{} values, {firing} alerts: too few to say much", expected.values);
    println!("{} values and {firing} times that an alert fires", expected.values);
    expected.check(testbed, &folder, &engine, &raw, step).await
}

fn model(object: &Value) -> Result<Model> {
    let object = serde_json::from_value(object.clone())?;
    let valid = plimsoll_slo::validate(&object).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    Ok(valid.model)
}

/// A server with the raw series, and `more`, in its past.
async fn server(testbed: &Testbed, folder: &Folder, raw: &[Raw], step: i64, more: &str) -> Result<Prometheus> {
    let mut text = more.to_owned();
    for Raw { name, labels, values } in raw {
        for (i, value) in (0..).zip(values) {
            if let Some(value) = value {
                writeln!(text, "{name}{{{labels}}} {value} {}", START + i * step)?;
            }
        }
    }
    text.push_str("# EOF\n");
    std::fs::write(folder.join("history.txt"), text)?;
    let blocks = folder.join(if more.is_empty() { "raw" } else { "recorded" });
    Promtool::new(testbed.bin())?.create_blocks(&folder.join("history.txt"), &blocks).await?;
    Prometheus::start(testbed.bin(), PrometheusOptions { blocks: Some(blocks), ..PrometheusOptions::default() }).await
}

/// Gives the engine what the server finds by the raw expressions.
async fn feed(engine: &mut Engine, server: &Prometheus, model: &Model, times: (i64, i64, i64)) -> Result<()> {
    let (start, step, steps) = times;
    let Some(raw) = render::raw(model) else { return Ok(()) };
    let mut groups: BTreeMap<Labels, [Vec<Sample>; 2]> = BTreeMap::new();
    let none = || vec![Sample::NONE; usize::try_from(steps).unwrap_or(0)];
    for (place, pair) in [Some(raw.base), raw.fine].into_iter().enumerate() {
        let Some((total, bad)) = pair else { continue };
        for (is_bad, expression) in [(false, total), (true, bad)] {
            for series in range(server, &expression, times).await? {
                let rows = &mut groups.entry(series.labels).or_insert_with(|| [none(), none()])[place];
                for (time, value) in series.samples {
                    let i = usize::try_from((time as i64 - start) / step)?;
                    let sample = rows.get_mut(i).context("a sample out of range")?;
                    if is_bad { sample.bad = value } else { sample.total = value }
                }
            }
        }
    }
    let id = model.id.to_string();
    for (labels, [base, fine]) in groups {
        ensure!(engine.feed(&id, &labels, start * 1000, &base, &fine), "{id} takes no data");
    }
    Ok(())
}

async fn range(server: &Prometheus, expression: &str, times: (i64, i64, i64)) -> Result<Vec<Series>> {
    let (start, step, steps) = times;
    let [start, end, step] = [start, start + step * (steps - 1), step].map(|seconds| seconds as f64);
    server.query_range(expression, start, end, step).await
}

/// Each rule alone, at the intervals that are rendered and at phases of its own, as servers have them: with everything
/// that the engine says was recorded in its past, a server evaluates each rule to what the engine says of that time.
async fn every_rule_at_its_own_times(testbed: &Testbed) -> Result<()> {
    const RAW: i64 = 30;
    const HOURS: i64 = 26;
    let turn = |phase| Turn { interval: None, phase };
    let schedule = Schedule { base: turn(7000), slow: turn(50_000), period: turn(200_000) };
    let raw = shop(usize::try_from(HOURS * 3600 / RAW)?, usize::try_from(RAW)?, false);
    let objects = slos(true);
    let models = objects.iter().map(model).collect::<Result<Vec<Model>>>()?;
    let folder = Folder::new("engine")?;
    let mut engine = Engine::new(models.clone(), START * 1000, &schedule);
    {
        let server = server(testbed, &folder, &raw, RAW, "").await?;
        for model in &models {
            let (first, interval) = engine.base_turn(&model.id.to_string()).context("no such SLO")?;
            let (first, interval) = (first / 1000, interval / 1000);
            feed(&mut engine, &server, model, (first, interval, HOURS * 3600 / interval - 1)).await?;
        }
    }
    let end = (START + HOURS * 3600) * 1000 - 60_000;
    engine.run(end);
    let mut history = String::new();
    for model in &models {
        let id = model.id.to_string();
        for name in Expected::ALL.into_iter().filter(|name| ![names::INFO, ALERTS].contains(name)) {
            for found in engine.select(name, &id) {
                let labels = selector(name, &found.labels);
                for (t, value) in found.series.samples(START * 1000 - 1, end) {
                    writeln!(history, "{labels} {value:?} {}.{:03}", t / 1000, t % 1000)?;
                }
            }
        }
    }
    let server = server(testbed, &folder, &raw, RAW, &history).await?;
    let mut compared = 0;
    for model in &models {
        let id = model.id.to_string();
        for rule in render(model).groups.iter().flat_map(|group| &group.rules) {
            let Some(name) = rule.record.as_deref() else { continue };
            let found: Vec<_> =
                engine.select(name, &id).into_iter().filter(|found| within(rule, &found.labels)).collect();
            let times: Vec<i64> = found
                .first()
                .map(|f| f.series.samples(START * 1000, end).map(|(t, _)| t).collect())
                .unwrap_or_default();
            for t in times.iter().skip(11).step_by(times.len() / 6 + 1).chain(times.last()) {
                // A history has no stale markers: what has just ended goes on for five minutes in it.
                if ends(&engine, &id, *t) {
                    continue;
                }
                let answer = server.query_at(&rule.expr, *t as f64 / 1000.0).await?;
                let theirs: BTreeMap<Labels, f64> = answer
                    .into_iter()
                    .map(|series| {
                        let value = series.value().unwrap_or(f64::NAN);
                        let own = rule.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
                        let mut labels: Labels = series.labels.into_iter().chain(own).collect();
                        labels.remove("__name__");
                        (labels, value)
                    })
                    .collect();
                let ours: BTreeMap<Labels, f64> =
                    found.iter().filter_map(|f| Some((f.labels.clone(), f.series.at(*t)?))).collect();
                let same = theirs.len() == ours.len()
                    && theirs.iter().zip(&ours).all(|((a, x), (b, y))| {
                        let scale = if name == names::BUDGET_REMAINING { y.abs().max(1.0) } else { y.abs() };
                        a == b && (x - y).abs() <= scale * 1e-9
                    });
                ensure!(same, "{name} of {id} at {t}: {theirs:?}, the engine has {ours:?}\n{}", rule.expr);
                compared += ours.len();
            }
        }
    }
    println!("{compared} values");
    ensure!(compared > 3000, "{compared} values: too few to say much");
    Ok(())
}

/// Whether a ratio of the SLO has ended within the five minutes before.
fn ends(engine: &Engine, id: &str, t: i64) -> bool {
    let found = engine.select(names::ERROR_RATIO, id);
    found.iter().any(|f| f.series.at(t).is_none() && f.series.samples(t - LOOKBACK, t).next().is_some())
}

fn selector(name: &str, labels: &Labels) -> String {
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// Whether a series is one of this rule: the windows share a name.
fn within(rule: &Rule, labels: &Labels) -> bool {
    rule.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// What promtool is to find.
#[derive(Default)]
struct Expected {
    tests: Vec<Value>,
    values: usize,
}

impl Expected {
    /// Everything that is recorded.
    const ALL: [&str; 20] = [
        names::TOTAL,
        names::BAD,
        names::TOTAL_FINE,
        names::BAD_FINE,
        names::SLICE,
        names::TOTAL_ROLLUP,
        names::BAD_ROLLUP,
        names::PRESENT_ROLLUP,
        names::TOTAL_CLOSED,
        names::BAD_CLOSED,
        names::TOTAL_OPEN,
        names::BAD_OPEN,
        names::ERROR_RATIO,
        names::BURN_RATE,
        names::BUDGET_REMAINING,
        names::OBJECTIVE,
        names::COVERAGE,
        names::PERIOD_START,
        names::INFO,
        ALERTS,
    ];

    /// What is recorded of one SLO under some names at one time.
    fn at(&mut self, names: &[&'static str], engine: &Engine, id: &str, after: i64, t: i64) {
        for name in names {
            let found = engine.select(name, id);
            let values: Vec<(Labels, f64)> =
                found.into_iter().filter_map(|found| Some((found.labels, found.series.at(t)?))).collect();
            let all = format!("count({name}{{slo_id=\"{id}\"}})");
            self.values += values.len();
            if values.is_empty() {
                self.expect(after, &all, None);
                continue;
            }
            self.expect(after, &format!("{all} == bool {}", values.len()), Some(1));
            for (labels, value) in values {
                let series = selector(name, &labels);
                // What is left of a budget is a difference from one.
                let scale = if *name == names::BUDGET_REMAINING { value.abs().max(1.0) } else { value.abs() };
                self.expect(after, &format!("abs({series} - ({value:?})) <= bool {:?}", scale * 1e-9), Some(1));
            }
        }
    }

    fn expect(&mut self, after: i64, expression: &str, value: Option<i32>) {
        let samples: Vec<Value> = value.iter().map(|value| json!({"labels": "{}", "value": value})).collect();
        let expression = if value.is_some() { format!("min({expression})") } else { expression.to_owned() };
        self.tests.push(json!({"eval_time": format!("{after}s"), "expr": expression, "exp_samples": samples}));
    }

    async fn check(self, testbed: &Testbed, folder: &Folder, engine: &Engine, raw: &[Raw], step: i64) -> Result<()> {
        let groups: Vec<_> = engine.models().flat_map(|model| render(model).groups).collect();
        ensure!(groups.iter().flat_map(|g| &g.rules).all(|rule: &Rule| !rule.expr.is_empty()));
        std::fs::write(folder.join("rules.yaml"), serde_json::to_string(&json!({"groups": groups}))?)?;
        let order: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let series = raw.iter().map(|Raw { name, labels, values }| {
            let values: Vec<String> = values.iter().map(|v| v.map_or("_".to_owned(), |v| v.to_string())).collect();
            json!({"series": format!("{name}{{{labels}}}"), "values": values.join(" ")})
        });
        let test = json!({
            "rule_files": ["rules.yaml"], "evaluation_interval": format!("{step}s"), "group_eval_order": order,
            "tests": [{"interval": format!("{step}s"), "start_timestamp": START.to_string(),
                "input_series": series.collect::<Vec<_>>(), "promql_expr_test": self.tests}]
        });
        let file = folder.join("test.json");
        std::fs::write(&file, test.to_string())?;
        let done = Promtool::new(testbed.bin())?.test_rules(&[&file]).await;
        done.map(drop).context("Prometheus and the engine differ")
    }
}
