//! Real containers of Podman's, as described by its files and its API.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use monitor::containers::names::Files;
use monitor::containers::runtime_path::PathHint;
use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, has, oracle, skip};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Podman with a store of its own.
struct Podman {
    dir: tempfile::TempDir,
    service: Option<Child>,
}

impl Podman {
    fn new() -> Result<Self, String> {
        if !tests::is_root() {
            return Err("Podman's containers take root here".to_owned());
        }
        if let Some(program) = ["podman", "runc", "busybox", "tar"].into_iter().find(|program| !has(program)) {
            return Err(format!("{program} is not installed"));
        }
        let podman = Self { dir: tempfile::tempdir().unwrap(), service: None };
        let bin = podman.dir.path().join("root/bin");
        fs::create_dir_all(&bin).unwrap();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let busybox = std::env::split_paths(&paths).map(|dir| dir.join("busybox")).find(|path| path.exists());
        fs::copy(busybox.unwrap(), bin.join("busybox")).unwrap();
        symlink("busybox", bin.join("sleep")).unwrap();
        let tar = podman.dir.path().join("root.tar");
        let root = podman.dir.path().join("root");
        let mut pack = Command::new("tar");
        pack.args(["--create", "--file"]).arg(&tar).arg("--directory").arg(root).arg(".");
        assert!(pack.status().unwrap().success());
        podman.ask(&["import", tar.to_str().unwrap(), "test/busybox"])?;
        Ok(podman)
    }

    fn command(&self, words: &[&str]) -> Command {
        let path = |name: &str| self.dir.path().join(name);
        let mut command = Command::new("podman");
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc", "--events-backend", "file"]);
        command.args(["--storage-driver", "vfs", "--root"]).arg(path("store")).arg("--runroot").arg(path("run"));
        command.args(words).stdin(Stdio::null());
        command
    }

    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Starts a container, and returns its id.
    fn run(&self, options: &[&str]) -> Result<String, String> {
        // By default it requires the limits of a service, which not every machine can give.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--network", "host"];
        self.ask(&[&["run", "--detach"][..], &limits, options, &["test/busybox", "sleep", "1000"]].concat())
    }

    /// Starts its interface.
    fn serve(&mut self) -> String {
        let socket = self.dir.path().join("socket").to_str().unwrap().to_owned();
        let mut command = self.command(&["system", "service", "--time", "0", &format!("unix://{socket}")]);
        self.service = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually(TIMEOUT, || Path::new(&socket).exists().then_some(())).expect("no interface");
        socket
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(service) = &mut self.service {
            _ = service.kill();
            _ = service.wait();
        }
        _ = self.ask(&["rm", "--force", "--all", "--time", "0"]);
    }
}

#[test]
fn podmans_containers_are_named_by_its_files_by_its_interface_and_by_themselves() {
    let mut podman = match Podman::new() {
        Ok(podman) => podman,
        Err(reason) => skip!("{reason}"),
    };
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let [db, own] = [format!("db-{}", std::process::id()), format!("own-{}", std::process::id())];
    let id = match podman.run(&["--name", &db, "--label", "tier=back"]) {
        Ok(id) => id,
        Err(reason) => skip!("podman runs no container here: {reason}"),
    };
    podman.run(&["--env", &format!("CONTAINER_NAME={own}")]).unwrap();

    // The usual place of Podman's files.
    let host = podman.dir.path().join("host/var/lib/containers");
    fs::create_dir_all(&host).unwrap();
    symlink(podman.dir.path().join("store"), host.join("storage")).unwrap();
    let hint = PathHint { runtime: "podman", id: Some(id.clone()), name: None };
    let known = Files::new(&podman.dir.path().join("host")).look_up(&hint, None, false).unwrap();
    assert_eq!((known.name.as_deref(), known.is_final), (Some(&*db), true));
    assert!(known.image.is_some_and(|image| image.contains("test/busybox")));

    let socket = podman.serve();
    let _agent =
        Agent::start(valkey.port, &["--scope", "host", "--interval", "500ms", "--runtime-sockets", &socket], &[]);
    let report = |name: &str| {
        let bytes = valkey.report(name, TIMEOUT).unwrap_or_else(|| panic!("{:?}", valkey.keys("system:metrics:")));
        oracle::report(name, &bytes).unwrap()
    };
    let told = report(&db);
    assert_eq!((told.json["runtime"].as_str(), told.json["container_id"].as_str()), (Some("podman"), Some(&*id)));
    assert_eq!(told.json["labels"]["tier"], "back");
    assert_eq!(report(&own).number("process_count"), Some(1.0));
}
