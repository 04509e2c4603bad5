//! The API, against its own description.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;

use tests::http::{Events, get, get_with};
use tests::{eventually, schema};

use crate::server::{TIMEOUT, humantime, listening};

const ROUTES: &str = include_str!("../../../monitor/src/http/routes.rs");

#[test]
fn every_route_is_described_and_every_description_is_true() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let document = get(port, "/api/v1/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routes: BTreeSet<String> =
        ROUTES.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap().replace("{*", "{")).collect();
    assert_eq!(described, routes.iter().map(String::as_str).collect());

    std::thread::sleep(Duration::from_millis(500));
    for (path, description) in paths {
        let asked = path.replace("{name}", "web").replace("{path}", "app.js");
        let responses = &description["get"]["responses"];
        let content = &responses["200"]["content"];
        if path == "/api/v1/stream" {
            let tick = Events::open(port).event().unwrap();
            let tick_schema = serde_json::json!({ "$ref": "#/components/schemas/Tick" });
            schema::check(&tick.data, &tick_schema, &document, path).unwrap();
            continue;
        }
        let answer = get(port, &asked);
        assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
        let kind = answer.header("content-type").split(';').next().unwrap().to_owned();
        if let Some(content) = content.as_object() {
            assert!(content.contains_key(&kind), "{path} is {kind}");
            if kind == "application/json" {
                schema::check(&answer.json(), &content[&kind]["schema"], &document, path).unwrap();
            }
        }
        for (status, wrong) in [
            ("404", path.replace("{name}", "nobody").replace("{path}", "nothing")),
            ("400", format!("{asked}?what=that")),
        ] {
            if responses.get(status).is_some()
                && wrong != *path
                && !(status == "400" && description["get"]["parameters"].as_array().unwrap().len() < 2)
            {
                let answer = get(port, &wrong);
                assert_eq!(answer.status.to_string(), status, "{wrong}");
                let problem = serde_json::json!({ "$ref": "#/components/schemas/Problem" });
                schema::check(&answer.json(), &problem, &document, &wrong).unwrap();
            }
        }
    }
}

#[test]
fn a_past_has_the_numbers_that_were_asked_for_in_the_columns_of_a_chart() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let path = "/api/v1/history/web?metric=cpu_percent,memory_usage_bytes&metric=uptime_seconds&since=1h";
    let history = eventually(TIMEOUT, || {
        let history = get(port, path).json();
        (history["times"].as_array().unwrap().len() >= 5).then_some(history)
    })
    .unwrap();
    let times: Vec<u64> = history["times"].as_array().unwrap().iter().map(|time| time.as_u64().unwrap()).collect();
    assert!(times.is_sorted());
    let series = history["series"].as_object().unwrap();
    assert_eq!(series.keys().collect::<Vec<_>>(), ["cpu_percent", "memory_usage_bytes", "uptime_seconds"]);
    assert!(series.values().all(|column| column.as_array().unwrap().len() == times.len()));
    let report = get(port, "/api/v1/containers/web").json();
    let (then, now) = (series["uptime_seconds"][0].as_u64().unwrap(), report["uptime_seconds"].as_u64().unwrap());
    assert!(then <= now && now - then < 60, "{then} and {now}");
    let since = humantime(times[times.len() - 2]);
    let late = get(port, &format!("/api/v1/history/web?since={since}")).json();
    assert!(late["times"].as_array().unwrap()[0].as_u64().unwrap() >= times[times.len() - 2]);
    assert_eq!(late["series"].as_object().unwrap().len(), 16, "without a choice, the numbers of the contract");
}

#[test]
fn each_reading_is_an_event_and_the_latest_comes_at_once() {
    let (agent, port) = listening(OsStr::new("web"), &[]);
    let mut events = Events::open(port);
    let (first, second) = (events.event().unwrap(), events.event().unwrap());
    assert_eq!((first.name.as_str(), second.name.as_str()), ("tick", "tick"));
    assert!(first.id < second.id && first.id == first.data["taken"].as_u64());
    let fields: Vec<&str> =
        second.data["fields"].as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
    let row = second.data["rows"]["web"].as_array().unwrap();
    assert_eq!(row.len(), fields.len());
    assert_eq!(row[fields.iter().position(|field| *field == "status").unwrap()], "running");
    agent.end(libc::SIGTERM);
    let last = std::iter::from_fn(|| events.event()).last();
    assert!(last.is_none_or(|last| last.data["rows"]["web"][0] == "exited"), "the end is told, or the stream is cut");
}

#[test]
fn the_files_of_the_page_are_fetched_once() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let first = get(port, "/assets/app.js");
    assert_eq!((first.status, first.header("cache-control")), (200, "no-cache"));
    let tag = first.header("etag").to_owned();
    let again = get_with(port, "/assets/app.js", &[("If-None-Match", &format!("\"x\", W/{tag}"))]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
}
