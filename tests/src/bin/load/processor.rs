//! Loads of the processor.

use std::time::Duration;

use crate::held::Held;
use crate::time::{now, used, used_outside};

/// Burns one CPU for a number of milliseconds.
pub(crate) fn burn(milliseconds: u64) -> Held {
    let end = now() + Duration::from_millis(milliseconds);
    while now() < end {
        std::hint::spin_loop();
    }
    Held::Nothing
}

/// Burns a part of a CPU, in thousandths, for a number of milliseconds: measured by the CPU time since the start, so
/// that time which a busy machine withholds is made up.
pub(crate) fn duty(thousandths: u64, milliseconds: u64) -> Held {
    let (begin, before) = (now(), used());
    while begin.elapsed() < Duration::from_millis(milliseconds) {
        while used() - before < begin.elapsed().mul_f64(thousandths as f64 / 1000.0) {
            (0..1000).for_each(|_| std::hint::spin_loop());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Held::Nothing
}

/// Spends CPU time up to `time`; prints the time used before that, and the part of it in user mode.
pub(crate) fn spend(time: Duration) -> Held {
    let at_start = used();
    while used() < time {
        // Loops in user mode, because reading the time runs in the kernel.
        (0..100_000).for_each(|_| std::hint::spin_loop());
    }
    println!("{}\n{}", at_start.as_nanos(), used_outside().as_nanos());
    Held::Nothing
}
