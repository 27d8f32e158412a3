//! Reading what people wrote: files, directories and standard input, as documents whose every value
//! knows its place.

pub mod files;
pub mod inner;
pub mod json;
pub mod layout;
pub mod path;
pub mod scalar;
pub mod tree;
pub mod unquoted;

#[cfg(test)]
mod tests;

pub use files::{Input, Trouble, expand};
pub use tree::{Document, Documents, Fault, Node, Pos};
