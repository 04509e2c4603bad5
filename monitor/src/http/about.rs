//! The agent itself, as `/api/v1/agent` and `/metrics` describe it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::programs::{ProgramState, State};
use crate::snapshot::Scope;

/// Facts about the agent that stay the same while it runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Its scope; `None` for a fleet.
    pub scope: Option<Scope>,
    /// Time between two reports.
    pub interval: Duration,
    /// The eBPF programs, attached or not.
    pub programs: Vec<ProgramState>,
    /// The sinks of reports, or the origin of a fleet's: kind and address.
    pub sinks: BTreeMap<&'static str, String>,
}

/// The answer of `/api/v1/agent`.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct AgentState {
    pub(super) version: &'static str,
    pub(super) host: Option<String>,
    pub(super) scope: Option<&'static str>,
    pub(super) interval_seconds: f64,
    pub(super) started: String,
    pub(super) collect_micros: Option<u128>,
    pub(super) containers: usize,
    pub(super) programs: Vec<ProgramStatus>,
    pub(super) sinks: BTreeMap<&'static str, String>,
}

/// An eBPF program, and why it is not attached.
#[derive(Debug, serde::Serialize)]
pub(super) struct ProgramStatus {
    pub(super) name: String,
    state: &'static str,
    cause: Option<String>,
    #[serde(rename = "cure")]
    remedy: Option<String>,
}

impl ProgramStatus {
    pub(super) fn is_attached(&self) -> bool {
        self.state == "attached"
    }
}

impl From<&ProgramState> for ProgramStatus {
    fn from(program: &ProgramState) -> Self {
        let (state, refusal) = match &program.state {
            State::Attached => ("attached", None),
            State::Off(_) => ("off", None),
            State::Refused(refusal) => ("refused", Some(refusal)),
        };
        Self {
            name: program.name.to_string(),
            state,
            cause: refusal.map(|refusal| refusal.cause.clone()),
            remedy: refusal.and_then(|refusal| refusal.remedy.clone()),
        }
    }
}
