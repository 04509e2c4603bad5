//! Errors of the server and of the network, by their consequences.

use std::io;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// An error text of the library can be hundreds of kilobytes long.
const LONGEST_TEXT: usize = 200;

/// Why there is no connection, or why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    pub(crate) text: String,
    /// The class of the error.
    pub(crate) kind: FaultKind,
}

/// Classes of errors: what is known about the command, and what has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// No answer: the command may have been executed or not, and the connection cannot be used any more.
    Silence,
    /// The answer exceeds a limit or is malformed, and was not read to its end. As silence, otherwise.
    RefusedReply,
    /// The server said no: the command was not carried out.
    Refused,
    /// Refused: the connection has no login.
    AuthRequired,
    /// Refused: the server is a replica now.
    NotMaster,
    /// Refused for want of a right, until an operator changes something.
    Forbidden,
    /// Refused: the server does not know the command.
    UnknownCommand,
    /// The entry's id is not above the last one of its stream.
    Behind,
    /// Another node of the cluster has the key, from now on (`MOVED`).
    Moved(String),
    /// Another node of the cluster may have the key, for this command alone (`ASK`).
    Ask(String),
}

impl Fault {
    /// Creates an error without an answer.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: FaultKind::Silence }
    }

    /// The answers do not match the commands.
    pub(crate) fn garbled() -> Self {
        Self::new("the server's answers do not match what it was sent")
    }

    /// Returns whether the server has answered and its connection is still good.
    pub(crate) fn is_answer(&self) -> bool {
        !matches!(self.kind, FaultKind::Silence | FaultKind::RefusedReply) && !self.is_stale()
    }

    /// Returns whether the connection must be replaced although the server answered.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self.kind, FaultKind::AuthRequired | FaultKind::NotMaster)
    }

    /// Returns whether another login may be taken.
    pub(crate) fn is_about_login(&self) -> bool {
        matches!(self.kind, FaultKind::AuthRequired | FaultKind::Forbidden)
    }

    /// Returns whether the key has another type, or a content that is too long to be ours.
    pub(crate) fn is_about_content(&self) -> bool {
        self.kind == FaultKind::Refused && ["WRONGTYPE", "TOOLONG"].iter().any(|code| self.text.starts_with(code))
    }

    /// Returns whether the error stays until an operator changes the server.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(self.kind, FaultKind::Forbidden | FaultKind::UnknownCommand)
    }
}

impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        Self::new(short(&error.to_string()))
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let code = error.code().unwrap_or_default();
        Self { text: format!("{}{}", short(&message(&error)), hint(&error, code)), kind: kind(&error, code) }
    }
}

fn kind(error: &RedisError, code: &str) -> FaultKind {
    let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
    // Texts of the server, the same in all versions that have streams.
    let says = |words: &str| error.detail().is_some_and(|detail| detail.contains(words));
    let elsewhere = || error.redirect_node().map(|(address, _)| address.to_owned());
    match code {
        _ if !is_answer => FaultKind::Silence,
        "MOVED" => elsewhere().map_or(FaultKind::Refused, FaultKind::Moved),
        "ASK" => elsewhere().map_or(FaultKind::Refused, FaultKind::Ask),
        // A lost login comes back only with a new connection.
        "NOAUTH" => FaultKind::AuthRequired,
        // A replica may have taken the master's place under the same name.
        "READONLY" | "MASTERDOWN" => FaultKind::NotMaster,
        "NOPERM" | "WRONGPASS" => FaultKind::Forbidden,
        _ if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => FaultKind::Forbidden,
        _ if says("unknown command") => FaultKind::UnknownCommand,
        _ if says("equal or smaller than the target stream top item") => FaultKind::Behind,
        _ => FaultKind::Refused,
    }
}

/// Returns the text of an error without the library's name for its kind, and with the server's error code, which
/// operators know.
fn message(error: &RedisError) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::Client, Some(detail)) => detail.to_owned(),
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(detail)) => {
            format!("{} {detail}", error.code().unwrap_or_default())
        }
        _ => error.to_string(),
    }
}

/// Returns the remedy that an operator needs, if there is one.
fn hint(error: &RedisError, code: &str) -> &'static str {
    match code {
        "NOAUTH" => " (set VALKEY_PASSWORD_FILE or VALKEY_PASSWORD)",
        "WRONGPASS" => " (check VALKEY_USERNAME and the password)",
        "NOPERM" => " (the ACL user lacks a right; docs/valkey.md lists the rights)",
        "MOVED" | "CROSSSLOT" => " (the server is part of a cluster: add ?cluster=true to VALKEY_URL)",
        _ if error.detail().is_some_and(|detail| detail.contains("unknown command")) => {
            " (an older server, or rename-command in its configuration took the command away: give it back its name, or use \
             ACL rules instead; docs/valkey.md lists the commands)"
        }
        _ if error.kind() == ErrorKind::AuthenticationFailed => " (check VALKEY_USERNAME and the password)",
        // TLS 1.3 refuses a client when the connection already seems to be made.
        _ if error.to_string().contains("CertificateRequired") => {
            " (the server wants a client certificate: set VALKEY_TLS_CERT and VALKEY_TLS_KEY)"
        }
        _ if error.is_connection_dropped() && !error.is_connection_refusal() => {
            " (the server closed the connection: too many clients, or a TLS port?)"
        }
        _ => "",
    }
}

/// Cuts a text to the length of a line.
fn short(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fault of an error reply.
    fn answer(line: &str) -> Fault {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        redis::from_redis_value::<String>(value).unwrap_err();
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err().into()
    }

    #[test]
    fn answers_are_told_by_what_is_to_be_done() {
        for (line, kind) in [
            ("LOADING Valkey is loading the dataset in memory", FaultKind::Refused),
            ("OOM command not allowed when used memory > 'maxmemory'.", FaultKind::Refused),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", FaultKind::Refused),
            ("READONLY You can't write against a read only replica.", FaultKind::NotMaster),
            ("NOAUTH Authentication required.", FaultKind::AuthRequired),
            ("NOPERM User x has no permissions to run the 'xadd' command", FaultKind::Forbidden),
            ("MOVED 7 10.0.0.1:6379", FaultKind::Moved("10.0.0.1:6379".to_owned())),
            ("ASK 7 :1", FaultKind::Ask(":1".to_owned())),
            ("ERR unknown command 'XADD', with args beginning with: ", FaultKind::UnknownCommand),
            ("ERR The ID specified in XADD is equal or smaller than the target stream top item", FaultKind::Behind),
        ] {
            let fault = answer(line);
            assert_eq!(fault.kind, kind, "{fault:?}");
            assert!(fault.text.starts_with(line.trim_end()), "{fault}");
        }
    }

    #[test]
    fn a_command_that_was_renamed_away_is_told_with_the_remedy() {
        let told = answer("ERR unknown command 'XADD', with args beginning with: ").to_string();
        assert!(told.starts_with("ERR unknown command 'XADD'") && told.contains("rename-command"), "{told}");
        assert!(!answer("NOPERM User x has no permissions to run the 'xadd' command").to_string().contains("rename"));
    }

    #[test]
    fn what_is_no_answer_says_nothing_about_the_command() {
        let refused = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(Fault::from(refused).kind, FaultKind::Silence);
        assert!(!Fault::garbled().is_answer());
    }

    #[test]
    fn a_text_is_cut_and_has_no_control_characters() {
        assert_eq!(short("a\nb\u{1b}[0m"), "a b [0m");
        assert_eq!(short(&"ä".repeat(1000)).chars().count(), LONGEST_TEXT + 1);
    }
}
