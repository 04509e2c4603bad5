//! eBPF: kernel programs that count, and their maps.

mod attribution;
mod btf;
mod cgroup_events;
mod counters;
mod elf;
mod facts;
mod feeds;
mod group;
mod group_source;
mod growable;
mod iterators;
mod load;
mod objects;
mod open;
mod part;
pub mod pins;
mod program_log;
mod source;
mod sys;

pub use self::btf::Layouts;
pub use self::cgroup_events::CgroupEvents;
pub use self::elf::objects;
pub use self::open::open;
pub use self::part::Part;
pub use self::source::Bpf;
pub(crate) use self::sys::leave_descriptors;
pub use self::sys::share_memory;
