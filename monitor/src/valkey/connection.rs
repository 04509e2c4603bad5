//! A connection of the client library whose answers are bounded.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisResult, Value};
use tokio::task::JoinHandle;

use super::answers::Limits;
use super::bounded::{Bounded, Meter};
use super::fault::{Fault, FaultKind};
use super::socket::Socket;

/// A connection that ends with its last clone.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    library: MultiplexedConnection,
    meter: Arc<Meter>,
    driver: Arc<Driver>,
}

/// The task that moves the bytes.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Begins a connection. Nothing is sent.
    pub(super) async fn new(socket: Socket, limits: Limits) -> RedisResult<Self> {
        let meter = Arc::new(Meter::default());
        let bounded = Bounded::new(socket, limits, Arc::clone(&meter));
        // Each pipeline has its own timeout.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        // The greeting is sent by `dial`, which sees the server's own words.
        let silent = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        let (library, driver) = MultiplexedConnection::new_with_config(&silent, bounded, config).await?;
        Ok(Self { library, meter, driver: Arc::new(Driver(tokio::spawn(driver))) })
    }

    /// Sends commands, and waits for their answers. An error of one is its answer.
    pub(super) async fn send(&mut self, pipeline: &mut Pipeline) -> Result<Vec<RedisResult<Value>>, Fault> {
        self.meter.begin();
        let answers = pipeline.ignore_errors().query_async(&mut self.library).await;
        answers.map_err(|error| match self.meter.reply_error() {
            Some(reply_error) => Fault { text: reply_error.to_string(), kind: FaultKind::RefusedReply },
            None => Fault::new(Fault::from(error).text),
        })
    }

    /// Returns whether the server has not closed the connection, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.driver.0.is_finished()
    }

    /// The latest error that the server has sent, asked or not.
    pub(super) fn last_error(&self) -> Option<String> {
        self.meter.last_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_the_server_closes_is_noticed_before_anything_is_sent() {
        let (server, client) = tokio::io::duplex(64);
        let connection = Connection::new(Box::new(client), Limits::WRITER).await.unwrap();
        tokio::task::yield_now().await;
        assert!(connection.is_open());
        drop(server);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!connection.is_open());
    }
}
