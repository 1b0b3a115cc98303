//! Response rate limiting: what a flood of forged queries makes us send to whoever they claim to come from.
//!
//! Replies of one kind to one prefix of clients share a token bucket. It holds one second's worth of the rate, so that
//! a burst after silence passes, and one reply takes one token. Where it is empty replies are dropped, but for every
//! `slip`-th, which is cut to an empty one with TC: whoever really asks comes back over TCP, where nobody can claim to
//! be somebody else and nothing is limited; and it is no longer than its query, so a forger gains nothing by it. Kinds
//! are told apart by zone and by class (NXDOMAIN, answers, ...) but never by name, or each random name below a zone
//! would have a bucket of its own.
//!
//! Each worker limits for itself, for its share of the rate: the kernel spreads a client's ports over the workers of an
//! address. A client that asks from one port alone only ever meets one worker, and that worker's share.
//!
//! # The table
//!
//! Buckets lie in sets of [`WAYS`]; a hash, keyed with secret random numbers, says which set a bucket is in, so nobody
//! can aim at another's. The size is fixed. A bucket that is not there is taken to be the fullest of its set, the one
//! that it takes the place of: not a full one, which would be a refill for whoever comes back after being thrown out. So
//! no bucket ever gives more than it would in a table without end. The price is paid when more buckets are in use than
//! the table has: those that are new to a set then share what is left of it. Since the fullest bucket goes first, those
//! that are limited stay.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
};

use super::{Outcome, RateLimited, tally::Block};
use crate::{config::RateLimitConfig, model::Prefix};

/// Buckets of a set, all looked at for every reply: two lines of the processor's cache.
const WAYS: usize = 8;

/// Sets of a worker, a power of two: 65,536 buckets, 1 MiB. At the least rate, one reply a second, a worker has to send
/// some 65,536 replies a second to as many prefixes before anybody is limited for the size of the table.
const SETS: usize = 8192;

/// What a reply takes, in thousandths of a token, so that a rate per second is a whole number per millisecond.
const COST: u64 = 1000;

/// Milliseconds after which every bucket is full: it holds a second's worth.
const FULL_AFTER: u64 = 1000;

/// The highest rate that is told from none at all: more than a worker sends. Keeps [`RateLimit::clock`] from
/// overflowing for 500 years.
const MAX_RATE: u32 = 1_000_000;

/// Milliseconds between lines in the log, of each worker: a flood from forged addresses starts limiting many prefixes.
const LOG_EVERY: u64 = 10_000;

/// What replies are limited together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Records of a zone.
    Answered,
    /// NODATA from a zone.
    NoData,
    /// NXDOMAIN from a zone.
    NxDomain,
    /// An error, or no zone of ours: told apart by nothing.
    Error,
    /// Anything else, such as what is cut short by itself.
    Other,
}

impl Class {
    /// The class of a reply; `None` where there is no reply.
    pub(super) fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Answered => Some(Class::Answered),
            Outcome::NoData => Some(Class::NoData),
            Outcome::NxDomain => Some(Class::NxDomain),
            Outcome::Truncated | Outcome::BadCookie => Some(Class::Other),
            Outcome::Dropped => None,
            Outcome::Refused
            | Outcome::ServFail
            | Outcome::FormErr
            | Outcome::NotImp
            | Outcome::BadVers
            | Outcome::Denied => Some(Class::Error),
        }
    }

    /// As operators read it.
    fn name(self) -> &'static str {
        match self {
            Class::Answered => "answers",
            Class::NoData => "NODATA",
            Class::NxDomain => "NXDOMAIN",
            Class::Error => "errors",
            Class::Other => "other replies",
        }
    }
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// Send it.
    Pass,
    /// Send header, question and OPT, with TC.
    Slip,
    /// Send nothing.
    Drop,
}

/// The limiter of one worker.
pub(super) struct RateLimit {
    config: RateLimitConfig,
    /// This worker's share, in replies per second.
    rate: u64,
    /// The time, in [`COST`] / `rate` of a second, counted from the first reply on: it only goes forward.
    clock: u64,
    /// When the last reply was checked, in milliseconds.
    checked: u64,
    sets: Box<[[Bucket; WAYS]]>,
    keys: RandomState,
    log: Log,
    counters: Arc<Block>,
}

/// One bucket, as the time when it will be full: one that is full is as good as none. All zeros are a full one.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// In units of [`RateLimit::clock`].
    full_at: u64,
    /// Part of the hash of what it is for.
    tag: u32,
    /// Replies limited since it was last full.
    limited: u32,
}

impl RateLimit {
    /// The limiter of one of this many workers of an address; `None` where nothing is limited.
    pub(super) fn new(config: &RateLimitConfig, workers: usize, counters: Arc<Block>) -> Option<Self> {
        if config.responses_per_second == 0 {
            return None;
        }
        let rate = u64::from(config.responses_per_second.min(MAX_RATE));
        Some(RateLimit {
            config: config.clone(),
            // Rounded down, since the sum is what was asked for; but who is served by a worker is served by it.
            rate: (rate / workers.max(1) as u64).max(1),
            clock: 0,
            checked: 0,
            sets: vec![[Bucket::default(); WAYS]; SETS].into_boxed_slice(),
            keys: RandomState::new(),
            log: Log::default(),
            counters,
        })
    }

    /// What to do with a reply in a datagram to this client, about a zone (any number that stands for it), and counts
    /// it. Whose address is proven, by a cookie or a connection, is not to be asked about. `now` is in milliseconds
    /// from any point in time; where it goes back no bucket fills until it goes forward again.
    pub(super) fn check(&mut self, client: IpAddr, class: Class, zone: u64, now: u64) -> Limited {
        if self.config.exempt.contains(client) {
            return Limited::Pass;
        }
        // After a longer time than this every bucket is full, too.
        self.clock += now.saturating_sub(self.checked).min(FULL_AFTER) * self.rate;
        self.checked = now;
        let limited = self.take(client, class, zone, now);
        self.counters.rate_limited(match (limited, self.config.dry_run) {
            (Limited::Pass, _) => RateLimited::Passed,
            (Limited::Slip, false) => RateLimited::Slipped,
            (Limited::Drop, false) => RateLimited::Dropped,
            (Limited::Slip, true) => RateLimited::WouldSlip,
            (Limited::Drop, true) => RateLimited::WouldDrop,
        });
        if self.config.dry_run { Limited::Pass } else { limited }
    }

    fn take(&mut self, client: IpAddr, class: Class, zone: u64, now: u64) -> Limited {
        let prefix = Prefix::around(client, self.prefix_len(client));
        let zone = if class == Class::Error { 0 } else { zone };
        let hash = self.keys.hash_one((prefix.address, class as u8, zone));
        let set = hash as usize & (self.sets.len() - 1);
        let set = &mut self.sets[set];
        let bucket = find(set, (hash >> 32) as u32);
        if bucket.full_at <= self.clock {
            (bucket.full_at, bucket.limited) = (self.clock, 0);
        }
        if bucket.full_at + COST <= self.clock + self.rate * FULL_AFTER {
            bucket.full_at += COST;
            bucket.tag = (hash >> 32) as u32;
            return Limited::Pass;
        }
        if bucket.limited == 0
            && let Some(others) = self.log.begins(now)
        {
            let (class, dry_run) = (class.name(), self.config.dry_run);
            tracing::warn!(%prefix, class, others, dry_run, "limiting the rate of responses");
        }
        bucket.limited = bucket.limited.checked_add(1).unwrap_or(1);
        if self.config.slip > 0 && bucket.limited.is_multiple_of(self.config.slip) {
            Limited::Slip
        } else {
            Limited::Drop
        }
    }

    fn prefix_len(&self, client: IpAddr) -> u8 {
        if client.to_canonical().is_ipv4() { self.config.prefix_v4 } else { self.config.prefix_v6 }
    }
}

/// The bucket with this tag; without it, the fullest, which the new one takes the place of as it is: what it has given
/// and how often it was limited included.
fn find(set: &mut [Bucket; WAYS], tag: u32) -> &mut Bucket {
    let found = set.iter().position(|bucket| bucket.tag == tag);
    let fullest = || (0..WAYS).min_by_key(|at| set[*at].full_at);
    let at = found.or_else(fullest).unwrap_or_default();
    &mut set[at]
}

/// Bounds the lines in the log.
#[derive(Debug, Default)]
struct Log {
    /// When the last line was written, in milliseconds.
    written: Option<u64>,
    /// Buckets that began to be limited since.
    untold: u64,
}

impl Log {
    /// A bucket begins to be limited: `Some` if a line is to be written, with how many others began since the last.
    fn begins(&mut self, now: u64) -> Option<u64> {
        if self.written.is_some_and(|written| now.abs_diff(written) < LOG_EVERY) {
            self.untold += 1;
            return None;
        }
        self.written = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests;
