//! The Debian package in a booted Debian: a real service manager starts, watches, restarts, upgrades and removes it.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::{eventually, has, is_root, skip};

const TIMEOUT: Duration = Duration::from_secs(60);
const SERVICE: &str = "system-monitor.service";
const CONFIG: &str = "/etc/system-monitor/config.toml";

/// A booted Debian whose changes are discarded.
struct Machine {
    nspawn: Child,
    init: String,
}

impl Machine {
    /// Boots the system in `root`, with `files` mounted at `/files`. It shares this machine's network, and starts no
    /// service.
    fn boot(root: &Path, files: &Path, log: &Path) -> Self {
        let directory = format!("--directory={}", root.display());
        let files = format!("--bind-ro={}:/files", files.display());
        let nspawn = Command::new("systemd-nspawn")
            .args([&directory, &files, "--volatile=overlay", "--register=no", "--keep-unit", "--boot"])
            .arg(format!("--machine=system-monitor-test-{}", std::process::id()))
            .args(["--capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN", "--system-call-filter=bpf"])
            .args(["systemd.unit=basic.target"])
            .stdin(Stdio::null())
            .stdout(fs::File::create(log).unwrap())
            .stderr(fs::File::create(log.with_extension("errors")).unwrap())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
        // Its first child prepares and ends; the one that stays is the machine's first process.
        let init = eventually(TIMEOUT, || {
            let child = fs::read_to_string(&children).ok()?.split_whitespace().next()?.to_owned();
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            (name.trim() == "systemd").then_some(child)
        });
        let said = || fs::read_to_string(log.with_extension("errors")).unwrap_or_default();
        let machine = Self { nspawn, init: init.unwrap_or_else(|| panic!("it does not boot: {}", said())) };
        let booted = eventually(TIMEOUT, || {
            machine.run("systemctl is-active --quiet basic.target").status.success().then_some(())
        });
        assert!(booted.is_some(), "{}", fs::read_to_string(log).unwrap());
        machine
    }

    fn run(&self, words: &str) -> Output {
        Command::new("nsenter")
            .args(["--target", &self.init, "--mount", "--uts", "--ipc", "--pid", "--cgroup", "sh", "-c", words])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .unwrap()
    }

    /// Runs a command, which must succeed; returns its output.
    fn ask(&self, words: &str) -> String {
        let Output { status, stdout, stderr } = self.run(words);
        let said = String::from_utf8_lossy(&stdout).trim().to_owned();
        assert!(status.success(), "{words}: {said} {}\n{}", String::from_utf8_lossy(&stderr), self.journal());
        said
    }

    fn property(&self, name: &str) -> String {
        self.ask(&format!("systemctl show --property={name} --value {SERVICE}"))
    }

    fn becomes(&self, name: &str, fits: impl Fn(&str) -> bool) -> String {
        let found = eventually(TIMEOUT, || Some(self.property(name)).filter(|value| fits(value)));
        found.unwrap_or_else(|| panic!("{name} is {}\n{}", self.property(name), self.journal()))
    }

    fn journal(&self) -> String {
        let Output { stdout, .. } = self.run(&format!("journalctl --no-pager --lines=40 --unit={SERVICE}"));
        String::from_utf8_lossy(&stdout).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Everything in it ends with its first process.
        _ = Command::new("kill").args(["-KILL", &self.init]).status();
        _ = self.nspawn.wait();
    }
}

/// The same package, one version later.
fn next_version(package: &Path, into: &Path) {
    let dir = into.join("unpacked");
    let done = |words: &mut Command| assert!(words.stdout(Stdio::null()).status().unwrap().success());
    done(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&dir));
    let control = dir.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let later: Vec<String> = text
        .lines()
        .map(|line| {
            line.strip_prefix("Version: ").map_or(line.to_owned(), |version| format!("Version: {version}+later"))
        })
        .collect();
    fs::write(control, later.join("\n") + "\n").unwrap();
    done(Command::new("dpkg-deb").args(["-Znone", "--build"]).arg(&dir).arg(into.join("later.deb")));
}

struct World {
    machine: Machine,
    /// The machine's host name, and so the name of its report.
    name: String,
    valkey: Valkey,
    _files: TempDir,
}

macro_rules! world {
    () => {{
        let (package, root) = (std::env::var_os("SYSTEM_MONITOR_DEB"), std::env::var_os("SYSTEM_MONITOR_DEBIAN_ROOT"));
        let (Some(package), Some(root)) = (package, root) else {
            skip!("SYSTEM_MONITOR_DEB and SYSTEM_MONITOR_DEBIAN_ROOT name nothing; cargo xtask test makes both")
        };
        if !is_root() {
            skip!("a machine of its own takes root");
        }
        if let Some(program) = ["systemd-nspawn", "nsenter", "dpkg-deb"].into_iter().find(|program| !has(program)) {
            skip!("{program} is not installed");
        }
        let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
        let files = tempfile::tempdir().unwrap();
        let package = PathBuf::from(package);
        fs::copy(&package, files.path().join("first.deb")).unwrap();
        next_version(&package, files.path());
        let log = files.path().join("log");
        let machine = Machine::boot(root.as_ref(), files.path(), &log);
        World { name: machine.ask("uname -n"), machine, valkey, _files: files }
    }};
}

impl World {
    fn report(&self, fits: impl Fn(&Judged) -> bool) -> Judged {
        let read = || oracle::report(&self.name, &self.valkey.report(&self.name, TIMEOUT).expect("no report")).unwrap();
        eventually(TIMEOUT, || Some(read()).filter(&fits)).unwrap_or_else(|| panic!("{}", read().json))
    }
}

#[test]
fn the_package_is_installed_started_watched_upgraded_and_removed() {
    let world = world!();
    let machine = &world.machine;

    machine.ask("dpkg --install /files/first.deb");
    assert!(machine.ask("system-monitor --version").starts_with("system-monitor "));
    assert!(machine.ask("getent passwd system-monitor").contains("/var/lib/system-monitor"));
    // The address of Valkey has not been set yet.
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert!(!machine.run(&format!("systemctl is-enabled {SERVICE}")).status.success());

    machine.ask(&format!(
        "echo 'valkey-url = \"valkey://127.0.0.1:{}\"\ninterval = \"500ms\"' >> {CONFIG}",
        world.valkey.port
    ));
    machine.ask(&format!("systemctl start {SERVICE}"));
    assert!(
        machine.property("StatusText").contains(&format!(" on {}, read in ", world.name)),
        "{}",
        machine.property("StatusText")
    );
    let before = world.report(|report| report.status == "running");
    let pid = machine.property("MainPID");
    let status = machine.ask(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_ne!(field("Uid:").split_whitespace().next(), Some("0"));
    // CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF (include/uapi/linux/capability.h), or less when they have been dropped.
    let three = 1 << 12 | 1 << 38 | 1 << 39;
    for set in ["CapBnd:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap() & !three, 0, "{set} {}", field(set));
    }
    assert_eq!(field("NoNewPrivs:"), "1");

    // An upgrade restarts it, and keeps the settings and the counters.
    machine.ask("dpkg --install /files/later.deb");
    assert_ne!(machine.becomes("MainPID", |now| now != "0" && now != pid), pid);
    assert!(machine.ask(&format!("cat {CONFIG}")).contains("interval = \"500ms\""));
    let after = world.report(|report| report.status == "running" && report.timestamp > before.timestamp);
    if before.json["sources"]["network"] == "ebpf" {
        assert_eq!(after.json["network"]["since"], before.json["network"]["since"], "{}", machine.journal());
        assert!(after.number("network_rx_bytes") >= before.number("network_rx_bytes"));
    } else {
        assert!(before.absent.contains_key("network.since"), "{}", before.json);
    }

    // A hanging agent is ended and started again.
    machine.ask(&format!(
        "mkdir -p /run/systemd/system/{SERVICE}.d; printf '[Service]\nWatchdogSec=2s\n' > /run/systemd/system/{SERVICE}.d/quick.conf; \
         systemctl daemon-reload; systemctl restart {SERVICE}"
    ));
    let pid = machine.property("MainPID");
    machine.ask(&format!("kill -STOP {pid}"));
    machine.becomes("MainPID", |now| now != "0" && now != pid);
    let restarts: u32 = machine.property("NRestarts").parse().unwrap();
    assert!(restarts > 0, "the manager itself started it again: {}", machine.journal());

    // A wrong setting is reported once, and not retried.
    machine.ask(&format!("cp {CONFIG} /tmp/config; echo 'nonsense = 1' >> {CONFIG}"));
    machine.run(&format!("systemctl restart {SERVICE}"));
    machine.becomes("ActiveState", |state| state == "failed");
    assert_eq!(machine.property("ExecMainStatus"), "2");
    assert_eq!(machine.property("NRestarts"), "0");
    machine.ask(&format!("cp /tmp/config {CONFIG}; systemctl restart {SERVICE}"));

    // A stop is told in the machine's log.
    machine.ask(&format!("systemctl stop {SERVICE}"));
    let log: redis::Value = world.valkey.query(&["XREVRANGE", &format!("system:logstream:{}", world.name), "+", "-"]);
    assert!(format!("{log:?}").contains("the agent stops"), "{log:?}");
    assert_eq!(machine.property("Result"), "success");

    machine.ask(&format!("systemctl start {SERVICE}; dpkg --remove system-monitor"));
    assert!(!machine.run("pgrep -x system-monitor").status.success());
    assert!(!machine.run("mountpoint --quiet /run/system-monitor/bpf").status.success());
    assert!(machine.ask(&format!("cat {CONFIG}")).contains("interval"), "a removal takes the configuration away");
    machine.ask("dpkg --purge system-monitor");
    assert!(!machine.run(&format!("test -e {CONFIG}")).status.success());
    assert!(!machine.run("test -e /var/lib/system-monitor").status.success());
}

#[test]
fn debians_own_checker_finds_no_error_in_the_package() {
    let Some(package) = std::env::var_os("SYSTEM_MONITOR_DEB") else {
        skip!("SYSTEM_MONITOR_DEB names no package; cargo xtask test makes one");
    };
    if !has("lintian") {
        skip!("lintian is not installed");
    }
    let Output { status, stdout, stderr } =
        Command::new("lintian").args(["--allow-root", "--fail-on", "error"]).arg(package).output().unwrap();
    assert!(status.success(), "{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
}
