//! Sudden moves, in units of how much the series usually moves.

use serde::{Deserialize, Serialize};

use super::Constants;

/// Moves over one, two and three rows.
const LAGS: usize = 3;
/// How much a series moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Jumps {
    last: [f64; LAGS],
    squares: [f64; LAGS],
}

impl Jumps {
    /// The largest move that ends in row `row` (counted from 0); 1 is alarming.
    pub(super) fn see(&mut self, constants: &Constants, row: u64, step: f64, value: f64) -> f64 {
        let mut largest = 0.0f64;
        for (lag, (before, square)) in (1..).zip(self.last.iter().zip(&mut self.squares)) {
            let Some(moves) = row.checked_sub(lag) else { break };
            let squared = ((value - before) * (value - before)).min(f64::MAX);
            if *square > 0.0 {
                largest = largest.max((squared / *square).sqrt());
            }
            *square += (step / constants.memory).max(1.0 / (moves + 1) as f64) * (squared - *square);
        }
        self.last.rotate_right(1);
        self.last[0] = value;
        largest / constants.jump
    }
}
