//! Stretches of series, kept to learn from again.
//!
//! A stretch holds the inputs of some rows in succession, the state of the network before them, and what then came, in the
//! units of the time. Recording costs nothing to the series' own state; with many series only some are recorded at a time.

use super::HORIZONS;
use super::inputs::{INPUTS, Start};
use crate::lstm::Random;

/// Rows of a stretch: how far errors are followed back.
pub(crate) const STEPS: usize = 32;
/// Outcomes are cut to this many units.
const FARTHEST: f32 = 30.0;

/// A finished stretch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stretch {
    /// `STEPS × INPUTS`.
    pub(crate) inputs: Vec<f32>,
    /// `STEPS × HORIZONS`, in units from the base; NaN where nothing came.
    pub(crate) outcomes: Vec<f32>,
    pub(crate) hidden: Vec<f32>,
    pub(crate) cell: Vec<f32>,
}

/// One that is being recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recording {
    pub(crate) series: u32,
    /// The row count of the series at the first step.
    pub(crate) from: u32,
    pub(crate) lead: u32,
    pub(crate) stretch: Stretch,
    /// Base and unit of every step and horizon.
    pub(crate) starts: Vec<[f32; 2 * HORIZONS]>,
}

impl Recording {
    pub(crate) fn new(series: u32, from: u32, lead: u32, hidden: &[f32], cell: &[f32]) -> Self {
        let stretch = Stretch {
            inputs: Vec::with_capacity(STEPS * INPUTS),
            outcomes: vec![f32::NAN; STEPS * HORIZONS],
            hidden: hidden.to_vec(),
            cell: cell.to_vec(),
        };
        Self { series, from, lead, stretch, starts: Vec::with_capacity(STEPS) }
    }

    /// Notes a step until there are enough.
    pub(crate) fn step(&mut self, inputs: &[f32], [near, far]: &[Start; HORIZONS]) {
        if self.starts.len() < STEPS {
            self.stretch.inputs.extend_from_slice(inputs);
            self.starts.push([near.base, near.unit, far.base, far.unit]);
        }
    }

    /// Notes that the series' row `row` was `x`; true once every step has seen its outcomes.
    pub(crate) fn outcome(&mut self, row: u32, x: f32) -> bool {
        let age = row.wrapping_sub(self.from) as usize;
        for (horizon, lead) in [1, self.lead as usize].into_iter().enumerate() {
            let Some(step) = (age + 1).checked_sub(lead) else { continue };
            let at = step * HORIZONS + horizon;
            if let (Some(starts), Some(z)) = (self.starts.get(step), self.stretch.outcomes.get_mut(at))
                && let Some([base, unit]) = starts.as_chunks().0.get(horizon)
                && *unit > 0.0
            {
                *z = ((x - base) / unit).clamp(-FARTHEST, FARTHEST);
            }
        }
        age + 1 >= STEPS - 1 + self.lead as usize
    }
}

/// The last stretches of all series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Replay {
    pub(crate) kept: Vec<Stretch>,
    pub(crate) capacity: usize,
    /// Where the next one goes.
    pub(crate) at: usize,
}

impl Replay {
    pub(crate) fn push(&mut self, stretch: Stretch) {
        match self.kept.get_mut(self.at) {
            Some(old) => *old = stretch,
            None => self.kept.push(stretch),
        }
        self.at = (self.at + 1) % self.capacity.max(1);
    }

    /// One at random among the newest `among`.
    pub(crate) fn pick(&self, among: usize, random: &mut Random) -> Option<&Stretch> {
        let n = self.kept.len();
        let back = 1 + random.below(among.min(n));
        self.kept.get((self.at + n).checked_sub(back)? % n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_meet_their_steps() {
        let mut r = Recording::new(0, 100, 3, &[], &[]);
        let mut done = false;
        // Step s is made when 100 + s rows are in; the value of row n is n.
        for row in 100..200u32 {
            let step = row - 100;
            let start = Start { base: 0.0, unit: 2.0, ..Start::default() };
            r.step(&[0.0; INPUTS], &[start; HORIZONS]);
            done = r.outcome(row, row as f32);
            if done {
                assert_eq!(step as usize, STEPS + 1, "the last step waits for its third row");
                break;
            }
        }
        assert!(done);
        for (step, z) in r.stretch.outcomes.chunks(HORIZONS).enumerate() {
            let row = 100 + step as u32;
            assert_eq!(z, [30.0f32.min(row as f32 / 2.0), 30.0f32.min((row + 2) as f32 / 2.0)]);
        }
    }

    #[test]
    fn the_newest_are_picked() {
        let mut replay = Replay { capacity: 4, ..Replay::default() };
        let mut random = Random(1);
        assert!(replay.pick(4, &mut random).is_none());
        for i in 0..10 {
            replay.push(Stretch { inputs: vec![i as f32], ..Stretch::default() });
            for _ in 0..50 {
                let got = replay.pick(2, &mut random).expect("one").inputs[0] as i32;
                assert!(got == i || got == i - 1, "{got} after {i}");
            }
        }
    }
}
