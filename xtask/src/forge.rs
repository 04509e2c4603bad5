//! Checks the workflows and issue templates in `.github`, which cannot run here: against the forge's schemas, and with
//! a linter for errors beyond schemas (injection into scripts, permissions, actions without a fixed commit).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::shell::{command, root, run, target};

/// The package contains the schemas, so that nothing is fetched.
const SCHEMAS: &str = "check-jsonschema==0.39.0";
const LINTER: &str = "zizmor==1.32.0";

/// The only file beside the issue templates that is not a template.
const CONFIGURATION: &str = "config.yml";

/// Fails with the first invalid file.
pub(crate) fn check() -> anyhow::Result<()> {
    let tools = tools()?;
    let forge = root().join(".github");
    let (configuration, forms): (Vec<_>, Vec<_>) =
        files(&forge.join("ISSUE_TEMPLATE"))?.into_iter().partition(|path| path.ends_with(CONFIGURATION));
    for (schema, files) in [
        ("vendor.github-workflows", files(&forge.join("workflows"))?),
        ("vendor.github-issue-config", configuration),
        ("vendor.github-issue-forms", forms),
    ] {
        let mut check = command("python3", &["-m", "check_jsonschema", "--builtin-schema", schema]);
        run(check.args(files).env("PYTHONPATH", &tools))?;
    }
    let linter = tools.join("bin/zizmor");
    let linter = linter.to_str().context("the target directory is not UTF-8")?;
    run(command(linter, &["--offline", "--no-progress", "--quiet"]).arg(forge))
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The directory with both tools, which are installed if missing.
fn tools() -> anyhow::Result<PathBuf> {
    let place = root().join(target()).join("forge");
    if !place.join("bin/zizmor").exists() {
        let mut install = command("python3", &["-m", "pip", "install", "--quiet", "--root-user-action=ignore"]);
        run(install.args([SCHEMAS, LINTER, "--target"]).arg(&place))?;
    }
    Ok(place)
}
