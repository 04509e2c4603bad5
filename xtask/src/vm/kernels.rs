//! Debian's kernels, and its programs for other processors.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::workshop::workshop;
use crate::apt::{Apt, SUITES, unpack};
use crate::architecture::Architecture;
use crate::shell::run;

/// A kernel, and the module that it loads later.
pub(super) struct Kernel {
    /// The file that boots.
    pub(super) image: PathBuf,
    /// The module of virtual Ethernet pairs, compressed by `xz` or plain.
    pub(super) veth: PathBuf,
}

/// The newest kernel of a series (`6.12.`) for a processor; of all series if the series is empty.
pub(super) fn fetch(architecture: &'static Architecture, series: &str) -> anyhow::Result<Kernel> {
    let series_or_newest = if series.is_empty() { "newest" } else { series };
    let place = workshop().join("kernels").join(architecture.name).join(series_or_newest);
    if let Some(kernel) = unpacked(&place) {
        return Ok(kernel);
    }
    let apt = Apt::prepare(architecture)?;
    let package = newest(&apt, architecture, series)?;
    println!("kernel {series}: {package}");
    let mut packages = vec![package.clone()];
    // Newer suites have the modules in a package of their own.
    packages.extend(package.starts_with("linux-binary-").then(|| package.replacen("binary", "modules", 1)));
    apt.fetch(&packages, &place)?;
    unpacked(&place).with_context(|| format!("{} hold no kernel with virtual cables", packages.join(", ")))
}

fn unpacked(place: &Path) -> Option<Kernel> {
    let modules = [place.join("lib/modules"), place.join("usr/lib/modules")].into_iter().find(|dir| dir.is_dir())?;
    let modules = fs::read_dir(modules).ok()?.flatten().next()?.path();
    let boot = fs::read_dir(place.join("boot")).ok().into_iter().chain(fs::read_dir(&modules).ok());
    let mut files = boot.flatten().flatten().map(|entry| entry.path());
    let image =
        files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))?;
    let drivers = modules.join("kernel/drivers/net");
    let veth = ["veth.ko.xz", "veth.ko"].map(|name| drivers.join(name)).into_iter().find(|path| path.exists())?;
    Some(Kernel { image, veth })
}

/// `NAME=VERSION` of the newest kernel package of a series. Newer suites separate the kernel from the package that
/// signs it and depends on it: the name of the kernel itself sorts last.
fn newest(apt: &Apt, architecture: &Architecture, series: &str) -> anyhow::Result<String> {
    let pattern = format!("^linux-(image|binary)-[0-9].*-cloud-{}$", architecture.name);
    let found = apt.cache(&["search", "--names-only", &pattern])?;
    let names: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
    let versions = apt.cache(&[&["madison"], &names[..]].concat())?;
    let mut kernels: Vec<_> = versions
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let (name, version) = (columns.next()?, columns.next()?);
            let is_split = name.starts_with("linux-binary-");
            version.starts_with(series).then(|| (numbers(version), is_split, format!("{name}={version}")))
        })
        .collect();
    kernels.sort();
    match kernels.pop() {
        Some((.., package)) => Ok(package),
        None => bail!("no kernel {series} in {} of Debian", SUITES.join(", ")),
    }
}

/// A directory with packages for a processor and their dependencies, unpacked and not installed.
pub(super) fn unpacked_packages(architecture: &'static Architecture, names: &[&str]) -> anyhow::Result<PathBuf> {
    let place = workshop().join("programs").join(architecture.name);
    if place.exists() {
        return Ok(place);
    }
    let apt = Apt::prepare(architecture)?;
    let mut download = apt.command("apt-get");
    run(download.args(["install", "--download-only", "--yes", "--quiet", "--no-install-recommends"]).args(names))?;
    let unpacking = place.with_extension("part");
    fs::create_dir_all(&unpacking)?;
    unpack(&apt.archives(), &unpacking)?;
    fs::rename(&unpacking, &place)?;
    Ok(place)
}

/// The numbers in a version, by which versions of one source are compared.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}
