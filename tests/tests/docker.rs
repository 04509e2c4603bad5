//! In real containers, as Docker makes them.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tests::valkey::Valkey;
use tests::{binary, eventually, oracle, skip};

const PATIENCE: Duration = Duration::from_secs(30);

/// An engine of the tests' own, with one image: a shell and the agent.
struct Engine {
    dir: tempfile::TempDir,
    daemon: Child,
}

/// Why there is none.
static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();

macro_rules! engine {
    () => {
        match ENGINE.get_or_init(Engine::start) {
            Ok(engine) => engine,
            Err(reason) => skip!("{reason}"),
        }
    };
}

impl Engine {
    fn start() -> Result<Self, String> {
        if !tests::is_root() || !tests::has("dockerd") || !tests::has("docker") {
            return Err("a Docker engine takes root, dockerd and docker".to_owned());
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let busybox = busybox.ok_or("busybox-static is not installed")?;
        if !is_static(&binary()) {
            return Err("the binary under test is not static; run cargo xtask test".to_owned());
        }
        let dir = tempfile::tempdir().unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let daemon = Command::new("dockerd")
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["-H", &format!("unix://{}", path("socket")), "--storage-driver", "vfs"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("dockerd: {error}"))?;
        let engine = Self { dir, daemon };
        if eventually(PATIENCE, || engine.try_run(&["version"]).ok()).is_none() {
            let log = fs::read_to_string(engine.dir.path().join("log")).unwrap_or_default();
            return Err(format!("dockerd does not come up: {}", log.lines().last().unwrap_or_default()));
        }
        engine.make_image(busybox);
        // The engine shall not outlive the tests, which end without running the destructors of what is static.
        // SAFETY: the function below makes system calls alone.
        unsafe { libc::atexit(end_engine) };
        Ok(engine)
    }

    fn make_image(&self, busybox: &str) {
        let root = self.dir.path().join("root");
        for dir in ["bin", "etc", "tmp", "usr/local/bin", "proc", "sys"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "cat", "kill", "dd"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::copy(binary(), root.join("usr/local/bin/system-monitor")).unwrap();
        let tar = self.dir.path().join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(packed.success());
        self.run(&["import", tar.to_str().unwrap(), "image"]);
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix://{}", self.dir.path().join("socket").display())).args(arguments);
        command
    }

    fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.docker(arguments).stdin(Stdio::null()).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"))
    }

    /// A container that runs `script`; removed when dropped.
    fn container(&self, options: &[&str], script: &str) -> Container<'_> {
        let id = self.run(
            &[&["run", "--detach", "--env", "CONTAINER_NAME=web"], options, &["image", "sh", "-c", script]].concat(),
        );
        Container { engine: self, id }
    }

    /// The address under which containers see this machine.
    fn gateway(&self) -> String {
        self.run(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"])
    }
}

extern "C" fn end_engine() {
    if let Some(Ok(engine)) = ENGINE.get() {
        let pid = i32::try_from(engine.daemon.id()).unwrap_or_default();
        // SAFETY: the daemon is ours and has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        for _ in 0..100 {
            // SAFETY: as above.
            if unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) } != 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        _ = fs::remove_dir_all(engine.dir.path());
    }
}

struct Container<'a> {
    engine: &'a Engine,
    id: String,
}

impl Container<'_> {
    fn exec(&self, arguments: &[&str]) -> String {
        self.engine.run(&[&["exec", self.id.as_str()], arguments].concat())
    }

    /// What `once` says inside.
    fn once(&self) -> oracle::Judged {
        let text = self.exec(&["system-monitor", "once", "--json", "--wait", "2s"]);
        oracle::report("web", text.as_bytes()).unwrap()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        _ = self.engine.try_run(&["rm", "--force", &self.id]);
    }
}

/// Static executables ask for no interpreter.
fn is_static(path: &Path) -> bool {
    !fs::read(path).unwrap().windows(11).any(|window| window == b"/ld-linux-x" || window == b"/ld-linux-a")
}

const SPIN: &str = "while :; do :; done";

#[test]
fn limits_of_a_container_are_the_allowance() {
    let engine = engine!();
    for options in [&["--cgroupns", "private"][..], &["--cgroupns", "host"], &["--user", "1001", "--read-only"]] {
        let all = [options, &["--cpus", "0.25", "--memory", "64m", "--pids-limit", "50"]].concat();
        let container = engine.container(&all, SPIN);
        let report = container.once();
        assert!(report.number("cpu_percent").unwrap() > 90.0, "{options:?}: {:?}", report.number("cpu_percent"));
        assert_eq!(report.json["cpu"]["limit_cores"], 0.25, "{options:?}");
        assert_eq!(report.json["memory"]["limit_bytes"], 64 << 20, "{options:?}");
        assert_eq!(report.json["processes"]["limit"], 50, "{options:?}");
        // The shell that spins, and the agent that looks.
        assert_eq!(report.number("process_count"), Some(2.0), "{options:?}");
        assert!(
            report.number("disk_usage_bytes").is_some_and(|used| used > 1e6),
            "{options:?}: {}",
            report.json["absent"]
        );
        assert!((0.0..30.0).contains(&report.number("uptime_seconds").unwrap()), "{options:?}");
        assert_eq!(report.json["container_id"], container.id, "{options:?}");
    }
}

#[test]
fn without_a_limit_the_machine_is_the_allowance() {
    let engine = engine!();
    let report = engine.container(&[], SPIN).once();
    assert!(report.json["memory"]["limit_bytes"].is_null());
    let cores = report.json["cpu"]["usage_cores"].as_f64().unwrap();
    let cpus = std::thread::available_parallelism().unwrap().get() as f64;
    let percent = report.number("cpu_percent").unwrap();
    assert!((cores / cpus * 100.0 - percent).abs() < 1.0, "{cores} {percent}");
}

#[test]
fn memory_agrees_with_what_the_engine_says() {
    let engine = engine!();
    let container = engine.container(&["--memory", "200m"], "dd if=/dev/zero of=/tmp/file bs=1M count=50; sleep 1000");
    eventually(PATIENCE, || container.once().number("memory_usage_bytes").filter(|used| *used > 45e6))
        .expect("the page cache is not counted");
    let report = container.once();
    let stats = engine.run(&["stats", "--no-stream", "--format", "{{.MemPerc}}", &container.id]);
    let theirs: f64 = stats.trim_end_matches('%').parse().unwrap();
    let working_set = report.json["memory"]["working_set_bytes"].as_f64().unwrap() / f64::from(200 << 20) * 100.0;
    // Between the two looks the agent itself has gone.
    assert!((working_set - theirs).abs() < 5.0, "{working_set} {theirs}");
}

#[test]
fn an_agent_beside_the_main_process_writes_over_the_bridge_by_name_and_says_goodbye() {
    let engine = engine!();
    let gateway = engine.gateway();
    let Some(valkey) = Valkey::start(&["--bind", "0.0.0.0", "--protected-mode", "no"]) else {
        skip!("valkey-server is not installed")
    };
    let (host, port) = (format!("store:{gateway}"), format!("VALKEY_PORT={}", valkey.port));
    let options = ["--add-host", host.as_str(), "--env", "VALKEY_HOST=store", "--env", &port, "--user", "1001"];
    let container = engine.container(&options, "system-monitor --interval 500ms & agent=$!; trap 'kill $agent; wait $agent; exit' TERM; while :; do sleep 0.1; done");
    let bytes = valkey.report("web", PATIENCE).unwrap_or_else(|| panic!("{}", engine.run(&["logs", &container.id])));
    assert_eq!(oracle::report("web", &bytes).unwrap().status, "running");
    assert!(container.exec(&["system-monitor", "healthcheck", "--interval", "2s"]).starts_with("healthy"));
    engine.run(&["stop", "--time", "10", &container.id]);
    let last = oracle::report("web", &valkey.report("web", PATIENCE).expect("the report has gone")).unwrap();
    assert_eq!(last.status, "exited");
}

#[test]
fn with_the_rights_that_it_takes_ebpf_counts_inside_a_container() {
    let engine = engine!();
    let options = [
        "--cgroupns",
        "host",
        "--volume",
        "/sys/fs/cgroup:/sys/fs/cgroup:ro",
        "--cap-add",
        "SYS_ADMIN",
        "--cap-add",
        "NET_ADMIN",
    ];
    let container = engine.container(&options, "while :; do /bin/busybox true; sleep 0.1; done");
    let report = container.once();
    assert_eq!(report.json["sources"]["network"], "ebpf", "{}", report.json["absent"]);
    let execs = report.json["processes"]["execs"].as_u64().unwrap();
    assert!((5..60).contains(&execs), "{execs} programs in two seconds");
}

#[test]
fn without_rights_doctor_names_each_refusal_and_its_cure() {
    let engine = engine!();
    let container = engine.container(&["--user", "1001"], "sleep 1000");
    let command = ["exec", container.id.as_str(), "system-monitor", "doctor", "--valkey-url", "none"];
    let output = engine.docker(&command).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for program in ["ingress", "egress", "task_newtask", "sched_process_exec", "sched_process_exit", "mark_victim"] {
        assert!(said.contains(&format!("refused     eBPF {program}: ")), "{said}");
    }
    assert!(said.contains("cure: "), "{said}");
}
