//! The views for a terminal. Nothing here reads the kernel: a [`row::Row`] is made from a report or from a document
//! that an agent has written, and everything is drawn from rows.

pub mod columns;
pub mod doctor;
pub mod lines;
pub mod metrics;
pub mod once;
pub mod row;
#[cfg(test)]
pub(crate) mod sample;
pub mod settings;
pub mod table;
pub mod text;
pub mod theme;
pub mod top;
