//! A client for the agent's HTTP server: small, so that a test controls every byte that it sends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// True for problem details (RFC 9457) with the status of the answer.
    pub fn is_problem(&self) -> bool {
        self.header("content-type") == "application/problem+json"
            && self.json()["status"] == self.status
            && self.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty())
    }
}

/// A connection to a port of this machine, with timeouts.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Asks for a path.
pub fn get(port: u16, path: &str) -> Answer {
    get_with(port, path, &[])
}

/// Asks for a path, with these headers added.
pub fn get_with(port: u16, path: &str, headers: &[(&str, &str)]) -> Answer {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    ask(connect(port), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n").as_bytes())
        .expect("no answer")
}

/// Sends these bytes and reads one answer; `None` when the connection ends without one.
pub fn ask(mut stream: impl Read + Write, request: &[u8]) -> Option<Answer> {
    // A server that has answered already may have closed the connection.
    _ = stream.write_all(request);
    let mut reader = BufReader::new(stream);
    let (status, headers) = head(&mut reader)?;
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        while let Some(chunk) = chunk(&mut reader) {
            body.extend(chunk);
        }
    } else if let Some(length) = headers.get("content-length").filter(|_| !request.starts_with(b"HEAD")) {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body).ok()?;
    }
    Some(Answer { status, headers, body })
}

fn head(reader: &mut impl BufRead) -> Option<(u16, BTreeMap<String, String>)> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line.trim_end().to_owned())
    };
    let status = line()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some((status, headers))
}

fn chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut size = String::new();
    reader.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(size);
    Some(chunk)
}

/// An open stream of events.
pub struct Events {
    reader: BufReader<TcpStream>,
    waiting: String,
    pub status: u16,
}

/// An event: its name, its id, its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<u64>,
    pub data: Value,
}

impl Events {
    /// Opens the stream of a server.
    pub fn open(port: u16) -> Self {
        let mut stream = connect(port);
        stream.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let (status, _) = head(&mut reader).expect("no answer");
        Self { reader, waiting: String::new(), status }
    }

    /// The next event, without comments; `None` when the stream ends.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.waiting.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.waiting = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                if let (Some(name), Some(data)) = (field("event"), field("data")) {
                    let id = field("id").map(|id| id.parse().unwrap());
                    return Some(Event { name: name.to_owned(), id, data: serde_json::from_str(data).unwrap() });
                }
                continue;
            }
            self.waiting += std::str::from_utf8(&chunk(&mut self.reader)?).unwrap();
        }
    }
}
