//! A server that sends arbitrary answers to readers of reports.
#![no_main]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use monitor::metrics::Metric;
use monitor::valkey::{Target, ValkeyOptions};
use monitor::valkey::store::{Page, Store, Stored};

/// Answers any request with the next bytes.
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static OPTIONS: LazyLock<ValkeyOptions> = LazyLock::new(|| {
    fuzz::outlive_closed_sockets();
    let path = std::env::temp_dir().join(format!("system-monitor-fuzz-{}", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    let target = Target::parse(&format!("unix://{}", path.display())).expect("a path is a target");
    ValkeyOptions { target, ..ValkeyOptions::default() }
});

fn answer(mut stream: UnixStream) {
    let mut asked = [0; 4096];
    // The greeting is answered as a server does, so that the code behind it is reached.
    while let Ok(length) = stream.read(&mut asked)
        && length > 0
    {
        let text = &asked[..length];
        let greets = |word: &[u8]| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        let bytes = if greets(b"HELLO") {
            b"%1\r\n+server\r\n+valkey\r\n+OK\r\n+OK\r\n".to_vec()
        } else {
            ANSWER.lock().expect("nobody panics with it").clone()
        };
        if stream.write_all(&bytes).is_err() || !greets(b"HELLO") {
            return;
        }
    }
}

/// Reads each number, or its cause.
fn look_through(report: &Stored) {
    for metric in Metric::ALL {
        _ = (report.number(*metric), report.cause(*metric));
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the question.
    let Some((which, answer)) = bytes.split_first() else { return };
    let options = LazyLock::force(&OPTIONS);
    answer.clone_into(&mut ANSWER.lock().expect("nobody panics with it"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let ask = async {
            let Ok(mut store) = Store::connect(options).await else { return };
            match which % 4 {
                0 => drop(store.containers(SystemTime::UNIX_EPOCH).await),
                1 => store.latest("web").await.into_iter().flatten().for_each(|report| look_through(&report)),
                2 => drop(store.log("web", 10).await),
                _ => {
                    let page = store.history("web", SystemTime::UNIX_EPOCH).await;
                    page.into_iter().for_each(|Page { reports, .. }| reports.iter().for_each(look_through));
                }
            }
        };
        // A truncated answer is waited for, which has been tested before.
        _ = tokio::time::timeout(Duration::from_millis(20), ask).await;
    });
});
