//! Parsers of values. Each error completes the sentence "SETTING VALUE: …".

use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::preflight::Layer;

/// Log levels. A word that is no level is refused: the parser would take it for the name of a module, and log
/// everything of that module.
pub(super) fn levels(text: &str) -> Result<Targets, String> {
    let is_level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    let parsed = text.split(',').all(is_level).then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| "is no level; write error, warn, info, debug or trace".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "is no duration; write for example 500ms, 5s or 2m".to_owned())
}

pub(super) fn between(text: &str, (least, most): (Duration, Duration)) -> Result<Duration, String> {
    let value = duration(text)?;
    let shown = humantime::format_duration;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("is not between {} and {}", shown(least), shown(most)))
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    one_of(text, &[("true", true), ("false", false), ("1", true), ("0", false)])
}

pub(super) fn layers(text: &str) -> Result<Vec<Layer>, String> {
    if text == "off" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|word| one_of(word.trim(), &[("landlock", Layer::Landlock), ("seccomp", Layer::Seccomp)]))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error}, off"))
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') { Ok(PathBuf::from(text)) } else { Err("is not an absolute path".to_owned()) }
}

pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("is none of {}", known()))
}

pub(super) fn paths(text: &str) -> Result<Vec<PathBuf>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|path| directory(path.trim())).collect()
}

pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

/// A value, or `off`.
pub(super) fn or_off<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text == "off" { Ok(None) } else { parse(text).map(Some) }
}
