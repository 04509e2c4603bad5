//! The clock, and CPU time of this process.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "a load takes real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// CPU time of this process.
pub(crate) fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// The part of it in user mode, as the kernel estimates it (`getrusage(2)`).
pub(crate) fn used_outside() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` outlives the call, and zeros are a value of it.
    let time = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init().ru_utime
    };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_usec).unwrap() * 1000)
}
