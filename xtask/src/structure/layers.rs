//! The layers of the agent: the one place that defines which module may import which.

/// Modules that may import each other and everything below them, but nothing above.
pub(super) struct Layer {
    /// Top-level modules of `monitor/src`.
    pub(super) modules: &'static [&'static str],
    pub(super) role: &'static str,
}

/// From the top down.
pub(super) const LAYERS: &[Layer] = &[
    Layer { modules: &["main"], role: "arguments, environment, signals, exit codes" },
    Layer { modules: &["commands", "cli", "output"], role: "one file per command, and the command line" },
    Layer {
        modules: &["assembly", "config"],
        role: "the composition root: knows every source, every sink and their settings",
    },
    Layer {
        modules: &["agent", "sources", "sinks", "http", "views", "instance"],
        role: "the loop, what reads the kernel, what is written to, the server, the terminal, one agent per machine",
    },
    Layer {
        modules: &["containers", "valkey", "hardening", "preflight"],
        role: "which cgroups are containers, the Valkey client, the process's own rights, what this machine allows",
    },
    Layer {
        modules: &["foreign", "secrets", "hostname", "lock", "mutex", "log_once", "timer"],
        role: "small services: files that others control, secrets, the host's name, locks, repeated log entries, waits",
    },
    Layer {
        modules: &[
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
        role: "plain data and pure functions: no files, clock, locks or log",
    },
];

/// The position of a module in the list, from the top.
pub(super) fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.modules.contains(&module))
}

/// The list as a table for `ARCHITECTURE.md`.
pub(super) fn markdown() -> String {
    let mut table = "| Layer | Modules of `monitor/src` | Role |\n|--:|---|---|\n".to_owned();
    for (index, Layer { modules, role }) in LAYERS.iter().enumerate() {
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
}
