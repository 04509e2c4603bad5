//! The two text formats of `/metrics`, and the choice between them.

/// A text format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Prometheus,
}

impl TextFormat {
    /// The format that a client prefers according to its `Accept` header (RFC 9110, 12.5.1).
    pub(super) fn negotiate(accept: &str) -> Self {
        let weight = |media_type: &str| {
            let named = accept.split(',').filter(|range| {
                range.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media_type))
            });
            named.map(quality).fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The quality value of a media range; 1 where it has none.
fn quality(range: &str) -> f64 {
    let said = range.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("q="));
    said.map_or(1.0, |said| said.trim().parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_with_the_highest_quality_value_is_chosen() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, TextFormat::OpenMetrics),
            ("", TextFormat::Prometheus),
            ("*/*", TextFormat::Prometheus),
            ("text/plain", TextFormat::Prometheus),
            ("Application/OpenMetrics-Text", TextFormat::OpenMetrics),
            ("application/openmetrics-text;q=0.1, text/plain", TextFormat::Prometheus),
            ("application/openmetrics-text;q=0", TextFormat::Prometheus),
            ("application/openmetrics-text;q=x", TextFormat::Prometheus),
        ] {
            assert_eq!(TextFormat::negotiate(accept), format, "{accept}");
        }
    }
}
