//! One SLO, evaluated group of rules by group of rules.

use std::collections::BTreeMap;

use plimsoll_api::slo::NoData;

use super::{
    LOOKBACK, Labels, Sample,
    alerting::Alert,
    clock,
    group::{Clocks, Column, EVENTS, Events, Group, Keep, View, of_part},
    millis,
    plan::{Floor, How, Length, Plan, Read, Share},
    series::{Grid, Series},
};
use crate::{
    model::{Model, Period, Sli},
    names,
    render::{self, Part},
    rules::Rule,
};

/// What is measured of one group: one row for each evaluation of the base rules.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) base: Vec<Sample>,
    pub(super) fine: Vec<Sample>,
}

/// How an SLO is made of others.
pub(super) struct Member {
    /// Its place in the engine; `None` when the engine has no such SLO.
    pub(super) slo: Option<usize>,
    weight: f64,
    views: Vec<View>,
}

/// Where the two numbers come from.
enum Source {
    /// They are measured.
    Measured(BTreeMap<Labels, Measured>),
    /// They are those of other SLOs, together or of the worst.
    Parts { parts: Vec<Member>, worst: bool },
}

/// An SLO and everything that its rules have recorded.
pub(super) struct Slo {
    pub(super) model: Model,
    pub(super) plan: Plan,
    clocks: Clocks,
    source: Source,
    pub(super) groups: Vec<Group>,
    views: Vec<View>,
    /// At evaluations of the period's rules: whether a target is known to be up.
    pub(super) targets: Vec<bool>,
    present: Grid,
    looks: Option<Grid>,
    present_rollup: Series,
    presences: Grid,
    pub(super) period_start: Series,
    pub(super) objective: Series,
    pub(super) coverage: Series,
    /// For each tier and group.
    pub(super) burns: Vec<Vec<Alert>>,
    pub(super) no_data: Option<Alert>,
    /// Of data that were lost while targets are up.
    pub(super) blind: Option<Alert>,
    /// For each part of a composite: that its rules are not evaluated.
    pub(super) no_part: Vec<Alert>,
}

impl Slo {
    pub(super) fn new(model: Model, clocks: [(i64, i64); 3]) -> Self {
        let plan = Plan::new(&model);
        let clocks = clocks.map(|(first, interval)| (first, interval, 0));
        let [(first, ..), slow, period] = clocks;
        let series = |(first, interval, _)| Series::new(first, interval);
        let part = |weight: u64| Member { slo: None, weight: weight as f64, views: Vec::new() };
        let source = match &model.sli {
            Sli::Weighted(parts) => {
                Source::Parts { parts: parts.iter().map(|(_, weight)| part(*weight)).collect(), worst: false }
            }
            Sli::WorstOf(parts) => Source::Parts { parts: parts.iter().map(|_| part(1)).collect(), worst: true },
            _ => Source::Measured(BTreeMap::new()),
        };
        let missing = |rule: &Rule, labels: &Labels| {
            Alert::new(rule, labels, Some(render::alerts::NO_DATA_FOR), None, series(period))
        };
        let no_data = plan.no_data.as_ref().filter(|_| model.no_data == NoData::Alert);
        let no_data = no_data.map(|rule| missing(rule, &Labels::new()));
        let of_part = |part: &str| Labels::from([(names::PART.to_owned(), part.to_owned())]);
        let parts = plan.no_data.iter().flat_map(|rule| model.parts().into_iter().map(move |part| (rule, part)));
        let no_part = parts.map(|(rule, part)| missing(rule, &of_part(part))).collect();
        let blind = plan.blind.as_ref().map(|rule| missing(rule, &Labels::new()));
        let looks = match plan.share {
            Share::Looks(_, step, _) => Some(Grid::new(step, first)),
            Share::Rollups(_) | Share::Since => None,
        };
        let mut slo = Self {
            clocks,
            source,
            groups: Vec::new(),
            views: Vec::new(),
            targets: Vec::new(),
            present: Grid::new(millis(render::PRESENCE_STEP), first),
            looks,
            present_rollup: series(slow),
            presences: Grid::new(millis(render::PRESENCE), slow.0),
            period_start: series(period),
            // Where missing time is bad it is a base series.
            objective: series(if plan.missing_is_bad { clocks[0] } else { period }),
            coverage: series(period),
            burns: plan.tiers.iter().map(|_| Vec::new()).collect(),
            no_data,
            blind,
            no_part,
            model,
            plan,
        };
        // What has no groups is one, whether it has data or not.
        if slo.model.group_by.is_empty() {
            slo.group(&Labels::new());
        }
        slo
    }

    pub(super) fn present(&self) -> &Series {
        &self.present_rollup
    }

    /// Tells a composite where its parts are.
    pub(super) fn connect(&mut self, place: impl Fn(&str) -> Option<usize>) {
        let names: Vec<String> =
            self.model.parts().iter().map(|name| format!("{}/{name}", self.model.id.namespace)).collect();
        if let Source::Parts { parts, .. } = &mut self.source {
            for (part, name) in parts.iter_mut().zip(&names) {
                part.slo = place(name);
            }
        }
    }

    /// The next evaluation of a group of rules, in milliseconds since 1970.
    pub(super) fn next(&self, part: Part) -> i64 {
        let (first, interval, done) = self.clock(part);
        first + interval * i64::try_from(done).unwrap_or(i64::MAX / interval)
    }

    pub(super) fn clock(&self, part: Part) -> (i64, i64, usize) {
        of_part(&self.clocks, part)
    }

    /// What is measured of a group, to be added to; `None` for a composite.
    pub(super) fn measured(&mut self, labels: &Labels) -> Option<&mut Measured> {
        match &mut self.source {
            Source::Measured(measured) => Some(measured.entry(labels.clone()).or_default()),
            Source::Parts { .. } => None,
        }
    }

    /// The group's place; a new one has recorded nothing so far.
    fn group(&mut self, labels: &Labels) -> usize {
        if let Some(place) = self.groups.iter().position(|group| group.labels == *labels) {
            return place;
        }
        self.groups.push(Group::new(labels.clone(), &self.plan, &self.clocks));
        self.views.push(View::default());
        for (burn, alerts) in self.plan.tiers.iter().zip(&mut self.burns) {
            let (first, interval, missed) = of_part(&self.clocks, burn.part);
            let states = Series::late(first, interval, missed);
            alerts.push(Alert::new(&burn.rule, labels, burn.tier.hold, Some(burn.tier.keep_firing_for), states));
        }
        self.groups.len() - 1
    }

    /// Evaluates the next time of a group of rules; `all` are the other SLOs, for composites.
    pub(super) fn evaluate(&mut self, part: Part, all: &[Self]) {
        let t = self.next(part);
        match part {
            Part::Base => self.base(t, all),
            Part::Slow => self.rollups(t),
            Part::Period => {}
        }
        self.windows(part, t, all);
        match part {
            Part::Base => {}
            Part::Slow => self.burn_rates(t),
            Part::Period => self.period(t, all),
        }
        self.alerts(part, t);
        if part == Part::Period {
            self.missing(t, all);
        }
        let [base, slow, period] = &mut self.clocks;
        let (.., done) = match part {
            Part::Base => base,
            Part::Slow => slow,
            Part::Period => period,
        };
        *done += 1;
    }
}

/// The base series.
impl Slo {
    fn base(&mut self, t: i64, all: &[Self]) {
        let (.., k) = self.clock(Part::Base);
        if let Source::Measured(measured) = &self.source
            && measured.len() != self.groups.len()
        {
            let labels: Vec<Labels> = measured.keys().cloned().collect();
            labels.iter().for_each(|labels| _ = self.group(labels));
        }
        let keep = self.keep_at(t);
        self.slices(k);
        if self.plan.missing_is_bad {
            self.objective.push(Some(self.plan.objective));
        }
        let range = millis(render::BASE_RANGE);
        let raw = self.raw(k, false, range, t, all);
        self.record(false, &raw, keep, t);
        if let Some(range) = self.plan.fine {
            let raw = self.raw(k, true, range, t, all);
            self.record(true, &raw, keep, t);
        }
    }

    fn keep_at(&self, t: i64) -> f64 {
        clock::keep(&self.model.exclusions, t)
    }

    fn slices(&mut self, k: usize) {
        if self.plan.slices.is_none() {
            return;
        }
        let Source::Measured(measured) = &self.source else { return };
        for group in &mut self.groups {
            let sample = measured.get(&group.labels).and_then(|m| m.base.get(k)).copied().unwrap_or(Sample::NONE);
            group.slice.push(finite(sample.total).and(finite(sample.bad)));
        }
    }

    /// Total and bad of each group, before anything is said about what is missing or excluded.
    fn raw(&self, k: usize, fine: bool, range: i64, t: i64, all: &[Self]) -> Vec<(Option<f64>, Option<f64>)> {
        match &self.source {
            Source::Parts { parts, worst } => {
                let groups = || parts.iter().filter_map(|part| all.get(part.slo?)).flat_map(|slo| &slo.groups);
                let any = groups().any(|group| group.base.total.series.at(t).is_some());
                let bad = combine(
                    *worst,
                    parts.iter().map(|part| {
                        let slo = part.slo.and_then(|place| all.get(place));
                        let sum = |events: Events| {
                            present_sum(slo?.groups.iter().map(|group| group.base.of(events).series.at(t)))
                        };
                        (part.weight, share(sum(Events::Bad), sum(Events::Total)))
                    }),
                );
                vec![(any.then_some(1.0), bad)]
            }
            Source::Measured(measured) => {
                let of = |group: &Group| {
                    if let Some((base, finer)) = self.plan.slices {
                        let expected = if fine { finer } else { base };
                        let over = group.slice.over(t - range, t);
                        return (over.map(|(count, _)| count / expected), over.map(|(_, sum)| sum / expected));
                    }
                    let rows = measured.get(&group.labels).map(|m| if fine { &m.fine } else { &m.base });
                    let sample = rows.and_then(|rows| rows.get(k)).copied().unwrap_or(Sample::NONE);
                    (finite(sample.total), finite(sample.bad))
                };
                self.groups.iter().map(of).collect()
            }
        }
    }

    /// Records both, after what is missing was filled in and what is excluded taken out.
    fn record(&mut self, fine: bool, raw: &[(Option<f64>, Option<f64>)], keep: f64, t: i64) {
        let any = raw.iter().any(|(total, _)| total.is_some());
        let awake = self.objective.samples(t - millis(render::BASE_RANGE), t).count() >= self.plan.awake_for;
        let exclusions = &self.model.exclusions;
        let counts = |t: i64| clock::keep(exclusions, t) * clock::keep(exclusions, t - LOOKBACK) > 0.0;
        for ((group, view), (total, bad)) in self.groups.iter_mut().zip(&mut self.views).zip(raw) {
            let filled = match total {
                None if self.plan.missing_is_bad && !any && awake => {
                    view.usual(group, fine, self.plan.usual, &counts, t)
                }
                _ => *total,
            };
            let pair = if fine { &mut group.fine } else { &mut group.base };
            let recorded = filled.map(|v| v * keep);
            pair.total.push(recorded);
            let bad = recorded.map(|recorded| match (bad, total) {
                (Some(bad), _) => *bad,
                (None, None) if self.plan.missing_is_bad => recorded,
                (None, _) => 0.0,
            });
            pair.bad.push(bad.map(|v| v * keep));
        }
    }
}

/// Windows, roll-ups and the period.
impl Slo {
    fn rollups(&mut self, t: i64) {
        let (step, range) = (millis(render::ROLLUP_STEP), millis(render::ROLLUP));
        for (group, view) in self.groups.iter_mut().zip(&mut self.views) {
            for events in EVENTS {
                let sum = view.sum(group, Column::Base(events), step, None, (t - range, t));
                group.rollup.of_mut(events).push(sum);
            }
        }
        let groups = &self.groups;
        self.present.extend(t, |t| seen(groups, t));
        let range = millis(render::PRESENCE);
        let expected = (range / millis(render::PRESENCE_STEP)) as f64;
        self.present_rollup.push(self.present.over(t - range, t).map(|(count, _)| count / expected));
    }

    fn windows(&mut self, part: Part, t: i64, all: &[Self]) {
        for place in 0..self.plan.windows.len().saturating_sub(1) {
            if self.plan.windows.get(place).is_some_and(|window| window.part == part) {
                self.ratio(place, t, all);
            }
        }
    }

    /// Records the error ratio over one window.
    fn ratio(&mut self, place: usize, t: i64, all: &[Self]) {
        let Some(window) = self.plan.windows.get(place) else { return };
        let exclusions = &self.model.exclusions;
        let masked = |t: i64| clock::keep(exclusions, t);
        let keep: Keep<'_> = if exclusions.is_empty() { None } else { Some(&masked) };
        let span = (self.begin(t), t);
        let of = |group: &Group, view: &mut View, events: Events| match window.read {
            Read::Base(found) => view.window(group, events, found, keep, t),
            Read::Samples(step) => view.sum(group, Column::Base(events), step, keep, span),
            Read::Rollups => plus(rolled(group, view, events, span), newest(group, view, events, t)),
        };
        match &mut self.source {
            Source::Parts { parts, worst } => {
                let ratios = parts.iter_mut().map(|part| {
                    let groups = part.slo.and_then(|place| all.get(place)).map_or(&[][..], |slo| &slo.groups);
                    part.views.resize_with(groups.len(), View::default);
                    let mut sum = |events: Events| {
                        present_sum(groups.iter().zip(&mut part.views).map(|(group, view)| of(group, view, events)))
                    };
                    let bad = sum(Events::Bad);
                    (part.weight, share(bad, sum(Events::Total)))
                });
                let value = combine(*worst, ratios);
                if let Some(series) = self.groups.first_mut().and_then(|group| group.ratios.get_mut(place)) {
                    series.push(value);
                }
            }
            Source::Measured(_) => {
                for (group, view) in self.groups.iter_mut().zip(&mut self.views) {
                    let value = share(of(group, view, Events::Bad), of(group, view, Events::Total));
                    if let Some(series) = group.ratios.get_mut(place) {
                        series.push(value);
                    }
                }
            }
        }
    }

    fn burn_rates(&mut self, t: i64) {
        let budget = self.plan.budget;
        for group in &mut self.groups {
            for (ratio, burn) in group.ratios.iter().zip(&mut group.burns) {
                burn.push(ratio.at(t).map(|ratio| ratio / budget));
            }
        }
    }

    /// After which moment the period's samples count.
    fn begin(&self, t: i64) -> i64 {
        match self.plan.length {
            Length::Rolling(span) => t - span,
            Length::Calendar(longest) => {
                let start = self.period_start.at(t);
                start.map_or(t, |start| (t - longest).max((start * 1000.0).round() as i64))
            }
        }
    }

    fn period(&mut self, t: i64, all: &[Self]) {
        if let Period::Calendar { unit, zone, corrections } = &self.model.period {
            let start = clock::unit_start(*unit, zone, corrections, t);
            self.period_start.push(start.map(|start| start as f64 / 1000.0));
        }
        let span = (self.begin(t), t);
        if self.plan.records_sums {
            for (group, view) in self.groups.iter_mut().zip(&mut self.views) {
                for events in EVENTS {
                    let closed = rolled(group, view, events, span);
                    let open = newest(group, view, events, t);
                    group.closed.of_mut(events).push(closed);
                    group.open.of_mut(events).push(open);
                }
            }
        }
        self.ratio(self.plan.windows.len() - 1, t, all);
        let budget = self.plan.budget;
        for group in &mut self.groups {
            let ratio = group.ratios.last().and_then(|ratio| ratio.at(t));
            group.remaining.push(ratio.map(|ratio| 1.0 - ratio / budget));
        }
        if !self.plan.missing_is_bad {
            self.objective.push(Some(self.plan.objective));
        }
        let coverage = self.covered(span).map(|share| share.min(1.0));
        self.coverage.push(coverage);
    }

    /// Share of the period that has samples.
    fn covered(&mut self, (after, t): (i64, i64)) -> Option<f64> {
        let groups = &self.groups;
        if let Share::Looks(range, _, expected) = self.plan.share {
            let looks = self.looks.as_mut()?;
            looks.extend(t, |t| seen(groups, t));
            return looks.over(t - range, t).map(|(count, _)| count / expected);
        }
        let rollup = &self.present_rollup;
        self.presences.extend(t, |t| rollup.at(t));
        let sum = self.presences.over(after, t).map(|(_, sum)| sum)?;
        match self.plan.share {
            Share::Rollups(expected) => Some(sum / expected),
            Share::Looks(..) => None,
            Share::Since => {
                // Both ends at the even hours by which presence is told.
                let (step, now) = (millis(render::PRESENCE) as f64 / 1000.0, t as f64 / 1000.0);
                let start = self.period_start.at(t)?;
                let since = now - now % step - (start - start % step);
                (since > 0.0).then(|| sum * step / since)
            }
        }
    }
}

/// Alerts.
impl Slo {
    fn alerts(&mut self, part: Part, t: i64) {
        let exclusions = &self.model.exclusions;
        let masked = |t: i64| clock::keep(exclusions, t);
        let keep: Keep<'_> = if exclusions.is_empty() { None } else { Some(&masked) };
        for (burn, alerts) in self.plan.tiers.iter().zip(&mut self.burns).filter(|(burn, _)| burn.part == part) {
            for ((group, view), alert) in self.groups.iter().zip(&mut self.views).zip(alerts) {
                let over = |place: usize| group.ratios.get(place)?.at(t).filter(|ratio| *ratio > burn.threshold);
                let value = over(burn.long)
                    .filter(|_| over(burn.short).is_some())
                    .filter(|_| burn.floor.as_ref().is_none_or(|floor| enough(floor, group, view, keep, t)));
                alert.step(t, value);
            }
        }
    }

    fn missing(&mut self, t: i64, all: &[Self]) {
        let (.., k) = self.clock(Part::Period);
        let counts = clock::keep(&self.model.exclusions, t) > 0.0;
        let up = self.targets.get(k).copied().unwrap_or(false);
        let lost = up && self.lost(t);
        if let Some(alert) = &mut self.no_data {
            let missing = seen(&self.groups, t).is_none() && !up;
            let either = missing || lost && self.blind.is_none();
            alert.step(t, (either && counts).then_some(1.0));
        }
        if let Some(alert) = &mut self.blind {
            alert.step(t, (lost && counts).then_some(1.0));
        }
        let Source::Parts { parts, .. } = &self.source else { return };
        for (part, alert) in parts.iter().zip(&mut self.no_part) {
            let slo = part.slo.and_then(|place| all.get(place));
            // `slo_info` is of the period's rules, as the coverage is.
            let last = slo.and_then(|slo| slo.coverage.last());
            let loaded = last.is_some_and(|last| t - last < LOOKBACK);
            alert.step(t, (!loaded && counts).then_some(1.0));
        }
    }

    /// Whether there were data once, and none lately.
    fn lost(&self, t: i64) -> bool {
        let Some(remembers) = self.plan.remembers else { return false };
        let seen = |range: i64, step: i64| {
            let last = t.div_euclid(step) * step;
            let mut looks = (0..).map(|k| last - k * step).take_while(|at| *at > t - range);
            looks.any(|at| self.present_rollup.at(at).is_some())
        };
        !seen(millis(render::alerts::BLIND_RECENT), millis(render::alerts::BLIND_STEP))
            && seen(remembers, millis(render::PRESENCE))
    }
}

/// Whether a window has as many bad events as its tier asks for, counted in one way or the other.
fn enough(floor: &Floor, group: &Group, view: &mut View, keep: Keep<'_>, t: i64) -> bool {
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let all = match floor.found.how {
        How::Newest | How::Samples(..) => None,
        How::Steps(_, step, _) => view.window(group, Events::Bad, floor.found, keep, t).map(|sum| sum * seconds(step)),
        How::Rollups(window) => {
            let sums = view.sum(group, Column::Rollup(Events::Bad), millis(render::ROLLUP), None, (t - window, t));
            let open = group.open.of(Events::Bad).at(t);
            Some((sums.unwrap_or(0.0) + open.unwrap_or(0.0)) * seconds(millis(render::ROLLUP_STEP)))
        }
    };
    let fine = floor.found.fine;
    let newest = if fine { group.fine.of(Events::Bad) } else { group.base.of(Events::Bad) }.series.at(t);
    let newest = newest.map(|rate| rate * keep.map_or(1.0, |keep| keep(t)) * seconds(floor.at_once));
    [all, newest].into_iter().flatten().any(|events| events >= floor.least)
}

/// The period's full half hours.
fn rolled(group: &Group, view: &mut View, events: Events, span: (i64, i64)) -> Option<f64> {
    view.sum(group, Column::Rollup(events), millis(render::ROLLUP), None, span)
}

/// What has come since the last full half hour.
fn newest(group: &Group, view: &mut View, events: Events, t: i64) -> Option<f64> {
    let half_hour = millis(render::ROLLUP);
    let since = t.div_euclid(half_hour) * half_hour;
    view.sum(group, Column::Base(events), millis(render::ROLLUP_STEP), None, (since, t))
}

/// 1 while any group has events to count.
fn seen(groups: &[Group], t: i64) -> Option<f64> {
    groups.iter().any(|group| group.base.total.series.at(t).is_some()).then_some(1.0)
}

/// A rate, unless it is NaN, infinite or negative.
fn finite(value: f64) -> Option<f64> {
    (0.0..f64::INFINITY).contains(&value).then_some(value)
}

/// `bad / (total > 0)`.
fn share(bad: Option<f64>, total: Option<f64>) -> Option<f64> {
    Some(bad? / total.filter(|total| *total > 0.0)?)
}

/// `(a + b) or a or b`.
fn plus(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

fn present_sum(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.fold(None, plus)
}

/// The weighted mean, or the worst, of the parts' ratios; a part without traffic counts as good, as long as one has some.
fn combine(worst: bool, ratios: impl Iterator<Item = (f64, Option<f64>)>) -> Option<f64> {
    let (mut all, mut sum, mut highest) = (0.0, None, None);
    for (weight, ratio) in ratios {
        all += weight;
        sum = plus(sum, ratio.map(|ratio| weight * ratio));
        highest = match (highest, ratio) {
            (Some(a), Some(b)) => Some(f64::max(a, b)),
            (a, b) => a.or(b),
        };
    }
    if worst { highest } else { sum.map(|sum| sum / all) }
}
