//! Resources of an agent, which must not grow while containers come and go.

use std::collections::BTreeSet;
use std::fs;

use aya::maps::{HashMap, Map, MapData, PerCpuHashMap};
use monitor_common::LEVELS;

use crate::agent::Agent;

/// Lengths of the maps' values, in words.
mod words {
    use monitor_common::{Network, Processes, Retired};

    pub(super) const NETWORK: usize = size_of::<Network>() / 8;
    pub(super) const PROCESSES: usize = size_of::<Processes>() / 8;
    pub(super) const RETIRED_NETWORK: usize = size_of::<Retired<Network>>() / 8;
    pub(super) const RETIRED_PROCESSES: usize = size_of::<Retired<Processes>>() / 8;
}

/// Resources at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes of resident memory.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Entries of all maps by cgroup.
    pub entries: usize,
}

impl Held {
    /// Reads the resources of an agent.
    pub fn by(agent: &Agent) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
        // A map that has been removed meanwhile has none.
        let maps = maps(agent).into_iter().filter_map(|id| MapData::from_id(id).ok());
        let entries = maps.map(|map| cgroups(map).len()).sum();
        Self { resident: agent.resident(), descriptors, entries }
    }
}

/// The ids of the agent's maps, including those that are pinned.
fn maps(agent: &Agent) -> BTreeSet<u32> {
    let infos = fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).unwrap().flatten();
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok());
    infos.filter_map(|entry| id(fs::read_to_string(entry.path()).ok()?)).collect()
}

/// The cgroups in a map, if its keys are cgroups.
pub fn cgroups(map: MapData) -> Vec<u64> {
    let info = map.info().unwrap();
    let name = info.name_as_str().unwrap_or_default().to_owned();
    match (name.as_str(), info.value_size() as usize / size_of::<u64>()) {
        ("COUNTS", words::NETWORK) => counts::<{ words::NETWORK }>(map),
        ("COUNTS", words::PROCESSES) => counts::<{ words::PROCESSES }>(map),
        // The map of maps, which holds the map that the programs use.
        (_, 0) => Vec::new(),
        ("LINEAGE", LEVELS) => hash::<LEVELS>(map),
        ("RETIRED", words::RETIRED_NETWORK) => hash::<{ words::RETIRED_NETWORK }>(map),
        ("RETIRED", words::RETIRED_PROCESSES) => hash::<{ words::RETIRED_PROCESSES }>(map),
        ("COUNTS" | "LINEAGE" | "RETIRED", words) => panic!("{name} has values of {words} words"),
        _ => Vec::new(),
    }
}

fn counts<const WORDS: usize>(map: MapData) -> Vec<u64> {
    let map = PerCpuHashMap::<_, u64, [u64; WORDS]>::try_from(Map::PerCpuHashMap(map)).unwrap();
    map.keys().map(Result::unwrap).collect()
}

fn hash<const WORDS: usize>(map: MapData) -> Vec<u64> {
    let map = HashMap::<_, u64, [u64; WORDS]>::try_from(Map::HashMap(map)).unwrap();
    map.keys().map(Result::unwrap).collect()
}
