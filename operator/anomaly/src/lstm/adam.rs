//! Adam (Kingma and Ba, 2015) with a bound on the gradient's norm.

use super::Network;

/// First and second moments of every weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Steps taken.
    pub steps: u64,
    /// Exponential means of the gradient, in the order of [`Network::parameters`].
    pub mean: [Vec<f32>; 4],
    /// Exponential means of its square.
    pub square: [Vec<f32>; 4],
}

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.99;
const EPSILON: f32 = 1e-8;

impl Adam {
    /// Moments of zero for `network`.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let zeros = || network.parameters().map(|p| vec![0.0; p.len()]);
        Self { steps: 0, mean: zeros(), square: zeros() }
    }

    /// One step against `gradients`, whose norm is first cut to `bound`. A gradient that is not finite is left out whole:
    /// false is returned and nothing changes.
    pub fn step(&mut self, network: &mut Network, gradients: &Network, rate: f32, bound: f32) -> bool {
        let norm = gradients
            .parameters()
            .iter()
            .flat_map(|g| g.iter())
            .map(|g| f64::from(*g) * f64::from(*g))
            .sum::<f64>()
            .sqrt();
        if !norm.is_finite() {
            return false;
        }
        let cut = (f64::from(bound) / norm.max(1e-12)).min(1.0) as f32;
        self.steps += 1;
        let t = self.steps.min(1 << 20) as i32;
        let (c1, c2) = (1.0 - BETA1.powi(t), 1.0 - BETA2.powi(t));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((p, g), (m, v)) in network.parameters_mut().into_iter().zip(gradients.parameters()).zip(moments) {
            for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
                let g = g * cut;
                *m += (1.0 - BETA1) * (g - *m);
                *v += (1.0 - BETA2) * (g * g - *v);
                *p -= rate * (*m / c1) / ((*v / c2).sqrt() + EPSILON);
            }
        }
        true
    }
}
