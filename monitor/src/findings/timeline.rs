//! Events in a container's past that stay findings for a while: OOM kills and restarts.

use std::time::{Duration, SystemTime};

use super::finding::{Finding, FindingKind};
use super::level::Level;
use crate::amount::age;

/// Age up to which an OOM kill is an error, and a restart a warning.
const RECENT: Duration = Duration::from_secs(10 * 60);
/// Age up to which an older OOM kill is a warning.
const LATELY: Duration = Duration::from_secs(60 * 60);
/// Uptimes are whole seconds and are not read at the same moment as the clock.
const JITTER: f64 = 2.0;

/// The time at which the kernel killed a process for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomKill {
    /// At this time.
    At(SystemTime),
    /// At some time since: the counter was above 0 when the container was first seen.
    Since(SystemTime),
}

/// The past of one container, out of its counter of OOM kills and its uptime.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    kills: Option<f64>,
    uptime: Option<f64>,
    oom_kill: Option<OomKill>,
    restarted: Option<SystemTime>,
}

impl Timeline {
    /// Takes the numbers of a report. A missing number changes nothing.
    pub fn observe(&mut self, at: SystemTime, kills: Option<f64>, uptime: Option<f64>) {
        let start = uptime.and_then(|uptime| at.checked_sub(Duration::try_from_secs_f64(uptime).ok()?));
        if let Some(kills) = kills {
            match self.kills.replace(kills) {
                Some(before) if kills > before => self.oom_kill = Some(OomKill::At(at)),
                None if kills > 0.0 => self.oom_kill = start.map(OomKill::Since),
                _ => {}
            }
        }
        if let Some(uptime) = uptime {
            let before = self.uptime.replace(uptime);
            if before.is_some_and(|before| uptime < before - JITTER) {
                self.restarted = start;
            }
        }
    }

    /// Takes the time of the latest OOM kill from elsewhere, unless a better one is known.
    pub fn learn(&mut self, kill: SystemTime) {
        if !matches!(self.oom_kill, Some(OomKill::At(_))) {
            self.oom_kill = Some(OomKill::At(kill));
        }
    }

    /// The findings about it at a time.
    pub(super) fn findings(&self, now: SystemTime) -> impl Iterator<Item = Finding> {
        let past = |at: SystemTime| now.duration_since(at).unwrap_or_default();
        let kill = self.oom_kill.and_then(|kill| {
            let (OomKill::At(at) | OomKill::Since(at)) = kill;
            let past = past(at);
            let level = if past < RECENT { Level::Error } else { Level::Warn };
            let text = match kill {
                OomKill::At(_) => format!("OOM kill {}", ago(past)),
                OomKill::Since(_) => format!("OOM kill in the last {}", age(past)),
            };
            (past < LATELY).then_some(Finding { kind: FindingKind::OomKill, level, text })
        });
        let restart = self.restarted.map(past).filter(|past| *past < RECENT).map(|past| Finding {
            kind: FindingKind::Restarted,
            level: Level::Warn,
            text: format!("restarted {}", ago(past)),
        });
        kill.into_iter().chain(restart)
    }
}

/// A time span before now.
pub(super) fn ago(past: Duration) -> String {
    if past < Duration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", age(past)) }
}
