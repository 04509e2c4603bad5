//! The version, and the compilers of the binary.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::skip;

use crate::start::{output, text};

#[test]
fn the_version_names_the_compilers_and_the_objects_by_their_hashes() {
    let said = text(&output(&["--version", "--verbose"], &[]).stdout);
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    assert!(said.starts_with(&text(&output(&["--version"], &[]).stdout)), "{said}");
    assert!(value("compiler").unwrap().starts_with("rustc 1."), "{said}");
    assert!(value("target").unwrap().contains("-linux-"), "{said}");
    if value("eBPF") == Some("none inside") {
        skip!("no eBPF objects are inside");
    }
    let objects = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/objects");
    assert!(value("eBPF compiler").unwrap().starts_with("rustc 1."), "{said}");
    assert_eq!(value("eBPF linker"), Some("bpf-linker 0.10.0"), "{said}");
    for name in monitor_common::objects::ALL {
        let file = objects.join(format!("{name}.o"));
        let summed = Command::new("sha256sum").arg(&file).output().unwrap();
        let summed = text(&summed.stdout).split(' ').next().unwrap().to_owned();
        let size = fs::metadata(&file).unwrap().len();
        let expected = format!("{size} bytes, sha256 {summed}");
        assert_eq!(value(&format!("eBPF {name}.o")), Some(expected.as_str()), "{said}");
    }
}
