//! The table of settings: flag, variable, file key, default and meaning of each, one row a setting.
//!
//! `--help`, the manual page and `docs/settings.md` are loops over it. Words in backquotes are code in the document.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The flag without its dashes, also the key in the file; `None` for what only the environment may set.
    pub flag: Option<&'static str>,
    /// The environment variable.
    pub variable: &'static str,
    /// The placeholder of the value in `--help`.
    pub value: &'static str,
    /// The value that holds if the setting is not set.
    pub default: Option<&'static str>,
    /// The default in words, where it is no fixed value.
    pub described_default: Option<&'static str>,
    /// One sentence.
    pub meaning: &'static str,
}

impl Setting {
    const fn default(self, value: &'static str) -> Self {
        Self { default: Some(value), ..self }
    }

    const fn described_default(self, words: &'static str) -> Self {
        Self { described_default: Some(words), ..self }
    }

    const fn meaning(self, sentence: &'static str) -> Self {
        Self { meaning: sentence, ..self }
    }
}

/// A setting that the environment alone can set.
const fn variable(variable: &'static str, value: &'static str) -> Setting {
    Setting { flag: None, variable, value, default: None, described_default: None, meaning: "" }
}

/// A setting that a flag, a variable or the file can set.
const fn flag(flag: &'static str, name: &'static str, value: &'static str) -> Setting {
    Setting { flag: Some(flag), ..variable(name, value) }
}

macro_rules! settings {
    ($($name:ident = $row:expr),+ $(,)?) => {
        /// The settings by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each row says what it means")]
        pub enum SettingName { $($name),+ }

        impl SettingName {
            /// All settings, in the order of `--help`.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The row of the setting.
            pub fn setting(self) -> &'static Setting {
                match self {
                    $(Self::$name => const { &$row }),+
                }
            }
        }
    };
}

settings!(
    ContainerName = flag("container-name", "CONTAINER_NAME", "NAME")
        .default("unknown")
        .meaning("Name under which the agent's own container is reported"),
    Interval =
        flag("interval", "MONITOR_INTERVAL", "DURATION").default("5s").meaning("Time between two reports, 100ms to 1h"),
    Scope = flag("scope", "MONITOR_SCOPE", "SCOPE").default("auto").meaning(
        "What to watch: `self`, the agent's own container; `host`, every container and the machine; `auto` \
         means `host` in the host's initial namespaces unless a container name is set, else `self`"
    ),
    Ebpf = flag("ebpf", "MONITOR_EBPF", "MODE")
        .default("auto")
        .meaning("`auto`, `off`, or `on`: fail to start when no eBPF program can be loaded"),
    EbpfFdEvents = flag("ebpf-fd-events", "MONITOR_EBPF_FD_EVENTS", "BOOL").default("false").meaning(
        "Count opened and closed descriptors with eBPF, by programs that run at each open and close: `true` \
         or `false`"
    ),
    Pin = flag("pin", "MONITOR_PIN", "DIR")
        .described_default("`/sys/fs/bpf/system-monitor` in scope `host`, else `off`")
        .meaning("Directory in the BPF file system where maps and links stay between two runs, or `off`"),
    DropPrivileges = flag("drop-privileges", "MONITOR_DROP_PRIVILEGES", "BOOL").default("true").meaning(
        "Drop the capabilities that sampling does not need after the eBPF programs are attached: `true` or \
         `false`"
    ),
    Sandbox = flag("sandbox", "MONITOR_SANDBOX", "LAYERS")
        .default("landlock,seccomp")
        .meaning("Sandbox layers applied after start-up: `landlock`, `seccomp`, both separated by a comma, or `off`"),
    ValkeyHost = variable("VALKEY_HOST", "HOST").default("sirius-valkey").meaning("Host of the Valkey server"),
    ValkeyPort = variable("VALKEY_PORT", "PORT").default("6379").meaning("Port of the Valkey server"),
    ValkeyUrl = flag("valkey-url", "VALKEY_URL", "URL").meaning(
        "URL of the Valkey server, in place of host and port: `valkey://`, `valkeys://` (TLS), `redis://`, \
         `rediss://`, `unix://`; several hosts separated by commas, with `?cluster=true` or `?sentinel=NAME` \
         where it applies; `none` writes nowhere"
    ),
    ValkeyUsername = flag("valkey-username", "VALKEY_USERNAME", "USER").meaning("ACL user"),
    ValkeyDb = flag("valkey-db", "VALKEY_DB", "NUMBER").described_default("`0`").meaning("Database number"),
    ValkeyPassword = variable("VALKEY_PASSWORD", "PASSWORD").meaning("Password; prefer the file"),
    ValkeyPasswordFile = flag("valkey-password-file", "VALKEY_PASSWORD_FILE", "FILE")
        .meaning("File with the password, read at each connect; refused if every user can read it"),
    ValkeyTls = variable("VALKEY_TLS", "BOOL")
        .default("false")
        .meaning("Use TLS for `VALKEY_HOST` and `VALKEY_PORT`: `true` or `false`"),
    ValkeyTlsCa = flag("valkey-tls-ca", "VALKEY_TLS_CA", "FILE")
        .described_default("the system's")
        .meaning("Trusted certificate authorities, PEM"),
    ValkeyTlsCert = flag("valkey-tls-cert", "VALKEY_TLS_CERT", "FILE").meaning("Client certificate, PEM"),
    ValkeyTlsKey = flag("valkey-tls-key", "VALKEY_TLS_KEY", "FILE").meaning("Key of the client certificate, PEM"),
    Listen = flag("listen", "MONITOR_LISTEN", "ADDRESS")
        .described_default("nowhere; `dashboard`: `127.0.0.1:8080`")
        .meaning(
            "Address of the page, the API and `/metrics`: `ADDR:PORT` or `unix:PATH`; an address other than \
         loopback needs `--listen-token-file` or `--listen-open`"
        ),
    ListenTokenFile = flag("listen-token-file", "MONITOR_LISTEN_TOKEN_FILE", "FILE")
        .meaning("File with the token that clients send as `Authorization: Bearer`; refused if every user can read it"),
    ListenOpen = flag("listen-open", "MONITOR_LISTEN_OPEN", "BOOL").default("false").meaning(
        "Serve clients without a token on any address, and by any name on loopback, as behind a proxy that hands the \
             browser's `Host` on; a token is still asked for where one is set: `true` or `false`"
    ),
    Otlp = flag("otlp", "MONITOR_OTLP", "URL").meaning(
        "OpenTelemetry collector that also gets each report: `http://HOST[:4318][/v1/metrics]`, protocol \
         buffers over HTTP"
    ),
    MetricsTtl = flag("metrics-ttl", "MONITOR_METRICS_TTL", "DURATION")
        .described_default("6 intervals, at least `30s`")
        .meaning("Time to live of the latest report, `system:metrics:*`"),
    History = flag("history", "MONITOR_HISTORY", "DURATION")
        .described_default("`24h` in scope `host`, else `off`")
        .meaning("How long reports are kept in `system:history:*`, or `off`"),
    Buffer = flag("buffer", "MONITOR_BUFFER", "DURATION").default("10m").meaning(
        "How long history and log entries are kept in memory while Valkey is unreachable; at most 32 MiB, the \
         oldest are dropped first and counted"
    ),
    BufferDir = flag("buffer-dir", "MONITOR_BUFFER_DIR", "DIR").described_default("nowhere").meaning(
        "Directory for a copy of the buffer on disk, which survives a crash of the agent; one agent per \
         directory"
    ),
    LogInterval = flag("log-interval", "MONITOR_LOG_INTERVAL", "DURATION")
        .default("30s")
        .meaning("Time between two heartbeat entries in the log, 100ms to 1 day"),
    LogKeys = flag("log-keys", "MONITOR_LOG_KEYS", "NUMBER")
        .default("3")
        .meaning("Number of newest log entries kept as keys"),
    LogTtl = flag("log-ttl", "MONITOR_LOG_TTL", "DURATION")
        .default("24h")
        .meaning("Time to live of log entries, at most 7 days"),
    LogCleanup = flag("log-cleanup", "MONITOR_LOG_CLEANUP", "BOOL").default("true").meaning(
        "Remove log entries that earlier runs left under the same container names, in small steps: `true` or \
         `false`"
    ),
    DiskInterval = flag("disk-interval", "MONITOR_DISK_INTERVAL", "DURATION").default("60s").meaning(
        "Time between two walks of the root filesystem; longer on a large one, so that the walk stays below \
         0.03 % of a CPU; `0s` disables it"
    ),
    DiskExclude = flag("disk-exclude", "MONITOR_DISK_EXCLUDE", "PATHS")
        .meaning("Directories that the walk skips, separated by commas"),
    Containers = flag("containers", "MONITOR_CONTAINERS", "NAMES").described_default("all").meaning(
        "Scope `host`: patterns of container names to report, separated by commas; `!NAME` excludes; `*` does \
         not match a slash, `**` does. The machine itself is reported too, unless `!/` or `!` and its name without \
         wildcards leaves it out"
    ),
    NameTemplate = flag("name-template", "MONITOR_NAME_TEMPLATE", "TEMPLATE").default("{name}").meaning(
        "Scope `host`: how the name of a container is made, of `{name}`, `{host}`, `{id}`, `{namespace}`, `{pod}`; \
         `{host}/{name}` tells machines with one Valkey apart; `--containers` then selects among these names"
    ),
    Cgroups = flag("cgroups", "MONITOR_CGROUPS", "PATHS").meaning(
        "Scope `host`: other cgroups to report like containers: patterns of paths, separated by commas; \
         `systemd` selects its services and scopes"
    ),
    RuntimeSockets = flag("runtime-sockets", "MONITOR_RUNTIME_SOCKETS", "PATHS")
        .default("/run/docker.sock,/run/podman/podman.sock")
        .meaning("Scope `host`: sockets of Docker and Podman, used for names that their files do not contain"),
    CgroupRoot = flag("cgroup-root", "MONITOR_CGROUP_ROOT", "DIR")
        .described_default("from the mount table")
        .meaning("Where the cgroup hierarchies are mounted"),
    ProcRoot = flag("proc-root", "MONITOR_PROC_ROOT", "DIR").default("/proc").meaning("Where procfs is mounted"),
    SysRoot = flag("sys-root", "MONITOR_SYS_ROOT", "DIR").default("/sys").meaning("Where sysfs is mounted"),
    Log = flag("log", "MONITOR_LOG", "LEVEL")
        .default("info")
        .meaning("`error`, `warn`, `info`, `debug`, `trace`; `target=level,…` for one part"),
    LogFormat = flag("log-format", "MONITOR_LOG_FORMAT", "FORMAT")
        .default("text")
        .meaning("Format of the messages on stderr: `text` or `json`"),
);
