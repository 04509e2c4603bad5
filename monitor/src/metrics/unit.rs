//! Kinds and units of numbers.

/// The kind of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cumulative within a container's life: differences mean something.
    Counter,
    /// A level.
    Gauge,
}

/// The unit of a number, by which its raw integer is scaled when shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds with fractions; raw values are nanoseconds.
    Nanoseconds,
    /// Whole seconds.
    Seconds,
    /// Percent; raw values are hundredths of a percent.
    Percent,
    /// CPUs; raw values are millionths.
    Cores,
    /// A load average; raw values are hundredths.
    Load,
    /// Things per second.
    PerSecond,
    /// Bytes per second.
    BytesPerSecond,
}

impl Unit {
    /// The divisor of the raw integer, where that makes it a real number.
    pub fn divisor(self) -> Option<f64> {
        match self {
            Self::Percent | Self::Load => Some(100.0),
            Self::Cores => Some(1e6),
            Self::Nanoseconds => Some(1e9),
            _ => None,
        }
    }

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Nanoseconds | Self::Seconds => "seconds",
            Self::Percent => "percent",
            Self::Cores => "cores",
            Self::Load => "load",
            Self::PerSecond => "per second",
            Self::BytesPerSecond => "bytes per second",
        }
    }
}
