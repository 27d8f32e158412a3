//! SLOs without samples: whether those of the base series are made up for them, and where their targets are.

use tokio::time::{Duration, Instant};

use super::{Id, Observations, Row};
use crate::targets::Away;

/// Whether bad events have the labels of `groupBy` changes with what is deployed; all raw series are read for it.
const PAIRED: Duration = Duration::from_secs(600);
/// What is known about what has no samples is asked for this often.
const SOUGHT: Duration = Duration::from_secs(60);

/// Every event counts as bad where missing time does too: measured, or made up.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    asked: Option<Instant>,
    made_up: bool,
}

fn is_due(asked: Option<Instant>, now: Instant) -> bool {
    asked.is_none_or(|at| now.duration_since(at) >= SOUGHT)
}

impl Row {
    /// Notes whether every event counts as bad; true when they are known to be made up.
    pub(super) fn doubts(&mut self, whole: bool) -> bool {
        let doubtful = whole && self.wanted.scope.own.is_some();
        self.doubt = doubtful.then(|| self.doubt.take().unwrap_or_default());
        self.doubt.as_ref().is_some_and(|doubt| doubt.made_up)
    }

    /// Notes whether the indicator has samples.
    pub(super) fn has_data(&mut self, data: Option<bool>, made_up: bool) {
        (self.observation.data, self.observation.made_up) = (data, made_up);
        if data != Some(false) {
            (self.observation.targets, self.sought) = (None, None);
        }
    }
}

impl Observations {
    /// SLOs whose events may be made up, and an expression of those that they measure: at most `max`, each once a minute.
    pub fn doubtful(&self, now: Instant, max: usize) -> Vec<(Id, String)> {
        let mut rows = self.rows();
        let due = rows.iter_mut().filter_map(|(id, row)| {
            let doubt = row.doubt.as_mut().filter(|doubt| is_due(doubt.asked, now))?;
            let own = row.wanted.scope.own.clone()?;
            doubt.asked = Some(now);
            Some((id.clone(), own))
        });
        due.take(max).collect()
    }

    /// Takes whether it measures any; true when that changes its status.
    pub fn measures(&self, id: &Id, measured: bool) -> bool {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(id) else { return false };
        let Some(doubt) = &mut row.doubt else { return false };
        let differs = doubt.made_up == measured;
        doubt.made_up = !measured;
        if differs {
            row.has_data(Some(measured), !measured);
        }
        differs
    }

    /// SLOs with groups that have data, and what asks for bad events of none of them: at most `max`, each every ten minutes.
    pub fn grouped(&self, now: Instant, max: usize) -> Vec<(Id, Vec<(String, String)>)> {
        let mut rows = self.rows();
        let due = rows.iter_mut().filter(|(_, row)| {
            let recently = row.paired.is_some_and(|at| now.duration_since(at) < PAIRED);
            row.observation.data == Some(true) && !row.wanted.scope.apart.is_empty() && !recently
        });
        due.map(|(id, row)| {
            row.paired = Some(now);
            (id.clone(), row.wanted.scope.apart.clone())
        })
        .take(max)
        .collect()
    }

    /// Takes the label that bad events lack; true when that changes its status.
    pub fn pair(&self, id: &Id, lacks: Option<String>) -> bool {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(id) else { return false };
        let differs = row.observation.lacks != lacks;
        row.observation.lacks = lacks;
        differs
    }

    /// SLOs without samples, and what names the targets that should have them: at most `max`, each once a minute.
    pub fn silent(&self, now: Instant, max: usize) -> Vec<(Id, String)> {
        let mut rows = self.rows();
        let due = rows.iter_mut().filter(|(_, row)| row.observation.data == Some(false) && is_due(row.sought, now));
        due.filter_map(|(id, row)| {
            let of = row.wanted.scope.targets.clone()?;
            row.sought = Some(now);
            Some((id.clone(), of))
        })
        .take(max)
        .collect()
    }

    /// Takes what is known of its targets; true when that changes its status.
    pub fn seek(&self, id: &Id, targets: Option<Away>) -> bool {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(id) else { return false };
        // The wording of a cause may change with every attempt.
        let differs = targets.as_ref().map(Away::who) != row.observation.targets.as_ref().map(Away::who);
        if differs {
            row.observation.targets = targets;
        }
        differs
    }
}
