//! Rules that choose the watched cgroups and the reported names.

use std::collections::BTreeSet;

use super::glob::Glob;
use super::name_template::NameTemplate;
use super::runtime_path::{self, PathHint};

/// The machine, among names: the path of its cgroup, which is no container's name.
const MACHINE: &str = "/";

/// The rules that choose which cgroups count as containers, and which of them are reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// True if systemd's services and scopes are watched like containers.
    pub units: bool,
    /// Additional cgroups, by their paths.
    pub paths: Vec<Glob>,
    /// Patterns of the reported names; empty for all.
    pub include: Vec<Glob>,
    /// Patterns of the names that are not reported.
    pub exclude: Vec<Glob>,
    /// Template of the reported names.
    pub(super) template: NameTemplate,
    /// Names that are not reported even if the machine has one of them; [`MACHINE`] stands for its name.
    excluded: BTreeSet<String>,
}

impl Rules {
    /// Adds cgroups: `systemd`, and patterns of paths, separated by commas.
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn with_cgroups(mut self, text: &str) -> Result<Self, String> {
        for word in words(text) {
            match word {
                "systemd" => self.units = true,
                path if path.starts_with('/') => self.paths.push(Glob::new(path)),
                _ => {
                    return Err("write systemd, or patterns of paths that begin with a slash: /jobs.slice/*".to_owned());
                }
            }
        }
        Ok(self)
    }

    /// Adds patterns of names, separated by commas; a leading `!` excludes.
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn with_names(mut self, text: &str) -> Result<Self, String> {
        for word in words(text) {
            match word.strip_prefix('!') {
                Some("") => return Err("has a ! without a name behind it".to_owned()),
                Some(name) => {
                    self.exclude.push(Glob::new(name));
                    self.excluded.insert(name.to_owned());
                }
                None => self.include.push(Glob::new(word)),
            }
        }
        Ok(self)
    }

    /// Sets how the reported names are made.
    #[must_use]
    pub fn with_template(self, template: NameTemplate) -> Self {
        Self { template, ..self }
    }

    /// Returns what the path of a cgroup reveals, if it is watched as a container.
    pub fn hint(&self, path: &str) -> Option<PathHint> {
        let other = || self.paths.iter().any(|glob| glob.matches(path)).then_some(PathHint::other());
        runtime_path::container(path).or_else(|| self.units.then(|| runtime_path::unit(path)).flatten()).or_else(other)
    }

    /// True if the machine itself is reported. It is whatever the patterns are, so that none takes it away by chance;
    /// only its own name or `/` behind a `!` leaves it out.
    pub fn reports_machine(&self, hostname: &str) -> bool {
        !self.excluded.contains(MACHINE) && !self.excluded.contains(hostname)
    }

    /// True if a container with this name is reported.
    pub fn reports(&self, name: &str) -> bool {
        let among = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        (self.include.is_empty() || among(&self.include)) && !among(&self.exclude)
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_chosen_and_left_out() {
        let rules = Rules::default().with_names("web*, db,!*-test").unwrap();
        let reported = ["web", "web-1", "db", "db2", "web-test"].map(|name| rules.reports(name));
        assert_eq!(reported, [true, true, true, false, false]);
        assert!(Rules::default().reports("anything"));
        let all_but = Rules::default().with_names("!x").unwrap();
        assert!(all_but.reports("y") && !all_but.reports("x"));
    }

    #[test]
    fn the_machine_is_left_out_by_its_own_name_alone() {
        let reports = |names: &str| Rules::default().with_names(names).unwrap().reports_machine("node-test");
        assert!(reports("") && reports("web*") && reports("!*-test") && reports("!*") && reports("!other"));
        assert!(!reports("!/") && !reports("web*,!node-test"));
    }

    #[test]
    fn units_and_paths_are_watched_when_asked_for() {
        let plain = Rules::default();
        assert_eq!(plain.hint("/system.slice/ssh.service"), None);
        let rules = Rules::default().with_cgroups("systemd,/jobs/*").unwrap();
        let hint = rules.hint("/system.slice/ssh.service").unwrap();
        assert_eq!((hint.runtime, hint.name.as_deref()), ("systemd", Some("ssh.service")));
        assert_eq!(rules.hint("/jobs/7").unwrap().runtime, "cgroup");
        assert_eq!(rules.hint("/jobs/7/inner"), None);
        let docker = rules.hint(&format!("/system.slice/docker-{ID}.scope")).unwrap();
        assert_eq!(docker.runtime, "docker", "a container before a unit");
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        assert!(Rules::default().with_cgroups("jobs/*").unwrap_err().contains("begin with a slash"));
        assert!(Rules::default().with_names("a,!").unwrap_err().contains('!'));
    }
}
