//! The claims of this machine on names, and the commands that make, check, renew and give them up. No I/O, no clock.
//!
//! ```text
//!   looking     does another name of its own (name@host) still belong to it, from before the agent's restart?
//!      |
//!   claiming    the first free one of: name, name@host, name@machine, …
//!      |
//!   held        renewed; checked again on each new connection, and when a renewal may have come too late
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::step::{Reply, Step, StepKind};
use crate::foreign::text;

/// The expiry of a claim.
pub(crate) const EXPIRY: Duration = Duration::from_secs(60);
/// The age at which a claim is renewed, together with other commands.
const RENEWAL: Duration = Duration::from_secs(20);
/// The age at which it is renewed alone.
const OVERDUE: Duration = Duration::from_secs(30);
/// The age up to which it has certainly not expired when the server takes the command, which may be under way for 24 s.
const CERTAIN: Duration = Duration::from_secs(35);
/// The longest time in which a container is not reported because the answer is awaited.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The names that are claimed before one is taken without a claim.
const CLAIMED: usize = 3;
/// Longest text of another owner that is logged.
const LONGEST_OWNER: usize = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Looking,
    Claiming,
    Held,
}

/// The claim on the name of a container.
#[derive(Debug)]
struct Claim {
    stage: Stage,
    /// The position of the claimed name among the names that the container may have.
    rank: usize,
    claimed: String,
    /// The time at which the latest successful SET was made; `None` if none was.
    renewed: Option<Instant>,
    /// True if it was found on this connection to be ours.
    is_checked: bool,
    /// True if a command was not answered on this connection: one node of a cluster does not delay the reports to
    /// others.
    is_put_off: bool,
    /// The time since which the container is not reported.
    waits_since: Option<Duration>,
    /// Owner of the plain name, from the server's answer.
    owner: String,
}

/// The claims of this machine.
#[derive(Debug)]
pub(crate) struct OwnerTable {
    host: String,
    machine: String,
    /// The content of keys that were ours under the machine's former name.
    former: Option<String>,
    claims: BTreeMap<String, Claim>,
    /// The container for which each name is claimed: those of one machine must not share one.
    claimed: BTreeMap<String, String>,
    /// Names to give up, with the time of the latest renewal.
    released: Vec<(String, Instant)>,
    /// Names that were reported without a claim, and are another machine's.
    lost: Vec<String>,
    /// False while the server is away: names stay as they are.
    is_reachable: bool,
    /// True while the server refuses claims.
    is_refused: bool,
    /// True once it was logged that names are reported without claims.
    was_told: bool,
}

impl OwnerTable {
    pub(super) fn new(host: &str, machine: &str) -> Self {
        Self {
            host: host.to_owned(),
            machine: machine.to_owned(),
            former: None,
            claims: BTreeMap::new(),
            claimed: BTreeMap::new(),
            released: Vec::new(),
            lost: Vec::new(),
            is_reachable: true,
            is_refused: false,
            was_told: false,
        }
    }

    /// The content of the keys that are ours.
    pub(crate) fn value(&self) -> String {
        format!("{} {}", self.host, self.machine)
    }

    /// Records the machine's new name. Names that were claimed with the former one stay.
    pub(super) fn set_hostname(&mut self, host: &str) {
        self.former = Some(self.value());
        host.clone_into(&mut self.host);
        // Renewed at once.
        self.claims.values_mut().filter(|claim| claim.is_checked).for_each(|claim| claim.renewed = None);
    }

    /// Begins to claim a name; returns whether it was not claimed before.
    pub(super) fn want(&mut self, name: &str) -> bool {
        if self.claims.contains_key(name) {
            return false;
        }
        let claim = Claim {
            stage: Stage::Looking,
            rank: 0,
            claimed: String::new(),
            renewed: None,
            is_checked: false,
            is_put_off: false,
            waits_since: None,
            owner: String::new(),
        };
        self.claims.insert(name.to_owned(), claim);
        self.enter(name, 0, Stage::Looking);
        true
    }

    /// Gives up a name that is held; returns the claimed one.
    pub(super) fn end(&mut self, name: &str) -> Option<String> {
        self.claims.get(name).filter(|claim| claim.stage == Stage::Held)?;
        self.remove(name)
    }

    /// Gives up all names but these.
    pub(super) fn retain(&mut self, names: &BTreeSet<&str>) {
        let unwanted: Vec<String> = self.claims.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        unwanted.iter().for_each(|name| _ = self.remove(name));
    }

    fn remove(&mut self, name: &str) -> Option<String> {
        let claim = self.claims.remove(name)?;
        self.claimed.remove(&claim.claimed);
        let renewed = claim.renewed.filter(|_| claim.stage == Stage::Held && claim.rank < CLAIMED);
        self.released.extend(renewed.map(|at| (claim.claimed.clone(), at)));
        Some(claim.claimed)
    }

    /// Returns the name under which a container is reported; `None` while the answer is awaited.
    pub(crate) fn reported<'a>(&'a mut self, name: &'a str, now: Duration) -> Option<&'a str> {
        let Some(claim) = self.claims.get_mut(name) else { return Some(name) };
        if claim.stage != Stage::Held && !self.is_refused {
            let since = *claim.waits_since.get_or_insert(now);
            if self.is_reachable && !claim.is_put_off && now.saturating_sub(since) < LONGEST_WAIT {
                return None;
            }
            if !std::mem::replace(&mut self.was_told, true) {
                tracing::warn!(
                    "Container names are not claimed while Valkey is away; a machine with containers of the same names is \
                     told apart once it answers"
                );
            }
        }
        Some(&claim.claimed)
    }

    /// Records a new connection: another server may have answered.
    pub(crate) fn connected(&mut self) {
        self.is_reachable = true;
        // They expire; until then another machine may have claimed one.
        self.released.clear();
        self.claims.values_mut().for_each(|claim| (claim.is_checked, claim.is_put_off) = (false, false));
    }

    /// Records that the server cannot be reached.
    pub(crate) fn disconnected(&mut self) {
        self.is_reachable = false;
    }

    /// Returns the commands that must be answered before reports are written, for at most `most` names.
    pub(crate) fn urgent(&mut self, now: Instant, most: usize) -> Vec<Step> {
        if self.is_refused { Vec::new() } else { self.steps(now, most, true) }
    }

    /// Returns the commands that go along with reports.
    pub(crate) fn routine(&mut self, now: Instant, most: usize) -> Vec<Step> {
        // A single claim finds out whether the server takes them again.
        self.steps(now, if self.is_refused { 1 } else { most }, false)
    }

    fn steps(&mut self, now: Instant, most: usize, is_urgent: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut names = 0;
        for (name, claim) in &self.claims {
            let kinds = claim.kinds(now, is_urgent);
            // Their answers are short; others may be as long as somebody wants.
            names += usize::from(!kinds.is_empty() && kinds != [StepKind::Renew]);
            if names > most {
                break;
            }
            let looks = kinds.contains(&StepKind::Look);
            steps.extend(kinds.iter().enumerate().map(|(at, kind)| {
                let rank = if looks { at + 1 } else { claim.rank };
                let claimed = if looks { self.candidate(name, rank) } else { claim.claimed.clone() };
                Step { name: name.clone(), rank, claimed, kind: *kind, at: now }
            }));
        }
        if steps.is_empty() && is_urgent {
            return steps;
        }
        let released = std::mem::take(&mut self.released).into_iter();
        let ours = released.filter(|(_, renewed)| now - *renewed < CERTAIN);
        let releases =
            ours.map(|(claimed, _)| Step { name: String::new(), rank: 0, claimed, kind: StepKind::Release, at: now });
        releases.chain(steps).collect()
    }

    /// Returns when a command becomes due that does not wait for reports.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let renewed = self.claims.values().filter(|claim| claim.stage == Stage::Held && claim.rank < CLAIMED);
        renewed.filter_map(|claim| claim.renewed).min().map(|renewed| renewed + OVERDUE)
    }

    /// Takes the answer to a command.
    pub(crate) fn answered(&mut self, step: &Step, reply: &Reply) {
        let ours = self.value();
        let ours = [Some(ours), self.former.clone()];
        let is_ours =
            matches!(reply, Reply::Owner(owner) if ours.iter().flatten().any(|ours| owner == ours.as_bytes()));
        if matches!(step.kind, StepKind::Take | StepKind::Renew) {
            self.is_refused = false;
        }
        let is_refused = self.is_refused;
        let Some(claim) = self.claims.get_mut(&step.name) else { return };
        let is_current = claim.claimed == step.claimed;
        // Nodes of a cluster that redirect commands may answer them in another order.
        let is_ours = is_ours || (matches!(reply, Reply::Nothing) && claim.renewed == Some(step.at));
        match step.kind {
            StepKind::Look if claim.stage == Stage::Looking => {
                if is_ours && self.claimed.get(&step.claimed).is_none_or(|name| *name == step.name) {
                    self.lost.push(step.name.clone());
                    self.enter(&step.name, step.rank, Stage::Claiming);
                    self.hold(step);
                } else if step.rank + 1 == CLAIMED {
                    claim.stage = Stage::Claiming;
                }
            }
            StepKind::Take if is_current && matches!(reply, Reply::Done) => claim.renewed = Some(step.at),
            StepKind::Renew if is_current => {
                claim.renewed = matches!(reply, Reply::Done).then_some(step.at);
                claim.is_checked = claim.renewed.is_some();
            }
            StepKind::Read if is_current && is_ours => self.hold(step),
            StepKind::Read if is_current && !is_refused => self.give_way(step, reply),
            _ => {}
        }
    }

    /// Records that a command was not answered.
    pub(crate) fn unanswered(&mut self, step: &Step) {
        if let Some(claim) = self.claims.get_mut(&step.name) {
            claim.is_put_off = true;
        }
    }

    /// Records that the server refuses claims; everything is reported as it is.
    pub(crate) fn refused(&mut self) {
        self.is_refused = true;
    }

    /// The names that are claimed.
    #[cfg(test)]
    pub(crate) fn claimed(&self) -> impl Iterator<Item = &str> {
        self.claimed.keys().map(String::as_str)
    }

    /// Takes the names that were reported without a claim and are another machine's.
    pub(crate) fn take_lost(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lost)
    }

    /// The name is another machine's.
    fn give_way(&mut self, step: &Step, reply: &Reply) {
        if let Some(claim) = self.claims.get_mut(&step.name) {
            claim.owner = match reply {
                Reply::Owner(owner) => text::cut(&String::from_utf8_lossy(owner), LONGEST_OWNER).to_owned(),
                _ => String::new(),
            };
        }
        self.lost.push(step.claimed.clone());
        self.enter(&step.name, step.rank + 1, Stage::Claiming);
        if self.claims.get(&step.name).is_some_and(|claim| claim.stage == Stage::Held) {
            self.tell(&step.name);
        }
    }

    /// The name is ours.
    fn hold(&mut self, step: &Step) {
        let Some(claim) = self.claims.get_mut(&step.name) else { return };
        // The expiry is known only if the claim was made or renewed recently.
        claim.renewed = claim.renewed.filter(|renewed| step.at - *renewed < CERTAIN);
        claim.is_checked = true;
        if std::mem::replace(&mut claim.stage, Stage::Held) != Stage::Held && claim.rank > 0 {
            self.tell(&step.name);
        }
    }

    /// Goes on with the next name that no other container of this machine has.
    fn enter(&mut self, name: &str, rank: usize, stage: Stage) {
        let is_free = |claimed: &str| self.claimed.get(claimed).is_none_or(|other| other == name);
        let found = (rank..).map(|rank| (rank, self.candidate(name, rank))).find(|(_, claimed)| is_free(claimed));
        let (Some((rank, claimed)), Some(claim)) = (found, self.claims.get_mut(name)) else { return };
        self.claimed.remove(&claim.claimed);
        self.claimed.insert(claimed.clone(), name.to_owned());
        (claim.rank, claim.claimed, claim.renewed, claim.waits_since) = (rank, claimed, None, None);
        // The last names are taken without a claim.
        claim.stage = if rank < CLAIMED { stage } else { Stage::Held };
    }

    /// The names that are claimed for a container, the best first.
    pub(super) fn candidates(&self, name: &str) -> impl Iterator<Item = String> {
        (0..CLAIMED).map(move |rank| self.candidate(name, rank))
    }

    fn candidate(&self, name: &str, rank: usize) -> String {
        match rank {
            0 => name.to_owned(),
            1 => format!("{name}@{}", self.host),
            2 => format!("{name}@{}", self.machine),
            _ => format!("{name}@{}-{rank}", self.machine),
        }
    }

    fn tell(&self, name: &str) {
        let Some(Claim { claimed, owner, .. }) = self.claims.get(name) else { return };
        let owner = if owner.is_empty() { "unknown" } else { owner };
        tracing::warn!(name, reported_as = %claimed, owner, "Container name belongs to another machine: host appended");
    }
}

impl Claim {
    /// Returns the commands that it needs now, together with reports or before them.
    fn kinds(&self, now: Instant, is_urgent: bool) -> &'static [StepKind] {
        let age = self.renewed.map(|renewed| now - renewed);
        let is_certain = age.is_some_and(|age| age < CERTAIN);
        match self.stage {
            _ if self.rank >= CLAIMED || (is_urgent && self.is_put_off) => &[],
            Stage::Looking => &[StepKind::Look, StepKind::Look],
            Stage::Claiming => &[StepKind::Take, StepKind::Read],
            // Ours at the last check; it may expire at any time.
            Stage::Held if self.is_checked && age.is_none() => &[StepKind::Renew],
            Stage::Held if self.is_checked && is_certain => {
                let due = if is_urgent { OVERDUE } else { RENEWAL };
                if age.is_some_and(|age| age >= due) { &[StepKind::Renew] } else { &[] }
            }
            Stage::Held if is_urgent && (is_certain || age.is_none()) => &[],
            Stage::Held => &[StepKind::Take, StepKind::Read],
        }
    }
}

#[cfg(test)]
mod tests;
