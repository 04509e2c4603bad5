//! The images that the repository describes, built and run: the agent alone, and beside another service.
//!
//! Nothing is pulled: the compiler's image is a stand-in with a compiled binary, and the services are Debian's.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tests::docker::{self, BUSYBOX, Container, Docker};
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::{binary, eventually, skip};

const TIMEOUT: Duration = Duration::from_secs(60);
const AGENT: &str = "system-monitor-test/agent";
const DEBIAN: &str = "system-monitor-test/debian";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The daemon with the agent's image, or why there is none.
fn docker() -> Result<&'static Docker, String> {
    static BUILT: OnceLock<Result<&'static Docker, String>> = OnceLock::new();
    let build = || {
        let docker = docker::daemon()?;
        docker.import("system-monitor-test/compiler", compiler);
        let file = repository().join("deploy/docker/Dockerfile");
        docker.build(&file, repository(), AGENT, &["RUST=system-monitor-test/compiler"])?;
        Ok(docker)
    };
    BUILT.get_or_init(build).clone()
}

/// A root in which `cargo xtask build-static ARCHITECTURE FILE` copies the binary under test.
fn compiler(root: &Path) {
    docker::busybox(root, &binary());
    fs::write(
        root.join("bin/cargo"),
        "#!/bin/sh\n[ \"$1 $2\" = 'xtask build-static' ] && exec cp /usr/local/bin/system-monitor \"$4\"\n",
    )
    .unwrap();
    fs::set_permissions(root.join("bin/cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    ["cp", "mkdir"].iter().for_each(|applet| symlink("busybox", root.join("bin").join(applet)).unwrap());
}

/// Starts a daemon, and a server that its containers reach; or skips the test.
macro_rules! world {
    () => {{
        let docker = match docker() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        };
        let bind = ["--protected-mode", "no", "--bind", "127.0.0.1", &docker.gateway];
        let Some(valkey) = Valkey::start(&bind) else { skip!("valkey-server is not installed") };
        World { docker, valkey }
    }};
}

/// Makes an image of Debian's root with the services in it; or skips the test.
macro_rules! debian {
    ($world:expr) => {{
        let Some(root) = std::env::var_os("SYSTEM_MONITOR_DEBIAN_ROOT") else {
            skip!("SYSTEM_MONITOR_DEBIAN_ROOT names no root of Debian; cargo xtask test makes one")
        };
        debian($world.docker, root.as_ref())
    }};
}

fn debian(docker: &Docker, root: &Path) {
    static IMPORTED: OnceLock<()> = OnceLock::new();
    IMPORTED.get_or_init(|| docker.import_root(DEBIAN, root, &[]));
}

struct World {
    docker: &'static Docker,
    valkey: Valkey,
}

impl World {
    fn options(&self) -> [String; 3] {
        let to = |name: &str, value: &str| format!("--env={name}={value}");
        [
            to("VALKEY_HOST", &self.docker.gateway),
            to("VALKEY_PORT", &self.valkey.port.to_string()),
            to("MONITOR_INTERVAL", "500ms"),
        ]
    }

    fn run(&self, options: &[&str], image: &str, command: &[&str]) -> Container<'static> {
        let own = self.options();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        self.docker.run(&[&own[..], options].concat(), image, command)
    }

    /// Builds an example on a base of the tests' own, with this as the base's entry point.
    fn example(&self, name: &str, base: &str, entrypoint: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("Dockerfile");
        fs::write(dir.path().join("docker-entrypoint.sh"), format!("#!/bin/sh\n{entrypoint}\n")).unwrap();
        fs::set_permissions(dir.path().join("docker-entrypoint.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!(
            "FROM {base}\nCOPY docker-entrypoint.sh /usr/local/bin/\nCOPY docker-entrypoint.sh /\nENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        );
        fs::write(&file, text).unwrap();
        let base = format!("system-monitor-test/{name}-base");
        self.docker.build(&file, dir.path(), &base, &[]).unwrap();
        let examples = repository().join("deploy/docker/examples");
        let image = format!("system-monitor-test/{name}");
        let arguments = [format!("BASE={base}"), format!("AGENT={AGENT}")];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.docker.build(&examples.join(format!("{name}.Dockerfile")), &examples, &image, &arguments).unwrap();
        image
    }

    fn report(&self, name: &str, fits: impl Fn(&Judged) -> bool) -> Judged {
        let read = || oracle::report(name, &self.valkey.report(name, TIMEOUT).expect("no report")).unwrap();
        eventually(TIMEOUT, || Some(read()).filter(&fits)).unwrap_or_else(|| panic!("{}", read().json))
    }

    /// Checks of every example with a running service, whichever it is.
    fn holds(&self, name: &str, container: &Container<'_>, alive: impl Fn() -> bool, exit_code: &str) {
        assert!(eventually(TIMEOUT, || alive().then_some(())).is_some(), "{name} does not run:\n{}", container.said());
        self.report(name, |report| report.status == "running" && report.number("process_count") >= Some(3.0));
        // The agent's messages are in the container's log, which the runtime keeps and rotates.
        let starts = || container.said().matches(&format!("Starting system monitor for container: {name}")).count();
        assert_eq!(starts(), 1, "{}", container.said());
        kill_agent(container);
        assert!(eventually(TIMEOUT, || (starts() == 2).then_some(())).is_some(), "{}", container.said());
        assert!(container.said().contains("the agent has ended with 137"), "{}", container.said());
        assert!(alive(), "{name} died with the agent");
        let last = self.report(name, |_| true).timestamp;
        self.report(name, |report| report.status == "running" && report.timestamp > last);
        container.ask(&["stop", "--time", "30"]).unwrap();
        // The agent has said goodbye, and the container's exit code is the service's.
        self.report(name, |report| report.status == "exited");
        assert_eq!(container.inspect(".State.ExitCode"), exit_code, "{}", container.said());
        assert!(container.said().contains("System monitor stopped"), "{}", container.said());
    }
}

/// Kills the agent in a container from the outside, as the OOM killer would.
fn kill_agent(container: &Container<'_>) {
    let shell = "for p in /proc/[0-9]*; do read -r comm <$p/comm; [ $comm = system-monitor ] && kill -9 ${p#/proc/}; done; true";
    container.exec(&["--user", "0"], &["sh", "-c", shell]).unwrap();
}

#[test]
fn the_agents_image_is_small_runs_as_nobody_and_knows_its_health() {
    let mut world = world!();
    let bytes: u64 = world.docker.ask(&["image", "inspect", "--format", "{{.Size}}", AGENT]).unwrap().parse().unwrap();
    assert!(bytes < 10 << 20, "{bytes}");
    let quick = ["--env=CONTAINER_NAME=alone", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    let health = ["--health-interval=1s", "--health-retries=2", "--health-start-period=1s"];
    let container = world.run(&[&quick[..], &health[..]].concat(), AGENT, &[]);
    world.report("alone", |report| report.status == "running");
    assert_eq!(container.inspect(".Config.User"), "65534:65534");
    let becomes = |state: &str| {
        let found = eventually(TIMEOUT, || (container.inspect(".State.Health.Status") == state).then_some(()));
        assert!(found.is_some(), "never {state}: {}", container.inspect("json .State.Health"));
    };
    becomes("healthy");
    world.valkey.kill();
    becomes("unhealthy");
    world.valkey.restart();
    becomes("healthy");
    assert_eq!(container.inspect(".State.Running"), "true");
}

#[test]
fn an_ubuntu_service_lives_with_the_agent_beside_it() {
    let world = world!();
    debian!(world);
    let image = world.example("ubuntu", DEBIAN, "exec \"$@\"");
    let container = world.run(&[], &image, &[]);
    // `sleep` has no signal handler: as the first process it would ignore the signal.
    world.holds("service", &container, || container.inspect(".State.Running") == "true", "143");
}

#[test]
fn nginx_lives_with_the_agent_beside_it() {
    let world = world!();
    debian!(world);
    let image = world.example("nginx", DEBIAN, "exec \"$@\"");
    let container = world.run(&[], &image, &[]);
    let answers = || TcpStream::connect((container.inspect(".NetworkSettings.IPAddress"), 80)).is_ok();
    world.holds("nginx", &container, answers, "0");
}

#[test]
fn postgresql_lives_with_the_agent_beside_it() {
    let world = world!();
    debian!(world);
    let database = "exec setpriv --reuid=postgres --regid=postgres --init-groups /usr/lib/postgresql/15/bin/postgres \
                    -D /var/lib/postgresql/15/main -c config_file=/etc/postgresql/15/main/postgresql.conf";
    let image = world.example("postgresql", DEBIAN, database);
    let container = world.run(&[], &image, &[]);
    let answers = || container.exec(&[], &["pg_isready", "--quiet"]).is_ok();
    world.holds("postgresql", &container, answers, "0");
    assert!(container.said().contains("received fast shutdown request"), "{}", container.said());
}

#[test]
fn rabbitmq_lives_with_the_agent_beside_it() {
    let world = world!();
    debian!(world);
    let broker = "cd /var/lib/rabbitmq; export HOME=/var/lib/rabbitmq
                  exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups /usr/lib/rabbitmq/bin/rabbitmq-server";
    let image = world.example("rabbitmq", DEBIAN, broker);
    let container = world.run(&["--hostname=rabbit"], &image, &[]);
    let answers = || TcpStream::connect((container.inspect(".NetworkSettings.IPAddress"), 5672)).is_ok();
    world.holds("rabbitmq", &container, answers, "0");
}

#[test]
fn valkey_lives_with_the_agent_that_writes_to_it() {
    let world = world!();
    world.docker.import("system-monitor-test/valkey-root", |root| {
        docker::busybox(root, &binary());
        docker::with_libraries(root, Path::new("/usr/bin/valkey-server"));
        ["od", "tr", "uname"].iter().for_each(|applet| symlink("busybox", root.join("bin").join(applet)).unwrap());
    });
    let image = world.example("valkey", "system-monitor-test/valkey-root", "exec \"$@\"");
    let container = world.run(
        &[],
        &image,
        &[
            "valkey-server",
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--port",
            &world.valkey.port.to_string(),
            "--save",
            "",
        ],
    );
    let answers = || TcpStream::connect((container.inspect(".NetworkSettings.IPAddress"), world.valkey.port)).is_ok();
    // The reports go to the test's own server, so that the last one can be read.
    world.holds("valkey", &container, answers, "0");
}

#[test]
fn a_service_lives_without_an_agent_that_can_run() {
    let world = world!();
    let script = repository().join("deploy/docker/with-monitor");
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("system-monitor");
    fs::write(&foreign, foreign_binary()).unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
    let mount = |from: &Path, to: &str| format!("--volume={}:{to}:ro", from.display());
    let with = |options: &[String], words: &str, code: i32| {
        let script = mount(&script, "/with-monitor");
        let options: Vec<&str> = std::iter::once(&script).chain(options).map(String::as_str).collect();
        let container = world.run(&options, BUSYBOX, &["/bin/sh", "/with-monitor", "sh", "-c", "sleep 2; exit 7"]);
        assert_eq!(container.ask(&["wait"]).unwrap(), "7");
        assert!(container.said().contains(words), "{code}: {}", container.said());
    };
    with(&["--env=SYSTEM_MONITOR=/nowhere".to_owned()], "/nowhere is not there or not executable", 1);
    with(&[mount(&foreign, "/usr/local/bin/system-monitor")], "build or pull the image with --platform linux/", 2);
    with(&["--env=MONITOR_INTERVAL=nonsense".to_owned()], "the agent refuses its settings", 3);
}

/// The head of a binary for another processor.
fn foreign_binary() -> Vec<u8> {
    let mut elf = fs::read(binary()).unwrap()[..64].to_vec();
    elf[18] = if elf[18] == 62 { 183 } else { 62 };
    elf
}

#[test]
fn every_example_is_tried() {
    let directory: PathBuf = repository().join("deploy/docker/examples");
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    let tried = ["nginx", "postgresql", "rabbitmq", "ubuntu", "valkey"].map(|name| format!("{name}.Dockerfile"));
    assert_eq!(names, tried);
}
