//! How connections ended, counted by each worker for itself.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Why a connection was closed. Every one that was accepted has exactly one reason in the end, so that their sum, and
/// the connections still open, are those accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Closed {
    /// The client closed it.
    Finished,
    /// Too long without a whole query.
    Idle,
    /// The client did not take its replies.
    Stalled,
    /// As old as a connection may become.
    Lifetime,
    /// As many queries as a connection may bring.
    Queries,
    /// Another one needed its place, or its descriptor.
    Evicted,
    /// It held the most when the worker's connections held too much.
    Crowded,
    /// A length that no query has.
    Framing,
    /// The client reset it, or the network failed.
    Reset,
    /// The client may not ask.
    Denied,
    /// A proxy without its header, or the header of no proxy of ours.
    Proxy,
    /// The server stops.
    Stopped,
    /// Not at all: another process goes on with it.
    HandedOver,
}

impl Closed {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Closed; 13] = [
        Closed::Finished,
        Closed::Idle,
        Closed::Stalled,
        Closed::Lifetime,
        Closed::Queries,
        Closed::Evicted,
        Closed::Crowded,
        Closed::Framing,
        Closed::Reset,
        Closed::Denied,
        Closed::Proxy,
        Closed::Stopped,
        Closed::HandedOver,
    ];
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closed::Finished => "finished",
            Closed::Idle => "idle",
            Closed::Stalled => "stalled",
            Closed::Lifetime => "lifetime",
            Closed::Queries => "queries",
            Closed::Evicted => "evicted",
            Closed::Crowded => "crowded",
            Closed::Framing => "framing",
            Closed::Reset => "reset",
            Closed::Denied => "denied",
            Closed::Proxy => "proxy",
            Closed::Stopped => "stopped",
            Closed::HandedOver => "handed_over",
        })
    }
}

/// One worker's counters of connections, on memory lines of their own. Only that worker writes, hence no
/// read-modify-write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(in crate::server) struct TcpCounters {
    accepted: AtomicU64,
    open: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
}

impl TcpCounters {
    /// Connections taken from the kernel.
    pub(in crate::server) fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections open now.
    pub(in crate::server) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Connections closed for this reason.
    pub(in crate::server) fn closed(&self, why: Closed) -> u64 {
        self.closed[why as usize].load(Relaxed)
    }

    pub(in crate::server) fn count_accepted(&self) {
        add(&self.accepted, 1);
        add(&self.open, 1);
    }

    pub(in crate::server) fn count_closed(&self, why: Closed) {
        add(&self.closed[why as usize], 1);
        // Wraps to one less.
        add(&self.open, u64::MAX);
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(number), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        for (index, why) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index);
            assert_eq!(why.to_string().replace('_', ""), format!("{why:?}").to_lowercase());
        }
    }
}
