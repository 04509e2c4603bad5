//! Container names that try an injection.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;
use tests::http::{Events, get, get_with};

use crate::server::{encoded, listening};

/// Names that try an injection.
fn hostile() -> Vec<Vec<u8>> {
    vec![
        b"<script>alert(1)</script>".to_vec(),
        b"\x1b[2J\x1b]0;owned\x07".to_vec(),
        b"a\nevent: tick\ndata: {}\n\nb\r\n\r\n".to_vec(),
        b"a\"} 1\nevil_total{x=\"\\".to_vec(),
        b"../../../etc/passwd?x=%2e#/".to_vec(),
        vec![b'x'; 255],
        b"\xff\xfe half".to_vec(),
        "ü\u{202e}\u{2028}\u{0}".replace('\0', "").into_bytes(),
    ]
}

#[test]
fn hostile_names_are_only_names_in_the_api_the_stream_and_the_metrics() {
    std::thread::scope(|scope| {
        for name in hostile() {
            scope.spawn(move || {
                let expected = String::from_utf8_lossy(&name).into_owned();
                let (_agent, port) = listening(OsStr::from_bytes(&name), &[]);
                let all = get(port, "/api/v1/containers").json();
                assert_eq!(all["containers"][0]["container_name"], expected.as_str());
                let one = get(port, &format!("/api/v1/containers/{}", encoded(&expected)));
                assert_eq!((one.status, &one.json()["container_name"]), (200, &Value::from(expected.as_str())));
                let history = get(port, &format!("/api/v1/history/{}", encoded(&expected)));
                assert_eq!(history.json()["name"], expected.as_str());
                let mut events = Events::open(port);
                for _ in 0..2 {
                    let event = events.event().unwrap();
                    assert_eq!(event.name, "tick");
                    assert_eq!(event.data["rows"].as_object().unwrap().keys().collect::<Vec<_>>(), [&expected]);
                }
                for accept in ["text/plain", "application/openmetrics-text"] {
                    let text = get_with(port, "/metrics", &[("Accept", accept)]).text();
                    let samples = text.lines().filter(|line| !line.starts_with('#'));
                    for line in samples {
                        assert!(
                            ["container_", "machine_", "system_monitor_"].iter().any(|known| line.starts_with(known)),
                            "{line}"
                        );
                    }
                    let label = format!(
                        "name=\"{}\"",
                        expected.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
                    );
                    assert!(text.contains(&label), "{label}");
                }
                let unknown = get(port, &format!("/api/v1/logs/{}x", encoded(&expected)));
                assert!(unknown.status == 404 && unknown.is_problem(), "{unknown:?}");
                let page = get(port, "/");
                assert!(!page.text().contains(&expected), "no name stands in the page's own text");
                for answer in [unknown, page] {
                    assert_eq!(answer.header("x-content-type-options"), "nosniff");
                    assert!(answer.header("content-security-policy").contains("default-src 'self'"));
                }
            });
        }
    });
}
