//! Parsers of the kernel's file formats. Total: any input gives a value or an error, never a panic.

use memchr::{memchr, memmem};

use crate::metrics::Format;
use crate::metrics::NO_LIMIT;

/// Smallest v1 limit that means "unlimited": `PAGE_COUNTER_MAX` pages, in bytes, for any page size up to 64 KiB
/// (`include/linux/page_counter.h`).
const V1_NO_LIMIT: u64 = 0x7FFF_FFFF_FFFF_0000;

/// Errors of parsing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The key or line of the value is missing.
    #[error("has no `{0}`")]
    Missing(&'static str),
    /// Every line is zero.
    #[error("has only zeros: there was no I/O, or this kernel counts none without a throttling rule")]
    Uncounted,
    /// A value is not a number.
    #[error("has something else where a number should be")]
    NotANumber,
}

/// Parses the value that `format` describes. Sums and products saturate.
///
/// # Errors
/// If it is missing, or not a number.
pub fn number(format: Format, text: &[u8]) -> Result<u64, ParseError> {
    match format {
        Format::Single => first_word(text).and_then(limit),
        Format::Flat(key) => flat(text, key),
        Format::Sum(keys) => keys.iter().try_fold(0u64, |sum, key| Ok(sum.saturating_add(flat(text, key)?))),
        Format::Nested("*", key) => nested_sum(text, key),
        Format::Nested(line, key) => nested(text, line, key),
        Format::Quota => quota(text),
        Format::List => list(first_word(text)?),
        Format::Operation(operation) => Ok(operation_sum(text, operation)?),
        Format::Word(word) => Ok(u64::from(first_word(text)? == word.as_bytes())),
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn first_word(text: &[u8]) -> Result<&[u8], ParseError> {
    words(text).next().ok_or(ParseError::Empty)
}

/// Parses digits only, up to 64 bits.
fn digits(word: &[u8]) -> Result<u64, ParseError> {
    if word.is_empty() {
        return Err(ParseError::NotANumber);
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    word.iter()
        .try_fold(0u64, |value, byte| value.checked_mul(10)?.checked_add(digit(byte)?))
        .ok_or(ParseError::NotANumber)
}

/// Parses a number, or one of the notations of "unlimited".
fn limit(word: &[u8]) -> Result<u64, ParseError> {
    match word {
        b"max" | b"-1" => Ok(NO_LIMIT),
        _ => digits(word).map(|value| if value >= V1_NO_LIMIT { NO_LIMIT } else { value }),
    }
}

/// Parses `1.53` as 153; whole numbers as they are.
fn decimal(word: &[u8]) -> Result<u64, ParseError> {
    let Some(dot) = word.iter().position(|&byte| byte == b'.') else { return digits(word) };
    let (whole, fraction) = (digits(&word[..dot])?, &word[dot + 1..]);
    digits(fraction)?;
    let tenths = |at: usize| u64::from(fraction.get(at).map_or(0, |byte| byte - b'0'));
    Ok(whole.saturating_mul(100).saturating_add(tenths(0) * 10 + tenths(1)))
}

fn flat(text: &[u8], key: &'static str) -> Result<u64, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Empty);
    }
    // These files have dozens of lines and are read in each sample: searching the whole text for the key is cheaper.
    let value = memmem::find_iter(text, key).find_map(|at| {
        let begins_line = at == 0 || text[at - 1] == b'\n';
        let behind = &text[at + key.len()..];
        (begins_line && behind.first().is_none_or(u8::is_ascii_whitespace)).then_some(behind)
    });
    let value = value.ok_or(ParseError::Missing(key))?;
    digits(words(&value[..memchr(b'\n', value).unwrap_or(value.len())]).next().ok_or(ParseError::NotANumber)?)
}

/// Returns the value behind `key=` in a line.
fn value_of<'a>(line: &'a [u8], key: &str) -> Option<&'a [u8]> {
    words(line).find_map(|word| word.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
}

fn nested(text: &[u8], line: &'static str, key: &'static str) -> Result<u64, ParseError> {
    let line = lines(text)
        .find(|candidate| words(candidate).next() == Some(line.as_bytes()))
        .ok_or(ParseError::Missing(line))?;
    value_of(line, key).ok_or(ParseError::Missing(key)).and_then(decimal)
}

/// Sums a key over all devices. A cgroup without I/O has no line: 0. A line without the key is a device that the kernel
/// knows but has not counted for. A device without a name is a hidden path to one with a line of its own and the same
/// operations (`nvme_core.multipath`, `block/blk-cgroup.c`).
fn nested_sum(text: &[u8], key: &'static str) -> Result<u64, ParseError> {
    lines(text)
        .filter(|line| !line.starts_with(b"(unknown)"))
        .filter_map(|line| value_of(line, key))
        .try_fold(0u64, |sum, value| Ok(sum.saturating_add(digits(value)?)))
}

/// Sums a v1 file. Newer kernels do not count without a throttling rule, and all lines are zero, which is no valid
/// reading.
fn operation_sum(text: &[u8], operation: &'static str) -> Result<u64, ParseError> {
    let (mut sum, mut all) = (0u64, 0u64);
    for line in lines(text) {
        let mut words = words(line);
        let (_, name, value) = (words.next(), words.next(), words.next());
        let (Some(name), Some(value)) = (name, value) else { continue };
        let value = digits(value)?;
        all = all.saturating_add(value);
        if name == operation.as_bytes() {
            sum = sum.saturating_add(value);
        }
    }
    if all == 0 { Err(ParseError::Uncounted) } else { Ok(sum) }
}

/// Returns the period behind a quota, in microseconds.
pub fn period(text: &[u8]) -> Option<u64> {
    digits(words(text).nth(1)?).ok()
}

/// Converts to millionths of a CPU.
fn quota(text: &[u8]) -> Result<u64, ParseError> {
    let mut words = words(text);
    let quota = limit(words.next().ok_or(ParseError::Empty)?)?;
    let period = digits(words.next().ok_or(ParseError::Missing("period"))?)?;
    match (quota, period) {
        (NO_LIMIT, _) => Ok(NO_LIMIT),
        (_, 0) => Err(ParseError::NotANumber),
        (quota, period) => {
            let cores = u128::from(quota) * 1_000_000 / u128::from(period);
            Ok(u64::try_from(cores).unwrap_or(NO_LIMIT))
        }
    }
}

/// Counts the CPUs of a list: five in `0-3,7`.
fn list(word: &[u8]) -> Result<u64, ParseError> {
    word.split(|&byte| byte == b',').try_fold(0u64, |sum, range| {
        let count = match range.iter().position(|&byte| byte == b'-') {
            None => digits(range).map(|_| 1)?,
            Some(dash) => {
                let (first, last) = (digits(&range[..dash])?, digits(&range[dash + 1..])?);
                last.checked_sub(first).ok_or(ParseError::NotANumber)?.saturating_add(1)
            }
        };
        Ok(sum.saturating_add(count))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMATS: &[Format] = &[
        Format::Single,
        Format::Flat("anon"),
        Format::Sum(&["anon", "file"]),
        Format::Nested("some", "avg10"),
        Format::Nested("*", "rbytes"),
        Format::Quota,
        Format::List,
        Format::Operation("Read"),
        Format::Word("FROZEN"),
    ];

    #[test]
    fn single_numbers_and_the_ways_to_say_no_limit() {
        assert_eq!(number(Format::Single, b"4096\n"), Ok(4096));
        for unlimited in ["max\n", "-1\n", "9223372036854771712\n", "9223372036854710272\n"] {
            assert_eq!(number(Format::Single, unlimited.as_bytes()), Ok(NO_LIMIT), "{unlimited}");
        }
        assert_eq!(number(Format::Single, b""), Err(ParseError::Empty));
        assert_eq!(number(Format::Single, b"12abc"), Err(ParseError::NotANumber));
    }

    #[test]
    fn flat_keys_are_whole_words() {
        let text = b"inactive_anon 5\nanon 7\nanon_thp 9\n";
        assert_eq!(number(Format::Flat("anon"), text), Ok(7));
        assert_eq!(number(Format::Flat("file"), text), Err(ParseError::Missing("file")));
        assert_eq!(number(Format::Flat("anon"), b"anon"), Err(ParseError::NotANumber));
        assert_eq!(number(Format::Flat("anon"), b""), Err(ParseError::Empty));
    }

    #[test]
    fn several_keys_are_summed_and_each_of_them_has_to_be_there() {
        let both = Format::Sum(&["refault_anon", "refault_file"]);
        assert_eq!(number(both, b"refault_anon 5\nrefault_file 7\nrefault_files 9\n"), Ok(12));
        assert_eq!(number(both, b"refault_anon 5\n"), Err(ParseError::Missing("refault_file")));
        assert_eq!(number(both, b"refault_anon 18446744073709551615\nrefault_file 7\n"), Ok(u64::MAX));
    }

    #[test]
    fn pressure_is_in_hundredths() {
        let text = b"some avg10=1.53 avg60=0.20 avg300=0.00 total=55\nfull avg10=0.07 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(number(Format::Nested("some", "avg10"), text), Ok(153));
        assert_eq!(number(Format::Nested("full", "avg10"), text), Ok(7));
        assert_eq!(number(Format::Nested("full", "avg9"), text), Err(ParseError::Missing("avg9")));
    }

    #[test]
    fn devices_are_summed_and_no_device_is_nothing() {
        let text =
            b"8:0 rbytes=100 wbytes=7 rios=1 wios=1 dbytes=0 dios=0\n253:0 rbytes=23 wbytes=0 rios=1 wios=0\n7:0 \n";
        assert_eq!(number(Format::Nested("*", "rbytes"), text), Ok(123));
        assert_eq!(number(Format::Nested("*", "rbytes"), b""), Ok(0));
        let paths =
            b"(unknown) rbytes=0 wbytes=0 rios=201 wios=101\n259:1 rbytes=823296 wbytes=413696 rios=201 wios=101\n";
        assert_eq!(number(Format::Nested("*", "rios"), paths), Ok(201));
        let v1 = b"8:0 Read 10\n8:0 Write 5\n8:0 Sync 2\n8:16 Read 1\nTotal 18\n";
        assert_eq!(number(Format::Operation("Read"), v1), Ok(11));
        assert_eq!(number(Format::Operation("Read"), b"8:0 Read 0\n8:0 Write 9\nTotal 9\n"), Ok(0));
        assert_eq!(number(Format::Operation("Read"), b"8:0 Read 0\nTotal 0\n"), Err(ParseError::Uncounted));
        assert_eq!(number(Format::Operation("Read"), b""), Err(ParseError::Uncounted));
    }

    #[test]
    fn a_quota_is_a_real_number_of_cpus() {
        assert_eq!(number(Format::Quota, b"25000 100000\n"), Ok(250_000));
        assert_eq!(number(Format::Quota, b"max 100000\n"), Ok(NO_LIMIT));
        assert_eq!(number(Format::Quota, b"-1\n 100000\n"), Ok(NO_LIMIT));
        assert_eq!(number(Format::Quota, b"150000\n 100000\n"), Ok(1_500_000));
        assert_eq!(number(Format::Quota, b"5 0"), Err(ParseError::NotANumber));
        assert_eq!(number(Format::Quota, b"5"), Err(ParseError::Missing("period")));
    }

    #[test]
    fn lists_are_counted() {
        assert_eq!(number(Format::List, b"0-3,7\n"), Ok(5));
        assert_eq!(number(Format::List, b"0\n"), Ok(1));
        assert_eq!(number(Format::List, b"\n"), Err(ParseError::Empty));
        assert_eq!(number(Format::List, b"3-1"), Err(ParseError::NotANumber));
    }

    #[test]
    fn a_word_is_the_one_or_not() {
        assert_eq!(number(Format::Word("FROZEN"), b"FROZEN\n"), Ok(1));
        assert_eq!(number(Format::Word("FROZEN"), b"THAWED\n"), Ok(0));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_number_or_an_error(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            for &format in FORMATS {
                let _total = number(format, &text);
            }
        }

        #[test]
        fn almost_right_texts_do_too(text in "(some |anon |8:0 |Read |avg10=|rbytes=|max|-1|[0-9.,-]{0,25}|\n| ){0,20}") {
            for &format in FORMATS {
                let _total = number(format, text.as_bytes());
            }
        }

        #[test]
        fn what_is_rendered_is_read_back(value in 0..V1_NO_LIMIT, other: u64, hundredths in 0u64..10_000) {
            prop_assert_eq!(number(Format::Single, format!("{value}\n").as_bytes()), Ok(value));
            prop_assert_eq!(number(Format::Flat("b"), format!("a {other}\nb {value}\n").as_bytes()), Ok(value));
            prop_assert_eq!(number(Format::Nested("*", "rios"), format!("8:0 rios={value}\n8:1 rios={other}\n").as_bytes()), Ok(value.saturating_add(other)));
            let pressure = format!("some avg10={}.{:02} total={other}\n", hundredths / 100, hundredths % 100);
            prop_assert_eq!(number(Format::Nested("some", "avg10"), pressure.as_bytes()), Ok(hundredths));
        }
    }
}
