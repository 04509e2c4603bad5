//! Texts of `/proc`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monitor::proc_text;

fuzz_target!(|text: &[u8]| {
    let _total = (
        proc_text::stat(text),
        proc_text::descriptor_limit(text),
        proc_text::meminfo(text, "MemTotal"),
        (0..4).filter_map(|at| proc_text::load(text, at)).count(),
        proc_text::interfaces(text),
    );
});
