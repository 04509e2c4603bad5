//! Sends reports to an OpenTelemetry collector: OTLP 1 over HTTP, in protocol buffers
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! This is the encoding that every receiver takes; some take no JSON. The messages are few, and written here by their
//! fields' numbers in opentelemetry-proto. Counters are cumulative: an outage of the collector costs resolution, and no
//! counts.

mod conventions;
mod metrics;
mod protobuf;
mod resource;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use self::protobuf::part;
use super::options::SinkOptions;
use super::sink::{Retry, Sink, SinkError, SinkFuture};
use crate::hardening::landlock::AllowedAccess;
use crate::report::Report;
use crate::settings::{SettingError, SettingName, Settings};
use crate::valkey::addresses;

/// Timeout of one request, connecting included.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The number of resources in one request.
const BATCH: usize = 50;
/// The longest pause that a collector is granted.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// The most bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
/// The port of OTLP over HTTP.
const PORT: u16 = 4318;

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    host: String,
    port: u16,
    path: String,
}

impl Collector {
    /// Reads `http://HOST[:4318][/PATH]`; without a path it is that of the protocol, `/v1/metrics`.
    ///
    /// # Errors
    /// The text says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write for example http://collector:4318";
        let url = Url::parse(text).map_err(|_| format!("is no URL; {example}"))?;
        if url.scheme() == "https" {
            return Err(format!("TLS is not spoken here; send to a collector beside the agent, which can: {example}"));
        }
        let (scheme, host) = (url.scheme(), url.host_str().filter(|host| !host.is_empty()));
        let host = host.filter(|_| scheme == "http").ok_or_else(|| format!("is no http:// URL; {example}"))?;
        let path = if url.path() == "/" { "/v1/metrics" } else { url.path() };
        // A parsed URL does not distinguish the scheme's own port from a missing one.
        let is_80 = text.split('/').nth(2).is_some_and(|authority| authority.ends_with(":80"));
        let port = url.port().unwrap_or(if is_80 { 80 } else { PORT });
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }
}

/// The collector that the setting names.
///
/// # Errors
/// If the setting is malformed.
pub(super) fn options(settings: &Settings) -> Result<Option<Arc<dyn SinkOptions>>, SettingError> {
    let collector = settings.optional(SettingName::Otlp, Collector::parse)?;
    Ok(collector.map(|collector| Arc::new(collector) as _))
}

impl SinkOptions for Collector {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn access(&self) -> AllowedAccess {
        AllowedAccess { connect: vec![self.port], ..AllowedAccess::default() }
    }

    fn tells_interfaces_apart(&self) -> bool {
        true
    }

    fn sink(&self) -> Box<dyn Sink> {
        Box::new(Otlp::new(self.clone()))
    }
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// The sink.
#[derive(Debug)]
pub struct Otlp {
    collector: Collector,
    connection: Option<SendRequest<Body>>,
}

impl Otlp {
    /// Creates the sink. Nothing is connected yet.
    pub fn new(collector: Collector) -> Self {
        tracing::info!(%collector, "Sending to the collector");
        Self { collector, connection: None }
    }

    async fn deliver(&mut self, report: &Report) -> Result<(), SinkError> {
        for resources in resource::resources(report).chunks(BATCH) {
            let request = metrics::request(report, resources);
            let sent = tokio::time::timeout(TIMEOUT, self.send(request.into())).await;
            let sent = sent.unwrap_or_else(|_| Err(failed("no answer in time", Retry::Soon)));
            if let Err(error) = sent {
                self.connection = None;
                let text = format!("sending metrics to {}: {}", self.collector, error.text);
                return Err(SinkError { text, ..error });
            }
        }
        Ok(())
    }

    async fn send(&mut self, body: Bytes) -> Result<(), SinkError> {
        let lost = |error: hyper::Error| failed(error, Retry::Soon);
        let mut connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await.map_err(lost)?;
        let Collector { host, port, path } = &self.collector;
        let request = Request::post(path.as_str())
            .header(HOST, format!("{host}:{port}"))
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("system-monitor/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(body))
            .map_err(|error| failed(error, Retry::Slowly))?;
        let response = connection.send_request(request).await.map_err(lost)?;
        let (status, after) = (response.status(), retry_after(response.headers()));
        let answer = to_bytes(Body::new(response.into_body()), ANSWER).await.unwrap_or_default();
        self.connection = Some(connection);
        judge(status, after, &answer)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, SinkError> {
        let Collector { host, port, .. } = &self.collector;
        let known = addresses(host.trim_matches(['[', ']'])).await.map_err(|error| failed(error, Retry::Soon))?;
        let mut last = failed("the name has no address", Retry::Soon);
        for address in known {
            match TcpStream::connect((address, *port)).await {
                Ok(stream) => {
                    let (sender, connection) =
                        handshake(TokioIo::new(stream)).await.map_err(|error| failed(error, Retry::Soon))?;
                    // The end of the connection shows at the next request.
                    tokio::spawn(async move { _ = connection.await });
                    return Ok(sender);
                }
                Err(error) => last = failed(error, Retry::Soon),
            }
        }
        Err(last)
    }
}

fn failed(error: impl std::fmt::Display, retry: Retry) -> SinkError {
    SinkError { text: error.to_string(), retry }
}

/// Returns the time that a busy collector asks to be left alone (RFC 9110, 10.2.3), as far as it gives seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// Interprets an answer. Which statuses may be retried is specified in the protocol, "Failures", with the pause that
/// the collector asks for.
fn judge(status: StatusCode, after: Option<Duration>, answer: &[u8]) -> Result<(), SinkError> {
    if status.is_success() {
        // The error text of a partial success.
        let said = part(answer, 1).and_then(|partial| part(partial, 2)).filter(|said| !said.is_empty());
        return said.map_or(Ok(()), |said| {
            let said: String = String::from_utf8_lossy(said).chars().take(200).collect();
            Err(failed(format!("some were rejected: {said}"), Retry::Slowly))
        });
    }
    let is_busy = [429, 502, 503, 504].contains(&status.as_u16());
    let retry = if is_busy { after.map_or(Retry::Soon, Retry::After) } else { Retry::Slowly };
    Err(failed(format!("the collector answers {status}"), retry))
}

impl Sink for Otlp {
    fn write<'a>(&'a mut self, report: &'a Arc<Report>) -> SinkFuture<'a, Result<(), SinkError>> {
        Box::pin(self.deliver(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_url_of_http() {
        let shown = |text: &str| Collector::parse(text).map(|collector| collector.to_string());
        assert_eq!(shown("http://collector").unwrap(), "http://collector:4318/v1/metrics");
        assert_eq!(shown("http://[::1]:80/otlp/v1/metrics").unwrap(), "http://[::1]:80/otlp/v1/metrics");
        for (text, remedy) in
            [("https://c", "beside the agent"), ("collector:4318", "http://"), ("http://", "http://"), ("", "http://")]
        {
            assert!(shown(text).unwrap_err().contains(remedy), "{text}");
        }
    }

    #[test]
    fn an_answer_says_whether_to_try_again() {
        let retry = |status: u16, answer: &str| {
            judge(StatusCode::from_u16(status).unwrap(), None, answer.as_bytes()).map_err(|error| error.retry)
        };
        assert_eq!(retry(200, ""), Ok(()));
        assert_eq!(retry(200, "{}"), Ok(()));
        assert_eq!(retry(200, "\x0a\x02\x08\x00"), Ok(()));
        assert_eq!(retry(200, "\x0a\x0b\x08\x03\x12\x07too old"), Err(Retry::Slowly));
        assert_eq!((retry(503, ""), retry(429, "")), (Err(Retry::Soon), Err(Retry::Soon)));
        assert_eq!((retry(400, ""), retry(404, "")), (Err(Retry::Slowly), Err(Retry::Slowly)));
    }

    #[test]
    fn a_busy_collector_is_left_alone_for_as_long_as_it_asks() {
        let retry = |status: u16, value: &str| {
            let headers = [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            judge(StatusCode::from_u16(status).unwrap(), retry_after(&headers), b"").unwrap_err().retry
        };
        assert_eq!(retry(429, "7"), Retry::After(Duration::from_secs(7)));
        assert_eq!(retry(503, " 7 "), Retry::After(Duration::from_secs(7)));
        assert_eq!(retry(503, "99999999999"), Retry::After(LONGEST_PAUSE));
        assert_eq!(retry(503, "Wed, 21 Oct 2026 07:28:00 GMT"), Retry::Soon);
        assert_eq!(retry(400, "7"), Retry::Slowly);
    }
}
