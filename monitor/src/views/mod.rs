//! What a person looks at: reports as text. Nothing here reads the kernel.

pub mod doctor;
pub mod metrics;
pub mod table;
