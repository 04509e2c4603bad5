//! `man`: manual pages.

use std::io;

use clap::ArgMatches;

use crate::cli;

/// The manual page of a command, or of the program.
pub(super) fn page(flags: &ArgMatches) -> io::Result<String> {
    // A page for `help` would be empty.
    let mut program = cli::command().disable_help_subcommand(true);
    program.build();
    let page = match flags.get_one::<String>("command") {
        None => program,
        Some(name) => program
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| io::Error::other(format!("{name:?} is no command; `system-monitor --help` lists them")))?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
