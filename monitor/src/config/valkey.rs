//! The settings of Valkey.

use std::time::Duration;

use super::values::{between, boolean, directory, or_off, path, text};
use crate::settings::{SettingError, SettingName, Settings};
use crate::snapshot::Scope;
use crate::valkey::{Secret, Target, TlsOptions, ValkeyOptions};

/// The longest retention of log entries; readers were promised no more.
const LONGEST_LOG: Duration = Duration::from_secs(7 * 24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bounds of the history's length.
const HISTORY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(366 * 24 * 3600));

/// Bounds of the time between two heartbeat entries.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(100), DAY);

/// The shortest default expiry of the metrics key, so that a short interval does not make it flicker.
const SHORTEST_TTL: Duration = Duration::from_secs(30);

/// The options of Valkey; `None` if no reports are written.
pub(super) fn valkey(
    settings: &Settings,
    interval: Duration,
    scope: Scope,
    warnings: &mut Vec<String>,
) -> Result<Option<ValkeyOptions>, SettingError> {
    let target = target(settings, warnings)?;
    // Checked even if nothing is written.
    let log_interval = settings.required(SettingName::LogInterval, |text| between(text, HEARTBEAT))?;
    if target.is_none() {
        return Ok(None);
    }
    let up_to_longest_log = |least: Duration| move |text: &str| between(text, (least, LONGEST_LOG));
    Ok(Some(ValkeyOptions {
        target,
        username: settings.optional(SettingName::ValkeyUsername, text)?,
        password: settings.optional(SettingName::ValkeyPassword, |text| Ok(Secret::new(text)))?,
        password_file: settings.optional(SettingName::ValkeyPasswordFile, path)?,
        db: settings.optional(SettingName::ValkeyDb, |text| {
            text.parse().map_err(|_| "is no database number; write 0 to 15, or what the server has".to_owned())
        })?,
        tls: TlsOptions {
            ca: settings.optional(SettingName::ValkeyTlsCa, path)?,
            cert: settings.optional(SettingName::ValkeyTlsCert, path)?,
            key: settings.optional(SettingName::ValkeyTlsKey, path)?,
        },
        metrics_ttl: settings
            .optional(SettingName::MetricsTtl, up_to_longest_log(Duration::from_secs(1)))?
            .unwrap_or(SHORTEST_TTL.max(interval * 6)),
        history: settings
            .optional(SettingName::History, |text| or_off(text, |text| between(text, HISTORY)))?
            .unwrap_or((scope == Scope::Host).then_some(DAY)),
        buffer: settings.required(SettingName::Buffer, up_to_longest_log(Duration::ZERO))?,
        buffer_dir: settings.optional(SettingName::BufferDir, directory)?,
        log_interval,
        log_keys: settings.required(SettingName::LogKeys, |text| {
            text.parse()
                .ok()
                .filter(|keys| (1..=1000).contains(keys))
                .ok_or_else(|| "is no number from 1 to 1000".to_owned())
        })?,
        log_cleanup: settings.required(SettingName::LogCleanup, boolean)?,
        log_ttl: settings.required(SettingName::LogTtl, up_to_longest_log(Duration::from_secs(1)))?,
    }))
}

fn target(settings: &Settings, warnings: &mut Vec<String>) -> Result<Target, SettingError> {
    let tls = settings.required(SettingName::ValkeyTls, boolean)?;
    let url =
        settings.optional(SettingName::ValkeyUrl, |text| Target::parse(text).map_err(|error| error.to_string()))?;
    // Every user of the machine can read the arguments of every process.
    if settings.is_flag(SettingName::ValkeyUrl) && url.as_ref().is_some_and(|url| url.password.is_some()) {
        let problem = "has a password, which every user of this machine can read in the list of processes; put it into \
                       a file for --valkey-password-file, or the URL into the variable VALKEY_URL";
        return Err(settings.error(SettingName::ValkeyUrl, problem));
    }
    Ok(url.unwrap_or_else(|| {
        let host = text_or_default(settings, SettingName::ValkeyHost, warnings);
        let port = text_or_default(settings, SettingName::ValkeyPort, warnings);
        Target::from_host_port(&host, &port, tls, warnings)
    }))
}

/// A variable of the old agent, which never ends the start: one that is not UTF-8 counts as unset.
fn text_or_default(settings: &Settings, name: SettingName, warnings: &mut Vec<String>) -> String {
    let default = name.setting().default.unwrap_or_default();
    settings.raw(name).and_then(|raw| raw.to_str()).map(str::to_owned).unwrap_or_else(|| {
        warnings.push(format!("{} is not valid UTF-8; {default} is used", name.setting().variable));
        default.to_owned()
    })
}
