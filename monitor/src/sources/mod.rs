//! Sources: each reads one part of the kernel's interface and fills in the metrics of its origin.

pub mod bpf;
pub mod cgroup;
pub mod disk;
mod fd_budget;
pub mod host_containers;
pub mod interfaces;
mod network_namespace;
pub mod own_container;
pub mod parse;
mod processes;
pub mod procfs;
mod sample;
mod sampler;
mod source;
pub mod start_times;

pub use self::sample::{Sampled, reading, sample};
pub use self::sampler::SamplerThread;
pub use self::source::{Source, SourceError};
