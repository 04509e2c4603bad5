//! The agent: it samples at each tick, compares, and publishes reports to the sinks.

mod final_readings;
mod health;
mod run;

pub use self::run::Agent;
