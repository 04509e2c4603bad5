//! Known vulnerabilities of the dependencies, by the advisory database of RustSec (<https://rustsec.org>).

use std::fs;
use std::path::PathBuf;

use crate::shell::{command, root, run, target};

/// The date of the copy in this repository. `git archive --output=xtask/advisories/DATE.tar.gz HEAD crates rust` in a
/// clone of the database makes a new one.
const COPY: &str = "2026-08-21";
/// The address that cargo-deny asks.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

/// Checks the dependencies against the database as it is now, or against the copy where it cannot be had.
pub(crate) fn check(deny: &str) -> anyhow::Result<()> {
    let mut check = command(deny, &["--all-features", "check", "advisories"]);
    if command("timeout", &["60", deny, "fetch", "db"]).status().is_ok_and(|status| status.success()) {
        println!("advisories: the database as it is now");
    } else {
        println!("advisories: the database cannot be had; this is its copy of {COPY}");
        check.env("GIT_CONFIG_COUNT", "1");
        check.env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", unpack()?.display()));
        check.env("GIT_CONFIG_VALUE_0", DATABASE);
    }
    run(&mut check)
}

/// Makes a repository of the copy, as cargo-deny wants one.
fn unpack() -> anyhow::Result<PathBuf> {
    let place = root().join(target()).join("advisories");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let archive = root().join(format!("xtask/advisories/{COPY}.tar.gz"));
    run(command("tar", &["-xzf"]).arg(archive).arg("-C").arg(&place))?;
    let git = |arguments: &[&str]| run(command("git", arguments).current_dir(&place));
    git(&["init", "--quiet", "--initial-branch", "main"])?;
    git(&["add", "--all"])?;
    git(&["-c", "user.name=copy", "-c", "user.email=copy@localhost", "commit", "--quiet", "--message", COPY])?;
    Ok(place)
}
