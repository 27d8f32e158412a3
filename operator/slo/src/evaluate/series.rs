//! Recorded series, and sums over parts of them.

/// How far an instant query looks back, in milliseconds: Prometheus' default.
pub const LOOKBACK: i64 = 300_000;

/// What one rule has recorded for one set of labels: a value, or none, at each evaluation of its group.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    first: i64,
    interval: i64,
    /// NaN where there is none; no rule records a NaN.
    values: Vec<f64>,
}

impl Series {
    /// An empty one, of a group that is first evaluated at `first` and then every `interval` milliseconds.
    pub(super) fn new(first: i64, interval: i64) -> Self {
        Self { first, interval, values: Vec::new() }
    }

    /// One that begins with so many evaluations that recorded nothing.
    pub(super) fn late(first: i64, interval: i64, missed: usize) -> Self {
        Self { first, interval, values: vec![f64::NAN; missed] }
    }

    pub(super) fn push(&mut self, value: Option<f64>) {
        self.values.push(value.unwrap_or(f64::NAN));
    }

    /// The same times with other values.
    pub(super) fn map(&self, value: impl Fn(f64) -> f64) -> Self {
        Self { values: self.values.iter().map(|v| value(*v)).collect(), ..*self }
    }

    /// What an instant query at `t` (milliseconds since 1970) finds: the newest evaluation's value, if that recorded
    /// one and is less than five minutes old.
    pub fn at(&self, t: i64) -> Option<f64> {
        let newest = (t - self.first).div_euclid(self.interval).min(position(self.values.len()) - 1);
        let value = *self.values.get(usize::try_from(newest).ok()?)?;
        (!value.is_nan() && t - (self.first + newest * self.interval) < LOOKBACK).then_some(value)
    }

    /// The samples after `after` and until `until`, with their times in milliseconds.
    pub fn samples(&self, after: i64, until: i64) -> impl Iterator<Item = (i64, f64)> + '_ {
        let (from, to) = self.within(after, until);
        let times = (position(from)..).map(|k| self.first + k * self.interval);
        times.zip(self.values.get(from..to).unwrap_or_default().iter().copied()).filter(|(_, v)| !v.is_nan())
    }

    /// What a range query yields: [`Self::at`] at `from` and every `step` milliseconds until `to`.
    pub fn range(&self, from: i64, to: i64, step: i64) -> impl Iterator<Item = (i64, f64)> + '_ {
        let steps = if step > 0 { (to - from).div_euclid(step) } else { -1 };
        (0..=steps).filter_map(move |k| Some((from + k * step, self.at(from + k * step)?)))
    }

    /// Time of the last evaluation, in milliseconds.
    pub fn last(&self) -> Option<i64> {
        (!self.values.is_empty()).then(|| self.first + (position(self.values.len()) - 1) * self.interval)
    }

    pub(super) fn start(&self) -> i64 {
        self.first
    }

    /// The places of the evaluations after `after` and until `until`, the second one exclusive.
    fn within(&self, after: i64, until: i64) -> (usize, usize) {
        let upto = |t: i64| {
            let n = (t - self.first).div_euclid(self.interval) + 1;
            usize::try_from(n).unwrap_or(0).min(self.values.len())
        };
        let to = upto(until);
        (upto(after).min(to), to)
    }
}

/// A length as a time's factor.
const fn position(n: usize) -> i64 {
    n as i64
}

/// Running sums, exact enough that a difference of two of them is as good as the sum of what lies between: in a plain
/// one, an outage's large numbers would blur the small ones after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Vec<Sum>);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    high: f64,
    low: f64,
    count: u32,
}

impl Sums {
    pub(super) fn push(&mut self, value: Option<f64>) {
        let Sum { high, low, count } = self.0.last().copied().unwrap_or_default();
        self.0.push(match value {
            None => Sum { high, low, count },
            Some(value) => {
                let sum = high + value;
                // Knuth's: what the addition has rounded away.
                let part = sum - high;
                let error = (high - (sum - part)) + (value - part);
                Sum { high: sum, low: low + error, count: count + 1 }
            }
        });
    }

    fn upto(&self, n: usize) -> Sum {
        n.checked_sub(1).and_then(|last| self.0.get(last)).copied().unwrap_or_default()
    }

    /// How many values lie from place `from` to before `to`, and their sum.
    fn between(&self, from: usize, to: usize) -> (u32, f64) {
        let (a, b) = (self.upto(from), self.upto(to.min(self.0.len())));
        (b.count.saturating_sub(a.count), (b.high - a.high) + (b.low - a.low))
    }
}

/// A series of which every sample in a range can be added up.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    pub(super) series: Series,
    sums: Sums,
}

impl Tracked {
    pub(super) fn late(first: i64, interval: i64, missed: usize) -> Self {
        let mut sums = Sums::default();
        (0..missed).for_each(|_| sums.push(None));
        Self { series: Series::late(first, interval, missed), sums }
    }

    pub(super) fn push(&mut self, value: Option<f64>) {
        self.series.push(value);
        self.sums.push(value);
    }

    /// `count_over_time` and `sum_over_time` of the samples after `after` and until `until`.
    pub(super) fn over(&self, after: i64, until: i64) -> Option<(f64, f64)> {
        let (from, to) = self.series.within(after, until);
        let (count, sum) = self.sums.between(from, to);
        (count > 0).then(|| (count.into(), sum))
    }
}

/// A subquery's points: values at the multiples of a step, added up.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    step: i64,
    /// The first point, in steps since 1970.
    first: i64,
    /// The next point to come, in steps since 1970.
    next: i64,
    sums: Sums,
}

impl Grid {
    /// With points from `from` on, every `step` milliseconds.
    pub(super) fn new(step: i64, from: i64) -> Self {
        let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) != 0);
        Self { step, first, next: first, sums: Sums::default() }
    }

    /// Looks at the points until `until` that have not been looked at.
    pub(super) fn extend(&mut self, until: i64, mut value: impl FnMut(i64) -> Option<f64>) {
        let last = until.div_euclid(self.step);
        while self.next <= last {
            self.sums.push(value(self.next * self.step));
            self.next += 1;
        }
    }

    /// `count_over_time` and `sum_over_time` of the points after `after` and until `until`.
    pub(super) fn over(&self, after: i64, until: i64) -> Option<(f64, f64)> {
        let place = |t: i64| usize::try_from(t.div_euclid(self.step) - self.first + 1).unwrap_or(0);
        let (count, sum) = self.sums.between(place(after), place(until));
        (count > 0).then(|| (count.into(), sum))
    }
}
