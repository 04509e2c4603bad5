//! The command line.

use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;
use monitor::settings::{SettingName, Settings};

use crate::commands::version;

const EXAMPLES: &str = "\
Examples:
  CONTAINER_NAME=web system-monitor            run the agent for this container
  system-monitor once                          one report, on the terminal
  system-monitor top                           all containers, live
  system-monitor top --from valkey://v         the containers of all machines whose agents write there
  system-monitor doctor                        what can be measured on this host, and the remedies
  system-monitor --valkey-url valkeys://v:6380 write to a Valkey that speaks TLS

Exit status: 0 done, 1 failed, 2 usage.";

/// The whole command line.
pub(crate) fn command() -> Command {
    let json = flag("json", "Print JSON");
    Command::new("system-monitor")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .about("Watches the resources of a container and writes them to Valkey")
        .after_help(EXAMPLES)
        .args(Settings::flags())
        .arg(flag("version", "Print the version").short('V'))
        .arg(flag("verbose", "With --version: the compilers too, and the eBPF objects inside").requires("version"))
        .subcommand(Command::new("agent").about("Run the agent in the foreground (what happens without a command)"))
        .subcommand(
            Command::new("once").about("Take two readings and print one report").arg(json.clone()).arg(
                Arg::new("wait")
                    .long("wait")
                    .value_name("DURATION")
                    .default_value("1s")
                    .value_parser(wait)
                    .help("Time between the two readings"),
            ),
        )
        .subcommand(
            Command::new("top").about("Show all containers live, in the terminal (interval: 1s)").arg(
                Arg::new("from")
                    .long("from")
                    .value_name("URL")
                    .help("Show what agents have written to this Valkey, instead of sampling: as --valkey-url"),
            ),
        )
        .subcommand(
            Command::new("dashboard")
                .about("Serve the page and the API for a fleet, from the reports of its agents in Valkey"),
        )
        .subcommand(
            Command::new("doctor")
                .about("Show what can be measured on this host, what cannot, why, and the remedy")
                .arg(json),
        )
        .subcommand(
            Command::new("metrics")
                .about("Print the table of numbers")
                .arg(flag("markdown", "Print it as Markdown"))
                .arg(flag("openapi", "Print the description of the API that serves it").conflicts_with("markdown")),
        )
        .subcommand(
            Command::new("settings").about("Print the table of settings").arg(flag("markdown", "Print it as Markdown")),
        )
        .subcommand(
            Command::new("healthcheck")
                .about("Succeed while the agent of this container is alive: it answers at --listen, or has written to Valkey within \
                 three intervals, or with neither it runs"),
        )
        .subcommand(Command::new("detach").about("Remove pinned eBPF maps and links: the kernel then stops counting"))
        .subcommand(
            Command::new("completions")
                .about("Print a shell completion script")
                .arg(Arg::new("shell").required(true).value_parser(clap::value_parser!(Shell))),
        )
        .subcommand(
            Command::new("man")
                .about("Print the manual page, of the program or of one of its commands")
                .arg(Arg::new("command").help("The command")),
        )
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn wait(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write for example 500ms or 2s".to_owned())
}

/// The text of `--version`, if the flag is set.
pub(crate) fn version(flags: &ArgMatches) -> Option<String> {
    let text = if flags.get_flag("verbose") { version::verbose } else { version::short };
    flags.get_flag("version").then(text)
}

/// Applies the flags and defaults that a command has for settings.
pub(crate) fn refine(name: &str, flags: &ArgMatches, settings: &mut Settings) {
    if name == "dashboard" {
        settings.set_default(SettingName::Listen, "127.0.0.1:8080");
    }
    if name != "top" {
        return;
    }
    settings.set_default(SettingName::Interval, "1s");
    if let Some(url) = flags.get_one::<String>("from") {
        settings.set(SettingName::ValkeyUrl, url, "from");
    }
}
