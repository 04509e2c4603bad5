//! A pass over the cgroups, which fills a table in the order of the tree.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::Map;
use bytemuck::Pod;
use monitor_common::Pass;

use super::super::load::Host;
use super::super::sys::{Iterator, Over, Table};
use super::objects::Object;
use super::{Part, bind, load};
use crate::containers::{Roots, tree};
use crate::preflight::Refusal;
use crate::snapshot::Scope;

/// The fewest entries of a table for a whole tree: no larger one can be had once privileges are dropped.
const FEWEST: usize = 4096;

/// The program, what it goes through, and its table.
pub(super) struct Cgroups<V> {
    object: &'static Object,
    top: PathBuf,
    scope: Scope,
    roots: Roots,
    bound: Bound<V>,
    pass: Pass,
    found: Vec<V>,
    /// Whether a larger table was refused.
    is_final: bool,
}

/// What is made anew when the table must be larger.
struct Bound<V> {
    /// Keeps the program alive.
    _ebpf: Ebpf,
    iterator: Iterator,
    table: Table<V>,
    pass: Table<Pass>,
}

impl<V: Pod> Cgroups<V> {
    /// Loads the program and binds it to a part of the tree: to the top alone when only the own container is watched,
    /// whose numbers are those of all below it.
    pub(super) fn open(object: &'static Object, part: &Part, roots: &Roots, host: &Host) -> Result<Self, Refusal> {
        let top = part.top.clone().unwrap_or_default();
        let entries = match part.scope {
            Scope::Own => 1,
            Scope::Host => room(tree::walk(&top).map_or(0, |found| found.len())),
        };
        let bound = Bound::new(object, &top, part.scope, entries, host)?;
        Ok(Self {
            object,
            top,
            scope: part.scope,
            roots: roots.clone(),
            bound,
            pass: Pass::default(),
            found: Vec::new(),
            is_final: false,
        })
    }

    /// What a new pass finds: all cgroups, or as many as the table has entries.
    pub(super) fn pass(&mut self) -> io::Result<&[V]> {
        self.grow_in_time();
        // The program writes nothing into the file, so its end is where the pass has been.
        io::copy(&mut self.bound.iterator.pass()?, &mut io::sink())?;
        let pass = self.bound.pass.get(0).unwrap_or_default();
        if pass.session == self.pass.session {
            return Err(io::Error::other(format!("{} found nothing", self.object.program)));
        }
        self.pass = pass;
        self.found.clear();
        let found = usize::try_from(pass.found).unwrap_or(usize::MAX).min(self.bound.table.len());
        self.found.extend((0..found).map_while(|at| self.bound.table.get(at)));
        Ok(&self.found)
    }

    /// Takes a larger table when the pass before has nearly filled this one. Where that is refused, the cgroups that come
    /// last are not in it, and their files are read.
    fn grow_in_time(&mut self) {
        let found = usize::try_from(self.pass.found).unwrap_or(usize::MAX);
        if self.scope == Scope::Own || self.is_final || found < self.bound.table.len() / 4 * 3 {
            return;
        }
        let entries = room(found);
        match Bound::new(self.object, &self.top, self.scope, entries, &Host::of(&self.roots, &[])) {
            Ok(larger) => {
                tracing::debug!("{}: a table of {entries} cgroups", self.object.program);
                self.bound = larger;
            }
            Err(refusal) => {
                self.is_final = true;
                tracing::warn!(
                    "{} takes {} cgroups and no more, the files of the others are read: {}",
                    self.object.program,
                    self.bound.table.len(),
                    refusal.cause
                );
            }
        }
    }
}

/// Entries for so many cgroups, with those to come.
fn room(cgroups: usize) -> usize {
    (cgroups * 4).max(FEWEST).next_power_of_two()
}

impl<V: Pod> Bound<V> {
    fn new(object: &Object, top: &Path, scope: Scope, entries: usize, host: &Host) -> Result<Self, Refusal> {
        let broken = |error: io::Error| Refusal { cause: format!("{}: {error}", top.display()), cure: None };
        let ebpf = load(object, u32::try_from(entries).unwrap_or(u32::MAX), 0, host)?;
        let directory = File::open(top).map_err(broken)?;
        let over = match scope {
            Scope::Own => Over::Cgroup(directory.as_fd()),
            Scope::Host => Over::CgroupAndBelow(directory.as_fd()),
        };
        let iterator = bind(&ebpf, object, over, host)?;
        let (table, pass) = (table(&ebpf, object.table)?, table(&ebpf, "PASS")?);
        Ok(Self { _ebpf: ebpf, iterator, table, pass })
    }
}

fn table<V: Pod>(ebpf: &Ebpf, name: &str) -> Result<Table<V>, Refusal> {
    let table = match ebpf.map(name) {
        Some(Map::Array(map)) => Table::new(map),
        _ => Err(io::Error::other("the object has no such map")),
    };
    table.map_err(|error| Refusal { cause: format!("its map {name} cannot be read: {error}"), cure: None })
}
