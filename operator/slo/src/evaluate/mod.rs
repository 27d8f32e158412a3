//! The rules, evaluated without a Prometheus: from the base series of some SLOs to everything that their rendered
//! rules record and alert, under the same names and at the same times.
//!
//! What the rules are is decided in [`mod@crate::render`] alone; this does what Prometheus does with them: groups evaluated
//! one after another at their intervals and phases, values looked up at most five minutes back, ranges open on the
//! left, subqueries at the multiples of their step, alerts that wait and that fire on. A test in `tests/e2e` compares
//! every series with a real Prometheus' to 1e-9.
//!
//! The anomaly scorer's states are not a part of it, nor are annotations.
//!
//! ```
//! # use plimsoll_slo::evaluate::{Engine, Sample, Schedule};
//! # fn show(models: Vec<plimsoll_slo::Model>) -> Option<()> {
//! let mut engine = Engine::new(models, 0, &Schedule::default());
//! let steady = vec![Sample { total: 100.0, bad: 0.2 }; 2880];
//! engine.feed("shop/checkout", &Default::default(), 0, &steady, &[]);
//! engine.run(86_400_000);
//! let ratio = engine.select("slo:error_ratio:window", "shop/checkout").first()?.series.at(86_400_000)?;
//! # Some(()) }
//! ```

mod alerting;
pub mod backtest;
mod clock;
mod group;
mod plan;
mod series;
mod slo;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

pub use alerting::{ALERTNAME, ALERTS, ALERTSTATE, Alert, Episode, State};
pub use clock::{excluded_until, is_excluded};
pub use series::{LOOKBACK, Series};

use crate::{
    model::{Model, Span},
    names,
    render::Part,
};
use slo::Slo;

/// Labels of a series, without its name.
pub type Labels = BTreeMap<String, String>;

/// What the base rules find at one evaluation, before missing data and excluded time: total and bad events per second
/// over their range ([`crate::render::raw`] has the expressions). NaN stands for none. For time slices `bad` is 1 for a
/// bad slice and 0 for a good one, and `total` any number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// All events per second.
    pub total: f64,
    /// Bad events per second.
    pub bad: f64,
}

impl Sample {
    /// Nothing is found.
    pub const NONE: Self = Self { total: f64::NAN, bad: f64::NAN };
}

/// When a group of rules is evaluated: at the multiples of its interval, and so much later. Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Between evaluations; `None` for the one that is rendered.
    pub interval: Option<i64>,
    /// How long after a multiple of the interval.
    pub phase: i64,
}

/// When the three groups of an SLO's rules are evaluated. Those that are due at once are evaluated in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Base series, and what belongs to tiers up to an hour.
    pub base: Turn,
    /// Roll-ups, burn rates, and what belongs to tiers up to six hours.
    pub slow: Turn,
    /// The period, and the rest.
    pub period: Turn,
}

/// A recorded series that was asked for.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Its labels, without the name.
    pub labels: Labels,
    /// Its values.
    pub series: Cow<'a, Series>,
}

/// Some SLOs, evaluated together, since composites read what others have recorded.
pub struct Engine {
    /// Parts before what is made of them.
    slos: Vec<Slo>,
    due: BinaryHeap<Reverse<(i64, usize, Part)>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Engine {
    /// Nothing is evaluated before `start` (milliseconds since 1970). A composite whose parts are not among `models`
    /// has no data, and an alert for each.
    pub fn new(models: Vec<Model>, start: i64, schedule: &Schedule) -> Self {
        let mut slos: Vec<Slo> = Vec::with_capacity(models.len());
        for model in sorted(models) {
            let [base, slow, period] = plan::Plan::new(&model).intervals;
            let first = |turn: Turn, rendered: i64| {
                let interval = turn.interval.unwrap_or(rendered).max(1);
                (start + (turn.phase - start).rem_euclid(interval), interval)
            };
            let clocks = [first(schedule.base, base), first(schedule.slow, slow), first(schedule.period, period)];
            let mut slo = Slo::new(model, clocks);
            slo.connect(|id| slos.iter().position(|other| other.plan.id == id));
            slos.push(slo);
        }
        let due = slos.iter().enumerate().flat_map(|(place, slo)| {
            [Part::Base, Part::Slow, Part::Period].map(|part| Reverse((slo.next(part), place, part)))
        });
        Self { due: due.collect(), slos }
    }

    /// Identities of the SLOs, parts before what is made of them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.slos.iter().map(|slo| slo.plan.id.as_str())
    }

    /// The models, in the same order.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.slos.iter().map(|slo| &slo.model)
    }

    /// When the base rules of an SLO are evaluated next, and how often, in milliseconds.
    pub fn base_turn(&self, id: &str) -> Option<(i64, i64)> {
        self.turn(id, Part::Base)
    }

    /// When the period's rules of an SLO are evaluated next, and how often, in milliseconds.
    pub fn period_turn(&self, id: &str) -> Option<(i64, i64)> {
        self.turn(id, Part::Period)
    }

    fn turn(&self, id: &str, part: Part) -> Option<(i64, i64)> {
        let slo = self.slo(id)?;
        let (_, interval, _) = slo.clock(part);
        Some((slo.next(part), interval))
    }

    /// What is measured of one group of an SLO from its first evaluation at or after `from` on, one for each evaluation
    /// of the base rules; `fine` where it has finer base series. Times that are not told of have no data; those that
    /// were evaluated already stay as they are. `labels` are the values of `groupBy`. False when there is no such SLO,
    /// or it is a composite.
    pub fn feed(&mut self, id: &str, labels: &Labels, from: i64, base: &[Sample], fine: &[Sample]) -> bool {
        let Some(slo) = self.slos.iter_mut().find(|slo| slo.plan.id == id) else { return false };
        let (first, interval, _) = slo.clock(Part::Base);
        let Some(measured) = slo.measured(labels) else { return false };
        put(&mut measured.base, place(from, first, interval), base, Sample::NONE);
        put(&mut measured.fine, place(from, first, interval), fine, Sample::NONE);
        true
    }

    /// Whether a target is known to be up, at each evaluation of the period's rules from the first at or after `from`
    /// on: then missing data alerts nobody.
    pub fn feed_targets(&mut self, id: &str, from: i64, up: &[bool]) {
        let Some(slo) = self.slos.iter_mut().find(|slo| slo.plan.id == id) else { return };
        let (first, interval, _) = slo.clock(Part::Period);
        put(&mut slo.targets, place(from, first, interval), up, false);
    }

    /// Evaluates everything that is due until `until`, in milliseconds since 1970.
    pub fn run(&mut self, until: i64) {
        while let Some(Reverse((t, place, part))) = self.due.peek().copied()
            && t <= until
        {
            self.due.pop();
            // Parts come first, so whatever a composite reads is before it.
            let Some((before, [slo, ..])) = self.slos.split_at_mut_checked(place) else { return };
            slo.evaluate(part, before);
            self.due.push(Reverse((slo.next(part), place, part)));
        }
    }

    /// The recorded series of one SLO with this name ([`crate::names`], or [`ALERTS`]), each with its labels. One of
    /// them for each group, and window.
    pub fn select(&self, name: &str, id: &str) -> Vec<Found<'_>> {
        let Some(slo) = self.slo(id) else { return Vec::new() };
        let label = |more: &Labels, window: Option<&str>| {
            let mut labels = more.clone();
            labels.insert(names::SLO_ID.to_owned(), id.to_owned());
            labels.extend(window.map(|window| (names::WINDOW.to_owned(), window.to_owned())));
            labels
        };
        let borrowed = |labels: Labels, series| Found { labels, series: Cow::Borrowed(series) };
        let windowed = |of: fn(&group::Group) -> &Vec<Series>| {
            let each = |group| {
                let windows = slo.plan.windows.iter().zip(of(group));
                windows.map(move |(window, series)| (label(&group.labels, Some(&window.label)), series))
            };
            slo.groups.iter().flat_map(each).map(|(labels, series)| borrowed(labels, series)).collect()
        };
        let whole = |series| vec![borrowed(label(&Labels::new(), None), series)];
        match name {
            names::ERROR_RATIO => windowed(|group| &group.ratios),
            names::BURN_RATE => windowed(|group| &group.burns),
            names::PRESENT_ROLLUP => whole(slo.present()),
            names::PERIOD_START => whole(&slo.period_start),
            names::OBJECTIVE => whole(&slo.objective),
            names::COVERAGE => whole(&slo.coverage),
            names::INFO => {
                let labels = slo.plan.info.clone();
                vec![Found { labels, series: Cow::Owned(slo.coverage.map(|_| 1.0)) }]
            }
            ALERTS => self
                .alerts(id)
                .flat_map(|alert| [alert.series(State::Pending), alert.series(State::Firing)])
                .map(|(labels, series)| Found { labels, series: Cow::Owned(series) })
                .collect(),
            _ => {
                let recorded = |group| Some((group, group::Group::plain(group, name)?));
                let some = slo.groups.iter().filter_map(recorded).filter(|(_, series)| series.last().is_some());
                some.map(|(group, series)| borrowed(label(&group.labels, None), series)).collect()
            }
        }
    }

    /// The alerts of one SLO: of each tier and group, of missing data, and of missing parts.
    pub fn alerts(&self, id: &str) -> impl Iterator<Item = &Alert> {
        let slo = self.slo(id);
        slo.into_iter()
            .flat_map(|slo| slo.burns.iter().flatten().chain(&slo.no_data).chain(&slo.blind).chain(&slo.no_part))
    }

    fn slo(&self, id: &str) -> Option<&Slo> {
        self.slos.iter().find(|slo| slo.plan.id == id)
    }
}

/// Which evaluation is the first at or after `from`; negative before there was one.
fn place(from: i64, first: i64, interval: i64) -> i64 {
    (from - first + interval - 1).div_euclid(interval)
}

/// Puts `more` at a place, and `none` into what lies between.
fn put<T: Copy>(rows: &mut Vec<T>, place: i64, more: &[T], none: T) {
    let more = more.get(usize::try_from(-place).unwrap_or(0)..).unwrap_or_default();
    let place = usize::try_from(place).unwrap_or(0);
    if more.is_empty() {
        return;
    }
    rows.resize(rows.len().max(place + more.len()), none);
    if let Some(rows) = rows.get_mut(place..place + more.len()) {
        rows.copy_from_slice(more);
    }
}

/// Parts before what is made of them, else in the given order. What is a part of itself comes last.
fn sorted(mut models: Vec<Model>) -> Vec<Model> {
    let mut done: Vec<Model> = Vec::with_capacity(models.len());
    while !models.is_empty() {
        let waits = |model: &Model| {
            let of = |name: &&str| models.iter().any(|m| m.id.namespace == model.id.namespace && m.id.name == **name);
            model.parts().iter().any(of)
        };
        let (ready, rest): (Vec<Model>, Vec<Model>) = models.clone().into_iter().partition(|model| !waits(model));
        if ready.is_empty() {
            done.extend(rest);
            break;
        }
        done.extend(ready);
        models = rest;
    }
    done
}

fn millis(span: Span) -> i64 {
    i64::try_from(span.millis).unwrap_or(i64::MAX)
}
