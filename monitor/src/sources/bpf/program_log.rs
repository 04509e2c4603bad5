//! Log messages of the programs.

/// Forwards log messages of the programs to the agent's log.
pub(super) struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            log::Level::Error => tracing::error!(target: "ebpf", text = %record.args(), "eBPF program says"),
            log::Level::Warn => tracing::warn!(target: "ebpf", text = %record.args(), "eBPF program says"),
            log::Level::Info => tracing::info!(target: "ebpf", text = %record.args(), "eBPF program says"),
            log::Level::Debug => tracing::debug!(target: "ebpf", text = %record.args(), "eBPF program says"),
            log::Level::Trace => tracing::trace!(target: "ebpf", text = %record.args(), "eBPF program says"),
        }
    }

    fn flush(&self) {}
}
