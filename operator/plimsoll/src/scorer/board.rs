//! What the scorer knows, shared with `/metrics`, `/anomaly` and the controller.

use std::{
    borrow::Cow,
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
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::{
    CONCURRENCY_OF_ALL,
    facts::Facts,
    joint::Together,
    now,
    store::Store,
    table::{Band, Event, Series, Table},
    watches::Labels,
};
use crate::operator::gate::Lease;

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
#[derive(Debug)]
pub(crate) struct Shard {
    /// While it is not held, what is known is shown to nobody: somebody else may show the same.
    pub(crate) lease: Lease,
    pub(crate) table: Table,
    pub(crate) store: Option<Store>,
    pub(crate) lap: Lap,
    /// Series left out since another one of their watch has the same labels.
    pub(crate) indistinct: usize,
}

/// How long a round takes. Times are in seconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lap {
    /// When the one that is under way began.
    begun: Option<u64>,
    /// Seconds that the last one took.
    took: u64,
}

impl Lap {
    pub(crate) fn begin(&mut self, now: u64) {
        self.begun = Some(now);
    }

    pub(crate) fn end(&mut self, now: u64) {
        self.took = self.begun.take().map_or(0, |begun| now.saturating_sub(begun));
    }

    /// Seconds of the last one, or of the one that is under way where that is longer already.
    fn seconds(self, now: u64) -> u64 {
        self.begun.map_or(0, |begun| now.saturating_sub(begun)).max(self.took)
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self { lease: Lease::forever(), table: Table::default(), store: None, lap: Lap::default(), indistinct: 0 }
    }
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
#[derive(Debug)]
pub struct Board {
    shards: Mutex<BTreeMap<u32, Shard>>,
    facts: Facts,
    options: OnceLock<Options>,
    /// For answers that are read at the same time.
    room: Semaphore,
}

impl Default for Board {
    fn default() -> Self {
        let room = Semaphore::new(CONCURRENCY_OF_ALL);
        Self { shards: Mutex::default(), facts: Facts::default(), options: OnceLock::new(), room }
    }
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

    /// Waits until one more answer may be read, for as long as this is kept.
    pub(crate) async fn room(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.room.acquire().await.ok()
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
        let all = held(&shards).flat_map(|shard| shard.table.all());
        let fits = |labels: &Labels| {
            let id = labels.iter().any(|(name, value)| OWNERS.contains(&name.as_str()) && value == watch);
            id && series.iter().all(|wanted| labels.contains(wanted))
        };
        let found = Table::ranked(all.filter(|(labels, _)| fits(labels)));
        let left_off = found.len().saturating_sub(SHOWN);
        let present = now() as f64;
        let joint = held(&shards).flat_map(|shard| shard.table.joint(present));
        // What is asked for are series, unless it is all.
        let joint = joint.filter(|(labels, _)| fits(labels)).map(|(labels, together)| ShownJoint::of(labels, together));
        let joint = joint.collect();
        let series = found.into_iter().take(SHOWN).map(|(labels, series)| Shown::of(labels, series)).collect();
        Looked { watch: watch.to_owned(), series, joint, left_off }
    }
}

fn held(shards: &BTreeMap<u32, Shard>) -> impl Iterator<Item = &Shard> {
    let now = Instant::now();
    shards.values().filter(move |shard| shard.lease.is_held(now))
}

/// Labels whose value is the id of an object.
const OWNERS: [&str; 2] = [names::SLO_ID, names::ALERT_RULE];

/// The answer of `/anomaly`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    watch: String,
    series: Vec<Shown>,
    /// What is seen of them together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    joint: Vec<ShownJoint>,
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

/// Series together.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownJoint {
    labels: BTreeMap<String, String>,
    /// End of the last five minutes that were compared, in seconds since 1970.
    time: f64,
    score: f64,
    state: f64,
    /// Since when an alert stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
    /// The series that is farthest from where the others say it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    leaves: Option<BTreeMap<String, String>>,
    /// How far that is; 1 is the level of alarm.
    strength: f64,
}

impl ShownJoint {
    fn of(labels: Labels, together: &Together) -> Self {
        let leaves = together.leaves();
        Self {
            labels: labels.into_iter().collect(),
            time: together.last,
            score: together.score,
            state: together.alert.peak,
            since: together.alert_since(),
            leaves: leaves.map(|(labels, _)| labels.iter().cloned().collect()),
            strength: leaves.map_or(0.0, |(_, strength)| strength),
        }
    }
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

/// What is exported of a series, or of several together.
#[derive(Clone, Copy)]
struct Reading {
    score: f64,
    state: f64,
    value: f64,
    band: Option<Band>,
}

impl From<&Series> for Reading {
    fn from(series: &Series) -> Self {
        Self { score: series.score, state: series.alert.peak, value: series.value, band: series.band }
    }
}

impl From<&Together> for Reading {
    fn from(together: &Together) -> Self {
        Self { score: together.score, state: together.alert.peak, value: f64::NAN, band: None }
    }
}

/// A metric, what it is, and how it is read.
type Metric = (&'static str, &'static str, fn(&Reading) -> Option<f64>);

/// Of everything whose score says something of the present.
const OF_ALL: [Metric; 2] = [
    (names::ANOMALY_SCORE, "How unusual a watched series is, from 0 to 1", |reading| Some(reading.score)),
    (names::ANOMALY_STATE, "Highest score of the alert that stays, 0 without one", |reading| Some(reading.state)),
];

/// Of the most unusual ones.
const OF_SOME: [Metric; 4] = [
    (names::ANOMALY_VALUE, "What a watched series was, of those whose expected value is told", |reading| {
        Some(reading.value)
    }),
    (names::ANOMALY_EXPECTED, "What a watched series was expected to be", |reading| Some(reading.band?.expected)),
    (names::ANOMALY_LOWER, "Where the band of 90 % around the expected value begins", |reading| {
        Some(reading.band?.lower)
    }),
    (names::ANOMALY_UPPER, "Where the band of 90 % around the expected value ends", |reading| {
        Some(reading.band?.upper)
    }),
];

impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (shards, time, bands) = (self.shards(), now(), self.options().bands);
        let now = time as f64;
        let add = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
        let (seen, refused) = held(&shards).map(|shard| shard.table.counts(now)).fold((0, 0), add);
        let indistinct = held(&shards).map(|shard| shard.indistinct).sum();
        let round = held(&shards).map(|shard| shard.lap.seconds(time)).max().unwrap_or_default();
        for (name, help, value) in [
            ("anomaly_round_seconds", "Seconds that it takes to read all that is watched once", round as usize),
            ("anomaly_shards", "Shards of the anomaly scorer that this replica holds", held(&shards).count()),
            ("anomaly_series", "Series that the anomaly scorer watches", seen),
            ("anomaly_series_indistinct", "Series whose labels another one of the query has", indistinct),
            ("anomaly_series_refused", "Series that the anomaly scorer has no room for", refused),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        let fresh: Vec<_> = held(&shards).flat_map(|shard| shard.table.fresh(now)).collect();
        let with_band = fresh.iter().copied().filter(|(_, series)| series.band.is_some());
        let some = Table::ranked(with_band).into_iter().take(bands);
        let some: Vec<_> = some.map(|(labels, series)| (Cow::Borrowed(labels), Reading::from(series))).collect();
        let joint = held(&shards).flat_map(|shard| shard.table.joint(now));
        let joint = joint.map(|(labels, together)| (Cow::Owned(labels), Reading::from(together)));
        let fresh = fresh.iter().map(|(labels, series)| (Cow::Borrowed(*labels), Reading::from(*series)));
        let all: Vec<_> = fresh.chain(joint).collect();
        for (metrics, readings) in [(OF_ALL.as_slice(), &all), (&OF_SOME, &some)] {
            for (name, help, read) in metrics.iter().filter(|_| !readings.is_empty()) {
                let mut family = encoder.encode_descriptor(short(name), help, None, MetricType::Gauge)?;
                for (labels, value) in readings.iter().filter_map(|(labels, of)| Some((labels, read(of)?))) {
                    ConstGauge::new(value).encode(family.encode_family(&exported(labels))?)?;
                }
            }
        }
        Ok(())
    }
}
