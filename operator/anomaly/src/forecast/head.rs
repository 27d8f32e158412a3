//! From the network's outputs to quantiles, and the pinball loss by which it learns.
//!
//! Five outputs for each horizon: the middle one is the median, the others become positive distances outwards, so that
//! quantiles never cross. All in units of the series, from the horizon's base.

use super::{HORIZONS, LEVELS, QUANTILES};
use crate::lstm::activation::{sigmoid, softplus};

/// Outputs of the network.
pub(crate) const OUTPUTS: usize = HORIZONS * LEVELS;

/// Bias of a new head: the quantiles of a Laplace distribution with mean distance 1, the inverse softplus of ln 2 and ln 5.
pub(crate) fn bias() -> [f32; OUTPUTS] {
    let (inner, outer) = (0.0, 1.386_3);
    let horizon = [outer, inner, 0.0, inner, outer];
    std::array::from_fn(|i| horizon.get(i % LEVELS).copied().unwrap_or_default())
}

/// The quantiles that the outputs `o` of one horizon mean.
#[inline(always)]
pub(crate) fn quantiles(o: &[f32; LEVELS]) -> [f32; LEVELS] {
    spread(o, &o.map(softplus))
}

/// The same, with [`softplus`] of the outputs at hand.
#[inline(always)]
pub(crate) fn spread(o: &[f32; LEVELS], soft: &[f32; LEVELS]) -> [f32; LEVELS] {
    let ([_, _, median, _, _], [a, b, _, c, d]) = (*o, *soft);
    let (lower, upper) = (median - b, median + c);
    [lower - a, lower, median, upper, upper + d]
}

/// Pinball loss of `quantiles` for the outcome `z`, summed over the levels, in any unit.
#[must_use]
pub(crate) fn pinball(z: f64, quantiles: &[f64; LEVELS]) -> f64 {
    let levels = QUANTILES.into_iter().zip(quantiles);
    levels.map(|(level, q)| if z >= *q { f64::from(level) * (z - q) } else { (1.0 - f64::from(level)) * (q - z) }).sum()
}

/// Loss of outputs `o` for the outcome `z`, and its gradient by `o`. The pinball loss's corner is rounded over ±0.05 units.
pub(crate) fn loss(o: &[f32; LEVELS], z: f32) -> (f32, [f32; LEVELS]) {
    const ROUND: f32 = 0.05;
    let q = quantiles(o);
    let mut loss = 0.0;
    let mut g = [0.0; LEVELS];
    for ((g, q), level) in g.iter_mut().zip(q).zip(QUANTILES) {
        let e = z - q;
        // The antiderivative of a share below that falls from 1 to 0 over the rounding.
        let below = (0.5 - e / (2.0 * ROUND)).clamp(0.0, 1.0);
        *g = below - level;
        loss += level * e
            + if e <= -ROUND {
                -e
            } else if e < ROUND {
                (ROUND - e) * (ROUND - e) / (4.0 * ROUND)
            } else {
                0.0
            };
    }
    let [a, b, c, d, e] = g;
    let [oa, ob, _, od, oe] = *o;
    (loss, [-a * sigmoid(oa), -(a + b) * sigmoid(ob), a + b + c + d + e, (d + e) * sigmoid(od), e * sigmoid(oe)])
}

#[cfg(test)]
mod tests {
    use std::f32::consts::{LN_2, LN_10};

    use super::*;
    use crate::lstm::Random;

    #[test]
    fn quantiles_never_cross_and_a_new_head_is_laplace() {
        let [horizon @ .., _, _, _, _, _] = bias();
        let q = quantiles(&horizon);
        for (got, want) in q.into_iter().zip([-LN_10, -LN_2, 0.0, LN_2, LN_10]) {
            assert!((got - want).abs() < 1e-3, "{q:?}");
        }
        let mut random = Random(5);
        for _ in 0..1000 {
            let o = std::array::from_fn(|_| 40.0 * (random.unit() - 0.5));
            assert!(quantiles(&o).is_sorted(), "{o:?}");
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut random = Random(9);
        for _ in 0..500 {
            let o: [f32; LEVELS] = std::array::from_fn(|_| 4.0 * (random.unit() - 0.5));
            let z = 6.0 * (random.unit() - 0.5);
            let (_, g) = loss(&o, z);
            for i in 0..LEVELS {
                let h = 1e-2;
                let at = |d: f32| {
                    let mut o = o;
                    o[i] += d;
                    loss(&o, z).0
                };
                let slope = (at(h) - at(-h)) / (2.0 * h);
                assert!((slope - g[i]).abs() < 0.06, "output {i} of {o:?} at {z}: {slope}, {}", g[i]);
            }
        }
    }

    #[test]
    fn pinball_is_least_at_the_quantiles() {
        let outcomes: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
        let total = |q: [f64; LEVELS]| outcomes.iter().map(|z| pinball(*z, &q)).sum::<f64>();
        let best = total([0.05, 0.25, 0.5, 0.75, 0.95]);
        for i in 0..LEVELS {
            for d in [-0.02, 0.02] {
                let mut q = [0.05, 0.25, 0.5, 0.75, 0.95];
                q[i] += d;
                assert!(total(q) > best);
            }
        }
    }
}
