//! Client of the Docker engine's API, which Podman serves as well: HTTP on a Unix socket.

use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use hyper::body::Body;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::files::Docker;
use crate::containers::info::ContainerInfo;
use crate::snapshot::Stamp;

/// Timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Cooldown after a failed request.
const COOLDOWN: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const LONGEST: usize = 4 << 20;

/// An error of a request to a runtime.
#[derive(Debug, thiserror::Error)]
enum SocketError {
    #[error("connect: {0}")]
    Connect(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    #[error("{0}: {1}")]
    Status(String, StatusCode),
    #[error("the answer is longer than {LONGEST} bytes")]
    TooLong,
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
}

/// The API socket of a runtime.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    rests_until: Duration,
    /// The time of the last query for renamed containers.
    asked: Option<Stamp>,
    /// The runtime's root directory, once known.
    root: Option<PathBuf>,
}

impl Socket {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, rests_until: Duration::ZERO, asked: None, root: None }
    }

    /// Returns the end of the cooldown of a runtime that exists and did not answer.
    pub(super) fn rests_until(&self, now: Duration) -> Option<Duration> {
        (now < self.rests_until && self.path.exists()).then_some(self.rests_until)
    }

    /// Returns the runtime's root directory: its files are written earlier than the API knows a new container.
    pub(super) async fn root(&mut self, now: Stamp) -> Option<PathBuf> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            docker_root_dir: PathBuf,
        }
        if self.root.is_none() {
            let body = self.get("/info", now).await?;
            self.root = serde_json::from_slice::<Info>(&body).ok().map(|info| info.docker_root_dir);
        }
        self.root.clone()
    }

    /// Queries a container; `None` if the runtime does not know it, or does not answer.
    pub(super) async fn look_up(&mut self, id: &str, is_in_pod: bool, now: Stamp) -> Option<ContainerInfo> {
        let body = self.get(&format!("/containers/{id}/json"), now).await?;
        // Later renames are queried from the first answer on.
        self.asked.get_or_insert(now);
        Some(serde_json::from_slice::<Docker>(&body).ok()?.into_info(is_in_pod))
    }

    /// Returns the ids of the containers renamed since the last call.
    pub(super) async fn renamed(&mut self, now: Stamp) -> Vec<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Event {
            actor: Actor,
        }
        #[derive(Deserialize)]
        struct Actor {
            #[serde(rename = "ID")]
            id: String,
        }
        let Some(since) = self.asked else { return Vec::new() };
        let seconds = |at: Stamp| {
            let since_1970 = at.wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            format!("{}.{:09}", since_1970.as_secs(), since_1970.subsec_nanos())
        };
        // {"type":["container"],"event":["rename"]}
        let filters = "%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22rename%22%5D%7D";
        let path = format!("/events?since={}&until={}&filters={filters}", seconds(since), seconds(now));
        let Some(body) = self.get(&path, now).await else { return Vec::new() };
        self.asked = Some(now);
        let events = serde_json::Deserializer::from_slice(&body).into_iter::<Event>();
        events.map_while(Result::ok).map(|event| event.actor.id).collect()
    }

    /// Returns the body of an answer. A failure starts the cooldown.
    async fn get(&mut self, path: &str, now: Stamp) -> Option<Vec<u8>> {
        if now.mono < self.rests_until {
            return None;
        }
        let answer = tokio::time::timeout(TIMEOUT, get(&self.path, path)).await;
        match answer.unwrap_or(Err(SocketError::Timeout)) {
            Ok(body) => body,
            Err(error) => {
                tracing::debug!(socket = %self.path.display(), %error, "Error querying the container runtime");
                self.rests_until = now.mono + COOLDOWN;
                None
            }
        }
    }
}

/// Returns the body of an answer; `None` if the path is not found.
async fn get(socket: &Path, path: &str) -> Result<Option<Vec<u8>>, SocketError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header("host", "runtime").header("connection", "close").body(String::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => read(response.into_body()).await.map(Some),
            status => Err(SocketError::Status(path.to_owned(), status)),
        }
    };
    let connection = tokio::spawn(connection);
    let answer = answer.await;
    connection.abort();
    answer
}

/// Reads a whole body.
async fn read(mut body: hyper::body::Incoming) -> Result<Vec<u8>, SocketError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > LONGEST {
            return Err(SocketError::TooLong);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixListener;

    use super::*;

    /// Answers the first request with a beginning, and after it with the same piece again and again.
    async fn endless(listener: UnixListener, beginning: &'static str, piece: &'static str) {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let pieces = piece.repeat(1 << 16);
        let mut is_taken = stream.write_all(beginning.as_bytes()).await.is_ok();
        while is_taken {
            is_taken = stream.write_all(pieces.as_bytes()).await.is_ok();
        }
    }

    #[tokio::test]
    async fn an_answer_without_an_end_costs_the_name_alone() {
        let now = Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH };
        for (beginning, piece) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "["),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", "{"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
            ("HTTP/1.1 200 OK\r\n", "name: value\r\n"),
            ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "x"),
            ("", "no answer at all "),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            let runtime = tokio::spawn(endless(UnixListener::bind(&path).unwrap(), beginning, piece));
            let mut socket = Socket::new(path);
            assert_eq!(socket.look_up("0123", false, now).await, None, "{beginning}");
            assert_eq!(socket.rests_until(now.mono), Some(now.mono + COOLDOWN), "{beginning}");
            runtime.abort();
        }
    }
}
