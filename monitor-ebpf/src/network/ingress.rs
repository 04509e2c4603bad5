//! Packets received by a cgroup's sockets.

use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use monitor_ebpf::add;

use crate::{charge, own_place, wire};

/// Counts one incoming packet.
#[cgroup_skb(ingress)]
fn ingress(ctx: SkBuffContext) -> i32 {
    let (bytes, packets) = wire::size(&ctx);
    let is_loopback = wire::is_loopback(&ctx);
    charge(&ctx, |network| {
        // SAFETY: `network` points to a map value of this type: `charge` passes nothing else.
        unsafe {
            if is_loopback {
                add(own_place(&raw mut (*network).loopback_rx_bytes), bytes);
                add(own_place(&raw mut (*network).loopback_rx_packets), packets);
            } else {
                add(&raw mut (*network).rx_bytes, bytes);
                add(&raw mut (*network).rx_packets, packets);
            }
        }
    })
}
