//! Resources that a load holds until the end of its input.

use std::fs::File;
use std::net::TcpStream;

/// Resources that stay open.
pub(crate) enum Held {
    Nothing,
    Files(#[expect(dead_code, reason = "held, not used")] Vec<File>),
    Streams(#[expect(dead_code, reason = "held, not used")] Vec<TcpStream>),
    Memory(#[expect(dead_code, reason = "held, not used")] Vec<u8>),
}
