//! Tests of the page's views as a whole.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod again;
mod hostile;
