//! What a machine is started with: the agent, the test programs, a server, and the libraries of all of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::kernels::Kernel;
use super::machines::Machine;
use super::workshop;
use crate::shell::{cargo, output, run, target};

/// Size of the block device.
pub(super) const DISK: u64 = 64 << 20;

/// The test programs that make sense in a machine with nothing but a kernel.
const TESTS: [&str; 3] = ["kernel", "network", "passes"];

/// Programs of this machine that the tests use.
const PROGRAMS: [&str; 3] = ["valkey-server", "ip", "setpriv"];

/// The directory tree that all machines share.
pub(super) struct Suite {
    tree: PathBuf,
}

impl Suite {
    /// Builds the test programs and puts everything together.
    pub(super) fn build(agent: &Path) -> anyhow::Result<Self> {
        let suite = Self { tree: workshop().join("tree") };
        if suite.tree.exists() {
            fs::remove_dir_all(&suite.tree)?;
        }
        for dir in ["bin", "proc", "sys", "dev", "tmp", "run", "etc", "lib", "var", "tests/deps"] {
            fs::create_dir_all(suite.tree.join(dir))?;
        }
        suite.add(&found("busybox")?, "bin/busybox")?;
        for applet in output("busybox", &["--list"]).context("busybox --list")?.lines() {
            if !PROGRAMS.contains(&applet) && applet != "busybox" {
                symlink("busybox", suite.tree.join("bin").join(applet))?;
            }
        }
        for program in PROGRAMS {
            suite.add(&found(program)?, &format!("bin/{program}"))?;
        }
        suite.add(agent, "bin/system-monitor")?;
        for (name, program) in test_programs()? {
            suite.add(&program, &format!("tests/deps/{name}"))?;
            run(Command::new("strip").arg(suite.tree.join("tests/deps").join(&name)))?;
        }
        suite.add(&crate::shell::root().join(target()).join("debug/load"), "tests/load")?;
        run(Command::new("strip").arg(suite.tree.join("tests/load")))?;
        symlink("../run", suite.tree.join("var/run"))?;
        suite.write("init", include_str!("init.sh"))?;
        suite.write("bin/unprivileged", include_str!("unprivileged.sh"))?;
        fs::write(suite.tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")?;
        Ok(suite)
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
        for library in libraries(program) {
            let place = self.tree.join(library.strip_prefix("/")?);
            fs::create_dir_all(place.parent().context("a library without a directory")?)?;
            fs::copy(&library, &place).with_context(|| library.display().to_string())?;
        }
        Ok(())
    }

    /// The tree as an archive that the kernel unpacks, with what this machine is to be like.
    pub(super) fn pack(&self, machine: &Machine, kernel: &Kernel, place: &Path) -> anyhow::Result<PathBuf> {
        let mut words = vec![format!("layout={}", machine.layout.as_str())];
        words.extend(machine.hides_types.then(|| "hides_types=1".to_owned()));
        words.extend(machine.is_unprivileged.then(|| "unprivileged=1".to_owned()));
        fs::write(self.tree.join("etc/machine"), words.join("\n") + "\n")?;
        let unpack = if kernel.veth.extension().is_some_and(|extension| extension == "xz") { "xz -dc" } else { "cat" };
        let module = format!("{unpack} '{}' >'{}'", kernel.veth.display(), self.tree.join("lib/veth.ko").display());
        run(Command::new("sh").args(["-c", &module]))?;
        let image = place.join("image");
        let script = format!(
            "cd '{}' && find . | cpio --quiet --create --format=newc --owner=0:0 | gzip -1 >'{}'",
            self.tree.display(),
            image.display()
        );
        fs::set_permissions(&self.tree, fs::Permissions::from_mode(0o755))?;
        run(Command::new("sh").args(["-c", &script]))?;
        Ok(image)
    }
}

fn found(program: &str) -> anyhow::Result<PathBuf> {
    let dirs = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    let place = dirs.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists());
    place.with_context(|| format!("{program} is not installed"))
}

/// What the dynamic linker would load; nothing for a static program.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let listed = program.to_str().and_then(|program| output("ldd", &[program])).unwrap_or_default();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// The test programs as cargo names them.
fn test_programs() -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut build = cargo(&["test", "--no-run", "--package", "tests", "--message-format=json", "--bins"]);
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
            let name = path.file_name()?.to_str()?.rsplit_once('-')?.0.to_owned();
            TESTS.contains(&name.as_str()).then_some((name, path))
        })
        .collect::<Vec<_>>();
    if programs.len() != TESTS.len() {
        bail!("cargo built {programs:?} instead of {TESTS:?}");
    }
    Ok(programs)
}
