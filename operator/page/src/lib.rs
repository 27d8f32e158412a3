//! The web page, thought through: from objects and recorded series to view models, and from these to HTML and SVG.
//!
//! Nothing here does I/O. [`ask`] says what is asked of whoever has the series; [`overview`], [`slo`], [`rules`] and [`runs`] turn
//! the answers into what a view says; [`html`] writes it down.

pub mod ask;
pub mod assets;
pub mod html;
mod kept;
pub mod overview;
pub mod rules;
pub mod runs;
pub mod slo;
mod spell;
pub mod words;

pub use kept::Kept;
pub use spell::Spell;
