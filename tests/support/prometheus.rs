//! A Prometheus for one test, or a compatible server, on loopback.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::get;
use crate::{eventually, free_port};

const TIMEOUT: Duration = Duration::from_secs(40);

/// A running server.
pub struct Prometheus {
    child: Child,
    pub port: u16,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts Prometheus itself with this configuration.
    pub fn start(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, data) = (dir.path().join("prometheus.yml"), dir.path().join("data"));
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display())).arg(format!("--storage.tsdb.path={}", data.display()));
        Self::run(command, "--web.listen-address", dir)
    }

    /// Starts VictoriaMetrics, which answers the same queries, and takes OTLP at `/opentelemetry/v1/metrics`.
    pub fn victoria(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.arg(format!("-storageDataPath={}", dir.path().display()));
        // The latest samples are visible at once.
        command.args(["-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s"]);
        Self::run(command, "-httpListenAddr", dir)
    }

    fn run(mut command: Command, listen: &str, dir: TempDir) -> Self {
        let port = free_port();
        command.arg(format!("{listen}=127.0.0.1:{port}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, port, _dir: dir };
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        let ready = || listens().filter(|_| get(port, "/-/ready").status == 200);
        eventually(TIMEOUT, ready).expect("it does not start");
        server
    }

    /// Asks its API, and returns `data` of the answer.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let query: Vec<String> = parameters.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
        let answer = get(self.port, &format!("/api/v1/{path}?{}", query.join("&"))).json();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// The results of a query.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        self.ask("query", &[("query", expression)])["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
