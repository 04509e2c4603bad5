//! Running under a service manager: the notifications that it gets, and the restrictions of the unit.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tests::agent::{self, Agent};
use tests::{eventually, has, skip};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { socket, dir }
    }

    fn start(&self, environment: &[(&str, &str)]) -> Agent {
        let mut command = agent::command(
            &["--interval", "200ms", "--valkey-url", "none", "--disk-interval", "0s", "--scope", "self"],
            environment,
        );
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        Agent::spawn(command)
    }

    /// The next message; `None` when there is none for a second.
    fn hears(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    fn hears_until(&self, word: &str) -> String {
        eventually(TIMEOUT, || self.hears().filter(|message| message.contains(word))).expect("it is never said")
    }
}

#[test]
fn a_service_manager_hears_of_the_start_of_each_reading_and_of_the_end() {
    let manager = Manager::new();
    let agent = manager.start(&[]);
    let first = manager.hears_until("READY=1");
    assert!(first.contains("WATCHDOG=1\n") && first.contains("STATUS=1 container on "), "{first}");
    let second = manager.hears_until("WATCHDOG=1");
    assert!(!second.contains("READY"), "{second}");
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.status.success(), "{}", ended.said);
    manager.hears_until("STOPPING=1");
}

#[test]
fn an_agent_that_hangs_gives_no_sign_of_life() {
    let manager = Manager::new();
    let agent = manager.start(&[]);
    manager.hears_until("READY=1");
    agent.signal(libc::SIGSTOP);
    while manager.hears().is_some() {}
    assert_eq!(manager.hears(), None);
    agent.signal(libc::SIGCONT);
    manager.hears_until("WATCHDOG=1");
}

#[test]
fn a_watchdog_that_is_shorter_than_the_interval_is_set_longer() {
    let manager = Manager::new();
    let _agent = manager.start(&[("WATCHDOG_USEC", "500000")]);
    assert!(manager.hears_until("READY=1").starts_with("WATCHDOG_USEC=600000\n"));
}

/// The repository's unit, with the paths that `systemd-analyze` finds on this machine.
fn unit() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/system-monitor.service").to_owned()
}

/// Checks of `systemd-analyze security` that the unit passes. A newer version may have more of them, or other names.
const PASSED: &str = "
    SystemCallFilter_swap SystemCallFilter_reboot SystemCallFilter_raw_io SystemCallFilter_obsolete SystemCallFilter_mount
    SystemCallFilter_module SystemCallFilter_debug SystemCallFilter_cpu_emulation SystemCallFilter_clock
    SystemCallArchitectures UserOrDynamicUser SupplementaryGroups NoNewPrivileges RemoveIPC KeyringMode Delegate NotifyAccess UMask
    ProtectSystem ProtectHome ProtectClock ProtectHostname ProtectControlGroups ProtectKernelLogs ProtectKernelModules
    ProtectKernelTunables PrivateTmp PrivateDevices PrivateMounts LockPersonality MemoryDenyWriteExecute RestrictRealtime
    RestrictSUIDSGID RestrictNamespaces_user RestrictNamespaces_pid RestrictNamespaces_net RestrictNamespaces_uts
    RestrictNamespaces_mnt RestrictNamespaces_cgroup RestrictNamespaces_ipc RestrictAddressFamilies_AF_PACKET
    RestrictAddressFamilies_AF_NETLINK RestrictAddressFamilies_OTHER CapabilityBoundingSet_CAP_SYS_ADMIN
    CapabilityBoundingSet_CAP_SYS_PTRACE CapabilityBoundingSet_CAP_SYS_RAWIO CapabilityBoundingSet_CAP_SYS_TIME
    CapabilityBoundingSet_CAP_SYS_MODULE CapabilityBoundingSet_CAP_SYS_BOOT CapabilityBoundingSet_CAP_SYS_CHROOT
    CapabilityBoundingSet_CAP_SYS_NICE_RESOURCE CapabilityBoundingSet_CAP_SYS_PACCT CapabilityBoundingSet_CAP_SYS_TTY_CONFIG
    CapabilityBoundingSet_CAP_SYSLOG CapabilityBoundingSet_CAP_AUDIT CapabilityBoundingSet_CAP_MAC CapabilityBoundingSet_CAP_KILL
    CapabilityBoundingSet_CAP_WAKE_ALARM CapabilityBoundingSet_CAP_BLOCK_SUSPEND CapabilityBoundingSet_CAP_LEASE
    CapabilityBoundingSet_CAP_MKNOD CapabilityBoundingSet_CAP_IPC_LOCK CapabilityBoundingSet_CAP_LINUX_IMMUTABLE
    CapabilityBoundingSet_CAP_DAC_FOWNER_IPC_OWNER CapabilityBoundingSet_CAP_CHOWN_FSETID_SETFCAP
    CapabilityBoundingSet_CAP_SET_UID_GID_PCAP";

#[test]
fn the_unit_exposes_little() {
    if !has("systemd-analyze") {
        skip!("systemd-analyze is not installed");
    }
    let output =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--json=short", &unit()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let result = |name: &str| checks.iter().find(|check| check["json_field"] == name).map(|check| &check["set"]);
    let (known, unknown): (Vec<&str>, Vec<&str>) = PASSED.split_whitespace().partition(|name| result(name).is_some());
    assert!(known.len() > unknown.len(), "this version knows nothing of {unknown:?}");
    let failed: Vec<&str> = known.into_iter().filter(|name| result(name).is_some_and(|set| set != true)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn the_unit_is_well_formed() {
    if !has("systemd-analyze") {
        skip!("systemd-analyze is not installed");
    }
    // The manager checks the files of this machine: it gets a root in which the program exists.
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("usr/lib/systemd/system");
    std::fs::create_dir_all(&units).unwrap();
    std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
    std::fs::copy(tests::binary(), dir.path().join("usr/bin/system-monitor")).unwrap();
    std::fs::create_dir_all(dir.path().join("bin")).unwrap();
    std::fs::copy("/bin/chown", dir.path().join("bin/chown")).unwrap();
    let from = Path::new(&unit()).parent().unwrap().to_owned();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), units.join(entry.file_name())).unwrap();
    }
    let root = format!("--root={}", dir.path().display());
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no", &root, "system-monitor.service"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // A version of the manager may report something about the root itself.
    assert!(output.status.success() && !said.contains("system-monitor"), "{said}");
}
