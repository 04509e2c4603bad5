//! `detach`: removes pinned maps and links, so that the kernel stops counting.

use std::path::Path;

use anyhow::{Context, anyhow};
use monitor::assembly::ProcessContext;
use monitor::config::{Config, PINS};
use monitor::instance;
use monitor::sources::bpf::pins::Pins;

use crate::output::{self, Outcome};

/// Removes what agents before have pinned, and prints it.
pub(super) fn run(config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let dir = config.pin.as_deref().unwrap_or(Path::new(PINS));
    if !dir.try_exists().with_context(|| dir.display().to_string())? {
        return Ok(output::print(&format!("nothing is pinned in {}\n", dir.display())));
    }
    let holder = instance::holder((context.clock)().wall);
    let pins = Pins::open(dir, &holder).map_err(|error| anyhow!("{error}; {}", error.remedy()))?;
    let removed: String = pins.detach()?.iter().map(|what| format!("removed {what}\n")).collect();
    Ok(output::print(&format!("{removed}removed {}\n", dir.display())))
}
