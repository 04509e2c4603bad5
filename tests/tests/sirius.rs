//! The overlay for the platform whose former agent this one replaces, with Docker's compose on services of the tests'
//! own that start as the platform's do.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use tests::docker::{self, Docker};
use tests::oracle;
use tests::valkey::Valkey;
use tests::{binary, eventually, has, skip};

const TIMEOUT: Duration = Duration::from_secs(60);
const CONTAINERS: [&str; 6] =
    ["sirius-postgres", "sirius-rabbitmq", "sirius-valkey", "sirius-api", "sirius-ui", "sirius-engine"];

/// The platform, with the overlay's directory as it is after `install`.
struct Platform {
    docker: &'static Docker,
    valkey: Valkey,
    overlay: TempDir,
    project: String,
    files: &'static [&'static str],
    go: Option<PathBuf>,
}

macro_rules! platform {
    ($project:literal, $files:expr) => {{
        let docker = match docker::daemon() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        };
        if !has("docker-compose") {
            skip!("docker-compose is not installed");
        }
        let bind = ["--protected-mode", "no", "--bind", "127.0.0.1", &docker.gateway];
        let Some(valkey) = Valkey::start(&bind) else { skip!("valkey-server is not installed") };
        Platform::new(docker, valkey, $project, $files)
    }};
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

impl Platform {
    fn new(docker: &'static Docker, valkey: Valkey, project: &str, files: &'static [&'static str]) -> Self {
        docker.import("system-monitor-test/platform", |root| {
            docker::busybox(root, &binary());
            let binary = root.join(docker::BINARY.trim_start_matches('/'));
            // The old paths start either a file of the overlay or this script.
            fs::write(&binary, "#!/bin/sh\necho the former agent runs\n").unwrap();
            for applet in ["od", "tr", "uname", "pkill", "cat"] {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
            }
            let start = root.join("start");
            fs::create_dir(&start).unwrap();
            for entry in fs::read_dir(repository().join("tests/sirius/start")).unwrap().flatten() {
                fs::copy(entry.path(), start.join(entry.file_name())).unwrap();
            }
            fs::create_dir_all(root.join("system-monitor")).unwrap();
            // Owned by root, and writable for the user of each container.
            fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        });
        let overlay = tempfile::tempdir().unwrap();
        fs::set_permissions(overlay.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copied =
            Command::new("cp").args(["-r"]).arg(repository().join("deploy/sirius/.")).arg(overlay.path()).status();
        assert!(copied.unwrap().success());
        let go = fs::canonicalize("/usr/bin/go").ok();
        Self { docker, valkey, overlay, project: format!("{project}{}", std::process::id()), files, go }
    }

    fn install(&self, binary: &Path) -> Output {
        Command::new(self.overlay.path().join("install")).arg(binary).output().unwrap()
    }

    fn compose(&self, words: &[&str]) -> Output {
        let mut command = Command::new("docker-compose");
        command.args(["--project-name", &self.project]).current_dir(repository().join("tests/sirius"));
        for file in self.files {
            let name = file.strip_prefix("overlay/");
            let path = name.map_or_else(|| PathBuf::from(file), |name| self.overlay.path().join(name));
            command.arg("--file").arg(path);
        }
        // `/usr/lib/go-1.19/bin/go`, whose other half is in `/usr/share/go-1.19`.
        let root = self.go.as_ref().and_then(|go| go.ancestors().nth(2)).unwrap_or(Path::new("/usr/lib/go"));
        let share = Path::new("/usr/share").join(root.file_name().unwrap());
        command
            .args(words)
            .env("DOCKER_HOST", self.docker.host())
            .env("SYSTEM_MONITOR", self.overlay.path())
            .env("VALKEY_HOST", &self.docker.gateway)
            .env("VALKEY_PORT", self.valkey.port.to_string())
            .envs([("GO_ROOT", root), ("GO_SHARE", &share)]);
        command.output().unwrap()
    }

    fn up(&self) {
        let output = self.compose(&["up", "--detach"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn reports(&self, name: &str) {
        let bytes = self.valkey.report(name, TIMEOUT);
        let bytes = bytes.unwrap_or_else(|| panic!("no report of {name}:\n{}", self.log_of(name)));
        let report = oracle::report(name, &bytes).unwrap();
        assert_eq!(report.status, "running");
    }

    /// The log of the agent in a container, from the file that the start scripts redirect it to.
    fn log_of(&self, name: &str) -> String {
        let output = self.compose(&["exec", "-T", name, "cat", "/tmp/system-monitor.log"]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn is_running(&self, name: &str) -> bool {
        let id = self.compose(&["ps", "--quiet", name]).stdout;
        let id = String::from_utf8(id).unwrap();
        self.docker.ask(&["inspect", "--format", "{{.State.Running}}", id.trim()]).is_ok_and(|state| state == "true")
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        _ = self.compose(&["kill"]);
        _ = self.compose(&["rm", "--force"]);
    }
}

#[test]
fn all_six_containers_report_in_production() {
    let platform = platform!("production", &["docker-compose.yaml", "overlay/compose.yaml"]);
    assert!(platform.install(&binary()).status.success());
    platform.up();
    for name in CONTAINERS {
        platform.reports(name);
    }
    // The engine ends with its agent; the scripts of the others forward no signal to theirs.
    std::thread::sleep(Duration::from_secs(4));
    for name in CONTAINERS {
        assert!(platform.is_running(name), "{name}");
        assert!(!platform.log_of(name).contains("former agent"), "{name}");
    }
}

#[test]
fn all_six_containers_report_in_development() {
    const FILES: &[&str] =
        &["docker-compose.yaml", "docker-compose.dev.yaml", "overlay/compose.yaml", "overlay/compose.development.yaml"];
    let platform = platform!("development", FILES);
    if platform.go.is_none() {
        skip!("the compiler for Go is not installed");
    }
    assert!(platform.install(&binary()).status.success());
    platform.up();
    for name in CONTAINERS {
        platform.reports(name);
        assert!(!platform.log_of(name).contains("former agent"), "{name}");
    }
}

#[test]
fn a_binary_for_another_processor_is_recognised_and_ends_no_container() {
    let platform = platform!("foreign", &["docker-compose.yaml", "overlay/compose.yaml"]);
    let mut elf = fs::read(binary()).unwrap();
    let (foreign, name, here) = if elf[18] == 62 { (183, "arm64", "amd64") } else { (62, "amd64", "arm64") };
    elf[18] = foreign;
    let file = platform.overlay.path().join("misnamed-binary");
    fs::write(&file, &elf).unwrap();
    // Before anything is started the binary is checked by its header, whatever its name.
    let output = platform.install(&file);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with(&format!("{name}: ")), "{said}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("need {here}")) && said.contains("exec format"), "{said}");
    // The wrapper checks it too, if it was installed by hand.
    let bin = platform.overlay.path().join("bin").join(here);
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("system-monitor"), &elf).unwrap();
    fs::set_permissions(bin.join("system-monitor"), fs::Permissions::from_mode(0o755)).unwrap();
    platform.up();
    let words = format!("is not for {here}");
    for name in CONTAINERS {
        let said = eventually(TIMEOUT, || Some(platform.log_of(name)).filter(|log| log.contains(&words)));
        assert!(said.is_some_and(|log| log.contains("exec format error")), "{name}: {}", platform.log_of(name));
    }
    std::thread::sleep(Duration::from_secs(4));
    assert!(platform.is_running("sirius-engine"));
}

#[test]
fn what_is_no_program_is_not_installed() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "no program").unwrap();
    let output = Command::new(repository().join("deploy/sirius/install")).arg(&text).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no program for Linux"));
}
