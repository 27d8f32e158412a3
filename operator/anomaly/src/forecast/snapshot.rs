//! The forecaster as bytes, to the last bit.
//!
//! Layout, little-endian: eight bytes that name the format and its version, the settings, the network with Adam's moments,
//! every series, what is recorded and kept to learn from, and a checksum (FNV-1a, 64 bits) of all before it.

use super::profile::Profile;
use super::recent::Recent;
use super::replay::{Recording, Replay, Stretch};
use super::state::{Promise, State};
use super::{Forecaster, Learnt, Scratch, Settings};
use crate::lstm::{Adam, Network, Random};
use half::f16;
use ndarray::{Array1, Array2};
use std::fmt;

const FORMAT: &[u8; 8] = b"PLMFC\0\0\x04";

/// Why bytes are no snapshot of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Another format or version.
    Format,
    /// Cut short or damaged.
    Damaged,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "not a snapshot of a forecaster, or of another version",
            Self::Damaged => "the snapshot is cut short or damaged",
        })
    }
}

impl std::error::Error for Broken {}

/// Something with a fixed place in the layout.
pub(super) trait Field: Sized {
    fn put(&self, to: &mut Vec<u8>);
    /// None if the bytes end before it does, or cannot be it.
    fn get(from: &mut &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
            fn get(from: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(Self::from_le_bytes(*bytes))
            }
        }
    )*};
}
numbers!(u8, u32, u64, f32, f64, f16);

impl Field for usize {
    fn put(&self, to: &mut Vec<u8>) {
        (*self as u64).put(to);
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        usize::try_from(u64::get(from)?).ok()
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    fn put(&self, to: &mut Vec<u8>) {
        self.iter().for_each(|v| v.put(to));
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        (0..N).map(|_| T::get(from)).collect::<Option<Vec<T>>>()?.try_into().ok()
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        self.len().put(to);
        self.iter().for_each(|v| v.put(to));
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        let n = usize::get(from)?;
        // Every element takes a byte at least, so a wrong length cannot ask for much memory.
        if n > from.len() {
            return None;
        }
        (0..n).map(|_| T::get(from)).collect()
    }
}

impl Field for Array1<f32> {
    fn put(&self, to: &mut Vec<u8>) {
        self.to_vec().put(to);
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        Some(Self::from(Vec::get(from)?))
    }
}

impl Field for Array2<f32> {
    fn put(&self, to: &mut Vec<u8>) {
        self.nrows().put(to);
        self.iter().copied().collect::<Vec<f32>>().put(to);
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        let rows = usize::get(from)?;
        let all = Vec::<f32>::get(from)?;
        let columns = all.len().checked_div(rows)?;
        Self::from_shape_vec((rows, columns), all).ok()
    }
}

/// Fields in order. A struct is taken apart without `..`: what is new cannot be forgotten.
macro_rules! fields {
    ($($type:ty { $($field:ident),* })*) => {$(
        impl Field for $type {
            fn put(&self, to: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(to);)*
            }
            fn get(from: &mut &[u8]) -> Option<Self> {
                $(let $field = Field::get(from)?;)*
                Some(Self { $($field),* })
            }
        }
    )*};
}

fields! {
    Settings { lead, hidden, replay, batches, recordings, stretches, rates, cooling, seed }
    Network { gates, gate_bias, head, head_bias }
    Adam { steps, mean, square }
    Learnt { batches, loss }
    Recent { values, order, len, at }
    Promise { due, base, unit, quantiles, experts }
    State {
        anchor, first, time, step, rows, last, ewma, gap, lean, usual, low, high, volatility, busy, error, same, unit, judged, miss,
        offset, recent, day, week, next, later
    }
    Stretch { inputs, outcomes, hidden, cell }
    Recording { series, from, lead, stretch, starts }
    Replay { kept, capacity, at }
}

impl<const N: usize> Field for Profile<N> {
    fn put(&self, to: &mut Vec<u8>) {
        let Self { slots, scale, open, mean } = self;
        slots.put(to);
        scale.put(to);
        open.put(to);
        mean.put(to);
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            slots: Field::get(from)?,
            scale: Field::get(from)?,
            open: Field::get(from)?,
            mean: Field::get(from)?,
        })
    }
}

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

impl Forecaster {
    /// All of it as bytes; see the layout in this module.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let Self {
            settings,
            network,
            adam,
            random,
            states,
            hidden,
            cell,
            recorded,
            recordings,
            replay,
            credit,
            learnt,
            scratch: _,
        } = self;
        let mut to = FORMAT.to_vec();
        settings.put(&mut to);
        network.put(&mut to);
        adam.put(&mut to);
        random.0.put(&mut to);
        states.put(&mut to);
        hidden.put(&mut to);
        cell.put(&mut to);
        recorded.put(&mut to);
        recordings.put(&mut to);
        replay.put(&mut to);
        credit.put(&mut to);
        learnt.put(&mut to);
        checksum(&to).put(&mut to);
        to
    }

    /// The forecaster whose snapshot this is; it goes on as that one would have.
    ///
    /// # Errors
    /// When the bytes are of another version, or not whole.
    pub fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        if !bytes.starts_with(FORMAT) {
            return Err(Broken::Format);
        }
        let (body, sum) = bytes.split_last_chunk().ok_or(Broken::Damaged)?;
        if checksum(body) != u64::from_le_bytes(*sum) {
            return Err(Broken::Damaged);
        }
        body.get(FORMAT.len()..).and_then(Self::read_fields).ok_or(Broken::Damaged)
    }

    fn read_fields(mut from: &[u8]) -> Option<Self> {
        let from = &mut from;
        let restored = Self {
            settings: Field::get(from)?,
            network: Field::get(from)?,
            adam: Field::get(from)?,
            random: Random(Field::get(from)?),
            states: Field::get(from)?,
            hidden: Field::get(from)?,
            cell: Field::get(from)?,
            recorded: Field::get(from)?,
            recordings: Field::get(from)?,
            replay: Field::get(from)?,
            credit: Field::get(from)?,
            learnt: Field::get(from)?,
            scratch: Scratch::default(),
        };
        let n = restored.states.len();
        let fits = restored.recorded.len() == n
            && restored.hidden.len() == n * restored.settings.hidden
            && restored.cell.len() == restored.hidden.len();
        (fits && from.is_empty()).then_some(restored)
    }
}
