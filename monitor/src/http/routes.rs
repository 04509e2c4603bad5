//! The routes. Every answer is made from reports; nothing here reads the kernel.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY};
use hyper::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::budget::in_parts;
use super::frame::Frame;
use super::numbers;
use super::problem::Problem;
use super::server::Server;
use super::text_format::TextFormat;
use super::{assets, openapi};
use crate::metrics::{Kind, Metric};
use crate::wire;

type Shared = State<Arc<Server>>;
type Answer = Result<Response, Problem>;
/// A segment of a path, which may not be UTF-8.
type Named = Result<Path<String>, PathRejection>;

/// The default number of log entries.
const ENTRIES: usize = 50;
/// The longest history that can be requested.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The routes.
pub(super) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(async |headers: HeaderMap| assets::serve("", &headers)))
        .route("/assets/{*path}", get(asset))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .route("/api/v1/containers", get(containers))
        .route("/api/v1/containers/{*name}", get(container))
        .route("/api/v1/history/{*name}", get(history))
        .route("/api/v1/logs/{*name}", get(logs))
        .route("/api/v1/stream", get(events))
        .route("/api/v1/agent", get(agent))
        .route("/api/v1/metrics", get(metrics))
        .route("/api/v1/openapi.json", get(async || text("application/json", openapi::document())))
        .fallback(async || Problem::not_found("there is no such path; /api/v1/openapi.json lists what there is"))
        .with_state(server)
}

/// An answer that is made for one client.
fn json(server: &Server, value: &impl Serialize) -> Answer {
    // Maps with texts for keys, so this cannot fail.
    let text = serde_json::to_vec(value).unwrap_or_default();
    Ok(whole("application/json", server.budget.hold(text)?))
}

fn whole(kind: &'static str, bytes: Bytes) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], in_parts(bytes)).into_response()
}

fn text(kind: &'static str, text: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

fn named(name: Named) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|_| Problem::bad_request("the name in the path is not valid UTF-8"))
}

/// The names that a path may mean: as it stands, and decoded once more. Browsers take `.` and `..` out of a path, also
/// where they are encoded, and some proxies decode a slash; a name that is encoded twice gets through both.
fn spellings(name: Named) -> Result<Vec<String>, Problem> {
    let name = named(name)?;
    let again = percent_decode_str(&name).decode_utf8().ok().filter(|again| **again != name).map(Cow::into_owned);
    Ok([Some(name), again].into_iter().flatten().collect())
}

fn unknown(names: &[String]) -> Problem {
    let name = names.last().map_or("", String::as_str);
    Problem::not_found(format!("no container {name:?} is known"))
}

async fn asset(path: Named, headers: HeaderMap) -> Answer {
    Ok(assets::serve(&named(path)?, &headers))
}

/// Answers whether the loop is alive.
async fn healthz(State(server): Shared) -> Answer {
    server.alive().map(|()| text("text/plain; charset=utf-8", "ok\n".to_owned())).map_err(unavailable)
}

/// Answers whether reports are delivered as well.
async fn readyz(State(server): Shared) -> Answer {
    server.ready().map(|()| text("text/plain; charset=utf-8", "ok\n".to_owned())).map_err(unavailable)
}

fn unavailable(reason: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason)
}

async fn exposition(State(server): Shared, headers: HeaderMap) -> Answer {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = TextFormat::negotiate(&accept.join(","));
    let text = server.exposition(format)?;
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(format.media_type())), (VARY, HeaderValue::from_static("Accept"))];
    Ok((headers, in_parts(text)).into_response())
}

/// The reports of a frame, one by one.
struct Containers<'a>(Option<&'a Frame>);

impl Serialize for Containers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A frame of several agents has no time and no host of its own.
        let own = self.0.filter(|frame| frame.host.is_some());
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("host", &own.and_then(|frame| frame.host.as_deref()))?;
        map.serialize_entry("taken", &own.map(|frame| wire::timestamp(frame.taken)))?;
        map.serialize_entry("interval_seconds", &own.and_then(|frame| frame.interval).map(wire::seconds))?;
        map.serialize_entry("containers", &self.0.map_or(&[][..], |frame| &frame.containers))?;
        map.end()
    }
}

async fn containers(State(server): Shared) -> Answer {
    let Some(frame) = server.latest() else { return json(&server, &Containers(None)) };
    // One copy for all clients.
    let encode = || server.budget.hold(serde_json::to_vec(&Containers(Some(&frame))).unwrap_or_default());
    Ok(whole("application/json", frame.list.get_or_make(encode)?))
}

async fn container(State(server): Shared, name: Named) -> Answer {
    let names = spellings(name)?;
    let frame = server.latest();
    let find = |frame: &Frame| names.iter().find_map(|name| frame.find(name).cloned());
    let found = &frame.as_deref().and_then(find).ok_or_else(|| unknown(&names))?;
    json(&server, found)
}

async fn history(State(server): Shared, name: Named, uri: Uri) -> Answer {
    let names = spellings(name)?;
    let now = server.now().wall;
    let (mut metrics, mut since) = (Vec::new(), now - Duration::from_secs(3600));
    for (key, value) in query(&uri) {
        match key.as_str() {
            "metric" => {
                for part in value.split(',') {
                    metrics.push(numbers::field(part).ok_or_else(|| {
                        Problem::bad_request(format!("no number is called {part:?}; /api/v1/metrics lists them"))
                    })?);
                }
            }
            "since" => since = moment(&value, now)?,
            _ => return Err(no_parameter(&key)),
        }
    }
    if metrics.is_empty() {
        metrics = numbers::contract().collect();
    }
    metrics.dedup();
    for name in &names {
        if let Some(past) = server.history(name, &metrics, since).await? {
            return json(&server, &past);
        }
    }
    Err(unknown(&names))
}

async fn logs(State(server): Shared, name: Named, uri: Uri) -> Answer {
    let names = spellings(name)?;
    let mut limit = ENTRIES;
    for (key, value) in query(&uri) {
        match key.as_str() {
            "limit" => {
                let number = value.parse().ok().filter(|limit| (1..=1000).contains(limit));
                limit = number.ok_or_else(|| Problem::bad_request("limit is a number from 1 to 1000"))?;
            }
            _ => return Err(no_parameter(&key)),
        }
    }
    for name in &names {
        if let Some(entries) = server.entries(name, limit).await? {
            return json(&server, &entries);
        }
    }
    Err(unknown(&names))
}

async fn events(State(server): Shared) -> Answer {
    let too_many = || unavailable("as many event streams are open as there may be; try again later".to_owned());
    let body = server.stream().ok_or_else(too_many)?;
    // Proxies that collect or compress answers would hold the events back; nginx compresses nothing that has an
    // encoding.
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store, no-transform"),
        (CONTENT_ENCODING, "identity"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}

async fn agent(State(server): Shared) -> Answer {
    json(&server, &server.about())
}

/// A row of the table of numbers.
#[derive(serde::Serialize)]
struct Described {
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
    origins: Vec<String>,
}

async fn metrics(State(server): Shared) -> Answer {
    let described = |metric: Metric| {
        let spec = metric.spec();
        Described {
            name: spec.name(),
            kind: if spec.kind == Kind::Counter { "counter" } else { "gauge" },
            unit: spec.unit.as_str(),
            help: spec.help,
            origins: spec.origins().iter().map(ToString::to_string).collect(),
        }
    };
    json(&server, &Metric::fields().map(|(metric, _)| described(metric)).collect::<Vec<_>>())
}

fn query(uri: &Uri) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
}

fn no_parameter(key: &str) -> Problem {
    Problem::bad_request(format!("there is no parameter {key:?} here"))
}

/// A duration back from now, or a time of day.
fn moment(text: &str, now: SystemTime) -> Result<SystemTime, Problem> {
    let back = humantime::parse_duration(text).ok().filter(|back| *back <= LONGEST);
    let then = back.and_then(|back| now.checked_sub(back)).or_else(|| humantime::parse_rfc3339(text).ok());
    then.ok_or_else(|| {
        Problem::bad_request("since is a duration of at most a year, as 15m or 24h, or a time as RFC 3339")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use proptest::test_runner::TestRunner;

    use super::*;

    #[test]
    fn a_name_that_is_encoded_twice_is_found_by_both_spellings() {
        let names = |name: &str| spellings(Ok(Path(name.to_owned()))).ok().unwrap();
        assert_eq!(names("web"), ["web"]);
        assert_eq!(names("a/b"), ["a/b"]);
        assert_eq!(names("%2E%2E"), ["%2E%2E", ".."]);
        assert_eq!(names("a%2F..%2Fb"), ["a%2F..%2Fb", "a/../b"]);
        assert_eq!(names("100%"), ["100%"]);
        assert_eq!(names("%ff"), ["%ff"], "what is no text has one spelling");
    }

    /// The schema of a parameter of the history, by its name.
    fn schema(name: &str) -> serde_json::Value {
        let document: serde_json::Value = serde_json::from_str(&openapi::document()).unwrap();
        let parameters = document["paths"]["/api/v1/history/{name}"]["get"]["parameters"].as_array().unwrap();
        parameters.iter().find(|parameter| parameter["name"] == name).unwrap()["schema"].clone()
    }

    #[test]
    fn every_moment_that_the_description_allows_is_understood() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let pattern = schema("since")["pattern"].as_str().unwrap().to_owned();
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
        let months = |text: &String| !["-31T", "-30T", "-29T"].iter().any(|day| text.contains(day));
        let moments = string_regex(pattern).unwrap().prop_filter("not in every month", months);
        TestRunner::deterministic()
            .run(&moments, |text| {
                prop_assert!(moment(&text, now).is_ok(), "{text}");
                Ok(())
            })
            .unwrap();
        for text in ["15m", "24h", "365d", "2026-02-28T12:00:00Z", "2026-12-31T23:59:59.5Z"] {
            assert!(moment(text, now).is_ok(), "{text}");
        }
    }

    #[test]
    fn every_number_that_the_description_names_is_known_and_no_other() {
        let schema = schema("metric");
        let names: Vec<&str> =
            schema["items"]["enum"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        assert!(names.iter().all(|name| numbers::field(name).is_some()));
        assert_eq!(names.len(), Metric::fields().count());
    }
}
