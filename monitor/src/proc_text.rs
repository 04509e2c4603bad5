//! Parsers of `/proc` files that are not in a cgroup format. Total: no input makes them fail otherwise than by
//! returning nothing.

use crate::metrics::NO_LIMIT;
use crate::readings::Interfaces;

/// The fields used of `/proc/PID/stat` (`proc_pid_stat(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `Z`, …
    pub state: u8,
    /// True once it has executed a program since it was forked: until then its environment is that of its creator.
    pub has_executed: bool,
    /// Tasks in the thread group.
    pub threads: u64,
    /// Clock ticks from boot to its start.
    pub started: u64,
}

impl Stat {
    /// False for a process that has exited and is not yet reaped.
    pub fn is_alive(self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }
}

/// Reads `/proc/PID/stat`. The command stands in parentheses and may itself hold spaces and parentheses, so the fields
/// are counted from the last one.
pub fn stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let mut fields = words(&text[end + 1..]);
    let state = *fields.next()?.first()?;
    // proc_pid_stat(5) counts from 1: the state is field 3, the flags 9, the threads 20, the start 22.
    let has_executed = integer(fields.nth(5)?)? & PF_FORKNOEXEC == 0;
    let threads = integer(fields.nth(10)?)?;
    let started = integer(fields.nth(1)?)?;
    Some(Stat { state, has_executed, threads, started })
}

/// Forked and not yet executed (`include/linux/sched.h`).
const PF_FORKNOEXEC: u64 = 0x40;

/// The soft limit of open files in `/proc/PID/limits`.
pub fn descriptor_limit(text: &[u8]) -> Option<u64> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Max open files"))?;
    match words(line).next()? {
        b"unlimited" => Some(NO_LIMIT),
        word => integer(word),
    }
}

/// A line of `/proc/meminfo`, in bytes.
pub fn meminfo(text: &[u8], key: &str) -> Option<u64> {
    let line =
        text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))?;
    integer(words(line).next()?)?.checked_mul(1024)
}

/// One of the first three numbers of `/proc/loadavg`, in hundredths.
pub fn load(text: &[u8], at: usize) -> Option<u64> {
    let word = words(text).nth(at)?;
    let dot = word.iter().position(|&byte| byte == b'.')?;
    let [tenths @ b'0'..=b'9', hundredths @ b'0'..=b'9'] = word[dot + 1..] else { return None };
    integer(&word[..dot])?.checked_mul(100)?.checked_add(u64::from(tenths - b'0') * 10 + u64::from(hundredths - b'0'))
}

/// The sum over all interfaces but loopback in `/proc/PID/net/dev`. `None` if it is no such table.
pub fn interfaces(text: &[u8]) -> Option<Interfaces> {
    let mut lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).skip(2).peekable();
    lines.peek()?;
    lines.try_fold(Interfaces::default(), |mut sum, line| {
        let colon = line.iter().rposition(|&byte| byte == b':')?;
        let name = words(&line[..colon]).next()?;
        let mut counters = words(&line[colon + 1..]).map(integer);
        if name != b"lo" {
            sum.rx_bytes = sum.rx_bytes.saturating_add(counters.next()??);
            sum.rx_packets = sum.rx_packets.saturating_add(counters.next()??);
            sum.tx_bytes = sum.tx_bytes.saturating_add(counters.nth(6)??);
            sum.tx_packets = sum.tx_packets.saturating_add(counters.next()??);
        }
        Some(sum)
    })
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn integer(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_may_hold_spaces_and_parentheses() {
        let text = b"42 (a) b (c) R 1 42 42 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 3 0 777 1000 5";
        assert_eq!(stat(text), Some(Stat { state: b'R', has_executed: true, threads: 3, started: 777 }));
        assert_eq!(stat(b"42 (a) R 1"), None);
    }

    #[test]
    fn the_soft_limit_is_taken() {
        let text = b"Limit                     Soft Limit           Hard Limit           Units     \nMax processes             1    2    processes\nMax open files            1024                 524288               files     \n";
        assert_eq!(descriptor_limit(text), Some(1024));
        assert_eq!(
            descriptor_limit(b"Max open files            unlimited            unlimited            files"),
            Some(NO_LIMIT)
        );
    }

    #[test]
    fn all_interfaces_but_loopback_are_summed() {
        let text = b"Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 900 9 0 0 0 0 0 0 900 9 0 0 0 0 0 0
  eth0:100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0
eth0.5: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0
";
        assert_eq!(interfaces(text), Some(Interfaces { rx_bytes: 110, rx_packets: 2, tx_bytes: 220, tx_packets: 3 }));
        assert_eq!(interfaces(b""), None);
    }

    #[test]
    fn loads_are_hundredths() {
        assert_eq!([0, 1, 2].map(|at| load(b"0.15 12.07 0.00 1/123 4567\n", at)), [Some(15), Some(1207), Some(0)]);
        assert_eq!(load(b"nan", 0), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _total = (stat(&text), descriptor_limit(&text), meminfo(&text, "MemTotal"), load(&text, 1), interfaces(&text));
        }

        #[test]
        fn any_command_is_skipped(comm in "[ -~]{0,15}", threads: u64, started: u64) {
            let text = format!("1 ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 {started} 0");
            prop_assert_eq!(stat(text.as_bytes()), Some(Stat { state: b'S', has_executed: true, threads, started }));
        }
    }
}
