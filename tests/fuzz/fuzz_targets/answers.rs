//! Answers of a server (RESP) through the filter that bounds them: cut anywhere, it keeps the same bytes, and never
//! more than allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monitor::valkey::answers::{Filter, Limits};

const LIMITS: Limits = Limits { bytes: 4096, elements: 256 };

fuzz_target!(|bytes: &[u8]| {
    // The first byte is the length of the pieces.
    let Some((length, answer)) = bytes.split_first() else { return };
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let judged = Filter::new(LIMITS).push(answer, &mut whole);
    let mut filter = Filter::new(LIMITS);
    let in_pieces =
        answer.chunks(usize::from(*length).max(1)).try_for_each(|piece| filter.push(piece, &mut pieces));
    assert_eq!(judged, in_pieces);
    assert!(judged.is_err() || whole == pieces);
    assert!(whole.len() <= 4096 && pieces.len() <= 4096);
    // What was kept is judged the same again: nothing in it is malformed or too long.
    if judged.is_ok() {
        let mut again = Vec::new();
        assert_eq!(Filter::new(LIMITS).push(&whole, &mut again), Ok(()));
        assert_eq!(again, whole);
    }
});
