//! `completions`: completion scripts for shells.

use clap::ArgMatches;
use clap_complete::Shell;

use crate::cli;

/// The completion script of the shell that is asked for.
pub(super) fn script(flags: &ArgMatches) -> Option<String> {
    let shell = *flags.get_one::<Shell>("shell")?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "system-monitor", &mut script);
    // For bash the library writes a hyphenated program's name in two ways: one where it looks a command up and another
    // where it lists its flags.
    Some(String::from_utf8_lossy(&script).replace("system__subcmd__monitor", "system__monitor"))
}
