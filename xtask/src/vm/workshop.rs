//! The directory of kernels and images.

use std::path::PathBuf;

use crate::shell::{root, target};

/// Where kernels and images are kept.
pub(super) fn workshop() -> PathBuf {
    root().join(target()).join("vm")
}
