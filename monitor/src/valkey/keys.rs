//! Names of keys.

/// The prefix of keys of log entries.
pub(crate) const LOGS: &str = "system:logs:";

/// The digits of the time in a log entry's key, until the year 2286.
const DIGITS: usize = 19;

/// The key of the list of containers.
pub(crate) const CONTAINERS: &str = "system:containers";

/// The key of the machine that reports under a name.
pub(crate) fn owner_key(name: &str) -> String {
    format!("system:owner:{name}")
}

/// The key of a container's latest report.
pub(crate) fn metrics_key(name: &str) -> String {
    format!("system:metrics:{name}")
}

/// The key of a container's history.
pub(crate) fn history_key(name: &str) -> String {
    format!("system:history:{name}")
}

/// The key of a container's stream of log entries.
pub(crate) fn log_key(name: &str) -> String {
    format!("system:logstream:{name}")
}

/// The key of one log entry of a container.
pub(crate) fn entry_key(name: &str, nanos: u64) -> String {
    format!("{LOGS}{name}:{nanos:0DIGITS$}")
}

/// The container's name and the time in the key of a log entry; `None` for any other key.
pub(crate) fn parse_entry_key(key: &[u8]) -> Option<(&str, u64)> {
    let (name, nanos) = std::str::from_utf8(key).ok()?.strip_prefix(LOGS)?.rsplit_once(':')?;
    let is_time = nanos.len() == DIGITS && nanos.bytes().all(|byte| byte.is_ascii_digit());
    Some((name, nanos.parse().ok().filter(|_| is_time)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn keys_of_log_entries_are_read_back_and_no_others_are() {
        let at = |text: &str| parse_entry_key(text.as_bytes()).map(|(name, nanos)| (name.to_owned(), nanos));
        assert_eq!(entry_key("web", 7), "system:logs:web:0000000000000000007");
        for name in ["a*b", "a:b"] {
            assert_eq!(at(&entry_key(name, T)), Some((name.to_owned(), T)));
        }
        for other in ["system:logs:web:123", "system:logs:web:12345678901234567x9", "system:logstream:web", ""] {
            assert_eq!(at(other), None, "{other}");
        }
    }
}
