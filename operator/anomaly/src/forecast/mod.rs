//! Expected values with bands, learnt while they are made: one small LSTM shared by all series.
//!
//! For each row the forecaster says five quantiles of the next row and of the row `lead` seconds ahead. Each starts from a
//! mixture of simple forecasts weighted by how well they did on this series; the network corrects it, says how wide the
//! band is, and learns from replayed stretches of all series; conformal offsets per series and quantile keep the
//! coverage. Only what came before a row is used for its forecast.

pub mod baseline;
pub mod budget;
mod clock;
pub mod evaluate;
mod head;
mod inputs;
mod learn;
mod profile;
mod recent;
mod replay;
pub mod share;
pub mod snapshot;
mod state;
#[cfg(test)]
mod tests;
pub mod vote;

use crate::lstm::activation::Soften;
use crate::lstm::{Adam, Network, Random};
use clock::Clock;
use half::f16;
use half::slice::HalfFloatSliceExt;
use head::{OUTPUTS, bias, spread};
use inputs::{INPUTS, Start, fill};
use ndarray::Array2;
use replay::{Recording, Replay};
use state::{LIMIT, State};

/// The levels of the quantiles: the 90 % band, the quartiles, the median.
pub const QUANTILES: [f32; LEVELS] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Number of [`QUANTILES`].
pub const LEVELS: usize = 5;
/// Moments forecast for each row: the next row, and `lead` seconds ahead.
pub const HORIZONS: usize = 2;

/// Series that go through the network together: few enough to stay in the cache.
const BLOCK: usize = 128;
/// Rows of a series before it is recorded to learn from.
const RIPE: u32 = 20;
/// No recording of a series.
const NOT: u32 = u32::MAX;

/// How the forecaster works. The defaults serve all kinds of series; nothing here is fitted to one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How far the farther forecast looks, in seconds.
    pub lead: f32,
    /// Hidden units of the LSTM.
    pub hidden: usize,
    /// Steps trained on for each row seen.
    pub replay: f32,
    /// At most this many batches of 1,024 steps for one call of [`Forecaster::observe`]; more are dropped.
    pub batches: u32,
    /// Series recorded at a time, to learn from.
    pub recordings: usize,
    /// Recorded stretches of 32 rows that are kept.
    pub stretches: usize,
    /// Rate of Adam at the start and in the long run.
    pub rates: [f32; 2],
    /// Batches after which half of the difference between the two rates is gone.
    pub cooling: f32,
    /// Of all chance: fresh weights and what is replayed.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lead: 1800.0,
            hidden: 32,
            replay: 8.0,
            batches: 1,
            recordings: 256,
            stretches: 2048,
            rates: [3e-3, 5e-4],
            cooling: 2000.0,
            seed: 1,
        }
    }
}

/// A sample of one of the forecaster's series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// As given by [`Forecaster::add`].
    pub series: usize,
    /// Seconds since 1970; a series' rows come in order.
    pub time: f64,
    /// A value that is not finite, or that lies beyond 1e30 of the first one, is passed over.
    pub value: f64,
}

/// What a series is expected to do, as it was known at one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// The series.
    pub series: usize,
    /// Seconds since the series' first row.
    pub age: f64,
    /// This row against the band forecast for it: 0 at the median, ±1 at the edges of the 90 % band. NaN if none was.
    pub surprise: f64,
    /// How one-sidedly the series has left its own day and week over the last hours: ±1 if every row lay on one side by the
    /// usual error; 0 if rows scatter around them, and in the first two days. Slow drifts show here that no single row shows.
    pub drift: f64,
    /// Quantiles of the next row's value, at the levels of [`QUANTILES`].
    pub next: [f64; LEVELS],
    /// Quantiles of the value `lead_rows` rows ahead.
    pub later: [f64; LEVELS],
    /// Rows that make up the lead, at the series' own step.
    pub lead_rows: u32,
}

/// All series and the network they share.
#[derive(Clone, Debug)]
pub struct Forecaster {
    settings: Settings,
    network: Network,
    adam: Adam,
    random: Random,
    states: Vec<State>,
    /// `series × hidden` each.
    hidden: Vec<f16>,
    cell: Vec<f16>,
    /// Of each series: its place in `recordings`.
    recorded: Vec<u32>,
    recordings: Vec<Recording>,
    replay: Replay,
    /// Steps of training that are due.
    credit: f32,
    learnt: Learnt,
    scratch: Scratch,
}

/// What training has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learnt {
    /// Batches of 1,024 steps.
    pub batches: u64,
    /// Smoothed loss of the last batches: pinball loss in units of the series, summed over levels and horizons.
    pub loss: f64,
}

/// Matrices of one block and its starting points: kept so that they are not allocated for each block.
#[derive(Clone, Debug, Default)]
struct Scratch {
    x: Array2<f32>,
    cell: Array2<f32>,
    gates: Array2<f32>,
    out: Array2<f32>,
    /// Softplus of `out`.
    soft: Array2<f32>,
    starts: Vec<[Start; HORIZONS]>,
    live: Vec<Live>,
}

/// A row of the block that is not passed over.
#[derive(Clone, Copy, Debug)]
struct Live {
    series: usize,
    surprise: f64,
}

impl Forecaster {
    /// One without series, with fresh weights: until it has learnt something its median is the mixture of simple forecasts.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let settings = Settings { hidden: settings.hidden.max(1), stretches: settings.stretches.max(1), ..settings };
        let mut network = Network::new(INPUTS, settings.hidden, OUTPUTS, settings.seed);
        network.head_bias.iter_mut().zip(bias()).for_each(|(b, start)| *b = start);
        Self {
            adam: Adam::new(&network),
            random: Random(settings.seed),
            replay: Replay { capacity: settings.stretches, ..Replay::default() },
            settings,
            network,
            states: Vec::new(),
            hidden: Vec::new(),
            cell: Vec::new(),
            recorded: Vec::new(),
            recordings: Vec::new(),
            credit: 0.0,
            learnt: Learnt::default(),
            scratch: Scratch::default(),
        }
    }

    /// A further series, of which nothing is known.
    pub fn add(&mut self) -> usize {
        self.states.push(State::default());
        self.recorded.push(NOT);
        self.hidden.resize(self.states.len() * self.settings.hidden, f16::ZERO);
        self.cell.resize(self.hidden.len(), f16::ZERO);
        self.states.len() - 1
    }

    /// Number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Forgets a series, so that its number can stand for another.
    pub fn reset(&mut self, series: usize) {
        if let Some(state) = self.states.get_mut(series) {
            *state = State::default();
            let at = series * self.settings.hidden;
            for memory in [&mut self.hidden, &mut self.cell] {
                memory.iter_mut().skip(at).take(self.settings.hidden).for_each(|v| *v = f16::ZERO);
            }
            self.stop_recording(series);
        }
    }

    /// What training has done so far.
    #[must_use]
    pub fn learnt(&self) -> Learnt {
        self.learnt
    }

    /// The network as it is now.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Bytes of memory held for each series.
    #[must_use]
    pub fn bytes_per_series(&self) -> usize {
        size_of::<State>() + size_of::<u32>() + 2 * self.settings.hidden * size_of::<f16>()
    }

    /// Takes in one row of each of some series, each series at most once, and says what is to be expected of them.
    /// Appends to `outlooks`, in the order of `rows`, one for each row that is not passed over. Learning is done by
    /// [`Forecaster::learn`].
    pub fn observe(&mut self, rows: &[Row], outlooks: &mut Vec<Outlook>) {
        for block in rows.chunks(BLOCK) {
            self.block(block, outlooks);
        }
    }

    fn block(&mut self, rows: &[Row], outlooks: &mut Vec<Outlook>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.fit(rows.len(), self.settings.hidden);
        let mut clocks = [Clock::at(0.0); 1 + HORIZONS];
        for row in rows {
            self.read(row, &mut clocks, &mut scratch);
        }
        if scratch.live.len() != rows.len() {
            scratch.cut(self.settings.hidden);
        }
        let Scratch { x, cell, gates, out, soft, .. } = &mut scratch;
        self.network.step(x, cell, gates, out);
        soft.assign(out);
        if let Some(values) = soft.as_slice_mut() {
            pulp::Arch::new().dispatch(Soften(values));
        }
        for at in 0..scratch.live.len() {
            outlooks.extend(self.say(at, &scratch));
        }
        self.credit += scratch.live.len() as f32 * self.settings.replay;
        self.scratch = scratch;
    }

    /// Takes a row into its series and writes the network's inputs for it.
    fn read(&mut self, row: &Row, clocks: &mut [Clock; 1 + HORIZONS], scratch: &mut Scratch) {
        let (hidden, at) = (self.settings.hidden, scratch.live.len());
        let Some(state) = self.states.get_mut(row.series) else { return };
        if state.rows == 0 {
            state.anchor = row.value;
        }
        let relative = row.value - state.anchor;
        if !(relative.abs() < LIMIT && row.time.is_finite()) {
            return;
        }
        let value = relative as f32;
        let [now, next, later] = clocks;
        let now = now.move_to(row.time);
        let broken = state.rows > 8 && row.time - state.time > 2.5 * f64::from(state.step);
        if broken {
            state.forget_promises();
        }
        let surprise = state.surprise(value);
        state.settle(&now, value);
        let recording = self.recorded.get(row.series).copied().unwrap_or(NOT);
        if broken {
            self.stop_recording(row.series);
        } else if let Some(recording) = self.recordings.get_mut(recording as usize)
            && recording.outcome(state.rows, value)
        {
            self.replay.push(std::mem::take(&mut recording.stretch));
            self.stop_recording(row.series);
        }
        let Some(state) = self.states.get_mut(row.series) else { return };
        state.take(row.time, &now, value);
        let lead = state.lead(self.settings.lead);
        let next = next.move_to(row.time + f64::from(state.step));
        let later = later.move_to(row.time + f64::from(state.step) * f64::from(lead));
        let mut line = scratch.x.row_mut(at);
        let Some((inputs, memory)) = line.as_slice_mut().and_then(|x| x.split_at_mut_checked(INPUTS)) else { return };
        let starts = fill(state, &now, [&next, &later], inputs);
        let place = row.series * hidden..(row.series + 1) * hidden;
        let mut cell = scratch.cell.row_mut(at);
        if let (Some(h), Some(c), Some(cell)) =
            (self.hidden.get(place.clone()), self.cell.get(place), cell.as_slice_mut())
        {
            h.convert_to_f32_slice(memory);
            c.convert_to_f32_slice(cell);
            self.record(row.series, lead, inputs, &starts, memory, cell);
        }
        scratch.starts.push(starts);
        scratch.live.push(Live { series: row.series, surprise });
    }

    /// Adds a step to the recording of a series, or begins one if a place is free.
    fn record(&mut self, series: usize, lead: u32, inputs: &[f32], starts: &[Start; HORIZONS], h: &[f32], c: &[f32]) {
        let (Some(place), Some(state)) = (self.recorded.get_mut(series), self.states.get(series)) else { return };
        if *place == NOT {
            let free = self.settings.recordings.saturating_sub(self.recordings.len());
            if state.rows < RIPE || free == 0 || self.random.below(self.states.len()) >= free {
                return;
            }
            *place = self.recordings.len() as u32;
            self.recordings.push(Recording::new(series as u32, state.rows, lead, h, c));
        }
        if let Some(recording) = self.recordings.get_mut(*place as usize) {
            recording.step(inputs, starts);
        }
    }

    fn stop_recording(&mut self, series: usize) {
        let Some(place) = self.recorded.get_mut(series).map(|p| std::mem::replace(p, NOT)) else { return };
        if (place as usize) < self.recordings.len() {
            self.recordings.swap_remove(place as usize);
            if let Some(moved) = self.recordings.get(place as usize)
                && let Some(of_moved) = self.recorded.get_mut(moved.series as usize)
            {
                *of_moved = place;
            }
        }
    }

    /// Keeps the network's new state for row `at` of the block, and makes its quantiles.
    fn say(&mut self, at: usize, scratch: &Scratch) -> Option<Outlook> {
        let (live, starts) = (scratch.live.get(at)?, scratch.starts.get(at)?);
        let hidden = self.settings.hidden;
        let place = live.series * hidden..(live.series + 1) * hidden;
        let (x, cell) = (scratch.x.row(at), scratch.cell.row(at));
        let (out, soft) = (scratch.out.row(at), scratch.soft.row(at));
        self.hidden.get_mut(place.clone())?.convert_from_f32_slice(x.as_slice()?.get(INPUTS..)?);
        self.cell.get_mut(place)?.convert_from_f32_slice(cell.as_slice()?);
        let state = self.states.get_mut(live.series)?;
        let lead = state.lead(self.settings.lead);
        let mut said = [[0.0; LEVELS]; HORIZONS];
        let outputs = out.as_slice()?.as_chunks::<LEVELS>().0.iter().zip(soft.as_slice()?.as_chunks::<LEVELS>().0);
        for (k, ((said, (outputs, soft)), start)) in said.iter_mut().zip(outputs).zip(starts).enumerate() {
            let quantiles = state.calibrate(k, start, &spread(outputs, soft));
            *said = quantiles.map(|q| state.anchor + f64::from(q));
            state.promise(k, lead, start, quantiles);
        }
        let [next, later] = said;
        Some(Outlook {
            series: live.series,
            age: state.time - state.first,
            surprise: live.surprise,
            drift: state.drift(),
            next,
            later,
            lead_rows: lead,
        })
    }
}

impl Scratch {
    /// Room for `n` rows.
    fn fit(&mut self, n: usize, hidden: usize) {
        self.starts.clear();
        self.live.clear();
        if self.x.nrows() != n {
            self.size(n, hidden);
        }
    }

    fn size(&mut self, n: usize, hidden: usize) {
        self.x = Array2::zeros((n, INPUTS + hidden));
        self.cell = Array2::zeros((n, hidden));
        self.gates = Array2::zeros((n, 4 * hidden));
        self.out = Array2::zeros((n, OUTPUTS));
        self.soft = Array2::zeros((n, OUTPUTS));
    }

    /// Drops the rows beyond those that are live.
    fn cut(&mut self, hidden: usize) {
        let (x, cell) = (std::mem::take(&mut self.x), std::mem::take(&mut self.cell));
        self.size(self.live.len(), hidden);
        self.x.iter_mut().zip(x).for_each(|(new, old)| *new = old);
        self.cell.iter_mut().zip(cell).for_each(|(new, old)| *new = old);
    }
}
