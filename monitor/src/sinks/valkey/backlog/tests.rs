use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn history(name: &str) -> Stream {
    Stream::history(name)
}

fn id(millis: u64) -> EntryId {
    EntryId { millis, seq: 0 }
}

fn backlog(ids: &[u64]) -> Backlog {
    let mut backlog = Backlog::new(HOUR);
    for millis in ids {
        backlog.push(history("web"), id(*millis), "{}".into(), Duration::ZERO);
    }
    backlog
}

fn fast() -> BatchLimits {
    BatchLimits { per_stream: 100, ..BatchLimits::default() }
}

/// Sends a batch in which all entries have the same outcome.
fn send(backlog: &mut Backlog, limits: &BatchLimits, outcome: Outcome) -> Vec<String> {
    let batch = backlog.batch(limits, |_| true);
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
    backlog.found(&history("web"), Some(EntryId { millis: 9, seq: 4 }));
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
    assert_eq!((backlog.entries().map(|entry| entry.id.millis).collect::<Vec<_>>(), backlog.dropped), (vec![3, 4], 2));
}

#[test]
fn after_a_failure_one_entry_per_stream_goes_out_and_then_more() {
    let mut backlog = backlog(&[1, 2, 3, 4]);
    backlog.push(history("db"), id(1), "{}".into(), Duration::ZERO);
    let mut limits = fast();
    limits.refused();
    assert_eq!(send(&mut backlog, &limits, Outcome::Written), ["1-0", "1-0"]);
    limits.answered(100, Duration::from_millis(1));
    assert_eq!(send(&mut backlog, &limits, Outcome::Written), ["2-0", "3-0"]);
}

#[test]
fn a_batch_has_at_least_one_entry() {
    let mut backlog = backlog(&[1, 2]);
    let limits = BatchLimits { bytes: 0, ..fast() };
    assert_eq!(send(&mut backlog, &limits, Outcome::Written), ["1-0"]);
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
