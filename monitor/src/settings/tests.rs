use std::ffi::OsString;

use super::*;

fn collect(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Settings, SettingError> {
    let flags =
        clap::Command::new("test").args(Settings::flags()).no_binary_name(true).try_get_matches_from(args).unwrap();
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
    Settings::collect(&flags, env, |_| file.map(str::to_owned).ok_or(std::io::ErrorKind::NotFound.into()))
}

fn text(settings: &Settings, name: SettingName) -> Option<String> {
    settings.optional(name, |text| Ok(text.to_owned())).unwrap()
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file = Some("interval = '4s'\nlog-keys = 7\n");
    let all = collect(&["--config", "f", "--interval", "2s"], &[("MONITOR_INTERVAL", "3s")], file).unwrap();
    assert_eq!(text(&all, SettingName::Interval).as_deref(), Some("2s"));
    let env = collect(&["--config", "f"], &[("MONITOR_INTERVAL", "3s")], file).unwrap();
    assert_eq!(text(&env, SettingName::Interval).as_deref(), Some("3s"));
    let file = collect(&["--config", "f"], &[], file).unwrap();
    assert_eq!(text(&file, SettingName::Interval).as_deref(), Some("4s"));
    assert_eq!(text(&file, SettingName::LogKeys).as_deref(), Some("7"));
    assert_eq!(text(&collect(&[], &[], None).unwrap(), SettingName::Interval).as_deref(), Some("5s"));
}

#[test]
fn the_flag_of_a_switch_alone_turns_it_on() {
    let open = |args: &[&str]| text(&collect(args, &[], None).unwrap(), SettingName::ListenOpen).unwrap();
    assert_eq!((open(&[]), open(&["--listen-open"])), ("false".to_owned(), "true".to_owned()));
    assert_eq!(open(&["--listen-open=false"]), "false");
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let settings = collect(&[], &[("CONTAINER_NAME", ""), ("VALKEY_URL", "")], None).unwrap();
    assert_eq!(text(&settings, SettingName::ContainerName).as_deref(), Some("unknown"));
    assert_eq!(text(&settings, SettingName::ValkeyUrl), None);
}

#[test]
fn a_command_has_flags_and_defaults_of_its_own() {
    let mut settings = collect(&[], &[("VALKEY_URL", "valkey://a")], None).unwrap();
    settings.set_default(SettingName::Interval, "1s");
    settings.set_default(SettingName::ValkeyUrl, "none");
    assert_eq!(text(&settings, SettingName::Interval).as_deref(), Some("1s"));
    assert_eq!(text(&settings, SettingName::ValkeyUrl).as_deref(), Some("valkey://a"));
    settings.set(SettingName::ValkeyUrl, "valkey://b", "from");
    assert_eq!(text(&settings, SettingName::ValkeyUrl).as_deref(), Some("valkey://b"));
    assert_eq!(settings.error(SettingName::ValkeyUrl, "is wrong").to_string(), "--from: is wrong");
}

#[test]
fn an_error_names_the_origin_and_the_value() {
    let settings = collect(&[], &[("MONITOR_INTERVAL", "soon")], None).unwrap();
    let error = settings.required(SettingName::Interval, |_| Err::<(), _>("is not a duration".into())).unwrap_err();
    assert_eq!(error.to_string(), "MONITOR_INTERVAL \"soon\": is not a duration");
}

#[test]
fn an_error_never_shows_a_password() {
    let settings = collect(&[], &[("VALKEY_PASSWORD", "hunter2"), ("VALKEY_URL", "redis://:hunter2@h")], None).unwrap();
    for name in [SettingName::ValkeyPassword, SettingName::ValkeyUrl] {
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
fn an_empty_text_in_the_file_is_unset_and_an_empty_list_is_a_list() {
    let text = "\u{feff}interval = ''\ndisk-exclude = []\nruntime-sockets = ['/a', '/b']";
    let settings = collect(&["--config", "f"], &[], Some(text)).unwrap();
    assert_eq!(settings.raw(SettingName::Interval).unwrap(), "5s");
    assert_eq!(settings.raw(SettingName::DiskExclude).unwrap(), "");
    assert_eq!(settings.raw(SettingName::RuntimeSockets).unwrap(), "/a,/b");
}

#[test]
fn a_boolean_in_the_file_is_on_or_off_where_a_setting_has_these_words() {
    let file = "history = false\nebpf = true\ndrop-privileges = false\n";
    let settings = collect(&["--config", "f"], &[], Some(file)).unwrap();
    assert_eq!(text(&settings, SettingName::History).as_deref(), Some("off"));
    assert_eq!(text(&settings, SettingName::Ebpf).as_deref(), Some("on"));
    assert_eq!(text(&settings, SettingName::DropPrivileges).as_deref(), Some("false"));
}

#[test]
fn no_two_settings_share_a_flag_or_a_variable() {
    let names = |pick: fn(&Setting) -> Option<&'static str>| {
        let all: Vec<_> = SettingName::ALL.iter().filter_map(|name| pick(name.setting())).collect();
        assert_eq!(all.len(), all.iter().collect::<std::collections::BTreeSet<_>>().len());
    };
    names(|setting| setting.flag);
    names(|setting| Some(setting.variable));
}
