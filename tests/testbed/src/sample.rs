//! A synthetic service: an endpoint for scrapes whose metrics a test drives.
//!
//! A counter can be given a rate, and then grows by itself: its value is worked out at each scrape, so nothing
//! drifts when the machine is busy.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};

use crate::server::Server;

/// A service with metrics at `/metrics`; ends when dropped.
pub struct SampleService {
    server: Server,
    metrics: Arc<Mutex<Metrics>>,
}

impl SampleService {
    /// Starts it without any metric.
    pub async fn start() -> Result<Self> {
        let metrics = Arc::new(Mutex::new(Metrics::default()));
        let router = Router::new().route("/metrics", get(expose)).with_state(Arc::clone(&metrics));
        Ok(Self { server: Server::start(router).await?, metrics })
    }

    /// Starts one as a newcomer's examples expect it: requests with codes and durations, and a probe. A post to
    /// `/errors/20` lets a fifth of the requests fail from then on.
    pub async fn shop() -> Result<Self> {
        let metrics = Arc::new(Mutex::new(Metrics::default()));
        let router = Router::new()
            .route("/metrics", get(expose))
            .route("/errors/{percent}", post(fail))
            .with_state(Arc::clone(&metrics));
        let shop = Self { server: Server::start(router).await?, metrics };
        shop.set("probe_success", "", 1.0);
        traffic(&shop.metrics, 0.01);
        Ok(shop)
    }

    /// `host:port`, for [`crate::PrometheusOptions::scrape`].
    #[must_use]
    pub fn target(&self) -> String {
        self.server.address()
    }

    /// Sets a gauge. `labels` is as in PromQL, without braces: `code="200",method="GET"`.
    pub fn set(&self, name: &str, labels: &str, value: f64) {
        self.with(name, labels, Series::Gauge(value), |series| {
            if let Series::Gauge(current) = series {
                *current = value;
            }
        });
    }

    /// Adds to a counter; the first call makes it, so adding 0 makes it visible.
    pub fn add(&self, name: &str, labels: &str, amount: f64) {
        self.with(name, labels, Series::Counter(Ramp::new()), |series| {
            if let Series::Counter(ramp) = series {
                ramp.base += amount;
            }
        });
    }

    /// Lets a counter grow by itself, from now on.
    pub fn rate(&self, name: &str, labels: &str, per_second: f64) {
        rate(&self.metrics, name, labels, per_second);
    }

    /// Puts observations of one value into a histogram. Its buckets' upper bounds are those of the first call.
    pub fn observe(&self, name: &str, labels: &str, bounds: &[f64], value: f64, times: f64) {
        self.with(name, labels, Series::histogram(bounds), |series| {
            series.at(value, |ramp, factor| ramp.base += times * factor);
        });
    }

    /// Lets observations of one value go on by themselves, from now on, replacing the rate of that value's bucket.
    pub fn observe_rate(&self, name: &str, labels: &str, bounds: &[f64], value: f64, per_second: f64) {
        observe_rate(&self.metrics, (name, labels), bounds, value, per_second);
    }

    /// Removes a series, as when a pod goes away.
    pub fn remove(&self, name: &str, labels: &str) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = metrics.0.get_mut(name) {
            family.remove(labels);
        }
    }

    /// Starts every counter and histogram at zero again, as a restart of the service would; rates stay.
    pub fn reset(&self) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        for series in metrics.0.values_mut().flat_map(BTreeMap::values_mut) {
            series.ramps(|ramp| *ramp = Ramp { per_second: ramp.per_second, ..Ramp::new() });
        }
    }

    fn with(&self, name: &str, labels: &str, new: Series, change: impl FnOnce(&mut Series)) {
        with(&self.metrics, name, labels, new, change);
    }
}

fn with(metrics: &Mutex<Metrics>, name: &str, labels: &str, new: Series, change: impl FnOnce(&mut Series)) {
    let mut metrics = metrics.lock().unwrap_or_else(PoisonError::into_inner);
    change(metrics.0.entry(name.to_owned()).or_default().entry(labels.to_owned()).or_insert(new));
}

fn rate(metrics: &Mutex<Metrics>, name: &str, labels: &str, per_second: f64) {
    with(metrics, name, labels, Series::Counter(Ramp::new()), |series| {
        if let Series::Counter(ramp) = series {
            ramp.set_rate(per_second);
        }
    });
}

fn observe_rate(metrics: &Mutex<Metrics>, (name, labels): (&str, &str), bounds: &[f64], value: f64, per_second: f64) {
    with(metrics, name, labels, Series::histogram(bounds), |series| {
        series.at(value, |ramp, factor| ramp.set_rate(per_second * factor));
    });
}

/// The requests of a shop, of which this share fails, and as many are slow.
fn traffic(metrics: &Mutex<Metrics>, percent: f64) {
    const BOUNDS: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0];
    for (route, per_second) in [("/cart", 40.0), ("/pay", 10.0)] {
        let bad = per_second * percent / 100.0;
        for (code, per_second) in [("200", per_second - bad), ("500", bad)] {
            let labels = format!("code=\"{code}\",method=\"GET\",route=\"{route}\"");
            rate(metrics, "http_requests_total", &labels, per_second);
        }
        let labels = format!("method=\"GET\",route=\"{route}\"");
        for (seconds, per_second) in [(0.08, per_second - bad), (0.8, bad)] {
            observe_rate(metrics, ("http_request_duration_seconds", &labels), &BOUNDS, seconds, per_second);
        }
    }
}

async fn fail(
    State(metrics): State<Arc<Mutex<Metrics>>>,
    Path(percent): Path<String>,
) -> Result<String, (StatusCode, &'static str)> {
    match percent.parse::<f64>() {
        Ok(share) if (0.0..=100.0).contains(&share) => {
            traffic(&metrics, share);
            Ok(format!("{share} % of the requests fail from now on\n"))
        }
        _ => Err((StatusCode::BAD_REQUEST, "write a number from 0 to 100: /errors/20\n")),
    }
}

/// Families by name, series by their labels as text.
#[derive(Default)]
struct Metrics(BTreeMap<String, BTreeMap<String, Series>>);

/// A number that may grow with time.
#[derive(Clone)]
struct Ramp {
    base: f64,
    per_second: f64,
    since: Instant,
}

impl Ramp {
    fn new() -> Self {
        Self { base: 0.0, per_second: 0.0, since: Instant::now() }
    }

    fn value(&self) -> f64 {
        self.base + self.per_second * self.since.elapsed().as_secs_f64()
    }

    fn set_rate(&mut self, per_second: f64) {
        *self = Self { base: self.value(), per_second, since: Instant::now() };
    }
}

enum Series {
    Gauge(f64),
    Counter(Ramp),
    /// Buckets by their upper bound, the last without one; for each the count of its own and the sum of its values.
    Histogram(Vec<(Option<f64>, Ramp, Ramp)>),
}

impl Series {
    fn histogram(bounds: &[f64]) -> Self {
        let bounds = bounds.iter().copied().map(Some).chain([None]);
        Self::Histogram(bounds.map(|bound| (bound, Ramp::new(), Ramp::new())).collect())
    }

    /// Changes the bucket that a value falls into: its count by the factor 1, its sum by the value.
    fn at(&mut self, value: f64, change: impl Fn(&mut Ramp, f64)) {
        if let Self::Histogram(buckets) = self
            && let Some((_, count, sum)) =
                buckets.iter_mut().find(|(bound, ..)| bound.is_none_or(|bound| value <= bound))
        {
            change(count, 1.0);
            change(sum, value);
        }
    }

    fn ramps(&mut self, mut change: impl FnMut(&mut Ramp)) {
        match self {
            Self::Gauge(_) => {}
            Self::Counter(ramp) => change(ramp),
            Self::Histogram(buckets) => buckets.iter_mut().for_each(|(_, count, sum)| {
                change(count);
                change(sum);
            }),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Gauge(_) => "gauge",
            Self::Counter(_) => "counter",
            Self::Histogram(_) => "histogram",
        }
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) -> std::fmt::Result {
        match self {
            Self::Gauge(value) => writeln!(text, "{name}{{{labels}}} {value}"),
            Self::Counter(ramp) => writeln!(text, "{name}{{{labels}}} {}", ramp.value()),
            Self::Histogram(buckets) => {
                let separator = if labels.is_empty() { "" } else { "," };
                let (mut count, mut sum) = (0.0, 0.0);
                for (bound, own_count, own_sum) in buckets {
                    // Observations are whole: what a rate has not finished is not there yet.
                    count += own_count.value().floor();
                    sum += own_sum.value();
                    let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
                    writeln!(text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}")?;
                }
                writeln!(text, "{name}_sum{{{labels}}} {sum}")?;
                writeln!(text, "{name}_count{{{labels}}} {count}")
            }
        }
    }
}

async fn expose(State(metrics): State<Arc<Mutex<Metrics>>>) -> Result<String, StatusCode> {
    let metrics = metrics.lock().unwrap_or_else(PoisonError::into_inner);
    exposition(&metrics).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn exposition(metrics: &Metrics) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for (name, family) in &metrics.0 {
        if let Some(first) = family.values().next() {
            writeln!(text, "# TYPE {name} {}", first.kind())?;
        }
        for (labels, series) in family {
            series.write(&mut text, name, labels)?;
        }
    }
    Ok(text)
}
