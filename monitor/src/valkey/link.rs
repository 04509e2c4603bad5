//! A connection to write to: to one server, or to the nodes of a cluster.

use std::time::Duration;

use redis::Cmd;

use super::cluster::Cluster;
use super::connection::Connection;
use super::fault::Fault;
use super::pipeline::{Answer, together};
use super::request::Request;

/// Timeout of one question of a reader.
const ANSWER: Duration = Duration::from_secs(3);

/// A connection that was good when it was made.
pub(crate) struct Link {
    way: Way,
}

enum Way {
    /// `None` once it has failed.
    One(Option<Connection>),
    Cluster(Box<Cluster>),
}

impl Link {
    pub(super) fn to_server(connection: Connection) -> Self {
        Self { way: Way::One(Some(connection)) }
    }

    pub(super) fn to_cluster(cluster: Cluster) -> Self {
        Self { way: Way::Cluster(Box::new(cluster)) }
    }

    /// Sends commands, those for one server together, and waits for all answers. The timeout is per server.
    pub(crate) async fn send(&mut self, requests: &[Request], timeout: Duration) -> Vec<Answer> {
        match &mut self.way {
            Way::Cluster(cluster) => cluster.send(requests, timeout).await,
            Way::One(one) => {
                let Some(connection) = one else { return vec![Err(Fault::new("not connected")); requests.len()] };
                let answers = together(connection, requests, timeout).await;
                if answers.iter().any(|answer| answer.as_ref().is_err_and(|fault| !fault.is_answer())) {
                    *one = None;
                }
                answers
            }
        }
    }

    /// Returns whether the link can still be used.
    pub(crate) fn is_good(&self) -> bool {
        match &self.way {
            Way::One(one) => one.is_some(),
            Way::Cluster(cluster) => cluster.is_good(),
        }
    }

    /// Returns whether the server has closed the connection. A cluster connects to its nodes by itself.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(&self.way, Way::One(Some(connection)) if !connection.is_open())
    }

    /// Returns whether all keys are on one server.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.way, Way::One(_))
    }

    /// Sends many requests of a reader; an error reply fails its own request alone.
    pub(crate) async fn ask_all<T: redis::FromRedisValue>(
        &mut self,
        commands: Vec<Cmd>,
        timeout: Duration,
    ) -> Result<Vec<Result<T, Fault>>, Fault> {
        let requests: Vec<Request> = commands.into_iter().map(Request::from).collect();
        let answers = self.send(&requests, timeout).await;
        if let Some(Err(fault)) = answers.iter().find(|answer| answer.as_ref().is_err_and(|fault| !fault.is_answer())) {
            return Err(fault.clone());
        }
        let typed = |value| redis::from_redis_value(value).map_err(|error| Fault::from(redis::RedisError::from(error)));
        Ok(answers.into_iter().map(|answer| answer.and_then(typed)).collect())
    }

    /// Sends one request of a reader.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&mut self, command: Cmd) -> Result<T, Fault> {
        let answer = self.send(&[command.into()], ANSWER).await.pop().unwrap_or_else(|| Err(Fault::garbled()))?;
        redis::from_redis_value(answer).map_err(|error| Fault::from(redis::RedisError::from(error)))
    }
}
