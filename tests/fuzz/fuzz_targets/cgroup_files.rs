//! Every format of the table on every text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monitor::metrics::{Metric, Origin};
use monitor::sources::parse;

fuzz_target!(|text: &[u8]| {
    for (_, _, origin) in Metric::origins() {
        if let Origin::V2(file) | Origin::V1(_, file) = origin {
            let _total = parse::number(file.format, text);
        }
    }
});
