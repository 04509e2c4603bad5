//! The static release binary in real containers.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use tests::docker::{self, BARE, BINARY, BUSYBOX, Container, Docker};
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::{eventually, skip};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a daemon, and a server that its containers reach; or skips the test.
macro_rules! world {
    () => {{
        let docker = match docker::daemon() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        };
        let bind = ["--protected-mode", "no", "--bind", "127.0.0.1", &docker.gateway];
        let Some(valkey) = Valkey::start(&bind) else { skip!("valkey-server is not installed") };
        World { docker, valkey }
    }};
}

struct World {
    docker: &'static Docker,
    valkey: Valkey,
}

impl World {
    /// The agent beside another process, under the name `web`, with these additional options of `docker run`.
    fn web(&self, options: &[&str]) -> Container<'static> {
        let command = format!("{BINARY} & exec sleep 10000");
        self.docker.run(&[&self.options()[..], options].concat(), BUSYBOX, &["sh", "-c", &command])
    }

    /// Settings of the agent.
    fn options(&self) -> Vec<&str> {
        // The texts live as long as the tests, which are few.
        let leak = |text: String| -> &'static str { text.leak() };
        let port = leak(format!("VALKEY_PORT={}", self.valkey.port));
        let host = leak(format!("VALKEY_HOST={}", self.docker.gateway));
        vec!["--env", "CONTAINER_NAME=web", "--env", "MONITOR_INTERVAL=200ms", "--env", port, "--env", host]
    }

    fn latest(&self) -> Judged {
        let bytes = self.valkey.report("web", TIMEOUT).expect("no report");
        oracle::report("web", &bytes).unwrap()
    }

    /// A report whose reading began after now.
    fn report(&self) -> Judged {
        let next = |than: &str| {
            eventually(TIMEOUT, || Some(self.latest()).filter(|report| *report.timestamp > *than)).expect("no report")
        };
        // The next one may have begun already.
        next(&next(&self.latest().timestamp).timestamp)
    }

    /// The first report that fits; panics with the last one if none does.
    fn report_with(&self, fits: impl Fn(&Judged) -> bool) -> Judged {
        eventually(TIMEOUT, || Some(self.latest()).filter(&fits)).unwrap_or_else(|| panic!("{}", self.latest().json))
    }
}

const LIMITS: &[&str] = &["--cpus", "0.25", "--memory", "64m", "--pids-limit", "50"];

/// Checks of a container with [`LIMITS`] that hold in every environment.
fn assert_is(report: &Judged, container: &Container<'_>) {
    assert_eq!(container.inspect(".State.Running"), "true");
    assert_eq!(report.status, "running");
    assert_eq!(report.json["container_id"], container.id, "{}", report.json);
    assert_eq!(report.json["runtime"], "docker");
    assert_eq!(report.json["cpu"]["limit_cores"], 0.25, "{:?}", report.absent);
    assert_eq!(report.json["memory"]["limit_bytes"], 64 << 20, "{:?}", report.absent);
    assert_eq!(report.json["processes"]["limit"], 50, "{:?}", report.absent);
    assert_eq!(report.number("process_count"), Some(2.0));
    for field in ["cpu_percent", "memory_usage_bytes", "network_rx_bytes", "file_descriptors", "uptime_seconds"] {
        assert!(report.number(field).is_some(), "{field}: {:?}", report.absent);
    }
}

#[test]
fn any_user_in_any_namespace_with_default_rights_gets_all_the_numbers_of_files() {
    let world = world!();
    for user in ["0", "1001"] {
        for namespace in ["private", "host"] {
            let options = ["--user", user, "--cgroupns", namespace, "--read-only"];
            let container = world.web(&[LIMITS, &options].concat());
            assert_is(&world.report(), &container);
            let said = container.said();
            assert!(!said.contains("panicked") && !said.contains("ERROR"), "{options:?}: {said}");
            world.valkey.query::<()>(&["FLUSHALL"]);
        }
    }
}

#[test]
fn the_numbers_are_those_of_docker_stats_and_docker_top() {
    let world = world!();
    let container = world.web(LIMITS);
    container.exec(&["--detach"], &["sh", "-c", "while :; do :; done"]).unwrap();
    world.report_with(|report| report.number("process_count") == Some(3.0));
    let before = container.stats();
    let report = world.report();
    let after = container.stats();
    // Counters and related numbers: not below Docker's value before, not above its value afterwards.
    for (ours, theirs) in [
        ("/network_rx_bytes", "/networks/eth0/rx_bytes"),
        ("/network_tx_bytes", "/networks/eth0/tx_bytes"),
        ("/network/rx_packets", "/networks/eth0/rx_packets"),
        ("/network/tx_packets", "/networks/eth0/tx_packets"),
        ("/cpu/throttled_periods", "/cpu_stats/throttling_data/throttled_periods"),
    ] {
        let number = |of: &serde_json::Value, at: &str| of.pointer(at).and_then(serde_json::Value::as_u64);
        let [low, value, high] = [number(&before, theirs), number(&report.json, ours), number(&after, theirs)];
        assert!(low.is_some() && low <= value && value <= high, "{ours}: {low:?} {value:?} {high:?}");
    }
    let used = after["memory_stats"]["usage"].as_f64().unwrap();
    let ours = report.number("memory_usage_bytes").unwrap();
    assert!((ours - used).abs() < 4e6, "memory: {ours} {used}");
    assert_eq!(report.json["memory"]["limit_bytes"], after["memory_stats"]["limit"]);
    assert_eq!(report.json["processes"]["threads"], after["pids_stats"]["current"]);
    assert_eq!(report.number("process_count"), Some(container.processes() as f64));
}

#[test]
fn a_quarter_cpu_used_up_reads_100_percent_and_an_update_counts_at_once() {
    let world = world!();
    // The quota is refilled every 100 ms: the interval covers many periods, so that one more or less does not matter.
    let container = world.web(&[LIMITS, &["--env", "MONITOR_INTERVAL=2s"]].concat());
    container.exec(&["--detach"], &["sh", "-c", "while :; do :; done"]).unwrap();
    // On a busy machine it gets its whole quota in some interval.
    world.report_with(|report| {
        let cores = report.json["cpu"]["usage_cores"].as_f64().unwrap_or_default();
        report.number("cpu_percent") >= Some(97.0) && (0.2425..0.2575).contains(&cores)
    });
    // A changed limit of a running container takes effect at once.
    container.ask(&["update", "--cpus", "0.5", "--memory", "128m", "--memory-swap", "128m"]).unwrap();
    let report = world.report_with(|report| report.json["cpu"]["limit_cores"] == 0.5);
    assert_eq!(report.json["memory"]["limit_bytes"], 128 << 20);
}

#[test]
fn without_a_limit_the_machine_is_the_allowance() {
    let world = world!();
    let _container = world.web(&[]);
    let report = world.report();
    assert!(report.json["memory"]["limit_bytes"].is_null() && report.json["cpu"]["limit_cores"].is_null());
    let cores = report.json["cpu"]["usage_cores"].as_f64().unwrap();
    let cpus = std::thread::available_parallelism().unwrap().get() as f64;
    let percent = report.number("cpu_percent").unwrap();
    assert!((cores / cpus * 100.0 - percent).abs() < 0.1, "{cores} {percent}");
}

#[test]
fn page_cache_is_memory_in_use_but_not_in_the_working_set_that_docker_shows() {
    let world = world!();
    let container = world.web(&["--memory", "200m"]);
    let before = world.report();
    container.exec(&[], &["dd", "if=/dev/zero", "of=/tmp/file", "bs=1M", "count=50"]).unwrap();
    let report = world.report();
    let grown = report.number("memory_usage_bytes").unwrap() - before.number("memory_usage_bytes").unwrap();
    assert!((49e6..70e6).contains(&grown), "{grown}");
    let memory = &container.stats()["memory_stats"];
    let inactive = memory["stats"]["total_inactive_file"].as_f64().or(memory["stats"]["inactive_file"].as_f64());
    let theirs = memory["usage"].as_f64().unwrap() - inactive.unwrap();
    let ours = report.json["memory"]["working_set_bytes"].as_f64().unwrap();
    assert!((ours - theirs).abs() < 4e6, "{ours} {theirs}");
}

#[test]
fn an_image_with_nothing_but_the_binary_will_do() {
    let world = world!();
    let options = [&world.options()[..], LIMITS, &["--user", "65534:65534", "--read-only"]].concat();
    let _container = world.docker.run(&options, BARE, &[BINARY]);
    let report = world.report();
    assert_eq!(report.number("process_count"), Some(1.0));
    assert_eq!(report.json["memory"]["limit_bytes"], 64 << 20);
}

#[test]
fn with_the_capabilities_for_it_ebpf_counts() {
    let world = world!();
    let known = world.docker.run_once(&["--cap-add", "BPF"], BUSYBOX, &["true"]).is_ok();
    // Older daemons know no finer-grained capabilities.
    let rights: &[&str] =
        if known { &["--cap-add", "BPF", "--cap-add", "PERFMON"] } else { &["--cap-add", "SYS_ADMIN"] };
    // On a hybrid host only this shows the container its own directory in the v2 tree.
    let tree = ["--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"];
    let container = world.web(&[LIMITS, rights, &["--cap-add", "NET_ADMIN"], &tree].concat());
    let report = world.report();
    assert_is(&report, &container);
    let said = container.said();
    assert_eq!(report.json["sources"]["network"], "ebpf", "{said}");
    for field in ["network.tx_packets", "processes.execs", "processes.exits", "processes.forks"] {
        assert!(!report.absent.contains_key(field), "{field}: {:?}", report.absent);
    }
    let before = report.json["processes"]["execs"].as_u64().unwrap();
    let nine = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done"];
    world.docker.run_once(&[], BUSYBOX, &nine).unwrap();
    assert_eq!(world.report().json["processes"]["execs"], before, "another container's");
    container.exec(&[], &nine).unwrap();
    let more = world.report().json["processes"]["execs"].as_u64().unwrap() - before;
    // The shell, its children, and the processes that the runtime starts inside before that.
    assert!((10..=12).contains(&more), "{more}");
    assert!(
        world.report().number("network_tx_bytes") > report.number("network_tx_bytes"),
        "its own reports are traffic"
    );
}

#[test]
fn without_capabilities_ebpf_is_refused_with_a_remedy_and_costs_nothing_else() {
    let world = world!();
    let container = world.web(LIMITS);
    let report = world.report();
    assert_is(&report, &container);
    assert_eq!(report.json["sources"]["network"], "procfs");
    assert!(report.absent["processes.execs"].starts_with("eBPF "), "{}", report.json);
    let doctor = format!("{BINARY} doctor --valkey-url none; echo it says $?");
    let said = container.exec(&["--user", "1001"], &["sh", "-c", &doctor]).unwrap();
    for program in ["ingress", "egress", "task_newtask", "sched_process_exec", "sched_process_exit"] {
        assert!(said.contains(&format!("✗ eBPF {program}\n")), "{said}");
    }
    assert!(said.contains("remedy: ") && said.contains("it says 1"), "{said}");
}

#[test]
fn the_hosts_network_and_the_hosts_processes_do_not_confuse_it() {
    let world = world!();
    let container = world.web(&[LIMITS, &["--network", "host", "--pid", "host"]].concat());
    let report = world.report();
    assert_is(&report, &container);
    assert_eq!(report.number("process_count"), Some(container.processes() as f64));
}

#[test]
fn valkey_is_found_by_name_in_the_hosts_file_and_through_a_name_server() {
    let world = world!();
    let gateway = &world.docker.gateway;
    let socket = match UdpSocket::bind((gateway.as_str(), 53)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => skip!("another name server has port 53 of all addresses"),
        socket => socket.unwrap(),
    };
    let address: Ipv4Addr = gateway.parse().unwrap();
    std::thread::spawn(move || serve_names(&socket, address));
    for (name, way) in [
        ("valkey.file", vec!["--add-host", format!("valkey.file:{gateway}").leak(), "--dns", gateway]),
        ("valkey.test", vec!["--dns", gateway]),
        // The defaults of compose and orchestrators: a short name and a search list.
        ("valkey", vec!["--dns", gateway, "--dns-search", "test"]),
    ] {
        let host = format!("VALKEY_HOST={name}");
        for image in [BUSYBOX, BARE] {
            let options = [&world.options()[..], &["--env", &host], &way].concat();
            let container = world.docker.run(&options, image, &[BINARY]);
            assert!(world.valkey.report("web", TIMEOUT).is_some(), "{name} {image}: {}", container.said());
            drop(container);
            world.valkey.query::<()>(&["FLUSHALL"]);
        }
    }
}

/// Answers the question for the address of `valkey.test`, and ignores all others (RFC 1035, section 4).
fn serve_names(socket: &UdpSocket, address: Ipv4Addr) {
    // The name, type A, class IN.
    let known = b"\x06valkey\x04test\x00\x00\x01\x00\x01";
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        if !question[12..length].to_ascii_lowercase().starts_with(known) {
            continue;
        }
        let mut answer = question[..2].to_vec();
        // A response with recursion, no error; one question, one answer.
        answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        answer.extend(&question[12..12 + known.len()]);
        // The name of the question, type A, class IN, a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn the_healthcheck_is_one_for_docker() {
    let mut world = world!();
    let check = format!("{BINARY} healthcheck");
    let options = ["--health-cmd", &check, "--health-interval", "500ms", "--health-retries", "2"];
    let container = world.web(&[&LIMITS[2..], &options].concat());
    let becomes = |wanted: &str| {
        eventually(TIMEOUT, || (container.inspect(".State.Health.Status") == wanted).then_some(()))
            .unwrap_or_else(|| panic!("not {wanted}: {}", container.inspect("json .State.Health")));
    };
    becomes("healthy");
    world.valkey.kill();
    becomes("unhealthy");
    assert!(container.inspect("json .State.Health.Log").contains("Valkey at"), "the reason stands in the log");
    world.valkey.restart();
    becomes("healthy");
}

#[test]
fn docker_stop_ends_it_at_once_and_the_last_word_is_exited() {
    let world = world!();
    let container = world.docker.run(&world.options(), BARE, &[BINARY]);
    world.report();
    container.ask(&["stop", "--time", "20"]).unwrap();
    assert_eq!(container.inspect(".State.ExitCode"), "0", "137 would be the kill after twenty seconds");
    assert_eq!(world.latest().status, "exited");
    assert!(world.valkey.query::<i64>(&["PTTL", "system:metrics:web"]) > 0);
    let said = container.said();
    for line in ["Received shutdown signal", "stopping for container: web", "System monitor stopped"] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn a_container_that_was_paused_goes_on_where_it_was() {
    let world = world!();
    let container = world.web(LIMITS);
    let before = world.report();
    container.ask(&["pause"]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    container.ask(&["unpause"]).unwrap();
    let after = world.report();
    assert_is(&after, &container);
    assert!(after.number("network_tx_bytes") >= before.number("network_tx_bytes"));
}
