//! The documents that are made from the tables.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::shell::{cargo, root, run, target};

/// The documents that are made from the tables: where each lies below `docs`, and how the agent is asked for it.
const DOCUMENTS: &[(&str, &str)] = &[("metrics.md", "--markdown"), ("openapi.json", "--openapi")];

/// The text that the agent makes of its tables.
fn made(agent: &Path, flag: &str) -> anyhow::Result<String> {
    let output = Command::new(agent).args(["metrics", flag]).output().with_context(|| agent.display().to_string())?;
    if !output.status.success() {
        bail!("system-monitor metrics {flag}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds the agent, and writes them.
pub(crate) fn write() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "--quiet", "--package", "monitor"]))?;
    let agent = root().join(target()).join("debug/system-monitor");
    let directory = root().join("docs");
    fs::create_dir_all(&directory)?;
    for (name, flag) in DOCUMENTS {
        fs::write(directory.join(name), made(&agent, flag)?).with_context(|| format!("docs/{name}"))?;
    }
    Ok(())
}

/// Fails unless they are as the tables of this agent say.
pub(crate) fn check(agent: &Path) -> anyhow::Result<()> {
    for (name, flag) in DOCUMENTS {
        let written = fs::read_to_string(root().join("docs").join(name)).unwrap_or_default();
        if written != made(agent, flag)? {
            bail!("docs/{name} is not as the tables say; run: cargo xtask docs");
        }
    }
    Ok(())
}
