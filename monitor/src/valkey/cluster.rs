//! A cluster: the map from slots to nodes, and one pipeline per node, all in parallel.
//!
//! The library's own cluster client is not used: it refuses a pipeline over several slots, it retries commands that may
//! have been executed, and one node that hangs makes it fail as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::dial::Dial;
use super::fault::{Fault, FaultKind};
use super::pipeline::{Answer, together};
use super::request::Request;
use super::target::HostPort;

/// The number of slots (the cluster specification).
const SLOTS: u16 = 16384;
/// The most redirections that a command follows.
const REDIRECTIONS: usize = 3;
/// The most masters that are talked to: a server may name as many as it likes.
const NODES: usize = 256;
/// The longest name of a host (RFC 1035).
const LONGEST_NAME: usize = 253;
/// The most nodes that are asked for the map at once.
const ASKED: usize = 16;
/// Timeout of a request for the map of slots.
const MAP: Duration = Duration::from_secs(2);

/// The nodes of a cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    dial: Arc<Dial>,
    seeds: Vec<HostPort>,
    /// The last slot of each range, and the node that has it.
    slots: BTreeMap<u16, HostPort>,
    nodes: BTreeMap<HostPort, Connection>,
    /// True if the map must be read again before it is used.
    stale: bool,
}

/// A command for a node: its position among the requests, and true if `ASKING` has to precede it.
type RoutedCommand = (usize, bool);

impl Cluster {
    /// Reads the map of slots from the first of `seeds` that answers.
    pub(super) async fn open(dial: Arc<Dial>, seeds: Vec<HostPort>) -> Result<Self, Fault> {
        let mut cluster = Self { dial, seeds, slots: BTreeMap::new(), nodes: BTreeMap::new(), stale: true };
        cluster.learn().await?;
        Ok(cluster)
    }

    /// Returns whether any node may answer.
    pub(super) fn is_good(&self) -> bool {
        !self.stale || !self.nodes.is_empty()
    }

    /// Asks some known nodes for the map at once, and takes the first answer: any of them may hang.
    async fn learn(&mut self) -> Result<(), Fault> {
        // Seeds may be gone, and connected nodes may hang: some of each.
        let known =
            self.seeds.iter().take(ASKED / 2).chain(self.nodes.keys()).chain(&self.seeds).chain(self.slots.values());
        let mut chosen = BTreeSet::new();
        for host in known {
            if chosen.len() < ASKED {
                chosen.insert(host.clone());
            }
        }
        let mut asked = JoinSet::new();
        for host in chosen {
            let (dial, connection) = (Arc::clone(&self.dial), self.nodes.get(&host).cloned());
            asked.spawn(async move {
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => dial.host(&host).await?,
                };
                let question = [redis::cmd("CLUSTER").arg("SLOTS").to_owned().into()];
                let answer =
                    together(&mut connection, &question, MAP).await.pop().unwrap_or_else(|| Err(Fault::garbled()))?;
                let slots = map(&answer, &host).ok_or_else(|| Fault::new("the cluster has no slots yet"))?;
                Ok::<_, Fault>((host, connection, slots))
            });
        }
        let mut first = Fault::new("the cluster has no nodes");
        while let Some(replies) = asked.join_next().await {
            match replies.unwrap_or_else(|_| Err(Fault::garbled())) {
                Ok((host, connection, slots)) => {
                    self.nodes.insert(host, connection);
                    self.nodes.retain(|host, _| slots.values().any(|other| other == host));
                    self.slots = slots;
                    self.stale = false;
                    return Ok(());
                }
                Err(fault) => first = fault,
            }
        }
        Err(first)
    }

    /// Sends commands, and follows redirections. A node that does not answer within `timeout` fails its commands alone.
    pub(super) async fn send(&mut self, requests: &[Request], timeout: Duration) -> Vec<Answer> {
        if self.stale
            && let Err(fault) = self.learn().await
        {
            self.nodes.clear();
            return vec![Err(fault); requests.len()];
        }
        let nobody = || Err(Fault { text: "no node serves the key's slot".to_owned(), kind: FaultKind::Refused });
        let mut answers: Vec<Answer> = requests.iter().map(|_| nobody()).collect();
        let mut commands: BTreeMap<HostPort, Vec<RoutedCommand>> = BTreeMap::new();
        for (number, request) in requests.iter().enumerate() {
            match self.node(request) {
                Some(host) => commands.entry(host).or_default().push((number, false)),
                None => self.stale = true,
            }
        }
        for _ in 0..REDIRECTIONS {
            let mut elsewhere: BTreeMap<HostPort, Vec<RoutedCommand>> = BTreeMap::new();
            for (host, sent, answered) in self.round(requests, commands, timeout).await {
                for ((number, _), answer) in sent.into_iter().zip(answered) {
                    if let Some((other, asking)) = redirection(&answer, &host) {
                        self.stale |= !asking;
                        elsewhere.entry(other).or_default().push((number, asking));
                    }
                    answers[number] = answer;
                }
            }
            if elsewhere.is_empty() {
                break;
            }
            commands = elsewhere;
        }
        answers
    }

    fn node(&self, request: &Request) -> Option<HostPort> {
        let slot = request.key().map_or(0, slot);
        self.slots.range(slot..).next().map(|(_, host)| host.clone())
    }

    /// Sends one pipeline to each node, in parallel.
    async fn round(
        &mut self,
        requests: &[Request],
        commands: BTreeMap<HostPort, Vec<RoutedCommand>>,
        timeout: Duration,
    ) -> Vec<(HostPort, Vec<RoutedCommand>, Vec<Answer>)> {
        let mut pipelines = JoinSet::new();
        let mut replies = Vec::new();
        for (host, commands) in commands {
            if pipelines.len() >= NODES {
                let refused =
                    Err(Fault { text: "the cluster names too many nodes".to_owned(), kind: FaultKind::Refused });
                replies.push((host, commands.clone(), vec![refused; commands.len()]));
                continue;
            }
            let (dial, connection) = (Arc::clone(&self.dial), self.nodes.remove(&host));
            let pipeline: Vec<Request> = commands.iter().flat_map(|command| words(requests, *command)).collect();
            pipelines.spawn(async move {
                let connection = match connection {
                    Some(connection) => Ok(connection),
                    None => dial.host(&host).await,
                };
                match connection {
                    Ok(mut connection) => {
                        let answers = together(&mut connection, &pipeline, timeout).await;
                        (host, commands, answers, Some(connection))
                    }
                    Err(fault) => (host, commands, vec![Err(fault); pipeline.len()], None),
                }
            });
        }
        while let Some(Ok((host, commands, mut answers, connection))) = pipelines.join_next().await {
            let is_good = answers.iter().all(|answer| answer.as_ref().err().is_none_or(Fault::is_answer));
            match connection.filter(|_| is_good) {
                Some(connection) => _ = self.nodes.insert(host.clone(), connection),
                // The node may be gone for good, and its slots may be on another node.
                None => self.stale = true,
            }
            let mut asking = commands.iter().flat_map(|(_, asking)| [asking.then_some(false), Some(true)]).flatten();
            answers.retain(|_| asking.next().unwrap_or(true));
            replies.push((host, commands, answers));
        }
        replies
    }
}

/// The requests that send a command to a node, with `ASKING` before it if needed.
fn words(requests: &[Request], (number, asking): RoutedCommand) -> impl Iterator<Item = Request> {
    let asking = asking.then(|| redis::cmd("ASKING").into());
    asking.into_iter().chain(std::iter::once(requests[number].clone()))
}

/// The node to which an answer redirects, and true if only for this command.
fn redirection(answer: &Answer, asked: &HostPort) -> Option<(HostPort, bool)> {
    match &answer.as_ref().err()?.kind {
        FaultKind::Moved(address) => Some((host(address, asked)?, false)),
        FaultKind::Ask(address) => Some((host(address, asked)?, true)),
        _ => None,
    }
}

/// Parses `host:port`; a node that does not know its own name means the one by which it was asked.
fn host(address: &str, asked: &HostPort) -> Option<HostPort> {
    let (host, port) = address.rsplit_once(':').filter(|(host, _)| host.len() <= LONGEST_NAME)?;
    Some((if host.is_empty() { asked.0.clone() } else { host.to_owned() }, port.parse().ok()?))
}

/// Parses the answer to `CLUSTER SLOTS`: ranges with their first and last slot, and their nodes, the master first.
fn map(answer: &Value, asked: &HostPort) -> Option<BTreeMap<u16, HostPort>> {
    let Value::Array(ranges) = answer else { return None };
    let mut slots = BTreeMap::new();
    let mut nodes = BTreeSet::new();
    for (last, node) in ranges.iter().take(SLOTS.into()).filter_map(|found| range(found, asked)) {
        if nodes.len() < NODES || nodes.contains(&node) {
            nodes.insert(node.clone());
            slots.insert(last, node);
        }
    }
    (!slots.is_empty()).then_some(slots)
}

fn range(range: &Value, asked: &HostPort) -> Option<(u16, HostPort)> {
    let Value::Array(parts) = range else { return None };
    let [_, Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
    let [name, Value::Int(port), ..] = &master[..] else { return None };
    let name: Option<String> = redis::from_redis_value(name.clone()).ok()?;
    let name = name.filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME);
    let name = name.unwrap_or_else(|| asked.0.clone());
    Some((u16::try_from(*last).ok()?, (name, u16::try_from(*port).ok()?)))
}

/// The slot of a key: CRC-16 (XMODEM) of its hash tag, or of the whole key if it has none.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0).map(|close| &rest[..close])
    });
    let crc = tag.unwrap_or(key).iter().fold(0u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str, port: u16) -> HostPort {
        (text.to_owned(), port)
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!((slot(b"123456789"), slot(b"foo"), slot(b"")), (0x31C3 % SLOTS, 12182, 0));
        assert_eq!(slot(b"a{foo}b"), slot(b"foo"));
        assert_eq!((slot(b"{}foo") == slot(b"foo"), slot(b"{foo") == slot(b"foo")), (false, false));
    }

    #[test]
    fn the_map_is_read_and_a_node_without_a_name_is_the_one_asked() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, node: Value, port| {
            Value::Array(vec![
                Value::Int(first),
                Value::Int(last),
                Value::Array(vec![node, Value::Int(port), text("id")]),
            ])
        };
        let answer = Value::Array(vec![range(0, 5460, text("10.0.0.1"), 1), range(5461, 16383, Value::Nil, 2)]);
        let slots = map(&answer, &name("seed", 9)).unwrap();
        assert_eq!(slots.into_iter().collect::<Vec<_>>(), [(5460, name("10.0.0.1", 1)), (16383, name("seed", 2))]);
        assert_eq!(map(&Value::Array(Vec::new()), &name("seed", 9)), None);
    }

    #[test]
    fn a_server_that_names_too_many_nodes_has_only_some() {
        let text = |text: String| Value::BulkString(text.into_bytes());
        let range = |slot: i64| {
            let node = Value::Array(vec![text(format!("host{slot}")), Value::Int(1), text("id".to_owned())]);
            Value::Array(vec![Value::Int(slot), Value::Int(slot), node])
        };
        let slots = map(&Value::Array((0..16384).map(range).collect()), &name("seed", 9)).unwrap();
        assert_eq!(slots.len(), NODES);
        assert_eq!(host(&format!("{}:1", "x".repeat(300)), &name("seed", 9)), None);
    }

    #[test]
    fn redirections_are_followed_to_where_they_say() {
        let fault = |kind| Err(Fault { text: String::new(), kind });
        let asked = name("seed", 9);
        assert_eq!(redirection(&fault(FaultKind::Moved("h:1".into())), &asked), Some((name("h", 1), false)));
        assert_eq!(redirection(&fault(FaultKind::Ask(":2".into())), &asked), Some((name("seed", 2), true)));
        assert_eq!(redirection(&fault(FaultKind::Ask("::1:3".into())), &asked), Some((name("::1", 3), true)));
        assert_eq!(redirection(&fault(FaultKind::Refused), &asked), None);
    }
}
