//! Debian's packages of other suites and processors, fetched without changing this machine's own package lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::architecture::Architecture;
use crate::distribution::Mirrors;
use crate::packages;
use crate::shell::{root, run, target};

/// The known suites, oldest first, and those that have security updates.
pub(crate) const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];
const SECURITY: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// The keys with which Debian signs its suites. Other distributions have them in a package of the same name.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with sources and lists of its own.
pub(crate) struct Apt {
    dir: PathBuf,
    architecture: &'static Architecture,
}

impl Apt {
    /// Prepares the known suites, whose lists are fetched once.
    pub(crate) fn prepare(architecture: &'static Architecture) -> anyhow::Result<Self> {
        let apt = Self { dir: root().join(target()).join("apt").join(architecture.name), architecture };
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.dir.join(dir))?;
        }
        let Mirrors { main, security } = Mirrors::here();
        let options = format!("[arch={} signed-by={}]", architecture.name, keyring()?);
        let mut sources = String::new();
        for suite in SUITES {
            sources += &format!("deb {options} {main} {suite} main\n");
        }
        for suite in SECURITY {
            sources += &format!("deb {options} {security} {suite}-security main\n");
        }
        // No package is installed there.
        fs::write(apt.dir.join("status"), "")?;
        fs::write(apt.dir.join("sources.list"), &sources)?;
        let fetched = apt.dir.join("fetched");
        if fs::read_to_string(&fetched).ok().as_ref() != Some(&sources) {
            match run(apt.command("apt-get").args(["update", "--quiet"])) {
                Ok(()) => fs::write(&fetched, sources)?,
                // Old suites move to another mirror at some time.
                Err(error) => println!("{error:#}; going on with the suites that apt could fetch"),
            }
        }
        Ok(apt)
    }

    fn options(&self) -> [String; 9] {
        let dir = self.dir.display();
        [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={dir}/lists"),
            format!("Dir::State::status={dir}/status"),
            format!("APT::Architecture={}", self.architecture.name),
            format!("APT::Architectures={}", self.architecture.name),
            format!("Dir::Cache={dir}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            // A mirror that is not updated any more has expired lists. Their signatures are still checked.
            "Acquire::Check-Valid-Until=false".to_owned(),
        ]
    }

    /// A command for one of apt's programs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in self.options() {
            command.arg("-o").arg(option);
        }
        command
    }

    /// Runs `apt-cache` and returns its output.
    pub(crate) fn cache(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command("apt-cache").args(arguments).output().context("apt-cache")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Unpacks packages without their dependencies into a directory.
    pub(crate) fn fetch(&self, packages: &[String], place: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(place)?;
        run(self.command("apt-get").arg("download").args(packages).current_dir(place))?;
        for deb in unpack(place, place)? {
            fs::remove_file(deb)?;
        }
        Ok(())
    }

    /// The directory of the packages that `apt-get install --download-only` has downloaded.
    pub(crate) fn archives(&self) -> PathBuf {
        self.dir.join("cache/archives")
    }
}

/// The path of Debian's keyring, which is installed if it is missing.
pub(crate) fn keyring() -> anyhow::Result<&'static str> {
    if !Path::new(KEYRING).exists() {
        packages::install(&["debian-archive-keyring"])?;
    }
    Ok(KEYRING)
}

/// Unpacks every package in one directory into another, and returns the packages.
pub(crate) fn unpack(from: &Path, place: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let packages: Vec<_> = fs::read_dir(from)?.flatten().map(|entry| entry.path()).filter(is_package).collect();
    for package in &packages {
        run(Command::new("dpkg").arg("-x").arg(package).arg(place))?;
    }
    Ok(packages)
}
