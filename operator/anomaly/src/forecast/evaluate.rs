//! How good forecasts are: pinball loss and coverage on recorded series, beside simple forecasts.

use super::baseline::{Baseline, Calibration};
use super::head::pinball;
use super::{Forecaster, HORIZONS, LEVELS, QUANTILES, Row, Settings};

/// A recorded series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// For messages and tables.
    pub name: String,
    /// Seconds since 1970, in order.
    pub times: Vec<f64>,
    /// One value for each time.
    pub values: Vec<f64>,
    /// Whether the row lies in a labelled anomaly; such rows do not count for coverage.
    pub anomalous: Vec<bool>,
}

impl History {
    /// Rows that make up `seconds`, by the median distance between rows; at least 1.
    #[must_use]
    pub fn lead(&self, seconds: f64) -> usize {
        let mut steps: Vec<f64> = self.times.iter().zip(self.times.iter().skip(1)).map(|(a, b)| b - a).collect();
        steps.sort_by(f64::total_cmp);
        let step = steps.get(steps.len() / 2).copied().unwrap_or(1.0).max(1e-9);
        (seconds / step).round().max(1.0) as usize
    }
}

/// Quantiles for each row of a series, as they were forecast some rows before; NaN where none was.
pub type Issued = Vec<[f64; LEVELS]>;

/// How good the forecasts for one series are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Mean pinball loss of the quantiles, divided by the mean absolute change over the same number of rows.
    pub loss: f64,
    /// Share of rows outside labelled anomalies that lie within the 90 % band, its edges included.
    pub coverage: f64,
}

/// Scores what was issued `lead` rows ahead. The first 15 % of the rows do not count.
#[must_use]
pub fn score(history: &History, lead: usize, issued: &Issued) -> Score {
    let start = (history.values.len() * 15 / 100).max(lead + 1);
    let (mut loss, mut change, mut clean, mut covered) = (0.0, 0.0, 0u32, 0u32);
    let known = history.values.iter().skip(start).zip(history.values.iter().skip(start - lead));
    for ((now, before), (q, anomalous)) in known.zip(issued.iter().zip(&history.anomalous).skip(start)) {
        if !now.is_finite() || !before.is_finite() || q.iter().any(|q| q.is_nan()) {
            continue;
        }
        loss += pinball(*now, q);
        change += (now - before).abs();
        if !anomalous {
            clean += 1;
            let [low, .., high] = q;
            covered += u32::from(low <= now && now <= high);
        }
    }
    Score { loss: loss / LEVELS as f64 / change.max(1e-12), coverage: f64::from(covered) / f64::from(clean.max(1)) }
}

/// A way to forecast, and its score on each series.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// Its name in tables.
    pub name: String,
    /// In the order of the series.
    pub scores: Vec<Score>,
}

impl Contender {
    /// Mean loss over the series.
    #[must_use]
    pub fn loss(&self) -> f64 {
        mean(self.scores.iter().map(|s| s.loss))
    }

    /// Mean coverage over the series.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        mean(self.scores.iter().map(|s| s.coverage))
    }

    /// How many series have between 85 and 95 % of their clean rows in the band.
    #[must_use]
    pub fn covered(&self) -> usize {
        self.scores.iter().filter(|s| (0.85..=0.95).contains(&s.coverage)).count()
    }
}

/// Mean of some numbers; NaN of none.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
    sum / n
}

/// One simple forecast with each calibration, for every series, `seconds` ahead (0: the next row).
#[must_use]
pub fn baselines(baseline: Baseline, series: &[History], seconds: f64) -> Vec<Contender> {
    let all = series.iter().map(|history| {
        let lead = history.lead(seconds);
        let points = baseline.points(history, lead);
        Calibration::ALL.map(|c| score(history, lead, &c.quantiles(&history.values, &points, lead)))
    });
    let mut contenders: Vec<_> = Calibration::ALL
        .map(|c| Contender { name: format!("{baseline}, {c}"), scores: Vec::with_capacity(series.len()) })
        .into();
    for scores in all {
        contenders.iter_mut().zip(scores).for_each(|(c, s)| c.scores.push(s));
    }
    contenders
}

/// Runs a fresh forecaster over all series at once, row by row, as they would arrive, and scores both horizons.
/// `training` off keeps the first weights. The second value is the forecaster at the end.
#[must_use]
pub fn run(series: &[History], settings: Settings, training: bool) -> ([Contender; HORIZONS], Forecaster) {
    let (issued, forecaster) = issue(series, settings, training);
    let mut contenders = ["next row", "lead"].map(|name| Contender { name: name.into(), scores: Vec::new() });
    for (history, issued) in series.iter().zip(&issued) {
        let leads = [1, history.lead(f64::from(settings.lead))];
        for ((contender, issued), lead) in contenders.iter_mut().zip(issued).zip(leads) {
            contender.scores.push(score(history, lead, issued));
        }
    }
    (contenders, forecaster)
}

/// What a fresh forecaster issues for every row of every series and horizon.
#[must_use]
pub fn issue(series: &[History], settings: Settings, training: bool) -> (Vec<[Issued; HORIZONS]>, Forecaster) {
    let mut forecaster = Forecaster::new(settings);
    let mut issued: Vec<[Issued; HORIZONS]> = Vec::with_capacity(series.len());
    let mut leads = Vec::with_capacity(series.len());
    for history in series {
        forecaster.add();
        let nothing = vec![[f64::NAN; LEVELS]; history.values.len()];
        issued.push([nothing.clone(), nothing]);
        leads.push(history.lead(f64::from(settings.lead)));
    }
    let longest = series.iter().map(|h| h.values.len()).max().unwrap_or(0);
    let (mut rows, mut outlooks) = (Vec::new(), Vec::new());
    for at in 0..longest {
        rows.clear();
        outlooks.clear();
        for (i, h) in series.iter().enumerate() {
            if let (Some(time), Some(value)) = (h.times.get(at), h.values.get(at)) {
                rows.push(Row { series: i, time: *time, value: *value });
            }
        }
        forecaster.observe(&rows, &mut outlooks);
        if training {
            forecaster.learn();
        }
        for o in &outlooks {
            let (Some([next, later]), Some(lead)) = (issued.get_mut(o.series), leads.get(o.series)) else { continue };
            if let Some(slot) = next.get_mut(at + 1) {
                *slot = o.next;
            }
            if let Some(slot) = later.get_mut(at + lead) {
                *slot = o.later;
            }
        }
    }
    (issued, forecaster)
}

/// Levels of the quantiles, for tables.
#[must_use]
pub fn levels() -> String {
    QUANTILES.map(|q| q.to_string()).join(", ")
}
