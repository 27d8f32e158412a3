//! The validated model: the only thing that rendering sees.

use std::{collections::BTreeMap, fmt};

use plimsoll_api::{
    anomaly::Sensitivity,
    slo::{Calendar, LatencyUnit, NoData, Severity},
};
use rust_decimal::Decimal;

/// Identity of an SLO or AlertRule, printed as `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SloId {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes name.
    pub name: String,
}

impl fmt::Display for SloId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One SLO, valid and with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Who it is.
    pub id: SloId,
    /// Descriptive labels for `slo_info` and the alerts: `service`, `owner` and the user's own.
    pub labels: BTreeMap<String, String>,
    /// What holds while the objective does.
    pub description: Option<String>,
    /// The objective.
    pub objective: Objective,
    /// The error budget's period.
    pub period: Period,
    /// What is measured.
    pub sli: Sli,
    /// The targets that expose the indicator, where its `job` is known.
    pub targets: Option<Targets>,
    /// Labels by which it holds separately, sorted.
    pub group_by: Vec<String>,
    /// The enabled tiers, shortest long window first.
    pub tiers: Vec<Tier>,
    /// Bad events below which no tier fires; zero for none.
    pub minimum_bad_events: u64,
    /// What missing samples mean.
    pub no_data: NoData,
    /// Labels added to the alerts.
    pub alert_labels: BTreeMap<String, String>,
    /// Annotations added to the alerts.
    pub alert_annotations: BTreeMap<String, String>,
    /// Times that do not count.
    pub exclusions: Vec<Exclusion>,
    /// How sensitive the anomaly scorer is that watches the indicator; `None` where none does.
    pub anomaly: Option<Sensitivity>,
    /// Names of its runbooks.
    pub runbooks: Vec<String>,
    /// Name of its backend.
    pub backend: String,
}

impl Model {
    /// SLOs of the same namespace that this one is made of.
    pub fn parts(&self) -> Vec<&str> {
        match &self.sli {
            Sli::Weighted(parts) => parts.iter().map(|(name, _)| name.as_str()).collect(),
            Sli::WorstOf(parts) => parts.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// Selectors of `up`, the narrowest first: by every label of the indicator that targets usually have
/// (`up{job="pods",namespace="shop",app="checkout"}`), by those that a scrape gives, and by the job alone, each for when
/// no target has ever had the labels of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(pub Vec<String>);

/// An objective, exact: percent over 1 and below 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective(Decimal);

impl Objective {
    /// From percent; `None` outside 1 to 100.
    pub fn from_percent(percent: Decimal) -> Option<Self> {
        (percent > Decimal::ONE && percent < Decimal::ONE_HUNDRED).then(|| Self(percent.normalize()))
    }

    /// In percent: `99.95`.
    pub fn percent(self) -> Decimal {
        self.0
    }

    /// As a ratio: `0.9995`.
    pub fn ratio(self) -> Decimal {
        (self.0 / Decimal::ONE_HUNDRED).normalize()
    }

    /// The error budget as a ratio: `0.0005`.
    pub fn budget(self) -> Decimal {
        ((Decimal::ONE_HUNDRED - self.0) / Decimal::ONE_HUNDRED).normalize()
    }
}

/// A length of time in whole seconds or milliseconds, printed in Prometheus' units: `1h`, `1d12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Milliseconds.
    pub millis: u64,
}

impl Span {
    /// From seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self { millis: seconds * 1000 }
    }

    /// In seconds, rounded down.
    pub const fn as_seconds(self) -> u64 {
        self.millis / 1000
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.millis;
        if rest == 0 {
            return f.write_str("0s");
        }
        // Days are the largest unit: who writes 28d does not want to read 4w.
        for (unit, size) in UNITS.into_iter().skip(2) {
            let n = rest / size;
            if n > 0 {
                write!(f, "{n}{unit}")?;
                rest -= n * size;
            }
        }
        Ok(())
    }
}

/// Prometheus' duration units, in milliseconds, largest first.
pub(crate) const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The time over which an error budget is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Period {
    /// The last so-and-so long.
    Rolling(Span),
    /// The current calendar unit.
    Calendar {
        /// Which.
        unit: Calendar,
        /// The zone in which it begins.
        zone: Zone,
        /// Where the offset of now is not the one of the unit's start.
        corrections: Vec<Correction>,
    },
}

/// Between `from` and `to` (Unix seconds), an offset change lies between a unit's start and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The change.
    pub from: i64,
    /// The next unit's start.
    pub to: i64,
    /// How much the offset grew, in seconds.
    pub delta: i64,
}

/// A time zone as Prometheus can compute with it: offsets from UTC and the moments they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// IANA name.
    pub name: String,
    /// Offset in seconds before the first change.
    pub first: i64,
    /// Unix seconds of each change, and how much the offset grows there, in seconds.
    pub changes: Vec<(i64, i64)>,
}

impl Zone {
    /// The offset from UTC at a moment in Unix seconds.
    pub fn offset(&self, t: i64) -> i64 {
        let changed: i64 = self.changes.iter().take_while(|(at, _)| t >= *at).map(|(_, by)| by).sum();
        self.first + changed
    }
}

/// What is measured, as expressions over the base window.
#[derive(Clone, Debug, PartialEq)]
pub enum Sli {
    /// Two of bad, good and total.
    Events {
        /// Events that failed.
        bad: Option<Counter>,
        /// Events that succeeded.
        good: Option<Counter>,
        /// All events.
        total: Option<Counter>,
    },
    /// An error ratio.
    Ratio(Template),
    /// A histogram and a threshold.
    Latency {
        /// The parsed selector.
        histogram: Selector,
        /// In the histogram's own unit.
        threshold: Decimal,
        /// Which that is.
        unit: LatencyUnit,
    },
    /// A gauge of 0 and 1.
    Up(Selector),
    /// An expression of 0 and 1 for each slice.
    TimeSlices {
        /// The expression.
        good: Template,
        /// Length of a slice.
        slice: Span,
    },
    /// The weighted mean of other SLOs of the namespace.
    Weighted(Vec<(String, u64)>),
    /// The worst of other SLOs of the namespace.
    WorstOf(Vec<String>),
}

impl Sli {
    /// What its base series count.
    pub fn unit(&self) -> Unit {
        match self {
            Sli::Events { .. } | Sli::Latency { .. } => Unit::Events,
            Sli::Up(_) => Unit::Samples,
            Sli::Ratio(_) | Sli::TimeSlices { .. } | Sli::Weighted(_) | Sli::WorstOf(_) => Unit::Seconds,
        }
    }
}

/// What is bad or good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Requests and the like, of which there are many in a minute.
    Events,
    /// Samples of a gauge: one for each scrape of each target.
    Samples,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// Bad ones below which no tier fires, unless somebody says otherwise. A sample stands for the time until the next
    /// scrape, so ten of one target would be minutes of an outage; but a single one is a blip.
    pub const fn default_floor(self) -> u64 {
        match self {
            Unit::Events => 10,
            Unit::Samples => 2,
            Unit::Seconds => 0,
        }
    }
}

/// A counter: a bare selector, or an expression of rates.
#[derive(Clone, Debug, PartialEq)]
pub enum Counter {
    /// A bare selector; its rate is taken.
    Series(Selector),
    /// An expression with `$window`.
    Rate(Template),
}

/// A vector selector in two parts: `http_requests_total` and `job="checkout"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Metric name; empty when the matchers give it.
    pub metric: String,
    /// The matchers between the braces, as PromQL; may be empty.
    pub matchers: String,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.matchers.is_empty() {
            f.write_str(&self.metric)
        } else {
            write!(f, "{}{{{}}}", self.metric, self.matchers)
        }
    }
}

/// PromQL in which `$window` stands for a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub String);

impl Template {
    /// With `$window` replaced.
    pub fn fill(&self, window: Span) -> String {
        self.0.replace("$window", &window.to_string())
    }
}

/// One burn-rate tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// How many times faster than sustainable.
    pub burn_rate: Decimal,
    /// The long window.
    pub long: Span,
    /// The short window.
    pub short: Span,
    /// Whom it wakes.
    pub severity: Severity,
    /// How long the condition must hold.
    pub hold: Option<Span>,
    /// How long it goes on firing.
    pub keep_firing_for: Span,
}

/// A time whose samples do not count: what was excluded, and the base range after it, whose rates reach back into it.
#[derive(Clone, Debug, PartialEq)]
pub enum Exclusion {
    /// From one moment to another, in Unix seconds.
    Once {
        /// First second.
        from: i64,
        /// First second that counts again.
        to: i64,
    },
    /// Every week, at some starts.
    Weekly {
        /// Seconds after Monday 00:00, local time.
        starts: Vec<u32>,
        /// How long.
        length: Span,
        /// The zone.
        zone: Zone,
        /// Where that reckoning is wrong, around changes of the clock.
        shifts: Vec<Shift>,
    },
}

/// A time in which a weekly exclusion is not where the offset of the moment would put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// First second, Unix time.
    pub from: i64,
    /// First second after it.
    pub to: i64,
    /// Whether it is excluded.
    pub excluded: bool,
}
