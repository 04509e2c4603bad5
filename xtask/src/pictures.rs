//! The pictures of the README, taken of the real program.

use crate::shell::{cargo, root, run, target};
use crate::{ebpf, packages, substitutes};

/// Makes them anew. It needs root, and takes two minutes.
pub(crate) fn make() -> anyhow::Result<()> {
    substitutes::browser()?;
    packages::install(&["fonts-dejavu-core", "pngquant", "tmux"])?;
    ebpf::build()?;
    run(&mut cargo(&["build", "--package", "monitor", "--package", "tests", "--bins"]))?;
    let mut pictures = cargo(&["run", "--package", "tests", "--example", "pictures", "--"]);
    pictures.arg(root().join("docs/pictures"));
    run(pictures
        .env("PATH", substitutes::path()?)
        .env("SYSTEM_MONITOR_BIN", root().join(target()).join("debug/system-monitor")))
}
