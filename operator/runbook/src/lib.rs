//! Runbooks: what matches, what is planned, what stops it, and the state machine of a run. Pure: no I/O, no clock, no
//! client. The shell gathers facts, stores what this crate says, sends what it says, and tells it what came back.
//!
//! 1. [`validate()`](validate::validate): a Runbook becomes a [`Model`], or every problem is told.
//! 2. [`matching`]: does an occurrence start it?
//! 3. [`parameters`]: what do the steps need to know, from the labels, typed?
//! 4. [`plan`]: the execution, its name and the hash of its spec; [`requests`] says what each step sends.
//! 5. [`guards`]: may it start, now?
//! 6. [`machine`]: what is done next?

pub mod act;
pub mod alertmanager;
pub mod guards;
mod hits;
pub mod lacking;
pub mod machine;
pub mod matcher;
pub mod matching;
pub mod model;
pub mod names;
pub mod occurrences;
pub mod parameters;
pub mod plan;
pub mod requests;
pub mod schedule;
pub mod text;
pub mod validate;

pub use act::{Act, Class};
pub use model::Model;
pub use validate::{Valid, validate};
