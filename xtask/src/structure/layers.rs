//! The layers of the agent: the one place that defines which module may import which.

/// Modules that may import everything below them, but nothing above.
pub(super) struct Layer {
    /// Top-level modules of `monitor/src`.
    pub(super) modules: &'static [&'static str],
    pub(super) role: &'static str,
    /// Its modules may import each other, too.
    is_shared: bool,
}

/// From the top down.
pub(super) const LAYERS: &[Layer] = &[
    shared(&["main"], "arguments, environment, signals, exit codes"),
    shared(&["commands", "cli", "output"], "one file per command, and the command line"),
    shared(&["assembly", "config"], "the composition root: knows every source, every sink and their settings"),
    shared(&["agent", "instance"], "the loop, and the guard for one agent per machine"),
    Layer {
        modules: &["sources", "sinks", "http", "views"],
        role: "what reads the kernel, what is written to, the server, the terminal: none of them knows another one",
        is_shared: false,
    },
    shared(
        &["containers", "valkey", "hardening", "preflight"],
        "which cgroups are containers, the Valkey client, the process's own rights, what this machine allows",
    ),
    shared(
        &["foreign", "secrets", "hostname", "lock", "mutex", "log_once", "timer", "publish"],
        "small services: files that others control, secrets, the host's name, locks, repeated log entries, waits, the \
         channel of reports",
    ),
    shared(
        &[
            "findings",
            "events",
            "report",
            "snapshot",
            "metrics",
            "cause",
            "programs",
            "refusal",
            "settings",
            "wire",
            "readings",
            "proc_text",
            "unix_time",
            "amount",
        ],
        "plain data and pure functions: no files, clock, locks or log",
    ),
];

const fn shared(modules: &'static [&'static str], role: &'static str) -> Layer {
    Layer { modules, role, is_shared: true }
}

/// True if a file of one module may import a file of another: `None` for a module that is in no layer.
pub(super) fn may_import(from: &str, to: &str) -> Option<bool> {
    let own = layer_of(from)?;
    let is_allowed = |other| other > own || (other == own && (from == to || LAYERS[own].is_shared));
    Some(layer_of(to).is_none_or(is_allowed))
}

/// The position of a module in the list, from the top.
fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.modules.contains(&module))
}

/// The list as a table for `ARCHITECTURE.md`.
pub(super) fn markdown() -> String {
    let mut table = "| Layer | Modules of `monitor/src` | Role |\n|--:|---|---|\n".to_owned();
    for (index, Layer { modules, role, .. }) in LAYERS.iter().enumerate() {
        let modules: Vec<String> = modules.iter().map(|module| format!("`{module}`")).collect();
        table += &format!("| {} | {} | {role} |\n", index + 1, modules.join(", "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_stands_in_one_layer() {
        let modules: Vec<&str> = LAYERS.iter().flat_map(|layer| layer.modules).copied().collect();
        for module in &modules {
            assert_eq!(modules.iter().filter(|other| *other == module).count(), 1, "{module}");
        }
        assert!(layer_of("main") < layer_of("metrics"));
    }

    #[test]
    fn a_sink_knows_no_source_and_the_loop_knows_both() {
        let allowed = |from, to| may_import(from, to).expect("a layer");
        assert!(!allowed("sinks", "sources") && allowed("sinks", "sinks") && allowed("agent", "sources"));
        assert!(!allowed("sources", "agent") && allowed("commands", "cli"));
        assert_eq!(may_import("odds", "main"), None);
    }
}
