use proptest::prelude::*;

use super::*;

fn push(filter: &mut Filter, bytes: &[u8]) -> Result<Vec<u8>, ReplyError> {
    let mut kept = Vec::new();
    filter.push(bytes, &mut kept)?;
    Ok(kept)
}

fn text(length: usize) -> String {
    format!("${length}\r\n{}\r\n", "x".repeat(length))
}

const TOO_LONG: usize = 300 << 10;

/// The bytes that are kept of an answer, which are the same however it is cut.
fn kept(answer: &str) -> Result<String, ReplyError> {
    let whole = push(&mut Filter::new(Limits::WRITER), answer.as_bytes());
    let mut filter = Filter::new(Limits::WRITER);
    let pieces: Result<Vec<Vec<u8>>, ReplyError> =
        answer.as_bytes().chunks(3).map(|piece| push(&mut filter, piece)).collect();
    assert_eq!(pieces.map(|pieces| pieces.concat()), whole);
    whole.map(|kept| String::from_utf8(kept).unwrap())
}

#[test]
fn what_servers_answer_passes_unchanged() {
    for answer in [
        "+OK\r\n",
        "-ERR no\r\n:7\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n",
        "%1\r\n+proto\r\n:3\r\n~2\r\n#t\r\n,inf\r\n_\r\n(12345678901234567890\r\n=7\r\ntxt:abc\r\n!5\r\nERR x\r\n",
        "*2\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$6\r\nreport\r\n$2\r\n{}\r\n*2\r\n$3\r\n6-0\r\n*0\r\n+a\rb\r\n",
    ] {
        assert_eq!(kept(answer).unwrap(), answer);
    }
}

#[test]
fn an_element_that_is_too_long_costs_only_itself() {
    let long = text(TOO_LONG);
    let error = kept(&format!("{long}+OK\r\n")).unwrap();
    assert!(error.starts_with("-TOOLONG ") && error.ends_with("\r\n+OK\r\n"), "{error}");
    assert_eq!(kept(&format!("*2\r\n{long}$3\r\nweb\r\n:1\r\n")).unwrap(), "*2\r\n$-1\r\n$3\r\nweb\r\n:1\r\n");
    let fields = format!("*1\r\n*2\r\n$3\r\n5-0\r\n*600\r\n{}", "$1\r\nf\r\n".repeat(600));
    assert_eq!(kept(&format!("{fields}+OK\r\n")).unwrap(), "*1\r\n*2\r\n$3\r\n5-0\r\n$-1\r\n+OK\r\n");
    let deep = format!("*1\r\n*1\r\n*300\r\n*2\r\n:1\r\n%1\r\n:1\r\n{long}{}:9\r\n", ":1\r\n".repeat(299));
    assert_eq!(kept(&deep).unwrap(), "*1\r\n*1\r\n$-1\r\n:9\r\n");
}

#[test]
fn messages_that_nobody_asked_for_are_not_kept() {
    assert_eq!(kept(">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n*1\r\n:1\r\n+OK\r\n>0\r\n:1\r\n").unwrap(), "+OK\r\n:1\r\n");
}

#[test]
fn endless_answers_end() {
    let flood = |head: &str, part: &str| {
        let mut filter = Filter::new(Limits::WRITER);
        let mut sum = push(&mut filter, head.as_bytes())?.len();
        let part = part.repeat((1 << 20) / part.len());
        for _ in 0..200 {
            sum += push(&mut filter, part.as_bytes())?.len();
        }
        Ok::<_, ReplyError>(sum)
    };
    for (head, part) in [
        ("$9999999999\r\n", "x"),
        ("$9223372036854775807\r\n", "x"),
        ("*9223372036854775807\r\n", ":1\r\n"),
        ("*100000\r\n", "*100000\r\n"),
        ("+", "x"),
        ("(", "9"),
        ("", "+OK\r\n"),
        ("", "*0\r\n"),
        ("", ">1\r\n+a\r\n"),
    ] {
        assert!(flood(head, part).is_err(), "{head:?} {part:?}");
    }
    assert_eq!(push(&mut Filter::new(Limits::WRITER), "*1\r\n".repeat(100).as_bytes()), Err(ReplyError::Depth));
    assert_eq!(push(&mut Filter::new(Limits::WRITER), b"%4611686018427387904\r\n:1\r\n").unwrap().first(), Some(&b'-'));
}

#[test]
fn a_new_pipeline_has_the_whole_measure_again() {
    let limits = Limits { bytes: 20, elements: 3 };
    let mut filter = Filter::new(limits);
    for _ in 0..5 {
        assert!(push(&mut filter, b"+OK\r\n+OK\r\n+OK\r\n").is_ok());
        filter.renew();
    }
    assert_eq!(push(&mut filter, b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n"), Err(ReplyError::Size));
    assert_eq!(push(&mut Filter::new(limits), &b"+123456789012345678901\r\n"[..]), Err(ReplyError::Size));
}

#[test]
fn a_text_that_exceeds_the_limits_is_refused_by_its_length() {
    let limits = Limits { bytes: 20, elements: 3 };
    let malformed = b"$20\r\n1234567890123456789012";
    let mut filter = Filter::new(limits);
    let in_pieces = malformed.chunks(3).try_for_each(|piece| push(&mut filter, piece).map(|_| ()));
    assert_eq!(in_pieces, Err(ReplyError::Size));
    assert_eq!(push(&mut Filter::new(limits), malformed), Err(ReplyError::Size));
    assert_eq!(push(&mut Filter::new(Limits::WRITER), format!("${}\r\n", 65 << 20).as_bytes()), Err(ReplyError::Size));
}

#[test]
fn what_is_no_answer_is_refused() {
    for answer in [
        "x",
        "HTTP/1.1 400\r\n",
        "$?\r\n",
        "$+1\r\nx\r\n",
        "$-2\r\n",
        "%-1\r\n",
        "=-1\r\n",
        "$ 1\r\n",
        "$1\r\nxyz",
        "$1\n",
        "*1\r\n>1\r\n",
        "|1\r\n",
        "$123456789012345678901234\r\n",
    ] {
        assert_eq!(kept(answer), Err(ReplyError::Form), "{answer:?}");
    }
}

#[test]
fn the_last_error_of_a_server_is_remembered() {
    let mut filter = Filter::new(Limits::WRITER);
    push(&mut filter, b"*1\r\n-ERR inside\r\n+OK\r\n-DENIED protected").unwrap();
    assert_eq!(filter.last_error(), None);
    push(&mut filter, b" mode\r\n").unwrap();
    assert_eq!((filter.last_error().as_deref(), filter.last_error()), (Some("DENIED protected mode"), None));
}

proptest! {
    #[test]
    fn no_more_is_kept_than_the_limits_allow_however_it_is_cut(
        parts in proptest::collection::vec("[-+:$*%~>|=(,#_!0-9a\r\n]{1,9}|\\$[0-9]{1,2}\r\n|[*%~>][0-9]\r\n|[+:-]1\r\n", 0..60),
        cut in 1usize..9,
    ) {
        let answer = parts.concat();
        let limits = Limits { bytes: 100, elements: 20 };
        let mut filter = Filter::new(limits);
        let (mut pieces, mut one) = (Vec::new(), Vec::new());
        let in_pieces = answer.as_bytes().chunks(cut).try_for_each(|piece| filter.push(piece, &mut pieces));
        let whole = Filter::new(limits).push(answer.as_bytes(), &mut one);
        prop_assert_eq!(in_pieces, whole);
        prop_assert!(whole.is_err() || pieces == one);
        prop_assert!(one.len() <= 100);
    }
}
