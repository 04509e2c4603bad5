//! Installs what is not there, with Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::shell::{command, output, run, target};

/// Valkey came to Debian after bookworm.
const BACKPORTS: &str = "/etc/apt/sources.list.d/system-monitor-backports.list";

/// Installs packages.
pub(crate) fn packages(names: &[&str]) -> anyhow::Result<()> {
    if names.iter().all(|name| is_installed(name)) {
        return Ok(());
    }
    if output("apt-get", &["--version"]).is_none() {
        bail!("{} is not installed, and there is no apt-get", names.join(", "));
    }
    if output("id", &["-u"]).as_deref() != Some("0") {
        bail!("{} is not installed; as root: apt-get install {}", names.join(", "), names.join(" "));
    }
    let install = || {
        let mut apt = command("apt-get", &["install", "--yes", "--quiet", "--no-install-recommends"]);
        apt.args(names).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut apt)
    };
    install().or_else(|_| {
        run(&mut command("apt-get", &["update", "--quiet"]))?;
        install()
    })
}

fn is_installed(package: &str) -> bool {
    output("dpkg-query", &["--show", "--showformat=${db:Status-Status}", package]).as_deref() == Some("installed")
}

/// A small Debian with a service manager and some services, for containers that pull nothing. Where it is.
pub(crate) fn debian_root() -> anyhow::Result<PathBuf> {
    const PACKAGES: &str = "systemd,systemd-sysv,dbus,procps,nginx-light,postgresql,rabbitmq-server";
    let root = target().join("debian");
    let complete = root.join("etc/complete");
    if complete.exists() {
        return Ok(root);
    }
    packages(&["debootstrap"])?;
    let Some(mirror) = mirror() else { bail!("no Debian mirror is configured") };
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let mut make = command("debootstrap", &["--variant=minbase", "--include", PACKAGES, "bookworm"]);
    run(make.arg(&root).arg(mirror))?;
    // What nobody reads there would be copied into every image.
    for useless in ["usr/share/doc", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(useless))?;
    }
    fs::write(complete, "")?;
    Ok(root)
}

/// Installs Valkey: from the distribution, or from bookworm's backports.
pub(crate) fn valkey() -> anyhow::Result<()> {
    let names = ["valkey-server", "valkey-tools"];
    if output("valkey-server", &["--version"]).is_some() || packages(&names).is_ok() {
        return Ok(());
    }
    let Some(mirror) = mirror() else { bail!("valkey-server is not installed, and no Debian mirror is configured") };
    if !Path::new(BACKPORTS).exists() {
        fs::write(BACKPORTS, format!("deb {mirror} bookworm-backports main\n"))?;
    }
    run(&mut command("apt-get", &["update", "--quiet"]))?;
    packages(&names)
}

/// The mirror that this machine's apt already uses.
fn mirror() -> Option<String> {
    let listed = output("apt-get", &["indextargets", "--format", "$(SITE) $(RELEASE)"])?;
    listed.lines().find_map(|line| line.strip_suffix(" bookworm").map(str::to_owned))
}
