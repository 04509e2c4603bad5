//! The command line.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;
use monitor::http::openapi;
use monitor::settings::{Name, Settings};
use monitor::views;
use monitor::views::version;

const EXAMPLES: &str = "\
Examples:
  CONTAINER_NAME=web system-monitor            run the agent for this container
  system-monitor once                          one report, on the terminal
  system-monitor top                           all containers, live
  system-monitor top --from valkey://v         those of all machines whose agents write there
  system-monitor doctor                        what can be measured here, and what would change that
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
                .about("Serve the page and the API for a whole fleet, out of what its agents have written to Valkey"),
        )
        .subcommand(
            Command::new("doctor").about("Say what can be measured here, what cannot, why, and the cure").arg(json),
        )
        .subcommand(
            Command::new("metrics")
                .about("Print the table of numbers")
                .arg(flag("markdown", "Print it as Markdown"))
                .arg(flag("openapi", "Print the description of the API that serves it").conflicts_with("markdown")),
        )
        .subcommand(
            Command::new("healthcheck")
                .about("Succeed while the agent of this container has written within three intervals"),
        )
        .subcommand(Command::new("detach").about("Remove what the agent has pinned: the kernel then stops counting"))
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

/// What `--version` prints, if somebody asks.
pub(crate) fn version(flags: &ArgMatches) -> Option<String> {
    let text = if flags.get_flag("verbose") { version::verbose } else { version::short };
    flags.get_flag("version").then(text)
}

/// What a command says about the settings by flags and defaults of its own.
pub(crate) fn refine(name: &str, flags: &ArgMatches, settings: &mut Settings) {
    if name != "top" {
        return;
    }
    settings.suggest(Name::Interval, "1s");
    if let Some(url) = flags.get_one::<String>("from") {
        settings.say(Name::ValkeyUrl, url, "from");
    }
}

/// The commands that need no settings; `None` for the others.
pub(crate) fn without_settings(name: &str, flags: &ArgMatches) -> Option<ExitCode> {
    let text = match name {
        "metrics" if flags.get_flag("markdown") => views::metrics::markdown(),
        "metrics" if flags.get_flag("openapi") => openapi::document(),
        "metrics" => views::metrics::text(),
        "completions" => completions(*flags.get_one::<Shell>("shell")?),
        "man" => match man(flags.get_one::<String>("command")) {
            Ok(page) => page,
            Err(error) => {
                complain(error);
                return Some(ExitCode::from(crate::USAGE));
            }
        },
        _ => return None,
    };
    Some(print(text.as_bytes()))
}

/// The completion script of a shell. For bash the library names the parts of a hyphenated program in two ways, one where it
/// looks a command up and another where it lists its flags.
fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "system-monitor", &mut script);
    String::from_utf8_lossy(&script).replace("system__subcmd__monitor", "system__monitor")
}

/// The manual page of a command, or of the program.
fn man(name: Option<&String>) -> std::io::Result<String> {
    // A page for `help` would say nothing.
    let mut program = command().disable_help_subcommand(true);
    program.build();
    let page = match name {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            std::io::Error::other(format!("{name:?} is no command; `system-monitor --help` lists them"))
        })?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Writes to stdout. A reader that has gone away (`| head`) is no failure.
pub(crate) fn print(text: &[u8]) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(format_args!("stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes an error for a person to stderr.
pub(crate) fn complain(error: impl Display) {
    // Nobody is left to be told when stderr is closed.
    let _closed = writeln!(std::io::stderr(), "system-monitor: {error}");
}

/// Whether escape sequences are welcome (<https://no-color.org>).
pub(crate) fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
