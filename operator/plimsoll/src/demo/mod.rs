//! `plimsoll demo`: a shop that is not there, evaluated in memory by the engine of `plimsoll_slo::evaluate`.

mod band;
mod site;
pub mod text;
mod traffic;
mod world;

pub use band::{Band, Scored};
pub use site::{Shown, switch};
pub use world::{Broken, Past, World};
