//! The processor architectures of the released binaries.

/// A processor architecture of the released binaries, with its names in tools.
pub(crate) struct Architecture {
    /// Debian's and Docker's name.
    pub(crate) name: &'static str,
    /// Rust's target triple.
    pub(crate) target: &'static str,
    /// The emulator that runs its programs on another processor.
    pub(crate) emulator: &'static str,
    pub(crate) linker: &'static str,
    pub(crate) strip: &'static str,
    /// Debian's directory of libraries, below `/usr/lib`, and the dynamic loader.
    pub(crate) libraries: &'static str,
    pub(crate) loader: &'static str,
    /// Debian's packages with the linker and the C library for cross compilation.
    pub(crate) packages: [&'static str; 2],
}

impl Architecture {
    /// True for this machine's own architecture.
    pub(crate) fn is_own(&self) -> bool {
        self.target == ARCHITECTURES[0].target
    }
}

const AMD64: Architecture = Architecture {
    name: "amd64",
    target: "x86_64-unknown-linux-gnu",
    emulator: "qemu-x86_64-static",
    linker: "x86_64-linux-gnu-gcc",
    strip: "x86_64-linux-gnu-strip",
    libraries: "x86_64-linux-gnu",
    loader: "ld-linux-x86-64.so.2",
    packages: ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
};

const ARM64: Architecture = Architecture {
    name: "arm64",
    target: "aarch64-unknown-linux-gnu",
    emulator: "qemu-aarch64-static",
    linker: "aarch64-linux-gnu-gcc",
    strip: "aarch64-linux-gnu-strip",
    libraries: "aarch64-linux-gnu",
    loader: "ld-linux-aarch64.so.1",
    packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
};

/// This machine's architecture, and the other one.
#[cfg(target_arch = "x86_64")]
pub(crate) const ARCHITECTURES: [&Architecture; 2] = [&AMD64, &ARM64];
/// This machine's architecture, and the other one.
#[cfg(target_arch = "aarch64")]
pub(crate) const ARCHITECTURES: [&Architecture; 2] = [&ARM64, &AMD64];
