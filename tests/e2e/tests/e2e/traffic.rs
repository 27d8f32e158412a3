//! Synthetic traffic with a known truth, and what `plimsoll generate` and promtool make of it.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result};
use plimsoll_e2e::Testbed;
use plimsoll_testbed::{Folder, Program, Promtool};
use serde_json::{Value, json};

/// Events of one scrape interval.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tick {
    pub(crate) good: u64,
    pub(crate) bad: u64,
}

/// Two counters, `requests_total{job,code="200"|"500"}`, one value for each scrape; `None` is a scrape that failed.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    job: String,
    good: Vec<Option<u64>>,
    bad: Vec<Option<u64>>,
    /// Bad events / all events of the whole time.
    pub(crate) truth: f64,
}

impl Traffic {
    /// Counts what `tick` says of each of `n` intervals.
    pub(crate) fn new(job: &str, n: usize, tick: impl Fn(usize) -> Tick) -> Self {
        let (mut good, mut bad) = (0, 0);
        let mut series = (Vec::with_capacity(n + 1), Vec::with_capacity(n + 1));
        for i in 0..=n {
            let Tick { good: g, bad: b } = tick(i);
            good += g;
            bad += b;
            series.0.push(Some(good));
            series.1.push(Some(bad));
        }
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        let truth = bad as f64 / (good + bad) as f64;
        Self { job: job.to_owned(), good: series.0, bad: series.1, truth }
    }

    /// The process restarts every `every` intervals, so its counters begin again at zero.
    pub(crate) fn restarting(mut self, every: usize) -> Self {
        for series in [&mut self.good, &mut self.bad] {
            let mut base = 0;
            let whole = series.clone();
            for (i, value) in series.iter_mut().enumerate() {
                if i > 0 && i % every == 0 {
                    base = whole[i - 1].unwrap_or(base);
                }
                *value = value.map(|v| v - base);
            }
        }
        self
    }

    /// No scrape works in `range`; `truth` becomes `truth`, that of what was seen.
    pub(crate) fn unseen(mut self, range: std::ops::Range<usize>, truth: f64) -> Self {
        for series in [&mut self.good, &mut self.bad] {
            for value in series.iter_mut().take(range.end).skip(range.start) {
                *value = None;
            }
        }
        self.truth = truth;
        self
    }

    /// No error has ever happened, so there is no series for errors.
    pub(crate) fn without_error_series(mut self) -> Self {
        self.bad.clear();
        self.truth = 0.0;
        self
    }

    fn series(&self) -> Vec<Value> {
        [("200", &self.good), ("500", &self.bad)]
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(code, values)| {
                let mut text = String::new();
                for value in values {
                    match value {
                        Some(v) => _ = write!(text, "{v} "),
                        None => text.push_str("_ "),
                    }
                }
                json!({"series": format!("requests_total{{job=\"{}\",code=\"{code}\"}}", self.job), "values": text.trim_end()})
            })
            .collect()
    }

    /// The SLI of this traffic.
    pub(crate) fn sli(&self) -> Value {
        json!({"events": {
            "bad": format!("requests_total{{job=\"{}\",code=~\"5..\"}}", self.job),
            "total": format!("requests_total{{job=\"{}\"}}", self.job)
        }})
    }

    /// An SLO called like the job.
    pub(crate) fn slo(&self, spec: Value) -> Value {
        let mut spec = spec;
        spec["sli"] = self.sli();
        slo(&self.job, &spec)
    }
}

/// An SLO in namespace `shop`.
pub(crate) fn slo(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

/// Their rule file, made by the program itself.
pub(crate) async fn generate(testbed: &Testbed, slos: &[Value]) -> Result<String> {
    let folder = Folder::new("generate")?;
    let input = folder.join("slos.json");
    std::fs::write(&input, json!({"apiVersion": "v1", "kind": "List", "items": slos}).to_string())?;
    let program = Program::new(testbed.plimsoll()?).arg("generate").arg(&input);
    program.run("", std::time::Duration::from_secs(60)).await?.success()
}

/// Rules of some SLOs, run by promtool over synthetic series.
pub(crate) struct Simulation {
    folder: Folder,
    promtool: Promtool,
    /// As they build on each other: a server's are evaluated at moments of their own.
    groups: Vec<String>,
    interval: &'static str,
    scrapes: &'static str,
    series: Vec<Value>,
    expectations: Vec<Value>,
}

impl Simulation {
    /// Generates the rules with the program itself.
    pub(crate) async fn new(testbed: &Testbed, interval: &'static str, slos: &[Value]) -> Result<Self> {
        let folder = Folder::new("simulation")?;
        let rules = generate(testbed, slos).await?;
        let groups = rules.lines().filter_map(|line| line.strip_prefix("- name: ")).map(str::to_owned).collect();
        std::fs::write(folder.join("rules.yaml"), rules)?;
        let promtool = Promtool::new(testbed.bin())?;
        promtool.check_rules(&[&folder.join("rules.yaml")]).await?;
        Ok(Self { folder, promtool, groups, interval, scrapes: interval, series: Vec::new(), expectations: Vec::new() })
    }

    /// The series have a sample every so often, rather than at each evaluation.
    pub(crate) fn scraped(self, scrapes: &'static str) -> Self {
        Self { scrapes, ..self }
    }

    /// Adds traffic.
    pub(crate) fn traffic(&mut self, traffic: &Traffic) {
        self.series.extend(traffic.series());
    }

    /// Adds any series, `values` in promtool's notation.
    pub(crate) fn series(&mut self, series: &str, values: &str) {
        self.series.push(json!({"series": series, "values": values}));
    }

    /// At `time`, `expr` must yield something whose values are all 1 under `bool`.
    pub(crate) fn expect(&mut self, time: &str, expr: &str) {
        self.expectations.push(json!({
            "eval_time": time, "expr": format!("min({expr})"), "exp_samples": [{"labels": "{}", "value": 1}]
        }));
    }

    /// At `time`, `expr` must yield nothing.
    pub(crate) fn expect_nothing(&mut self, time: &str, expr: &str) {
        self.expectations.push(json!({"eval_time": time, "expr": format!("count({expr})"), "exp_samples": []}));
    }

    /// At `time`, a ratio must be within 1 % of the truth.
    pub(crate) fn expect_ratio(&mut self, time: &str, name: &str, window: &str, truth: f64) {
        let ratio = format!("slo:error_ratio:window{{slo_id=\"shop/{name}\",window=\"{window}\"}}");
        let expr =
            if truth == 0.0 { format!("{ratio} == bool 0") } else { format!("abs({ratio} / {truth} - 1) < bool 0.01") };
        self.expect(time, &expr);
    }

    /// Runs it all.
    pub(crate) async fn run(self) -> Result<()> {
        let file: PathBuf = self.folder.join("test.json");
        let test = json!({
            "rule_files": ["rules.yaml"], "evaluation_interval": self.interval, "fuzzy_compare": true,
            "group_eval_order": self.groups,
            "tests": [{"interval": self.scrapes, "input_series": self.series, "promql_expr_test": self.expectations}]
        });
        std::fs::write(&file, test.to_string())?;
        self.promtool.test_rules(&[&file]).await.map(drop).context("the rules do not tell the truth")
    }
}
