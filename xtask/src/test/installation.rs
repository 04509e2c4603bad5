//! Installs the programs that the tests need besides cargo. Tests report themselves what they skip without them.

use super::state::State;
use crate::shell::output;
use crate::{install, kubernetes, packages, substitutes};

/// Programs that tests start, by their packages.
const TOOLS: [&str; 8] =
    ["iproute2", "busybox-static", "openssl", "util-linux", "tmux", "man-db", "prometheus", "python3-pip"];
/// Programs that run the deployment files.
const DEPLOYMENT: [&str; 4] = ["systemd", "systemd-container", "golang-go", "lintian"];

/// Installs everything, and continues after failures.
pub(super) fn installation(state: &mut State) -> anyhow::Result<()> {
    state.note("the installation of what the tests need", packages::install(&TOOLS));
    state.note("the installation of a browser", substitutes::browser());
    state.note("the installation of Valkey", install::valkey());
    if output("dockerd", &["--version"]).is_none() {
        state.note("the installation of Docker", packages::install(&["docker.io"]));
    }
    // Since Debian 13 the client is a package of its own, which is only recommended.
    if output("docker", &["--version"]).is_none() {
        state.note("the installation of Docker's client", packages::install(&["docker-cli"]));
    }
    if output("podman", &["--version"]).is_none() {
        state.note("the installation of Podman", packages::install(&["podman", "runc"]));
    }
    state.note("the installation of what runs what is deployed", packages::install(&DEPLOYMENT));
    state.note("the installation of docker-compose", substitutes::docker_compose());
    state.note("a receiver of OTLP", install::otlp_receiver().map(drop));
    state.note("a root of Debian", install::debian_root().map(drop));
    state.note("helm and the schemas of Kubernetes", kubernetes::tools().map(drop));
    Ok(())
}
