//! Counters of a zone's prober.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::model::{Failure, Histogram, HistogramSnapshot, REQUEST_SECONDS};

/// Counters of a zone's prober: written by the prober alone, readable by anybody at any time. They only grow.
#[derive(Debug)]
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
    latency: Histogram,
    /// How long the latest probe of each node took, of those that are answered. Members of the topology only.
    last: Mutex<HashMap<IpAddr, Duration>>,
}

impl Default for Stats {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Stats {
            successes: zero(),
            refused: zero(),
            closed: zero(),
            status: zero(),
            protocol: zero(),
            timed_out: zero(),
            unreachable: zero(),
            transitions: zero(),
            panics: zero(),
            latency: Histogram::new(REQUEST_SECONDS),
            last: Mutex::default(),
        }
    }
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

    /// Each kind with a name for it.
    pub fn by_reason(&self) -> [(&'static str, u64); 6] {
        let FailureCounts { refused, closed, status, protocol, timed_out, unreachable } = *self;
        [
            ("refused", refused),
            ("closed", closed),
            ("status", status),
            ("protocol", protocol),
            ("timed_out", timed_out),
            ("unreachable", unreachable),
        ]
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

    /// How long probes took that were answered well, from the connection to the end of the reply. What failed has a
    /// reason, and no time that says anything of the node.
    pub fn latency(&self) -> HistogramSnapshot {
        self.latency.snapshot()
    }

    /// How long the latest probe of a node took; `None` where it failed, or none is over yet.
    pub fn last(&self, node: IpAddr) -> Option<Duration> {
        self.lasts().get(&node).copied()
    }

    fn lasts(&self) -> MutexGuard<'_, HashMap<IpAddr, Duration>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a node that is probed no longer.
    pub(super) fn forget(&self, node: IpAddr) {
        self.lasts().remove(&node);
    }

    /// Forgets all but these nodes.
    pub(super) fn retain(&self, is_member: impl Fn(IpAddr) -> bool) {
        self.lasts().retain(|node, _| is_member(*node));
    }

    pub(super) fn count_probe(&self, node: IpAddr, result: &Result<(), Failure>, took: Duration) {
        match result {
            Ok(()) => {
                self.latency.observe(took);
                self.lasts().insert(node, took);
            }
            Err(_) => _ = self.lasts().remove(&node),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_a_reason_and_no_time() {
        let (stats, node) = (Stats::default(), IpAddr::from([10, 0, 0, 1]));
        let took = Duration::from_millis(3);
        assert_eq!(stats.last(node), None);
        stats.count_probe(node, &Ok(()), took);
        assert_eq!(stats.last(node), Some(took));
        stats.count_probe(node, &Err(Failure::TimedOut), Duration::from_secs(1));
        assert_eq!((stats.last(node), stats.latency().count, stats.probes()), (None, 1, 2));
        assert!(stats.failures().by_reason().contains(&("timed_out", 1)));
        assert_eq!(stats.failures().by_reason().map(|(_, count)| count).iter().sum::<u64>(), stats.failures().total());
    }

    #[test]
    fn only_members_are_remembered() {
        let (stats, [here, gone]) = (Stats::default(), [1, 2].map(|last| IpAddr::from([10, 0, 0, last])));
        [here, gone].into_iter().for_each(|node| stats.count_probe(node, &Ok(()), Duration::from_millis(1)));
        stats.retain(|node| node == here);
        assert_eq!((stats.last(here).is_some(), stats.last(gone)), (true, None));
        stats.forget(here);
        assert_eq!(stats.last(here), None);
    }
}
