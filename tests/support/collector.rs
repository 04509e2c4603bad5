//! A receiver of OTLP over HTTP that decodes what it gets by the protocol's own messages
//! (opentelemetry-proto, `collector/metrics/v1`, in the JSON mapping): what it does not know is an error.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    pub resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceMetrics {
    pub resource: Resource,
    pub scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    pub attributes: Vec<Attribute>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeMetrics {
    pub scope: Scope,
    pub metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    pub name: String,
    pub version: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub name: String,
    pub description: String,
    pub unit: String,
    pub gauge: Option<Gauge>,
    pub sum: Option<Sum>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gauge {
    pub data_points: Vec<Point>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sum {
    pub data_points: Vec<Point>,
    pub aggregation_temporality: u32,
    pub is_monotonic: bool,
}

/// Numbers of 64 bits are texts in this mapping.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Point {
    pub attributes: Vec<Attribute>,
    pub time_unix_nano: String,
    pub start_time_unix_nano: Option<String>,
    pub as_int: Option<String>,
    pub as_double: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    pub key: String,
    pub value: Text,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Text {
    pub string_value: String,
}

impl ResourceMetrics {
    pub fn attribute(&self, key: &str) -> Option<&str> {
        value(&self.resource.attributes, key)
    }

    /// The points of a name, whatever they are.
    pub fn points(&self, name: &str) -> &[Point] {
        let metric = self.scope_metrics.iter().flat_map(|scope| &scope.metrics).find(|metric| metric.name == name);
        metric.map_or(&[], |metric| match (&metric.gauge, &metric.sum) {
            (Some(gauge), None) => &gauge.data_points,
            (None, Some(sum)) => &sum.data_points,
            other => panic!("{name} is both or neither: {other:?}"),
        })
    }
}

impl Point {
    pub fn number(&self) -> f64 {
        match (&self.as_int, self.as_double) {
            (Some(whole), None) => whole.parse::<i64>().unwrap() as f64,
            (None, Some(real)) => real,
            other => panic!("{other:?}"),
        }
    }

    pub fn attribute(&self, key: &str) -> Option<&str> {
        value(&self.attributes, key)
    }
}

fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value.string_value.as_str())
}

/// A running receiver.
pub struct Collector {
    pub port: u16,
    /// What it answers.
    pub status: Arc<AtomicU16>,
    received: Receiver<Result<Request, String>>,
}

impl Collector {
    /// Listens at a port of its own, or at this one.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = channel();
        let status = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, answer) = (sender.clone(), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &sender, &answer));
            }
        });
        Self { port, status, received }
    }

    /// The next request; an error when it is not of the protocol.
    pub fn request(&self) -> Result<Request, String> {
        self.received.recv_timeout(std::time::Duration::from_secs(20)).map_err(|error| error.to_string())?
    }
}

fn serve(stream: TcpStream, sender: &Sender<Result<Request, String>>, status: &AtomicU16) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).ok().filter(|read| *read > 0)?;
        }
        let field = |name: &str| {
            head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(|v| v.trim().to_owned()))
        };
        if let Some(said) = field("content-length:") {
            length = said.parse().ok()?;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let right = head.starts_with("POST /v1/metrics HTTP/1.1\r\n")
            && field("content-type:").as_deref() == Some("application/json");
        let status = status.load(Ordering::SeqCst);
        if status == 200 {
            let request = serde_json::from_slice(&body).map_err(|error| error.to_string());
            sender.send(if right { request } else { Err(head) }).ok()?;
        }
        let answer =
            format!("HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
        stream.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}
