//! The sinks that a setting turns on.

use std::sync::Arc;

use super::options::SinkOptions;
use super::otlp;
use crate::settings::{SettingError, Settings};

/// Reads the options of one sink; `None` if the settings do not ask for it.
type FromSettings = fn(&Settings) -> Result<Option<Arc<dyn SinkOptions>>, SettingError>;

/// A line for each sink but Valkey, whose server has other uses too, and the service manager, which no setting names.
const CONFIGURABLE: &[FromSettings] = &[otlp::options];

/// The sinks that the settings ask for.
///
/// # Errors
/// The first malformed setting.
pub fn configured(settings: &Settings) -> Result<Vec<Arc<dyn SinkOptions>>, SettingError> {
    CONFIGURABLE.iter().filter_map(|options| options(settings).transpose()).collect()
}
