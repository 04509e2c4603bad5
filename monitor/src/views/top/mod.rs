//! `top`: all containers, live.
//!
//! ```text
//!   own sampling, or Valkey     feed.rs, fleet.rs   updates: rows, log entries
//!      |
//!   model                       model.rs            what is shown: sorting, filter, tree, selection, history; pure
//!      |          keys.rs       what keys and the mouse do to it
//!   draw                        draw.rs, details.rs a model on a screen; pure
//!      |
//!   terminal                    screen.rs           taken over, and given back whatever happens
//! ```
//!
//! `run.rs` holds the loop.

pub mod details;
pub mod draw;
pub mod feed;
pub mod fleet;
pub mod history;
pub mod keys;
pub mod model;
pub mod notes;
pub mod run;
pub mod screen;
#[cfg(test)]
mod tests;
pub mod tree;
