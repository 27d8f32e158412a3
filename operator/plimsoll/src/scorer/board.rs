//! What the scorer knows, shared with `/metrics`, `/anomaly` and the controller.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use plimsoll_slo::names;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use serde::Serialize;

use super::{
    facts::Facts,
    now,
    store::Store,
    table::{Band, Event, Series, Table},
    watches::Labels,
};

/// Series that `/anomaly` shows at most.
const SHOWN: usize = 100;

/// How the scorer works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where its state outlives the process.
    pub state: Option<PathBuf>,
    /// Series whose expected value and band are exported: the most unusual ones.
    pub bands: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { state: None, bands: 20 }
    }
}

/// One part of all watches: what is known of it, and where that is kept.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) table: Table,
    pub(crate) store: Option<Store>,
}

impl Shard {
    /// Notes what happens, and brings it about.
    pub(crate) fn take(&mut self, event: &Event) {
        if let Some(store) = &mut self.store {
            store.note(event);
        }
        self.table.apply(event);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board {
    shards: Mutex<BTreeMap<u32, Shard>>,
    facts: Facts,
    options: OnceLock<Options>,
}

impl Board {
    /// Says once how the scorer is to work.
    pub fn configure(&self, options: Options) {
        // The first word counts.
        let _ = self.options.set(options);
    }

    pub(crate) fn options(&self) -> Options {
        self.options.get().cloned().unwrap_or_default()
    }

    /// What is told of the objects.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<u32, Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a shard, of which nothing is known at first.
    pub(crate) fn with<T>(&self, shard: u32, work: impl FnOnce(&mut Shard) -> T) -> T {
        work(self.shards().entry(shard).or_default())
    }

    /// Takes a shard away: somebody else has it now.
    pub(crate) fn leave(&self, shard: u32) {
        self.shards().remove(&shard);
    }

    /// Series of the object or watch that has this id and, if given, these labels; the most unusual first.
    pub fn look(&self, watch: &str, series: &[(String, String)]) -> Looked {
        let shards = self.shards();
        let all = shards.values().flat_map(|shard| shard.table.all());
        let fits = |labels: &Labels| {
            let id = labels.iter().any(|(name, value)| OWNERS.contains(&name.as_str()) && value == watch);
            id && series.iter().all(|wanted| labels.contains(wanted))
        };
        let found = Table::ranked(all.filter(|(labels, _)| fits(labels)));
        let left_off = found.len().saturating_sub(SHOWN);
        let series = found.into_iter().take(SHOWN).map(|(labels, series)| Shown::of(labels, series)).collect();
        Looked { watch: watch.to_owned(), series, left_off }
    }
}

/// Labels whose value is the id of an object.
const OWNERS: [&str; 2] = [names::SLO_ID, names::ALERT_RULE];

/// The answer of `/anomaly`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    watch: String,
    series: Vec<Shown>,
    /// More were found than are shown.
    left_off: usize,
}

impl Looked {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// One series. Numbers that are not known are missing.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    labels: BTreeMap<String, String>,
    /// Time of the last sample, in seconds since 1970, and its value.
    time: f64,
    value: f64,
    score: f64,
    state: f64,
    /// Since when an alert stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
    /// What the last sample was expected to be.
    #[serde(flatten)]
    band: Option<ShownBand>,
    /// What the next one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<ShownBand>,
}

#[derive(Debug, PartialEq, Serialize)]
struct ShownBand {
    expected: f64,
    low: f64,
    high: f64,
}

impl From<Band> for ShownBand {
    fn from(Band { expected, lower, upper }: Band) -> Self {
        Self { expected, low: lower, high: upper }
    }
}

impl Shown {
    fn of(labels: &Labels, series: &Series) -> Self {
        Self {
            labels: labels.iter().cloned().collect(),
            time: series.last,
            value: series.value,
            score: series.score,
            state: series.alert.peak,
            since: series.alert_since(),
            band: series.band.map(Into::into),
            next: series.next.map(Into::into),
        }
    }
}

/// As the registry prefixes every name.
fn short(name: &'static str) -> &'static str {
    name.trim_start_matches("plimsoll_")
}

/// Labels that a scrape gives to what has none: they are of this process, and an alert that had them would be another one
/// after each restart. What is there, if empty, is left alone where `honor_labels` is set.
const OF_SCRAPES: [&str; 7] = ["container", "endpoint", "instance", "job", "namespace", "pod", "service"];

/// The labels of a series as the text has them.
fn exported(labels: &Labels) -> Vec<(&str, &str)> {
    let own = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let lacks = |name: &&str| labels.iter().all(|(own, _)| own != name);
    own.chain(OF_SCRAPES.into_iter().filter(lacks).map(|name| (name, ""))).collect()
}

/// A metric, what it is, and how it is read from a series.
type Metric = (&'static str, &'static str, fn(&Series) -> Option<f64>);

/// Of every series whose score says something of the present.
const OF_ALL: [Metric; 2] = [
    (names::ANOMALY_SCORE, "How unusual a watched series is, from 0 to 1", |series| Some(series.score)),
    (names::ANOMALY_STATE, "Highest score of the alert that stays, 0 without one", |series| Some(series.alert.peak)),
];

/// Of the most unusual ones.
const OF_SOME: [Metric; 3] = [
    (names::ANOMALY_EXPECTED, "What a watched series was expected to be", |series| Some(series.band?.expected)),
    (names::ANOMALY_LOWER, "Where the band of 90 % around the expected value begins", |series| {
        Some(series.band?.lower)
    }),
    (names::ANOMALY_UPPER, "Where the band of 90 % around the expected value ends", |series| Some(series.band?.upper)),
];

impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (shards, now, bands) = (self.shards(), now() as f64, self.options().bands);
        let add = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
        let (seen, refused) = shards.values().map(|shard| shard.table.counts(now)).fold((0, 0), add);
        for (name, help, value) in [
            ("anomaly_series", "Series that the anomaly scorer watches", seen),
            ("anomaly_series_refused", "Series that the anomaly scorer has no room for", refused),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        let all: Vec<_> = shards.values().flat_map(|shard| shard.table.fresh(now)).collect();
        let with_band = all.iter().copied().filter(|(_, series)| series.band.is_some());
        let some: Vec<_> = Table::ranked(with_band).into_iter().take(bands).collect();
        for (metrics, series) in [(OF_ALL.as_slice(), &all), (&OF_SOME, &some)] {
            for (name, help, read) in metrics.iter().filter(|_| !series.is_empty()) {
                let mut family = encoder.encode_descriptor(short(name), help, None, MetricType::Gauge)?;
                for (labels, value) in series.iter().filter_map(|(labels, series)| Some((labels, read(series)?))) {
                    ConstGauge::new(value).encode(family.encode_family(&exported(labels))?)?;
                }
            }
        }
        Ok(())
    }
}
