//! What is recorded of one group of an SLO, and how others look at it.

use super::{
    Labels,
    plan::{Found, How, Plan},
    series::{Grid, Series, Tracked},
};
use crate::{names, render};

/// All or the bad ones of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Events {
    Total,
    Bad,
}

/// A pair of both.
#[derive(Clone, Debug)]
pub(super) struct Pair<T> {
    pub(super) total: T,
    pub(super) bad: T,
}

impl<T> Pair<T> {
    pub(super) fn new(make: impl Fn() -> T) -> Self {
        Self { total: make(), bad: make() }
    }

    pub(super) fn of(&self, events: Events) -> &T {
        match events {
            Events::Total => &self.total,
            Events::Bad => &self.bad,
        }
    }

    pub(super) fn of_mut(&mut self, events: Events) -> &mut T {
        match events {
            Events::Total => &mut self.total,
            Events::Bad => &mut self.bad,
        }
    }
}

/// Both kinds of events.
pub(super) const EVENTS: [Events; 2] = [Events::Total, Events::Bad];

/// The series that grids are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Base(Events),
    Fine(Events),
    Rollup(Events),
}

/// The series of one group.
pub(super) struct Group {
    pub(super) labels: Labels,
    pub(super) slice: Tracked,
    pub(super) base: Pair<Tracked>,
    pub(super) fine: Pair<Tracked>,
    pub(super) rollup: Pair<Series>,
    pub(super) closed: Pair<Series>,
    pub(super) open: Pair<Series>,
    /// One for each window of the plan.
    pub(super) ratios: Vec<Series>,
    pub(super) burns: Vec<Series>,
    pub(super) remaining: Series,
}

/// When each of the three groups of rules was first evaluated, how often it is, and how often it has been.
pub(super) type Clocks = [(i64, i64, usize); 3];

pub(super) fn of_part(clocks: &Clocks, part: render::Part) -> (i64, i64, usize) {
    let [base, slow, period] = clocks;
    match part {
        render::Part::Base => *base,
        render::Part::Slow => *slow,
        render::Part::Period => *period,
    }
}

impl Group {
    pub(super) fn new(labels: Labels, plan: &Plan, clocks: &Clocks) -> Self {
        let of = |part: render::Part| of_part(clocks, part);
        let late = |part: render::Part| {
            let (first, interval, missed) = of(part);
            Series::late(first, interval, missed)
        };
        let (first, interval, missed) = of(render::Part::Base);
        let tracked = || Tracked::late(first, interval, missed);
        Self {
            labels,
            slice: tracked(),
            base: Pair::new(tracked),
            fine: Pair::new(tracked),
            rollup: Pair::new(|| late(render::Part::Slow)),
            closed: Pair::new(|| late(render::Part::Period)),
            open: Pair::new(|| late(render::Part::Period)),
            ratios: plan.windows.iter().map(|w| late(w.part)).collect(),
            burns: plan.windows.iter().map(|_| late(render::Part::Slow)).collect(),
            remaining: late(render::Part::Period),
        }
    }

    fn column(&self, column: Column) -> &Series {
        match column {
            Column::Base(events) => &self.base.of(events).series,
            Column::Fine(events) => &self.fine.of(events).series,
            Column::Rollup(events) => self.rollup.of(events),
        }
    }

    /// Every recorded series without windows, by its name.
    pub(super) fn plain(&self, name: &str) -> Option<&Series> {
        Some(match name {
            names::TOTAL => &self.base.total.series,
            names::BAD => &self.base.bad.series,
            names::TOTAL_FINE => &self.fine.total.series,
            names::BAD_FINE => &self.fine.bad.series,
            names::SLICE => &self.slice.series,
            names::TOTAL_ROLLUP => &self.rollup.total,
            names::BAD_ROLLUP => &self.rollup.bad,
            names::TOTAL_CLOSED => &self.closed.total,
            names::BAD_CLOSED => &self.closed.bad,
            names::TOTAL_OPEN => &self.open.total,
            names::BAD_OPEN => &self.open.bad,
            names::BUDGET_REMAINING => &self.remaining,
            _ => return None,
        })
    }
}

/// A group as the rules of one SLO read it: subqueries over its series, each looked at once.
#[derive(Default)]
pub(super) struct View(Vec<(Column, i64, Excluded, Grid)>);

/// What a subquery finds at a moment that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excluded {
    AsItIs,
    Zero,
    Nothing,
}

/// Whether a moment counts; `None` where every one does.
pub(super) type Keep<'a> = Option<&'a dyn Fn(i64) -> f64>;

impl View {
    fn grid(&mut self, series: &Series, column: Column, step: i64, excluded: Excluded) -> Option<&mut Grid> {
        let same = |(c, s, e, _): &(Column, i64, Excluded, Grid)| (*c, *s, *e) == (column, step, excluded);
        let place = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push((column, step, excluded, Grid::new(step, series.start())));
            self.0.len() - 1
        });
        self.0.get_mut(place).map(|(.., grid)| grid)
    }

    /// Mean of the total of what was recorded in a range before `t`, of which nothing is recorded yet: of every sample; or
    /// with a step, of those that count.
    pub(super) fn usual(
        &mut self,
        group: &Group,
        fine: bool,
        (range, step): (i64, Option<i64>),
        counts: &dyn Fn(i64) -> bool,
        t: i64,
    ) -> Option<f64> {
        let (column, total) = if fine {
            (Column::Fine(Events::Total), &group.fine.total)
        } else {
            (Column::Base(Events::Total), &group.base.total)
        };
        let Some(step) = step else { return total.over(t - range, t).map(|(count, sum)| sum / count) };
        let value = |t: i64| total.series.at(t).filter(|_| counts(t));
        let grid = self.grid(&total.series, column, step, Excluded::Nothing)?;
        // A point at `t` itself finds the sample before, and later the one that is recorded now.
        grid.extend(t - 1, value);
        let (count, sum) = grid.over(t - range, t - 1).unwrap_or_default();
        let now = if t.rem_euclid(step) == 0 { value(t) } else { None };
        let (count, sum) = now.map_or((count, sum), |now| (count + 1.0, sum + now));
        (count > 0.0).then(|| sum / count)
    }

    /// Sum of a series' values every `step` milliseconds after `after` and until `until`; of those that count, with
    /// `keep`.
    pub(super) fn sum(
        &mut self,
        group: &Group,
        column: Column,
        step: i64,
        keep: Keep<'_>,
        (after, until): (i64, i64),
    ) -> Option<f64> {
        let excluded = if keep.is_some() { Excluded::Zero } else { Excluded::AsItIs };
        let series = group.column(column);
        let grid = self.grid(series, column, step, excluded)?;
        grid.extend(until, |t| Some(series.at(t)? * keep.map_or(1.0, |keep| keep(t))));
        grid.over(after, until).map(|(_, sum)| sum)
    }

    /// A number proportional to the events in a window that ends at `t`.
    pub(super) fn window(
        &mut self,
        group: &Group,
        events: Events,
        Found { fine, how }: Found,
        keep: Keep<'_>,
        t: i64,
    ) -> Option<f64> {
        let column = if fine { Column::Fine(events) } else { Column::Base(events) };
        let newest = group.column(column).at(t);
        let (sum, weight) = match how {
            How::Newest => return newest,
            How::Samples(rest, weight) => {
                let tracked = if fine { group.fine.of(events) } else { group.base.of(events) };
                (tracked.over(t - rest, t).map(|(_, sum)| sum)?, weight)
            }
            How::Steps(rest, step, weight) => (self.sum(group, column, step, keep, (t - rest, t))?, weight),
            How::Rollups(window) => {
                let step = super::millis(render::ROLLUP);
                return self.sum(group, Column::Rollup(events), step, None, (t - window, t));
            }
        };
        let newest = newest.map(|v| v * keep.map_or(1.0, |keep| keep(t)));
        Some(newest.map_or(sum, |newest| sum + weight * newest))
    }
}
