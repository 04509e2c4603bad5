//! Builds the agent and runs it on this machine.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::Context;

use crate::ebpf;
use crate::shell::{cargo, command, output, run as execute, target};

/// Runs the agent with the arguments given.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    ebpf::build()?;
    execute(&mut cargo(&["build", "--package", "monitor"]))?;
    let mut agent =
        command(target().join("debug/system-monitor").to_str().context("the target directory is no text")?, &[]);
    agent.args(arguments);
    let says_where = std::env::var_os("VALKEY_URL").is_some()
        || arguments.iter().any(|argument| argument.starts_with("--valkey-url"));
    if !says_where {
        let (host, port) = (variable("VALKEY_HOST", "sirius-valkey"), variable("VALKEY_PORT", "6379"));
        if answers(&host, &port) {
            println!("Valkey answers at {host}:{port}: reports go there");
        } else {
            println!(
                "No Valkey at {host}:{port} (set VALKEY_HOST and VALKEY_PORT): the report is shown here, from memory"
            );
            agent.args(["--valkey-url", "none"]);
        }
    }
    if std::env::var_os("CONTAINER_NAME").is_none_or(|name| name.is_empty()) {
        agent.env("CONTAINER_NAME", output("uname", &["-n"]).unwrap_or_default());
    }
    // Only returns when the agent cannot be started.
    Err(agent.exec()).context("the agent cannot be started")
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn answers(host: &str, port: &str) -> bool {
    let Ok(addresses) = format!("{host}:{port}").to_socket_addrs() else { return false };
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok())
}
