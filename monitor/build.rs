//! Puts the compiled eBPF objects where the source can include them. `cargo xtask build-ebpf` makes them; without them
//! the agent still builds, and reads files only. Tells the source which compilers have been at work.
#![allow(clippy::disallowed_methods, reason = "cargo passes values to a build script in its environment")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use monitor_common::objects;

fn main() {
    println!("cargo::rerun-if-env-changed=SYSTEM_MONITOR_EBPF_OBJECTS");
    let built = env::var_os("SYSTEM_MONITOR_EBPF_OBJECTS").map_or_else(
        || Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../target/ebpf/objects"),
        PathBuf::from,
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut is_built = true;
    let mut table = String::from("const ELF: &[(&str, &[u8])] = &[\n");
    for name in objects::ALL {
        let object = built.join(format!("{name}.o"));
        println!("cargo::rerun-if-changed={}", object.display());
        let bytes = fs::read(&object).unwrap_or_default();
        is_built &= !bytes.is_empty();
        table += &format!("({name:?}, aya::include_bytes_aligned!(concat!(env!(\"OUT_DIR\"), \"/{name}.o\"))),\n");
        write(&out.join(format!("{name}.o")), &bytes);
    }
    compress_page(&out);
    write(&out.join("objects.rs"), (table + "];\n").as_bytes());
    println!("cargo::rustc-env=EBPF_OBJECTS={}", if is_built { "built" } else { "missing" });
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

/// Compresses the files of the web page (raw DEFLATE), which are a fiftieth of the binary otherwise.
fn compress_page(out: &Path) {
    let page = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("src/http/page");
    println!("cargo::rerun-if-changed={}", page.display());
    let packed = out.join("page");
    if let Err(error) = fs::create_dir_all(&packed) {
        println!("cargo::error={}: {error}", packed.display());
    }
    for file in fs::read_dir(&page).into_iter().flatten().flatten() {
        let bytes = fs::read(file.path()).unwrap_or_default();
        let name = file.file_name().to_string_lossy().into_owned();
        write(&packed.join(name), &miniz_oxide::deflate::compress_to_vec(&bytes, 10));
    }
}

fn write(path: &Path, bytes: &[u8]) {
    if let Err(error) = fs::write(path, bytes) {
        println!("cargo::error={}: {error}", path.display());
    }
}

fn compiler() -> Option<String> {
    let said = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?.stdout;
    Some(String::from_utf8(said).ok()?.trim().to_owned())
}
