//! What the network sees of a series: everything in the series' own units, squashed to about ±10.

use super::clock::Clock;
use super::state::{EXPERTS, State};
use super::{HORIZONS, LEVELS, QUANTILES};
use crate::lstm::activation::ln;

/// Number of inputs.
pub(crate) const INPUTS: usize = 38;

/// Inputs that may be large: experts, ranks of the last values, distances from both ends of the range, the last error.
const WIDE: usize = HORIZONS * EXPERTS + LEVELS - 1 + 3;

/// A horizon's starting point.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    pub(crate) base: f32,
    pub(crate) unit: f32,
    pub(crate) experts: [f32; EXPERTS],
}

/// Fills `x` with the inputs of `state` at `now`, and says where each horizon starts; `then` are the moments forecast.
pub(crate) fn fill(state: &State, now: &Clock, then: [&Clock; HORIZONS], x: &mut [f32]) -> [Start; HORIZONS] {
    let mut starts = [Start::default(); HORIZONS];
    let mut wide = [0.0; WIDE];
    let (of_experts, others) = wide.split_at_mut(HORIZONS * EXPERTS);
    for (k, (start, (then, unit))) in starts.iter_mut().zip(then.into_iter().zip(state.units())).enumerate() {
        let experts = state.experts(then);
        *start = Start { base: state.mix(k, &experts), unit, experts };
        let scale = 1.0 / unit.max(1e-30);
        let row = of_experts.iter_mut().skip(k * EXPERTS);
        row.zip(experts).for_each(|(w, e)| *w = (e - start.base) * scale);
    }
    let [near, far] = starts;
    let scale = 1.0 / near.unit.max(1e-30);
    let ranks =
        QUANTILES.into_iter().filter(|q| *q != 0.5).map(|level| (state.recent.quantile(level) - near.base) * scale);
    let ends = [(state.last - state.low) * scale, (state.high - state.last) * scale, state.error];
    others.iter_mut().zip(ranks.chain(ends)).for_each(|(w, v)| *w = v);
    // All at once, which the processor does some at a time.
    wide.iter_mut().for_each(|w| *w = squash(*w));
    let mut inputs = x.iter_mut();
    let mut put = |v: f32| {
        if let Some(slot) = inputs.next() {
            *slot = v;
        }
    };
    let mut wide = wide.into_iter();
    wide.by_ref().take(HORIZONS * EXPERTS + LEVELS - 1).for_each(&mut put);
    state.volatility.iter().for_each(|v| put(ratio(*v, near.unit)));
    put(ratio(far.unit, near.unit));
    now.waves.iter().for_each(|w| put(*w));
    put(0.3 * ln(state.step.max(1.0) / 300.0));
    put(state.rows as f32 / (state.rows as f32 + 1000.0));
    wide.for_each(&mut put);
    for then in then {
        let busy = state.busy.slot(then.hour);
        put(if busy.is_finite() { ratio(busy, near.unit) } else { 0.0 });
    }
    put(state.same);
    let [_, [.., slow, _, day, _, _, _]] = state.miss;
    put(0.3 * ratio(day, slow));
    starts
}

/// About `v` for small `v`, never beyond ±10; 0 for what is not finite.
#[inline(always)]
fn squash(v: f32) -> f32 {
    let v = v.clamp(-1e6, 1e6);
    if v.is_finite() { v / (1.0 + 0.01 * v * v).sqrt() } else { 0.0 }
}

/// Logarithm of a ratio of two amounts that may both be 0, within ±7.
fn ratio(a: f32, b: f32) -> f32 {
    ln((a + 1e-3 * b + 1e-35) / (b + 1e-3 * a + 1e-35))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_finite_and_bounded_whatever_comes() {
        let mut state = State::default();
        let values = [0.0, 0.0, 1e-38, -1e29, 1e29, 3.0, 3.0, 1e-20, f32::MIN_POSITIVE, 7.0];
        for (i, v) in values.iter().cycle().take(300).enumerate() {
            let time = i as f64 * 60.0;
            let now = Clock::at(time);
            state.settle(&now, *v);
            state.take(time, &now, *v);
            let mut x = [f32::NAN; INPUTS];
            let starts = fill(&state, &now, [&now, &now], &mut x);
            for (k, v) in x.iter().enumerate() {
                assert!(v.is_finite() && v.abs() <= 10.01, "input {k} of row {i} is {v}");
            }
            for s in starts {
                assert!(s.base.is_finite() && s.unit.is_finite() && s.unit >= 0.0, "row {i}: {s:?}");
            }
        }
    }
}
