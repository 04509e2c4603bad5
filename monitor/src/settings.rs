//! The settings, one row each: flag, variable, file key, default and help all come from here.
//!
//! A value is looked for as a flag, then as an environment variable, then in the file, then in the table. An empty
//! variable is an unset one. [`crate::config`] gives the values their types.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use clap::{Arg, ArgMatches};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The flag without its dashes, also the key in the file; `None` for what only the environment may say.
    pub flag: Option<&'static str>,
    /// The environment variable.
    pub variable: &'static str,
    /// What holds when nobody says anything.
    pub default: Option<&'static str>,
    /// The placeholder in `--help`.
    pub value: &'static str,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! settings {
    ($($id:ident = $flag:expr, $variable:literal, $default:expr, $value:literal, $help:literal;)+) => {
        /// Names of the settings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name { $(#[doc = $help] $id),+ }

        impl Name {
            /// All settings, in the order of `--help`.
            pub const ALL: &'static [Self] = &[$(Self::$id),+];

            /// The setting's row.
            pub fn setting(self) -> &'static Setting {
                match self {
                    $(Self::$id => const { &Setting { flag: $flag, variable: $variable, default: $default, value: $value, help: $help } }),+
                }
            }
        }
    };
}

settings! {
    ContainerName = Some("container-name"), "CONTAINER_NAME", Some("unknown"), "NAME", "Name of the own container, under which it is reported";
    Interval = Some("interval"), "MONITOR_INTERVAL", Some("5s"), "DURATION", "Time between two reports, 100ms to 1h";
    Scope = Some("scope"), "MONITOR_SCOPE", Some("auto"), "SCOPE", "What to watch: self, the own container; host, every container and the machine; auto, host in the initial namespaces unless a container is named";
    Ebpf = Some("ebpf"), "MONITOR_EBPF", Some("auto"), "MODE", "auto, off, or on: fail to start when no eBPF program can be loaded";
    EbpfFdEvents = Some("ebpf-fd-events"), "MONITOR_EBPF_FD_EVENTS", Some("false"), "BOOL", "Whether eBPF counts descriptors opened and closed, at each of them: true or false";
    Pin = Some("pin"), "MONITOR_PIN", None, "DIR", "Directory of the BPF file system where maps and links live on between two runs, or off [default: /sys/fs/bpf/system-monitor in scope host, else off]";
    DropPrivileges = Some("drop-privileges"), "MONITOR_DROP_PRIVILEGES", Some("true"), "BOOL", "Whether the agent drops its capabilities once eBPF is attached, but for those that reading takes: true or false";
    Sandbox = Some("sandbox"), "MONITOR_SANDBOX", Some("landlock,seccomp"), "LAYERS", "What holds the agent once it runs: landlock, seccomp, both with a comma, or off";
    ValkeyHost = None, "VALKEY_HOST", Some("sirius-valkey"), "HOST", "Host of Valkey";
    ValkeyPort = None, "VALKEY_PORT", Some("6379"), "PORT", "Port of Valkey";
    ValkeyUrl = Some("valkey-url"), "VALKEY_URL", None, "URL", "Where Valkey is, instead of host and port: valkey://, valkeys:// (TLS), redis://, rediss://, unix://; none writes nowhere";
    ValkeyUsername = Some("valkey-username"), "VALKEY_USERNAME", None, "USER", "ACL user";
    ValkeyDb = Some("valkey-db"), "VALKEY_DB", None, "NUMBER", "Database number [default: 0]";
    ValkeyPassword = None, "VALKEY_PASSWORD", None, "PASSWORD", "Password; a file is safer";
    ValkeyPasswordFile = Some("valkey-password-file"), "VALKEY_PASSWORD_FILE", None, "FILE", "File that holds the password, read again at each connect";
    ValkeyTls = None, "VALKEY_TLS", Some("false"), "BOOL", "TLS to the host and port: true or false";
    ValkeyTlsCa = Some("valkey-tls-ca"), "VALKEY_TLS_CA", None, "FILE", "Certificate authorities to trust, PEM, instead of the system's";
    ValkeyTlsCert = Some("valkey-tls-cert"), "VALKEY_TLS_CERT", None, "FILE", "Client certificate, PEM";
    ValkeyTlsKey = Some("valkey-tls-key"), "VALKEY_TLS_KEY", None, "FILE", "Key of the client certificate, PEM";
    Listen = Some("listen"), "MONITOR_LISTEN", None, "ADDRESS", "Where the page, the API and /metrics are served: ADDR:PORT or unix:PATH [default: nowhere; dashboard: 127.0.0.1:8080]";
    ListenTokenFile = Some("listen-token-file"), "MONITOR_LISTEN_TOKEN_FILE", None, "FILE", "File that holds the token which the API wants as Authorization: Bearer";
    ListenOpen = Some("listen-open"), "MONITOR_LISTEN_OPEN", Some("false"), "BOOL", "Whether anybody who reaches an address that is not loopback may read without a token: true or false";
    Otlp = Some("otlp"), "MONITOR_OTLP", None, "URL", "OpenTelemetry collector to which reports are sent as well: http://HOST:PORT/PATH, the port being 4318 and the path /v1/metrics by default";
    MetricsTtl = Some("metrics-ttl"), "MONITOR_METRICS_TTL", None, "DURATION", "Expiry of system:metrics:* [default: 6 intervals, at least 30s]";
    History = Some("history"), "MONITOR_HISTORY", None, "DURATION", "Length of system:history:*, or off [default: 24h in scope host, else off]";
    Buffer = Some("buffer"), "MONITOR_BUFFER", Some("10m"), "DURATION", "How long history and log entries wait in memory while Valkey is away, 32 MiB at most";
    BufferDir = Some("buffer-dir"), "MONITOR_BUFFER_DIR", None, "DIR", "Where a copy of what waits is kept on disk, so that it survives the agent [default: nowhere]";
    LogInterval = Some("log-interval"), "MONITOR_LOG_INTERVAL", Some("30s"), "DURATION", "Time between two heartbeat log entries";
    LogKeys = Some("log-keys"), "MONITOR_LOG_KEYS", Some("3"), "NUMBER", "Newest log entries kept as keys";
    LogTtl = Some("log-ttl"), "MONITOR_LOG_TTL", Some("24h"), "DURATION", "Expiry of log entries, at most 7d";
    LogCleanup = Some("log-cleanup"), "MONITOR_LOG_CLEANUP", Some("true"), "BOOL", "Whether log entries that earlier runs left under the own name are removed, in small steps: true or false";
    DiskInterval = Some("disk-interval"), "MONITOR_DISK_INTERVAL", Some("60s"), "DURATION", "Time between two walks of the root filesystem; 0s for none";
    DiskExclude = Some("disk-exclude"), "MONITOR_DISK_EXCLUDE", None, "PATHS", "Directories that the walk leaves out, separated by commas";
    Containers = Some("containers"), "MONITOR_CONTAINERS", None, "NAMES", "Scope host: names of the containers that are reported, patterns separated by commas, !NAME to leave one out [default: all]";
    Cgroups = Some("cgroups"), "MONITOR_CGROUPS", None, "PATHS", "Scope host: further cgroups that are reported like containers, patterns of paths separated by commas; systemd for its services and scopes";
    RuntimeSockets = Some("runtime-sockets"), "MONITOR_RUNTIME_SOCKETS", Some("/run/docker.sock,/run/podman/podman.sock"), "PATHS", "Scope host: sockets of Docker and Podman that are asked for names that their files do not tell";
    CgroupRoot = Some("cgroup-root"), "MONITOR_CGROUP_ROOT", None, "DIR", "Where the cgroup trees are mounted [default: from the mount table]";
    ProcRoot = Some("proc-root"), "MONITOR_PROC_ROOT", Some("/proc"), "DIR", "Where procfs is mounted";
    SysRoot = Some("sys-root"), "MONITOR_SYS_ROOT", Some("/sys"), "DIR", "Where sysfs is mounted";
    Log = Some("log"), "MONITOR_LOG", Some("info"), "LEVEL", "error, warn, info, debug, trace; or target=level,… for one part";
    LogFormat = Some("log-format"), "MONITOR_LOG_FORMAT", Some("text"), "FORMAT", "Form of the messages on stderr: text, json";
}

/// Name of the flag and the variable of the settings file.
pub const FILE: (&str, &str) = ("config", "MONITOR_CONFIG");

/// Who said a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Flag(&'static str),
    Variable,
    File(String),
    Nobody,
}

/// A setting that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{whose}: {problem}")]
pub struct SettingError {
    whose: String,
    problem: String,
}

impl SettingError {
    fn new(whose: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { whose: whose.to_string(), problem: problem.to_string() }
    }
}

/// The value of each setting that has one.
#[derive(Debug)]
pub struct Settings {
    values: BTreeMap<Name, (OsString, Said)>,
}

impl Settings {
    /// The flags for `clap`.
    pub fn flags() -> impl Iterator<Item = Arg> {
        let file = Arg::new(FILE.0)
            .long(FILE.0)
            .value_name("FILE")
            .help(format!("File of settings, TOML with the flags' names [env: {}]", FILE.1));
        std::iter::once(file)
            .chain(Name::ALL.iter().filter_map(|name| {
                let setting = name.setting();
                let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
                let help = format!("{}{default} [env: {}]", setting.help, setting.variable);
                setting.flag.map(|flag| {
                    let arg = Arg::new(flag)
                        .long(flag)
                        .value_name(setting.value)
                        .help(help)
                        .value_parser(clap::value_parser!(OsString));
                    // What is off by default is a switch: its flag alone turns it on.
                    match setting.default {
                        Some("false") => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                        _ => arg,
                    }
                })
            }))
            .map(|arg| arg.global(true))
    }

    /// Collects the values. `read` reads the settings file.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or names what is no setting.
    pub fn collect(
        flags: &ArgMatches,
        env: impl Fn(&str) -> Option<OsString>,
        read: impl Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Self, SettingError> {
        let env = |variable: &str| env(variable).filter(|value| !value.is_empty());
        let flag = |flag: &str| flags.try_get_one::<OsString>(flag).ok().flatten().cloned();
        let path = flags.try_get_one::<String>(FILE.0).ok().flatten().map(OsString::from).or_else(|| env(FILE.1));
        let mut file = path.map(|path| file(Path::new(&path), &read)).transpose()?.unwrap_or_default();
        let mut values = BTreeMap::new();
        for &name in Name::ALL {
            let setting = name.setting();
            let said = setting
                .flag
                .and_then(|name| Some((flag(name)?, Said::Flag(name))))
                .or_else(|| env(setting.variable).map(|value| (value, Said::Variable)))
                .or_else(|| setting.flag.and_then(|flag| file.remove(flag)))
                .or_else(|| setting.default.map(|value| (value.into(), Said::Nobody)));
            if let Some(said) = said {
                values.insert(name, said);
            }
        }
        Ok(Self { values })
    }

    /// The value as the operating system gave it.
    pub fn raw(&self, name: Name) -> Option<&OsStr> {
        self.values.get(&name).map(|(value, _)| value.as_os_str())
    }

    /// Gives a setting the value of another flag, which a command has for it.
    pub fn say(&mut self, name: Name, value: impl Into<OsString>, flag: &'static str) {
        self.values.insert(name, (value.into(), Said::Flag(flag)));
    }

    /// Gives a setting another default, which a command has for it.
    pub fn suggest(&mut self, name: Name, value: &str) {
        if !self.is_said(name) {
            self.values.insert(name, (value.into(), Said::Nobody));
        }
    }

    /// Whether somebody said it: it is not the default.
    pub fn is_said(&self, name: Name) -> bool {
        self.values.get(&name).is_some_and(|(_, said)| *said != Said::Nobody)
    }

    /// The value with its type, if there is one.
    ///
    /// # Errors
    /// Who said what, and what is wrong with it: the words of `parse`.
    pub fn optional<T>(
        &self,
        name: Name,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingError> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| self.error(name, "is not valid UTF-8"))?;
        parse(text).map(Some).map_err(|problem| self.error(name, problem))
    }

    /// The value with its type.
    ///
    /// # Errors
    /// As [`Settings::optional`], or that there is none.
    pub fn required<T>(&self, name: Name, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, SettingError> {
        self.optional(name, parse)?.ok_or_else(|| self.error(name, "is missing"))
    }

    /// An error about a setting, which says who said its value and what that was (never a password).
    pub fn error(&self, name: Name, problem: impl fmt::Display) -> SettingError {
        let setting = name.setting();
        let Some((value, said)) = self.values.get(&name) else { return SettingError::new(setting.variable, problem) };
        let whose = match said {
            Said::Flag(flag) => format!("--{flag}"),
            Said::File(path) => format!("{} in {path}", setting.flag.unwrap_or(setting.variable)),
            Said::Variable | Said::Nobody => setting.variable.to_owned(),
        };
        match name {
            Name::ValkeyPassword | Name::ValkeyUrl => SettingError::new(whose, problem),
            _ => SettingError::new(format!("{whose} {:?}", value.to_string_lossy()), problem),
        }
    }
}

fn file(
    path: &Path,
    read: impl Fn(&Path) -> std::io::Result<String>,
) -> Result<BTreeMap<String, (OsString, Said)>, SettingError> {
    let shown = path.display().to_string();
    let text = read(path).map_err(|error| SettingError::new(&shown, format!("cannot be read: {error}")))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| SettingError::new(&shown, format!("is not TOML: {}", error.message())))?;
    table
        .into_iter()
        .map(|(key, value)| {
            let known = Name::ALL.iter().any(|name| name.setting().flag == Some(&key));
            let text = if known { plain(value) } else { None };
            let problem = if known {
                "is neither text, number, boolean nor list of texts"
            } else {
                "is no setting; `system-monitor --help` lists them"
            };
            let text = text.ok_or_else(|| SettingError::new(format!("{key} in {shown}"), problem))?;
            Ok((key, (text.into(), Said::File(shown.clone()))))
        })
        .collect()
}

/// A TOML value as one would write it on the command line.
fn plain(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(on) => Some(on.to_string()),
        toml::Value::Array(items) => Some(items.into_iter().map(plain).collect::<Option<Vec<_>>>()?.join(",")),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Settings, SettingError> {
        let flags =
            clap::Command::new("test").args(Settings::flags()).no_binary_name(true).try_get_matches_from(args).unwrap();
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Settings::collect(&flags, env, |_| file.map(str::to_owned).ok_or(std::io::ErrorKind::NotFound.into()))
    }

    fn text(settings: &Settings, name: Name) -> Option<String> {
        settings.optional(name, |text| Ok(text.to_owned())).unwrap()
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
        let file = Some("interval = '4s'\nlog-keys = 7\n");
        let all = collect(&["--config", "f", "--interval", "2s"], &[("MONITOR_INTERVAL", "3s")], file).unwrap();
        assert_eq!(text(&all, Name::Interval).as_deref(), Some("2s"));
        let env = collect(&["--config", "f"], &[("MONITOR_INTERVAL", "3s")], file).unwrap();
        assert_eq!(text(&env, Name::Interval).as_deref(), Some("3s"));
        let file = collect(&["--config", "f"], &[], file).unwrap();
        assert_eq!(text(&file, Name::Interval).as_deref(), Some("4s"));
        assert_eq!(text(&file, Name::LogKeys).as_deref(), Some("7"));
        assert_eq!(text(&collect(&[], &[], None).unwrap(), Name::Interval).as_deref(), Some("5s"));
    }

    #[test]
    fn the_flag_of_a_switch_alone_turns_it_on() {
        let open = |args: &[&str]| text(&collect(args, &[], None).unwrap(), Name::ListenOpen).unwrap();
        assert_eq!((open(&[]), open(&["--listen-open"])), ("false".to_owned(), "true".to_owned()));
        assert_eq!(open(&["--listen-open=false"]), "false");
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        let settings = collect(&[], &[("CONTAINER_NAME", ""), ("VALKEY_URL", "")], None).unwrap();
        assert_eq!(text(&settings, Name::ContainerName).as_deref(), Some("unknown"));
        assert_eq!(text(&settings, Name::ValkeyUrl), None);
    }

    #[test]
    fn a_command_has_flags_and_defaults_of_its_own() {
        let mut settings = collect(&[], &[("VALKEY_URL", "valkey://a")], None).unwrap();
        settings.suggest(Name::Interval, "1s");
        settings.suggest(Name::ValkeyUrl, "none");
        assert_eq!(text(&settings, Name::Interval).as_deref(), Some("1s"));
        assert_eq!(text(&settings, Name::ValkeyUrl).as_deref(), Some("valkey://a"));
        settings.say(Name::ValkeyUrl, "valkey://b", "from");
        assert_eq!(text(&settings, Name::ValkeyUrl).as_deref(), Some("valkey://b"));
        assert_eq!(settings.error(Name::ValkeyUrl, "is wrong").to_string(), "--from: is wrong");
    }

    #[test]
    fn an_error_says_who_said_what() {
        let settings = collect(&[], &[("MONITOR_INTERVAL", "soon")], None).unwrap();
        let error = settings.required(Name::Interval, |_| Err::<(), _>("is not a duration".into())).unwrap_err();
        assert_eq!(error.to_string(), "MONITOR_INTERVAL \"soon\": is not a duration");
    }

    #[test]
    fn an_error_never_shows_a_password() {
        let settings =
            collect(&[], &[("VALKEY_PASSWORD", "hunter2"), ("VALKEY_URL", "redis://:hunter2@h")], None).unwrap();
        for name in [Name::ValkeyPassword, Name::ValkeyUrl] {
            assert!(!settings.error(name, "is wrong").to_string().contains("hunter2"));
        }
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error_that_names_it() {
        let error = collect(&["--config", "f"], &[], Some("intervall = '4s'")).unwrap_err();
        assert!(error.to_string().contains("intervall in f"), "{error}");
        assert!(collect(&["--config", "f"], &[], Some("=")).unwrap_err().to_string().contains("f: is not TOML"));
        assert!(collect(&["--config", "gone"], &[], None).unwrap_err().to_string().contains("gone: cannot be read"));
    }

    #[test]
    fn no_two_settings_share_a_flag_or_a_variable() {
        let names = |pick: fn(&Setting) -> Option<&'static str>| {
            let all: Vec<_> = Name::ALL.iter().filter_map(|name| pick(name.setting())).collect();
            assert_eq!(all.len(), all.iter().collect::<std::collections::BTreeSet<_>>().len());
        };
        names(|setting| setting.flag);
        names(|setting| Some(setting.variable));
    }
}
