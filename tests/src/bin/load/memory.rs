//! Loads of memory.

use std::time::Duration;

use crate::held::Held;
use crate::time::now;

use crate::tasks::{child, park};

/// A process that takes memory until it is killed, with `threads` idle threads.
pub(crate) fn hog(bytes: u64, threads: u64) -> Held {
    child(|| {
        park(threads);
        let mut all = Vec::new();
        for _ in 0..bytes >> 20 {
            all.push(vec![7u8; 1 << 20]);
        }
        i32::try_from(std::hint::black_box(all).len()).unwrap_or_default()
    });
    Held::Nothing
}

/// Writes to every page of `bytes` of memory, again and again for a number of milliseconds.
pub(crate) fn sweep(bytes: u64, milliseconds: u64) -> Held {
    let end = now() + Duration::from_millis(milliseconds);
    let mut memory = vec![7u8; usize::try_from(bytes).unwrap()];
    while now() < end {
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        std::hint::black_box(&mut memory);
    }
    Held::Memory(memory)
}
