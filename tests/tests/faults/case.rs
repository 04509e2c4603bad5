//! A fault: its cause and its repair.

use std::time::Duration;

use tests::proxy::Mode;

use crate::stage::Stage;

/// A fault that is caused and repaired.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// A part of the agent's log that proves that it has met the fault.
    pub(crate) says: &'static str,
    pub(crate) server: &'static [&'static str],
    /// The agent connects through a proxy.
    pub(crate) proxied: bool,
    /// The agent connects over TLS.
    pub(crate) tls: bool,
    /// The agent logs in as `monitor` with the password `right`.
    pub(crate) login: bool,
    /// Duration of the fault.
    pub(crate) lasts: Duration,
    /// The server loses its data.
    pub(crate) forgets: bool,
    pub(crate) break_it: fn(&mut Stage),
    pub(crate) mend_it: fn(&mut Stage),
}

impl Case {
    pub(crate) const fn new(
        name: &'static str,
        says: &'static str,
        break_it: fn(&mut Stage),
        mend_it: fn(&mut Stage),
    ) -> Self {
        let lasts = Duration::from_secs(5);
        Self {
            name,
            says,
            server: AOF,
            proxied: false,
            tls: false,
            login: false,
            lasts,
            forgets: false,
            break_it,
            mend_it,
        }
    }

    /// The server shows another certificate.
    pub(crate) const fn tls(name: &'static str, says: &'static str, break_it: fn(&mut Stage)) -> Self {
        Self { tls: true, ..Self::new(name, says, break_it, |stage| stage.show("server")) }
    }

    pub(crate) const fn proxied(name: &'static str, says: &'static str, mode: fn(&mut Stage)) -> Self {
        Self { proxied: true, ..Self::new(name, says, mode, |stage| stage.set(Mode::Pass)) }
    }
}

/// Options with which acknowledged writes survive a crash of the server.
pub(crate) const AOF: &[&str] = &[
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--enable-debug-command",
    "yes",
    "--enable-protected-configs",
    "yes",
];
