//! What the two processes tell each other.

use std::{net::SocketAddr, os::fd::OwnedFd, time::Duration};

use serde::{Deserialize, Serialize};

use super::knowledge::{Knowledge, Told};
use crate::{config::CookieSecret, server::Passed};

/// Version of the messages; another one is refused.
pub(super) const PROTOCOL: u32 = 1;

/// Sockets that are handed over at most: 64 workers on 64 addresses, over UDP and TCP, fit.
pub(super) const MAX_SOCKETS: usize = 8192;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(super) enum Message {
    /// The new process begins.
    Hello { protocol: u32, version: String, pid: u32 },
    /// Not now, or not at all.
    Refused { reason: String },
    /// What the old one gives. As many sockets follow.
    Offer { version: String, pid: u32, cookie_secret: CookieSecret, zones: Vec<Told>, sockets: usize, admin: usize },
    /// Some of them.
    Sockets,
    /// The new process could serve at once.
    Ready,
    /// It may.
    Go,
    /// It does, on these of the sockets.
    Serving { claimed: Vec<bool> },
    /// It goes on with these, a descriptor each.
    Connections { connections: Vec<Details> },
    /// The old one ends.
    Done { queries: u64 },
}

/// What the old process gives to the new one.
#[derive(Debug, Default)]
pub struct Offer {
    /// Of the listeners.
    pub sockets: Vec<OwnedFd>,
    /// Of the HTTP side.
    pub admin: Vec<OwnedFd>,
    /// Made up for cookies where the configuration has none.
    pub cookie_secret: CookieSecret,
    /// What is known of the zones.
    pub zones: Vec<Knowledge>,
}

/// A connection without its descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Details {
    source: SocketAddr,
    expects_header: bool,
    queries: u64,
    age_ms: u64,
    idle_ms: u64,
}

impl Details {
    pub(super) fn of(passed: &Passed) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Details {
            source: passed.source,
            expects_header: passed.expects_header,
            queries: passed.queries,
            age_ms: millis(passed.age),
            idle_ms: millis(passed.idle),
        }
    }

    pub(super) fn with(self, socket: OwnedFd) -> Passed {
        let Details { source, expects_header, queries, age_ms, idle_ms } = self;
        let (age, idle) = (Duration::from_millis(age_ms), Duration::from_millis(idle_ms));
        Passed { socket: socket.into(), source, expects_header, queries, age, idle }
    }
}
