//! The configuration: the settings with their types, checked.

mod valkey;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use self::values::{between, boolean, directory, duration, layers, levels, one_of, or_off, path, paths};
use crate::containers::Roots;
use crate::containers::name_template::NameTemplate;
use crate::containers::rules::Rules;
use crate::http::{Address, ListenOptions};
use crate::preflight::{EbpfMode, Layer};
use crate::settings::{SettingError, SettingName, Settings};
use crate::sinks::{self, SinkOptions};
use crate::snapshot::Scope;
use crate::valkey::ValkeyOptions;

/// Bounds of the interval between two reports.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// The default directory of pins in scope `host`.
pub const PINS: &str = "/sys/fs/bpf/system-monitor";

/// Format of the messages on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// The walk of the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Time between two walks; `None` for none.
    pub interval: Option<Duration>,
    /// Directories that the walk skips.
    pub exclude: Vec<PathBuf>,
}

/// All settings with their types.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the agent's own container.
    pub container_name: String,
    /// Time between two reports.
    pub interval: Duration,
    /// The scope: the part of the machine that is watched.
    pub scope: Scope,
    /// The use of eBPF.
    pub ebpf: EbpfMode,
    /// True if eBPF counts descriptors opened and closed.
    pub ebpf_fd_events: bool,
    /// Directory in which maps and links stay between two runs; `None` for none.
    pub pin: Option<PathBuf>,
    /// True if capabilities are dropped after the eBPF programs are attached.
    pub drop_privileges: bool,
    /// The sandbox layers applied after start-up.
    pub sandbox: Vec<Layer>,
    /// Mount points of the kernel's file systems.
    pub roots: Roots,
    /// The walk of the root filesystem.
    pub disk: DiskOptions,
    /// Rules that select the containers and cgroups that are watched in scope `host`.
    pub rules: Rules,
    /// Sockets of Docker and Podman.
    pub runtime_sockets: Vec<PathBuf>,
    /// The Valkey server that reports go to; `None` for none.
    pub valkey: Option<ValkeyOptions>,
    /// Options of the server; `None` for no server.
    pub listen: Option<ListenOptions>,
    /// The sinks besides Valkey.
    pub sinks: Vec<Arc<dyn SinkOptions>>,
    /// The levels of the messages that are logged.
    pub log: Targets,
    /// Their format.
    pub log_format: LogFormat,
    /// Malformed settings that were replaced by their defaults: to be logged once there is a log.
    pub warnings: Vec<String>,
}

impl Config {
    /// Gives the settings their types. `detect_scope` chooses the scope where no setting does.
    ///
    /// # Errors
    /// The first malformed setting: where it was set, to what, and what would be right. The three variables of the old
    /// agent are never an error: a malformed one is a warning, and its default is used.
    pub fn new(settings: &Settings, detect_scope: impl FnOnce(&Roots) -> Scope) -> Result<Self, SettingError> {
        let mut warnings = Vec::new();
        let interval = settings.required(SettingName::Interval, |text| between(text, INTERVAL))?;
        let roots = roots(settings)?;
        let scope = scope(settings)?.unwrap_or_else(|| detect_scope(&roots));
        Ok(Self {
            container_name: container_name(settings, &mut warnings),
            interval,
            scope,
            ebpf: settings.required(SettingName::Ebpf, |text| {
                one_of(text, &[("auto", EbpfMode::Auto), ("off", EbpfMode::Off), ("on", EbpfMode::On)])
            })?,
            ebpf_fd_events: settings.required(SettingName::EbpfFdEvents, boolean)?,
            pin: settings
                .optional(SettingName::Pin, |text| or_off(text, directory))?
                .unwrap_or_else(|| (scope == Scope::Host).then(|| PINS.into())),
            drop_privileges: settings.required(SettingName::DropPrivileges, boolean)?,
            sandbox: settings.required(SettingName::Sandbox, layers)?,
            roots,
            disk: DiskOptions {
                interval: settings
                    .optional(SettingName::DiskInterval, duration)?
                    .filter(|interval| !interval.is_zero()),
                exclude: settings.optional(SettingName::DiskExclude, paths)?.unwrap_or_default(),
            },
            rules: rules(settings)?,
            runtime_sockets: settings.required(SettingName::RuntimeSockets, paths)?,
            valkey: valkey::valkey(settings, interval, scope, &mut warnings)?,
            listen: listen(settings)?,
            sinks: sinks::configured(settings)?,
            log: settings.required(SettingName::Log, levels)?,
            log_format: settings.required(SettingName::LogFormat, |text| {
                one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            })?,
            warnings,
        })
    }
}

fn roots(settings: &Settings) -> Result<Roots, SettingError> {
    Ok(Roots {
        cgroup: settings.optional(SettingName::CgroupRoot, directory)?,
        proc: settings.required(SettingName::ProcRoot, directory)?,
        sys: settings.required(SettingName::SysRoot, directory)?,
    })
}

/// The scope that was set. A container name belongs to one container.
fn scope(settings: &Settings) -> Result<Option<Scope>, SettingError> {
    let scope = settings.required(SettingName::Scope, |text| {
        one_of(text, &[("auto", None), ("self", Some(Scope::SelfContainer)), ("host", Some(Scope::Host))])
    })?;
    Ok(scope.or_else(|| settings.is_set(SettingName::ContainerName).then_some(Scope::SelfContainer)))
}

fn rules(settings: &Settings) -> Result<Rules, SettingError> {
    let watched =
        settings.optional(SettingName::Cgroups, |text| Rules::default().with_cgroups(text))?.unwrap_or_default();
    let reported = settings.optional(SettingName::Containers, |text| watched.clone().with_names(text))?;
    let template = settings.required(SettingName::NameTemplate, NameTemplate::parse)?;
    Ok(reported.unwrap_or(watched).with_template(template))
}

fn container_name(settings: &Settings, warnings: &mut Vec<String>) -> String {
    let raw = settings.raw(SettingName::ContainerName).unwrap_or_default();
    let name = raw.to_string_lossy().into_owned();
    if raw.to_str().is_none() {
        warnings.push(format!("CONTAINER_NAME is not valid UTF-8; it is reported as {name:?}"));
    }
    name
}

/// The server's options. An address that other machines reach needs a token, or the explicit permission to go without.
fn listen(settings: &Settings) -> Result<Option<ListenOptions>, SettingError> {
    let Some(address) = settings.optional(SettingName::Listen, Address::parse)? else { return Ok(None) };
    let token_file = settings.optional(SettingName::ListenTokenFile, path)?;
    let open = settings.required(SettingName::ListenOpen, boolean)?;
    if !address.is_private() && token_file.is_none() && !open {
        let problem = "can be reached from other machines; give --listen-token-file FILE, or --listen-open true if \
                       everybody may read";
        return Err(settings.error(SettingName::Listen, problem));
    }
    Ok(Some(ListenOptions { address, token_file, open }))
}

#[cfg(test)]
mod tests;
