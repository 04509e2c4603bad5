//! Entries that wait to be written to streams: in order, bounded, and kept until the server is known to have them.
//!
//! An entry is sent again until it is known to be written. Its id makes that harmless: a server refuses an id that is
//! not above the last one of the stream. An entry whose answer was lost, and which is then refused for that reason, has
//! been written already. If it certainly has not been written, somebody else has written to the stream (an earlier run
//! with a fast clock, or a second agent of the same name): the server is asked for the last id, and the entry gets one
//! above it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::batch_limits::{BatchLimits, MOST_ENTRIES};
use super::stream::{EntryId, Stream};
use crate::valkey::Document;

/// The most memory of the backlog, documents and overhead.
const MOST_BYTES: usize = 32 << 20;
/// Memory of an entry besides its text: two words of the allocator, the entry and its name.
const OVERHEAD: usize = 192;

/// An entry of a stream that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamEntry {
    /// Its place among all entries.
    pub(super) seq: u64,
    /// Its stream.
    pub(super) stream: Stream,
    /// Its place in the stream.
    pub(super) id: EntryId,
    /// The document.
    pub(super) json: Document,
    /// The time at which it was made, by the boot clock.
    pub(super) made: Duration,
    /// True if it may have been written: it was sent, and the answer was lost.
    pub(super) doubtful: bool,
}

impl StreamEntry {
    fn bytes(&self) -> usize {
        self.json.len() + OVERHEAD
    }
}

/// The fate of an entry that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has been written.
    Written,
    /// It has not been written; a later attempt may succeed.
    Refused,
    /// It has not been written, and never will be.
    Impossible,
    /// Its id is not above the stream's last.
    Behind,
    /// The answer is missing.
    Silence,
}

/// The entries that wait, oldest first.
#[derive(Debug)]
pub(super) struct Backlog {
    longest: Duration,
    most_bytes: usize,
    waiting: VecDeque<StreamEntry>,
    bytes: usize,
    next_seq: u64,
    /// The last id given in each stream.
    last: BTreeMap<Stream, EntryId>,
    /// Streams whose last id must be asked for.
    lost: BTreeSet<Stream>,
    /// The number of entries that were dropped.
    pub(super) dropped: u64,
    /// The number of entries that were sent again.
    pub(super) resent: u64,
}

impl Backlog {
    /// Keeps entries for `longest`, and no more than [`MOST_BYTES`].
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            most_bytes: MOST_BYTES,
            waiting: VecDeque::new(),
            bytes: 0,
            next_seq: 0,
            last: BTreeMap::new(),
            lost: BTreeSet::new(),
            dropped: 0,
            resent: 0,
        }
    }

    /// Takes an entry, with the id that it should have: it gets the next higher one if the clock went back.
    pub(super) fn push(&mut self, stream: Stream, id: EntryId, json: Document, made: Duration) {
        let id = self.last.get(&stream).map_or(id, |last| id.max(last.next()));
        self.last.insert(stream.clone(), id);
        self.append(StreamEntry { seq: self.next_seq, stream, id, json, made, doubtful: false });
        self.expire(made);
    }

    /// Adds an entry of an earlier run. Entries are restored in the order in which they were made.
    pub(super) fn restore(&mut self, entry: StreamEntry) {
        let last = self.last.entry(entry.stream.clone()).or_insert(entry.id);
        *last = entry.id.max(*last);
        self.append(StreamEntry { doubtful: true, ..entry });
    }

    fn append(&mut self, entry: StreamEntry) {
        self.next_seq = entry.seq + 1;
        self.bytes += entry.bytes();
        self.waiting.push_back(entry);
    }

    /// Drops entries that are too old or too many.
    fn expire(&mut self, now: Duration) {
        let too_old = |entry: &StreamEntry| entry.made + self.longest < now;
        let mut given_up = 0;
        while self.waiting.front().is_some_and(|entry| too_old(entry) || self.bytes > self.most_bytes) {
            self.bytes -= self.waiting.pop_front().map_or(0, |entry| entry.bytes());
            given_up += 1;
        }
        self.dropped += given_up;
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The entries that wait, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &StreamEntry> {
        self.waiting.iter()
    }

    /// The streams whose last id must be asked for before anything is written to them.
    pub(super) fn lost(&self) -> impl Iterator<Item = &Stream> {
        self.lost.iter()
    }

    /// Returns the next entries to send, in order, from the streams that `may` be written to.
    pub(super) fn batch(&self, limits: &BatchLimits, may: impl Fn(&Stream) -> bool) -> Vec<StreamEntry> {
        let mut per_stream: BTreeMap<&Stream, usize> = BTreeMap::new();
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in &self.waiting {
            let taken = per_stream.entry(&entry.stream).or_default();
            if *taken >= limits.per_stream || self.lost.contains(&entry.stream) || !may(&entry.stream) {
                continue;
            }
            if batch.len() == MOST_ENTRIES || (bytes + entry.bytes() > limits.bytes && !batch.is_empty()) {
                break;
            }
            *taken += 1;
            bytes += entry.bytes();
            batch.push(entry.clone());
        }
        batch
    }

    /// Records that entries are being sent.
    pub(super) fn sent(&mut self, batch: &[StreamEntry]) {
        for sent in batch {
            if let Some(entry) = self.find(sent.seq) {
                let again = std::mem::replace(&mut entry.doubtful, true);
                self.resent += u64::from(again);
            }
        }
    }

    /// Records the fate of an entry that was sent as `sent`.
    pub(super) fn conclude(&mut self, sent: &StreamEntry, outcome: Outcome) {
        match outcome {
            Outcome::Written => self.remove(sent.seq),
            // An earlier attempt may have written it, and so be the reason for this refusal.
            Outcome::Behind if sent.doubtful => self.remove(sent.seq),
            Outcome::Behind => {
                self.lost.insert(sent.stream.clone());
                self.settle(sent);
            }
            Outcome::Refused => self.settle(sent),
            Outcome::Impossible => {
                self.dropped += u64::from(self.find(sent.seq).is_some());
                self.remove(sent.seq);
            }
            Outcome::Silence => {}
        }
    }

    /// Settles this attempt. An earlier attempt whose answer was lost stays in doubt.
    fn settle(&mut self, sent: &StreamEntry) {
        if let Some(entry) = self.find(sent.seq) {
            entry.doubtful = sent.doubtful;
        }
    }

    /// Takes the last id of a stream: entries that are not written yet get ids above it.
    pub(super) fn found(&mut self, stream: &Stream, top: Option<EntryId>) {
        self.lost.remove(stream);
        let Some(top) = top else { return };
        let mut last = top;
        for entry in self.waiting.iter_mut().filter(|entry| entry.stream == *stream && !entry.doubtful) {
            entry.id = entry.id.max(last.next());
            last = entry.id;
        }
        self.last.insert(stream.clone(), last);
    }

    /// Drops the entries of a stream whose last id cannot be read: they cannot be written.
    pub(super) fn cannot_find(&mut self, stream: &Stream) {
        self.lost.remove(stream);
        let before = self.waiting.len();
        self.waiting.retain(|entry| entry.stream != *stream);
        self.bytes = self.waiting.iter().map(StreamEntry::bytes).sum();
        self.dropped += (before - self.waiting.len()) as u64;
    }

    /// Drops the entries of a container's streams, which are another machine's.
    pub(super) fn disown(&mut self, name: &str) {
        let before = self.waiting.len();
        self.waiting.retain(|entry| *entry.stream.name != *name);
        self.bytes = self.waiting.iter().map(StreamEntry::bytes).sum();
        self.dropped += (before - self.waiting.len()) as u64;
        self.forget(name);
    }

    /// Forgets a container's streams, unless entries wait for them.
    pub(super) fn forget(&mut self, name: &str) {
        let waiting: BTreeSet<&Stream> = self.waiting.iter().map(|entry| &entry.stream).collect();
        self.last.retain(|stream, _| *stream.name != *name || waiting.contains(stream));
    }

    fn place(&self, seq: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    fn find(&mut self, seq: u64) -> Option<&mut StreamEntry> {
        self.place(seq).and_then(|at| self.waiting.get_mut(at))
    }

    fn remove(&mut self, seq: u64) {
        if let Some(entry) = self.place(seq).and_then(|at| self.waiting.remove(at)) {
            self.bytes -= entry.bytes();
        }
    }
}

#[cfg(test)]
mod tests;
