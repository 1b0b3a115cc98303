//! What a node was asked.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::Endpoint;

/// What one node was asked since it joined, over stops and starts.
///
/// A request counts when it arrives, whether or not it is ever answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `GET /localnodes`, with any query.
    pub localnodes: u64,
    /// `GET /`.
    pub health: u64,
    /// `POST /`.
    pub api: u64,
    /// Anything else, answered by 404.
    pub other: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// The most connections that were ever open at once.
    pub open_peak: u64,
    /// TLS handshakes from scratch.
    pub handshakes_full: u64,
    /// TLS handshakes that took up an earlier session.
    pub handshakes_resumed: u64,
    /// TLS handshakes that were not finished, and connections that did not even try one.
    pub handshakes_failed: u64,
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    Full,
    Resumed,
    Failed,
}

/// The counting side of [`Counters`]; shared by all connections of a node.
#[derive(Debug, Default)]
pub(super) struct Tally {
    localnodes: AtomicU64,
    health: AtomicU64,
    api: AtomicU64,
    other: AtomicU64,
    accepted: AtomicU64,
    open: AtomicU64,
    open_peak: AtomicU64,
    handshakes_full: AtomicU64,
    handshakes_resumed: AtomicU64,
    handshakes_failed: AtomicU64,
}

impl Tally {
    /// Counts a request to an endpoint, or to none.
    pub(super) fn count(&self, endpoint: Option<Endpoint>) {
        let counter = match endpoint {
            Some(Endpoint::Localnodes) => &self.localnodes,
            Some(Endpoint::Health) => &self.health,
            Some(Endpoint::Api) => &self.api,
            None => &self.other,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn count_handshake(&self, handshake: Handshake) {
        let counter = match handshake {
            Handshake::Full => &self.handshakes_full,
            Handshake::Resumed => &self.handshakes_resumed,
            Handshake::Failed => &self.handshakes_failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a connection as open until the returned value is dropped.
    pub(super) fn open(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Relaxed);
        let open = self.open.fetch_add(1, Relaxed) + 1;
        self.open_peak.fetch_max(open, Relaxed);
        OpenConnection(Arc::clone(self))
    }

    pub(super) fn read(&self) -> Counters {
        Counters {
            localnodes: self.localnodes.load(Relaxed),
            health: self.health.load(Relaxed),
            api: self.api.load(Relaxed),
            other: self.other.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            open: self.open.load(Relaxed),
            open_peak: self.open_peak.load(Relaxed),
            handshakes_full: self.handshakes_full.load(Relaxed),
            handshakes_resumed: self.handshakes_resumed.load(Relaxed),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
        }
    }
}

/// One open connection, counted while this lives.
#[derive(Debug)]
pub(super) struct OpenConnection(Arc<Tally>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
