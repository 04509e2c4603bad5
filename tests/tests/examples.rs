//! The examples: the readers of the data against a real agent and a real server, and the compose file.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::agent::Agent;
use tests::docker::{self, Docker};
use tests::valkey::Valkey;
use tests::{binary, eventually, fleet, free_port, has, oracle, skip};

const TIMEOUT: Duration = Duration::from_secs(60);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a command, which must succeed; returns its output.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A server with the data of an agent that has ended. The latest report remains, beside a name without a report and
/// reports with other forms of causes.
fn recorded() -> Option<(Valkey, Value)> {
    let valkey = Valkey::start(&[])?;
    let arguments =
        ["--interval", "200ms", "--disk-interval", "0s", "--history", "1h", "--scope", "self", "--ebpf", "off"];
    let agent = Agent::start(valkey.port, &arguments, &[("CONTAINER_NAME", "web")]);
    let report = valkey.report("web", TIMEOUT).expect("no report");
    eventually(TIMEOUT, || (valkey.history("web").len() >= 3).then_some(())).expect("no history");
    agent.end(libc::SIGTERM);
    let text = String::from_utf8(report).unwrap();
    let _: () = valkey.query(&["SET", "system:metrics:web", &text]);
    let _: () = valkey.query(&["ZADD", "system:containers", "1", "gone", "2", "web"]);
    fleet::write_forms(&valkey);
    Some((valkey, serde_json::from_str(&text).unwrap()))
}

/// Runs a reader with each of its commands, and checks its output.
fn reads(valkey: &Valkey, report: &Value, reader: impl Fn() -> Command) {
    let address = format!("127.0.0.1:{}", valkey.port);
    let ask = |words: &[&str]| output(reader().arg(&address).args(words));
    let latest = ask(&["latest"]);
    let mut lines = latest.lines();
    assert_eq!(lines.next(), Some("gone: no agent reports it"));
    let line = lines.next().unwrap();
    assert!(
        line.starts_with(&format!("web running cpu_percent={:.1} ", report["cpu_percent"].as_f64().unwrap())),
        "{line}"
    );
    assert!(line.contains(&format!(" memory_usage_bytes={} ", report["memory_usage_bytes"])), "{line}");
    let cause = &oracle::absent(report).unwrap()["disk_usage_bytes"];
    assert!(line.contains(&format!(" disk_usage_bytes=null ({cause}) ")), "{line}");
    for (at, (form, cause)) in fleet::FORMS.iter().enumerate() {
        let (name, cause, line) = (fleet::form_name(at), cause.unwrap_or("no cause given"), lines.next().unwrap());
        assert!(line.starts_with(&format!("{name} running cpu_percent=1.5 ")), "{form}: {line}");
        assert!(line.contains(&format!(" disk_usage_bytes=null ({cause}) ")), "{form}: {line}");
    }
    let history = ask(&["history", "web"]);
    let ids: Vec<&str> = history.lines().filter_map(|line| line.split(' ').next()).collect();
    let written = valkey.history("web");
    assert_eq!(ids, written.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>());
    let log = ask(&["log", "web"]);
    assert_eq!(log.lines().count(), valkey.query::<usize>(&["XLEN", "system:logstream:web"]));
    assert!(log.lines().all(|line| line.contains("Z INFO ") || line.contains("Z WARN ")), "{log}");
}

#[test]
fn the_reader_in_python_prints_what_the_agent_wrote() {
    if !has("python3") {
        skip!("python3 is not installed");
    }
    let Some((valkey, report)) = recorded() else { skip!("valkey-server is not installed") };
    reads(&valkey, &report, || {
        let mut command = Command::new("python3");
        command.arg(repository().join("examples/python/reader.py"));
        command
    });
}

#[test]
fn the_reader_in_go_prints_what_the_agent_wrote() {
    if !has("go") {
        skip!("the compiler for Go is not installed");
    }
    let Some((valkey, report)) = recorded() else { skip!("valkey-server is not installed") };
    let place = tempfile::tempdir().unwrap();
    let built = place.path().join("reader");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&built).arg(".").current_dir(repository().join("examples/go"));
    // Nothing is fetched: it needs only the standard library.
    output(build.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOCACHE", place.path().join("cache")));
    reads(&valkey, &report, || Command::new(&built));
}

#[test]
fn the_reader_in_rust_prints_what_the_agent_wrote() {
    let Some((valkey, report)) = recorded() else { skip!("valkey-server is not installed") };
    let mut build = Command::new(env!("CARGO"));
    // Without a package its dependencies have the features that the tests were built with. With the harness' permission
    // for unstable options they would be compiled again, here and by the next command without it.
    build.args(["build", "--quiet", "--example", "reader"]).env_remove("RUSTC_BOOTSTRAP");
    output(build.current_dir(repository()));
    let built = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/reader");
    reads(&valkey, &report, || Command::new(&built));
}

/// The compose file without its fixed ports, and with images of the test's own.
struct Compose {
    docker: &'static Docker,
    dir: tempfile::TempDir,
    project: String,
}

impl Compose {
    fn new(docker: &'static Docker, overrides: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(repository().join("examples/compose/compose.yaml")).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ports:")).collect();
        fs::write(dir.path().join("compose.yaml"), lines.join("\n")).unwrap();
        fs::write(dir.path().join("override.yaml"), overrides).unwrap();
        Self { docker, dir, project: format!("examples{}", std::process::id()) }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = compose(&self.dir.path().join("compose.yaml"));
        command.arg("--file").arg(self.dir.path().join("override.yaml"));
        command.args(["--project-name", &self.project]).args(words);
        command.env("DOCKER_HOST", self.docker.host());
        command
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        _ = self.command(&["down", "--timeout", "2"]).output();
    }
}

fn compose(file: &Path) -> Command {
    let mut command = Command::new("docker-compose");
    command.arg("--file").arg(file);
    command
}

#[test]
fn the_compose_file_is_valid_and_names_files_that_exist() {
    if !has("docker-compose") {
        skip!("docker-compose is not installed");
    }
    let file = repository().join("examples/compose/compose.yaml");
    let services = output(compose(&file).args(["config", "--services"]));
    let mut services: Vec<&str> = services.lines().collect();
    services.sort_unstable();
    assert_eq!(services, ["agent", "grafana", "prometheus", "valkey"]);
    let text = fs::read_to_string(&file).unwrap();
    let mounted: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- .")?.split(':').next()).collect();
    assert!(mounted.len() >= 4, "{mounted:?}");
    for from in mounted {
        assert!(file.parent().unwrap().join(format!(".{from}")).exists(), ".{from} does not exist");
    }
}

#[test]
fn the_agent_of_the_compose_file_reports_the_containers_beside_it() {
    if !has("docker-compose") {
        skip!("docker-compose is not installed");
    }
    if !has("valkey-server") {
        skip!("valkey-server is not installed");
    }
    let docker = match docker::daemon() {
        Ok(docker) => docker,
        Err(reason) => skip!("{reason}"),
    };
    for (image, program) in [("valkey", "/usr/bin/valkey-server".into()), ("agent", binary())] {
        docker.import(&format!("system-monitor-test/example-{image}"), |root| {
            docker::busybox(root, &binary());
            docker::with_libraries(root, &program);
        });
    }
    let (page, server) = (free_port(), free_port());
    // Images that need no registry. The daemon of the tests has only its bridge, on which no name is resolved.
    let compose = Compose::new(
        docker,
        &format!(
            "services:
  valkey:
    image: system-monitor-test/example-valkey
    command: [valkey-server, --save, '', --port, '{server}', --protected-mode, 'no']
    network_mode: host
  agent:
    image: system-monitor-test/example-agent
    entrypoint: [{binary}]
    environment: {{VALKEY_HOST: 127.0.0.1, VALKEY_PORT: '{server}', MONITOR_INTERVAL: 500ms}}
    command: [--scope, host, --listen, '127.0.0.1:{page}', --pin, 'off']
    network_mode: host
",
            binary = docker::BINARY,
        ),
    );
    output(compose.command(&["up", "--detach", "--no-build", "valkey", "agent"]).stderr(std::process::Stdio::null()));
    let id = output(&mut compose.command(&["ps", "--quiet", "valkey"]));
    // Its name is in the files of the tests' own daemon, which the agent does not know.
    let name = &id[..12];
    let client = redis::Client::open(format!("redis://127.0.0.1:{server}/")).unwrap();
    let report = eventually(TIMEOUT, || {
        let mut connection = client.get_connection().ok()?;
        redis::cmd("GET").arg(format!("system:metrics:{name}")).query::<Option<String>>(&mut connection).ok()?
    });
    let said = || output(&mut compose.command(&["logs", "agent"]));
    let report: Value =
        serde_json::from_str(&report.unwrap_or_else(|| panic!("no report of {name}: {}", said()))).unwrap();
    assert_eq!((&report["status"], &report["scope"]), (&"running".into(), &"host".into()));
    assert!(report["process_count"].as_u64() >= Some(1), "{report}");
    let metrics =
        eventually(TIMEOUT, || Some(tests::http::get(page, "/metrics")).filter(|answer| answer.status == 200));
    assert!(metrics.unwrap().text().contains("container_memory_working_set_bytes"), "{}", said());
}
