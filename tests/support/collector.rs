//! A receiver of OTLP over HTTP that decodes requests by the protocol's own messages (opentelemetry-proto,
//! `collector/metrics/v1`, in protocol buffers): an unknown field is an error.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, bail};

#[derive(Debug, Default)]
pub struct Request {
    pub resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Debug, Default)]
pub struct ResourceMetrics {
    pub resource: Resource,
    pub scope_metrics: Vec<ScopeMetrics>,
    pub schema_url: String,
}

#[derive(Debug, Default)]
pub struct Resource {
    pub attributes: Vec<Attribute>,
}

#[derive(Debug, Default)]
pub struct ScopeMetrics {
    pub scope: Scope,
    pub metrics: Vec<Metric>,
    pub schema_url: String,
}

#[derive(Debug, Default)]
pub struct Scope {
    pub name: String,
    pub version: String,
}

#[derive(Debug, Default)]
pub struct Metric {
    pub name: String,
    pub description: String,
    pub unit: String,
    pub gauge: Option<Gauge>,
    pub sum: Option<Sum>,
}

#[derive(Debug, Default)]
pub struct Gauge {
    pub data_points: Vec<Point>,
}

#[derive(Debug, Default)]
pub struct Sum {
    pub data_points: Vec<Point>,
    pub aggregation_temporality: u64,
    pub is_monotonic: bool,
}

#[derive(Debug, Default)]
pub struct Point {
    pub attributes: Vec<Attribute>,
    pub time_unix_nano: u64,
    pub start_time_unix_nano: Option<u64>,
    pub as_int: Option<i64>,
    pub as_double: Option<f64>,
}

#[derive(Debug, Default)]
pub struct Attribute {
    pub key: String,
    pub value: Text,
}

#[derive(Debug, Default)]
pub struct Text {
    pub string_value: String,
    pub array_value: Texts,
}

#[derive(Debug, Default)]
pub struct Texts {
    pub values: Vec<Text>,
}

/// A field's encoded value.
enum Value<'a> {
    Varint(u64),
    Fixed([u8; 8]),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    fn varint(self) -> anyhow::Result<u64> {
        let Self::Varint(value) = self else { bail!("no varint") };
        Ok(value)
    }

    fn fixed(self) -> anyhow::Result<[u8; 8]> {
        let Self::Fixed(value) = self else { bail!("no 64 bits") };
        Ok(value)
    }

    fn text(self) -> anyhow::Result<String> {
        let Self::Bytes(value) = self else { bail!("no text") };
        Ok(std::str::from_utf8(value)?.to_owned())
    }

    fn message<M: Message>(self) -> anyhow::Result<M> {
        let Self::Bytes(value) = self else { bail!("no message") };
        decode(value)
    }
}

/// A message that is built from its fields.
trait Message: Default {
    fn take(&mut self, field: u64, value: Value<'_>) -> anyhow::Result<()>;
}

fn decode<M: Message>(mut bytes: &[u8]) -> anyhow::Result<M> {
    let mut message = M::default();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed(split(&mut bytes, 8)?.try_into()?),
            2 => {
                let length = varint(&mut bytes)?;
                Value::Bytes(split(&mut bytes, usize::try_from(length)?)?)
            }
            other => bail!("wire type {other}"),
        };
        message.take(key >> 3, value).with_context(|| format!("{} {}", std::any::type_name::<M>(), key >> 3))?;
    }
    Ok(message)
}

fn split<'a>(bytes: &mut &'a [u8], length: usize) -> anyhow::Result<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(length).context("it is cut off")?;
    *bytes = rest;
    Ok(first)
}

fn varint(bytes: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = split(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a varint without an end")
}

/// The fields of a message: their numbers, and the way in which each is stored.
macro_rules! message {
    ($name:ty, $self:ident, $value:ident: $($field:literal => $take:expr,)*) => {
        impl Message for $name {
            fn take(&mut $self, field: u64, $value: Value<'_>) -> anyhow::Result<()> {
                match field {
                    $($field => $take,)*
                    _ => bail!("no such field"),
                }
                Ok(())
            }
        }
    };
}

message!(Request, self, value: 1 => self.resource_metrics.push(value.message()?),);
message!(ResourceMetrics, self, value:
    1 => self.resource = value.message()?,
    2 => self.scope_metrics.push(value.message()?),
    3 => self.schema_url = value.text()?,
);
message!(Resource, self, value: 1 => self.attributes.push(value.message()?),);
message!(ScopeMetrics, self, value:
    1 => self.scope = value.message()?,
    2 => self.metrics.push(value.message()?),
    3 => self.schema_url = value.text()?,
);
message!(Scope, self, value:
    1 => self.name = value.text()?,
    2 => self.version = value.text()?,
);
message!(Metric, self, value:
    1 => self.name = value.text()?,
    2 => self.description = value.text()?,
    3 => self.unit = value.text()?,
    5 => self.gauge = Some(value.message()?),
    7 => self.sum = Some(value.message()?),
);
message!(Gauge, self, value: 1 => self.data_points.push(value.message()?),);
message!(Sum, self, value:
    1 => self.data_points.push(value.message()?),
    2 => self.aggregation_temporality = value.varint()?,
    3 => self.is_monotonic = value.varint()? == 1,
);
message!(Point, self, value:
    2 => self.start_time_unix_nano = Some(u64::from_le_bytes(value.fixed()?)),
    3 => self.time_unix_nano = u64::from_le_bytes(value.fixed()?),
    4 => self.as_double = Some(f64::from_le_bytes(value.fixed()?)),
    6 => self.as_int = Some(i64::from_le_bytes(value.fixed()?)),
    7 => self.attributes.push(value.message()?),
);
message!(Attribute, self, value:
    1 => self.key = value.text()?,
    2 => self.value = value.message()?,
);
message!(Text, self, value:
    1 => self.string_value = value.text()?,
    5 => self.array_value = value.message()?,
);
message!(Texts, self, value: 1 => self.values.push(value.message()?),);

impl ResourceMetrics {
    pub fn attribute(&self, key: &str) -> Option<&str> {
        value(&self.resource.attributes, key)
    }

    /// The points of a name, of any kind.
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
        match (self.as_int, self.as_double) {
            (Some(whole), None) => whole as f64,
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
    /// Status of the collector's answers.
    pub status: Arc<AtomicU16>,
    received: Receiver<Result<Request, String>>,
}

impl Collector {
    /// Listens on a port of its own, or on this one.
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

    /// The next request; an error if it does not follow the protocol.
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
            && field("content-type:").as_deref() == Some("application/x-protobuf");
        let status = status.load(Ordering::SeqCst);
        if status == 200 {
            let request = decode(&body).map_err(|error| format!("{error:#}"));
            sender.send(if right { request } else { Err(head) }).ok()?;
        }
        let answer =
            format!("HTTP/1.1 {status} Whatever\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}
