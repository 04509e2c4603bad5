//! `system-monitor`: the only place with arguments, environment, clock, signals and exit codes.

mod cli;
mod commands;
mod hold;

use std::process::ExitCode;
use std::time::SystemTime;

use monitor::config::{Config, LogFormat};
use monitor::http::TokenError;
use monitor::settings::Settings;
use monitor::snapshot::Stamp;
use monitor::views::top::notes::Notes;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Something failed.
const FAILED: u8 = 1;
/// The command line or a setting makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // A closed stream must not turn help into a failure.
            let _closed = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let Some(text) = cli::version(&matches) {
        return cli::print(text.as_bytes());
    }
    let (name, flags) = matches.subcommand().unwrap_or(("agent", &matches));
    if let Some(done) = cli::without_settings(name, flags) {
        return done;
    }
    let settings = Settings::collect(flags, |name| std::env::var_os(name), |path| std::fs::read_to_string(path));
    let config = settings.and_then(|mut settings| {
        cli::refine(name, flags, &mut settings);
        Config::new(&settings)
    });
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            cli::complain(&error);
            return ExitCode::from(USAGE);
        }
    };
    let notes = Notes::default();
    if name == "top" {
        log_to(&config, notes.clone(), false);
    } else {
        let color = std::io::IsTerminal::is_terminal(&std::io::stderr()) && cli::wants_color();
        log_to(&config, std::io::stderr, color);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match commands::run(name, flags, config, notes) {
        Ok(code) => code,
        Err(error) => {
            cli::complain(format_args!("{error:#}"));
            ExitCode::from(if error.is::<TokenError>() { USAGE } else { FAILED })
        }
    }
}

/// Boot time for rates (it goes on while the machine sleeps), wall clock for people.
#[expect(clippy::disallowed_methods, reason = "the one clock, which everything else is given")]
fn now() -> Stamp {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let mono = std::time::Duration::try_from(boot).unwrap_or_default();
    Stamp { mono, wall: SystemTime::now() }
}

fn log_to(config: &Config, out: impl for<'a> MakeWriter<'a> + Send + Sync + 'static, color: bool) {
    // A full disk or a closed pipe behind stderr must not become a panic.
    let layer = tracing_subscriber::fmt::layer().with_writer(out).with_target(false).log_internal_errors(false);
    let layer = match config.log_format {
        LogFormat::Text => layer.with_ansi(color).boxed(),
        LogFormat::Json => layer.with_ansi(false).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(config.log.clone())).init();
}
