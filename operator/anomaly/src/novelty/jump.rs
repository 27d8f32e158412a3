//! Sudden moves, in units of how much the series usually moves.

use serde::{Deserialize, Serialize};

/// Moves over one, two and three rows.
const LAGS: usize = 3;
/// Memory of the usual size of moves, in seconds: 23 days.
const MEMORY_S: f64 = 2e6;
/// Moves of this many root mean squares are alarming. The mean is over all moves, alarming ones too, so that a series
/// that often jumps has to jump farther.
const ALARMING: f64 = 5.5;

/// How much a series moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Jumps {
    last: [f64; LAGS],
    squares: [f64; LAGS],
}

impl Jumps {
    /// The largest move that ends in row `row` (counted from 0); 1 is alarming.
    pub(super) fn see(&mut self, row: u64, step: f64, value: f64) -> f64 {
        let mut largest = 0.0f64;
        for (lag, (before, square)) in (1..).zip(self.last.iter().zip(&mut self.squares)) {
            let Some(moves) = row.checked_sub(lag) else { break };
            let squared = ((value - before) * (value - before)).min(f64::MAX);
            if *square > 0.0 {
                largest = largest.max((squared / *square).sqrt());
            }
            *square += (step / MEMORY_S).max(1.0 / (moves + 1) as f64) * (squared - *square);
        }
        self.last.rotate_right(1);
        self.last[0] = value;
        largest / ALARMING
    }
}
