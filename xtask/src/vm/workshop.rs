//! The directory of kernels and images.

use std::path::PathBuf;

use crate::shell::{root, target};

/// The directory of kernels and images.
pub(super) fn workshop() -> PathBuf {
    root().join(target()).join("vm")
}
