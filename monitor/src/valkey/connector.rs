//! Finds the server to write to: a single server, the master that sentinels know, or a cluster.

use std::sync::Arc;
use std::time::Duration;

use super::answers::Limits;
use super::cluster::Cluster;
use super::dial::{Dial, Login};
use super::fault::Fault;
use super::link::Link;
use super::options::ValkeyOptions;
use super::pipeline::together;
use super::target::{Address, HostPort, Topology, shown};

/// Timeout for finding the server, connecting, authenticating and the first PING together.
const ATTEMPT: Duration = Duration::from_millis(4500);

/// Finds the server anew each time.
#[derive(Debug)]
pub(crate) struct Connector {
    dial: Arc<Dial>,
    /// The number of the host that is tried next.
    turn: usize,
}

impl Connector {
    /// Connects as `options` say, for a writer.
    pub(crate) fn new(options: ValkeyOptions) -> Self {
        Self::with(options, Limits::WRITER)
    }

    fn with(options: ValkeyOptions, limits: Limits) -> Self {
        Self { dial: Arc::new(Dial::new(options, limits)), turn: 0 }
    }

    /// Moves on to the next host, after the current one has failed.
    pub(crate) fn next(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Finds the server, connects, authenticates and sends a PING.
    pub(crate) async fn connect(&mut self) -> Result<Link, Fault> {
        let result = match tokio::time::timeout(ATTEMPT, self.attempt()).await {
            Ok(result) => result,
            Err(_) => Err(Fault::new(format!("{} does not answer", self.dial.target()))),
        };
        if result.is_err() {
            self.next();
        }
        result
    }

    async fn attempt(&self) -> Result<Link, Fault> {
        match &self.dial.target().address {
            Address::Unix(path) => Ok(Link::to_server(self.dial.socket(path).await?)),
            Address::None => Err(Fault::new("no server is named")),
            Address::Tcp { hosts, topology: Topology::Any, .. } => {
                Ok(Link::to_server(self.dial.host(&hosts[self.turn % hosts.len()]).await?))
            }
            Address::Tcp { hosts, topology: Topology::Sentinel(name), .. } => {
                let master = self.master(&hosts[self.turn % hosts.len()], name).await?;
                Ok(Link::to_server(self.dial.host(&master).await?))
            }
            Address::Tcp { hosts, topology: Topology::Cluster, .. } => {
                let cluster = Cluster::open(Arc::clone(&self.dial), hosts.clone()).await?;
                Ok(Link::to_cluster(cluster))
            }
        }
    }

    /// Asks a sentinel for the address of the master, with one login after the other while they are refused.
    async fn master(&self, sentinel: &HostPort, name: &str) -> Result<HostPort, Fault> {
        let mut refused = Fault::new("no login");
        for login in self.dial.sentinel_logins()? {
            match self.ask(sentinel, &login, name).await {
                Err(fault) if fault.is_about_login() => refused = fault,
                other => return other,
            }
        }
        Err(refused)
    }

    async fn ask(&self, sentinel: &HostPort, login: &Login, name: &str) -> Result<HostPort, Fault> {
        let mut connection = self.dial.sentinel(sentinel, login).await?;
        let question = [redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).to_owned().into()];
        let answer =
            together(&mut connection, &question, ATTEMPT).await.pop().unwrap_or_else(|| Err(Fault::garbled()))?;
        let sentinel = shown(sentinel);
        let master: Option<HostPort> = redis::from_redis_value(answer)
            .map_err(|_| Fault::new(format!("the sentinel at {sentinel} answers without an address")))?;
        master.ok_or_else(|| Fault::new(format!("the sentinel at {sentinel} knows no master called {name}")))
    }
}

/// Connects for a reader.
pub(crate) async fn connect(options: &ValkeyOptions) -> Result<Link, Fault> {
    let mut connector = Connector::with(options.clone(), Limits::READER);
    let mut tried = connector.connect().await;
    // Each of several hosts is tried once.
    for _ in 1..options.target.hosts() {
        if tried.is_err() {
            tried = connector.connect().await;
        }
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::valkey::Target;

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_an_error_at_once_and_the_next_host_has_its_turn() {
        let target = Target::parse("valkey://127.0.0.1:1,127.0.0.1:2").unwrap();
        let mut connector = Connector::new(ValkeyOptions { target, ..ValkeyOptions::default() });
        for turn in 0..2 {
            assert_eq!(connector.turn, turn);
            let fault = connector.connect().await.err().unwrap();
            assert!(fault.text.contains("refused"), "{fault}");
        }
    }
}
