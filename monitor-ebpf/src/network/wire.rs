//! How large a packet is on the wire. The kernel hands large packets through its stack in one piece and lets the device
//! cut them (and joins received ones); each piece has headers of its own.

use aya_ebpf::programs::SkBuffContext;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The IPv6 extension headers that have a length in units of eight bytes: hop-by-hop, routing, destination.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// More of them are not followed.
const MOST_EXTENSIONS: usize = 4;

/// Bytes and packets on the wire.
#[inline(always)]
pub(crate) fn size(ctx: &SkBuffContext) -> (u64, u64) {
    let whole = u64::from(ctx.len());
    // SAFETY: the context's pointer is the kernel's.
    let (pieces, each) = unsafe { ((*ctx.skb.skb).gso_segs, (*ctx.skb.skb).gso_size) };
    if each == 0 {
        return (whole, 1);
    }
    let headers = headers(ctx);
    // A packet from an untrusted sender (a virtual machine) has a size per piece and no number of pieces.
    let pieces = match u64::from(pieces) {
        0 => whole.saturating_sub(headers).div_ceil(u64::from(each)).max(1),
        pieces => pieces,
    };
    (whole + (pieces - 1) * headers, pieces)
}

/// Bytes before the payload; the packet begins with its IP header.
#[inline(always)]
fn headers(ctx: &SkBuffContext) -> u64 {
    let first = ctx.load::<u8>(0).unwrap_or(0);
    let (network, protocol) = match first >> 4 {
        4 => (usize::from(first & 0x0f) * 4, ctx.load::<u8>(9).unwrap_or(0)),
        6 => behind_extensions(ctx),
        _ => return 0,
    };
    let transport = match protocol {
        TCP => usize::from(ctx.load::<u8>(network + 12).unwrap_or(0) >> 4) * 4,
        UDP => 8,
        _ => 0,
    };
    (network + transport) as u64
}

#[inline(always)]
fn behind_extensions(ctx: &SkBuffContext) -> (usize, u8) {
    let mut protocol = ctx.load::<u8>(6).unwrap_or(0);
    let mut length = 40;
    for _ in 0..MOST_EXTENSIONS {
        if !EXTENSIONS.contains(&protocol) {
            break;
        }
        protocol = ctx.load::<u8>(length).unwrap_or(0);
        length += (usize::from(ctx.load::<u8>(length + 1).unwrap_or(0)) + 1) * 8;
    }
    (length, protocol)
}
