//! The faults of the matrix.

use std::net::TcpStream;
use std::time::Duration;

use tests::eventually;
use tests::proxy::Mode;

use crate::case::Case;
use crate::stage::TIMEOUT;

pub(crate) const CASES: &[Case] = &[
    Case::new("nothing, for comparison", "Connected to Valkey", |_| (), |_| ()),
    Case::new(
        "refused, and back with its data",
        "refused",
        |stage| stage.valkey.kill(),
        |stage| stage.valkey.restart(),
    ),
    Case {
        server: &[],
        forgets: true,
        ..Case::new("killed, and back empty", "refused", |stage| stage.valkey.kill(), |stage| stage.valkey.restart())
    },
    Case::new(
        "frozen",
        "no answer within 3 s",
        |stage| stage.valkey.signal(libc::SIGSTOP),
        |stage| stage.valkey.signal(libc::SIGCONT),
    ),
    Case::proxied("silent: connections stay and nothing passes", "no answer within 3 s", |stage| stage.set(Mode::Hold)),
    Case::proxied("connections are reset", "Error storing metrics", |stage| stage.set(Mode::Reset)),
    Case::proxied("answers end, questions pass", "Error storing metrics", |stage| stage.set(Mode::HalfClose)),
    Case::proxied("answers are cut in half", "Error storing metrics", |stage| stage.set(Mode::CutAnswers(40))),
    Case::proxied("questions are cut in half", "Error storing metrics", |stage| stage.set(Mode::CutQuestions(3_000))),
    Case::proxied("answers are garbage", "Error storing metrics", |stage| stage.set(Mode::Garble)),
    Case {
        lasts: Duration::from_secs(12),
        ..Case::proxied("1 KiB a second", "no answer within", |stage| stage.set(Mode::Slow(1024)))
    },
    Case {
        proxied: true,
        ..Case::new(
            "killed in the middle of a pipeline",
            "Error storing metrics",
            |stage| {
                stage.set(Mode::CutQuestions(3_000));
                std::thread::sleep(Duration::from_millis(300));
                stage.valkey.kill();
            },
            |stage| {
                stage.set(Mode::Pass);
                stage.valkey.restart();
            },
        )
    },
    Case::new(
        "NOAUTH",
        "NOAUTH",
        |stage| {
            stage.run(&["CONFIG", "SET", "requirepass", "other"]);
            stage.disconnect();
        },
        |stage| _ = stage.run(&["CONFIG", "SET", "requirepass", ""]),
    ),
    Case {
        login: true,
        ..Case::new(
            "WRONGPASS",
            "check VALKEY_USERNAME and the password",
            |stage| {
                stage.run(&["ACL", "SETUSER", "monitor", "resetpass", ">other"]);
                stage.disconnect();
            },
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", ">right"]),
        )
    },
    Case {
        login: true,
        ..Case::new(
            "NOPERM for XADD alone",
            "the history of reports (XADD)",
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "-xadd"]),
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "+xadd"]),
        )
    },
    Case {
        login: true,
        ..Case::new(
            "NOPERM for SET alone",
            "NOPERM",
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "-set"]),
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "+set"]),
        )
    },
    Case::new(
        "OOM with noeviction",
        "OOM",
        |stage| _ = stage.run(&["CONFIG", "SET", "maxmemory", "1"]),
        |stage| _ = stage.run(&["CONFIG", "SET", "maxmemory", "0"]),
    ),
    Case::new(
        "READONLY, and promoted",
        "READONLY",
        |stage| _ = stage.run(&["REPLICAOF", "127.0.0.1", "1"]),
        |stage| _ = stage.run(&["REPLICAOF", "NO", "ONE"]),
    ),
    Case::new(
        "LOADING",
        "LOADING",
        |stage| {
            let words = "for i = 1, 300 do redis.call('set', 'filling' .. i, i) end";
            stage.run(&["EVAL", words, "0"]);
            stage.run(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
            stage.run(&["CONFIG", "SET", "key-load-delay", "16000"]);
            let port = stage.valkey.port;
            std::thread::spawn(move || {
                let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
                let mut connection = client.get_connection().unwrap();
                _ = redis::cmd("DEBUG").arg("RELOAD").exec(&mut connection);
            });
        },
        |stage| {
            let loaded = || redis::cmd("GET").arg("filling1").query::<String>(&mut stage.admin).ok();
            eventually(TIMEOUT, loaded).expect("loads for ever");
            stage.run(&["CONFIG", "SET", "key-load-delay", "0"]);
        },
    ),
    Case::new(
        "MISCONF",
        "MISCONF",
        |stage| {
            let gone = stage.valkey.path("gone");
            std::fs::create_dir_all(&gone).unwrap();
            stage.run(&["CONFIG", "SET", "dir", gone.to_str().unwrap()]);
            std::fs::remove_dir(&gone).unwrap();
            stage.run(&["CONFIG", "SET", "save", "3600 1"]);
            stage.run(&["BGSAVE"]);
        },
        |stage| {
            let dir = stage.valkey.dir.path().to_str().unwrap().to_owned();
            stage.run(&["CONFIG", "SET", "dir", &dir]);
            stage.run(&["CONFIG", "SET", "save", ""]);
            stage.run(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
        },
    ),
    Case::new(
        "BUSY",
        "BUSY",
        |stage| {
            stage.run(&["CONFIG", "SET", "busy-reply-threshold", "100"]);
            let port = stage.valkey.port;
            std::thread::spawn(move || {
                let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
                let mut connection = client.get_connection().unwrap();
                _ = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connection);
            });
        },
        |stage| _ = stage.run(&["SCRIPT", "KILL"]),
    ),
    Case::new(
        "another type at the history's key",
        "WRONGTYPE",
        |stage| {
            stage.run(&["RENAME", "system:history:web", "aside"]);
            stage.run(&["SET", "system:history:web", "x"]);
        },
        |stage| _ = stage.run(&["RENAME", "aside", "system:history:web"]),
    ),
    Case::new("nothing, later", "Connected to Valkey", |_| (), |_| ()),
    Case::tls("TLS: the certificate has expired", "expired", |stage| stage.show("expired")),
    Case::tls("TLS: a certificate for another name", "not valid for name", |stage| stage.show("elsewhere")),
    Case::tls("TLS: a certificate of another authority", "UnknownIssuer", |stage| stage.show("foreign")),
    Case::new(
        "as many clients as the server takes",
        "max number of clients reached",
        |stage| {
            let port = stage.valkey.port;
            stage.run(&["CONFIG", "SET", "maxclients", "20"]);
            stage.idle = (0..40).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
            std::thread::sleep(Duration::from_millis(100));
            // The agent's connection is the one that has sent commands; it is replaced at once.
            stage.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            stage.idle = (0..40).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
        },
        |stage| {
            stage.idle.clear();
            stage.run(&["CONFIG", "SET", "maxclients", "1000"]);
        },
    ),
];
