//! What waits to be written to the streams: in order, bounded, and each entry until the server has it for certain.
//!
//! An entry is sent again until it is known to be written. Its id makes that harmless: a server refuses an id that is
//! not above the last one of the stream, so an entry whose answer was lost and which is then refused for that reason is
//! there already. Was it certainly not there, then somebody else has been ahead (an earlier run with a fast clock, a
//! second agent of the same name): the stream is asked for its last id, and the entry gets one above it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::stream::{Id, Stream};
use crate::valkey::Document;

/// The most that waits, whatever its age: payloads and what it takes to remember them.
const MOST_BYTES: usize = 32 << 20;
/// What remembering an entry takes besides its text: two words of the allocator's, the entry, its name.
const OVERHEAD: usize = 192;
/// The most that goes out at once, besides the latest report.
const BATCH: Limit = Limit { entries: 500, bytes: 256 << 10 };

/// An entry of a stream that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its place among all entries.
    pub(super) seq: u64,
    /// Where it belongs.
    pub(super) stream: Stream,
    /// Its place in the stream.
    pub(super) id: Id,
    /// What it says.
    pub(super) json: Document,
    /// When it was made, by the boot clock.
    pub(super) made: Duration,
    /// Whether it may have been written: it was sent, and nobody knows the answer.
    pub(super) doubtful: bool,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.json.len() + OVERHEAD
    }
}

/// What became of an entry that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the stream.
    Written,
    /// It is not, and may be later.
    Refused,
    /// It is not, and never will be.
    Impossible,
    /// Its id is not above the stream's last.
    Behind,
    /// Nobody knows.
    Silence,
}

/// How much goes out at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    entries: usize,
    bytes: usize,
}

/// How much goes out at once, and how long its answer may take: little after a failure, so that a server that comes
/// back in the middle of a batch cannot take the end of it and not the beginning; more with each success; and no more
/// than a slow link carries.
#[derive(Debug)]
pub(super) struct Pace {
    per_stream: usize,
    bytes: usize,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// How long an answer may take, at least and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(24));

impl Default for Pace {
    fn default() -> Self {
        Self { per_stream: 1, bytes: BATCH.bytes, patience: PATIENCE.0 }
    }
}

impl Pace {
    /// A batch of so many bytes was answered in so long.
    pub(super) fn answered(&mut self, bytes: u64, round_trip: Duration) {
        self.per_stream = (self.per_stream * 2).min(BATCH.entries);
        self.patience = (round_trip * 3).clamp(PATIENCE.0, PATIENCE.1);
        let second = Duration::from_secs(1);
        self.bytes = if round_trip > second {
            let in_a_second = u128::from(bytes) * second.as_nanos() / round_trip.as_nanos();
            usize::try_from(in_a_second).unwrap_or(BATCH.bytes).min(BATCH.bytes)
        } else {
            (self.bytes.max(1) * 2).min(BATCH.bytes)
        };
    }

    /// The server refused.
    pub(super) fn refused(&mut self) {
        self.per_stream = 1;
    }

    /// No answer came, on a connection that had been good: it may be slow.
    pub(super) fn silence(&mut self) {
        self.per_stream = 1;
        self.bytes /= 2;
        self.patience = (self.patience * 2).min(PATIENCE.1);
    }
}

/// The entries that wait, oldest first.
#[derive(Debug)]
pub(super) struct Backlog {
    longest: Duration,
    most_bytes: usize,
    waiting: VecDeque<Entry>,
    bytes: usize,
    next_seq: u64,
    /// The last id given in each stream.
    last: BTreeMap<Stream, Id>,
    /// Streams of which the last id must be asked for.
    lost: BTreeSet<Stream>,
    /// Entries that were given up.
    pub(super) dropped: u64,
    /// Entries that were sent more than once.
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
    pub(super) fn push(&mut self, stream: Stream, id: Id, json: Document, made: Duration) {
        let id = self.last.get(&stream).map_or(id, |last| id.max(last.next()));
        self.last.insert(stream.clone(), id);
        self.append(Entry { seq: self.next_seq, stream, id, json, made, doubtful: false });
        self.expire(made);
    }

    /// Takes an entry of an earlier run, in the order in which they were made.
    pub(super) fn restore(&mut self, entry: Entry) {
        let last = self.last.entry(entry.stream.clone()).or_insert(entry.id);
        *last = entry.id.max(*last);
        self.append(Entry { doubtful: true, ..entry });
    }

    fn append(&mut self, entry: Entry) {
        self.next_seq = entry.seq + 1;
        self.bytes += entry.bytes();
        self.waiting.push_back(entry);
    }

    /// Gives up what is too old or too much.
    fn expire(&mut self, now: Duration) {
        let too_old = |entry: &Entry| entry.made + self.longest < now;
        let mut given_up = 0;
        while self.waiting.front().is_some_and(|entry| too_old(entry) || self.bytes > self.most_bytes) {
            self.bytes -= self.waiting.pop_front().map_or(0, |entry| entry.bytes());
            given_up += 1;
        }
        self.dropped += given_up;
    }

    /// So many entries wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The entries that wait, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter()
    }

    /// The streams whose last id must be asked for before anything is written to them.
    pub(super) fn lost(&self) -> impl Iterator<Item = &Stream> {
        self.lost.iter()
    }

    /// What goes out next, in order, from the streams that `may` be written to.
    pub(super) fn batch(&self, pace: &Pace, may: impl Fn(&Stream) -> bool) -> Vec<Entry> {
        let mut per_stream: BTreeMap<&Stream, usize> = BTreeMap::new();
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in &self.waiting {
            let taken = per_stream.entry(&entry.stream).or_default();
            if *taken >= pace.per_stream || self.lost.contains(&entry.stream) || !may(&entry.stream) {
                continue;
            }
            if batch.len() == BATCH.entries || (bytes + entry.bytes() > pace.bytes && !batch.is_empty()) {
                break;
            }
            *taken += 1;
            bytes += entry.bytes();
            batch.push(entry.clone());
        }
        batch
    }

    /// Entries are on their way.
    pub(super) fn sent(&mut self, batch: &[Entry]) {
        for sent in batch {
            if let Some(entry) = self.find(sent.seq) {
                let again = std::mem::replace(&mut entry.doubtful, true);
                self.resent += u64::from(again);
            }
        }
    }

    /// What became of an entry that was sent as `sent`.
    pub(super) fn conclude(&mut self, sent: &Entry, outcome: Outcome) {
        match outcome {
            Outcome::Written => self.remove(sent.seq),
            // It was in doubt before this attempt, so it may be what is in its way.
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

    /// An answer clears up this attempt, not one before of which the answer was lost.
    fn settle(&mut self, sent: &Entry) {
        if let Some(entry) = self.find(sent.seq) {
            entry.doubtful = sent.doubtful;
        }
    }

    /// The last id of a stream, in which nothing may be written below: what is not there yet gets higher ids.
    pub(super) fn found(&mut self, stream: &Stream, top: Option<Id>) {
        self.lost.remove(stream);
        let Some(top) = top else { return };
        let mut last = top;
        for entry in self.waiting.iter_mut().filter(|entry| entry.stream == *stream && !entry.doubtful) {
            entry.id = entry.id.max(last.next());
            last = entry.id;
        }
        self.last.insert(stream.clone(), last);
    }

    /// A stream whose last id cannot be had: what is behind it cannot be written.
    pub(super) fn cannot_find(&mut self, stream: &Stream) {
        self.lost.remove(stream);
        let before = self.waiting.len();
        self.waiting.retain(|entry| entry.stream != *stream);
        self.bytes = self.waiting.iter().map(Entry::bytes).sum();
        self.dropped += (before - self.waiting.len()) as u64;
    }

    /// Forgets a container's streams, unless something waits for them.
    pub(super) fn forget(&mut self, name: &str) {
        let waiting: BTreeSet<&Stream> = self.waiting.iter().map(|entry| &entry.stream).collect();
        self.last.retain(|stream, _| *stream.name != *name || waiting.contains(stream));
    }

    fn place(&self, seq: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    fn find(&mut self, seq: u64) -> Option<&mut Entry> {
        self.place(seq).and_then(|at| self.waiting.get_mut(at))
    }

    fn remove(&mut self, seq: u64) {
        if let Some(entry) = self.place(seq).and_then(|at| self.waiting.remove(at)) {
            self.bytes -= entry.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn history(name: &str) -> Stream {
        Stream::history(name)
    }

    fn id(millis: u64) -> Id {
        Id { millis, seq: 0 }
    }

    fn backlog(ids: &[u64]) -> Backlog {
        let mut backlog = Backlog::new(HOUR);
        for millis in ids {
            backlog.push(history("web"), id(*millis), "{}".into(), Duration::ZERO);
        }
        backlog
    }

    fn fast() -> Pace {
        Pace { per_stream: 100, ..Pace::default() }
    }

    /// Sends a batch, and lets the same become of all of it.
    fn send(backlog: &mut Backlog, pace: &Pace, outcome: Outcome) -> Vec<String> {
        let batch = backlog.batch(pace, |_| true);
        backlog.sent(&batch);
        for entry in &batch {
            backlog.conclude(entry, outcome);
        }
        batch.iter().map(|entry| entry.id.to_string()).collect()
    }

    #[test]
    fn what_was_refused_or_unanswered_is_sent_again_in_order_until_it_is_written() {
        let mut backlog = backlog(&[1, 2, 3]);
        let all = ["1-0", "2-0", "3-0"];
        assert_eq!(send(&mut backlog, &fast(), Outcome::Refused), all);
        assert_eq!((backlog.len(), backlog.resent), (3, 0));
        assert_eq!(send(&mut backlog, &fast(), Outcome::Silence), all);
        assert_eq!(send(&mut backlog, &fast(), Outcome::Silence), all);
        assert_eq!(send(&mut backlog, &fast(), Outcome::Written), all);
        assert_eq!((backlog.len(), backlog.resent, backlog.dropped, backlog.bytes), (0, 6, 0, 0));
    }

    #[test]
    fn behind_the_top_means_written_only_after_a_lost_answer() {
        let mut backlog = backlog(&[1, 2]);
        send(&mut backlog, &fast(), Outcome::Silence);
        send(&mut backlog, &fast(), Outcome::Behind);
        assert_eq!((backlog.len(), backlog.lost().count()), (0, 0));

        backlog.push(history("web"), id(3), "{}".into(), Duration::ZERO);
        send(&mut backlog, &fast(), Outcome::Behind);
        assert_eq!((backlog.len(), backlog.lost().count()), (1, 1));
        assert!(backlog.batch(&fast(), |_| true).is_empty(), "nothing is written to a stream whose end is not known");
        backlog.found(&history("web"), Some(Id { millis: 9, seq: 4 }));
        assert_eq!(send(&mut backlog, &fast(), Outcome::Written), ["9-5"]);
        backlog.push(history("web"), id(4), "{}".into(), Duration::ZERO);
        assert_eq!(send(&mut backlog, &fast(), Outcome::Written), ["9-6"]);
    }

    #[test]
    fn a_refusal_does_not_clear_up_an_earlier_silence() {
        let mut backlog = backlog(&[1]);
        send(&mut backlog, &fast(), Outcome::Silence);
        send(&mut backlog, &fast(), Outcome::Refused);
        send(&mut backlog, &fast(), Outcome::Behind);
        assert_eq!(backlog.len(), 0, "it was written by the first attempt");
    }

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let mut backlog = backlog(&[5, 1, 5, 9]);
        assert_eq!(send(&mut backlog, &fast(), Outcome::Written), ["5-0", "5-1", "5-2", "9-0"]);
    }

    #[test]
    fn the_oldest_go_first_when_it_is_too_long_or_too_much() {
        let mut backlog = backlog(&[1]);
        backlog.push(history("web"), id(2), "{}".into(), HOUR);
        assert_eq!((backlog.len(), backlog.dropped), (2, 0));
        backlog.push(history("web"), id(3), "{}".into(), HOUR + Duration::from_secs(1));
        assert_eq!((backlog.len(), backlog.dropped), (2, 1));
        backlog.most_bytes = 1000;
        backlog.push(history("web"), id(4), "x".repeat(500).into(), HOUR);
        assert_eq!(
            (backlog.entries().map(|entry| entry.id.millis).collect::<Vec<_>>(), backlog.dropped),
            (vec![3, 4], 2)
        );
    }

    #[test]
    fn after_a_failure_one_entry_per_stream_goes_out_and_then_more() {
        let mut backlog = backlog(&[1, 2, 3, 4]);
        backlog.push(history("db"), id(1), "{}".into(), Duration::ZERO);
        let mut pace = fast();
        pace.refused();
        assert_eq!(send(&mut backlog, &pace, Outcome::Written), ["1-0", "1-0"]);
        pace.answered(100, Duration::from_millis(1));
        assert_eq!(send(&mut backlog, &pace, Outcome::Written), ["2-0", "3-0"]);
    }

    #[test]
    fn a_slow_link_gets_what_it_carries_and_more_patience() {
        let mut pace = fast();
        pace.silence();
        assert_eq!((pace.bytes, pace.patience), (128 << 10, Duration::from_secs(6)));
        pace.answered(4096, Duration::from_secs(4));
        assert_eq!((pace.bytes, pace.patience), (1024, Duration::from_secs(12)));
        for _ in 0..10 {
            pace.answered(1024, Duration::from_millis(2));
        }
        assert_eq!((pace.bytes, pace.patience), (BATCH.bytes, PATIENCE.0));
        for _ in 0..10 {
            pace.silence();
        }
        assert_eq!(pace.patience, PATIENCE.1);
        let mut backlog = backlog(&[1, 2]);
        pace.bytes = 0;
        assert_eq!(send(&mut backlog, &pace, Outcome::Written), ["1-0"], "one at least");
    }

    #[test]
    fn a_stream_that_rests_does_not_hold_up_the_others() {
        let mut backlog = backlog(&[1]);
        backlog.push(history("db"), id(2), "{}".into(), Duration::ZERO);
        let batch = backlog.batch(&fast(), |stream| *stream.name != *"web");
        assert_eq!(batch.iter().map(|entry| entry.id.millis).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn an_earlier_runs_entries_are_in_doubt_and_ids_go_on_above_them() {
        let mut before = backlog(&[7, 8]);
        let mut backlog = Backlog::new(HOUR);
        for entry in before.waiting.drain(..) {
            backlog.restore(entry);
        }
        backlog.push(history("web"), id(2), "{}".into(), Duration::ZERO);
        assert_eq!(send(&mut backlog, &fast(), Outcome::Written), ["7-0", "8-0", "8-1"]);
        assert_eq!(backlog.resent, 2);
    }

    #[test]
    fn a_stream_whose_end_cannot_be_had_is_given_up_and_counted() {
        let mut backlog = backlog(&[1, 2]);
        send(&mut backlog, &fast(), Outcome::Behind);
        backlog.cannot_find(&history("web"));
        assert_eq!((backlog.len(), backlog.dropped, backlog.bytes), (0, 2, 0));
    }
}
