//! The state of delivery: for reports, for the log entries of containers, and for the agent's own log.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::backlog::Backlog;
use crate::events::Event;
use crate::report::Delivery;
use crate::snapshot::Stamp;
use crate::valkey::Fault;

/// The state of delivery.
pub(super) struct Status {
    /// The server, without its password.
    target: String,
    state: watch::Sender<Delivery>,
    /// The beginning and the cause of an outage, while reports are not written.
    outage: Option<(Stamp, String)>,
    /// Events of the connection, for the log entries of the next report.
    news: Vec<Event>,
    /// True if the connection was logged since reports were last written.
    logged_connect: bool,
}

impl Status {
    /// Starts without a connection.
    pub(super) fn new(target: String) -> Self {
        let state = watch::Sender::new(Delivery::default());
        Self { target, state, outage: None, news: Vec::new(), logged_connect: false }
    }

    /// Returns the state for others.
    pub(super) fn subscribe(&self) -> watch::Receiver<Delivery> {
        self.state.subscribe()
    }

    /// Returns whether reports are not written.
    pub(super) fn is_outage(&self) -> bool {
        self.outage.is_some()
    }

    /// Takes the events of the connection.
    pub(super) fn take_news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.news)
    }

    /// Counts bytes that are sent.
    pub(super) fn sending(&self, bytes: u64) {
        self.state.send_modify(|state| state.bytes += bytes);
    }

    /// Records an answer.
    pub(super) fn answered(&self, round_trip: Duration) {
        self.state.send_modify(|state| state.round_trip = Some(round_trip));
    }

    /// Records the backlog.
    pub(super) fn update(&self, backlog: &Backlog) {
        let Backlog { dropped, resent, .. } = *backlog;
        let backlog = backlog.len() as u64;
        self.state.send_modify(|state| *state = Delivery { backlog, dropped, resent, ..state.clone() });
    }

    /// Records a connection.
    pub(super) fn connected(&mut self, wall: SystemTime) {
        if !std::mem::replace(&mut self.logged_connect, true) {
            tracing::info!(server = %self.target, "Connected to Valkey");
        }
        self.state.send_modify(|state| state.connected_since = Some(wall));
    }

    /// Records that the connection is gone.
    pub(super) fn disconnected(&self) {
        self.state.send_modify(|state| state.connected_since = None);
    }

    /// Records that a report was not written.
    pub(super) fn failed(&mut self, fault: &Fault, now: Stamp) {
        self.outage.get_or_insert_with(|| (now, fault.to_string()));
    }

    /// Records that reports are written.
    pub(super) fn written(&mut self, backlog: &Backlog, now: Stamp) {
        let Some((since, cause)) = self.outage.take() else { return };
        self.logged_connect = false;
        let away = now.mono.saturating_sub(since.mono).as_secs_f64();
        let (waiting, dropped) = (backlog.len(), backlog.dropped);
        let text =
            format!("Valkey was away for {away:.1} s: {cause}; {waiting} entries waited, {dropped} dropped so far");
        tracing::info!(outage_seconds = (away * 10.0).round() / 10.0, waiting, "Valkey takes reports again");
        self.news.push(Event::Delivery(text));
    }

    /// Describes the connection, for heartbeats.
    pub(super) fn describe(&self) -> String {
        let state = self.state.borrow();
        let since = state.connected_since.map_or_else(
            || "is not connected".to_owned(),
            |since| format!("connected since {}", humantime::format_rfc3339_seconds(since)),
        );
        let mut text = format!("Valkey {} {since}", self.target);
        if let Some(round_trip) = state.round_trip {
            text += &format!(", round trip {:.1} ms", round_trip.as_secs_f64() * 1e3);
        }
        for (count, what) in [(state.backlog, "entries wait"), (state.dropped, "dropped"), (state.resent, "sent again")]
        {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text
    }
}
