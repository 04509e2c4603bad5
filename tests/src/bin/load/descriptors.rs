//! Every operation that opens or closes descriptors, one at a time.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::ring::Ring;

/// Makes a system call that must succeed.
macro_rules! call {
    ($call:expr) => {{
        // SAFETY: each use passes numbers, and pointers to memory that outlives the call.
        let result = unsafe { $call };
        assert!(result >= 0, "{}: {}", stringify!($call), std::io::Error::last_os_error());
        result
    }};
}

/// State that one operation leaves for later ones.
struct State {
    files: Vec<RawFd>,
    process: libc::pid_t,
    program: Option<Child>,
    /// `None` if the kernel does not provide one.
    ring: Option<Ring>,
}

type Operation = (&'static str, fn(&mut State));

/// In this order: the later ones use descriptors that the earlier ones have opened.
const OPERATIONS: [Operation; 27] = [
    ("open", |state| state.files.extend((0..5).map(|_| open()))),
    ("close", |state| (0..2).for_each(|_| close(state.files.pop().unwrap()))),
    ("socket", |_| _ = call!(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0))),
    ("socketpair", |_| UnixStream::pair().map(|(one, other)| _ = (one.into_raw_fd(), other.into_raw_fd())).unwrap()),
    ("pipe2", |_| _ = call!(libc::pipe2([0; 2].as_mut_ptr(), libc::O_CLOEXEC))),
    ("dup", |state| _ = call!(libc::dup(state.files[0]))),
    ("dup2 to a free one", |state| _ = call!(libc::dup2(state.files[0], 200))),
    ("dup2 to one in use", |state| _ = call!(libc::dup2(state.files[1], 200))),
    ("dup2 to itself", |state| _ = call!(libc::dup2(state.files[0], state.files[0]))),
    ("dup3", |state| _ = call!(libc::dup3(state.files[0], 201, libc::O_CLOEXEC))),
    ("F_DUPFD_CLOEXEC", |state| _ = call!(libc::fcntl(state.files[0], libc::F_DUPFD_CLOEXEC, 300))),
    ("eventfd, epoll, timerfd, memfd, inotify", |_| {
        call!(libc::eventfd(0, 0));
        call!(libc::epoll_create1(0));
        call!(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0));
        call!(libc::memfd_create(c"load".as_ptr(), 0));
        call!(libc::inotify_init1(0));
    }),
    ("connect and accept", |_| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        _ = (listener.into_raw_fd(), client.into_raw_fd(), server.into_raw_fd());
    }),
    ("SCM_RIGHTS", |state| receive(state.files[0])),
    // The C library has it since Linux 5.9.
    ("close_range", |_| _ = call!(libc::syscall(libc::SYS_close_range, 200, 201, 0))),
    ("fork", |state| state.process = fork()),
    ("the end of a process", |state| {
        call!(libc::kill(state.process, libc::SIGKILL));
        call!(libc::waitpid(state.process, &mut 0, 0));
    }),
    ("exec", |state| state.program = Some(another())),
    ("the end of a program", |state| {
        let mut program = state.program.take().unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
    }),
    ("posix_spawn", |_| assert!(another().wait().unwrap().success())),
    ("a thread that opens and closes", |_| std::thread::spawn(|| close(open())).join().unwrap()),
    ("a thread with a table of its own", |_| {
        let apart = || {
            call!(libc::unshare(libc::CLONE_FILES));
            _ = (open(), open());
        };
        std::thread::spawn(apart).join().unwrap();
    }),
    ("pidfd_open", |_| _ = call!(libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0))),
    ("open by io_uring", |state| state.files.push(state.ring.as_mut().map_or_else(open, Ring::open))),
    ("close by io_uring", |state| {
        let file = state.files.pop().unwrap();
        state.ring.as_mut().map_or_else(|| close(file), |ring| ring.close(file));
    }),
    ("an open that fails", |_| _ = std::fs::File::open("/nonexistent").unwrap_err()),
    ("a close that fails", |state| {
        let closed = state.files.pop().unwrap();
        close(closed);
        // SAFETY: takes a number.
        assert!(unsafe { libc::close(closed) } < 0);
    }),
];

/// Does one operation for each line of its input, and prints its name.
pub(crate) fn step_through() {
    let mut state = State { files: Vec::new(), process: 0, program: None, ring: Ring::new() };
    let mut orders = std::io::stdin().lines();
    for (name, operation) in OPERATIONS {
        println!("{name}\ndone");
        std::io::stdout().flush().unwrap();
        if orders.next().is_none() {
            return;
        }
        operation(&mut state);
    }
}

fn open() -> RawFd {
    std::fs::File::open("/dev/null").unwrap().into_raw_fd()
}

fn close(file: RawFd) {
    call!(libc::close(file));
}

/// A process with a copy of every descriptor, which does nothing.
fn fork() -> libc::pid_t {
    let process = call!(libc::fork());
    if process == 0 {
        call!(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL));
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    process
}

/// This program once more; it runs until its input ends.
fn another() -> Child {
    let mut itself = Command::new("/proc/self/exe");
    let mut child = itself.arg("idle").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    child
}

/// Receives a descriptor, which it has sent itself.
fn receive(file: RawFd) {
    let (from, to) = UnixStream::pair().map(|(from, to)| (from.into_raw_fd(), to.into_raw_fd())).unwrap();
    let mut byte = 7u8;
    let mut data = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = [0u64; 4];
    // SAFETY: zeros are a message; its parts outlive the calls, and the control data have room for one descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut data, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(file);
        assert_eq!(libc::sendmsg(from, &raw const message, 0), 1);
        message.msg_controllen = size_of_val(&control);
        assert_eq!(libc::recvmsg(to, &raw mut message, 0), 1);
    }
}
