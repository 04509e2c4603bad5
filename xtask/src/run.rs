//! Builds the agent and runs it on this machine, with a Valkey of its own where none answers.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::Context;

use crate::ebpf;
use crate::own_valkey;
use crate::shell::{cargo, command, free_port, output, run as execute, target};

/// Runs the agent with the arguments given; a command other than `agent` is run as it is.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    ebpf::build()?;
    execute(&mut cargo(&["build", "--package", "monitor"]))?;
    let program = target().join("debug/system-monitor");
    let mut agent = command(program.to_str().context("the target directory is no text")?, &[]);
    agent.args(arguments);
    if arguments.first().is_none_or(|first| first == "agent" || first.starts_with('-')) {
        let name = variable("CONTAINER_NAME").or_else(|| output("uname", &["-n"])).unwrap_or_default();
        agent.env("CONTAINER_NAME", &name);
        let valkey = Valkey::choose(arguments);
        valkey.tell(&mut agent);
        let page = page(arguments, &mut agent)?;
        print(&lines(&page, &valkey, &name));
    }
    // Returns only if the agent cannot be started.
    Err(agent.exec()).context("the agent cannot be started")
}

/// The Valkey that receives the reports.
#[derive(Debug, PartialEq, Eq)]
enum Valkey {
    /// A setting names it.
    Named,
    /// It answers at the default address.
    Answers { host: String, port: String },
    /// Started by this run, on loopback.
    Own { port: u16 },
    /// There is none, for this reason.
    None { reason: String },
}

impl Valkey {
    fn choose(arguments: &[String]) -> Self {
        if is_set(arguments, "--valkey-url", "VALKEY_URL") {
            return Self::Named;
        }
        let host = variable("VALKEY_HOST").unwrap_or_else(|| "sirius-valkey".to_owned());
        let port = variable("VALKEY_PORT").unwrap_or_else(|| "6379".to_owned());
        if answers(&host, &port) {
            return Self::Answers { host, port };
        }
        match own_valkey::start() {
            Ok(port) => Self::Own { port },
            Err(error) => Self::None { reason: format!("{error:#}") },
        }
    }

    /// Passes its address to the agent.
    fn tell(&self, agent: &mut std::process::Command) {
        match self {
            Self::Named | Self::Answers { .. } => {}
            Self::Own { port } => _ = agent.args(["--valkey-url", &format!("valkey://127.0.0.1:{port}")]),
            Self::None { .. } => _ = agent.args(["--valkey-url", "none"]),
        }
    }

    /// The command line of a client that reads from it.
    fn client(&self) -> Option<String> {
        match self {
            Self::Named | Self::None { .. } => None,
            Self::Answers { host, port } => Some(format!("valkey-cli -h {host} -p {port}")),
            Self::Own { port } => Some(format!("valkey-cli -p {port}")),
        }
    }
}

/// The address of the page: the one in the settings, or a free port of loopback.
fn page(arguments: &[String], agent: &mut std::process::Command) -> anyhow::Result<String> {
    if is_set(arguments, "--listen", "MONITOR_LISTEN") {
        return Ok("where --listen or MONITOR_LISTEN says".to_owned());
    }
    let address = format!("127.0.0.1:{}", free_port()?);
    agent.args(["--listen", &address]);
    Ok(format!("http://{address}/"))
}

/// The five lines: page, report, names, data, stop.
fn lines(page: &str, valkey: &Valkey, name: &str) -> [String; 5] {
    let (key, names) = match (valkey.client(), valkey) {
        (Some(client), _) => {
            (format!("{client} GET system:metrics:{name}"), format!("{client} ZRANGE system:containers 0 -1"))
        }
        (None, Valkey::Named) => (format!("GET system:metrics:{name}"), "ZRANGE system:containers 0 -1".to_owned()),
        (None, _) => ("no Valkey, so there are none".to_owned(), "on the page".to_owned()),
    };
    let data = match valkey {
        Valkey::Named => "in the Valkey that a setting names".to_owned(),
        Valkey::Answers { host, port } => format!("in the Valkey that answers at {host}:{port}"),
        Valkey::Own { .. } => "in memory only, in a Valkey on loopback that ends with the agent".to_owned(),
        Valkey::None { reason } => format!("in the agent alone: {reason}"),
    };
    [
        format!("page   {page}"),
        format!("report {key}"),
        format!("names  {names}"),
        format!("data   {data}"),
        "stop   Ctrl-C".to_owned(),
    ]
}

fn print(lines: &[String; 5]) {
    println!("\n{}\n", lines.join("\n"));
}

fn is_set(arguments: &[String], flag: &str, name: &str) -> bool {
    let has_flag = arguments.iter().any(|argument| argument.split('=').next() == Some(flag));
    has_flag || variable(name).is_some()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn answers(host: &str, port: &str) -> bool {
    let Ok(addresses) = format!("{host}:{port}").to_socket_addrs() else { return false };
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_commands_that_can_be_typed() {
        let lines = lines("http://127.0.0.1:1/", &Valkey::Own { port: 2 }, "host");
        assert_eq!(lines[0], "page   http://127.0.0.1:1/");
        assert_eq!(lines[1], "report valkey-cli -p 2 GET system:metrics:host");
        assert_eq!(lines[4], "stop   Ctrl-C");
    }

    #[test]
    fn a_flag_counts_in_both_of_its_forms() {
        let flags = |text: &str| is_set(&[text.to_owned()], "--listen", "SYSTEM_MONITOR_UNSET");
        assert!(flags("--listen") && flags("--listen=127.0.0.1:1"));
        assert!(!flags("--listen-open") && !flags("listen"));
    }
}
