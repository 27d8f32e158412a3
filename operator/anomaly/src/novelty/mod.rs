//! The statistical detector: values that are new to a series, and sudden moves.
//!
//! A value is as new as it is far from every value that is remembered, in units of the range that the series has had;
//! it is looked at in four views (`features`). A move is as alarming as it is large against the series' usual moves
//! (`jump`). Nothing about a series is known beforehand, and each row is judged before it is learnt.

mod constants;
mod features;
mod frame;
mod jump;
mod memory;
mod times;

use serde::{Deserialize, Serialize};

use crate::{
    alerting::Refractory,
    detector::{ALERT, Detector, NEW, Sample, Verdict},
};
pub use constants::Constants;
use features::{FEATURES, Features};
use jump::Jumps;
use memory::{Memory, OLDEST};

/// Rows before anything is judged.
pub const WARM: u64 = 100;
/// Blocks of rows over which the largest novelty is remembered, and rows in each.
const REST: (usize, u64) = (10, 10);
/// Watches one series; everything it knows is in here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Novelty {
    inner: Option<Box<State>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    /// The time up to which the memories have aged.
    aged: f64,
    row: u64,
    time: f64,
    /// Typical seconds between rows; 0 until there are two.
    step: f64,
    features: Features,
    memories: [Memory; FEATURES],
    jumps: Jumps,
    /// Largest novelty of each block of rows, the newest block first.
    largest: [f32; REST.0],
    refractory: Refractory,
}

impl Detector for Novelty {
    fn step(&mut self, sample: Sample) -> Verdict {
        self.judge(&Constants::DEFAULT, sample)
    }
}

/// The detector with other constants.
#[derive(Clone, Debug)]
pub struct Tuned<'a> {
    constants: &'a Constants,
    novelty: Novelty,
}

impl<'a> Tuned<'a> {
    /// One for a series of which nothing is known.
    pub fn new(constants: &'a Constants) -> Self {
        Self { constants, novelty: Novelty::default() }
    }
}

impl Detector for Tuned<'_> {
    fn step(&mut self, sample: Sample) -> Verdict {
        self.novelty.judge(self.constants, sample)
    }
}

impl Novelty {
    /// Judges the next sample, then learns it.
    pub fn judge(&mut self, constants: &Constants, sample: Sample) -> Verdict {
        if !sample.value.is_finite() || !sample.time.is_finite() {
            return Verdict::default();
        }
        self.inner.get_or_insert_with(|| Box::new(State::new(sample))).step(constants, sample)
    }

    /// Bytes of its state.
    pub fn bytes(&self) -> usize {
        let heap = self.inner.as_ref().map_or(0, |_| size_of::<State>());
        size_of::<Self>() + heap
    }
}

impl State {
    fn new(first: Sample) -> Self {
        Self {
            aged: first.time,
            row: 0,
            time: first.time,
            step: 0.0,
            features: Features::new(first.value),
            memories: Default::default(),
            jumps: Jumps::default(),
            largest: [0.0; REST.0],
            refractory: Refractory::default(),
        }
    }

    fn step(&mut self, constants: &Constants, sample: Sample) -> Verdict {
        self.refractory.set_back((self.time - sample.time).max(0.0));
        let elapsed = (sample.time - self.time).max(0.0);
        self.learn_step(elapsed);
        let novelty = self.novelty(constants, sample, elapsed);
        let judged = self.row >= WARM;
        let jump = self.jumps.see(constants, (self.row, self.time, sample, self.step), judged);
        let record = self.record(novelty);
        self.row += 1;
        self.time = sample.time;
        let novelty = if novelty > constants.record * record { novelty } else { 0.0 };
        let score = score(novelty, jump);
        let alarming = jump >= 1.0 || novelty >= constants.certain;
        let alert = alarming && self.refractory.begins(sample.time, constants.refractory);
        Verdict { score, alarming, alert }
    }

    /// Follows the distance of rows slowly, so that a gap does not count.
    fn learn_step(&mut self, elapsed: f64) {
        if self.step == 0.0 {
            self.step = elapsed;
        } else {
            self.step += (elapsed - self.step).clamp(-0.05 * self.step, 0.05 * self.step) * 0.2;
        }
    }

    /// Lets the memories age: by [`OLDEST`] in the time after which a value is forgotten.
    fn age(&mut self, constants: &Constants, time: f64) {
        let unit = constants.forget.1.max(constants.forget.0 * self.step) / f64::from(OLDEST);
        let by = ((time - self.aged) / unit).floor();
        if by >= 1.0 {
            self.aged += by * unit;
            self.memories.iter_mut().for_each(|memory| memory.age(by as u8));
        }
    }

    /// Mean root novelty over the views; 1 is alarming.
    fn novelty(&mut self, constants: &Constants, sample: Sample, elapsed: f64) -> f64 {
        self.age(constants, sample.time);
        let [roots, ..] = &self.memories;
        let (times, bulk) = ((self.time, sample.time), roots.bulk());
        let views = self.features.see(constants.profile, self.row, times, sample.value, bulk);
        let counts = [true, self.features.residual_counts(), true, true];
        let resolution = constants.resolution as f32;
        let shrink = constants.shrink.0.min(elapsed / constants.shrink.1) as f32;
        let sum: f64 = views
            .iter()
            .zip(&mut self.memories)
            .zip(counts)
            .map(|((view, memory), counts)| {
                let novelty = f64::from(memory.meet(*view, (resolution, shrink)));
                if counts { novelty.sqrt() } else { 0.0 }
            })
            .sum();
        if self.row >= WARM { sum / FEATURES as f64 / constants.novel } else { 0.0 }
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
        return NEW - (NEW - ALERT) / jump;
    }
    ALERT * novelty.max(jump)
}
