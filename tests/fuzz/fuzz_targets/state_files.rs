//! State files of container runtimes. Their sockets answer with the same documents.
#![no_main]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use monitor::containers::names::Files;
use monitor::containers::runtime_path::PathHint;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The file of each runtime, below the machine's root, and the list in a user's home.
const PLACES: [(&str, &str); 5] = [
    ("docker", "var/lib/docker/containers/ID/config.v2.json"),
    ("containerd", "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json"),
    ("cri-o", "var/lib/containers/storage/overlay-containers/ID/userdata/config.json"),
    ("podman", "var/lib/containers/storage/overlay-containers/containers.json"),
    ("podman", "home/mallory/.local/share/containers/storage/overlay-containers/containers.json"),
];

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join(format!("system-monitor-fuzz-{}", std::process::id()));
    fs::create_dir_all(&root).expect("a directory for the files");
    root
});

fuzz_target!(|text: &[u8]| {
    for (runtime, place) in PLACES {
        let is_home = place.starts_with("home");
        let root = ROOT.join(if is_home { "user" } else { runtime });
        let path = root.join(place.replace("ID", ID));
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        let hint = PathHint { runtime, id: Some(ID.to_owned()), name: None };
        let user = is_home.then(|| fs::metadata(&root).expect("it is there").uid());
        let found = Files::new(&root).look_up(&hint, user, false);
        // The list in the home describes the same container as the one of the machine.
        if is_home {
            let root = ROOT.join(runtime);
            let known = Files::new(&root).look_up(&hint, None, false);
            assert_eq!(found.map(|found| found.name), known.map(|known| known.name));
        }
    }
});
