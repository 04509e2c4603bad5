//! A real Valkey server for one test, on a port or socket of its own, which ends with the test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{eventually, free_port};

/// An entry of a stream: its id and its fields.
pub type StreamEntry = (String, Vec<(String, Vec<u8>)>);

/// A running server.
pub struct Valkey {
    child: Option<Child>,
    arguments: Vec<String>,
    pub port: u16,
    pub dir: TempDir,
}

impl Valkey {
    /// Starts a server with these arguments besides the port. `None` if no server is installed.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let mut server = Self::prepare(arguments)?;
        // Another process may have taken the port since it was free.
        for _ in 0..5 {
            if server.try_start() {
                return Some(server);
            }
            server.port = free_port();
        }
        panic!("valkey-server does not start");
    }

    /// Prepares a server without starting it.
    pub fn prepare(arguments: &[&str]) -> Option<Self> {
        if !crate::has("valkey-server") {
            return None;
        }
        let open = std::fs::Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new().permissions(open).tempdir().unwrap();
        let arguments = arguments.iter().map(|text| text.replace("{dir}", dir.path().to_str().unwrap())).collect();
        Some(Self { child: None, arguments, port: free_port(), dir })
    }

    /// Starts it, empty, on the same port.
    pub fn restart(&mut self) {
        assert!(self.try_start(), "valkey-server does not start again");
    }

    fn try_start(&mut self) -> bool {
        let child = Command::new("valkey-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--dir", self.dir.path().to_str().unwrap()])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let listens = || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok();
        let somebody = eventually(Duration::from_secs(10), listens).is_some();
        // A server that cannot bind the port ends; another one would then be listening.
        std::thread::sleep(Duration::from_millis(30));
        somebody && self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Kills it. Its data are lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// A connection without TLS, as the default user.
    pub fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).unwrap();
        client.get_connection_with_timeout(Duration::from_secs(5)).unwrap()
    }

    /// Runs one command; the server may be away, or close the connection.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    pub fn try_query<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let (name, arguments) = words.split_first().unwrap();
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?;
        redis::cmd(name).arg(arguments).query(&mut client.get_connection_with_timeout(Duration::from_secs(5))?)
    }

    /// Runs one command.
    pub fn query<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_query(words).unwrap()
    }

    /// The report under a name; waits until there is one.
    pub fn report(&self, name: &str, timeout: Duration) -> Option<Vec<u8>> {
        eventually(timeout, || self.query::<Option<Vec<u8>>>(&["GET", &format!("system:metrics:{name}")]))
    }

    /// The history under a name, each report with its id.
    pub fn history(&self, name: &str) -> Vec<(String, String)> {
        let entries: Vec<StreamEntry> = self.query(&["XRANGE", &format!("system:history:{name}"), "-", "+"]);
        entries.into_iter().map(|(id, fields)| (id, String::from_utf8(fields[0].1.clone()).unwrap())).collect()
    }

    /// All keys with a prefix, sorted.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.query(&["KEYS", "*"]);
        keys.retain(|key| key.starts_with(prefix));
        keys.sort();
        keys
    }

    /// A path in the server's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        self.kill();
    }
}
