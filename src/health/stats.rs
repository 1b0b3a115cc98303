//! Counters of a zone's prober.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::model::Failure;

/// Counters of a zone's prober: written by the prober alone, readable by anybody at any time. They only grow.
#[derive(Debug, Default)]
pub struct Stats {
    successes: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    status: AtomicU64,
    protocol: AtomicU64,
    timed_out: AtomicU64,
    unreachable: AtomicU64,
    transitions: AtomicU64,
    panics: AtomicU64,
}

/// Failed probes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureCounts {
    /// [`Failure::Refused`]
    pub refused: u64,
    /// [`Failure::Closed`]
    pub closed: u64,
    /// [`Failure::Status`]
    pub status: u64,
    /// [`Failure::Protocol`]
    pub protocol: u64,
    /// [`Failure::TimedOut`]
    pub timed_out: u64,
    /// [`Failure::Unreachable`]
    pub unreachable: u64,
}

impl FailureCounts {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        let FailureCounts { refused, closed, status, protocol, timed_out, unreachable } = self;
        refused + closed + status + protocol + timed_out + unreachable
    }
}

impl Stats {
    /// Completed probes.
    pub fn probes(&self) -> u64 {
        self.successes() + self.failures().total()
    }

    /// Probes that were answered well.
    pub fn successes(&self) -> u64 {
        self.successes.load(Relaxed)
    }

    /// Probes that failed.
    pub fn failures(&self) -> FailureCounts {
        FailureCounts {
            refused: self.refused.load(Relaxed),
            closed: self.closed.load(Relaxed),
            status: self.status.load(Relaxed),
            protocol: self.protocol.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            unreachable: self.unreachable.load(Relaxed),
        }
    }

    /// Changes of a node's state.
    pub fn transitions(&self) -> u64 {
        self.transitions.load(Relaxed)
    }

    /// How often panic began.
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    pub(super) fn count_probe(&self, result: &Result<(), Failure>) {
        let counter = match result {
            Ok(()) => &self.successes,
            Err(Failure::Refused) => &self.refused,
            Err(Failure::Closed) => &self.closed,
            Err(Failure::Status(_)) => &self.status,
            Err(Failure::Protocol(_)) => &self.protocol,
            Err(Failure::TimedOut) => &self.timed_out,
            Err(Failure::Unreachable) => &self.unreachable,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn count_transition(&self) {
        self.transitions.fetch_add(1, Relaxed);
    }

    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }
}
