//! Offload of a network interface: packets that are segmented late and merged early.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Switches segmentation and receive offload of an interface in the network namespace `namespace`.
pub fn set(namespace: &Path, interface: &str, on: bool) {
    let namespace = File::open(namespace).unwrap();
    let interface = interface.to_owned();
    // A thread that enters a namespace stays there.
    std::thread::spawn(move || set_here(&namespace, &interface, on)).join().unwrap();
}

/// Asks the interface's driver (`include/uapi/linux/ethtool.h`).
fn set_here(namespace: &File, interface: &str, on: bool) {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const SET_TSO: u32 = 0x1f;
    const SET_GSO: u32 = 0x24;
    const SET_GRO: u32 = 0x2c;
    // SAFETY: takes a descriptor and a number.
    assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    for command in [SET_TSO, SET_GSO, SET_GRO] {
        let mut value = [command, u32::from(on)];
        // SAFETY: plain data.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::try_from(from).unwrap();
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        // SAFETY: the request and what it points to outlive the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        assert_eq!(result, 0, "{interface}: {command:#x}: {}", std::io::Error::last_os_error());
    }
}
