//! Numbers as people write them.

use std::time::Duration;

use crate::metrics::Unit;

/// A number with its unit, for a table with room.
pub fn long(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => bytes(value),
        Unit::BytesPerSecond => bytes(value) + "/s",
        Unit::Percent => format!("{value:.1} %"),
        Unit::PerSecond => format!("{value:.1} /s"),
        Unit::Seconds | Unit::Nanoseconds => time(value, 2),
        Unit::Cores => format!("{value:.3}"),
        Unit::Load => format!("{value:.2}"),
        Unit::Count => grouped(value),
    }
}

/// A number in at most six columns.
pub fn short(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("{value:.0}%"),
        Unit::Seconds | Unit::Nanoseconds => time(value, 1),
        Unit::Bytes | Unit::BytesPerSecond => compact(value, 1024.0),
        Unit::Cores | Unit::Load if value < 100.0 => format!("{value:.2}"),
        _ => compact(value, 1000.0),
    }
}

/// A time span in its largest unit alone.
pub fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    let (size, unit) =
        [(86_400, "d"), (3600, "h"), (60, "min")].into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "s"));
    format!("{} {unit}", seconds / size)
}

/// A size in three digits, as the page shows sizes.
pub fn size(value: f64) -> String {
    let (value, prefix) = scaled(value, 1024.0);
    match prefix {
        "" => format!("{value:.0} B"),
        _ if value >= 99.95 => format!("{value:.0} {prefix}iB"),
        _ if value >= 9.995 => format!("{value:.1} {prefix}iB"),
        _ => format!("{value:.2} {prefix}iB"),
    }
}

fn bytes(value: f64) -> String {
    let (value, prefix) = scaled(value, 1024.0);
    if prefix.is_empty() { format!("{value:.0} B") } else { format!("{value:.1} {prefix}iB") }
}

fn compact(value: f64, step: f64) -> String {
    let (value, prefix) = scaled(value, step);
    // Three digits say enough.
    if prefix.is_empty() || value >= 99.95 { format!("{value:.0}{prefix}") } else { format!("{value:.1}{prefix}") }
}

/// Divides a value by the largest prefix that fits, and returns the prefix with it. A value that would be shown as a
/// whole step takes the next prefix.
fn scaled(value: f64, step: f64) -> (f64, &'static str) {
    let mut value = value;
    for prefix in ["", "K", "M", "G", "T"] {
        if value < step - 0.5 {
            return (value, prefix);
        }
        value /= step;
    }
    (value, "P")
}

/// A count with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A span of time by its largest units.
fn time(seconds: f64, units: usize) -> String {
    // A number that does not fit into a duration counts as zero.
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let parts = [(whole / 86_400, "d"), (whole / 3600 % 24, "h"), (whole / 60 % 60, "m"), (whole % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let parts = parts[first..].iter().take(units).filter(|(count, _)| *count > 0 || whole == 0);
    parts.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let all = [0.0, 512.0, 1536.0, 1_048_575.0, 5.0 * 1024f64.powi(5)];
        assert_eq!(all.map(|value| long(value, Unit::Bytes)), ["0 B", "512 B", "1.5 KiB", "1.0 MiB", "5.0 PiB"]);
        assert_eq!(all.map(|value| short(value, Unit::Bytes)), ["0", "512", "1.5K", "1.0M", "5.0P"]);
    }

    #[test]
    fn sizes_have_three_digits() {
        let all = [100.0, 1024.0, 64.0 * 1_048_576.0, 512.0 * 1_048_576.0, 1.5 * 1024f64.powi(3)];
        assert_eq!(all.map(size), ["100 B", "1.00 KiB", "64.0 MiB", "512 MiB", "1.50 GiB"]);
    }

    #[test]
    fn counts_have_their_thousands_apart_and_times_their_largest_units() {
        assert_eq!(long(16_777_216.0, Unit::Count), "16 777 216");
        assert_eq!(long(999.0, Unit::Count), "999");
        assert_eq!(
            [0.0, 59.0, 364.0, 90_061.0].map(|value| long(value, Unit::Seconds)),
            ["0s", "59s", "6m 4s", "1d 1h"]
        );
        assert_eq!([0.0, 59.0, 364.0, 90_061.0].map(|value| short(value, Unit::Seconds)), ["0s", "59s", "6m", "1d"]);
    }

    proptest! {
        #[test]
        fn what_is_short_is_short(value in 0.0..1e17f64) {
            for unit in [Unit::Bytes, Unit::Count, Unit::PerSecond, Unit::BytesPerSecond, Unit::Cores, Unit::Load] {
                let text = short(value, unit);
                prop_assert!(text.len() <= 6, "{text}");
            }
        }
    }
}
