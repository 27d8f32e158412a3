//! What the anomaly scorer is told, shared by the kinds that ask for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How easily something counts as unusual.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Sensitivity {
    /// Only what is far out and lasts.
    Low,
    /// The detector's own judgement.
    #[default]
    Medium,
    /// Also what is merely odd.
    High,
}

/// Which side of the expected value is unusual.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Direction {
    /// Too high.
    Up,
    /// Too low.
    Down,
    /// Either.
    #[default]
    Both,
}
