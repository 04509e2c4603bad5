//! Size of a packet on the wire. The kernel passes large packets through its stack in one piece (GSO) and lets the
//! device segment them; received segments are merged (GRO). Each segment has headers of its own.

use aya_ebpf::programs::SkBuffContext;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The IPv6 extension headers that have a length in units of eight bytes: hop-by-hop, routing, destination.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// Maximum number of extension headers that are parsed.
const MOST_EXTENSIONS: usize = 4;

/// Option type of a jumbo payload (RFC 2675).
const JUMBO: u8 = 0xc2;

/// The index of the loopback interface in every network namespace (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
const LOOPBACK: u32 = 1;

/// True for a packet that leaves or has arrived by the loopback interface: for a peer in the same network namespace,
/// under whichever address.
#[inline(always)]
pub(crate) fn is_loopback(ctx: &SkBuffContext) -> bool {
    // SAFETY: the context points to the kernel's `struct __sk_buff`, whose `ifindex` may be read.
    unsafe { (*ctx.skb.skb).ifindex == LOOPBACK }
}

/// Bytes and packets on the wire.
#[inline(always)]
pub(crate) fn size(ctx: &SkBuffContext) -> (u64, u64) {
    let whole = u64::from(ctx.len());
    // SAFETY: the context points to the kernel's `struct __sk_buff`, whose segment fields may be read.
    let (pieces, each) = unsafe { ((*ctx.skb.skb).gso_segs, (*ctx.skb.skb).gso_size) };
    if each == 0 {
        return (whole, 1);
    }
    let Headers { repeated, removed } = headers(ctx);
    let whole = whole.saturating_sub(removed);
    // A packet from an untrusted sender (a virtual machine) has a segment size but no number of segments.
    let pieces = match u64::from(pieces) {
        0 => whole.saturating_sub(repeated).div_ceil(u64::from(each)).max(1),
        pieces => pieces,
    };
    (whole + (pieces - 1) * repeated, pieces)
}

/// Header bytes of a packet that will be segmented.
#[derive(Clone, Copy, Default)]
struct Headers {
    /// The headers that each segment repeats.
    repeated: u64,
    /// The jumbo option that the kernel adds to an IPv6 packet beyond 64 KiB and removes at segmentation.
    removed: u64,
}

/// Parses the headers of a packet, which begins with its IP header.
#[inline(always)]
fn headers(ctx: &SkBuffContext) -> Headers {
    let first = ctx.load::<u8>(0).unwrap_or(0);
    let (network, protocol, removed) = match first >> 4 {
        4 => (usize::from(first & 0x0f) * 4, ctx.load::<u8>(9).unwrap_or(0), 0),
        6 => behind_extensions(ctx),
        _ => return Headers::default(),
    };
    let transport = match protocol {
        TCP => usize::from(ctx.load::<u8>(network + 12).unwrap_or(0) >> 4) * 4,
        UDP => 8,
        _ => 0,
    };
    Headers { repeated: (network - removed + transport) as u64, removed: removed as u64 }
}

/// Returns the offset of the transport header, its protocol, and the size of the jumbo option.
#[inline(always)]
fn behind_extensions(ctx: &SkBuffContext) -> (usize, u8, usize) {
    let mut protocol = ctx.load::<u8>(6).unwrap_or(0);
    let mut length = 40;
    let jumbo = protocol == EXTENSIONS[0] && ctx.load::<u8>(42).unwrap_or(0) == JUMBO;
    for _ in 0..MOST_EXTENSIONS {
        if !EXTENSIONS.contains(&protocol) {
            break;
        }
        protocol = ctx.load::<u8>(length).unwrap_or(0);
        length += (usize::from(ctx.load::<u8>(length + 1).unwrap_or(0)) + 1) * 8;
    }
    (length, protocol, if jumbo { 8 } else { 0 })
}
