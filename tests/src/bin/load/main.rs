//! Known loads: does exactly what it is told, says so in one line, and waits for the end of its input.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a tool of the tests")]

mod descriptors;
mod ring;

use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |at: usize| arguments.get(at).cloned().unwrap_or_default();
    let number = |at: usize| text(at).parse::<u64>().unwrap_or_default();
    let kept = match text(0).as_str() {
        "idle" => Kept::Nothing,
        "burn" => burn(number(1)),
        "duty" => duty(number(1), number(2)),
        "udp" => udp(&Way::new(&text(1), &text(4), &text(5)), number(2), number(3)),
        "udp-cut" => udp_cut(&Way::new(&text(1), &text(4), &text(5)), number(2), number(3)),
        "tcp" => tcp(&Way::new(&text(1), &text(4), &text(5)), number(2), number(3)),
        "fork" => repeat(number(1), || child(|| 0)),
        "threads" => repeat(number(1), || std::thread::spawn(|| ()).join().unwrap()),
        "exec" => repeat(number(1), || child(exec_nothing)),
        "exec-in-thread" => repeat(number(1), || child(|| std::thread::spawn(exec_nothing).join().unwrap())),
        "exit-together" => repeat(number(1), || child(|| exit_together(number(2)))),
        "hog" => hog(number(1), number(2)),
        "write-around" => around_the_cache(&text(1), number(2), |disk, block| disk.write_all(block)),
        "read-around" => around_the_cache(&text(1), number(2), |disk, block| disk.read_exact(block)),
        "read" => read(&text(1), number(2)),
        "sweep" => sweep(number(1), number(2)),
        "hold" => Kept::Memory(vec![7; usize::try_from(number(1)).unwrap()]),
        "chat" => chat(number(1), number(2)),
        "spend" => spend(Duration::from_millis(number(1))),
        "park" => park(number(1)),
        "open" => open(number(1), Duration::from_micros(number(2))),
        "open-and-close" => repeat(number(1), || drop(File::open("/dev/null").unwrap())),
        "tables" => tables(number(1)),
        "descriptors" => {
            descriptors::step_through();
            Kept::Nothing
        }
        "fork-and-stay" => fork_and_stay(number(1)),
        other => panic!("{other:?} is no load"),
    };
    println!("done");
    std::io::stdout().flush().unwrap();
    // Whatever is open stays so until the test has looked.
    _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(kept);
}

/// What stays open.
enum Kept {
    Nothing,
    Files(#[expect(dead_code, reason = "held, not used")] Vec<File>),
    Streams(#[expect(dead_code, reason = "held, not used")] [TcpStream; 2]),
    Memory(#[expect(dead_code, reason = "held, not used")] Vec<u8>),
}

fn repeat(times: u64, work: impl Fn()) -> Kept {
    (0..times).for_each(|_| work());
    Kept::Nothing
}

#[expect(clippy::disallowed_methods, reason = "a load takes real time")]
fn now() -> Instant {
    Instant::now()
}

/// One CPU for so many milliseconds.
fn burn(milliseconds: u64) -> Kept {
    let end = now() + Duration::from_millis(milliseconds);
    while now() < end {
        std::hint::spin_loop();
    }
    Kept::Nothing
}

/// A part of a CPU, in thousandths, for so many milliseconds: by CPU time used since the start, so that what a busy
/// machine withholds for a while is made good.
fn duty(thousandths: u64, milliseconds: u64) -> Kept {
    let (begin, before) = (now(), used());
    while begin.elapsed() < Duration::from_millis(milliseconds) {
        while used() - before < begin.elapsed().mul_f64(thousandths as f64 / 1000.0) {
            (0..1000).for_each(|_| std::hint::spin_loop());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Kept::Nothing
}

/// CPU time of this process.
fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// The part of it outside the kernel, as the kernel estimates it (`getrusage(2)`).
fn used_outside() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` outlives the call, and zeros are a value of it.
    let time = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init().ru_utime
    };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_usec).unwrap() * 1000)
}

/// So much CPU time; prints what it was charged in all, and outside the kernel.
fn spend(time: Duration) -> Kept {
    while used() < time {
        // Not in the kernel, which tells the time.
        (0..100_000).for_each(|_| std::hint::spin_loop());
    }
    println!("{}\n{}", used().as_nanos(), used_outside().as_nanos());
    Kept::Nothing
}

/// Threads that do nothing, as long as this program runs.
fn park(threads: u64) -> Kept {
    for _ in 0..threads {
        std::thread::spawn(|| std::thread::sleep(Duration::from_secs(3600)));
    }
    Kept::Nothing
}

/// So many descriptors, with a pause before each.
fn open(count: u64, pause: Duration) -> Kept {
    let enough = libc::rlimit { rlim_cur: 20_000, rlim_max: 20_000 };
    // SAFETY: `enough` outlives the call. What is refused shows when a file cannot be opened.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const enough) };
    let one = |_| {
        std::thread::sleep(pause);
        File::open("/dev/null").unwrap()
    };
    Kept::Files((0..count).map(one).collect())
}

/// Tables of descriptors of every kind, with so many descriptors in each: one that two processes share, one that the
/// threads of a process share, and one that a thread has for itself.
fn tables(count: u64) -> Kept {
    let flags = u64::try_from(libc::CLONE_FILES | libc::SIGCHLD).unwrap();
    // SAFETY: this program has one thread, and the child, which has memory of its own, sleeps until it is killed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    assert!(pid >= 0, "clone: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: takes a number; ends with this program, whatever becomes of that.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    let ready = Arc::new(Barrier::new(3));
    for is_apart in [false, true] {
        let ready = Arc::clone(&ready);
        std::thread::spawn(move || {
            // SAFETY: takes a number.
            assert!(!is_apart || unsafe { libc::unshare(libc::CLONE_FILES) } == 0);
            let _files = open(count, Duration::ZERO);
            ready.wait();
            std::thread::sleep(Duration::from_secs(3600));
        });
    }
    ready.wait();
    Kept::Nothing
}

/// Processes that do nothing, as long as this program runs.
fn fork_and_stay(processes: u64) -> Kept {
    for _ in 0..processes {
        // SAFETY: this program has one thread whenever it forks.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: both take plain numbers, and the second returns only when a signal has been handled.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::pause();
                libc::_exit(0);
            }
        }
    }
    Kept::Nothing
}

/// From where to where: an address of the receiver, and the network namespaces of both (of this process if empty).
struct Way {
    address: String,
    from: String,
    to: String,
}

impl Way {
    fn new(address: &str, from: &str, to: &str) -> Self {
        Self { address: address.to_owned(), from: from.to_owned(), to: to.to_owned() }
    }

    /// A socket belongs to the namespace that its creator is in, for ever.
    fn datagrams(&self) -> (UdpSocket, UdpSocket) {
        enter(&self.to);
        let to = UdpSocket::bind((self.address.as_str(), 0)).unwrap();
        enter(&self.from);
        let any = if self.address.contains(':') { "::" } else { "0.0.0.0" };
        let from = UdpSocket::bind((any, 0)).unwrap();
        from.connect(to.local_addr().unwrap()).unwrap();
        (from, to)
    }

    fn stream(&self) -> (TcpStream, TcpStream) {
        enter(&self.to);
        let listener = TcpListener::bind((self.address.as_str(), 0)).unwrap();
        enter(&self.from);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server)
    }
}

fn enter(namespace: &str) {
    if !namespace.is_empty() {
        let file = File::open(format!("/run/netns/{namespace}")).unwrap();
        // SAFETY: takes a descriptor and a number.
        assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
    }
}

/// So many datagrams of so many bytes, each received before the next.
fn udp(way: &Way, count: u64, size: u64) -> Kept {
    let (from, to) = way.datagrams();
    let (payload, mut buffer) = (vec![7; usize::try_from(size).unwrap()], vec![0; 70_000]);
    for _ in 0..count {
        from.send(&payload).unwrap();
        assert_eq!(to.recv(&mut buffer).unwrap(), payload.len());
    }
    Kept::Nothing
}

/// One write of so many datagrams of so many bytes, which the kernel or the device cuts (`UDP_SEGMENT`, `udp(7)`).
fn udp_cut(way: &Way, count: u64, size: u64) -> Kept {
    let (from, to) = way.datagrams();
    let size = usize::try_from(size).unwrap();
    let each = libc::c_int::try_from(size).unwrap();
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap();
    // SAFETY: `each` has `length` bytes and outlives the call.
    let result = unsafe {
        libc::setsockopt(from.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const each).cast(), length)
    };
    assert_eq!(result, 0);
    from.send(&vec![7; usize::try_from(count).unwrap() * size]).unwrap();
    let mut buffer = vec![0; 70_000];
    (0..count).for_each(|_| assert_eq!(to.recv(&mut buffer).unwrap(), size));
    Kept::Nothing
}

/// So many writes of so many bytes through a connection; prints what both ends say of it, and keeps it open.
fn tcp(way: &Way, count: u64, size: u64) -> Kept {
    stay_on_one_cpu();
    let (mut client, mut server) = way.stream();
    client.set_nodelay(true).unwrap();
    let reader = std::thread::spawn(move || {
        let mut left = count * size;
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            left -= server.read(&mut buffer).unwrap() as u64;
        }
        server
    });
    let payload = vec![7; usize::try_from(size).unwrap()];
    (0..count).for_each(|_| client.write_all(&payload).unwrap());
    let server = reader.join().unwrap();
    // The last acknowledgements may be delayed.
    std::thread::sleep(Duration::from_millis(300));
    for end in [&client, &server] {
        let (segments, bytes, retransmitted) = said(end);
        println!("{segments} {bytes} {retransmitted}");
    }
    Kept::Streams([client, server])
}

/// On several CPUs segments overtake each other, and are then acknowledged with options of another length.
fn stay_on_one_cpu() {
    // SAFETY: `set` is plain data, and outlives the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap_or_default(), &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set), 0);
    }
}

/// So many bytes a second over loopback, for so many milliseconds.
fn chat(bytes: u64, milliseconds: u64) -> Kept {
    const STEP: Duration = Duration::from_millis(50);
    let (from, to) = Way::new("127.0.0.1", "", "").datagrams();
    let each = usize::try_from(bytes / 20).unwrap();
    let (payload, mut buffer) = (vec![7; each.min(60_000)], vec![0; 70_000]);
    let end = now() + Duration::from_millis(milliseconds);
    while now() < end {
        let mut left = each;
        while left > 0 {
            let sent = from.send(&payload[..left.min(payload.len())]).unwrap();
            to.recv(&mut buffer).unwrap();
            left -= sent;
        }
        std::thread::sleep(STEP);
    }
    Kept::Nothing
}

/// Segments and bytes that an end sent, and bytes of them sent again: `tcpi_segs_out`, `tcpi_bytes_sent` and
/// `tcpi_bytes_retrans` of `struct tcp_info` (`include/uapi/linux/tcp.h`).
fn said(stream: &TcpStream) -> (u32, u64, u64) {
    let mut info = [0u8; 256];
    let mut length: libc::socklen_t = 256;
    // SAFETY: `info` has `length` bytes and outlives the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    let long = |at: usize| u64::from_ne_bytes(info[at..at + 8].try_into().unwrap());
    (u32::from_ne_bytes(info[136..140].try_into().unwrap()), long(200), long(208))
}

/// Forks a process that ends with what `work` returns, and waits for it.
fn child(work: impl FnOnce() -> i32) {
    // SAFETY: this program has one thread whenever it forks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let code = work();
        // SAFETY: the child ends at once, without running what belongs to its parent.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
}

fn exec_nothing() -> i32 {
    let arguments = [c"true".as_ptr(), std::ptr::null()];
    for path in [c"/bin/true", c"/usr/bin/true"] {
        // SAFETY: the texts and the list of arguments end with a zero.
        unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
    }
    1
}

/// Lets all threads of this process end at the same moment, none of them by ending the process.
fn exit_together(threads: u64) -> i32 {
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
    // SAFETY: ends this thread alone; nothing of it is used afterwards.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    0
}

/// A process that takes memory until it is killed, with so many idle threads.
fn hog(bytes: u64, threads: u64) -> Kept {
    child(|| {
        park(threads);
        let mut all = Vec::new();
        for _ in 0..bytes >> 20 {
            all.push(vec![7u8; 1 << 20]);
        }
        i32::try_from(std::hint::black_box(all).len()).unwrap_or_default()
    });
    Kept::Nothing
}

/// What a block device takes at once.
#[repr(align(4096))]
struct Block([u8; 4096]);

/// So many bytes to or from a block device without the page cache between, a block at a time (`open(2)`, `O_DIRECT`).
fn around_the_cache(disk: &str, bytes: u64, work: impl Fn(&mut File, &mut [u8]) -> std::io::Result<()>) -> Kept {
    let mut disk = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(disk).unwrap();
    let mut block = Box::new(Block([7; 4096]));
    (0..bytes / 4096).for_each(|_| work(&mut disk, &mut block.0).unwrap());
    Kept::Nothing
}

/// So many bytes of a file, through the page cache.
fn read(file: &str, bytes: u64) -> Kept {
    let file = File::open(file).unwrap();
    std::io::copy(&mut (&file).take(bytes), &mut std::io::sink()).unwrap();
    // The pages of a block device go with the last who has it open.
    Kept::Files(vec![file])
}

/// Memory of so many bytes, written to page by page, again and again for so many milliseconds.
fn sweep(bytes: u64, milliseconds: u64) -> Kept {
    let end = now() + Duration::from_millis(milliseconds);
    let mut memory = vec![7u8; usize::try_from(bytes).unwrap()];
    while now() < end {
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        std::hint::black_box(&mut memory);
    }
    Kept::Memory(memory)
}
