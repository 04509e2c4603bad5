use std::ffi::OsString;
use std::path::Path;

use rustix::thread::CapabilitySet;

use super::request::request;
use crate::config::Config;
use crate::preflight::{self, HostFacts, Plan};
use crate::programs::{self, Needs};
use crate::refusal::Decision;
use crate::settings::Settings;
use crate::snapshot::Scope;

/// The port of DNS servers.
const DNS: u16 = 53;

/// A machine that refuses nothing.
fn capable_host() -> HostFacts {
    HostFacts {
        kernel: (6, 12),
        capabilities: CapabilitySet::all(),
        in_first_user_namespace: true,
        types: Ok(()),
        has_v2: true,
        descriptors: 20_000,
        bpf_is_restricted: true,
        bpf_mounts: vec!["/sys/fs/bpf".into()],
        cgroup_mounts: vec!["/cgroup".into()],
        names_are_mounts: true,
        counts_descriptors: true,
        has_objects: true,
    }
}

fn config(settings: &[(&str, &str)]) -> Config {
    let flags =
        clap::Command::new("test").args(Settings::flags()).no_binary_name(true).try_get_matches_from([""; 0]).unwrap();
    let env = |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
    let settings = Settings::collect(&flags, env, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    Config::new(&settings, |_| Scope::Host).unwrap()
}

fn plan(host: &HostFacts, config: &Config) -> Plan {
    preflight::plan(programs::catalog(), host, &request(config))
}

/// The configuration of an agent of the machine with every optional program.
fn of_a_machine() -> Config {
    config(&[("MONITOR_SCOPE", "host"), ("MONITOR_EBPF_FD_EVENTS", "true")])
}

fn of_a_container() -> Config {
    config(&[("MONITOR_SCOPE", "self")])
}

/// The programs that are refused on a host, and the cause and remedy if all of them have the same.
fn refused(host: &HostFacts) -> (Vec<&'static str>, String) {
    let all = plan(host, &of_a_machine()).programs;
    let mut words = Vec::new();
    let names = all.into_iter().filter_map(|(name, decision)| match decision {
        Decision::Refused(refusal) => {
            words.push(format!("{} | {}", refusal.cause, refusal.remedy.unwrap_or_default()));
            Some(name)
        }
        _ => None,
    });
    let names = names.collect();
    words.dedup();
    (names, words.join(" & "))
}

fn names(which: fn(&Needs) -> bool) -> Vec<&'static str> {
    programs::catalog().filter(which).map(|needs| needs.name).collect()
}

#[test]
fn a_capable_host_refuses_nothing() {
    let plan = plan(&capable_host(), &of_a_machine());
    assert!(plan.programs.iter().all(|(_, decision)| decision.is_take()), "{:?}", plan.programs);
    assert!(plan.pins.is_take() && plan.drop.is_take() && plan.seccomp.is_take());
}

#[test]
fn each_capability_that_is_missing_takes_the_programs_that_need_it_and_no_other() {
    let rights = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
    let without = |capability| refused(&HostFacts { capabilities: rights - capability, ..capable_host() });
    assert_eq!(refused(&HostFacts { capabilities: rights, ..capable_host() }).0, Vec::<&str>::new());
    let (programs, words) = without(CapabilitySet::NET_ADMIN);
    assert_eq!(programs, ["ingress", "egress"]);
    assert!(
        words.starts_with("CAP_NET_ADMIN is missing (EPERM) | ") && words.contains("--cap-add NET_ADMIN"),
        "{words}"
    );
    let (programs, words) = without(CapabilitySet::PERFMON);
    assert_eq!(programs, names(|needs| !["ingress", "egress"].contains(&needs.name)));
    assert!(words.starts_with("CAP_PERFMON is missing (EPERM) | "), "{words}");
    let (programs, words) = without(CapabilitySet::BPF);
    assert_eq!(programs, names(|_| true));
    assert!(words.starts_with("CAP_BPF is missing (EPERM) | "), "{words}");
    let (programs, words) = without(rights);
    assert_eq!(programs, names(|_| true));
    assert!(words.contains("CAP_BPF and CAP_PERFMON are missing"), "{words}");
    let old = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    assert_eq!(refused(&HostFacts { capabilities: old, ..capable_host() }).0, Vec::<&str>::new());
}

#[test]
fn each_other_fact_that_is_missing_is_named_with_its_remedy() {
    let all = names(|_| true);
    for (host, programs, cause, remedy) in [
        (
            HostFacts { has_objects: false, ..capable_host() },
            &all,
            "without the eBPF objects",
            "cargo xtask build-ebpf",
        ),
        (HostFacts { has_v2: false, ..capable_host() }, &all, "no cgroup v2 tree", "mount -t cgroup2"),
        (HostFacts { descriptors: 63, ..capable_host() }, &all, "only 63 descriptors", "ulimit -n"),
        (HostFacts { in_first_user_namespace: false, ..capable_host() }, &all, "a user namespace", "outside of it"),
        (
            HostFacts { types: Err("vmlinux: not there".to_owned()), ..capable_host() },
            &names(|needs| needs.types),
            "vmlinux: not there",
            "CONFIG_DEBUG_INFO_BTF",
        ),
    ] {
        let (refused, words) = refused(&host);
        assert_eq!(&refused, programs, "{cause}");
        assert!(words.contains(cause) && words.contains(remedy), "{words}");
    }
}

#[test]
fn nothing_is_refused_that_nobody_wants() {
    let nothing = HostFacts { capabilities: CapabilitySet::empty(), has_v2: false, ..capable_host() };
    let off = plan(&nothing, &config(&[("MONITOR_EBPF", "off"), ("MONITOR_SCOPE", "host")]));
    assert!(off.programs.iter().all(|(_, decision)| matches!(decision, Decision::Off(_))));
    assert!(matches!(off.pins, Decision::Off(_)));
    let own = plan(&capable_host(), &of_a_container());
    let off: Vec<_> = own
        .programs
        .iter()
        .filter(|(_, decision)| matches!(decision, Decision::Off(_)))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(off, names(|needs| needs.of_a_machine || needs.of_descriptors));
}

#[test]
fn at_each_descriptor_is_counted_only_when_asked_for() {
    let decisions = |settings: &[(&str, &str)]| {
        let programs = plan(&capable_host(), &config(settings)).programs;
        programs.into_iter().filter(|(name, _)| names(|needs| needs.of_descriptors).contains(name)).map(|(_, it)| it)
    };
    let off = Decision::Off("--ebpf-fd-events is off".to_owned());
    let mut unasked = decisions(&[("MONITOR_SCOPE", "self")]);
    assert!(unasked.all(|decision| decision == off));
    let mut asked = decisions(&[("MONITOR_SCOPE", "self"), ("MONITOR_EBPF_FD_EVENTS", "true")]);
    assert!(asked.all(|decision| decision.is_take()));
}

#[test]
fn pins_take_a_bpf_file_system() {
    let host = HostFacts { bpf_mounts: Vec::new(), ..capable_host() };
    let Decision::Refused(refusal) = plan(&host, &of_a_machine()).pins else { panic!("not refused") };
    assert_eq!(refusal.cause, "/sys/fs/bpf/system-monitor lies in no BPF file system");
    assert_eq!(refusal.remedy.unwrap(), "mount -t bpf bpf /sys/fs/bpf");
    assert!(matches!(plan(&host, &of_a_container()).pins, Decision::Off(_)));
}

#[test]
fn only_capabilities_that_something_needs_are_retained() {
    let keep = |host: &HostFacts, config: &Config| plan(host, config).retained_set();
    let reading = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    assert_eq!(keep(&capable_host(), &of_a_machine()), reading | CapabilitySet::BPF);
    assert_eq!(keep(&capable_host(), &of_a_container()), CapabilitySet::DAC_READ_SEARCH);
    let still = [("MONITOR_SCOPE", "self"), ("MONITOR_DISK_INTERVAL", "0s")];
    assert_eq!(keep(&capable_host(), &config(&still)), CapabilitySet::empty());
    let docker = HostFacts { capabilities: CapabilitySet::DAC_OVERRIDE | CapabilitySet::CHOWN, ..capable_host() };
    assert_eq!(keep(&docker, &of_a_container()), CapabilitySet::DAC_OVERRIDE);
    for (name, value, capability) in [
        ("MONITOR_LISTEN", "127.0.0.1:80", CapabilitySet::NET_BIND_SERVICE),
        ("MONITOR_LISTEN", "127.0.0.1:9100", CapabilitySet::empty()),
        ("MONITOR_LISTEN", "unix:/run/monitor/socket", CapabilitySet::DAC_OVERRIDE),
        ("MONITOR_BUFFER_DIR", "/spool", CapabilitySet::DAC_OVERRIDE),
        ("VALKEY_URL", "unix:///run/valkey", CapabilitySet::DAC_OVERRIDE),
        ("VALKEY_PASSWORD_FILE", "/secret", CapabilitySet::DAC_READ_SEARCH),
    ] {
        let config = config(&[still[0], still[1], (name, value)]);
        assert_eq!(keep(&capable_host(), &config), capability, "{name}={value}");
    }
    let old = HostFacts { kernel: (5, 10), counts_descriptors: false, ..capable_host() };
    assert_eq!(keep(&old, &of_a_machine()), reading | CapabilitySet::BPF);
    let older = HostFacts { capabilities: CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN, ..old.clone() };
    assert_eq!(keep(&older, &config(&still)), CapabilitySet::SYS_ADMIN);
    let files = [still[0], still[1], ("MONITOR_EBPF", "off")];
    assert_eq!(keep(&older, &config(&files)), CapabilitySet::empty());
    assert_eq!(keep(&HostFacts { bpf_is_restricted: false, ..old }, &of_a_machine()), reading);
    let nothing = HostFacts { capabilities: CapabilitySet::empty(), ..capable_host() };
    assert_eq!(keep(&nothing, &of_a_machine()), CapabilitySet::empty());
}

#[test]
fn threads_that_use_the_network_keep_only_what_they_need_themselves() {
    let keep = |config: &Config| plan(&capable_host(), config).network_set();
    assert_eq!(keep(&of_a_machine()), CapabilitySet::empty());
    assert_eq!(keep(&of_a_container()), CapabilitySet::empty());
    for (name, value, capability) in [
        ("MONITOR_LISTEN", "127.0.0.1:80", CapabilitySet::NET_BIND_SERVICE),
        ("MONITOR_BUFFER_DIR", "/spool", CapabilitySet::DAC_OVERRIDE),
        ("VALKEY_PASSWORD_FILE", "/secret", CapabilitySet::DAC_READ_SEARCH),
    ] {
        assert_eq!(keep(&config(&[("MONITOR_SCOPE", "host"), (name, value)])), capability, "{name}={value}");
    }
}

#[test]
fn each_layer_can_be_switched_off_and_confines_sampler_where_they_need_not_look_into_processes() {
    let own = plan(&capable_host(), &of_a_container());
    assert!(own.landlock.is_take() && own.seccomp.is_take() && own.confines_sampler);
    assert!(!plan(&capable_host(), &of_a_machine()).confines_sampler);
    let old = HostFacts { counts_descriptors: false, ..capable_host() };
    assert!(!plan(&old, &of_a_container()).confines_sampler);
    for (layers, landlock, seccomp) in [("landlock", true, false), ("seccomp", false, true), ("off", false, false)] {
        let plan = plan(&capable_host(), &config(&[("MONITOR_SANDBOX", layers)]));
        assert_eq!((plan.landlock.is_take(), plan.seccomp.is_take()), (landlock, seccomp), "{layers}");
    }
}

#[test]
fn files_and_ports_that_the_settings_name_stay_accessible() {
    let access = |settings: &[(&str, &str)]| plan(&capable_host(), &config(settings)).access;
    let own = access(&[("MONITOR_SCOPE", "self"), ("VALKEY_PORT", "7000"), ("MONITOR_BUFFER_DIR", "/spool")]);
    assert_eq!((own.connect, own.connect_anywhere), (vec![DNS, 7000], false));
    assert_eq!(own.write, [Path::new("/spool")]);
    assert!(own.bind.is_empty() && !own.read.iter().any(|path| path == Path::new("/") || path == Path::new("/etc")));
    assert!(own.read.contains(&"/cgroup".into()), "a tree that is mounted elsewhere");
    let secret = access(&[("VALKEY_PASSWORD_FILE", "/run/secrets/valkey/password"), ("VALKEY_TLS_CA", "/etc/ca.pem")]);
    assert!(secret.read.contains(&"/run/secrets/valkey".into()) && secret.read.contains(&"/etc/ca.pem".into()));
    assert!(access(&[("VALKEY_URL", "valkey://a:1,b:2?cluster=true")]).connect_anywhere);
    assert_eq!(access(&[("VALKEY_URL", "none")]).connect, [DNS]);
    assert_eq!(access(&[("VALKEY_URL", "none"), ("MONITOR_OTLP", "http://c:4317")]).connect, [DNS, 4317]);
    assert_eq!(access(&[("MONITOR_LISTEN", "127.0.0.1:9100")]).bind, [9100]);
    assert_eq!(access(&[("MONITOR_LISTEN", "unix:/run/monitor/socket")]).write, [Path::new("/run/monitor")]);
}

#[test]
fn the_resolvers_files_may_be_exchanged_where_they_are_no_mounts() {
    let host = HostFacts { names_are_mounts: false, ..capable_host() };
    assert!(plan(&host, &of_a_container()).access.read.contains(&"/etc".into()));
}
