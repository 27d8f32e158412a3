//! Truncated backpropagation through time over a batch of windows.

use super::activation::tanh;
use super::{Network, rows, rows_mut};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis, Slice};

/// What a forward pass over `steps` steps of `batch` windows leaves for the backward one. Step `t` of window `b` is row
/// `t · batch + b` of every matrix.
#[derive(Clone, Debug)]
pub struct Tape {
    batch: usize,
    steps: usize,
    /// Inputs and old hidden state; the caller fills the inputs, and the hidden part of step 0.
    pub x: Array2<f32>,
    /// Cell state before each step; the caller fills step 0. One step longer than the rest.
    pub cell: Array2<f32>,
    gates: Array2<f32>,
    /// Inputs and new hidden state: what the head reads.
    top: Array2<f32>,
    /// The head's outputs.
    pub out: Array2<f32>,
}

impl Tape {
    /// Room for `steps` steps of `batch` windows through `network`.
    #[must_use]
    pub fn new(network: &Network, batch: usize, steps: usize) -> Self {
        let (k, hidden, n) = (network.gates.nrows(), network.hidden(), batch * steps);
        Self {
            batch,
            steps,
            x: Array2::zeros((n, k)),
            cell: Array2::zeros((n + batch, hidden)),
            gates: Array2::zeros((n, 4 * hidden)),
            top: Array2::zeros((n, k)),
            out: Array2::zeros((n, network.outputs())),
        }
    }

    /// Runs the windows and fills [`Tape::out`].
    pub fn forward(&mut self, network: &Network) {
        let (inputs, batch) = (network.inputs(), self.batch);
        let mut z = Array2::zeros((batch, 4 * network.hidden()));
        let mut out = Array2::zeros((batch, network.outputs()));
        for t in 0..self.steps {
            let at = t * batch;
            let mut x = rows(&self.x, at, batch).to_owned();
            let mut cell = rows(&self.cell, at, batch).to_owned();
            network.step(&mut x, &mut cell, &mut z, &mut out);
            rows_mut(&mut self.gates, at, batch).assign(&z);
            rows_mut(&mut self.cell, at + batch, batch).assign(&cell);
            rows_mut(&mut self.out, at, batch).assign(&out);
            if t + 1 < self.steps {
                let mut next = rows_mut(&mut self.x, at + batch, batch);
                next.slice_axis_mut(Axis(1), Slice::from(inputs..))
                    .assign(&x.slice_axis(Axis(1), Slice::from(inputs..)));
            }
            rows_mut(&mut self.top, at, batch).assign(&x);
        }
    }

    /// Gradients of the loss whose gradient by [`Tape::out`] is `d_out`, each in the place of its weight; the state before
    /// step 0 counts as constant.
    #[must_use]
    pub fn backward(&self, network: &Network, d_out: &Array2<f32>) -> Network {
        let (inputs, hidden, batch) = (network.inputs(), network.hidden(), self.batch);
        let mut d_z = Array2::<f32>::zeros(self.gates.raw_dim());
        // What the head says of each hidden state, for all steps at once.
        let d_top = d_out.dot(&network.head.slice_axis(Axis(0), Slice::from(inputs..)).t());
        let recurrent = network.gates.slice_axis(Axis(0), Slice::from(inputs..));
        let mut d_h = Array2::<f32>::zeros((batch, hidden));
        let mut d_c = Array2::<f32>::zeros((batch, hidden));
        for t in (0..self.steps).rev() {
            let at = t * batch;
            d_h += &rows(&d_top, at, batch);
            for b in 0..batch {
                let r = at + b;
                let (gates, before, after) = (self.gates.row(r), self.cell.row(r), self.cell.row(r + batch));
                let (mut dz, mut dc, dh) = (d_z.row_mut(r), d_c.row_mut(b), d_h.row(b));
                if let (Some(gates), Some(before), Some(after), Some(dz), Some(dc), Some(dh)) = (
                    gates.as_slice(),
                    before.as_slice(),
                    after.as_slice(),
                    dz.as_slice_mut(),
                    dc.as_slice_mut(),
                    dh.as_slice(),
                ) {
                    pulp::Arch::new().dispatch(GateGradients { hidden, gates, before, after, dz, dc, dh });
                }
            }
            general_mat_mul(1.0, &rows(&d_z, at, batch), &recurrent.t(), 0.0, &mut d_h);
        }
        Network {
            gates: self.x.t().dot(&d_z).as_standard_layout().into_owned(),
            gate_bias: d_z.sum_axis(Axis(0)),
            head: self.top.t().dot(d_out).as_standard_layout().into_owned(),
            head_bias: d_out.sum_axis(Axis(0)),
        }
    }
}

/// Of one row and step: gradients by the gates' sums into `dz`; `dc` goes from the new cell state to the old one.
struct GateGradients<'a> {
    hidden: usize,
    gates: &'a [f32],
    before: &'a [f32],
    after: &'a [f32],
    dz: &'a mut [f32],
    dc: &'a mut [f32],
    dh: &'a [f32],
}

impl pulp::WithSimd for GateGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { hidden, gates, before, after, dz, dc, dh } = self;
        let (i, rest) = gates.split_at(hidden);
        let (f, rest) = rest.split_at(hidden);
        let (g, o) = rest.split_at(hidden);
        let (di, rest) = dz.split_at_mut(hidden);
        let (df, rest) = rest.split_at_mut(hidden);
        let (dg, d_o) = rest.split_at_mut(hidden);
        // Of the output gate first, where the squashed cell stands in between.
        for ((d_o, after), ((dc, dh), o)) in d_o.iter_mut().zip(after).zip(dc.iter_mut().zip(dh).zip(o)) {
            let squashed = tanh(*after);
            *dc += dh * o * (1.0 - squashed * squashed);
            *d_o = dh * squashed * o * (1.0 - o);
        }
        for (((di, dg), d), (i, g)) in di.iter_mut().zip(dg).zip(dc.iter()).zip(i.iter().zip(g)) {
            *di = d * g * i * (1.0 - i);
            *dg = d * i * (1.0 - g * g);
        }
        for (((df, before), f), d) in df.iter_mut().zip(before).zip(f).zip(dc) {
            *df = *d * before * f * (1.0 - f);
            *d *= f;
        }
    }
}
