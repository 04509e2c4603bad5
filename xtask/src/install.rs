//! Installs servers, emulators and roots that the tests need, from Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{self, Apt};
use crate::architecture::ARCHITECTURES;
use crate::distribution::{Distribution, Mirrors};
use crate::packages;
use crate::shell::{command, output, root, run, target};

/// The apt sources of bookworm's backports: Valkey came to Debian after bookworm.
const BACKPORTS: &str = "/etc/apt/sources.list.d/system-monitor-backports.list";

/// Makes a small Debian with a service manager and some services, for containers that pull nothing; returns its path.
pub(crate) fn debian_root() -> anyhow::Result<PathBuf> {
    const PACKAGES: &str = "systemd,systemd-sysv,dbus,procps,nginx-light,postgresql,rabbitmq-server";
    let root = target().join("debian");
    let complete = root.join("etc/complete");
    if complete.exists() {
        return Ok(root);
    }
    packages::install(&["debootstrap"])?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let mut make = command("debootstrap", &["--variant=minbase", "--include", PACKAGES]);
    make.args(["--keyring", apt::keyring()?, "bookworm"]);
    run(make.arg(&root).arg(Mirrors::here().main))?;
    // Documentation and lists would be copied into every image.
    for useless in ["usr/share/doc", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(useless))?;
    }
    fs::write(complete, "")?;
    Ok(root)
}

/// Fetches a server that receives OTLP and answers PromQL, which not every suite has; returns its path.
pub(crate) fn otlp_receiver() -> anyhow::Result<PathBuf> {
    let place = root().join(target()).join("tools/victoria-metrics");
    let program = place.join("usr/bin/victoria-metrics");
    if !program.exists() {
        Apt::prepare(ARCHITECTURES[0])?.fetch(&["victoria-metrics/trixie".to_owned()], &place)?;
    }
    Ok(program)
}

/// Installs Valkey from the distribution, or from bookworm's backports.
pub(crate) fn valkey() -> anyhow::Result<()> {
    let names = ["valkey-server", "valkey-tools"];
    if output("valkey-server", &["--version"]).is_some() || packages::install(&names).is_ok() {
        return Ok(());
    }
    backports()?;
    packages::install(&names)
}

/// Installs an emulator of whole machines.
pub(crate) fn emulator(program: &str, package: &str) -> anyhow::Result<()> {
    if output(program, &["--version"]).is_some() {
        return Ok(());
    }
    // bookworm's own version conflicts with the tools for disk images that some machines have from its backports.
    let from_backports = || {
        backports()?;
        packages::apt_install(&["--target-release", "bookworm-backports", package])
    };
    from_backports().or_else(|_| packages::install(&[package]))
}

/// Adds bookworm's backports to apt. Later suites have these packages themselves.
fn backports() -> anyhow::Result<()> {
    let here = Distribution::here();
    anyhow::ensure!(here.is_debian("bookworm"), "{} {} has no backports of bookworm", here.id, here.codename);
    if !Path::new(BACKPORTS).exists() {
        fs::write(BACKPORTS, format!("deb {} bookworm-backports main\n", Mirrors::here().main))?;
    }
    packages::update()
}
