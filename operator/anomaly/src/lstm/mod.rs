//! One LSTM layer and a linear head over it, for many series at once; truncated backpropagation through time; Adam.
//!
//! Rows are series and columns are units, so that one product of matrices serves all series of a block.
//! Gates stand in the order input, forget, cell, output, as in cuDNN and candle.

pub(crate) mod activation;
mod adam;
#[cfg(test)]
mod gradient_tests;
mod train;

pub use adam::Adam;
pub use train::Tape;

use activation::{sigmoid, tanh};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Slice};
use serde::{Deserialize, Serialize};

/// The weights: an LSTM of `hidden` units over `inputs` values, and a head of `outputs` values that is linear in the new
/// hidden state and in the inputs themselves (so that what is linear need not be learnt through the gates).
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// `(inputs + hidden) × 4 hidden`: gates from `[x | h]`.
    pub gates: Array2<f32>,
    /// `4 hidden`.
    pub gate_bias: Array1<f32>,
    /// `(inputs + hidden) × outputs`: head from `[x | h']`.
    pub head: Array2<f32>,
    /// `outputs`.
    pub head_bias: Array1<f32>,
}

impl Network {
    /// Fresh weights: gates uniform in ±1/√hidden from `seed`, forget gates open, head zero. A new network thus returns
    /// its head's bias whatever it reads.
    #[must_use]
    pub fn new(inputs: usize, hidden: usize, outputs: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let bound = 1.0 / (hidden as f32).sqrt();
        let gates = Array2::from_shape_simple_fn((inputs + hidden, 4 * hidden), || bound * (2.0 * random.unit() - 1.0));
        let mut gate_bias = Array1::zeros(4 * hidden);
        gate_bias.iter_mut().skip(hidden).take(hidden).for_each(|b| *b = 1.0);
        Self { gates, gate_bias, head: Array2::zeros((inputs + hidden, outputs)), head_bias: Array1::zeros(outputs) }
    }

    /// Number of hidden units.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.gate_bias.len() / 4
    }

    /// Number of inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.gates.nrows() - self.hidden()
    }

    /// Number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.head_bias.len()
    }

    /// One step for `n` series. `x` is `n × (inputs + hidden)` and holds inputs and old hidden state; on return its
    /// hidden part is the new state. `cell` is `n × hidden`, `z` (`n × 4 hidden`) ends as the activated gates,
    /// `out` is `n × outputs`.
    pub fn step(&self, x: &mut Array2<f32>, cell: &mut Array2<f32>, z: &mut Array2<f32>, out: &mut Array2<f32>) {
        let (inputs, hidden) = (self.inputs(), self.hidden());
        z.assign(&self.gate_bias);
        general_mat_mul(1.0, x, &self.gates, 1.0, z);
        if let (Some(gates), Some(cell), Some(x)) = (z.as_slice_mut(), cell.as_slice_mut(), x.as_slice_mut()) {
            pulp::Arch::new().dispatch(Activate { gates, cell, x, inputs, hidden });
        }
        self.project(&x.view(), out);
    }

    /// The head alone: `out = [x | h'] · head + bias`.
    fn project(&self, x: &ArrayView2<f32>, out: &mut Array2<f32>) {
        out.assign(&self.head_bias);
        general_mat_mul(1.0, x, &self.head, 1.0, out);
    }

    /// All weights as slices, in a fixed order.
    #[must_use]
    pub fn parameters(&self) -> [&[f32]; 4] {
        [
            self.gates.as_slice().unwrap_or_default(),
            self.gate_bias.as_slice().unwrap_or_default(),
            self.head.as_slice().unwrap_or_default(),
            self.head_bias.as_slice().unwrap_or_default(),
        ]
    }

    /// All weights as mutable slices, in the order of [`Network::parameters`].
    pub fn parameters_mut(&mut self) -> [&mut [f32]; 4] {
        [
            self.gates.as_slice_mut().unwrap_or_default(),
            self.gate_bias.as_slice_mut().unwrap_or_default(),
            self.head.as_slice_mut().unwrap_or_default(),
            self.head_bias.as_slice_mut().unwrap_or_default(),
        ]
    }
}

/// Gates, new cell and new hidden state of every row. Lengths agree by construction; zips stop at the shortest. A type of
/// its own and not a closure, which would be compiled apart from its caller and so without the vector units.
struct Activate<'a> {
    gates: &'a mut [f32],
    cell: &'a mut [f32],
    x: &'a mut [f32],
    inputs: usize,
    hidden: usize,
}

impl pulp::WithSimd for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { gates, cell, x, inputs, hidden } = self;
        let rows = gates
            .chunks_exact_mut(4 * hidden)
            .zip(cell.chunks_exact_mut(hidden))
            .zip(x.chunks_exact_mut(inputs + hidden));
        for ((z, c), x) in rows {
            // Short loops over few slices each, which become vector instructions.
            let (i_f, g_o) = z.split_at_mut(2 * hidden);
            i_f.iter_mut().for_each(|v| *v = sigmoid(*v));
            let (g, o) = g_o.split_at_mut(hidden);
            g.iter_mut().for_each(|v| *v = tanh(*v));
            o.iter_mut().for_each(|v| *v = sigmoid(*v));
            let (i, f) = i_f.split_at(hidden);
            for ((c, f), (i, g)) in c.iter_mut().zip(f).zip(i.iter().zip(g)) {
                *c = *f * *c + *i * *g;
            }
            let (_, h) = x.split_at_mut(inputs);
            for (h, (c, o)) in h.iter_mut().zip(c.iter().zip(o)) {
                *h = *o * tanh(*c);
            }
        }
    }
}

/// SplitMix64: small, seedable, the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
}

/// Rows of `a` from `from`, `count` of them.
fn rows(a: &Array2<f32>, from: usize, count: usize) -> ArrayView2<'_, f32> {
    a.slice_axis(Axis(0), Slice::from(from..from + count))
}

/// The same to write to.
fn rows_mut(a: &mut Array2<f32>, from: usize, count: usize) -> ArrayViewMut2<'_, f32> {
    a.slice_axis_mut(Axis(0), Slice::from(from..from + count))
}
