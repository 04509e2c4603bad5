//! What the agent is told to do: the settings with their types, checked.

use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::containers::rules::Rules;
use crate::containers::{Roots, own};
use crate::http::{Address, ListenOptions};
use crate::settings::{Name, SettingError, Settings};
use crate::sinks::otlp::Collector;
use crate::snapshot::Scope;
use crate::valkey::{Secret, Target, TlsOptions, ValkeyOptions};

/// Bounds of the interval between two reports.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// The longest life of a log entry: the retention that readers were promised.
const LONGEST_LOG: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the agent of a machine pins.
pub const PINS: &str = "/sys/fs/bpf/system-monitor";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bounds of the history's length.
const HISTORY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(366 * 24 * 3600));

/// The shortest default expiry of the metrics key, so that a short interval does not make it flicker.
const SHORTEST_TTL: Duration = Duration::from_secs(30);

/// Whether eBPF is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ebpf {
    /// Where the kernel allows it.
    Auto,
    /// Not at all.
    Off,
    /// Starting fails when no program can be loaded.
    On,
}

/// Something that holds a process within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Files and ports that may be reached.
    Landlock,
    /// System calls that may be made.
    Seccomp,
}

/// Form of the messages on stderr.
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
    /// Directories to leave out.
    pub exclude: Vec<PathBuf>,
}

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the own container.
    pub container_name: String,
    /// Time between two reports.
    pub interval: Duration,
    /// What is watched.
    pub scope: Scope,
    /// Time between two heartbeats.
    pub log_interval: Duration,
    /// Whether eBPF is used.
    pub ebpf: Ebpf,
    /// Whether it counts descriptors opened and closed.
    pub ebpf_fd_events: bool,
    /// Where maps and links live on between two runs; `None` for nowhere.
    pub pin: Option<PathBuf>,
    /// Whether capabilities are dropped once all programs are attached.
    pub drop_privileges: bool,
    /// The layers that hold the process then.
    pub sandbox: Vec<Layer>,
    /// Where the kernel's file systems are.
    pub roots: Roots,
    /// The walk of the root filesystem.
    pub disk: DiskOptions,
    /// What is watched in scope `host`.
    pub rules: Rules,
    /// Sockets of Docker and Podman.
    pub runtime_sockets: Vec<PathBuf>,
    /// Where reports go; `None` for nowhere.
    pub valkey: Option<ValkeyOptions>,
    /// Where reports can be looked at; `None` for nowhere.
    pub listen: Option<ListenOptions>,
    /// The collector to which they are sent as well.
    pub otlp: Option<Collector>,
    /// Which messages are shown.
    pub log: Targets,
    /// Their form.
    pub log_format: LogFormat,
    /// What was wrong and could be mended: to be shown once there is a log.
    pub warnings: Vec<String>,
}

impl Config {
    /// Gives the settings their types.
    ///
    /// # Errors
    /// The first setting that makes no sense: who said what, and what would be right. The three variables of the old
    /// agent never do; a malformed one is a warning, and its default is used.
    pub fn new(settings: &Settings) -> Result<Self, SettingError> {
        let mut warnings = Vec::new();
        let interval = settings.required(Name::Interval, |text| between(text, INTERVAL))?;
        let roots = Roots {
            cgroup: settings.optional(Name::CgroupRoot, directory)?,
            proc: settings.required(Name::ProcRoot, directory)?,
            sys: settings.required(Name::SysRoot, directory)?,
        };
        let scope = settings.required(Name::Scope, |text| {
            one_of(text, &[("auto", None), ("self", Some(Scope::Own)), ("host", Some(Scope::Host))])
        })?;
        // A name is given to one container.
        let scope = scope
            .or_else(|| settings.is_said(Name::ContainerName).then_some(Scope::Own))
            .unwrap_or_else(|| own::scope(&roots));
        Ok(Self {
            container_name: container_name(settings, &mut warnings),
            interval,
            // A name is given to one container.
            scope,
            log_interval: settings.required(Name::LogInterval, |text| {
                between(text, (Duration::from_millis(100), Duration::from_secs(86_400)))
            })?,
            ebpf: settings.required(Name::Ebpf, |text| {
                one_of(text, &[("auto", Ebpf::Auto), ("off", Ebpf::Off), ("on", Ebpf::On)])
            })?,
            ebpf_fd_events: settings.required(Name::EbpfFdEvents, boolean)?,
            pin: settings
                .optional(Name::Pin, |text| if text == "off" { Ok(None) } else { directory(text).map(Some) })?
                .unwrap_or_else(|| (scope == Scope::Host).then(|| PINS.into())),
            drop_privileges: settings.required(Name::DropPrivileges, boolean)?,
            sandbox: settings.required(Name::Sandbox, layers)?,
            roots,
            disk: DiskOptions {
                interval: settings.optional(Name::DiskInterval, duration)?.filter(|interval| !interval.is_zero()),
                exclude: settings.optional(Name::DiskExclude, paths)?.unwrap_or_default(),
            },
            rules: rules(settings)?,
            runtime_sockets: settings.required(Name::RuntimeSockets, paths)?,
            valkey: valkey(settings, interval, scope, &mut warnings)?,
            listen: listen(settings)?,
            otlp: settings.optional(Name::Otlp, Collector::parse)?,
            log: settings.required(Name::Log, levels)?,
            log_format: settings.required(Name::LogFormat, |text| {
                one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            })?,
            warnings,
        })
    }
}

fn rules(settings: &Settings) -> Result<Rules, SettingError> {
    let watched = settings.optional(Name::Cgroups, |text| Rules::default().with_cgroups(text))?.unwrap_or_default();
    let reported = settings.optional(Name::Containers, |text| watched.clone().with_names(text))?;
    Ok(reported.unwrap_or(watched))
}

fn paths(text: &str) -> Result<Vec<PathBuf>, String> {
    text.split(',').map(|path| directory(path.trim())).collect()
}

fn container_name(settings: &Settings, warnings: &mut Vec<String>) -> String {
    let raw = settings.raw(Name::ContainerName).unwrap_or_default();
    let name = raw.to_string_lossy().into_owned();
    if raw.to_str().is_none() {
        warnings.push(format!("CONTAINER_NAME is not valid UTF-8; it is reported as {name:?}"));
    }
    name
}

fn valkey(
    settings: &Settings,
    interval: Duration,
    scope: Scope,
    warnings: &mut Vec<String>,
) -> Result<Option<ValkeyOptions>, SettingError> {
    let tls = settings.required(Name::ValkeyTls, boolean)?;
    let target =
        match settings.optional(Name::ValkeyUrl, |text| Target::parse(text).map_err(|error| error.to_string()))? {
            Some(target) => target,
            None => Target::from_host_port(
                &text_or_default(settings, Name::ValkeyHost, warnings),
                &text_or_default(settings, Name::ValkeyPort, warnings),
                tls,
                warnings,
            ),
        };
    if target.is_none() {
        return Ok(None);
    }
    let path = |text: &str| Ok(PathBuf::from(text));
    Ok(Some(ValkeyOptions {
        target,
        username: settings.optional(Name::ValkeyUsername, |text| Ok(text.to_owned()))?,
        password: settings.optional(Name::ValkeyPassword, |text| Ok(Secret::new(text)))?,
        password_file: settings.optional(Name::ValkeyPasswordFile, path)?,
        db: settings.optional(Name::ValkeyDb, |text| {
            text.parse().map_err(|_| "is no database number; write 0 to 15, or what the server has".to_owned())
        })?,
        tls: TlsOptions {
            ca: settings.optional(Name::ValkeyTlsCa, path)?,
            cert: settings.optional(Name::ValkeyTlsCert, path)?,
            key: settings.optional(Name::ValkeyTlsKey, path)?,
        },
        metrics_ttl: settings
            .optional(Name::MetricsTtl, |text| between(text, (Duration::from_secs(1), LONGEST_LOG)))?
            .unwrap_or(SHORTEST_TTL.max(interval * 6)),
        history: settings
            .optional(Name::History, |text| if text == "off" { Ok(None) } else { between(text, HISTORY).map(Some) })?
            .unwrap_or((scope == Scope::Host).then_some(DAY)),
        buffer: settings.required(Name::Buffer, |text| between(text, (Duration::ZERO, LONGEST_LOG)))?,
        buffer_dir: settings.optional(Name::BufferDir, directory)?,
        log_interval: settings.required(Name::LogInterval, duration)?,
        log_keys: settings.required(Name::LogKeys, |text| {
            text.parse()
                .ok()
                .filter(|keys| (1..=1000).contains(keys))
                .ok_or_else(|| "is no number from 1 to 1000".to_owned())
        })?,
        log_cleanup: settings.required(Name::LogCleanup, boolean)?,
        log_ttl: settings.required(Name::LogTtl, |text| between(text, (Duration::from_secs(1), LONGEST_LOG)))?,
    }))
}

/// An address that strangers may reach is used only when a token is asked for, or somebody has said that it is meant.
fn listen(settings: &Settings) -> Result<Option<ListenOptions>, SettingError> {
    let Some(address) = settings.optional(Name::Listen, Address::parse)? else { return Ok(None) };
    let token_file = settings.optional(Name::ListenTokenFile, |text| Ok(PathBuf::from(text)))?;
    let open = settings.required(Name::ListenOpen, boolean)?;
    if !address.is_private() && token_file.is_none() && !open {
        let cure = "can be reached from other machines; give --listen-token-file FILE, or --listen-open true if \
                    everybody may read";
        return Err(settings.error(Name::Listen, cure));
    }
    Ok(Some(ListenOptions { address, token_file }))
}

/// The old agent's variables never stop the start: what is no text is as good as unset.
fn text_or_default(settings: &Settings, name: Name, warnings: &mut Vec<String>) -> String {
    let default = name.setting().default.unwrap_or_default();
    settings.raw(name).and_then(|raw| raw.to_str()).map(str::to_owned).unwrap_or_else(|| {
        warnings.push(format!("{} is not valid UTF-8; {default} is used", name.setting().variable));
        default.to_owned()
    })
}

/// A word alone would be taken for the name of a part of the program, of which everything is then shown.
fn levels(text: &str) -> Result<Targets, String> {
    let is_level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    let parsed = text.split(',').all(is_level).then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| "is no level; write error, warn, info, debug or trace".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "is no duration; write for example 500ms, 5s or 2m".to_owned())
}

fn between(text: &str, (least, most): (Duration, Duration)) -> Result<Duration, String> {
    let value = duration(text)?;
    let shown = humantime::format_duration;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("is not between {} and {}", shown(least), shown(most)))
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    one_of(text, &[("true", true), ("false", false), ("1", true), ("0", false)])
}

fn layers(text: &str) -> Result<Vec<Layer>, String> {
    if text == "off" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|word| one_of(word.trim(), &[("landlock", Layer::Landlock), ("seccomp", Layer::Seccomp)]))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error}, off"))
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') { Ok(PathBuf::from(text)) } else { Err("is not an absolute path".to_owned()) }
}

fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("is none of {}", known()))
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn config(env: &[(&str, &[u8])]) -> Result<Config, SettingError> {
        let flags = clap::Command::new("test")
            .args(Settings::flags())
            .no_binary_name(true)
            .try_get_matches_from([""; 0])
            .unwrap();
        let env = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(OsStr::from_bytes(value)))
        };
        Config::new(&Settings::collect(&flags, env, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap())
    }

    #[test]
    fn without_any_setting_the_old_agents_defaults_hold() {
        let config = config(&[]).unwrap();
        assert_eq!((config.container_name.as_str(), config.interval), ("unknown", Duration::from_secs(5)));
        let valkey = config.valkey.unwrap();
        assert_eq!(valkey.target.to_string(), "sirius-valkey:6379");
        assert_eq!((valkey.metrics_ttl, valkey.log_keys, valkey.db), (Duration::from_secs(30), 3, None));
        assert!(config.warnings.is_empty());
    }

    #[test]
    fn a_malformed_variable_of_the_old_agent_is_a_warning() {
        let config =
            config(&[("VALKEY_PORT", b"tcp://10.0.0.7:6379"), ("VALKEY_HOST", b"\xff"), ("CONTAINER_NAME", b"a\xffb")])
                .unwrap();
        assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
        assert_eq!(config.container_name, "a\u{fffd}b");
        assert_eq!(config.valkey.unwrap().target.to_string(), "sirius-valkey:6379");
    }

    #[test]
    fn any_other_malformed_value_is_an_error_that_names_the_cure() {
        for (variable, value, cure) in [
            ("MONITOR_INTERVAL", "5", "write for example"),
            ("MONITOR_INTERVAL", "50ms", "not between 100ms and 1h"),
            ("MONITOR_EBPF", "yes", "none of auto, off, on"),
            ("MONITOR_LOG", "loud!", "is no level"),
            ("MONITOR_SANDBOX", "jail", "none of landlock, seccomp, off"),
            ("MONITOR_LOG_KEYS", "0", "1 to 1000"),
            ("MONITOR_LOG_TTL", "8d", "not between"),
            ("MONITOR_PROC_ROOT", "proc", "not an absolute path"),
            ("MONITOR_OTLP", "https://c:4318", "beside the agent"),
            ("VALKEY_DB", "x", "no database number"),
            ("VALKEY_URL", "http://h", "VALKEY_URL"),
        ] {
            let error = config(&[(variable, value.as_bytes())]).unwrap_err().to_string();
            assert!(error.contains(variable) && error.contains(cure), "{error}");
        }
    }

    #[test]
    fn strangers_need_a_token_or_a_word_that_they_may_read() {
        let listen = |more: &[(&str, &str)]| {
            let mut env = vec![("MONITOR_LISTEN", more[0].0.as_bytes())];
            env.extend(more[1..].iter().map(|(name, value)| (*name, value.as_bytes())));
            config(&env).map(|config| config.listen.unwrap())
        };
        for private in ["127.0.0.1:9190", "127.9.9.9:1", "[::1]:9190", "localhost:80", "unix:/run/m.sock"] {
            assert_eq!(listen(&[(private, "")]).unwrap().token_file, None, "{private}");
        }
        for strange in ["0.0.0.0:9190", "[::]:9190", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let error = listen(&[(strange, "")]).unwrap_err().to_string();
            assert!(error.contains("MONITOR_LISTEN") && error.contains("--listen-token-file"), "{error}");
            assert!(listen(&[(strange, ""), ("MONITOR_LISTEN_OPEN", "false")]).is_err());
            listen(&[(strange, ""), ("MONITOR_LISTEN_OPEN", "true")]).unwrap();
            assert!(listen(&[(strange, ""), ("MONITOR_LISTEN_TOKEN_FILE", "/t")]).unwrap().token_file.is_some());
        }
        for nonsense in ["9190", ":9190", "example.org:80", "unix:", "unix:relative", "127.0.0.1", "http://[::1]:80"] {
            assert!(listen(&[(nonsense, "")]).unwrap_err().to_string().contains("write ADDR:PORT"), "{nonsense}");
        }
    }

    #[test]
    fn none_writes_nowhere() {
        assert!(config(&[("VALKEY_URL", b"none")]).unwrap().valkey.is_none());
    }

    #[test]
    fn the_expiry_follows_the_interval() {
        let ttl =
            |interval: &str| config(&[("MONITOR_INTERVAL", interval.as_bytes())]).unwrap().valkey.unwrap().metrics_ttl;
        assert_eq!(ttl("1s"), Duration::from_secs(30));
        assert_eq!(ttl("1m"), Duration::from_secs(360));
    }
}
