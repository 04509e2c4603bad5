//! `--version`: the compilers of this binary, and its eBPF objects.

use std::fmt::Write;

use monitor::programs;
use monitor::sources::bpf;
use ring::digest::{SHA256, digest};

/// The version alone, as `--version` prints it.
pub(crate) fn short() -> String {
    concat!("system-monitor ", env!("CARGO_PKG_VERSION"), "\n").to_owned()
}

/// With the compilers, and the size and SHA-256 of each eBPF object, as `sha256sum` prints it for the objects that
/// `cargo xtask build-ebpf` makes.
pub(crate) fn verbose() -> String {
    let mut text = short();
    text += concat!("compiler: ", env!("COMPILER"), "\ntarget: ", env!("TARGET"), "\n");
    if !programs::are_built() {
        return text + "eBPF: none inside\n";
    }
    text += concat!("eBPF compiler: ", env!("EBPF_COMPILER"), "\neBPF linker: ", env!("EBPF_LINKER"), "\n");
    for (name, elf) in bpf::objects() {
        let hash: String = digest(&SHA256, elf).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        // Writing to a string cannot fail.
        _ = writeln!(text, "eBPF {name}.o: {} bytes, sha256 {hash}", elf.len());
    }
    text
}
