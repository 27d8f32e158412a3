//! Training: batches of replayed stretches.

use super::head::{OUTPUTS, loss};
use super::inputs::INPUTS;
use super::replay::STEPS;
use super::{Forecaster, HORIZONS, LEVELS};
use crate::lstm::Tape;
use ndarray::Array2;

/// Stretches in a batch.
const BATCH: usize = 32;
/// Of these, how many are picked among the newest.
const FRESH: usize = 10;
/// Bound on the gradient's norm.
const BOUND: f32 = 1.0;

impl Forecaster {
    /// Trains as far as the rows observed since allow, at most [`super::Settings::batches`] batches. Returns how many.
    pub fn learn(&mut self) -> u32 {
        let cost = (BATCH * STEPS) as f32;
        let mut done = 0;
        while self.credit >= cost && done < self.settings.batches {
            self.credit -= cost;
            if self.replay.kept.len() >= BATCH {
                self.batch();
                done += 1;
            }
        }
        self.credit = self.credit.min(cost);
        done
    }

    fn batch(&mut self) {
        let mut tape = Tape::new(&self.network, BATCH, STEPS);
        let mut outcomes = Vec::with_capacity(BATCH);
        for window in 0..BATCH {
            let among = if window < FRESH { 4 * BATCH } else { usize::MAX };
            let Some(stretch) = self.replay.pick(among, &mut self.random) else { return };
            for (t, inputs) in stretch.inputs.chunks_exact(INPUTS).enumerate() {
                let row = tape.x.row_mut(t * BATCH + window);
                let memory = if t == 0 { stretch.hidden.as_slice() } else { &[] };
                row.into_iter().zip(inputs.iter().chain(memory)).for_each(|(x, v)| *x = *v);
            }
            tape.cell.row_mut(window).iter_mut().zip(&stretch.cell).for_each(|(x, v)| *x = *v);
            outcomes.push(&stretch.outcomes);
        }
        tape.forward(&self.network);
        let mut slopes = Array2::<f32>::zeros((BATCH * STEPS, OUTPUTS));
        let mut total = 0.0;
        let share = 1.0 / (BATCH * STEPS) as f32;
        for (r, (out, mut slope)) in tape.out.rows().into_iter().zip(slopes.rows_mut()).enumerate() {
            let known = outcomes.get(r % BATCH).and_then(|o| o.get(r / BATCH * HORIZONS..));
            let (Some(out), Some(slope), Some(known)) = (out.as_slice(), slope.as_slice_mut(), known) else { continue };
            for ((o, s), z) in out.as_chunks::<LEVELS>().0.iter().zip(slope.as_chunks_mut::<LEVELS>().0).zip(known) {
                if z.is_finite() {
                    let (loss, g) = loss(o, *z);
                    total += share * loss;
                    *s = g.map(|g| g * share);
                }
            }
        }
        let gradients = tape.backward(&self.network, &slopes);
        let [first, last] = self.settings.rates;
        let rate = last + (first - last) / (1.0 + self.learnt.batches as f32 / self.settings.cooling.max(1.0));
        if self.adam.step(&mut self.network, &gradients, rate, BOUND) {
            let smooth = if self.learnt.batches == 0 { 1.0 } else { 0.02 };
            self.learnt.loss += smooth * (f64::from(total) - self.learnt.loss);
            self.learnt.batches += 1;
        }
    }
}
