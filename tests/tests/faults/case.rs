//! A fault: how it is caused, and how it is mended.

use std::time::Duration;

use tests::proxy::Mode;

use crate::stage::Stage;

/// Something that goes wrong, and is mended.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the agent says of it, so that one knows that it was met.
    pub(crate) says: &'static str,
    pub(crate) server: &'static [&'static str],
    /// Whether the agent comes through a proxy.
    pub(crate) proxied: bool,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Whether the agent has a login of its own, which is `monitor` with the password `right`.
    pub(crate) login: bool,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// Whether the server forgets what it had.
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

/// What was acknowledged survives the server.
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
