//! The initramfs of a machine: the agent, the test programs, a server, and the libraries of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::kernels::{self, Kernel};
use super::machines::{Machine, TESTS};
use super::workshop::workshop;
use crate::architecture::Architecture;
use crate::release;
use crate::shell::{cargo, output, run};

/// Size of the block device.
pub(super) const DISK: u64 = 64 << 20;

/// Programs that tests start: a load for control groups, and one that drops its own privileges.
const HELPERS: [&str; 2] = ["load", "confined"];

/// Programs that the tests use, and the packages that hold them.
const PROGRAMS: [&str; 4] = ["valkey-server", "ip", "setpriv", "unshare"];
const PACKAGES: [&str; 4] = ["busybox-static", "valkey-server", "iproute2", "util-linux"];

/// The directory tree that all machines of a processor share, and the archive of it.
pub(super) struct Suite {
    architecture: &'static Architecture,
    /// The root that its programs are copied from: this machine's, or one with packages for the other processor.
    root: PathBuf,
    tree: PathBuf,
    archive: PathBuf,
}

impl Suite {
    /// Builds the test programs and assembles the directory tree.
    pub(super) fn build(architecture: &'static Architecture, agent: &Path) -> anyhow::Result<Self> {
        let root = match architecture.is_own() {
            true => PathBuf::from("/"),
            false => kernels::unpacked_packages(architecture, &PACKAGES)?,
        };
        let tree = workshop().join("tree").join(architecture.name);
        let suite = Self { architecture, root, archive: tree.with_extension("cpio.gz"), tree };
        if suite.tree.exists() {
            fs::remove_dir_all(&suite.tree)?;
        }
        for dir in ["bin", "proc", "sys", "dev", "tmp", "run", "etc", "lib", "var", "tests/deps"] {
            fs::create_dir_all(suite.tree.join(dir))?;
        }
        fs::set_permissions(&suite.tree, fs::Permissions::from_mode(0o755))?;
        suite.add_programs(agent)?;
        suite.add_tests()?;
        symlink("../run", suite.tree.join("var/run"))?;
        suite.write("init", include_str!("init.sh"))?;
        suite.write("bin/unprivileged", include_str!("unprivileged.sh"))?;
        fs::write(suite.tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")?;
        archive(&suite.tree, &suite.archive)?;
        Ok(suite)
    }

    fn add_programs(&self, agent: &Path) -> anyhow::Result<()> {
        self.add(&self.found("busybox")?, "bin/busybox")?;
        for applet in output("busybox", &["--list"]).context("busybox --list")?.lines() {
            if !PROGRAMS.contains(&applet) && applet != "busybox" {
                symlink("busybox", self.tree.join("bin").join(applet))?;
            }
        }
        for program in PROGRAMS {
            self.add(&self.found(program)?, &format!("bin/{program}"))?;
        }
        if !self.architecture.is_own() {
            self.add_all_libraries()?;
        }
        self.add(agent, "bin/system-monitor")
    }

    fn add_tests(&self) -> anyhow::Result<()> {
        for (name, program) in self.test_programs()? {
            let dir = if HELPERS.contains(&name.as_str()) { "tests" } else { "tests/deps" };
            let to = format!("{dir}/{name}");
            self.add(&program, &to)?;
            run(Command::new(self.architecture.strip).arg(self.tree.join(to)))?;
        }
        Ok(())
    }

    fn found(&self, program: &str) -> anyhow::Result<PathBuf> {
        let dirs = ["usr/bin", "usr/sbin", "bin", "sbin"];
        let place = dirs.iter().map(|dir| self.root.join(dir).join(program)).find(|path| path.exists());
        place.with_context(|| format!("{program} is not installed"))
    }

    /// Adds all libraries of the packages for the other processor: its dynamic linker cannot run here.
    fn add_all_libraries(&self) -> anyhow::Result<()> {
        let from = self.root.join("usr/lib").join(self.architecture.libraries);
        let into = self.tree.join("lib").join(self.architecture.libraries);
        fs::create_dir_all(&into)?;
        for library in fs::read_dir(&from)?.flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(library.path(), into.join(library.file_name()))?;
        }
        let loader = self.architecture.loader;
        fs::copy(into.join(loader), self.tree.join("lib").join(loader)).map(drop).context(loader)
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.tree.join(path);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Adds a program, with the libraries that it is linked to.
    fn add(&self, program: &Path, to: &str) -> anyhow::Result<()> {
        fs::copy(program, self.tree.join(to)).with_context(|| program.display().to_string())?;
        let libraries = if self.architecture.is_own() { libraries(program) } else { BTreeSet::new() };
        for library in libraries {
            let place = self.tree.join(library.strip_prefix("/")?);
            fs::create_dir_all(place.parent().context("a library without a directory")?)?;
            fs::copy(&library, &place).with_context(|| library.display().to_string())?;
        }
        Ok(())
    }

    /// Packs the initramfs: the tree, and behind it the settings of this machine
    /// (`Documentation/driver-api/early-userspace/buffer-format.rst`).
    pub(super) fn pack(&self, machine: &Machine, kernel: &Kernel, place: &Path) -> anyhow::Result<PathBuf> {
        let own = place.join("own");
        for dir in ["etc", "lib"] {
            fs::create_dir_all(own.join(dir))?;
        }
        let suites = machine.suites.join(" ");
        let mut words = vec![format!("layout={}", machine.layout.as_str()), format!("suites='{suites}'")];
        words.extend(machine.hides_types.then(|| "hides_types=1".to_owned()));
        words.extend(machine.is_unprivileged.then(|| "unprivileged=1".to_owned()));
        fs::write(own.join("etc/machine"), words.join("\n") + "\n")?;
        let unpack = if kernel.veth.extension().is_some_and(|extension| extension == "xz") { "xz -dc" } else { "cat" };
        shell(&format!("{unpack} '{}' >'{}'", kernel.veth.display(), own.join("lib/veth.ko").display()))?;
        let (addition, image) = (place.join("own.cpio.gz"), place.join("image"));
        archive(&own, &addition)?;
        shell(&format!("cat '{}' '{}' >'{}'", self.archive.display(), addition.display(), image.display()))?;
        Ok(image)
    }

    /// The test programs as cargo names them, and their helpers.
    fn test_programs(&self) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let arguments = ["test", "--no-run", "--message-format=json"];
        // No package is named here: with the features of another selection everything would be built again.
        let mut build = if self.architecture.is_own() {
            cargo(&arguments)
        } else {
            // Static programs for the other processor need no libraries.
            release::cargo_static(self.architecture, &[&arguments[..], &["--package", "tests"]].concat())?
        };
        for name in TESTS {
            build.args(["--test", name]);
        }
        let said = build.stderr(std::process::Stdio::inherit()).output()?;
        if !said.status.success() {
            bail!("the tests do not compile");
        }
        let programs = String::from_utf8_lossy(&said.stdout)
            .lines()
            .filter_map(|line| line.split("\"executable\":\"").nth(1)?.split('"').next().map(PathBuf::from))
            .filter_map(|path| {
                let file = path.file_name()?.to_str()?;
                // Only the names of tests end with a number.
                let name = if HELPERS.contains(&file) { file } else { file.rsplit_once('-')?.0 };
                (name == file || TESTS.contains(&name)).then(|| (name.to_owned(), path.clone()))
            })
            .collect::<BTreeMap<_, _>>();
        if programs.len() != TESTS.len() + HELPERS.len() {
            bail!("cargo built {programs:?} instead of {TESTS:?} and {HELPERS:?}");
        }
        Ok(programs.into_iter().collect())
    }
}

/// Packs a directory as an archive that the kernel unpacks.
fn archive(tree: &Path, into: &Path) -> anyhow::Result<()> {
    let pack = "find . | cpio --quiet --create --format=newc --owner=0:0 | gzip -1";
    shell(&format!("cd '{}' && {pack} >'{}'", tree.display(), into.display()))
}

fn shell(script: &str) -> anyhow::Result<()> {
    run(Command::new("sh").args(["-c", script]))
}

/// The libraries that the dynamic linker would load; none for a static program.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let listed = program.to_str().and_then(|program| output("ldd", &[program])).unwrap_or_default();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
