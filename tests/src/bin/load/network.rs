//! Traffic.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::held::Held;
use crate::time::now;

use crate::way::Way;

/// Sends `count` datagrams of `size` bytes, each received before the next.
pub(crate) fn udp(way: &Way, count: u64, size: u64) -> Held {
    let (from, to) = way.datagrams();
    let (payload, mut buffer) = (vec![7; usize::try_from(size).unwrap()], vec![0; 70_000]);
    for _ in 0..count {
        from.send(&payload).unwrap();
        assert_eq!(to.recv(&mut buffer).unwrap(), payload.len());
    }
    Held::Nothing
}

/// Sends `count` datagrams of one size in one write, which the kernel or the device segments (`UDP_SEGMENT`, `udp(7)`).
pub(crate) fn udp_cut(way: &Way, count: u64, size: u64) -> Held {
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
    Held::Nothing
}

/// Writes `count` times `size` bytes through a connection; prints the statistics of both ends, and keeps it open.
pub(crate) fn tcp(way: &Way, count: u64, size: u64) -> Held {
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
    Held::Streams(vec![client, server])
}

/// On several CPUs segments are reordered, and are then acknowledged with options of another length.
fn stay_on_one_cpu() {
    // SAFETY: `set` is plain data, and outlives the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap_or_default(), &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set), 0);
    }
}

/// Sends `bytes` per second over loopback, for a number of milliseconds.
pub(crate) fn chat(bytes: u64, milliseconds: u64) -> Held {
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
    Held::Nothing
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

/// Writes into connections that nobody reads from, until they take no more.
pub(crate) fn leave_unread() -> Held {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let full = |_| {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        while client.write(&[7; 1 << 16]).is_ok_and(|written| written > 0) {}
        [client, server]
    };
    Held::Streams((0..4).flat_map(full).collect())
}
