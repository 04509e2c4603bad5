//! The two ends of a connection, each in a network namespace.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

/// An address of the receiver, and the network namespaces of both ends (of this process if empty).
pub(crate) struct Way {
    pub(crate) address: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Way {
    pub(crate) fn new(address: &str, from: &str, to: &str) -> Self {
        Self { address: address.to_owned(), from: from.to_owned(), to: to.to_owned() }
    }

    /// A socket stays in the namespace that its creator is in.
    pub(crate) fn datagrams(&self) -> (UdpSocket, UdpSocket) {
        enter(&self.to);
        let to = UdpSocket::bind((self.address.as_str(), 0)).unwrap();
        enter(&self.from);
        let any = if self.address.contains(':') { "::" } else { "0.0.0.0" };
        let from = UdpSocket::bind((any, 0)).unwrap();
        from.connect(to.local_addr().unwrap()).unwrap();
        (from, to)
    }

    pub(crate) fn stream(&self) -> (TcpStream, TcpStream) {
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
