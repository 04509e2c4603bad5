//! The release: binaries, archives, packages, bill of materials and checksums, in one directory.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::architecture::{ARCHITECTURES, Architecture};
use crate::release;
use crate::shell::{command, output, root, run, target, tool};
use crate::{ebpf, packages};

const DEB: &str = "3.8.0";
const CYCLONEDX: &str = "0.5.9";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The same as in monitor/Cargo.toml.
const MAINTAINER: &str = "system-monitor developers <system-monitor@users.noreply.invalid>";
/// Shells with completions, and the file of each in an archive.
const SHELLS: [(&str, &str); 3] =
    [("bash", "system-monitor.bash"), ("zsh", "_system-monitor"), ("fish", "system-monitor.fish")];
/// Other files of an archive: path in the repository, path in the archive.
const TEXTS: [(&str, &str); 5] = [
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("deploy/systemd/system-monitor.service", "systemd/system-monitor.service"),
];

/// Makes everything, for both processors; with `--test` the unit tests run on both, one of them emulated.
pub(crate) fn dist(arguments: &[String]) -> anyhow::Result<()> {
    if !ebpf::build()? {
        bail!("a release has the eBPF objects inside, and there is no compiler for them");
    }
    let into = target().join("dist");
    if into.exists() {
        fs::remove_dir_all(&into)?;
    }
    fs::create_dir_all(&into)?;
    for architecture in ARCHITECTURES {
        let binary = release::build_auditable(architecture)?;
        if architecture.is_own() {
            documents(&binary)?;
        }
        answers(architecture, &binary)?;
        fs::copy(&binary, into.join(format!("system-monitor-{VERSION}-linux-{}", architecture.name)))?;
        archive(architecture, &binary, &into)?;
        debian_package(architecture, &into)?;
        if arguments.iter().any(|argument| argument == "--test") {
            release::test(architecture)?;
        }
    }
    bill_of_materials(&into)?;
    checksums(&into)?;
    println!("\n{}:", into.display());
    run(&mut command("ls", &["-l", into.to_str().context("the target directory is no text")?]))
}

/// Builds the Debian package for this machine around the existing binary.
pub(crate) fn package() -> anyhow::Result<()> {
    let here = ARCHITECTURES[0];
    documents(&release::binary(here))?;
    debian_package(here, &target().join("package"))
}

/// The path of the file that [`package`] makes.
pub(crate) fn package_file() -> PathBuf {
    target().join("package").join(format!("system-monitor_{VERSION}-1_{}.deb", ARCHITECTURES[0].name))
}

/// The directory of manual pages and completions before they are packed.
fn documents_dir() -> PathBuf {
    target().join("documents")
}

/// Writes manual pages and completions with the program itself.
fn documents(binary: &Path) -> anyhow::Result<()> {
    let into = documents_dir();
    if into.exists() {
        fs::remove_dir_all(&into)?;
    }
    fs::create_dir_all(&into)?;
    let binary = root().join(binary);
    let binary = binary.to_str().context("the target directory is no text")?;
    let write = |file: &str, arguments: &[&str]| -> anyhow::Result<String> {
        let text = output(binary, arguments).with_context(|| format!("system-monitor {}", arguments.join(" ")))?;
        fs::write(into.join(file), format!("{text}\n")).with_context(|| file.to_owned())?;
        Ok(text)
    };
    // The program's page names those of its commands.
    for command in pages_named_in(&write("system-monitor.1", &["man"])?) {
        write(&format!("system-monitor-{command}.1"), &["man", command])?;
    }
    for (shell, file) in SHELLS {
        write(file, &["completions", shell])?;
    }
    fs::write(into.join("changelog"), changelog()).context("changelog")
}

/// The commands whose pages a manual page names. No name has a hyphen, because a hyphen is escaped there.
fn pages_named_in(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix(r"system\-monitor\-")?.strip_suffix("(1)"))
}

/// A changelog in Debian's form, which refers to CHANGELOG.md for the changes.
fn changelog() -> String {
    let date =
        output("git", &["log", "-1", "--format=%aD"]).unwrap_or_else(|| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned());
    format!(
        "system-monitor ({VERSION}-1) unstable; urgency=medium\n\n  * See /usr/share/doc/system-monitor/NEWS.md.\n\n \
         -- {MAINTAINER}  {date}\n"
    )
}

/// Checks that a binary prints its version, for either processor: a binary that does not is not released.
fn answers(architecture: &Architecture, binary: &Path) -> anyhow::Result<()> {
    let binary = binary.to_str().context("the target directory is no text")?;
    let said = if architecture.is_own() {
        output(binary, &["--version"])
    } else {
        packages::install(&["qemu-user-static"])?;
        output(architecture.emulator, &[binary, "--version"])
    };
    match said {
        Some(said) if said.starts_with("system-monitor ") => Ok(()),
        said => bail!("the binary for {} says {said:?} when asked for its version", architecture.name),
    }
}

/// Makes the archive for users without a package manager. It is reproducible: the same source gives the same bytes.
fn archive(architecture: &Architecture, binary: &Path, into: &Path) -> anyhow::Result<()> {
    let name = format!("system-monitor-{VERSION}-linux-{}", architecture.name);
    let stage = target().join("archive").join(&name);
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let put = |from: PathBuf, to: &str| -> anyhow::Result<()> {
        let to = stage.join(to);
        fs::create_dir_all(to.parent().unwrap_or(&stage))?;
        fs::copy(&from, &to).with_context(|| from.display().to_string())?;
        Ok(())
    };
    put(binary.to_owned(), "system-monitor")?;
    for page in fs::read_dir(documents_dir())?.flatten().map(|entry| entry.path()) {
        if let (Some(name), Some("1")) =
            (page.file_name().and_then(OsStr::to_str), page.extension().and_then(OsStr::to_str))
        {
            put(page.clone(), &format!("man/{name}"))?;
        }
    }
    for (_, file) in SHELLS {
        put(documents_dir().join(file), &format!("completions/{file}"))?;
    }
    for (from, to) in TEXTS {
        put(root().join(from), to)?;
    }
    for page in fs::read_dir(root().join("docs"))?.flatten().map(|entry| entry.path()) {
        if let (Some(name), Some("md")) =
            (page.file_name().and_then(OsStr::to_str), page.extension().and_then(OsStr::to_str))
        {
            put(page.clone(), &format!("docs/{name}"))?;
        }
    }
    let date = output("git", &["log", "-1", "--format=%ct"]).unwrap_or_else(|| "0".to_owned());
    let archive = into.join(name.clone() + ".tar.gz");
    let mut tar = command("tar", &["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("--mode=u=rwX,go=rX").arg(format!("--mtime=@{date}")).args(["--use-compress-program", "gzip --no-name"]);
    tar.arg("--file").arg(archive).arg("--directory").arg(target().join("archive")).arg(name);
    run(&mut tar)
}

/// Makes the Debian package by `[package.metadata.deb]` in monitor/Cargo.toml.
fn debian_package(architecture: &Architecture, into: &Path) -> anyhow::Result<()> {
    let mut deb = command(&tool("cargo-deb", DEB)?, &["--package", "monitor", "--target", architecture.target]);
    deb.args(["--no-build", "--no-strip", "--output"]).arg(root().join(into)).arg("--quiet");
    run(&mut deb)
}

/// Writes the bill of materials as CycloneDX.
fn bill_of_materials(into: &Path) -> anyhow::Result<()> {
    const FILE: &str = "system-monitor-parts";
    let tool = tool("cargo-cyclonedx", CYCLONEDX)?;
    let mut list = command(&tool, &["cyclonedx", "--manifest-path", "monitor/Cargo.toml", "--format", "json"]);
    list.args(["--spec-version", "1.5", "--target", "all", "--no-build-deps", "--quiet", "--override-filename", FILE]);
    run(&mut list)?;
    let own = root().join("monitor").join(FILE).with_extension("json");
    // The paths of this machine must not be published.
    let text = fs::read_to_string(&own)?.replace(&format!("{}/", root().display()), "/");
    fs::write(into.join(format!("system-monitor-{VERSION}.cdx.json")), text)?;
    // The tool describes every member of the workspace, each beside its manifest.
    for entry in fs::read_dir(root())?.flatten() {
        let file = entry.path().join(FILE).with_extension("json");
        if file.exists() {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn checksums(into: &Path) -> anyhow::Result<()> {
    let mut names: Vec<String> =
        fs::read_dir(into)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let sums = command("sha256sum", &[]).args(&names).current_dir(into).output()?;
    if !sums.status.success() {
        bail!("sha256sum: {}", String::from_utf8_lossy(&sums.stderr));
    }
    fs::write(into.join("SHA256SUMS"), sums.stdout).context("SHA256SUMS")
}
