//! Random requests.

use std::ffi::OsStr;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests::http::{ask, connect, get};

use crate::server::listening;

#[test]
fn whatever_is_asked_there_is_no_server_error_and_a_problem_is_told_as_one() {
    let (mut agent, port) = listening(OsStr::new("web"), &[]);
    let document = get(port, "/api/v1/openapi.json").json();
    let mut paths: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    paths.retain(|path| path != "/api/v1/stream");
    let piece = || {
        prop_oneof![
            "[a-z0-9.]{0,8}".boxed(),
            Just("web".to_owned()).boxed(),
            "(%[0-9a-fA-F]{2}){1,6}".boxed(),
            "%[0-9a-zA-Z]?".boxed(),
            "[!-~&&[^ #?]]{0,40}".boxed(),
            Just("..".to_owned()).boxed(),
        ]
    };
    let parameter = prop_oneof![
        Just("metric=cpu_percent".to_owned()),
        Just("since=1h".to_owned()),
        "(metric|since|limit|x)=[!-~&&[^#]]{0,30}",
        "since=[0-9]{1,25}(ms|s|h|d|y|years)?",
        "since=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
        "limit=-?[0-9]{1,25}",
        "metric=[a-z_.,]{0,300}",
    ];
    let header = prop_oneof![
        Just(String::new()),
        "Accept: [!-~]{0,40}\r\n",
        "If-None-Match: [!-~]{0,40}\r\n",
        "Authorization: [!-~]{0,40}\r\n",
        "Range: bytes=[0-9]{0,9}-\r\n",
        "X-[A-Za-z]{1,9}: [!-~]{0,200}\r\n",
    ];
    let path = prop_oneof![
        (proptest::sample::select(paths), piece())
            .prop_map(|(path, piece)| path.replace("{name}", &piece).replace("{path}", &piece)),
        proptest::collection::vec(piece(), 0..5).prop_map(|pieces| format!("/{}", pieces.join("/"))),
    ];
    let request = (
        prop_oneof![8 => Just("GET"), 2 => Just("HEAD"), 1 => Just("POST"), 1 => Just("DELETE")],
        path,
        proptest::collection::vec(parameter, 0..4),
        header,
    );
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    runner
        .run(&request, |(method, path, parameters, header)| {
            let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
            let text =
                format!("{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
            let answer = ask(connect(port), text.as_bytes());
            let Some(answer) = answer else { return Err(TestCaseError::fail(format!("no answer to {text}"))) };
            prop_assert!(answer.status < 500, "{} to {text}", answer.status);
            // A request that is not HTTP gets a bare 400 from the parser.
            let is_bare = answer.status == 400 && answer.body.is_empty();
            if answer.status >= 400 && method != "HEAD" && !is_bare {
                prop_assert!(answer.is_problem(), "{answer:?} to {text}");
            }
            Ok(())
        })
        .unwrap();
    assert!(agent.is_alive() && get(port, "/healthz").status == 200);
}
