//! Objectives, windows, PromQL, burn-rate tiers, alerts and rule rendering. Pure: no I/O, no clock, no client.

pub mod alerts;
pub mod any;
mod dialect;
pub mod duration;
pub mod evaluate;
pub mod meant;
pub mod model;
pub mod names;
pub mod presets;
pub mod promql;
pub mod re2;
pub mod render;
pub mod revision;
pub mod rules;
mod slips;
mod tree;
pub mod validate;
pub mod weekly;
pub mod zone;

pub use any::{AnyModel, AnyValid};
pub use model::{Model, SloId};
pub use render::{Dialect, render, render_for};
pub use rules::{Group, Rule, RuleSet};
pub use validate::{Valid, validate};
