//! Processes and threads.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::held::Held;

pub(crate) fn repeat(times: u64, work: impl Fn()) -> Held {
    (0..times).for_each(|_| work());
    Held::Nothing
}

/// Threads that do nothing, as long as this program runs.
pub(crate) fn park(threads: u64) -> Held {
    for _ in 0..threads {
        std::thread::spawn(|| std::thread::sleep(Duration::from_secs(3600)));
    }
    Held::Nothing
}

/// Processes that do nothing, as long as this program runs.
pub(crate) fn fork_and_stay(processes: u64) -> Held {
    for _ in 0..processes {
        // SAFETY: this program has one thread whenever it forks.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: both take plain numbers, and the second returns only after a signal has been handled.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::pause();
                libc::_exit(0);
            }
        }
    }
    Held::Nothing
}

/// Forks a process that ends with what `work` returns, and waits for it.
pub(crate) fn child(work: impl FnOnce() -> i32) {
    // SAFETY: this program has one thread whenever it forks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let code = work();
        // SAFETY: the child exits at once, without running its parent's destructors.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
}

pub(crate) fn exec_nothing() -> i32 {
    let arguments = [c"true".as_ptr(), std::ptr::null()];
    for path in [c"/bin/true", c"/usr/bin/true"] {
        // SAFETY: the texts and the list of arguments end with a zero.
        unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
    }
    1
}

/// Ends all threads of this process at the same moment, none of them by ending the process.
pub(crate) fn exit_together(threads: u64) -> i32 {
    let barrier = Arc::new(Barrier::new(usize::try_from(threads).unwrap() + 1));
    for _ in 0..threads {
        let barrier = Arc::clone(&barrier);
        std::thread::spawn(move || {
            barrier.wait();
            end_thread()
        });
    }
    barrier.wait();
    end_thread()
}

fn end_thread() -> i32 {
    // SAFETY: ends this thread alone, which uses nothing afterwards.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    0
}
