//! Performs the requests of a step. What is sent is decided by `plimsoll-runbook`; here it is only sent, waited for
//! and kept. Nothing here knows an action: a new one is a new list of requests.

pub mod account;
pub mod outside;
pub mod perform;
mod picks;
pub mod program;
mod waits;

pub use self::{
    outside::{Endpoint, Outside},
    perform::{Actor, Finish, Performed, Room},
};
