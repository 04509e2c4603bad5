//! The run time of eBPF programs per event.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use monitor::preflight::EbpfMode;

use crate::machine::containers;
use crate::table::Row;

/// Measures the time of eBPF programs per event, by the kernel's own count (`kernel.bpf_stats_enabled`).
pub fn programs() -> Vec<Row> {
    const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let Ok(before) = fs::read_to_string(STATS) else { return Vec::new() };
    let known: Vec<u32> = loaded().into_iter().map(|(id, ..)| id).collect();
    let ended = Arc::default();
    let (containers, _bpf) = containers(&ended, EbpfMode::Auto);
    let _empty = empty(&containers.root().unwrap());
    fs::write(STATS, "1").unwrap();
    let (one, other) =
        (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    for _ in 0..100_000 {
        one.send_to(&[0; 64], other.local_addr().unwrap()).unwrap();
        other.recv(&mut [0; 64]).unwrap();
    }
    for _ in 0..500 {
        Command::new("true").status().unwrap();
    }
    let ours: Vec<_> = loaded().into_iter().filter(|(id, _, _, runs)| !known.contains(id) && *runs >= 100).collect();
    fs::write(STATS, before).unwrap();
    let each = |time: Duration, runs: u64| time.as_secs_f64() * 1e9 / runs as f64;
    let clock = ours.iter().find(|(_, name, ..)| name == EMPTY).map_or(0.0, |(_, _, time, runs)| each(*time, *runs));
    let measured = |(_, name, time, runs): (u32, String, Duration, u64)| {
        let (counted, net) = (each(time, runs), each(time, runs) - clock);
        let is_packet = ["ingress", "egress"].contains(&name.as_str());
        let (text, most) = if is_packet { ("100 ns", 100.0) } else { ("250 ns", 250.0) };
        let what =
            format!("eBPF {name}, per event of {runs}: by the kernel's count, less what it says of an empty program");
        let measured = format!("{net:.0} ns ({counted:.0} less {clock:.0})");
        Row::new(what, measured, Some((text, net < most)))
    };
    ours.into_iter().filter(|(_, name, ..)| name != EMPTY).map(measured).collect()
}

/// The name of the program that does nothing.
const EMPTY: &str = "empty";

/// Attaches a program that does nothing to the ingress of a cgroup, for as long as it is held: its measured time is the
/// cost of the kernel's own time stamps.
fn empty(cgroup: &std::path::Path) -> [OwnedFd; 2] {
    // Of `enum bpf_cmd` and `enum bpf_prog_type` (`include/uapi/linux/bpf.h`); the attach type of ingress is 0.
    const PROG_LOAD: libc::c_long = 5;
    const LINK_CREATE: libc::c_long = 28;
    const CGROUP_SKB: u64 = 8;
    // `r0 = 1; exit`: the packet passes.
    let instructions: [u64; 2] = [0x1_0000_00b7, 0x95];
    let licence = c"Dual MIT/GPL";
    let mut name = [0; 16];
    name[..EMPTY.len()].copy_from_slice(EMPTY.as_bytes());
    let [first, second] = [0, 8].map(|at| u64::from_ne_bytes(name[at..at + 8].try_into().unwrap()));
    let load = [CGROUP_SKB | 2 << 32, instructions.as_ptr() as u64, licence.as_ptr() as u64, 0, 0, 0, first, second];
    let bpf = |command: libc::c_long, attr: &[u64]| {
        // SAFETY: the attributes' pointers are valid during the call, which makes a descriptor.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: both commands make a descriptor, which nothing else owns.
        unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
    };
    let program = bpf(PROG_LOAD, &load);
    let directory = File::open(cgroup).unwrap();
    let [number, target] = [program.as_raw_fd(), directory.as_raw_fd()].map(|fd| u64::from(fd.unsigned_abs()));
    let link = bpf(LINK_CREATE, &[number | target << 32, 0]);
    [program, link]
}

/// Id, name, run time and runs of the programs that this process holds: `/proc/self/fdinfo`.
fn loaded() -> Vec<(u32, String, Duration, u64)> {
    let names: BTreeMap<u32, String> = aya::programs::loaded_programs()
        .flatten()
        .map(|info| (info.id(), info.name_as_str().unwrap_or("?").to_owned()))
        .collect();
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let programs = infos.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim_start_matches(':').trim().parse::<u64>().ok())
        };
        let id = u32::try_from(field("prog_id")?).ok()?;
        Some((id, names.get(&id)?.clone(), Duration::from_nanos(field("run_time_ns")?), field("run_cnt")?))
    });
    let mut programs: Vec<_> = programs.collect();
    programs.sort();
    programs.dedup_by_key(|program| program.0);
    programs
}
