//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): each tick, and each log
//! entry.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hyper::body::{self, Bytes};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};

use super::budget::Budget;
use super::frame::Frame;
use super::judge::{ContainerFinding, Judge};
use super::log_entry::LogEntry;
use super::view::{ContainerView, UNKNOWN};
use crate::metrics::Metric;
use crate::mutex::lock;
use crate::snapshot::Status;
use crate::unix_time::unix_millis;

/// The interval of comments, which keep proxies from closing an idle connection.
const COMMENT: Duration = Duration::from_secs(15);

/// The fields of a container in each tick besides its numbers.
const STATE: [&str; 4] = ["status", "host", "runtime", "taken"];

/// The numbers in each tick: those of the overview. Clients request the others.
const NUMBERS: &[Metric] = &[
    Metric::CpuPercent,
    Metric::CpuUsageCores,
    Metric::CpuThrottledPercent,
    Metric::CpuPressure,
    Metric::MemoryUsage,
    Metric::MemoryPercent,
    Metric::MemoryWorkingSet,
    Metric::MemoryLimit,
    Metric::OomKills,
    Metric::MemoryPressureSome,
    Metric::MemoryPressureFull,
    Metric::NetworkRxRate,
    Metric::NetworkTxRate,
    Metric::IoReadRate,
    Metric::IoWriteRate,
    Metric::IoPressure,
    Metric::DiskPercent,
    Metric::InodesUsed,
    Metric::InodesTotal,
    Metric::ProcessCount,
    Metric::Threads,
    Metric::PidsLimit,
    Metric::FileDescriptors,
    Metric::DescriptorsNearest,
    Metric::Uptime,
];

/// The sources of a client's events.
#[derive(Debug)]
pub(super) struct News {
    pub(super) ticks: watch::Receiver<Option<Arc<Frame>>>,
    pub(super) entries: broadcast::Receiver<Bytes>,
    pub(super) judge: Arc<Mutex<Judge>>,
    pub(super) budget: Arc<Budget>,
}

/// A stream of events for one client. A client that reads slowly misses ticks; it gets the latest.
pub(super) fn body(news: News, permit: OwnedSemaphorePermit) -> Body {
    let (frames, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tell(news, &frames).await;
        drop(permit);
    });
    Body::new(Frames(receiver))
}

/// Sends events until the client is gone or no more will come.
async fn tell(News { mut ticks, mut entries, judge, budget }: News, frames: &mpsc::Sender<Bytes>) {
    let mut comment = tokio::time::interval(COMMENT);
    comment.tick().await;
    ticks.mark_changed();
    loop {
        let frame = tokio::select! {
            changed = ticks.changed() => {
                if changed.is_err() {
                    return;
                }
                let latest = ticks.borrow_and_update().clone();
                // Nothing has been read yet: a comment sends the head of the answer, so that the client knows that it
                // is connected. A skipped tick sends a comment too: too many old ones have not been read.
                let event = |frame: Arc<Frame>| frame.event.get_or_make(|| budget.hold(tick(&frame, &judge))).ok();
                latest.and_then(event).unwrap_or(Bytes::from_static(b": soon\n\n"))
            }
            entry = entries.recv() => match entry {
                Ok(frame) => frame,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            _ = comment.tick() => Bytes::from_static(b": still here\n\n"),
            () = frames.closed() => return,
        };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

/// A body whose frames come from a channel.
struct Frames(mpsc::Receiver<Bytes>);

impl body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(body::Frame::data(part))))
    }
}

/// The `tick` event of a frame.
fn tick(frame: &Frame, judge: &Mutex<Judge>) -> Bytes {
    let findings = lock(judge).findings(frame);
    let taken = unix_millis(frame.taken);
    event("tick", Some(taken), &FrameDocument { frame, findings })
}

/// The event of a log entry.
pub(super) fn log(name: &str, entry: &LogEntry) -> Bytes {
    #[derive(serde::Serialize)]
    struct Log<'a> {
        name: &'a str,
        #[serde(flatten)]
        entry: &'a LogEntry,
    }
    event("log", None, &Log { name, entry })
}

/// Formats an event. JSON has no line breaks of its own, whatever the names are.
fn event(name: &str, id: Option<u64>, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {name}\n");
    if let Some(id) = id {
        // Writing to a text cannot fail.
        _ = writeln!(text, "id: {id}");
    }
    text += "data: ";
    text += &serde_json::to_string(data).unwrap_or_default();
    text += "\n\n";
    text.into()
}

struct FrameDocument<'a> {
    frame: &'a Frame,
    findings: Vec<ContainerFinding>,
}

impl Serialize for FrameDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("taken", &unix_millis(self.frame.taken))?;
        map.serialize_entry("fields", &fields().collect::<Vec<_>>())?;
        map.serialize_entry("rows", &ContainerRows(self.frame))?;
        map.serialize_entry("findings", &self.findings)?;
        map.end()
    }
}

/// The names of a row's fields, in order.
pub(super) fn fields() -> impl Iterator<Item = &'static str> {
    STATE.into_iter().chain(NUMBERS.iter().map(|metric| metric.spec().name()))
}

struct ContainerRows<'a>(&'a Frame);

impl Serialize for ContainerRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.containers.iter().map(|view| (view.name(), ContainerRow(view))))
    }
}

struct ContainerRow<'a>(&'a ContainerView);

impl Serialize for ContainerRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(STATE.len() + NUMBERS.len()))?;
        row.serialize_element(self.0.status().map_or(UNKNOWN, Status::as_str))?;
        row.serialize_element(&self.0.host())?;
        row.serialize_element(&self.0.runtime())?;
        row.serialize_element(&self.0.taken().map(unix_millis))?;
        for metric in NUMBERS {
            row.serialize_element(&self.0.number(*metric))?;
        }
        row.end()
    }
}
