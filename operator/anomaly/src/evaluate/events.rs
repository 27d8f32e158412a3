//! Alerts against labelled events: precision, recall, false alarms per series-week, delay.
//!
//! An alert begins where a row fires and none fired in the 30 minutes before. An event is a run of labels. An alert is
//! true when it begins inside an event, ten minutes of tolerance on both sides. Only the rows from the split on count.

/// Rows that fire within this many seconds belong to one alert.
const MERGE_S: f64 = 1800.0;
/// Seconds by which an alert may begin before or after its event.
const TOLERANCE_S: f64 = 600.0;
const WEEK_S: f64 = 604_800.0;

/// Alerts per week for which [`Truth::threshold`] is asked by [`curve`].
pub const BUDGETS: [f64; 11] = [0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0];

/// The events of one labelled series, in rows.
#[derive(Clone, Debug)]
pub struct Truth {
    /// First row that counts; what is before may set thresholds, without labels.
    pub split: usize,
    rows: usize,
    step: f64,
    /// First and last row of each event, counted from the split.
    events: Vec<(usize, usize)>,
}

impl Truth {
    /// The events of a series with these times (seconds) and labels, of which the rows from `split` on count.
    pub fn new(times: &[f64], labels: &[bool], split: usize) -> Self {
        let mut steps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let step = median(&mut steps).unwrap_or(1.0);
        let mut events: Vec<(usize, usize)> = Vec::new();
        for (row, _) in labels.iter().skip(split).enumerate().filter(|(_, label)| **label) {
            match events.last_mut() {
                Some((_, end)) if *end + 1 == row => *end = row,
                _ => events.push((row, row)),
            }
        }
        Self { split, rows: times.len(), step, events }
    }

    /// Events that count.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Weeks that count.
    pub fn weeks(&self) -> f64 {
        (self.rows - self.split) as f64 * self.step / WEEK_S
    }

    /// Rows at which alerts begin.
    fn onsets(&self, fires: impl Iterator<Item = bool>) -> Vec<usize> {
        let mut onsets = Vec::new();
        let mut last = None;
        for (row, _) in fires.enumerate().filter(|(_, fires)| *fires) {
            if last.is_none_or(|last| (row - last) as f64 * self.step > MERGE_S) {
                onsets.push(row);
            }
            last = Some(row);
        }
        onsets
    }

    /// The lowest threshold that raises at most `per_week` alerts a week on the last two thirds before the split. Labels are not looked at.
    pub fn threshold(&self, scores: &[f64], per_week: f64) -> f64 {
        let part = scores.get(self.split / 3..self.split).unwrap_or_default();
        let weeks = self.split as f64 * self.step / WEEK_S;
        let allowed = ((per_week * weeks * 2.0 / 3.0) as usize).max(1);
        let mut sorted = part.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut candidates: Vec<f64> =
            (0..60).map(|i| quantile(&sorted, 1.0 - 10f64.powf(-1.0 - 4.5 * f64::from(i) / 59.0))).collect();
        candidates.sort_unstable_by(|a, b| b.total_cmp(a));
        candidates.dedup();
        let fitting =
            candidates.into_iter().take_while(|t| self.onsets(part.iter().map(|s| s >= t)).len() <= allowed).last();
        fitting.or_else(|| sorted.last().map(|top| top.next_up())).unwrap_or(f64::INFINITY)
    }
}

/// Counts over series.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    alerts: usize,
    true_alerts: usize,
    events: usize,
    hits: usize,
    weeks: f64,
    delays: Vec<f64>,
}

impl Tally {
    /// Counts the alerts of one series; `fires` is one value for each of its rows.
    pub fn add(&mut self, truth: &Truth, fires: impl Iterator<Item = bool>) {
        let tolerance = TOLERANCE_S / truth.step;
        let mut hit = vec![false; truth.events.len()];
        for row in truth.onsets(fires.skip(truth.split)) {
            self.alerts += 1;
            let mut inside = false;
            for ((begin, end), hit) in truth.events.iter().zip(&mut hit) {
                let (begin, end, row) = (*begin as f64, *end as f64, row as f64);
                if begin - tolerance <= row && row <= end + tolerance {
                    inside = true;
                    if !std::mem::replace(hit, true) {
                        self.delays.push((row - begin) * truth.step);
                    }
                }
            }
            self.true_alerts += usize::from(inside);
        }
        self.events += hit.len();
        self.hits += hit.iter().filter(|h| **h).count();
        self.weeks += truth.weeks();
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        self.alerts += other.alerts;
        self.true_alerts += other.true_alerts;
        self.events += other.events;
        self.hits += other.hits;
        self.weeks += other.weeks;
        self.delays.extend_from_slice(&other.delays);
    }

    /// What the counts come to.
    pub fn quality(&self) -> Quality {
        let ratio = |a: usize, b: usize| if b == 0 { 1.0 } else { a as f64 / b as f64 };
        let (precision, recall) = (ratio(self.true_alerts, self.alerts), ratio(self.hits, self.events));
        let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        Quality {
            alerts: self.alerts,
            precision,
            recall,
            f1,
            false_per_series_week: (self.alerts - self.true_alerts) as f64 / self.weeks.max(f64::MIN_POSITIVE),
            median_delay: median(&mut self.delays.clone()),
        }
    }
}

/// Quality of alerts over series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Alerts that began.
    pub alerts: usize,
    /// Share of them that are true; one minus it is the share of false alarms.
    pub precision: f64,
    /// Share of the events in which an alert began.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// False alarms per series and week.
    pub false_per_series_week: f64,
    /// Seconds from the begin of an event to its first alert.
    pub median_delay: Option<f64>,
}

/// Quality at each of [`BUDGETS`]: the threshold of each series is set on its rows before the split, labels unseen.
pub fn curve(series: &[(&Truth, &[f64])]) -> Vec<(f64, Quality)> {
    BUDGETS
        .iter()
        .map(|budget| {
            let mut tally = Tally::default();
            for (truth, scores) in series {
                let threshold = truth.threshold(scores, *budget);
                tally.add(truth, scores.iter().map(|s| *s >= threshold));
            }
            (*budget, tally.quality())
        })
        .collect()
}

/// Recall at so many false alarms per series-week, by straight line between the points of a curve.
pub fn recall_at(curve: &[(f64, Quality)], false_per_series_week: f64) -> Option<f64> {
    let mut before = (0.0, 0.0);
    for (_, quality) in curve {
        let here = (quality.false_per_series_week, quality.recall);
        if here.0 > false_per_series_week {
            let share = (false_per_series_week - before.0) / (here.0 - before.0);
            return Some(before.1 + share * (here.1 - before.1));
        }
        before = here;
    }
    (before.0 >= false_per_series_week).then_some(before.1)
}

/// The quantile of sorted values, by straight line between them.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::INFINITY };
    let at = (q * last as f64).clamp(0.0, last as f64);
    let (low, high) = (sorted[at as usize], sorted[(at as usize + 1).min(last)]);
    low + (high - low) * at.fract()
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    (!values.is_empty()).then(|| quantile(values, 0.5))
}
