//! A table of measurements and promises.

/// A row of the table, with the promise, and true if it is kept.
pub struct Row {
    what: String,
    measured: String,
    promised: Option<(String, bool)>,
}

impl Row {
    /// Makes a row, and prints it at once.
    pub fn new(what: impl Into<String>, measured: impl Into<String>, promised: Option<(&str, bool)>) -> Self {
        let promised = promised.map(|(text, is_kept)| (text.to_owned(), is_kept));
        let row = Self { what: what.into(), measured: measured.into(), promised };
        println!("{}: {}", row.what, row.measured);
        row
    }
}

/// Prints the table; `true` when every promise is kept.
pub fn print(rows: &[Row]) -> bool {
    println!("\n| What | Measured | Promised | |");
    println!("|---|---|---|---|");
    for Row { what, measured, promised } in rows {
        let (promised, kept) = match promised {
            Some((text, true)) => (text.as_str(), "kept"),
            Some((text, false)) => (text.as_str(), "BROKEN"),
            None => ("", ""),
        };
        println!("| {what} | {measured} | {promised} | {kept} |");
    }
    rows.iter().all(|row| row.promised.as_ref().is_none_or(|(_, is_kept)| *is_kept))
}
