//! What each command does.

mod top;

use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ArgMatches;
use monitor::agent::Agent;
use monitor::agent::publish::{self, Publisher, Reports};
use monitor::assembly::{self, Opened};
use monitor::config::{Config, Ebpf};
use monitor::http::{self, About, Token, TokenError};
use monitor::report::Report;
use monitor::sinks::otlp::Otlp;
use monitor::sinks::service::{Notify, Service};
use monitor::sinks::terminal::Terminal;
use monitor::sinks::valkey::Valkey;
use monitor::sinks::{drive, stdout};
use monitor::snapshot::Scope;
use monitor::sources::bpf::{self, ProgramState};
use monitor::sources::{self, SamplerThread};
use monitor::valkey::health;
use monitor::views::doctor::{self, Check, State};
use monitor::views::once::{self as table, Look};
use monitor::views::theme::Theme;
use monitor::views::top::notes::Notes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::hold::{self, Hold};
use crate::{cli, now};

/// How long the sinks have for the last report.
const GOODBYE: Duration = Duration::from_millis(600);

/// What has failed when the system gives no thread.
const THREAD: &str = "a thread cannot be started";

/// Runs the command that needs settings.
pub(crate) fn run(name: &str, flags: &ArgMatches, config: Config, notes: Notes) -> anyhow::Result<ExitCode> {
    match name {
        "once" => once(flags, &config),
        "top" => top::run(flags, config, notes),
        "dashboard" => dashboard(config),
        "doctor" => diagnose(flags, &config),
        "healthcheck" => healthcheck(&config),
        "detach" => hold::detach(&config),
        _ => agent(config),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the asynchronous runtime cannot start")
}

/// A core of this process would hold the password. A limit of one byte is less than any core needs, and the one for which
/// the kernel starts no handler either (`fs/coredump.c`).
fn forbid_cores() {
    let limit = Rlimit { current: Some(1), ..getrlimit(Resource::Core) };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::debug!("cores cannot be limited: {error}");
    }
}

fn agent(config: Config) -> anyhow::Result<ExitCode> {
    forbid_cores();
    bpf::share_memory();
    tracing::info!("Starting system monitor for container: {}", config.container_name);
    let token = token(&config)?;
    let hold = Hold::take(&config)?;
    let opened = assembly::open(&config, hold.pins.as_ref(), now, hold::before_threads).context(THREAD)?;
    require_ebpf(&config, &opened)?;
    let Opened { sources, programs, plan, ended } = opened;
    let sampler = SamplerThread::start(sources, now).context(THREAD)?;
    hold::after_readers(&plan);
    let runtime = runtime()?;
    runtime.block_on(async {
        let shutdown = shutdown()?;
        let (mut reports, receiver) = publish::channel();
        let server = listen(&config, token, programs, &receiver)?;
        tell_manager(&config, &receiver);
        let sinks = sinks(&config, &mut reports, receiver);
        let name = config.container_name;
        let stop = async {
            shutdown.await;
            tracing::info!("Received shutdown signal");
            if let Err(error) = sd_notify::notify(&[NotifyState::Stopping]) {
                tracing::debug!("the service manager cannot be told: {error}");
            }
            tracing::info!("System monitor stopping for container: {name}");
        };
        Agent { sampler, interval: config.interval, exited: ended, reports }.run(stop).await;
        let goodbye = async {
            for sink in sinks {
                // A sink that panicked has said so already.
                _ = sink.await;
            }
            if let Some(server) = server {
                _ = tokio::task::spawn_blocking(|| server.join()).await;
            }
        };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::warn!("the last report was not written in time");
        }
        tracing::info!("System monitor stopped");
        anyhow::Ok(())
    })?;
    if let Some(pins) = &hold.pins {
        let dir = pins.dir().display();
        tracing::info!("the kernel goes on counting for the next agent ({dir}); `system-monitor detach` ends that");
    }
    // A reading that hangs in the kernel must not hold the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// For a look: nothing lives on, and nothing is given up.
fn open(config: &Config) -> anyhow::Result<Opened> {
    assembly::open(config, None, now, |_| ()).context(THREAD)
}

fn require_ebpf(config: &Config, opened: &Opened) -> anyhow::Result<()> {
    if config.ebpf == Ebpf::On && !opened.programs.iter().any(|program| program.state.is_attached()) {
        bail!("--ebpf on, but no eBPF program could be loaded; `system-monitor doctor` says why");
    }
    Ok(())
}

/// Serves a fleet's page until SIGTERM or SIGINT.
fn dashboard(config: Config) -> anyhow::Result<ExitCode> {
    let token = token(&config)?;
    let options = config.valkey.context("--valkey-url none: there is nothing to read a fleet from")?;
    let address = config.listen.map(|listen| listen.address).unwrap_or_default();
    let runtime = runtime()?;
    let stop = {
        let _in_the_runtime = runtime.enter();
        shutdown()?
    };
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    // Whether somebody has sent or is gone, it is the end.
    let stopped = async { _ = end.await };
    let server = http::start_fleet(address, token, (options, config.interval), stopped, now)
        .context("the server cannot start")?;
    runtime.block_on(stop);
    drop(ended);
    server.join().map_err(|_| anyhow::anyhow!("a bug in the server; please report it"))?;
    Ok(ExitCode::SUCCESS)
}

/// The token that the server asks for, if it asks for one.
fn token(config: &Config) -> Result<Option<Token>, TokenError> {
    config.listen.as_ref().and_then(|options| options.token_file.as_deref()).map(Token::read).transpose()
}

/// Starts the server, if the configuration asks for it. Its thread ends with the reports.
fn listen(
    config: &Config,
    token: Option<Token>,
    programs: Vec<ProgramState>,
    reports: &Reports,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(options) = &config.listen else { return Ok(None) };
    let valkey = config.valkey.iter().map(|valkey| ("valkey", valkey.target.to_string()));
    let about = About { scope: Some(config.scope), interval: config.interval, programs, sinks: valkey.collect() };
    let history = config.valkey.clone().filter(|valkey| valkey.history.is_some());
    let reports = reports.clone();
    http::start(options.address.clone(), token, about, reports, history, now)
        .map(Some)
        .context("the server cannot start")
}

/// Where the configuration says that reports go, in a task of its own: Valkey, or a terminal if there is one to look at.
fn sinks(config: &Config, publisher: &mut Publisher, reports: Reports) -> Vec<tokio::task::JoinHandle<()>> {
    let mut sinks = Vec::new();
    if let Some(collector) = &config.otlp {
        let otlp = Box::new(Otlp::new(collector.clone()));
        sinks.push(tokio::spawn(drive(otlp, reports.clone())));
    }
    match &config.valkey {
        Some(options) => {
            let (valkey, delivery) = Valkey::new(options.clone(), now);
            publisher.set_delivery(delivery);
            sinks.push(tokio::spawn(valkey.run(publisher.every())));
        }
        None if std::io::stdout().is_terminal() => {
            let terminal = Terminal::new(std::io::stdout(), Theme { color: cli::wants_color() }, window);
            sinks.push(tokio::spawn(drive(Box::new(terminal), reports)));
        }
        None => {}
    }
    sinks
}

/// Tells the service manager of the reports, if one has started the agent.
fn tell_manager(config: &Config, reports: &Reports) {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        let notify: Notify = sd_notify::notify;
        let service = Service::new(notify, sd_notify::watchdog_enabled(), config.interval);
        // Nothing is left to be said when the reports end.
        drop(tokio::spawn(drive(Box::new(service), reports.clone())));
    }
}

/// Completes at the first SIGTERM or SIGINT.
fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn look_of_stdout() -> Look {
    Look { theme: Theme { color: std::io::stdout().is_terminal() && cli::wants_color() }, columns: window().0 }
}

/// Columns and rows of the terminal.
fn window() -> (usize, usize) {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or((100, 50), |size| (usize::from(size.ws_col).max(60), usize::from(size.ws_row).max(4)))
}

/// Two readings, `wait` apart.
fn look(opened: &mut Opened, wait: Duration) -> Report {
    let before = sources::sample(&mut opened.sources, now).snapshot;
    std::thread::sleep(wait);
    let after = sources::sample(&mut opened.sources, now);
    Report::new(Some(&before), &after.snapshot, after.cost)
}

fn once(flags: &ArgMatches, config: &Config) -> anyhow::Result<ExitCode> {
    let wait = flags.get_one::<Duration>("wait").copied().unwrap_or(Duration::from_secs(1));
    let mut opened = open(config)?;
    require_ebpf(config, &opened)?;
    let report = look(&mut opened, wait);
    let text = if flags.get_flag("json") || !std::io::stdout().is_terminal() {
        stdout::lines(&report)
    } else {
        table::render(&report, look_of_stdout())
    };
    Ok(cli::print(text.as_bytes()))
}

fn diagnose(flags: &ArgMatches, config: &Config) -> anyhow::Result<ExitCode> {
    let mut opened = open(config)?;
    let report = look(&mut opened, Duration::from_secs(1));
    let mut checks: Vec<Check> = opened.programs.iter().map(doctor::program).collect();
    checks.extend(doctor::plan(&opened.plan));
    checks.extend(doctor::numbers(&report));
    checks.extend(valkey(config)?);
    let text = if flags.get_flag("json") {
        serde_json::to_string_pretty(&checks)? + "\n"
    } else {
        doctor::render(&checks, look_of_stdout())
    };
    cli::print(text.as_bytes());
    Ok(if doctor::is_well(&checks) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the server can be reached, and how the agent that writes to it fares.
fn valkey(config: &Config) -> anyhow::Result<Vec<Check>> {
    let Some(options) = &config.valkey else {
        return Ok(vec![Check::new("valkey", State::NotNeeded, "--valkey-url none", None)]);
    };
    let runtime = runtime()?;
    let round_trip = match runtime.block_on(health::probe(options, now)) {
        Ok(round_trip) => round_trip.as_micros(),
        Err(error) => {
            let cure = "check VALKEY_HOST, VALKEY_PORT or --valkey-url, and that the server runs".to_owned();
            let why = format!("{}: {error}", options.target);
            return Ok(vec![Check::new("valkey", State::Refused, why, Some(cure))]);
        }
    };
    let answers = format!("{} answers within {round_trip} µs", options.target);
    let told = runtime.block_on(health::told(options, &own_name(config)));
    let losses = told.as_ref().map_or_else(Vec::new, doctor::losses);
    let delivery = match told.and_then(|told| told.delivery) {
        Some(text) => Check::new("delivery", State::Available, text, None),
        None => Check::new("delivery", State::NotNeeded, "no agent of this name writes there", None),
    };
    let answers = Check::new("valkey", State::Available, answers, None);
    Ok([answers, delivery].into_iter().chain(losses).collect())
}

/// The name under which this container or machine is reported.
fn own_name(config: &Config) -> String {
    match config.scope {
        Scope::Own => config.container_name.clone(),
        Scope::Host => hostname(config),
    }
}

fn hostname(config: &Config) -> String {
    let name = std::fs::read_to_string(config.roots.proc.join("sys/kernel/hostname")).unwrap_or_default();
    name.trim().to_owned()
}

fn healthcheck(config: &Config) -> anyhow::Result<ExitCode> {
    let options = config.valkey.as_ref().context("--valkey-url none: nothing is written, so nothing can be checked")?;
    let age = runtime()?.block_on(health::check(options, &own_name(config), config.interval, now().wall))?;
    Ok(cli::print(format!("healthy: written {:.1} s ago\n", age.as_secs_f64()).as_bytes()))
}
