//! Parsers of `/proc` files that are not in a cgroup format. Total: no input makes them fail otherwise than by
//! returning nothing.

use crate::metrics::NO_LIMIT;
use crate::readings::{Interface, InterfaceCounters};

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
    /// True for a process whose first thread has ended while others may go on.
    pub fn has_lost_first_thread(self) -> bool {
        self.state == b'Z'
    }

    /// The number of its threads that live: 0 for a process that has exited and is not yet reaped.
    pub fn living_threads(self) -> u64 {
        match self.state {
            // The first thread stays until the others have ended.
            b'Z' => self.threads.saturating_sub(1),
            b'X' => 0,
            _ => self.threads,
        }
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

/// The name of the loopback interface of each network namespace (`drivers/net/loopback.c`).
pub const LOOPBACK: &str = "lo";

/// The interfaces in `/proc/PID/net/dev`; `None` if it is no such table. Below two lines of headings, each has the
/// columns bytes, packets, errors, drops and four others, of what it received and of what it sent
/// (`net/core/net-procfs.c`).
pub fn interfaces(text: &[u8]) -> Option<Vec<Interface>> {
    let mut lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let _headings = (lines.next()?, lines.next()?);
    lines.map(interface).collect()
}

fn interface(line: &[u8]) -> Option<Interface> {
    let colon = line.iter().rposition(|&byte| byte == b':')?;
    let name = String::from_utf8_lossy(words(&line[..colon]).next()?).into_owned();
    let mut columns = words(&line[colon + 1..]).map(integer);
    let received = counters(&mut columns)?;
    let mut columns = columns.skip(4);
    Some(Interface { name, received, sent: counters(&mut columns)? })
}

fn counters(columns: &mut impl Iterator<Item = Option<u64>>) -> Option<InterfaceCounters> {
    let mut next = || columns.next()?;
    Some(InterfaceCounters { bytes: next()?, packets: next()?, errors: next()?, dropped: next()? })
}

/// A counter of `/proc/PID/net/snmp` or `netstat`: a line of names behind the protocol, then a line of values.
pub fn snmp(text: &[u8], protocol: &str, key: &str) -> Option<u64> {
    let of = |line: &[u8]| line.strip_prefix(protocol.as_bytes())?.strip_prefix(b":").map(<[u8]>::to_vec);
    let mut lines = text.split(|&byte| byte == b'\n').filter_map(of);
    let (names, values) = (lines.next()?, lines.next()?);
    let at = words(&names).position(|name| name == key.as_bytes())?;
    integer(words(&values).nth(at)?)
}

/// A counter of `/proc/PID/net/snmp6`.
pub fn snmp6(text: &[u8], key: &str) -> Option<u64> {
    let mut lines = text.split(|&byte| byte == b'\n').map(words);
    lines.find_map(|mut words| words.next().filter(|name| *name == key.as_bytes()).and_then(|_| integer(words.next()?)))
}

/// The process of a thread, from its `/proc/TID/status`.
pub fn process(text: &[u8]) -> Option<u32> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    u32::try_from(integer(words(line).next()?)?).ok()
}

/// The shift of the boot clock in a time namespace, in whole seconds, from `/proc/PID/timens_offsets`
/// (`time_namespaces(7)`).
pub fn boot_offset(text: &[u8]) -> Option<i64> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"boottime"))?;
    std::str::from_utf8(words(line).next()?).ok()?.parse().ok()
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
    fn each_interface_has_its_counters() {
        let text = b"Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 900 9 0 0 0 0 0 0 900 9 0 0 0 0 0 0
  eth0:100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0
";
        let found = interfaces(text).unwrap();
        assert_eq!(found.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>(), ["lo", "eth0"]);
        let counters = |bytes, packets| InterfaceCounters { bytes, packets, errors: 0, dropped: 0 };
        assert_eq!((found[1].received, found[1].sent), (counters(100, 1), counters(200, 2)));
        assert_eq!(interfaces(b""), None);
    }

    #[test]
    fn counters_of_protocols_are_found_by_name() {
        let text = b"TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets\nIpExt: 3 4\n";
        assert_eq!((snmp(text, "IpExt", "InOctets"), snmp(text, "TcpExt", "B")), (Some(4), Some(2)));
        assert_eq!((snmp(text, "Ip", "InOctets"), snmp(text, "IpExt", "OutOctets")), (None, None));
        assert_eq!(snmp6(b"Ip6InReceives  \t7\nIp6InOctets 8\n", "Ip6InOctets"), Some(8));
        assert_eq!(process(b"Name:\ta\nTgid:\t42\nNgid:\t0\n"), Some(42));
        assert_eq!(boot_offset(b"monotonic  5 0\nboottime  -7200 0\n"), Some(-7200));
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        let stat = |state, threads| Stat { state, has_executed: true, threads, started: 1 };
        let living = [(b'R', 3), (b'Z', 3), (b'Z', 1), (b'X', 1)].map(|(state, n)| stat(state, n).living_threads());
        assert_eq!(living, [3, 2, 0, 0]);
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
            let _total = (snmp(&text, "Ip", "A"), snmp6(&text, "A"), process(&text), boot_offset(&text));
        }

        #[test]
        fn any_command_is_skipped(comm in "[ -~]{0,15}", threads: u64, started: u64) {
            let text = format!("1 ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 {started} 0");
            prop_assert_eq!(stat(text.as_bytes()), Some(Stat { state: b'S', has_executed: true, threads, started }));
        }
    }
}
