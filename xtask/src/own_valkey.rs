//! A Valkey for one run: on loopback, in memory only, ended with the process that started it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::install;
use crate::shell::{free_port, root, target};

/// Connection attempts, ten per second, before the server counts as dead.
const ATTEMPTS: u32 = 100;

/// Waits for the end of the process `$0`, then ends the process `$1`. `PR_SET_PDEATHSIG` would not work: an agent that
/// has dropped its privileges may not send the signal.
const WATCH: &str = "tail --sleep-interval=0.2 --pid=\"$0\" --follow /dev/null; kill \"$1\"";

/// Installs the server if it is missing, starts it, and returns its port. It ends with this process, also after `exec`.
pub(crate) fn start() -> anyhow::Result<u16> {
    install::valkey()?;
    let port = free_port()?;
    let directory = root().join(target()).join("valkey");
    fs::create_dir_all(&directory)?;
    // In a process group of its own: Ctrl-C ends the agent, which then still writes its last reports.
    let mut server = Command::new("valkey-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .current_dir(&directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(fs::File::create(directory.join("log"))?)
        .spawn()
        .context("valkey-server")?;
    let [own, other] = [std::process::id(), server.id()].map(|pid| pid.to_string());
    Command::new("sh").args(["-c", WATCH, &own, &other]).process_group(0).stdin(Stdio::null()).spawn().context("sh")?;
    wait(&mut server, port)?;
    Ok(port)
}

fn wait(server: &mut Child, port: u16) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        if let Some(status) = server.try_wait()? {
            bail!("valkey-server ended with {status}; its log is in target/valkey/log");
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    server.kill()?;
    bail!("valkey-server does not answer at 127.0.0.1:{port}")
}
