//! The interface of the Docker engine, which Podman serves as well: HTTP on a Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::{Body, to_bytes};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::files::Docker;
use crate::containers::info::ContainerInfo;
use crate::snapshot::Stamp;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// After it took longer, or there was none, nothing is asked for so long.
const REST: Duration = Duration::from_secs(30);
/// No answer is longer.
const LONGEST: usize = 4 << 20;

/// A socket of a runtime's.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    rests_until: Duration,
    /// When it was last asked for new names.
    asked: Option<Stamp>,
    /// Where the runtime keeps its files, once it has said so.
    root: Option<PathBuf>,
}

impl Socket {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, rests_until: Duration::ZERO, asked: None, root: None }
    }

    /// When a runtime that is there and did not answer is asked again.
    pub(super) fn rests_until(&self, now: Duration) -> Option<Duration> {
        (now < self.rests_until && self.path.exists()).then_some(self.rests_until)
    }

    /// Where the runtime keeps its files: they tell at once what it tells only when a container has started.
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

    /// What the runtime says of a container; `None` when it does not know it, or does not answer.
    pub(super) async fn look_up(&mut self, id: &str, now: Stamp) -> Option<ContainerInfo> {
        let body = self.get(&format!("/containers/{id}/json"), now).await?;
        // Containers that were there before the first answer have their names from it.
        self.asked.get_or_insert(now);
        Some(serde_json::from_slice::<Docker>(&body).ok()?.into())
    }

    /// The ids of the containers that were renamed since it was last asked.
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

    /// The body of an answer. Who does not answer is left alone for a while.
    async fn get(&mut self, path: &str, now: Stamp) -> Option<Bytes> {
        if now.mono < self.rests_until {
            return None;
        }
        let answer = tokio::time::timeout(PATIENCE, get(&self.path, path)).await.context("it does not answer");
        match answer.and_then(|answer| answer) {
            Ok(body) => body,
            Err(error) => {
                tracing::debug!("{}: {error:#}", self.path.display());
                self.rests_until = now.mono + REST;
                None
            }
        }
    }
}

/// `None` when there is nothing of that path.
async fn get(socket: &std::path::Path, path: &str) -> anyhow::Result<Option<Bytes>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header("host", "runtime").header("connection", "close").body(Body::empty())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            bail!("{path}: {status}");
        }
        Ok(Some(to_bytes(Body::new(response.into_body()), LONGEST).await?))
    };
    let connection = tokio::spawn(connection);
    let answer = answer.await;
    connection.abort();
    answer
}
