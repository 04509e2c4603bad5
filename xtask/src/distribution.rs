//! The distribution of this machine, from `/etc/os-release` and from apt's list of index files.

use std::fs;

use crate::shell::output;

/// A distribution: its names in `os-release(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    /// `debian`, `ubuntu`, …
    pub(crate) id: String,
    /// `bookworm`, `noble`, …; empty for a rolling one.
    pub(crate) codename: String,
}

impl Distribution {
    /// The distribution of this machine, with empty names if it is unknown.
    pub(crate) fn here() -> Self {
        let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(os_release: &str) -> Self {
        let value = |name: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            Some(line.trim_matches(['"', '\'']).to_owned())
        };
        Self { id: value("ID").unwrap_or_default(), codename: value("VERSION_CODENAME").unwrap_or_default() }
    }

    /// True for Debian's suite of this name.
    pub(crate) fn is_debian(&self, codename: &str) -> bool {
        self.id == "debian" && self.codename == codename
    }
}

/// Debian's mirrors: of the archive, and of its security updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    pub(crate) main: String,
    pub(crate) security: String,
}

/// Public mirrors.
const DEFAULT: [&str; 2] = ["http://deb.debian.org/debian", "http://deb.debian.org/debian-security"];

impl Mirrors {
    /// Returns the mirrors that `DEBIAN_MIRROR` and `DEBIAN_SECURITY_MIRROR` name; else those that apt already uses, if
    /// this is a Debian; else the public ones.
    pub(crate) fn here() -> Self {
        let named = |variable: &str| std::env::var(variable).ok().filter(|mirror| !mirror.is_empty());
        let targets = output("apt-get", &["indextargets", "--format", "$(SITE) $(RELEASE)"]).unwrap_or_default();
        let found = Self::choose(&Distribution::here(), &targets);
        Self {
            main: named("DEBIAN_MIRROR").unwrap_or(found.main),
            security: named("DEBIAN_SECURITY_MIRROR").unwrap_or(found.security),
        }
    }

    /// Chooses among apt's index targets, each a line with site and suite.
    fn choose(distribution: &Distribution, targets: &str) -> Self {
        let of = |suites: &[String]| {
            let mut targets = targets.lines().filter_map(|line| line.rsplit_once(' '));
            let target = targets.find(|(_, suite)| suites.iter().any(|known| known == suite));
            target.map(|(site, _)| site.trim_end_matches('/').to_owned()).filter(|_| distribution.id == "debian")
        };
        // A list of sources may name a suite by its codename or by its state.
        let names = [distribution.codename.as_str(), "stable", "oldstable", "testing", "unstable", "sid"];
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let security: Vec<String> = names.iter().map(|name| format!("{name}-security")).collect();
        Self {
            main: of(&names).unwrap_or_else(|| DEFAULT[0].to_owned()),
            security: of(&security).unwrap_or_else(|| DEFAULT[1].to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian(codename: &str) -> Distribution {
        Distribution { id: "debian".to_owned(), codename: codename.to_owned() }
    }

    #[test]
    fn names_are_read_with_and_without_quotes() {
        let text = "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nID_LIKE=debian\nID=ubuntu\nVERSION_CODENAME=\"noble\"\n";
        assert_eq!(Distribution::parse(text), Distribution { id: "ubuntu".to_owned(), codename: "noble".to_owned() });
        assert_eq!(Distribution::parse(""), Distribution::default());
    }

    #[test]
    fn the_mirrors_of_a_debian_are_those_of_its_own_suite() {
        let targets = "http://other.example/cloud cloud-trixie\nhttp://m.example/debian-security trixie-security\n\
                       http://m.example/debian/ trixie-updates\nhttp://m.example/debian/ trixie\n";
        let found = Mirrors::choose(&debian("trixie"), targets);
        assert_eq!(found.main, "http://m.example/debian");
        assert_eq!(found.security, "http://m.example/debian-security");
    }

    #[test]
    fn a_suite_may_be_named_by_its_state() {
        assert_eq!(
            Mirrors::choose(&debian("trixie"), "http://m.example/debian stable\n").main,
            "http://m.example/debian"
        );
    }

    #[test]
    fn what_apt_does_not_know_is_fetched_from_the_public_mirrors() {
        let fresh = Mirrors::choose(&debian("trixie"), "http://m.example/debian trixie\n");
        assert_eq!(fresh.security, DEFAULT[1]);
        let ubuntu = Distribution { id: "ubuntu".to_owned(), codename: "noble".to_owned() };
        let found = Mirrors::choose(&ubuntu, "http://archive.ubuntu.com/ubuntu noble\nhttp://x.example/y stable\n");
        assert_eq!([found.main.as_str(), found.security.as_str()], DEFAULT);
    }
}
