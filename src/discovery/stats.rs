//! What discovery counts.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::basis::Basis;
use crate::model::{Failure, Histogram, HistogramSnapshot, REQUEST_SECONDS};

/// Counters of one zone's discovery, only ever growing. Written by its poller and the visits it sends, read by anybody.
#[derive(Debug, Default)]
pub struct Stats {
    /// Rounds of questions.
    pub rounds: AtomicU64,
    /// Rounds in which no node gave a list.
    pub unanswered_rounds: AtomicU64,
    /// Lists received.
    pub answers: AtomicU64,
    /// Times that an observer's tables were read.
    pub views: AtomicU64,
    /// Times that they could not be read, though the observer answered otherwise.
    pub failed_views: AtomicU64,
    /// Entries of lists, and rows of tables, that were no usable address.
    pub skipped_entries: AtomicU64,
    /// Requests refused, or closed before a reply.
    pub refused: AtomicU64,
    /// Requests without a reply in time, or with no way to the node.
    pub silent: AtomicU64,
    /// Replies with a status other than 200.
    pub bad_status: AtomicU64,
    /// Replies that were no list of nodes.
    pub bad_reply: AtomicU64,
    /// Seed names that could not be resolved, counted each time.
    pub unresolved_seeds: AtomicU64,
    /// Host names in lists that could not be resolved, counted each time.
    pub unresolved_hosts: AtomicU64,
    /// Nodes that joined.
    pub joined: AtomicU64,
    /// Nodes that left.
    pub left: AtomicU64,
    latency: Latency,
    /// Locked for a clone, by its writer and by whoever looks.
    basis: Mutex<Basis>,
    /// When a round last succeeded, milliseconds since 1970; 0 for never.
    succeeded_at: AtomicU64,
}

/// How long requests took that gave a list.
#[derive(Debug)]
struct Latency(Histogram);

impl Default for Latency {
    fn default() -> Self {
        Latency(Histogram::new(REQUEST_SECONDS))
    }
}

impl Stats {
    /// How long requests took that gave a list, from the connection to the end of the reply.
    pub fn latency(&self) -> HistogramSnapshot {
        self.latency.0.snapshot()
    }

    /// When a round ended last in which a node gave a list; `None` before the first.
    pub fn last_success(&self) -> Option<SystemTime> {
        let millis = self.succeeded_at.load(Relaxed);
        (millis > 0).then(|| UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// What discovery goes by.
    pub fn basis(&self) -> Basis {
        self.basis.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_basis(&self, basis: Basis) {
        *self.basis.lock().unwrap_or_else(PoisonError::into_inner) = basis;
    }

    /// Requests that gave no list, by reason: `refused`, `silent`, `status` and `reply` as the fields here say.
    pub fn failures_by_reason(&self) -> [(&'static str, u64); 4] {
        [("refused", &self.refused), ("silent", &self.silent), ("status", &self.bad_status), ("reply", &self.bad_reply)]
            .map(|(reason, count)| (reason, count.load(Relaxed)))
    }

    pub(super) fn count_success(&self, took: Duration) {
        self.latency.0.observe(took);
    }

    pub(super) fn note_success(&self, now: SystemTime) {
        let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.succeeded_at.store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn count_failure(&self, failure: &Failure) {
        let counter = match failure {
            Failure::Refused | Failure::Closed => &self.refused,
            Failure::TimedOut | Failure::Unreachable => &self.silent,
            Failure::Status(_) => &self.bad_status,
            Failure::Protocol(_) => &self.bad_reply,
        };
        add(counter, 1);
    }
}

/// Adds to a counter that orders nothing else.
pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Relaxed);
}
