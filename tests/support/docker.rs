//! A Docker daemon for the tests alone: it shares no data, sockets or bridge with another one, and ends with the tests,
//! however they end.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::{eventually, has};

const TIMEOUT: Duration = Duration::from_secs(90);

/// An image with busybox and the binary.
pub const BUSYBOX: &str = "system-monitor-test/busybox";
/// An image with nothing but the binary.
pub const BARE: &str = "system-monitor-test/bare";
/// Path of the binary in both.
pub const BINARY: &str = "/usr/local/bin/system-monitor";

/// Waits for the end of its input, which is the end of the tests, then removes everything.
const KEEPER: &str = r#"
directory=$1 bridge=$2 address=$3
client="docker --host unix://$directory/socket"
# With an address of its own: else it takes that of one container after the other, which the others do not know.
ip link add "$bridge" address 02:00:00:00:00:01 type bridge
ip address add "$address/24" dev "$bridge"
ip link set "$bridge" up
dockerd --host "unix://$directory/socket" --pidfile "$directory/pid" \
    --data-root "$directory/data" --exec-root "$directory/exec" \
    --bridge "$bridge" --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false \
    >"$directory/log" 2>&1 &
cat >/dev/null
$client ps --all --quiet | xargs --no-run-if-empty $client rm --force
kill $!
wait
ip link delete "$bridge"
umount "$directory"/exec/netns/*
rm --recursive --force --one-file-system "$directory"
"#;

/// The daemon.
pub struct Docker {
    dir: PathBuf,
    /// The host as containers on the bridge see it.
    pub gateway: String,
    /// Closed when the tests end.
    _until_the_end: ChildStdin,
}

/// Returns the one daemon of this test binary, which is started on first use.
///
/// # Errors
/// The reason why it cannot run here.
pub fn daemon() -> Result<&'static Docker, String> {
    static DAEMON: OnceLock<Result<Docker, String>> = OnceLock::new();
    DAEMON.get_or_init(Docker::start).as_ref().map_err(String::clone)
}

impl Docker {
    fn start() -> Result<Self, String> {
        if !crate::is_root() {
            return Err("a Docker daemon takes root".to_owned());
        }
        if let Some(program) = ["dockerd", "docker", "ip", "busybox", "tar"].into_iter().find(|program| !has(program)) {
            return Err(format!("{program} is not installed"));
        }
        let binary = std::env::var_os("SYSTEM_MONITOR_BIN");
        let binary = binary.ok_or("SYSTEM_MONITOR_BIN names no static binary; cargo xtask test makes one")?;
        let dir = tempfile::tempdir().unwrap().keep();
        let [low, high, ..] = std::process::id().to_le_bytes();
        let gateway = format!("10.{}.{low}.1", 64 + high % 128);
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", dir.to_str().unwrap(), &format!("smt{}", std::process::id()), &gateway])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A process group of its own is not reached by a Ctrl-C at the terminal.
            .process_group(0)
            .spawn()
            .unwrap();
        let until_the_end = keeper.stdin.take().unwrap();
        let docker = Self { dir, gateway, _until_the_end: until_the_end };
        docker.answers(&mut keeper)?;
        docker.import(BUSYBOX, |root| busybox(root, binary.as_ref()));
        docker.import(BARE, |root| bare(root, binary.as_ref()));
        Ok(docker)
    }

    fn answers(&self, keeper: &mut Child) -> Result<(), String> {
        let ended = || fs::read_to_string(self.dir.join("log")).is_ok_and(|log| log.contains("failed to start daemon"));
        let answer = eventually(TIMEOUT, || {
            let alive = keeper.try_wait().unwrap().is_none() && !ended();
            if alive { self.ask(&["version"]).ok().map(|_| true) } else { Some(false) }
        });
        if answer == Some(true) {
            return Ok(());
        }
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        Err(format!("dockerd does not run here: {}", log.lines().last().unwrap_or("it says nothing")))
    }

    /// Path of its API socket.
    pub fn socket(&self) -> String {
        self.dir.join("socket").to_str().unwrap().to_owned()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(self.host()).args(arguments);
        command
    }

    /// Runs a command of the client; returns its output.
    ///
    /// # Errors
    /// The client's error output.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let Output { status, stdout, stderr } = self.client(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
    }

    /// Makes an image of the files that `fill` puts into a directory; all belong to root.
    pub fn import(&self, image: &str, fill: impl FnOnce(&Path)) {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        self.import_root(image, root.path(), &["--owner=0", "--group=0"]);
    }

    /// Makes an image of a directory.
    pub fn import_root(&self, image: &str, root: &Path, options: &[&str]) {
        let mut archive = Command::new("tar")
            .args(["--create", "--one-file-system"])
            .args(options)
            .arg("--directory")
            .args([root.as_os_str(), ".".as_ref()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = self.client(&["import", "-", image]).stdin(archive.stdout.take().unwrap()).output().unwrap();
        assert!(archive.wait().unwrap().success() && output.status.success(), "{output:?}");
    }

    /// Builds an image from a Dockerfile; `arguments` are those of the build.
    ///
    /// # Errors
    /// The builder's error output.
    pub fn build(&self, file: &Path, context: &Path, image: &str, arguments: &[&str]) -> Result<(), String> {
        let (file, context) = (file.to_str().unwrap(), context.to_str().unwrap());
        let arguments = arguments.iter().flat_map(|argument| ["--build-arg", argument]);
        let words: Vec<&str> = ["build", "--quiet", "--tag", image, "--file", file]
            .into_iter()
            .chain(arguments)
            .chain([context])
            .collect();
        self.ask(&words).map(drop)
    }

    /// Address of the daemon, as its clients want it in `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}/socket", self.dir.display())
    }

    /// Starts a container.
    pub fn run(&self, options: &[&str], image: &str, command: &[&str]) -> Container<'_> {
        let words = [&["run", "--detach"], options, &[image], command].concat();
        let id = self.ask(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        Container { docker: self, id }
    }

    /// Runs a container to its end, and returns its output.
    ///
    /// # Errors
    /// The client's error output.
    pub fn run_once(&self, options: &[&str], image: &str, command: &[&str]) -> Result<String, String> {
        self.ask(&[&["run", "--rm"], options, &[image], command].concat())
    }

    /// Asks the daemon's API, because its client rounds the numbers.
    fn get(&self, path: &str) -> serde_json::Value {
        let mut stream = UnixStream::connect(self.dir.join("socket")).unwrap();
        // HTTP/1.0 has no chunks, and ends the connection with the answer.
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        serde_json::from_slice(&answer[body..]).unwrap()
    }
}

/// A container, removed when dropped.
pub struct Container<'a> {
    docker: &'a Docker,
    pub id: String,
}

impl Container<'_> {
    /// A command of the client about this container: its words, with the container last.
    ///
    /// # Errors
    /// The client's error output.
    pub fn ask(&self, words: &[&str]) -> Result<String, String> {
        self.docker.ask(&[words, &[&self.id]].concat())
    }

    /// Runs something inside.
    ///
    /// # Errors
    /// The client's error output.
    pub fn exec(&self, options: &[&str], command: &[&str]) -> Result<String, String> {
        self.docker.ask(&[&["exec"], options, &[&self.id], command].concat())
    }

    /// A field of `docker inspect`.
    pub fn inspect(&self, field: &str) -> String {
        self.ask(&["inspect", "--format", &format!("{{{{{field}}}}}")]).unwrap()
    }

    /// The statistics behind `docker stats`.
    pub fn stats(&self) -> serde_json::Value {
        self.docker.get(&format!("/containers/{}/stats?stream=false&one-shot=true", self.id))
    }

    /// Number of processes that `docker top` lists.
    pub fn processes(&self) -> usize {
        self.docker.get(&format!("/containers/{}/top", self.id))["Processes"].as_array().unwrap().len()
    }

    /// Output of its standard streams.
    pub fn said(&self) -> String {
        let Output { stdout, stderr, .. } = self.docker.client(&["logs", &self.id]).output().unwrap();
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("container {}:\n{}", self.id, self.said());
        }
        _ = self.ask(&["rm", "--force", "--volumes"]);
    }
}

/// A root with busybox and the binary.
pub fn busybox(root: &Path, binary: &Path) {
    bare(root, binary);
    for dir in ["bin", "etc", "tmp"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|dir| dir.join("busybox")).find(|path| path.exists());
    fs::copy(found.unwrap_or_else(|| "/bin/busybox".into()), root.join("bin/busybox")).unwrap();
    for applet in ["sh", "sleep", "true", "nc", "dd", "mkfifo"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
}

fn bare(root: &Path, binary: &Path) {
    let to = root.join(BINARY.trim_start_matches('/'));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(binary, to).unwrap();
}

/// Copies a program of this machine to the same place in a root, with the libraries that it needs.
pub fn with_libraries(root: &Path, program: &Path) {
    let Output { stdout, .. } = Command::new("ldd").arg(program).output().unwrap();
    let said = String::from_utf8(stdout).unwrap();
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain([program]) {
        let to = root.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
}
