//! The documents that are made from the tables.

use std::fs;

use anyhow::{Context, bail};

use crate::shell::{cargo, root};

fn metrics() -> anyhow::Result<String> {
    let output = cargo(&["run", "--quiet", "--package", "monitor", "--", "metrics", "--markdown"]).output()?;
    if !output.status.success() {
        bail!("system-monitor metrics --markdown: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes them.
pub(crate) fn write() -> anyhow::Result<()> {
    let directory = root().join("docs");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("metrics.md"), metrics()?).context("docs/metrics.md")
}

/// Whether they are as the tables say.
pub(crate) fn check() -> anyhow::Result<()> {
    let written = fs::read_to_string(root().join("docs/metrics.md")).unwrap_or_default();
    if written != metrics()? {
        bail!("docs/metrics.md is not as the table says; run: cargo xtask docs");
    }
    Ok(())
}
