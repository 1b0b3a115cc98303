//! What discovery counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::model::Failure;

/// Counters of one zone's discovery, only ever growing. Written by its poller, read by anybody.
#[derive(Debug, Default)]
pub struct Stats {
    /// Rounds of questions.
    pub rounds: AtomicU64,
    /// Rounds in which no node gave a list.
    pub unanswered_rounds: AtomicU64,
    /// Lists received.
    pub answers: AtomicU64,
    /// Entries of those lists that were no usable address.
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
    /// Nodes that joined.
    pub joined: AtomicU64,
    /// Nodes that left.
    pub left: AtomicU64,
}

impl Stats {
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
