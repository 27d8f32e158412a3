//! What the anomaly scorer is told, shared by the kinds that ask for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How easily something counts as unusual.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
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
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Too high.
    Up,
    /// Too low.
    Down,
    /// Either.
    #[default]
    Both,
}

/// The rhythm that the series is expected to have.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Seasonality {
    /// Found out from the series.
    #[default]
    Auto,
    /// None: the time of day means nothing.
    None,
    /// The same every day.
    Daily,
    /// The same every week.
    Weekly,
}
