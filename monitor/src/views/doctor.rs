//! The capabilities of this host: available, refused or not needed, each with its reason and its remedy.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use serde::Serialize;

use super::once::Look;
use super::text::{ansi, printable, wrap};
use crate::cause::CauseKind;
use crate::findings::Level;
use crate::hardening::capabilities;
use crate::metrics::{CONTROLLER_ITERATOR, CPU_ITERATOR, MEMORY_ITERATOR, Metric, TASK_ITERATOR};
use crate::preflight::Plan;
use crate::programs::{ProgramState, State as Attachment};
use crate::refusal::Decision;
use crate::report::{Container, Report};
use crate::valkey::health::AgentStatus;

/// Indentation of the lines below a check.
const INDENT: usize = 6;

/// Name of the check of pins: its refusal costs this agent no number, but the next agent loses the counters of this
/// one.
const PINS: &str = "pins";

/// State of a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It works.
    Available,
    /// The host or its configuration refuses it.
    Refused,
    /// Something better is there, or it was switched off.
    NotNeeded,
}

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Why.
    pub why: String,
    /// The numbers that it feeds.
    pub feeds: Vec<&'static str>,
    /// The remedy, if there is one.
    #[serde(rename = "cure")]
    pub remedy: Option<String>,
}

impl Check {
    /// A capability that feeds no number of its own.
    pub fn new(name: impl Into<String>, state: State, why: impl Into<String>, remedy: Option<String>) -> Self {
        Self { name: name.into(), state, why: why.into(), feeds: Vec::new(), remedy }
    }
}

/// Checks an eBPF program.
pub fn program(program: &ProgramState) -> Check {
    let (state, why, remedy) = match &program.state {
        Attachment::Attached => (State::Available, "it is attached".to_owned(), None),
        Attachment::Off(why) => (State::NotNeeded, why.clone(), None),
        Attachment::Refused(refusal)
            if [CPU_ITERATOR, CONTROLLER_ITERATOR, MEMORY_ITERATOR, TASK_ITERATOR].contains(&program.name) =>
        {
            (State::NotNeeded, format!("{}; files say the same", refusal.cause), refusal.remedy.clone())
        }
        Attachment::Refused(refusal) => (State::Refused, refusal.cause.clone(), refusal.remedy.clone()),
    };
    Check { feeds: fed_by(program.name), ..Check::new(format!("eBPF {}", program.name), state, why, remedy) }
}

/// Checks the rest of the plan: pins, and the privileges that the agent drops once it runs.
pub fn plan(plan: &Plan) -> Vec<Check> {
    let kept: Vec<String> =
        plan.retained.iter().map(|kept| format!("{} for {}", capabilities::names(kept.capability), kept.why)).collect();
    let kept = if kept.is_empty() { String::new() } else { format!(" but {}", kept.join("; ")) };
    vec![
        decided(PINS, &plan.pins, "eBPF counters survive a restart of the agent"),
        decided("dropping privileges", &plan.drop, &format!("the agent drops all capabilities{kept}")),
        decided(
            "Landlock",
            &plan.landlock,
            if plan.confines_sampler {
                "the agent is confined to the files and ports it needs, as far as this kernel can"
            } else {
                "network threads are confined to the files and ports they need, as far as this kernel can"
            },
        ),
        decided("seccomp", &plan.seccomp, "the agent cannot make system calls that it does not need"),
    ]
}

fn decided(name: &str, decision: &Decision, taken: &str) -> Check {
    match decision {
        Decision::Take => Check::new(name, State::Available, taken, None),
        Decision::Off(why) => Check::new(name, State::NotNeeded, why.as_str(), None),
        Decision::Refused(refusal) => Check::new(name, State::Refused, refusal.cause.as_str(), refusal.remedy.clone()),
    }
}

/// Checks events that the running agent has lost; empty if there are none.
pub fn losses(status: &AgentStatus) -> Vec<Check> {
    let AgentStatus { lost_events, walked_again, .. } = status;
    let events = Check::new(
        "lost events",
        State::Refused,
        format!(
            "{lost_events} packets or events are not counted: more cgroups came between two readings than an eBPF map \
             had room for, or a task was preempted in a program that others needed. The numbers that lack them were null \
             then, and each reading since makes room where it may"
        ),
        Some(
            "if agent.lost_events still grows, shorten --interval, let the agent keep what it takes to make larger maps \
             (--drop-privileges false), or switch --ebpf-fd-events off on a fully preemptible kernel"
                .to_owned(),
        ),
    );
    let walks = Check::new(
        "following containers",
        State::Available,
        format!(
            "cgroups came and went faster than the agent could be told ({walked_again}×); each time the tree was walked \
             again, and all that was there is known"
        ),
        None,
    );
    [(lost_events, events), (walked_again, walks)]
        .into_iter()
        .filter_map(|(count, check)| (*count > 0).then_some(check))
        .collect()
}

/// The numbers that an eBPF program feeds.
pub fn fed_by(program: &str) -> Vec<&'static str> {
    fields()
        .filter(|(metric, _)| metric.spec().origins().iter().any(|origin| origin.programs().contains(&program)))
        .map(|(_, field)| field)
        .collect()
}

/// One check per number that a container's report lacks, and one per backend that feeds the others.
pub fn numbers(report: &Report) -> Vec<Check> {
    report.containers.iter().flat_map(|container| backends(container).into_iter().chain(missing(container))).collect()
}

fn backends(container: &Container) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for (metric, field) in fields() {
        let Some(origin) = container.origins.of(metric) else { continue };
        let name = format!("source {}", origin.backend());
        match checks.iter_mut().find(|check| check.name == name) {
            Some(check) => check.feeds.push(field),
            None => checks.push(Check { feeds: vec![field], ..Check::new(name, State::Available, "it is read", None) }),
        }
    }
    checks
}

fn missing(container: &Container) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for (metric, field) in fields() {
        let Err(cause) = container.get(metric) else { continue };
        if is_no_lack(cause.kind()) {
            continue;
        }
        match checks.iter_mut().find(|check| check.why == cause.as_str()) {
            Some(check) => check.feeds.push(field),
            None => checks.push(Check {
                feeds: vec![field],
                ..Check::new("number absent", State::Refused, cause.as_str(), None)
            }),
        }
    }
    checks
}

/// True for an absence that is no fault of this host: a limit that nobody set, a walk in progress. The numbers of an
/// eBPF program are listed with the program.
fn is_no_lack(cause: CauseKind) -> bool {
    matches!(cause, CauseKind::NoLimit | CauseKind::Pending | CauseKind::NotAttached)
}

fn fields() -> impl Iterator<Item = (Metric, &'static str)> {
    Metric::fields()
}

/// True if no refusal costs a number.
pub fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.state != State::Refused || check.name == PINS)
}

/// The checks for a terminal: refused ones first, because they need a remedy.
pub fn render(checks: &[Check], Look { theme, columns }: Look) -> String {
    let mut lines = Vec::new();
    let order = [
        (State::Refused, "refused", "✗", theme.level(Level::Error)),
        (State::Available, "available", "✓", theme.good()),
        (State::NotNeeded, "not needed", "·", theme.faint()),
    ];
    for (state, title, mark, style) in order {
        let checks: Vec<&Check> = checks.iter().filter(|check| check.state == state).collect();
        if !checks.is_empty() {
            lines.push(Line::styled(format!("{title} ({})", checks.len()), theme.heading()));
        }
        for check in checks {
            lines.push(Line::from(vec![
                Span::styled(format!("  {mark} "), style),
                Span::styled(printable(&check.name), theme.strong()),
            ]));
            lines.extend(paragraph(&check.why, "", columns, Style::default()));
            if let Some(remedy) = &check.remedy {
                lines.extend(paragraph(remedy, "remedy: ", columns, theme.strong()));
            }
            if !check.feeds.is_empty() {
                lines.extend(paragraph(&check.feeds.join(", "), "feeds ", columns, theme.faint()));
            }
        }
    }
    ansi(&lines, theme.color)
}

/// Wraps words below a check, with a hanging indent behind `begin`.
fn paragraph(words: &str, begin: &str, columns: usize, style: Style) -> Vec<Line<'static>> {
    let lines = wrap(&printable(words), columns.saturating_sub(INDENT + begin.len()));
    let lines = lines.into_iter().enumerate().map(|(place, words)| {
        let begin = if place == 0 { begin.to_owned() } else { " ".repeat(begin.len()) };
        Line::styled(format!("{}{begin}{words}", " ".repeat(INDENT)), style)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::theme::Theme;

    #[test]
    fn a_program_knows_its_numbers_from_the_table() {
        assert_eq!(
            fed_by("ingress"),
            ["network_rx_bytes", "network.rx_packets", "network.loopback_rx_bytes", "network.loopback_rx_packets"]
        );
        assert_eq!(fed_by("sched_process_exec"), ["processes.execs"]);
        assert!(fed_by("no such program").is_empty());
    }

    #[test]
    fn what_was_lost_is_told_with_its_cause_and_nothing_is_where_nothing_was() {
        let losses = |lost_events, walked_again| losses(&AgentStatus { delivery: None, lost_events, walked_again });
        assert_eq!(losses(0, 0), []);
        assert!(!is_well(&losses(1, 0)) && is_well(&losses(0, 1)));
        insta::assert_snapshot!(render(&losses(12, 3), Look { theme: Theme { color: false }, columns: 80 }));
    }

    #[test]
    fn a_refusal_shows_its_remedy() {
        let checks = [
            Check::new("source procfs", State::Available, "it is read", None),
            Check::new(
                "eBPF ingress",
                State::Refused,
                "EPERM: a capability is missing",
                Some("add CAP_NET_ADMIN".into()),
            ),
        ];
        assert!(!is_well(&checks));
        insta::assert_snapshot!(render(&checks, Look { theme: Theme { color: false }, columns: 30 }));
    }
}
