//! Steps that several commands share.

use std::time::Duration;

use monitor::assembly::{OpenedSources, Prepared, ProcessContext};
use monitor::config::Config;
use monitor::containers::owners::Owners;
use monitor::hostname::hostname;
use monitor::report::Report;
use monitor::snapshot::Scope;
use monitor::sources;
use monitor::valkey::{ValkeyOptions, health};

/// The sources for a look: no counter survives it, and no privilege is given up.
pub(super) fn open(config: &Config, context: &ProcessContext) -> anyhow::Result<OpenedSources> {
    Prepared::new(config, context).attach(None).require_ebpf()?.open_sources()
}

/// A report out of two readings, `wait` apart.
pub(super) fn report(opened: &mut OpenedSources, wait: Duration, context: &ProcessContext) -> Report {
    let before = sources::sample(&mut opened.sources, context.clock).snapshot;
    std::thread::sleep(wait);
    let after = sources::sample(&mut opened.sources, context.clock);
    Report::new(Some(&before), &after.snapshot, after.cost)
}

/// The name under which this container or machine is reported.
pub(super) async fn reported_name(config: &Config, options: &ValkeyOptions) -> String {
    match config.scope {
        Scope::SelfContainer => config.container_name.clone(),
        Scope::Host => {
            let owners = Owners::new(&config.roots);
            health::claimed_name(options, &owners, &hostname(&config.roots.proc)).await
        }
    }
}
