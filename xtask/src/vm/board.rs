//! The emulator of each processor architecture.

use crate::architecture::Architecture;
use crate::{install, packages};

/// The emulator of a processor.
pub(crate) struct Board {
    pub(super) program: &'static str,
    package: &'static str,
    pub(super) machine: &'static str,
    /// The kernel's console device.
    pub(super) console: &'static str,
}

const AMD64: Board =
    Board { program: "qemu-system-x86_64", package: "qemu-system-x86", machine: "q35", console: "ttyS0" };
const ARM64: Board =
    Board { program: "qemu-system-aarch64", package: "qemu-system-arm", machine: "virt", console: "ttyAMA0" };

/// The board of an architecture.
pub(crate) fn board(architecture: &Architecture) -> &'static Board {
    if architecture.name == "arm64" { &ARM64 } else { &AMD64 }
}

impl Board {
    /// Installs the emulator, and the tools that pack the images of its machines.
    pub(crate) fn install(&self) -> anyhow::Result<()> {
        packages::install(&["busybox-static", "cpio", "iproute2", "util-linux", "binutils", "xz-utils"])?;
        install::valkey()?;
        install::emulator(self.program, self.package)
    }
}
