//! Bounds of a server's answers. They are judged as they arrive, below the client library, which keeps whatever it
//! gets.
//!
//! An element that is too long costs only itself: nil stands in its place, or an error if it is the whole answer.
//! Answers that are malformed, too deep, or too large together end the connection.

use std::fmt::Write;

/// Limits of all answers to one pipeline together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are kept.
    pub bytes: u64,
    /// Elements that are kept: the library needs 50 to 100 bytes for each.
    pub elements: u64,
}

impl Limits {
    /// Limits of a writer, which reads numbers, ids and pages of keys.
    pub const WRITER: Self = Self { bytes: 4 << 20, elements: 64 << 10 };
    /// Limits of a reader, which reads batches of reports and the list of all containers.
    pub const READER: Self = Self { bytes: 32 << 20, elements: 256 << 10 };
}

/// The longest text: a report has less than 20 KiB.
pub const LONGEST_TEXT: u64 = 256 << 10;
/// The longest line, which is a status or an error.
const LONGEST_LINE: u64 = 64 << 10;
/// The longest list at the top, or one below it: the names of all containers.
const LONGEST_LIST: u64 = 128 << 10;
/// The longest list further below: the fields of one entry of a stream.
const LONGEST_INNER: u64 = 256;
/// The levels of lists; `CLUSTER SLOTS` needs four.
const DEEPEST: usize = 8;
/// The bytes of elements left out that are waited for.
const MOST_OMITTED: u64 = 64 << 20;
/// The bytes of a header: its kind, and a number of 64 bits.
const HEADER: usize = 21;

/// Reason for which a connection is ended: an answer exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The answers have too many bytes or elements.
    #[error("the server's answer is too large, and was not read to its end")]
    Size,
    /// A list of lists of lists …
    #[error("the server's answer is nested too deeply")]
    Depth,
    /// It does not follow the protocol.
    #[error("the server's answer does not follow the protocol (RESP)")]
    Form,
}

/// The position in an element.
#[derive(Debug)]
enum ParseState {
    /// Its first byte is next.
    Start,
    /// In a line, of which this many bytes have been read; the last one was a carriage return or not.
    Line { length: u64, is_ending: bool },
    /// In the length of a text or a list.
    Header,
    /// In a text with this many bytes left, the line break behind it included.
    Text { left: u64 },
}

/// Judges the bytes of one connection.
#[derive(Debug)]
pub struct Filter {
    limits: Limits,
    /// Rest of the limits, for the answers to the current pipeline.
    left: Limits,
    omitted_budget: u64,
    state: ParseState,
    header: Vec<u8>,
    /// For each list around the current element: the number of elements that are missing.
    missing: Vec<u64>,
    /// The depth of the element that is being left out.
    omitted: Option<usize>,
    /// The line that is being read, if it is an error and a whole answer.
    words: Vec<u8>,
    /// The latest of these errors.
    last_error: Option<String>,
}

impl Filter {
    /// At the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            left: limits,
            omitted_budget: MOST_OMITTED,
            state: ParseState::Start,
            header: Vec::with_capacity(HEADER),
            missing: Vec::with_capacity(DEEPEST),
            omitted: None,
            words: Vec::new(),
            last_error: None,
        }
    }

    /// Another pipeline is sent.
    pub fn renew(&mut self) {
        self.left = self.limits;
        self.omitted_budget = MOST_OMITTED;
    }

    /// The latest error that the server has answered, if there is one since the last call.
    pub(super) fn last_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// Judges the next bytes, and appends those that are kept.
    ///
    /// # Errors
    /// No further bytes may be read.
    pub fn push(&mut self, mut bytes: &[u8], kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        while let Some((&first, rest)) = bytes.split_first() {
            bytes = match self.state {
                ParseState::Start => {
                    self.start(first, kept)?;
                    rest
                }
                ParseState::Line { length, is_ending } => self.line(bytes, (length, is_ending), kept)?,
                ParseState::Header => {
                    self.header(first, kept)?;
                    rest
                }
                ParseState::Text { left } => self.text(bytes, left, kept)?,
            };
        }
        Ok(())
    }

    fn start(&mut self, kind: u8, kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        self.left.elements = match self.omitted {
            None => self.left.elements.checked_sub(1).ok_or(ReplyError::Size)?,
            Some(_) => self.left.elements,
        };
        match kind {
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => {
                self.state = ParseState::Line { length: 0, is_ending: false };
                self.words.clear();
                if kind == b'-' && self.missing.is_empty() {
                    self.words.push(kind);
                }
                self.keep(&[kind], kept)
            }
            b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' => {
                self.state = ParseState::Header;
                self.header.clear();
                self.header.push(kind);
                Ok(())
            }
            // Attributes are known to the protocol, and sent by no command of a reader or writer.
            _ => Err(ReplyError::Form),
        }
    }

    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        (length, was_ending): (u64, bool),
        kept: &mut Vec<u8>,
    ) -> Result<&'a [u8], ReplyError> {
        let ends = |at: &usize| bytes[*at] == b'\n' && if *at == 0 { was_ending } else { bytes[at - 1] == b'\r' };
        let end = memchr::memchr_iter(b'\n', bytes).find(ends);
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        let length = length + part.len() as u64;
        if length > LONGEST_LINE {
            return Err(ReplyError::Size);
        }
        self.keep(part, kept)?;
        if !self.words.is_empty() {
            self.words.extend_from_slice(part);
        }
        if end.is_some() {
            if let Some((_, words)) = self.words.split_first() {
                self.last_error = Some(String::from_utf8_lossy(words).trim_end().to_owned());
            }
            self.end();
        } else {
            self.state = ParseState::Line { length, is_ending: part.ends_with(b"\r") };
        }
        Ok(rest)
    }

    fn header(&mut self, byte: u8, kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        if byte != b'\n' {
            self.header.push(byte);
            return if self.header.len() > HEADER + 1 { Err(ReplyError::Form) } else { Ok(()) };
        }
        let (kind, number) = number(&self.header).ok_or(ReplyError::Form)?;
        if self.omitted.is_some() || kind == b'>' {
            self.omitted_budget = self.omitted_budget.checked_sub(self.header.len() as u64).ok_or(ReplyError::Size)?;
        }
        match (kind, number) {
            (b'$' | b'*', None) => {
                self.keep(&[kind], kept)?;
                self.keep(b"-1\r\n", kept)?;
                self.end();
                Ok(())
            }
            (_, None) => Err(ReplyError::Form),
            (b'$' | b'!' | b'=', Some(length)) => self.begin_text(kind, length, kept),
            (_, Some(length)) => self.begin_list(kind, length, kept),
        }
    }

    fn begin_text(&mut self, kind: u8, length: u64, kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        if self.omitted.is_none() {
            if length > LONGEST_TEXT {
                self.omit(kept)?;
            } else {
                self.keep_header(kind, length, kept)?;
            }
        }
        // The whole text counts when it is announced: one that exceeds the limits is not read first.
        let left = length.checked_add(2).ok_or(ReplyError::Size)?;
        self.count(left)?;
        self.state = ParseState::Text { left };
        Ok(())
    }

    fn begin_list(&mut self, kind: u8, length: u64, kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        let depth = self.missing.len();
        if depth >= DEEPEST {
            return Err(ReplyError::Depth);
        }
        let elements = length.checked_mul(if kind == b'%' { 2 } else { 1 }).ok_or(ReplyError::Size)?;
        let longest = if depth < 2 { LONGEST_LIST } else { LONGEST_INNER };
        if self.omitted.is_none() {
            if kind == b'>' {
                // A message that nobody has subscribed to, and no answer.
                self.omitted = if depth == 0 { Some(depth) } else { return Err(ReplyError::Form) };
            } else if elements > longest {
                self.omit(kept)?;
            } else {
                self.keep_header(kind, length, kept)?;
            }
        }
        if elements == 0 {
            self.end();
        } else {
            self.missing.push(elements);
            self.state = ParseState::Start;
        }
        Ok(())
    }

    fn text<'a>(&mut self, bytes: &'a [u8], left: u64, kept: &mut Vec<u8>) -> Result<&'a [u8], ReplyError> {
        let length = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (part, rest) = bytes.split_at(length);
        let after = left - length as u64;
        // The last two bytes are a line break: how much of it is in this part?
        let expected =
            &b"\r\n"[2 - usize::try_from(left.min(2)).unwrap_or(2)..2 - usize::try_from(after.min(2)).unwrap_or(2)];
        if !part.ends_with(expected) {
            return Err(ReplyError::Form);
        }
        self.append(part, kept);
        if after == 0 {
            self.end();
        } else {
            self.state = ParseState::Text { left: after };
        }
        Ok(rest)
    }

    /// Counts bytes and appends them.
    fn keep(&mut self, bytes: &[u8], kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        self.count(bytes.len() as u64)?;
        self.append(bytes, kept);
        Ok(())
    }

    /// Counts bytes against the limit of what is kept, or of what is left out.
    fn count(&mut self, bytes: u64) -> Result<(), ReplyError> {
        let budget = if self.omitted.is_some() { &mut self.omitted_budget } else { &mut self.left.bytes };
        *budget = budget.checked_sub(bytes).ok_or(ReplyError::Size)?;
        Ok(())
    }

    /// Appends bytes that have been counted, unless they belong to an element that is left out.
    fn append(&self, bytes: &[u8], kept: &mut Vec<u8>) {
        if self.omitted.is_none() {
            kept.extend_from_slice(bytes);
        }
    }

    fn keep_header(&mut self, kind: u8, length: u64, kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        let mut header = String::new();
        // Writing to a text cannot fail.
        _ = write!(header, "{}{length}\r\n", char::from(kind));
        self.keep(header.as_bytes(), kept)
    }

    /// Leaves out the element that begins here.
    fn omit(&mut self, kept: &mut Vec<u8>) -> Result<(), ReplyError> {
        let depth = self.missing.len();
        self.keep(
            if depth == 0 { b"-TOOLONG the answer is longer than any that was asked for\r\n" } else { b"$-1\r\n" },
            kept,
        )?;
        self.omitted = Some(depth);
        Ok(())
    }

    /// Ends an element, and the lists of which it is the last one.
    fn end(&mut self) {
        self.state = ParseState::Start;
        loop {
            if self.omitted == Some(self.missing.len()) {
                self.omitted = None;
            }
            let Some(missing) = self.missing.last_mut() else { return };
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.missing.pop();
        }
    }
}

/// The kind and the number of a header, which ends with a carriage return; no number for -1, which means nil.
fn number(header: &[u8]) -> Option<(u8, Option<u64>)> {
    let (kind, rest) = header.split_first()?;
    let digits = rest.strip_suffix(b"\r")?;
    if digits == b"-1" {
        return Some((*kind, None));
    }
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: i64 = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    Some((*kind, Some(u64::try_from(number).ok()?)))
}

#[cfg(test)]
mod tests;
