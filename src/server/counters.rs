//! What queries became, counted by each worker for itself.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::tcp::{Closed, TcpCounters};

/// What a query became. Every packet received has exactly one, so their sum is the number of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Outcome {
    /// Records in the answer section.
    Answered,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Not our zone, not our class, or a zone transfer.
    Refused,
    /// A scope that never had a node.
    ServFail,
    /// A packet that is no well-formed query.
    FormErr,
    /// An opcode or meta type we do not implement.
    NotImp,
    /// An EDNS version other than 0.
    BadVers,
    /// A cookie that has to be brought back first, or that is wrong in a query that only asks for one.
    BadCookie,
    /// An asker that may not ask this: refused or not answered, as configured.
    Denied,
    /// Did not fit: TC, no records.
    Truncated,
    /// No reply: too short to be DNS, a response, or from an address that is surely forged.
    Dropped,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Outcome; 12] = [
        Outcome::Answered,
        Outcome::NoData,
        Outcome::NxDomain,
        Outcome::Refused,
        Outcome::ServFail,
        Outcome::FormErr,
        Outcome::NotImp,
        Outcome::BadVers,
        Outcome::BadCookie,
        Outcome::Denied,
        Outcome::Truncated,
        Outcome::Dropped,
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Answered => "answered",
            Outcome::NoData => "nodata",
            Outcome::NxDomain => "nxdomain",
            Outcome::Refused => "refused",
            Outcome::ServFail => "servfail",
            Outcome::FormErr => "formerr",
            Outcome::NotImp => "notimp",
            Outcome::BadVers => "badvers",
            Outcome::BadCookie => "badcookie",
            Outcome::Denied => "denied",
            Outcome::Truncated => "truncated",
            Outcome::Dropped => "dropped",
        })
    }
}

/// What response rate limiting did to a reply that it looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum RateLimited {
    /// Below the limit: sent.
    Passed,
    /// Above it: sent empty, with TC, so that whoever really asks comes back over TCP.
    Slipped,
    /// Above it: not sent.
    Dropped,
    /// Sent, because the limit is only tried out; would have been slipped.
    WouldSlip,
    /// Sent, because the limit is only tried out; would have been dropped.
    WouldDrop,
}

impl RateLimited {
    /// All of them, in the order of their numbers.
    pub const ALL: [RateLimited; 5] = [
        RateLimited::Passed,
        RateLimited::Slipped,
        RateLimited::Dropped,
        RateLimited::WouldSlip,
        RateLimited::WouldDrop,
    ];
}

/// The counters of all workers; each writes only its own block, and the reader sums.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    workers: Arc<Mutex<Vec<Arc<WorkerCounters>>>>,
    tcp: Arc<Mutex<Vec<Arc<TcpCounters>>>>,
}

impl Counters {
    /// A block for one more worker.
    pub(super) fn worker(&self) -> Arc<WorkerCounters> {
        let block = Arc::new(WorkerCounters::default());
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(block.clone());
        block
    }

    /// How many queries became this, over all workers.
    pub fn get(&self, outcome: Outcome) -> u64 {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|block| block.outcomes[outcome as usize].load(Relaxed)).sum()
    }

    /// Replies the kernel did not take, over all workers: a full socket, or nowhere to send to. Each was counted as
    /// what its query became, too.
    pub fn unsent(&self) -> u64 {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|block| block.unsent.load(Relaxed)).sum()
    }

    /// To how many replies response rate limiting did this, over all workers. Replies that it does not look at, as
    /// those over TCP, are in none of these.
    pub fn rate_limited(&self, what: RateLimited) -> u64 {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|block| block.rate_limited[what as usize].load(Relaxed)).sum()
    }

    /// A block for the connections of one more worker.
    pub(super) fn tcp_worker(&self) -> Arc<TcpCounters> {
        let block = Arc::new(TcpCounters::default());
        self.tcp.lock().unwrap_or_else(PoisonError::into_inner).push(block.clone());
        block
    }

    /// TCP connections accepted, over all workers. Each is open, or was closed for exactly one reason.
    pub fn tcp_accepted(&self) -> u64 {
        self.sum_tcp(TcpCounters::accepted)
    }

    /// TCP connections open now, over all workers.
    pub fn tcp_open(&self) -> u64 {
        self.sum_tcp(TcpCounters::open)
    }

    /// TCP connections closed for this reason, over all workers.
    pub fn tcp(&self, why: Closed) -> u64 {
        self.sum_tcp(|block| block.closed(why))
    }

    fn sum_tcp(&self, count: impl Fn(&TcpCounters) -> u64) -> u64 {
        let workers = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|block| count(block)).sum()
    }

    /// Packets received, over all workers.
    pub fn total(&self) -> u64 {
        Outcome::ALL.into_iter().map(|outcome| self.get(outcome)).sum()
    }
}

/// One worker's counters, on memory lines of their own so that workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct WorkerCounters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    unsent: AtomicU64,
    rate_limited: [AtomicU64; RateLimited::ALL.len()],
}

impl WorkerCounters {
    /// Counts one. Only the owning worker may call this: there is one writer, so no read-modify-write is needed.
    pub(super) fn count(&self, outcome: Outcome) {
        let counter = &self.outcomes[outcome as usize];
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    /// Counts one reply that response rate limiting looked at. Only the owning worker may call this.
    pub(super) fn rate_limited(&self, what: RateLimited) {
        let counter = &self.rate_limited[what as usize];
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    /// Counts replies the kernel did not take. Only the owning worker may call this.
    pub(super) fn unsent(&self, replies: usize) {
        self.unsent.store(self.unsent.load(Relaxed) + replies as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_number() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        for (index, what) in RateLimited::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, index);
        }
    }

    #[test]
    fn workers_are_summed() {
        let counters = Counters::default();
        let (one, two) = (counters.worker(), counters.worker());
        one.count(Outcome::NoData);
        two.count(Outcome::NoData);
        two.count(Outcome::Dropped);
        assert_eq!((counters.get(Outcome::NoData), counters.total()), (2, 3));
    }
}
