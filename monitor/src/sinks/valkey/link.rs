//! The way to the server that is to be written to, whatever it is: one server, the master that sentinels know, a cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use super::cluster::Cluster;
use super::dial::Dial;
use super::fault::Fault;
use super::request::Request;
use super::target::{Address, Host, Topology};
use super::{ValkeyOptions, target};

/// Finding the server, connecting, authenticating and asking for a sign of life together.
const ATTEMPT: Duration = Duration::from_millis(4500);
/// How long one question of a reader may take.
const ANSWER: Duration = Duration::from_secs(3);

/// What became of a command.
pub(super) type Answer = Result<Value, Fault>;

/// Finds the server anew each time.
#[derive(Debug)]
pub(crate) struct Connector {
    dial: Arc<Dial>,
    /// Whose turn it is, of several hosts.
    turn: usize,
}

impl Connector {
    /// Connects as `options` say.
    pub(crate) fn new(options: ValkeyOptions) -> Self {
        Self { dial: Arc::new(Dial::new(options)), turn: 0 }
    }

    /// Goes on to the next host: the one before has failed.
    pub(super) fn next(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Finds the server, connects, authenticates and asks for a sign of life.
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
        let one = |connection| Link { way: Way::One(Some(connection)) };
        match &self.dial.target().address {
            Address::Unix(path) => Ok(one(self.dial.socket(path).await?)),
            Address::None => Err(Fault::new("no server is named")),
            Address::Tcp { hosts, topology: Topology::Any, .. } => {
                Ok(one(self.dial.host(&hosts[self.turn % hosts.len()]).await?))
            }
            Address::Tcp { hosts, topology: Topology::Sentinel(name), .. } => {
                let master = self.master(&hosts[self.turn % hosts.len()], name).await?;
                Ok(one(self.dial.host(&master).await?))
            }
            Address::Tcp { hosts, topology: Topology::Cluster, .. } => {
                let cluster = Cluster::open(Arc::clone(&self.dial), hosts.clone()).await?;
                Ok(Link { way: Way::Cluster(Box::new(cluster)) })
            }
        }
    }

    /// Whom a sentinel takes for the master.
    async fn master(&self, sentinel: &Host, name: &str) -> Result<Host, Fault> {
        let mut connection = self.dial.sentinel(sentinel).await?;
        let asked = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).to_owned();
        let master: Option<Host> = asked.query_async(&mut connection).await?;
        let sentinel = target::shown(sentinel);
        master.ok_or_else(|| Fault::new(format!("the sentinel at {sentinel} knows no master called {name}")))
    }
}

/// A connection that was good when it was made.
pub(crate) struct Link {
    way: Way,
}

enum Way {
    /// `None` once it has failed.
    One(Option<MultiplexedConnection>),
    Cluster(Box<Cluster>),
}

impl Link {
    /// Sends commands, those for one server together, and waits for all answers, so long for each server.
    pub(super) async fn send(&mut self, requests: &[Request], patience: Duration) -> Vec<Answer> {
        match &mut self.way {
            Way::Cluster(cluster) => cluster.send(requests, patience).await,
            Way::One(one) => {
                let Some(connection) = one else { return vec![Err(Fault::new("not connected")); requests.len()] };
                let answers = together(connection, requests, patience).await;
                if answers.iter().any(|answer| answer.as_ref().is_err_and(|fault| !fault.is_answer())) {
                    *one = None;
                }
                answers
            }
        }
    }

    /// Whether it is of any more use.
    pub(super) fn is_good(&self) -> bool {
        match &self.way {
            Way::One(one) => one.is_some(),
            Way::Cluster(cluster) => cluster.is_good(),
        }
    }

    /// Whether all keys are on one server.
    pub(super) fn is_one(&self) -> bool {
        matches!(self.way, Way::One(_))
    }

    /// Asks many questions; the error of one that a server has answered is its own.
    pub(crate) async fn ask_all<T: redis::FromRedisValue>(
        &mut self,
        commands: Vec<Cmd>,
        patience: Duration,
    ) -> Result<Vec<Result<T, Fault>>, Fault> {
        let requests: Vec<Request> = commands.into_iter().map(Request::from).collect();
        let answers = self.send(&requests, patience).await;
        if let Some(Err(fault)) = answers.iter().find(|answer| answer.as_ref().is_err_and(|fault| !fault.is_answer())) {
            return Err(fault.clone());
        }
        let typed = |value| redis::from_redis_value(value).map_err(|error| Fault::from(redis::RedisError::from(error)));
        Ok(answers.into_iter().map(|answer| answer.and_then(typed)).collect())
    }

    /// Asks one question.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&mut self, command: Cmd) -> Result<T, Fault> {
        let answer = self.send(&[command.into()], ANSWER).await.pop().unwrap_or_else(|| Err(Fault::garbled()))?;
        redis::from_redis_value(answer).map_err(|error| Fault::from(redis::RedisError::from(error)))
    }
}

/// So many bytes go out before the answers to them are awaited: what thousands of containers have to say is megabytes, and
/// would lie in memory three times.
const PIECE: u64 = 256 << 10;

/// Sends commands in one pipeline, or in several where they are many. Without an answer to all of them there is none to any.
pub(super) async fn together(
    connection: &mut MultiplexedConnection,
    requests: &[Request],
    patience: Duration,
) -> Vec<Answer> {
    let all = async {
        let mut answers = Vec::with_capacity(requests.len());
        let mut left = requests;
        while !left.is_empty() {
            let (now, later) = left.split_at(piece(left));
            answers.extend(pipeline(connection, now).await?);
            left = later;
        }
        Ok(answers)
    };
    let fault = match tokio::time::timeout(patience, all).await {
        Ok(Ok(answers)) => return answers,
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(format!("no answer within {:.0} s", patience.as_secs_f64())),
    };
    vec![Err(fault); requests.len()]
}

/// How many of these commands, one at least, are no more than a piece.
fn piece(requests: &[Request]) -> usize {
    let mut bytes = 0;
    let fits = requests.iter().take_while(|request| {
        bytes += request.bytes();
        bytes <= PIECE
    });
    fits.count().max(1)
}

async fn pipeline(connection: &mut MultiplexedConnection, requests: &[Request]) -> Result<Vec<Answer>, Fault> {
    let mut pipeline = redis::pipe();
    requests.iter().for_each(|request| _ = pipeline.add_command(request.cmd()));
    let asked = pipeline.ignore_errors().query_async::<Vec<redis::RedisResult<Value>>>(connection);
    match asked.await {
        Ok(answers) if answers.len() == requests.len() => {
            Ok(answers.into_iter().map(|answer| answer.map_err(Fault::from)).collect())
        }
        Ok(_) => Err(Fault::garbled()),
        Err(error) => Err(Fault::new(Fault::from(error).text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_commands_go_out_piece_by_piece_and_a_long_one_alone() {
        let of = |bytes: usize| Request::from(redis::cmd("SET").arg("k").arg("x".repeat(bytes)).to_owned());
        assert_eq!(piece(&[of(1), of(1), of(1)]), 3);
        assert_eq!(piece(&[of(150_000), of(100_000), of(25_000)]), 2);
        assert_eq!(piece(&[of(2_000_000), of(1)]), 1);
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_an_error_at_once_and_the_next_host_has_its_turn() {
        let target = super::super::Target::parse("valkey://127.0.0.1:1,127.0.0.1:2").unwrap();
        let mut connector = Connector::new(ValkeyOptions { target, ..ValkeyOptions::default() });
        for turn in 0..2 {
            assert_eq!(connector.turn, turn);
            let fault = connector.connect().await.err().unwrap();
            assert!(fault.text.contains("refused"), "{fault}");
        }
    }
}
