//! The loop of the agent: it samples, compares with the sample before, and publishes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::final_readings::FinalReadings;
use super::health::Health;
use crate::publish::Publisher;
use crate::report::Report;
use crate::snapshot::{Coverage, Snapshot};
use crate::sources::{Sampled, SamplerThread};
use crate::timer;

/// Time limit of the sample that is under way when the agent is asked to stop, and of the last one.
const LAST_SAMPLE: Duration = Duration::from_millis(250);

/// The longest wait for the first report: rates over less than the whole interval, but early.
const FIRST_REPORT: Duration = Duration::from_secs(1);

/// The time after the start in which ticks come early while a name is not known yet: its container would be missing for
/// a whole interval otherwise.
const SETTLING: Duration = Duration::from_secs(5);

/// Containers that exit within this time of each other share a sample, so that the agent's load does not grow with
/// their number.
const BATCHING: Duration = Duration::from_millis(20);

/// Samples at each tick, and publishes reports.
#[derive(Debug)]
pub struct Agent {
    /// The thread that samples.
    pub sampler: SamplerThread,
    /// Time between two reports.
    pub interval: Duration,
    /// Notified when a container has exited or lost its last process, so that it is sampled before the next tick.
    pub exited: Arc<Notify>,
    /// The channel to the sinks.
    pub reports: Publisher,
}

/// The reason for the next sample.
enum Turn {
    Tick,
    Exited,
    Stop,
}

impl Agent {
    /// Reads and publishes until `shutdown` completes; then publishes a last report, and ends the reports.
    ///
    /// Ticks lie on a grid of the interval. A sample that takes longer than an interval drops the ticks in between: it
    /// is reported late, and once. Between two ticks, containers that have exited are sampled and reported at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { sampler, interval, exited, reports } = self;
        let mut health = Health::default();
        let mut final_readings = FinalReadings::default();
        let mut prev: Option<Snapshot> = None;
        let early = FIRST_REPORT.min(interval / 2);
        let mut due = timer::now() + early;
        let settled = timer::now() + SETTLING;
        let mut coverage = Coverage::All;
        let mut is_stopping = false;
        tokio::pin!(shutdown);

        loop {
            let sample = sampler.sample(coverage);
            tokio::pin!(sample);
            let sampled = tokio::select! {
                sampled = &mut sample => sampled,
                () = &mut shutdown => {
                    is_stopping = true;
                    tokio::time::timeout(LAST_SAMPLE, sample).await.ok().flatten()
                }
            };
            let Some(Sampled { snapshot: mut now, cost, errors }) = sampled else {
                return publish(&reports, last_of(prev));
            };
            health.sources(errors);
            final_readings.follow(&mut now);
            if prev.is_some() {
                let last = reports.latest();
                let report = Report::after(last.as_deref(), prev.as_ref(), &now, cost);
                health.report(&report);
                reports.publish(report);
            }
            if coverage == Coverage::All {
                let time = timer::now();
                let is_early = time < settled && now.cgroups.values().any(|cgroup| cgroup.withheld);
                due = if is_early { time + early } else { next_on_grid(due, interval, time) };
                prev = Some(now);
            }
            if is_stopping {
                break;
            }
            let turn = tokio::select! {
                turn = next_turn(due, &exited) => turn,
                () = &mut shutdown => Turn::Stop,
            };
            coverage = match turn {
                Turn::Tick => Coverage::All,
                Turn::Exited => Coverage::Exited,
                Turn::Stop => break,
            };
        }
        let last = match tokio::time::timeout(LAST_SAMPLE, sampler.sample(Coverage::All)).await {
            Ok(Some(Sampled { snapshot: mut now, cost, .. })) => {
                final_readings.follow(&mut now);
                Some(Report::after(reports.latest().as_deref(), prev.as_ref(), &now, cost))
            }
            _ => last_of(prev),
        };
        publish(&reports, last);
    }
}

/// Waits for the next tick, or before that for a container that exits, and for those that exit soon after it.
async fn next_turn(due: Instant, exited: &Notify) -> Turn {
    let at_once = async {
        exited.notified().await;
        tokio::time::sleep(BATCHING).await;
        // The next sample also covers the containers that are notified during this wait.
        tokio::select! {
            biased;
            () = exited.notified() => {}
            () = std::future::ready(()) => {}
        }
    };
    tokio::select! {
        () = tokio::time::sleep_until(due) => Turn::Tick,
        () = at_once => Turn::Exited,
    }
}

/// The first tick of the grid that is still to come.
fn next_on_grid(due: Instant, interval: Duration, now: Instant) -> Instant {
    match now.checked_duration_since(due) {
        None => due,
        Some(late) => {
            let passed = late.as_nanos() / interval.as_nanos().max(1) + 1;
            due + interval * u32::try_from(passed).unwrap_or(u32::MAX)
        }
    }
}

/// The last report out of the sample before, when there is no time for another.
fn last_of(prev: Option<Snapshot>) -> Option<Report> {
    prev.map(|now| Report::new(None, &now, Duration::ZERO))
}

fn publish(reports: &Publisher, last: Option<Report>) {
    if let Some(last) = last {
        reports.publish(last.as_last());
    }
}

#[cfg(test)]
mod tests;
