//! The documents that are made from the tables.

use std::fs;

use anyhow::{Context, bail};

use crate::shell::{cargo, root};

/// The documents that are made from the tables: where each lies below `docs`, and how the agent is asked for it.
const DOCUMENTS: &[(&str, &str)] = &[("metrics.md", "--markdown"), ("openapi.json", "--openapi")];

fn made(flag: &str) -> anyhow::Result<String> {
    let output = cargo(&["run", "--quiet", "--package", "monitor", "--", "metrics", flag]).output()?;
    if !output.status.success() {
        bail!("system-monitor metrics {flag}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes them.
pub(crate) fn write() -> anyhow::Result<()> {
    let directory = root().join("docs");
    fs::create_dir_all(&directory)?;
    for (name, flag) in DOCUMENTS {
        fs::write(directory.join(name), made(flag)?).with_context(|| format!("docs/{name}"))?;
    }
    Ok(())
}

/// Whether they are as the tables say.
pub(crate) fn check() -> anyhow::Result<()> {
    for (name, flag) in DOCUMENTS {
        let written = fs::read_to_string(root().join("docs").join(name)).unwrap_or_default();
        if written != made(flag)? {
            bail!("docs/{name} is not as the tables say; run: cargo xtask docs");
        }
    }
    Ok(())
}
