//! The kernel's type information (BTF).
#![no_main]

use libfuzzer_sys::fuzz_target;
use monitor::sources::bpf::Layouts;

fuzz_target!(|bytes: &[u8]| {
    if let Some(layouts) = Layouts::parse(bytes.to_vec()) {
        let _total = (layouts.offset("task_struct", "tgid"), layouts.offset("signal_struct", "live"));
    }
});
