use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::*;

fn config(env: &[(&str, &[u8])]) -> Result<Config, SettingError> {
    let flags =
        clap::Command::new("test").args(Settings::flags()).no_binary_name(true).try_get_matches_from([""; 0]).unwrap();
    let env = |name: &str| {
        env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(OsStr::from_bytes(value)))
    };
    Config::new(&Settings::collect(&flags, env, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap(), |_| Scope::Host)
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
fn any_other_malformed_value_is_an_error_that_names_the_remedy() {
    for (variable, value, remedy) in [
        ("MONITOR_INTERVAL", "5", "write for example"),
        ("MONITOR_INTERVAL", "50ms", "not between 100ms and 1h"),
        ("MONITOR_EBPF", "yes", "none of auto, off, on"),
        ("MONITOR_LOG", "loud!", "is no level"),
        ("MONITOR_SANDBOX", "jail", "none of landlock, seccomp, off"),
        ("MONITOR_LOG_KEYS", "0", "1 to 1000"),
        ("MONITOR_LOG_INTERVAL", "50ms", "not between 100ms and 1day"),
        ("MONITOR_LOG_TTL", "8d", "not between"),
        ("MONITOR_PROC_ROOT", "proc", "not an absolute path"),
        ("MONITOR_OTLP", "https://c:4318", "beside the agent"),
        ("VALKEY_DB", "x", "no database number"),
        ("VALKEY_URL", "http://h", "VALKEY_URL"),
    ] {
        let error = config(&[(variable, value.as_bytes())]).unwrap_err().to_string();
        assert!(error.contains(variable) && error.contains(remedy), "{error}");
    }
}

#[test]
fn a_password_is_taken_from_the_variable_and_not_from_the_flag() {
    let url = "valkey://:hunter2@h";
    assert!(config(&[("VALKEY_URL", url.as_bytes())]).is_ok());
    let flags = clap::Command::new("test").args(Settings::flags()).no_binary_name(true);
    let flags = flags.try_get_matches_from(["--valkey-url", url]).unwrap();
    let settings = Settings::collect(&flags, |_| None, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let error = Config::new(&settings, |_| Scope::Host).unwrap_err().to_string();
    assert!(error.contains("--valkey-password-file") && !error.contains("hunter2"), "{error}");
}

#[test]
fn an_empty_list_of_paths_is_empty() {
    assert_eq!(paths(""), Ok(Vec::new()));
    assert_eq!(paths("/a, /b").unwrap().len(), 2);
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
