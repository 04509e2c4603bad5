//! Installs packages of this machine's own distribution.

use anyhow::bail;

use crate::shell::{command, output, run};

/// Installs packages, as root on a distribution with apt.
pub(crate) fn install(names: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if output("apt-get", &["--version"]).is_none() {
        bail!("{} is not installed, and there is no apt-get", missing.join(", "));
    }
    if !is_root() {
        bail!("{} is not installed; as root: apt-get install {}", missing.join(", "), missing.join(" "));
    }
    apt_install(&missing).or_else(|_| {
        update()?;
        apt_install(&missing)
    })
}

/// Runs `apt-get install`; options may stand among the names.
pub(crate) fn apt_install(names: &[&str]) -> anyhow::Result<()> {
    let mut apt = command("apt-get", &["install", "--yes", "--quiet", "--no-install-recommends"]);
    run(apt.args(names).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Fetches this machine's package lists.
pub(crate) fn update() -> anyhow::Result<()> {
    run(&mut command("apt-get", &["update", "--quiet"]))
}

/// True when this process may install packages.
pub(crate) fn is_root() -> bool {
    output("id", &["-u"]).as_deref() == Some("0")
}

fn is_installed(package: &str) -> bool {
    output("dpkg-query", &["--show", "--showformat=${db:Status-Status}", package]).as_deref() == Some("installed")
}
