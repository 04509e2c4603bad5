//! Compiles the eBPF programs, with a toolchain that is installed or can be installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use monitor_common::objects;
use object::build::elf::{Builder, SectionData};

use crate::packages;
use crate::shell::{cargo, command, output, root, run, target};

/// The nightly compiler that works with the linker below: both are LLVM 22.
pub(crate) const NIGHTLY: &str = "nightly-2026-05-20";
/// The compiler's own version text, under either name of the toolchain.
const NIGHTLY_COMMIT: &str = "e50aa6fba 2026-05-19";
const LINKER: &str = "0.10.0";
/// Debian's compiler comes with a `core` for the BPF target.
const DEBIAN: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// Its path, whatever `rustup` has put on the search path.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// A compiler for the BPF target.
enum Compiler {
    /// The toolchain of this name.
    Rustup(&'static str),
    Debian,
}

impl Compiler {
    /// The compiler's version, for `system-monitor --version --verbose`.
    fn version(&self) -> Option<String> {
        match self {
            Self::Rustup(name) => output("rustc", &[&format!("+{name}"), "--version"]),
            Self::Debian => output(DEBIAN_RUSTC, &["--version"]),
        }
    }
}

/// Builds the objects into `target/ebpf/objects`. `false` if there is no toolchain and none can be installed, which is
/// printed in one line: the agent then reads files only.
pub(crate) fn build() -> anyhow::Result<bool> {
    let Some(compiler) = compiler() else {
        println!(
            "eBPF: no compiler for the BPF target; install rustup (https://rustup.rs), or on Debian: apt-get install {}",
            DEBIAN.join(" ")
        );
        remove_objects()?;
        return Ok(false);
    };
    let Some(linker) = linker() else {
        println!("eBPF: bpf-linker cannot be installed; try: cargo install bpf-linker --version {LINKER} --locked");
        remove_objects()?;
        return Ok(false);
    };
    let objects = directory();
    fs::create_dir_all(&objects).with_context(|| objects.display().to_string())?;
    for (name, bytes) in compiled(&compiler, &linker, &root(), &root().join(target()).join("ebpf"))? {
        write_if_changed(&objects.join(format!("{name}.o")), &bytes)?;
    }
    let toolchain = format!("{}\nbpf-linker {LINKER}\n", compiler.version().context("rustc --version")?);
    write_if_changed(&objects.join("toolchain"), toolchain.as_bytes())?;
    Ok(true)
}

/// Compiles a copy of the sources in another directory, and reports whether the objects are identical to the byte.
pub(crate) fn check() -> anyhow::Result<()> {
    let (Some(compiler), Some(linker)) = (compiler(), linker()) else {
        bail!("there is no compiler for the BPF target")
    };
    let here = compiled(&compiler, &linker, &root(), &root().join(target()).join("ebpf"))?;
    let elsewhere = std::env::temp_dir().join(format!("system-monitor-{}", std::process::id()));
    let there = copy_sources(&elsewhere)
        .and_then(|()| compiled(&compiler, &linker, &elsewhere, &elsewhere.join("another/target")));
    // A copy that cannot be removed does not make the objects different.
    _ = fs::remove_dir_all(&elsewhere);
    let there = there?;
    for ((name, here), (_, there)) in here.iter().zip(&there) {
        println!("{name}: {} bytes, {}", here.len(), if here == there { "the same" } else { "DIFFERENT" });
    }
    if here != there {
        bail!("the objects depend on where they are built");
    }
    Ok(())
}

/// Copies the sources that git tracks, as they are in the working directory.
fn copy_sources(to: &Path) -> anyhow::Result<()> {
    let files =
        output("git", &["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs", "*.toml", "*.lock"]);
    for file in files.context("git ls-files")?.lines().filter(|file| root().join(file).is_file()) {
        let copy = to.join(file);
        fs::create_dir_all(copy.parent().unwrap_or(to))?;
        fs::copy(root().join(file), &copy).with_context(|| copy.display().to_string())?;
    }
    Ok(())
}

/// Compiles the sources in one directory into another, and returns the objects by name.
fn compiled(
    compiler: &Compiler,
    linker: &Path,
    from: &Path,
    into: &Path,
) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    run(&mut compile(compiler, linker, from, into)?)?;
    let object = |name: &'static str| {
        let built = into.join("bpfel-unknown-none/ebpf").join(name);
        let elf = fs::read(&built).with_context(|| built.display().to_string())?;
        Ok((name, finish(&elf).with_context(|| format!("the object {name}"))?))
    };
    objects::ALL.into_iter().map(object).collect()
}

fn directory() -> PathBuf {
    root().join("target/ebpf/objects")
}

/// Removes stale objects, which must not get into a build without eBPF.
fn remove_objects() -> anyhow::Result<()> {
    match fs::remove_dir_all(directory()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The name under which the nightly compiler is installed, if it is: its own, or the channel's if that is the same
/// version.
pub(crate) fn nightly() -> Option<&'static str> {
    let names = [NIGHTLY, "nightly"];
    names.into_iter().find(|name| {
        output("rustc", &[&format!("+{name}"), "--version"]).is_some_and(|version| version.contains(NIGHTLY_COMMIT))
    })
}

/// The nightly compiler, if the source of `core` is with it.
fn nightly_with_source() -> Option<&'static str> {
    nightly().filter(|name| {
        output("rustc", &[&format!("+{name}"), "--print", "sysroot"])
            .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").exists())
    })
}

fn compiler() -> Option<Compiler> {
    if let Some(name) = nightly_with_source() {
        return Some(Compiler::Rustup(name));
    }
    if Path::new(DEBIAN_CORE).exists() {
        return Some(Compiler::Debian);
    }
    if output("rustup", &["--version"]).is_some() {
        let arguments = ["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"];
        let installed = run(&mut command("rustup", &arguments)).is_ok();
        if let Some(name) = nightly_with_source().filter(|_| installed) {
            return Some(Compiler::Rustup(name));
        }
        println!("eBPF: rustup cannot install {NIGHTLY}; trying Debian's packages");
    }
    packages::install(&DEBIAN).ok()?;
    Path::new(DEBIAN_CORE).exists().then_some(Compiler::Debian)
}

fn linker() -> Option<PathBuf> {
    let wanted = format!("bpf-linker {LINKER}");
    let own = root().join(target()).join("tools/bin/bpf-linker");
    for candidate in [PathBuf::from("bpf-linker"), own.clone()] {
        if output(candidate.to_str()?, &["--version"]).is_some_and(|version| version == wanted) {
            return Some(candidate);
        }
    }
    let tools = target().join("tools");
    let arguments = ["install", "bpf-linker", "--version", LINKER, "--locked", "--root", tools.to_str()?];
    run(&mut cargo(&arguments)).ok()?;
    Some(own)
}

fn compile(compiler: &Compiler, linker: &Path, from: &Path, into: &Path) -> anyhow::Result<Command> {
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))?;
    // Paths of this machine do not belong in the objects, and without them the bytes are the same everywhere.
    let flags: Vec<String> = [
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        "-Dwarnings".to_owned(),
        format!("--remap-path-prefix={}=.", from.display()),
        format!("--remap-path-prefix={home}=cargo"),
    ]
    .iter()
    .map(|flag| format!("{flag:?}"))
    .collect();
    let mut command = match compiler {
        Compiler::Rustup(name) => cargo(&[&format!("+{name}"), "build", "-Zbuild-std=core"]),
        Compiler::Debian => {
            let mut command = cargo(&["build"]);
            command.env("RUSTC", DEBIAN_RUSTC);
            command
        }
    };
    command.args(["--profile=ebpf", "--package=monitor-ebpf", "--target=bpfel-unknown-none"]);
    command.arg("--config").arg(format!("target.bpfel-unknown-none.linker={:?}", linker.display().to_string()));
    command.arg("--config").arg(format!("target.bpfel-unknown-none.rustflags=[{}]", flags.join(",")));
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", into).env_remove("RUSTFLAGS").current_dir(from);
    Ok(command)
}

/// Removes the debug information, which is nine tenths of the object, and the relocations of type information. Repairs
/// names in the type information: the linker leaves unions their Rust names, for which the kernel refuses the whole
/// object.
fn finish(elf: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = Builder::read(elf)?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete |= [".debug", ".rel.debug", ".rel.BTF"].iter().any(|start| name.starts_with(start));
        match (name.as_str(), &mut section.data) {
            (".BTF", SectionData::Data(bytes)) => {
                let mut mended = bytes.to_vec();
                mend(&mut mended)?;
                *bytes = mended.into();
            }
            (".BTF.ext", SectionData::Data(bytes)) => *bytes = without_lines(bytes)?.into(),
            _ => {}
        }
    }
    // The linker keeps all names in one table; the writer needs those of the sections in a table of their own.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = object::elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    Ok(bytes)
}

/// Replaces characters in the strings that the kernel does not allow in names (`Documentation/bpf/btf.rst`).
fn mend(btf: &mut [u8]) -> anyhow::Result<()> {
    let word =
        |at: usize| -> Option<usize> { Some(u32::from_le_bytes(btf.get(at..at + 4)?.try_into().ok()?) as usize) };
    let begin = word(4)
        .zip(word(16))
        .map(|(header, strings)| header + strings)
        .context("the type information has no header")?;
    for byte in btf.get_mut(begin..).context("the type information has no strings")? {
        if matches!(byte, b'<' | b'>') {
            *byte = b'_';
        }
    }
    Ok(())
}

/// Removes the line information of instructions, a third of the rest: only the verifier's log would use it. `struct
/// btf_ext_header` (`Documentation/bpf/btf.rst`): a word with its length, then offset and length of the information
/// about functions, about lines, and about relocations, which are empty.
fn without_lines(ext: &[u8]) -> anyhow::Result<Vec<u8>> {
    let word = |at: usize| -> anyhow::Result<usize> {
        let bytes = ext.get(at..at + 4).context("the information on functions has no header")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let (header, functions, length) = (word(4)?, word(8)?, word(12)?);
    anyhow::ensure!(functions == 0 && [24, 32].contains(&header), "the information on functions is of an unknown form");
    anyhow::ensure!(header < 32 || word(28)? == 0, "there are relocations");
    let mut kept = ext.get(..header + length).context("the information on functions is cut off")?.to_vec();
    // No other data follow at the end.
    for at in (16..header).step_by(8) {
        kept[at..at + 4].copy_from_slice(&u32::try_from(length)?.to_le_bytes());
        kept[at + 4..at + 8].fill(0);
    }
    Ok(kept)
}

/// Writes a file only if it changes, so that no build is triggered by an unchanged one.
fn write_if_changed(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).ok().as_deref() != Some(bytes) {
        fs::write(path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
