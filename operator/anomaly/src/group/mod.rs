//! What series have in common: groups of alike series, and what the series of one SLO do together.

mod joint;
mod likeness;

pub use joint::{Joint, JointVerdict};
pub use likeness::{Groups, TRAITS, Traits};
