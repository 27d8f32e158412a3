//! The raw series of an SLO, read piece by piece.

use std::{collections::BTreeMap, io::IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_slo::{
    Model,
    evaluate::{Engine, Labels, Sample},
    render,
};

use super::{super::out::Stop, Period, begin};
use crate::prometheus::{Prometheus, PrometheusError};

/// Samples of a series that Prometheus answers with at most.
const POINTS: usize = 11_000;
/// Pieces are not made smaller than this.
const LEAST: usize = 200;
/// Groups of one SLO that are looked at; each takes some 15 MB for a month.
const GROUPS: usize = 100;

/// How far something has come, for a person who looks on.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(models: &[Model], period: Period) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let seconds = |model: &Model| render::raw(model).map_or(0, |raw| raw.step.as_seconds());
        let length = |model| u64::try_from(period.to - begin(model, &[model], period)).unwrap_or(0);
        let points = models.iter().map(|model| 2 * (length(model).checked_div(seconds(model)).unwrap_or(0)));
        let bar = ProgressBar::new(points.sum());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {msg} {eta}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Something is printed meanwhile.
    pub(super) fn hidden(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Since when Prometheus has samples, at least by what it says.
pub(super) async fn reach(prometheus: &Prometheus, now: i64) -> Result<i64, Stop> {
    let kept = prometheus.retention().await.map_err(|error| unanswered(&error))?;
    Ok(kept.map_or(0, |kept| now - i64::try_from(kept.as_seconds()).unwrap_or(now)))
}

fn unanswered(error: &PrometheusError) -> Stop {
    let help = "see that --prometheus names one that runs and can be reached from here".to_owned();
    Stop::Failed(error.to_string(), help)
}

/// Reads what an SLO is made of into an engine; false when nothing is there. A composite has nothing of its own.
pub(super) async fn fill(
    prometheus: &Prometheus,
    engine: &mut Engine,
    id: &str,
    (from, to): (i64, i64),
    bar: &Bar,
) -> Result<bool, Stop> {
    let raw = engine.models().find(|model| model.id.to_string() == id).and_then(render::raw);
    let (Some(raw), Some((first, interval))) = (raw, engine.base_turn(id)) else { return Ok(false) };
    bar.0.set_message(id.to_owned());
    let times = Times::new(first, interval, from, to);
    let mut groups: BTreeMap<Labels, [Vec<Sample>; 2]> = BTreeMap::new();
    for (fine, pair) in [(0, Some(&raw.base)), (1, raw.fine.as_ref())] {
        let Some((total, bad)) = pair else { continue };
        for (is_bad, expression) in [(false, total), (true, bad)] {
            let many = read(prometheus, expression, times, bar, |labels, place, value| {
                // What is bad of no group that has a total belongs to nobody.
                if !groups.contains_key(labels) {
                    if is_bad || groups.len() >= GROUPS {
                        return is_bad;
                    }
                    groups.insert(labels.clone(), [Vec::new(), Vec::new()]);
                }
                if let Some(rows) = groups.get_mut(labels).and_then(|both| both.get_mut(fine)) {
                    rows.resize(times.count, Sample::NONE);
                    if let Some(sample) = rows.get_mut(place) {
                        *(if is_bad { &mut sample.bad } else { &mut sample.total }) = value;
                    }
                }
                true
            });
            if !many.await? {
                let help = "drop a label of groupBy for the backtest".to_owned();
                return Err(Stop::Failed(format!("{id} has more than {GROUPS} groups"), help));
            }
        }
    }
    let found = !groups.is_empty();
    for (labels, [base, fine]) in groups {
        engine.feed(id, &labels, times.first * 1000, &base, &fine);
    }
    if let (Some(targets), Some((first, interval))) = (&raw.targets, engine.period_turn(id)) {
        let times = Times::new(first, interval, from, to);
        let mut up = vec![false; times.count];
        let idle = Bar(ProgressBar::hidden());
        read(prometheus, &format!("{targets} > 0"), times, &idle, |_, place, _| {
            if let Some(up) = up.get_mut(place) {
                *up = true;
            }
            true
        })
        .await?;
        engine.feed_targets(id, times.first * 1000, &up);
    }
    Ok(found)
}

/// Moments with equal steps, in seconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    first: i64,
    step: i64,
    count: usize,
}

impl Times {
    /// Those of an engine's turn (in milliseconds) from `from` to `to`.
    fn new(first: i64, interval: i64, from: i64, to: i64) -> Self {
        let (first, step) = (first / 1000, (interval / 1000).max(1));
        let first = first + ((from - first).max(0) + step - 1) / step * step;
        Self { first, step, count: usize::try_from((to - first) / step + 1).unwrap_or(0) }
    }

    fn at(self, place: usize) -> u64 {
        let offset = i64::try_from(place).unwrap_or(0) * self.step;
        u64::try_from(self.first + offset).unwrap_or(0)
    }
}

/// Reads an expression at all times, in pieces that the server bears; false when `put` wants no more.
async fn read(
    prometheus: &Prometheus,
    expression: &str,
    times: Times,
    bar: &Bar,
    mut put: impl FnMut(&Labels, usize, f64) -> bool,
) -> Result<bool, Stop> {
    let (mut done, mut piece) = (0, POINTS);
    while done < times.count {
        let n = piece.min(times.count - done);
        let step = times.step.unsigned_abs();
        let found = prometheus.query_range(expression, times.at(done), times.at(done + n - 1), step).await;
        let series = match found {
            Ok(series) => series,
            // Too much at once for its limits, or for our patience.
            Err(PrometheusError::Refused { .. } | PrometheusError::Unreachable { .. }) if n > LEAST => {
                piece = (n / 2).max(LEAST);
                continue;
            }
            Err(error) => return Err(unanswered(&error)),
        };
        for range in &series {
            for (time, value) in range.samples() {
                let place = ((time - times.first as f64) / times.step as f64).round();
                if place >= 0.0 && !put(&range.metric, place as usize, value) {
                    return Ok(false);
                }
            }
        }
        done += n;
        bar.0.inc(n as u64);
    }
    Ok(true)
}
