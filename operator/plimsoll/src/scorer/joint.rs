//! The joint view of one watch: whether one of its series leaves the course that all of them have in common, though each of
//! its values is one that it has had. What is compared are means of five minutes, so that scrapes at different moments and
//! single bursts do not count. Pure: the time is given.

use std::collections::BTreeMap;

use plimsoll_anomaly::{
    Sample, Verdict,
    alerting::{Alert, Alerting, Policy, Side},
    group::{Joint, JointVerdict},
};
use serde::{Deserialize, Serialize};

use super::{
    LATE,
    table::{Samples, Series, VANISHED},
    watches::{Labels, Watch},
};

/// Seconds of a block, of which each series has one mean.
const BLOCK: u64 = 300;
/// With fewer series there is no common course.
const LEAST: usize = 3;
/// With more the work would grow with the cube: those that come first by their labels stand for all.
const MOST: usize = 32;
/// Seconds after which series that have come meanwhile are taken in, for which all is learnt anew.
const RENEWED: f64 = 6.0 * 3600.0;

/// The series of one watch, together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Together {
    members: Vec<Labels>,
    /// When they were chosen.
    begun: f64,
    joint: Option<Joint>,
    /// Blocks that may still get samples, by their number: of each member the sum and the count.
    open: BTreeMap<u64, Vec<(f64, u32)>>,
    /// The last block that was judged.
    judged: u64,
    alerting: Alerting,
    pub(crate) alert: Alert,
    pub(crate) score: f64,
    /// What the last block says, and when it ended.
    verdict: Saying,
    pub(crate) last: f64,
}

/// How far the worst member is from where the others say it should be, in units of the level of alarm, and which it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Saying {
    strength: f64,
    member: usize,
}

impl Together {
    /// Takes in what a watch was read to have, after its series have.
    pub(crate) fn read(
        &mut self,
        watch: &Watch,
        series: &BTreeMap<Labels, Series>,
        found: &[(Labels, Samples)],
        until: u64,
    ) {
        // Where all are gone at once nobody has left the others.
        if !found.is_empty() || self.joint.is_none() {
            self.choose(series, until as f64);
        }
        if self.joint.is_none() {
            return;
        }
        for (labels, samples) in found {
            let Ok(member) = self.members.binary_search(labels) else { continue };
            for (time, value) in samples {
                let block = *time as u64 / BLOCK;
                if block > self.judged {
                    let block = self.open.entry(block).or_insert_with(|| vec![(0.0, 0); self.members.len()]);
                    if let Some((sum, count)) = block.get_mut(member) {
                        (*sum, *count) = (*sum + value, *count + 1);
                    }
                }
            }
        }
        let all_beyond = |end: u64| {
            let last = |labels: &Labels| series.get(labels).map_or(f64::INFINITY, |series| series.last);
            self.members.iter().all(|labels| last(labels) >= end as f64)
        };
        let is_over = |block: &u64| {
            let end = (block + 1) * BLOCK;
            until >= end + LATE || all_beyond(end)
        };
        let over: Vec<u64> = self.open.keys().copied().take_while(is_over).collect();
        for number in over {
            let block = self.open.remove(&number).unwrap_or_default();
            self.judged = number;
            // One without a sample makes the row one that says nothing.
            let row: Vec<f64> = block.iter().map(|(sum, count)| sum / f64::from(*count)).collect();
            if row.iter().all(|value| value.is_finite()) {
                self.judge(watch, &row, ((number + 1) * BLOCK) as f64);
            }
        }
    }

    fn judge(&mut self, watch: &Watch, row: &[f64], time: f64) {
        let Some(joint) = &mut self.joint else { return };
        let found = joint.step(row);
        let JointVerdict { strength, series, above } = found;
        let asked = match watch.policy().side {
            Side::Both => true,
            Side::Up => above,
            Side::Down => !above,
        };
        let verdict = if asked { found.verdict() } else { Verdict::default() };
        // Of the strength only a rise is unusual.
        let policy = Policy { side: Side::Up, least: f64::NEG_INFINITY, ..watch.policy() };
        self.alert = self.alerting.step(&policy, Sample { time, value: strength.min(1e6) }, verdict);
        (self.score, self.last) = (verdict.score, time);
        self.verdict = Saying { strength, member: series };
    }

    /// Those that are gone leave; those that have come are taken in when there are too few, or after some hours.
    fn choose(&mut self, series: &BTreeMap<Labels, Series>, now: f64) {
        let there = |labels: &Labels| series.get(labels).is_some_and(|series| now - series.last <= VANISHED);
        for gone in (0..self.members.len()).rev() {
            if !self.members.get(gone).is_some_and(there) {
                self.members.remove(gone);
                self.joint.iter_mut().for_each(|joint| joint.drop_series(gone));
                self.open.values_mut().for_each(|block| _ = block.remove(gone));
            }
        }
        if self.members.len() >= LEAST && (now - self.begun < RENEWED || self.members.len() >= MOST) {
            return;
        }
        let ripe = series.iter().filter(|(labels, series)| !series.learns() && there(labels)).map(|(labels, _)| labels);
        let wanted: Vec<&Labels> = ripe.take(MOST).collect();
        if wanted.iter().all(|labels| self.members.contains(labels)) && self.members.len() >= LEAST {
            return;
        }
        if wanted.len() < LEAST {
            *self = Self::default();
            return;
        }
        let members: Vec<Labels> = wanted.into_iter().cloned().collect();
        // Blocks that have begun already would lack samples of some.
        let judged = now as u64 / BLOCK;
        *self = Self { joint: Some(Joint::new(members.len())), members, begun: now, judged, ..Self::default() };
    }

    /// The labels of its score; `None` where there is nothing to be seen together.
    pub(crate) fn labels(&self, watch: &Watch) -> Option<Labels> {
        self.joint.as_ref().and(watch.joint_labels())
    }

    /// The series that is farthest from where the others say it should be, and how far in units of the level of alarm.
    pub(crate) fn leaves(&self) -> Option<(&Labels, f64)> {
        self.members.get(self.verdict.member).map(|labels| (labels, self.verdict.strength))
    }

    /// Since when an alert stays, in seconds since 1970.
    pub(crate) fn alert_since(&self) -> Option<f64> {
        self.alerting.since()
    }
}
