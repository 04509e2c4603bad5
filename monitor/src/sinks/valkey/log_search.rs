//! The search for log entries of earlier runs.

use redis::Cmd;

use crate::valkey::keys::LOGS;

/// A walk over the server's keys, one for all containers and one step a tick, so
/// that an agent that watches many is no burden.
#[derive(Debug)]
pub(super) struct LogSearch {
    is_wanted: bool,
    /// The cursor of the walk; `None` when it is over.
    cursor: Option<u64>,
    /// True if another walk follows.
    again: bool,
}

impl LogSearch {
    /// Creates a search that has not begun, and never begins if it is not wanted.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, cursor: None, again: false }
    }

    /// Begins a walk over all keys: there is a new name, or an answer was lost.
    pub(super) fn begin(&mut self) {
        match self.cursor {
            Some(_) => self.again = true,
            None => self.cursor = self.is_wanted.then_some(0),
        }
    }

    /// The next step; a single name's keys are picked by the server.
    pub(super) fn step<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Option<Cmd> {
        let cursor = self.cursor?.to_string();
        let pattern = match (names.next(), names.next()) {
            (Some(name), None) => format!("{LOGS}{}:*", escaped(name)),
            _ => format!("{LOGS}*"),
        };
        Some(redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg("1000").to_owned())
    }

    /// Records the cursor that a step has returned.
    pub(super) fn stepped(&mut self, cursor: u64) {
        let again = cursor == 0 && std::mem::take(&mut self.again);
        self.cursor = (cursor != 0 || again).then_some(cursor);
    }

    /// Ends the search.
    pub(super) fn stop(&mut self) {
        (self.cursor, self.again) = (None, false);
    }
}

/// A name as a glob pattern that matches nothing else.
fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            text.push('\\');
        }
        text.push(c);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::valkey::Request;

    fn text(cmd: Cmd) -> String {
        Request::from(cmd).text()
    }

    #[test]
    fn one_walk_finds_the_keys_of_all_and_begins_anew_behind_its_end_when_it_must() {
        let mut search = LogSearch::new(true);
        let step = |search: &LogSearch, names: &[&str]| search.step(names.iter().copied()).map(text);
        assert_eq!(step(&search, &["web"]), None);
        search.begin();
        assert_eq!(step(&search, &["a*b"]).unwrap(), "SCAN 0 MATCH system:logs:a\\*b:* COUNT 1000");
        search.stepped(7);
        assert_eq!(step(&search, &["web", "db"]).unwrap(), "SCAN 7 MATCH system:logs:* COUNT 1000");
        search.begin();
        search.stepped(0);
        assert!(step(&search, &["web"]).unwrap().starts_with("SCAN 0 "));
        search.stepped(0);
        assert_eq!(step(&search, &["web"]), None);
        let mut never = LogSearch::new(false);
        never.begin();
        assert_eq!(step(&never, &["web"]), None);
    }
}
