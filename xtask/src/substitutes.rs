//! Programs for tests that Debian has as packages, and other distributions provide in another way.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::apt;
use crate::distribution::{Distribution, Mirrors};
use crate::packages;
use crate::shell::{command, output, path_with, root, run, target};

/// Debian's packages with the browser for the tests of the page.
const BROWSER: [&str; 2] = ["chromium", "chromium-driver"];
/// The program in Ubuntu's package: a plugin of Docker's client, which also runs on its own.
const COMPOSE_PLUGIN: &str = "/usr/libexec/docker/cli-plugins/docker-compose";

/// The directory of the substitutes.
fn directory() -> PathBuf {
    root().join(target()).join("tools/substitutes")
}

/// The search path with the substitutes first.
pub(crate) fn path() -> anyhow::Result<OsString> {
    path_with(&directory())
}

/// Installs Chromium and its driver. Ubuntu's are snaps, which start in no container: there they run in a root of
/// Debian.
pub(crate) fn browser() -> anyhow::Result<()> {
    let has_both = ["chromium", "chromedriver"].iter().all(|program| output(program, &["--version"]).is_some());
    if has_both || directory().join("chromedriver").exists() {
        return Ok(());
    }
    if Distribution::here().id == "ubuntu" { browser_in_debian() } else { packages::install(&BROWSER) }
}

fn browser_in_debian() -> anyhow::Result<()> {
    let place = root().join(target()).join("browser");
    packages::install(&["debootstrap"])?;
    if !place.join("usr/bin/chromedriver").exists() {
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        let packages = format!("{},fonts-dejavu-core", BROWSER.join(","));
        let mut make = command("debootstrap", &["--variant=minbase", "--include", &packages]);
        make.args(["--keyring", apt::keyring()?, "bookworm"]).arg(&place).arg(Mirrors::here().main);
        run(&mut make)?;
    }
    for program in ["chromium", "chromedriver"] {
        write_program(program, &in_root(&place, program))?;
    }
    Ok(())
}

/// A script that starts a program in another root, with this machine's processes, devices and temporary files.
fn in_root(place: &Path, program: &str) -> String {
    format!(
        "#!/bin/sh\n\
         exec unshare --mount --propagation private sh -c '\n\
         for dir in proc sys dev tmp; do mount --rbind /$dir \"$0/$dir\" || exit; done\n\
         exec chroot \"$0\" {program} \"$@\"' '{}' \"$@\"\n",
        place.display()
    )
}

fn write_program(name: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(directory())?;
    let path = directory().join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Installs `docker-compose`. Ubuntu has the program as a plugin of Docker's client.
pub(crate) fn docker_compose() -> anyhow::Result<()> {
    let substitute = directory().join("docker-compose");
    if output("docker-compose", &["version"]).is_some() || substitute.exists() {
        return Ok(());
    }
    if Distribution::here().id != "ubuntu" {
        return packages::install(&["docker-compose"]);
    }
    packages::install(&["docker-compose-v2"])?;
    fs::create_dir_all(directory())?;
    Ok(symlink(COMPOSE_PLUGIN, substitute)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_passes_its_arguments_on() {
        let script = in_root(Path::new("/place"), "chromedriver");
        assert!(script.ends_with("exec chroot \"$0\" chromedriver \"$@\"' '/place' \"$@\"\n"), "{script}");
    }
}
