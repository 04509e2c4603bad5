//! Drops the privileges that the agent drops, and then tries operations that must fail: prints `done` for each, or the
//! kernel's error. Arguments: the layers to apply, a directory to read, one to write, a port to connect to.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool of the tests"
)]

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use monitor::hardening::landlock::AllowedAccess;
use monitor::hardening::{capabilities, landlock, seccomp};
use rustix::thread::CapabilitySet;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [layers, read, write, port] = &arguments[..] else { panic!("{arguments:?}") };
    // Without a layer the name changes: that of a namespace of its own. Both calls need the same capability.
    _ = raw(libc::SYS_unshare, [i64::from(libc::CLONE_NEWUTS), 0, 0]);
    // The port is chosen before Landlock forbids binding.
    let mut other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    if layers.contains("landlock") {
        let port = port.parse().unwrap();
        let allowed = AllowedAccess {
            read: vec![PathBuf::from(read), "/proc".into()],
            write: vec![PathBuf::from(write)],
            connect: vec![port],
            ..AllowedAccess::default()
        };
        println!("landlock: {:?}", landlock::restrict(&allowed).unwrap());
    }
    if layers.contains("seccomp") {
        seccomp::apply(false).unwrap();
    }
    if layers.contains("capabilities") {
        let retained = capabilities::drop_all_but(CapabilitySet::DAC_READ_SEARCH).unwrap();
        println!("kept: {}", capabilities::names(retained));
    }
    let read = PathBuf::from(read);
    let write = PathBuf::from(write);
    let connect = |port: u16| TcpStream::connect(("127.0.0.1", port)).map(drop);
    other = if other.to_string() == *port { other - 1 } else { other };
    // From a thread that is started afterwards, as all of the agent's are.
    std::thread::spawn(move || {
        let parent = i64::from(rustix::process::getppid().unwrap().as_raw_nonzero().get());
        tell("read within reach", fs::read(read.join("file")).map(drop));
        tell("read a process", fs::read("/proc/self/stat").map(drop));
        tell("write within reach", fs::write(write.join("file"), "text"));
        tell("read elsewhere", fs::read("/etc/passwd").map(drop));
        tell("write elsewhere", fs::write(read.join("file"), "text"));
        tell("connect elsewhere", connect(other));
        tell("listen", TcpListener::bind("127.0.0.1:0").map(drop));
        tell("execute", Command::new("/bin/true").status().map(drop));
        tell("look into a process", fs::read("/proc/1/environ").map(drop));
        tell("change the host's name", raw(libc::SYS_sethostname, [c"other".as_ptr() as i64, 5, 0]));
        tell("leave the namespaces", raw(libc::SYS_unshare, [i64::from(libc::CLONE_NEWUTS), 0, 0]));
        tell("signal the parent", raw(libc::SYS_kill, [parent, 0, 0]));
        tell("signal a thread of the parent", raw(libc::SYS_tgkill, [parent, parent, 0]));
        tell("make a process", fork());
        tell("leave the namespaces with a process", raw(libc::SYS_clone3, [0, 0, 0]));
        tell("start a thread", std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()));
        tell("make a map", bpf(0));
        tell("load a program", bpf(5));
        tell("pin", bpf(6));
        tell("read a map", bpf(1));
    })
    .join()
    .unwrap();
    tell("connect within reach", TcpStream::connect(("127.0.0.1", port.parse::<u16>().unwrap())).map(drop));
}

fn tell(what: &str, result: io::Result<()>) {
    match result {
        Ok(()) => println!("{what}: done"),
        Err(error) => println!("{what}: {}", error.raw_os_error().unwrap_or_default()),
    }
}

fn raw(call: libc::c_long, [a, b, c]: [i64; 3]) -> io::Result<()> {
    // SAFETY: the addresses among the arguments are of texts that live as long as the program.
    if unsafe { libc::syscall(call, a, b, c) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn fork() -> io::Result<()> {
    // SAFETY: the child only exits with a number, and is waited for.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => libc::_exit(0),
            child => libc::waitpid(child, std::ptr::null_mut(), 0),
        };
    }
    Ok(())
}

/// A command with empty arguments, which the kernel answers with `EINVAL` or `EBADF` if the command is allowed.
fn bpf(command: i64) -> io::Result<()> {
    static NOTHING: [u64; 16] = [0; 16];
    raw(libc::SYS_bpf, [command, NOTHING.as_ptr() as i64, size_of_val(&NOTHING) as i64])
}
