//! Puts the compiled eBPF objects where the source can include them. `cargo xtask build-ebpf` makes them; without them the
//! agent still builds, and reads files only. Tells the source which compilers have been at work.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const OBJECTS: [&str; 7] = ["network", "process", "lifecycle", "cpu", "controllers", "memory", "tasks"];

fn main() {
    println!("cargo::rerun-if-env-changed=SYSTEM_MONITOR_EBPF_OBJECTS");
    let built = env::var_os("SYSTEM_MONITOR_EBPF_OBJECTS").map_or_else(
        || Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../target/ebpf/objects"),
        PathBuf::from,
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for name in OBJECTS {
        let object = built.join(format!("{name}.o"));
        println!("cargo::rerun-if-changed={}", object.display());
        let bytes = fs::read(&object).unwrap_or_default();
        if let Err(error) = fs::write(out.join(format!("{name}.o")), bytes) {
            println!("cargo::error={}: {error}", out.display());
        }
    }
    let toolchain = built.join("toolchain");
    println!("cargo::rerun-if-changed={}", toolchain.display());
    let toolchain = fs::read_to_string(toolchain).unwrap_or_default();
    let mut lines = toolchain.lines();
    for name in ["EBPF_COMPILER", "EBPF_LINKER"] {
        println!("cargo::rustc-env={name}={}", lines.next().unwrap_or("unknown"));
    }
    println!("cargo::rustc-env=COMPILER={}", compiler().unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rustc-env=TARGET={}", env::var_os("TARGET").unwrap_or_default().to_string_lossy());
}

fn compiler() -> Option<String> {
    let said = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?.stdout;
    Some(String::from_utf8(said).ok()?.trim().to_owned())
}
