//! Limits on the clients that are served at once: no client can take all places.
//!
//! A request under way has a place. A connection without one is idle, and may be closed: the one that has been so for
//! longest gives way to a new connection. There are more connections than places, so that a probe, which needs no
//! place, always finds a connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::mutex::lock;

/// Connections that are open at once.
pub(crate) const CONNECTIONS: usize = 320;
/// Requests that are served at once. There are more than event streams, so that streams cannot take all of them.
const PLACES: usize = 288;
/// The places that one peer may have without the token.
const PER_PEER: usize = PLACES / 2;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    /// An address; of IPv6 the network of 64 bits that one customer has.
    Address(IpAddr),
    /// A process of this machine that may open the socket.
    Unix,
}

impl Peer {
    /// The peer at an address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip => ip,
        })
    }
}

/// All connections and places.
#[derive(Debug, Default)]
pub(super) struct Places {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the next connection or change.
    next: u64,
    connections: BTreeMap<u64, Slot>,
    /// The places of each peer without the token.
    taken: BTreeMap<Peer, usize>,
    /// All places that are taken.
    all: usize,
}

#[derive(Debug)]
struct Slot {
    /// When it became idle, as a number that grows; `None` while it has places.
    idle: Option<u64>,
    /// Requests with a place.
    places: usize,
    close: Arc<Notify>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    places: Arc<Places>,
    number: u64,
    peer: Peer,
    close: Arc<Notify>,
}

/// A place of a request.
#[derive(Debug)]
pub(super) struct Place {
    connection: Arc<Connection>,
    is_counted: bool,
}

impl Places {
    /// Admits a connection. If there are too many, the oldest idle one is told to end.
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> Arc<Connection> {
        let close = Arc::new(Notify::new());
        let mut state = lock(&self.state);
        if state.connections.len() >= CONNECTIONS {
            let oldest = state.connections.iter().filter_map(|(number, slot)| Some((slot.idle?, *number))).min();
            if let Some(slot) = oldest.and_then(|(_, number)| state.connections.remove(&number)) {
                slot.close.notify_one();
            }
        }
        let number = state.count();
        state.connections.insert(number, Slot { idle: Some(number), places: 0, close: Arc::clone(&close) });
        Arc::new(Connection { places: Arc::clone(self), number, peer, close })
    }
}

impl State {
    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Connection {
    /// Completes when the connection has to end.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Takes a place for a request, if there is one for this peer.
    pub(super) fn take(self: &Arc<Self>, has_token: bool) -> Option<Place> {
        let is_counted = !has_token && self.peer != Peer::Unix;
        let mut state = lock(&self.places.state);
        let own = state.taken.get(&self.peer).copied().unwrap_or(0);
        if state.all >= PLACES || (is_counted && own >= PER_PEER) {
            return None;
        }
        state.all += 1;
        if is_counted {
            state.taken.insert(self.peer, own + 1);
        }
        if let Some(slot) = state.connections.get_mut(&self.number) {
            slot.places += 1;
            slot.idle = None;
        }
        Some(Place { connection: Arc::clone(self), is_counted })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.places.state).connections.remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.connection.places.state);
        state.all -= 1;
        if self.is_counted
            && let Some(taken) = state.taken.get_mut(&self.connection.peer)
        {
            *taken -= 1;
            if *taken == 0 {
                state.taken.remove(&self.connection.peer);
            }
        }
        let now = state.count();
        if let Some(slot) = state.connections.get_mut(&self.connection.number) {
            slot.places -= 1;
            slot.idle = (slot.places == 0).then_some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::of(text.parse().unwrap())
    }

    fn is_told_to_end(connection: &Connection) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = connection.closed() => true,
                () = std::future::ready(()) => false,
            }
        })
    }

    #[test]
    fn a_peer_without_the_token_has_half_of_the_places() {
        let places = Arc::new(Places::default());
        let (greedy, other) = (places.enter(peer("192.0.2.1")), places.enter(peer("192.0.2.2")));
        let mut taken: Vec<Place> = (0..PER_PEER).map(|_| greedy.take(false).unwrap()).collect();
        assert!(greedy.take(false).is_none());
        assert!(places.enter(peer("::ffff:192.0.2.1")).take(false).is_none(), "the same address");
        taken.push(greedy.take(true).unwrap());
        taken.push(places.enter(Peer::Unix).take(false).unwrap());
        taken.extend((taken.len()..PLACES).map(|_| other.take(false).unwrap()));
        assert!(other.take(true).is_none(), "there is no more");
        taken.pop();
        assert!(other.take(false).is_some());
        drop(taken);
        let state = lock(&places.state);
        assert_eq!((state.all, state.taken.len()), (0, 0));
    }

    #[test]
    fn the_connection_that_has_been_idle_for_longest_gives_way() {
        let places = Arc::new(Places::default());
        let mut all: Vec<_> = (0..CONNECTIONS).map(|_| places.enter(peer("192.0.2.1"))).collect();
        let busy = all[0].take(false).unwrap();
        drop(all[1].take(false).unwrap());
        all.push(places.enter(peer("192.0.2.2")));
        let told = |all: &[Arc<Connection>]| -> Vec<usize> { (0..4).filter(|at| is_told_to_end(&all[*at])).collect() };
        assert_eq!(told(&all), [2], "the first is busy, and the second was busy later");
        drop(busy);
        all.push(places.enter(peer("192.0.2.2")));
        assert_eq!(told(&all), [3]);
        drop(all);
        assert!(lock(&places.state).connections.is_empty());
    }

    #[test]
    fn a_customers_network_is_one_peer() {
        assert_eq!(peer("2001:db8:1:2:3::4"), peer("2001:db8:1:2::9"));
        assert_ne!(peer("2001:db8:1:2::4"), peer("2001:db8:1:3::4"));
        assert_ne!(peer("::1"), peer("::2"));
    }
}
