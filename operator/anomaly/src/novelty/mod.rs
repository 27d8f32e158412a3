//! The statistical detector: values that are new to a series, and sudden moves.
//!
//! A value is as new as it is far from every value that is remembered, in units of the range that the series has had;
//! it is looked at in four views ([`features`]). A move is as alarming as it is large against the series' usual moves
//! ([`jump`]). Nothing about a series is known beforehand, and each row is judged before it is learnt.

mod features;
mod jump;
mod memory;

use serde::{Deserialize, Serialize};

use crate::detector::{Detector, Sample, Verdict};
use features::{FEATURES, Features};
use jump::Jumps;
use memory::Memory;

/// Remembered values for each view.
const SLOTS: usize = 80;
/// Mean root novelty that is alarming.
const ALARMING: f64 = 0.110;
/// Rows before anything is judged.
const WARM: u64 = 100;
/// A novelty counts only above this many times the largest of the rows before (as many as [`REST`]).
const RECORD: f64 = 1.2;
/// Blocks of rows over which the largest novelty is remembered, and rows in each.
const REST: (usize, u64) = (10, 10);
/// A value unseen for so many rows and so many seconds is forgotten.
const FORGET: (f64, f64) = (5000.0, 1.5e6);
/// The range contracts by this share a row, at most as fast as by a time constant in seconds.
const SHRINK: (f64, f64) = (2e-4, 1.5e6);
/// Seconds for which nothing is raised after an alert was.
const REFRACTORY_S: f64 = 1860.0;
/// Scores of moves lie between these: a new value ranks above a move among known values.
const MOVES: (f64, f64) = (0.4, 0.5);

/// Watches one series; everything it knows is in here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Novelty {
    inner: Option<Box<State>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    begin: f64,
    row: u64,
    time: f64,
    /// Typical seconds between rows; 0 until there are two.
    step: f64,
    features: Features,
    memories: [Memory; FEATURES],
    jumps: Jumps,
    /// Largest novelty of each block of rows, the newest block first.
    largest: [f32; REST.0],
    alerted: f64,
}

impl Detector for Novelty {
    fn step(&mut self, sample: Sample) -> Verdict {
        if !sample.value.is_finite() || !sample.time.is_finite() {
            return Verdict::default();
        }
        self.inner.get_or_insert_with(|| Box::new(State::new(sample))).step(sample)
    }
}

impl Novelty {
    /// Bytes of its state.
    pub fn bytes(&self) -> usize {
        let heap = self.inner.as_ref().map_or(0, |state| {
            size_of::<State>() + state.features.bytes() + state.memories.iter().map(Memory::bytes).sum::<usize>()
        });
        size_of::<Self>() + heap
    }
}

impl State {
    fn new(first: Sample) -> Self {
        Self {
            begin: first.time,
            row: 0,
            time: first.time,
            step: 0.0,
            features: Features::new(first.value),
            memories: Default::default(),
            jumps: Jumps::default(),
            largest: [0.0; REST.0],
            alerted: f64::NEG_INFINITY,
        }
    }

    fn step(&mut self, sample: Sample) -> Verdict {
        let elapsed = (sample.time - self.time).max(0.0);
        self.learn_step(elapsed);
        let novelty = self.novelty(sample, elapsed);
        let jump = self.jumps.see(self.row, self.step, sample.value);
        let record = self.record(novelty);
        let jump = if self.row >= WARM { jump } else { 0.0 };
        self.row += 1;
        self.time = sample.time;
        let score = score(if novelty > RECORD * record { novelty } else { 0.0 }, jump);
        let alert = score >= MOVES.0 && sample.time - self.alerted > REFRACTORY_S;
        if alert {
            self.alerted = sample.time;
        }
        Verdict { score, alert }
    }

    /// Follows the distance of rows slowly, so that a gap does not count.
    fn learn_step(&mut self, elapsed: f64) {
        if self.step == 0.0 {
            self.step = elapsed;
        } else {
            self.step += (elapsed - self.step).clamp(-0.05 * self.step, 0.05 * self.step) * 0.2;
        }
    }

    /// Mean root novelty over the views; 1 is alarming.
    fn novelty(&mut self, sample: Sample, elapsed: f64) -> f64 {
        let views = self.features.see(self.row, sample.time, sample.value);
        let hours = |seconds: f64| (seconds / 3600.0).clamp(0.0, f64::from(u16::MAX)) as u16;
        let age = sample.time - self.begin;
        let horizon = hours(age - FORGET.1.max(FORGET.0 * self.step));
        let shrink = SHRINK.0.min(elapsed / SHRINK.1) as f32;
        let sum: f64 = views
            .iter()
            .zip(&mut self.memories)
            .map(|(view, memory)| f64::from(memory.meet(*view, hours(age), horizon, shrink)).sqrt())
            .sum();
        if self.row >= WARM { sum / FEATURES as f64 / ALARMING } else { 0.0 }
    }

    /// The largest novelty of the rows before; then counts this one.
    fn record(&mut self, novelty: f64) -> f64 {
        let record = self.largest.iter().fold(0.0f32, |a, b| a.max(*b));
        if self.row.is_multiple_of(REST.1) {
            self.largest.rotate_right(1);
            self.largest[0] = 0.0;
        }
        self.largest[0] = self.largest[0].max(novelty as f32);
        f64::from(record)
    }
}

/// From strengths, of which 1 is alarming, to a score in [0, 1].
fn score(novelty: f64, jump: f64) -> f64 {
    if novelty >= 1.0 {
        return novelty / (1.0 + novelty);
    }
    if jump >= 1.0 {
        return MOVES.1 - (MOVES.1 - MOVES.0) / jump;
    }
    MOVES.0 * novelty.max(jump)
}
