//! From what a detector says of each sample to what a person is told: an alert begins, stays while the series is where it
//! should not be, and ends when it returns or when its new level is accepted. All times are in seconds.

use serde::{Deserialize, Serialize};

use crate::{
    detector::{NEW, Sample, Verdict},
    novelty::Constants,
};

/// Time constant of the level that a series has had lately, and of how far it scatters around it.
const LEVEL: f64 = 1800.0;
/// A series counts as returned when it lies within so many mean absolute deviations of its level of before, so that its
/// usual ups and downs hold no alert up, ...
const SCATTER: f64 = 4.0;
/// ... or within this share of the way that it had gone, where it was all but constant.
const WAY: f64 = 0.1;
/// It must have returned for so long: one sample on the way is no return, and a spike is seen by every scrape.
const RETURNED: f64 = 60.0;
/// Across a longer gap a move says nothing, nor does for a while a mean over it.
const GAP: f64 = 300.0;
/// Samples after a gap until a move counts again, and until a value counts that is new by less than [`FAR`].
const AFTER_GAP: [u8; 2] = [2, 30];
/// The score of values far beyond all that the series has had.
const FAR: f64 = 0.8;
/// After a longer one nobody knows whether the series is where it was.
const LOST: f64 = 900.0;

/// No alert begins until so many seconds after the last one began: a series cannot flood.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refractory {
    begun: f64,
}

impl Default for Refractory {
    fn default() -> Self {
        Self { begun: f64::NEG_INFINITY }
    }
}

impl Refractory {
    /// Whether an alert may begin at this time, which it then does.
    pub fn begins(&mut self, time: f64, seconds: f64) -> bool {
        let begins = time - self.begun > seconds;
        if begins {
            self.begun = time;
        }
        begins
    }

    /// The clock was set back by so many seconds, and the last alert has begun as long ago as before.
    pub(crate) fn set_back(&mut self, by: f64) {
        self.begun -= by;
    }
}

/// Which side of a series' recent level counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Either.
    #[default]
    Both,
    /// What lies above.
    Up,
    /// What lies below.
    Down,
}

/// When an alert begins, and how long it may stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The side that counts.
    pub side: Side,
    /// The score at which an alert begins; `None`: wherever the detector itself finds a sample alarming.
    pub score: Option<f64>,
    /// No alert begins at a smaller value.
    pub least: f64,
    /// Seconds after which a level is accepted: the alert ends although the series has not returned.
    pub accept: f64,
}

/// What stands after a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// An alert begins with this sample.
    pub begins: bool,
    /// An alert stays, or has just begun.
    pub on: bool,
    /// The highest score of the alert that stays; 0 without one.
    pub peak: f64,
    /// The sample lies on the side that counts, and is not too small.
    pub asked: bool,
}

/// The alerts of one series; everything it knows is in here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alerting {
    /// Time of the last sample.
    time: Option<f64>,
    level: f64,
    scatter: f64,
    /// Samples since the last gap.
    since_gap: u8,
    refractory: Refractory,
    stay: Option<Stay>,
    away: Option<Away>,
}

/// Where a series is that is not where it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stay {
    begun: f64,
    /// The level of before.
    base: f64,
    /// 1 above it, -1 below.
    sign: f64,
    /// Nearer than this to the base it has returned.
    edge: f64,
    /// Since when it has returned.
    returned: Option<f64>,
    on: bool,
    peak: f64,
}

/// Where a series was that has gone to the side that does not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Away {
    begun: f64,
    /// When it was last seen there.
    last: f64,
    /// The level of before.
    base: f64,
    /// Nearer than this to the base it has returned.
    edge: f64,
}

impl Alerting {
    /// Takes the next sample and the detector's verdict on it. One that is not newer than the last, or has no value, is
    /// passed over.
    pub fn step(&mut self, policy: &Policy, sample: Sample, verdict: Verdict) -> Alert {
        let Sample { time, value } = sample;
        let elapsed = self.time.map(|last| time - last);
        if !time.is_finite() || !value.is_finite() || elapsed.is_some_and(|elapsed| elapsed <= 0.0) {
            return Alert { asked: true, ..self.stands() };
        }
        if elapsed.is_none_or(|elapsed| elapsed > GAP) {
            self.since_gap = 0;
        }
        if elapsed.is_some_and(|elapsed| elapsed > LOST) {
            (self.stay, self.away) = (None, None);
        }
        let way = if elapsed.is_some() { value - self.level } else { 0.0 };
        let asked = self.on_side(policy, sample, way) && value >= policy.least;
        let [move_counts, new_counts] = AFTER_GAP.map(|samples| self.since_gap >= samples);
        let known = verdict.score >= FAR || if verdict.score < NEW { move_counts } else { new_counts };
        let alarming = policy.score.map_or(verdict.alarming, |score| verdict.score >= score);
        self.follow(policy, sample, if asked { verdict.score } else { 0.0 });
        let mut begins = false;
        if asked && known && alarming && !self.stands().on {
            begins = self.refractory.begins(time, Constants::DEFAULT.refractory);
        }
        if begins {
            let edge = (SCATTER * self.scatter).max(WAY * way.abs());
            let sign = if way < 0.0 { -1.0 } else { 1.0 };
            let peak = verdict.score;
            self.stay = Some(Stay { begun: time, base: self.level, sign, edge, returned: None, on: true, peak });
        }
        self.learn(elapsed, value, way);
        self.time = Some(time);
        Alert { begins, asked, ..self.stands() }
    }

    /// Whether the sample, so far from the level of lately, lies on the side that counts. What comes back from the other side
    /// does not, though it lies above a level that was drawn down by what it comes back from.
    fn on_side(&mut self, policy: &Policy, sample: Sample, way: f64) -> bool {
        let sign = match policy.side {
            Side::Both => return true,
            Side::Up => 1.0,
            Side::Down => -1.0,
        };
        let Sample { time, value } = sample;
        let far = SCATTER * self.scatter;
        if way * sign < -far && self.away.is_none() {
            self.away = Some(Away { begun: time, last: time, base: self.level, edge: far });
        }
        let Some(away) = &mut self.away else { return way * sign > 0.0 };
        let beyond = (value - away.base) * sign;
        if beyond < -away.edge {
            (away.last, away.edge) = (time, away.edge.max(-WAY * beyond));
        }
        let on_side = beyond > away.edge;
        // Half an hour after its return the level has followed; what stays away for longer than an alert may is a new level.
        if time - away.last > Constants::DEFAULT.refractory || time - away.begun >= policy.accept {
            self.away = None;
        }
        on_side
    }

    /// Ends the alert of before, or lets it stay; within the refractory time one that comes back is the same.
    fn follow(&mut self, policy: &Policy, sample: Sample, score: f64) {
        let Some(stay) = &mut self.stay else { return };
        let age = sample.time - stay.begun;
        if age >= policy.accept || (!stay.on && age > Constants::DEFAULT.refractory) {
            self.stay = None;
            return;
        }
        if (sample.value - stay.base) * stay.sign > stay.edge {
            (stay.returned, stay.on) = (None, true);
        } else {
            let since = *stay.returned.get_or_insert(sample.time);
            stay.on &= sample.time - since < RETURNED;
        }
        if stay.on {
            stay.peak = stay.peak.max(score);
        }
    }

    fn learn(&mut self, elapsed: Option<f64>, value: f64, way: f64) {
        // The first sample is its own level.
        let weight = elapsed.map_or(1.0, |elapsed| 1.0 - (-elapsed / LEVEL).exp());
        self.level = (1.0 - weight) * self.level + weight * value;
        self.scatter = ((1.0 - weight) * self.scatter + weight * way.abs()).min(f64::MAX);
        self.since_gap = self.since_gap.saturating_add(1);
    }

    /// As it stands, without a further sample.
    fn stands(&self) -> Alert {
        let on = self.stay.as_ref().filter(|stay| stay.on);
        Alert { begins: false, on: on.is_some(), peak: on.map_or(0.0, |stay| stay.peak), asked: false }
    }

    /// When the alert that stays has begun, in seconds since 1970.
    pub fn since(&self) -> Option<f64> {
        self.stay.as_ref().filter(|stay| stay.on).map(|stay| stay.begun)
    }
}
