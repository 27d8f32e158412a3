//! Alerts as Prometheus keeps them: pending, firing, and firing on for a while.

use super::{Labels, series::Series};
use crate::{model::Span, names, rules::Rule};

/// The name under which Prometheus records the states of alerts.
pub const ALERTS: &str = "ALERTS";
/// The label of [`ALERTS`] that says which state.
pub const ALERTSTATE: &str = "alertstate";
/// The label of [`ALERTS`] that says which alert.
pub const ALERTNAME: &str = "alertname";

/// What an alert is at one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its condition does not hold.
    Inactive,
    /// It holds, but not for long enough.
    Pending,
    /// Somebody is told.
    Firing,
}

/// Once that an alert fired. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Episode {
    /// Since when the condition held.
    pub active: i64,
    /// When it began to fire.
    pub fired: i64,
    /// The first evaluation at which it fired no more; `None` while it fires.
    pub ended: Option<i64>,
    /// The highest value of its expression while it was active.
    pub peak: f64,
}

/// One alert of an SLO, for one group.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Every label that Prometheus sends, with [`ALERTNAME`].
    pub labels: Labels,
    /// The tier; `None` for missing data.
    pub tier: Option<String>,
    /// Each time that it fired, in order.
    pub episodes: Vec<Episode>,
    hold: i64,
    keep: i64,
    active: Option<Active>,
    states: Series,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    since: i64,
    firing: bool,
    gone: Option<i64>,
    peak: f64,
}

impl Alert {
    pub(super) fn new(rule: &Rule, group: &Labels, hold: Option<Span>, keep: Option<Span>, states: Series) -> Self {
        // What a template engine would leave of the text.
        let plain = |text: &String| text.replace("{{ \"{{\" }}", "{{");
        let own = rule.labels.iter().map(|(name, value)| (name.clone(), plain(value)));
        let mut labels: Labels = group.clone().into_iter().chain(own).collect();
        labels.insert(ALERTNAME.to_owned(), rule.alert.clone().unwrap_or_default());
        let millis = |span: Option<Span>| span.map_or(0, super::millis);
        Self {
            tier: labels.get(names::TIER).cloned(),
            labels,
            episodes: Vec::new(),
            hold: millis(hold),
            keep: millis(keep),
            active: None,
            states,
        }
    }

    /// One evaluation; `value` is what the expression yields.
    pub(super) fn step(&mut self, t: i64, value: Option<f64>) {
        if let Some(value) = value {
            let active = self.active.get_or_insert(Active { since: t, firing: false, gone: None, peak: value });
            active.gone = None;
            active.peak = active.peak.max(value);
        } else if let Some(active) = &mut self.active {
            let kept = active.firing && self.keep > 0 && t - *active.gone.get_or_insert(t) < self.keep;
            if !kept {
                if active.firing
                    && let Some(episode) = self.episodes.last_mut()
                {
                    episode.ended = Some(t);
                }
                self.active = None;
            }
        }
        if let Some(active) = &mut self.active {
            if !active.firing && t - active.since >= self.hold {
                active.firing = true;
                self.episodes.push(Episode { active: active.since, fired: t, ended: None, peak: active.peak });
            }
            if active.firing
                && let Some(episode) = self.episodes.last_mut()
            {
                episode.peak = active.peak;
            }
        }
        self.states.push(self.active.map(|active| if active.firing { 2.0 } else { 1.0 }));
    }

    /// What it was at `t`, in milliseconds since 1970.
    pub fn state(&self, t: i64) -> State {
        match self.states.at(t) {
            Some(state) if state > 1.5 => State::Firing,
            Some(_) => State::Pending,
            None => State::Inactive,
        }
    }

    /// Since when it is active, if it is; milliseconds since 1970.
    pub fn active_since(&self) -> Option<i64> {
        self.active.map(|active| active.since)
    }

    /// The series of [`ALERTS`], with its labels, that says when it was in a state.
    pub fn series(&self, state: State) -> (Labels, Series) {
        let (word, number) = match state {
            State::Inactive => ("inactive", 0.0),
            State::Pending => ("pending", 1.0),
            State::Firing => ("firing", 2.0),
        };
        let mut labels = self.labels.clone();
        labels.insert(ALERTSTATE.to_owned(), word.to_owned());
        (labels, self.states.map(|v| if v == number { 1.0 } else { f64::NAN }))
    }
}
