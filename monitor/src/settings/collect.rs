//! The values of the settings and where they were set.
//!
//! A flag takes precedence over its environment variable, that over the settings file, and that over the table. An
//! empty variable counts as unset.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use clap::{Arg, ArgMatches};

use super::error::SettingError;
use super::table::{Setting, SettingName};

/// The flag that names the settings file.
pub const FILE_FLAG: &str = "config";

/// The variable that names the settings file.
pub const FILE_VARIABLE: &str = "MONITOR_CONFIG";

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SetBy {
    Flag(&'static str),
    Variable,
    File(String),
    Default,
}

/// The value of each setting that has one.
#[derive(Debug)]
pub struct Settings {
    values: BTreeMap<SettingName, (OsString, SetBy)>,
}

impl Settings {
    /// The flags for `clap`.
    pub fn flags() -> impl Iterator<Item = Arg> {
        let file = Arg::new(FILE_FLAG)
            .long(FILE_FLAG)
            .value_name("FILE")
            .help(format!("File of settings, TOML with the flags' names [env: {FILE_VARIABLE}]"));
        let flags = SettingName::ALL.iter().filter_map(|name| flag(name.setting()));
        std::iter::once(file).chain(flags).map(|arg| arg.global(true))
    }

    /// Collects the values. `read` reads the settings file.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or has a key that is no setting.
    pub fn collect(
        flags: &ArgMatches,
        env: impl Fn(&str) -> Option<OsString>,
        read: impl Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Self, SettingError> {
        let env = |variable: &str| env(variable).filter(|value| !value.is_empty());
        let flag = |flag: &str| flags.try_get_one::<OsString>(flag).ok().flatten().cloned();
        let path =
            flags.try_get_one::<String>(FILE_FLAG).ok().flatten().map(OsString::from).or_else(|| env(FILE_VARIABLE));
        let mut file = path.map(|path| file(Path::new(&path), &read)).transpose()?.unwrap_or_default();
        let mut values = BTreeMap::new();
        for &name in SettingName::ALL {
            let setting = name.setting();
            let value = setting
                .flag
                .and_then(|name| Some((flag(name)?, SetBy::Flag(name))))
                .or_else(|| env(setting.variable).map(|value| (value, SetBy::Variable)))
                .or_else(|| setting.flag.and_then(|flag| file.remove(flag)))
                .or_else(|| setting.default.map(|value| (value.into(), SetBy::Default)));
            if let Some(value) = value {
                values.insert(name, value);
            }
        }
        Ok(Self { values })
    }

    /// The value as the operating system gave it.
    pub fn raw(&self, name: SettingName) -> Option<&OsStr> {
        self.values.get(&name).map(|(value, _)| value.as_os_str())
    }

    /// Sets a value by a flag of a command's own.
    pub fn set(&mut self, name: SettingName, value: impl Into<OsString>, flag: &'static str) {
        self.values.insert(name, (value.into(), SetBy::Flag(flag)));
    }

    /// Sets a default of a command's own.
    pub fn set_default(&mut self, name: SettingName, value: &str) {
        if !self.is_set(name) {
            self.values.insert(name, (value.into(), SetBy::Default));
        }
    }

    /// True if the value is not the default.
    pub fn is_set(&self, name: SettingName) -> bool {
        self.values.get(&name).is_some_and(|(_, by)| *by != SetBy::Default)
    }

    /// Returns whether the value was set by a flag.
    pub fn is_flag(&self, name: SettingName) -> bool {
        self.values.get(&name).is_some_and(|(_, by)| matches!(by, SetBy::Flag(_)))
    }

    /// The value with its type, if there is one.
    ///
    /// # Errors
    /// The origin of the value, the value, and the problem that `parse` found.
    pub fn optional<T>(
        &self,
        name: SettingName,
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
    pub fn required<T>(&self, name: SettingName, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, SettingError> {
        self.optional(name, parse)?.ok_or_else(|| self.error(name, "is missing"))
    }

    /// An error about a setting, which names where its value was set and the value, unless it is or may contain a
    /// password.
    pub fn error(&self, name: SettingName, problem: impl fmt::Display) -> SettingError {
        let setting = name.setting();
        let Some((value, by)) = self.values.get(&name) else { return SettingError::new(setting.variable, problem) };
        let subject = match by {
            SetBy::Flag(flag) => format!("--{flag}"),
            SetBy::File(path) => format!("{} in {path}", setting.flag.unwrap_or(setting.variable)),
            SetBy::Variable | SetBy::Default => setting.variable.to_owned(),
        };
        match name {
            SettingName::ValkeyPassword | SettingName::ValkeyUrl => SettingError::new(subject, problem),
            _ => SettingError::new(format!("{subject} {:?}", value.to_string_lossy()), problem),
        }
    }
}

/// The flag of a setting, if it has one.
fn flag(setting: &'static Setting) -> Option<Arg> {
    let default = setting.default.or(setting.described_default);
    let default = default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let help = format!("{}{default} [env: {}]", setting.meaning, setting.variable).replace('`', "");
    let flag = setting.flag?;
    let arg =
        Arg::new(flag).long(flag).value_name(setting.value).help(help).value_parser(clap::value_parser!(OsString));
    // A setting that is off by default is a switch: its flag alone turns it on.
    Some(match setting.default {
        Some("false") => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => arg,
    })
}

fn file(
    path: &Path,
    read: impl Fn(&Path) -> std::io::Result<String>,
) -> Result<BTreeMap<String, (OsString, SetBy)>, SettingError> {
    let shown = path.display().to_string();
    let text = read(path).map_err(|error| SettingError::new(&shown, format!("cannot be read: {error}")))?;
    // Some editors begin a file with a byte order mark.
    let table: toml::Table = text
        .trim_start_matches('\u{feff}')
        .parse()
        .map_err(|error: toml::de::Error| SettingError::new(&shown, format!("is not TOML: {}", error.message())))?;
    // An empty text counts as unset, as an empty variable does; an empty list is a list without entries.
    table
        .into_iter()
        .filter(|(_, value)| !value.as_str().is_some_and(str::is_empty))
        .map(|(key, value)| {
            let setting = SettingName::ALL.iter().map(|name| name.setting()).find(|setting| setting.flag == Some(&key));
            let text = setting.and_then(|setting| plain(value, setting));
            let problem = if setting.is_some() {
                "is neither text, number, boolean nor list of texts"
            } else {
                "is no setting; `system-monitor --help` lists them"
            };
            let text = text.ok_or_else(|| SettingError::new(format!("{key} in {shown}"), problem))?;
            Ok((key, (text.into(), SetBy::File(shown.clone()))))
        })
        .collect()
}

/// A TOML value as one would write it on the command line. `on` and `off` are booleans for whatever writes YAML.
fn plain(value: toml::Value, setting: &Setting) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(on) if setting.value == "BOOL" => Some(on.to_string()),
        toml::Value::Boolean(on) => Some(if on { "on" } else { "off" }.to_owned()),
        toml::Value::Array(items) => {
            let items: Option<Vec<_>> = items.into_iter().map(|item| plain(item, setting)).collect();
            Some(items?.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
