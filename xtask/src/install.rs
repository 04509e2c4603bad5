//! Installs what is not there, with Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::apt::Apt;
use crate::release::ARCHITECTURES;
use crate::shell::{command, output, root, run, target};

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
    let Some((mirror, _)) = mirrors() else { bail!("no Debian mirror is configured") };
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

/// A server that takes OpenTelemetry's protocol and answers PromQL, which bookworm does not have. Where it is.
pub(crate) fn otlp_receiver() -> anyhow::Result<PathBuf> {
    let place = root().join(target()).join("tools/victoria-metrics");
    let program = place.join("usr/bin/victoria-metrics");
    if !program.exists() {
        Apt::prepare(ARCHITECTURES[0])?.fetch(&["victoria-metrics/trixie".to_owned()], &place)?;
    }
    Ok(program)
}

/// Installs Valkey: from the distribution, or from bookworm's backports.
pub(crate) fn valkey() -> anyhow::Result<()> {
    let names = ["valkey-server", "valkey-tools"];
    if output("valkey-server", &["--version"]).is_some() || packages(&names).is_ok() {
        return Ok(());
    }
    backports()?;
    packages(&names)
}

/// Installs an emulator of whole machines.
pub(crate) fn emulator(program: &str, package: &str) -> anyhow::Result<()> {
    if output(program, &["--version"]).is_some() {
        return Ok(());
    }
    // bookworm's own cannot stand beside the tools for disk images that some machines have from its backports.
    let from_backports =
        ["install", "--yes", "--quiet", "--no-install-recommends", "--target-release", "bookworm-backports"];
    let mut apt = command("apt-get", &from_backports);
    apt.arg(package).env("DEBIAN_FRONTEND", "noninteractive");
    match backports().and_then(|()| run(&mut apt)) {
        Ok(()) => Ok(()),
        Err(_) => packages(&[package]),
    }
}

/// Makes bookworm's backports known.
fn backports() -> anyhow::Result<()> {
    let Some((mirror, _)) = mirrors() else { bail!("no Debian mirror is configured") };
    if !Path::new(BACKPORTS).exists() {
        fs::write(BACKPORTS, format!("deb {mirror} bookworm-backports main\n"))?;
    }
    run(&mut command("apt-get", &["update", "--quiet"]))
}

/// The mirrors that this machine's apt already uses: of the distribution, and of its security updates.
pub(crate) fn mirrors() -> Option<(String, String)> {
    let listed = output("apt-get", &["indextargets", "--format", "$(SITE) $(RELEASE)"])?;
    let of = |release: &str| listed.lines().find_map(|line| line.strip_suffix(release).map(str::to_owned));
    Some((of(" bookworm")?, of(" bookworm-security")?))
}
