//! A command before it is sent. The documents of thousands of containers are megabytes: each is copied into its command
//! only when that is sent.

use redis::{Arg, Cmd};

use super::document::Document;

/// A command, perhaps with a document in it.
#[derive(Clone)]
pub(crate) struct Request {
    /// The words before the document.
    head: Cmd,
    document: Option<Document>,
    /// The words behind it.
    tail: Vec<String>,
}

impl From<Cmd> for Request {
    fn from(head: Cmd) -> Self {
        Self { head, document: None, tail: Vec::new() }
    }
}

impl Request {
    /// Creates a command of the words before a document, and the document.
    pub(crate) fn with(head: Cmd, document: Document) -> Self {
        Self { head, document: Some(document), tail: Vec::new() }
    }

    /// Appends a word behind the document.
    pub(crate) fn and(mut self, word: impl Into<String>) -> Self {
        self.tail.push(word.into());
        self
    }

    /// The key of the command: its second word, in every command that has one.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match self.head.args_iter().nth(1)? {
            Arg::Simple(key) => Some(key),
            _ => None,
        }
    }

    /// The complete command.
    pub(crate) fn cmd(&self) -> Cmd {
        let mut cmd = self.head.clone();
        if let Some(document) = &self.document {
            cmd.arg(&**document).arg(&self.tail);
        }
        cmd
    }

    /// Returns its size on the wire (RESP: `*n`, and `$length` with the text for each word).
    pub(crate) fn bytes(&self) -> u64 {
        let head = self.head.args_iter().map(|arg| match arg {
            Arg::Simple(bytes) => bytes.len(),
            _ => 0,
        });
        let rest = self.document.iter().map(|document| document.len()).chain(self.tail.iter().map(String::len));
        let (mut words, mut bytes) = (0, 0);
        for length in head.chain(rest) {
            words += 1;
            bytes += digits(length) + length as u64 + 5;
        }
        digits(words) + 3 + bytes
    }
}

fn digits(number: usize) -> u64 {
    u64::from(number.max(1).ilog10() + 1)
}

#[cfg(test)]
impl Request {
    /// Returns the command as one would type it.
    pub(crate) fn text(&self) -> String {
        let cmd = self.cmd();
        let word = |arg| match arg {
            Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "?".to_owned(),
        };
        cmd.args_iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_on_the_wire_are_counted_as_they_are_sent() {
        let set = redis::cmd("SET").arg("k").to_owned();
        let requests = [
            Request::from(redis::cmd("SET").arg("k").arg("x".repeat(1234)).to_owned()),
            Request::from(redis::cmd("PING")),
            Request::from(redis::cmd("A").arg("").to_owned()),
            Request::with(set.clone(), "x".repeat(100_000).into()).and("PX").and("30000"),
            Request::with(set, String::new().into()),
        ];
        for request in requests {
            assert_eq!(request.bytes(), request.cmd().get_packed_command().len() as u64);
        }
    }

    #[test]
    fn a_document_stands_between_the_words() {
        let request = Request::with(redis::cmd("SET").arg("k").to_owned(), "{}".to_owned().into()).and("PX").and("7");
        let words = redis::cmd("SET").arg("k").arg("{}").arg("PX").arg("7").to_owned();
        assert_eq!(request.cmd().get_packed_command(), words.get_packed_command());
    }
}
