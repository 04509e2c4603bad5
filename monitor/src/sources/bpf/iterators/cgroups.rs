//! Iterator runs over the cgroups of one or several trees; each run fills a table in the order of the tree.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::Map;
use bytemuck::Pod;
use monitor_common::Pass;

use super::load::{bind, load};
use super::objects::IteratorObject;
use crate::containers::{Roots, walk};
use crate::foreign;
use crate::refusal::Refusal;
use crate::snapshot::Scope;
use crate::sources::bpf::load::Host;
use crate::sources::bpf::sys::{Iterator, Over, Table};

/// The smallest table for a whole tree: a larger one cannot be created once privileges are dropped.
const FEWEST: usize = 4096;

/// A program, the trees that it iterates over, and its table.
pub(super) struct Cgroups<V> {
    object: &'static IteratorObject,
    /// The root directories of the trees.
    tops: Vec<PathBuf>,
    scope: Scope,
    roots: Roots,
    bound: Bound<V>,
    session: u64,
    /// The number of cgroups of the largest tree.
    most: usize,
    found: Vec<V>,
    /// True if a larger table was refused.
    is_final: bool,
}

/// The parts that are replaced when the table grows.
struct Bound<V> {
    /// Keeps the program alive.
    _ebpf: Ebpf,
    /// One for each tree; `None` where the kernel refused it.
    iterators: Vec<Option<Iterator>>,
    table: Table<V>,
    pass: Table<Pass>,
}

impl<V: Pod> Cgroups<V> {
    /// Loads the program and attaches it to the trees. The first tree is mandatory. In scope `self` the run visits only
    /// the top cgroup, whose values include its descendants.
    pub(super) fn open(
        object: &'static IteratorObject,
        tops: Vec<PathBuf>,
        scope: Scope,
        roots: &Roots,
        host: &Host,
    ) -> Result<Self, Refusal> {
        let entries = match (scope, tops.first()) {
            (Scope::Host, Some(top)) => room(walk::tree(top).map_or(0, |found| found.len())),
            _ => 1,
        };
        let bound = Bound::new(object, &tops, scope, entries, host)?;
        let (roots, found) = (roots.clone(), Vec::new());
        Ok(Self { object, tops, scope, roots, bound, session: 0, most: 0, found, is_final: false })
    }

    /// Runs the iterator over a tree and returns its records: all cgroups, or as many as fit into the table.
    pub(super) fn pass(&mut self, tree: usize) -> io::Result<&[V]> {
        self.grow_in_time();
        self.found.clear();
        let Some(iterator) = &self.bound.iterators[tree] else { return Ok(&self.found) };
        // The program writes no output, so end of file means that the run is complete.
        io::copy(&mut iterator.pass()?, &mut io::sink())?;
        let pass = self.bound.pass.get(0).unwrap_or_default();
        if pass.session == self.session {
            return Err(io::Error::other(format!("the iterator {} returned no cgroup", self.object.program)));
        }
        self.session = pass.session;
        let found = usize::try_from(pass.found).unwrap_or(usize::MAX);
        self.most = self.most.max(found);
        self.found.extend((0..found.min(self.bound.table.len())).map_while(|at| self.bound.table.get(at)));
        Ok(&self.found)
    }

    /// Grows the table when a previous run has nearly filled it. If that is refused, the last cgroups of the tree do
    /// not fit and their files are read.
    fn grow_in_time(&mut self) {
        if self.scope == Scope::SelfContainer || self.is_final || self.most < self.bound.table.len() / 4 * 3 {
            return;
        }
        let entries = room(self.most);
        match Bound::new(self.object, &self.tops, self.scope, entries, &Host::of(&self.roots, &[])) {
            Ok(larger) => {
                tracing::debug!(program = self.object.program, entries, "Grew iterator table");
                self.bound = larger;
            }
            Err(refusal) => {
                self.is_final = true;
                tracing::warn!(
                    program = self.object.program,
                    entries = self.bound.table.len(),
                    cause = %refusal.cause,
                    "Iterator table cannot grow: files of the remaining cgroups are read"
                );
            }
        }
    }
}

/// Returns the size of a table for this many cgroups, with room for new ones.
fn room(cgroups: usize) -> usize {
    (cgroups * 4).max(FEWEST).next_power_of_two()
}

impl<V: Pod> Bound<V> {
    fn new(
        object: &IteratorObject,
        tops: &[PathBuf],
        scope: Scope,
        entries: usize,
        host: &Host,
    ) -> Result<Self, Refusal> {
        let ebpf = load(object, u32::try_from(entries).unwrap_or(u32::MAX), 0, host)?;
        let mut iterators = Vec::new();
        for (at, top) in tops.iter().enumerate() {
            let bound = bound(&ebpf, object, top, scope, host);
            if let (Err(refusal), true) = (&bound, at > 0) {
                tracing::info!(
                    program = object.program,
                    tree = %top.display(),
                    cause = %refusal.cause,
                    "Iterator not attached: files of the cgroup tree are read"
                );
            }
            iterators.push(if at == 0 { Some(bound?) } else { bound.ok() });
        }
        let (table, pass) = (table(&ebpf, object.table)?, table(&ebpf, "PASS")?);
        Ok(Self { _ebpf: ebpf, iterators, table, pass })
    }
}

fn bound(ebpf: &Ebpf, object: &IteratorObject, top: &Path, scope: Scope, host: &Host) -> Result<Iterator, Refusal> {
    let directory =
        foreign::open(top).map_err(|error| Refusal { cause: format!("{}: {error}", top.display()), remedy: None })?;
    let over = match scope {
        Scope::SelfContainer => Over::Cgroup(directory.as_fd()),
        Scope::Host => Over::CgroupAndBelow(directory.as_fd()),
    };
    bind(ebpf, object, over, host)
}

fn table<V: Pod>(ebpf: &Ebpf, name: &str) -> Result<Table<V>, Refusal> {
    let table = match ebpf.map(name) {
        Some(Map::Array(map)) => Table::new(map),
        _ => Err(io::Error::other("the object has no array map of this name")),
    };
    table.map_err(|error| Refusal { cause: format!("its map {name} cannot be read: {error}"), remedy: None })
}
