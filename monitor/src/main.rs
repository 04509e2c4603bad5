//! `system-monitor`: the only place with arguments, environment, clock, signals and exit codes.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod output;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::ArgMatches;
use monitor::assembly::{ProcessContext, ServiceManager, Shutdown};
use monitor::config::{Config, LogFormat};
use monitor::containers::own;
use monitor::foreign;
use monitor::http::TokenError;
use monitor::settings::Settings;
use monitor::sinks::service::Manager;
use monitor::snapshot::Stamp;
use monitor::views::top::notes::Notes;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::output::{Log, Outcome, PlainLines, complain};

/// Something failed.
const FAILED: u8 = 1;
/// The command line or a setting is malformed.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let matches = match cli::command().try_get_matches_from(arguments()) {
        Ok(matches) => matches,
        Err(error) => {
            return usage(&error);
        }
    };
    if let Some(text) = cli::version(&matches) {
        return exit_code(output::print(&text));
    }
    let (name, flags) = matches.subcommand().unwrap_or(("agent", &matches));
    match commands::text(name, flags) {
        Some(Ok(text)) => return exit_code(output::print(&text)),
        Some(Err(error)) => return fail(USAGE, &error.into()),
        None => {}
    }
    let config = match config(name, flags) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let context = context();
    let (notes, log) = (Notes::default(), Log::default());
    let own = log.clone();
    if name == "top" {
        log_to(&config, notes.clone(), false);
    } else {
        log_to(&config, move || own.clone(), io::stderr().is_terminal() && context.use_color);
    }
    for error in &config.warnings {
        tracing::warn!(%error, "Malformed setting ignored");
    }
    let outcome = commands::run(name, flags, &config, &context, notes);
    log.finish();
    match outcome {
        Ok(outcome) => exit_code(outcome),
        Err(error) => fail(if error.is::<TokenError>() { USAGE } else { FAILED }, &error),
    }
}

/// Prints help to stdout, or a wrong usage to stderr.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // With stderr closed, an error cannot be reported.
        let _closed = error.print();
        return ExitCode::from(USAGE);
    }
    let help = error.render();
    exit_code(output::print(&if io::stdout().is_terminal() && may_color() {
        help.ansi().to_string()
    } else {
        help.to_string()
    }))
}

/// Returns whether escape sequences may be printed (<https://no-color.org>; a dumb terminal has none).
fn may_color() -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty()) && !is_dumb()
}

/// True for a terminal without escape sequences.
fn is_dumb() -> bool {
    variable("TERM").is_some_and(|terminal| terminal == "dumb")
}

fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Success => ExitCode::SUCCESS,
        Outcome::Failure => ExitCode::from(FAILED),
    }
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    complain(format_args!("{error:#}"));
    ExitCode::from(code)
}

fn config(name: &str, flags: &ArgMatches) -> anyhow::Result<Config> {
    let mut settings = Settings::collect(flags, variable, read)?;
    cli::refine(name, flags, &mut settings);
    Ok(Config::new(&settings, own::scope)?)
}

/// Reads the file that the command line names: whoever writes that line may name a pipe, and waits for its writer.
#[expect(clippy::disallowed_methods, reason = "the operator's own file")]
fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

fn context() -> ProcessContext {
    let manager = variable("NOTIFY_SOCKET").and_then(|socket| Manager::at(&socket));
    ProcessContext {
        clock: now,
        shutdown,
        use_color: may_color(),
        can_draw: !is_dumb(),
        certificates: ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(variable).map(PathBuf::from).collect(),
        service_manager: manager.map(|socket| ServiceManager { socket, watchdog: sd_notify::watchdog_enabled() }),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the arguments")]
fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The boot clock for rates (it includes suspended time) and the wall clock for people.
#[expect(clippy::disallowed_methods, reason = "the one clock, which everything else is given")]
fn now() -> Stamp {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let mono = Duration::try_from(boot).unwrap_or_default();
    Stamp { mono, wall: SystemTime::now() }
}

/// Completes at the first SIGTERM, SIGINT or SIGHUP. A SIGHUP that the parent had ignored (`nohup`) stays ignored.
#[expect(clippy::disallowed_methods, reason = "the one place that handles signals")]
fn shutdown() -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    Ok(Box::pin(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => _ = hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = hung_up => {}
        }
    }))
}

/// Returns whether this process was started with SIGHUP ignored (`SigIgn` of `proc_pid_status(5)`: signal 1 is bit 0).
fn is_hangup_ignored() -> bool {
    let status = foreign::read(Path::new("/proc/self/status"), 1 << 20).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

fn log_to(config: &Config, out: impl for<'a> MakeWriter<'a> + Send + Sync + 'static, color: bool) {
    let out = PlainLines { out, has_color: color };
    // A full disk or a closed pipe behind stderr must not become a panic.
    let layer = tracing_subscriber::fmt::layer().with_writer(out).with_target(false).log_internal_errors(false);
    let layer = match config.log_format {
        LogFormat::Text => layer.with_ansi(color).boxed(),
        LogFormat::Json => layer.with_ansi(false).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(config.log.clone())).init();
}
