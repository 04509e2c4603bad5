//! The documents that are generated from the tables.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::shell::{cargo, root, run, target};

/// The generated documents: the path of each below `docs`, and the command of the agent that prints it.
const DOCUMENTS: &[(&str, [&str; 2])] = &[
    ("metrics.md", ["metrics", "--markdown"]),
    ("openapi.json", ["metrics", "--openapi"]),
    ("settings.md", ["settings", "--markdown"]),
];

/// The text that the agent generates from its tables.
fn made(agent: &Path, command: [&str; 2]) -> anyhow::Result<String> {
    let output = Command::new(agent).args(command).output().with_context(|| agent.display().to_string())?;
    if !output.status.success() {
        bail!("system-monitor {}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds the agent, and writes them.
pub(crate) fn write() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "--quiet", "--package", "monitor"]))?;
    let agent = root().join(target()).join("debug/system-monitor");
    let directory = root().join("docs");
    fs::create_dir_all(&directory)?;
    for (name, command) in DOCUMENTS {
        fs::write(directory.join(name), made(&agent, *command)?).with_context(|| format!("docs/{name}"))?;
    }
    Ok(())
}

/// Fails unless the documents match the tables of this agent.
pub(crate) fn check(agent: &Path) -> anyhow::Result<()> {
    for (name, command) in DOCUMENTS {
        let written = fs::read_to_string(root().join("docs").join(name)).unwrap_or_default();
        if written != made(agent, *command)? {
            bail!("docs/{name} is not as the tables say; run: cargo xtask docs");
        }
    }
    Ok(())
}
