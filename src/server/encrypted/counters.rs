//! What became of connections.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::server::Transport;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Ending {
    /// The client closed it.
    Client,
    /// No handshake, or none in time.
    Handshake,
    /// No whole query for as long as a connection may idle.
    Idle,
    /// It lived as long as one may.
    Lifetime,
    /// It asked as many queries as one may.
    Queries,
    /// It had been idle longest when another needed its place.
    Evicted,
    /// The client broke the protocol, the connection broke, or the client did not take its replies.
    Broken,
    /// The server stopped.
    Stopped,
    /// The server failed: a fault of this program.
    Failed,
}

impl Ending {
    /// All endings, in the order of their numbers.
    pub const ALL: [Ending; 9] = [
        Ending::Client,
        Ending::Handshake,
        Ending::Idle,
        Ending::Lifetime,
        Ending::Queries,
        Ending::Evicted,
        Ending::Broken,
        Ending::Stopped,
        Ending::Failed,
    ];
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Client => "client",
            Ending::Handshake => "handshake",
            Ending::Idle => "idle",
            Ending::Lifetime => "lifetime",
            Ending::Queries => "queries",
            Ending::Evicted => "evicted",
            Ending::Broken => "broken",
            Ending::Stopped => "stopped",
            Ending::Failed => "failed",
        })
    }
}

/// Connections of the encrypted transports. A handshake costs thousands of times what counting does, so the workers
/// share these. Accepted connections are the ended ones and the open ones.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounters(Arc<[OfTransport; 3]>);

#[derive(Debug, Default)]
struct OfTransport {
    accepted: AtomicU64,
    /// Closed or ignored at once: the client has no access.
    denied: AtomicU64,
    /// Asked to prove their addresses first (QUIC's Retry).
    retried: AtomicU64,
    ended: [AtomicU64; Ending::ALL.len()],
}

impl ConnectionCounters {
    /// Connections accepted.
    pub fn accepted(&self, transport: Transport) -> u64 {
        self.of(transport).map_or(0, |block| block.accepted.load(Relaxed))
    }

    /// Connections closed at once, without a word: the client has no access.
    pub fn denied(&self, transport: Transport) -> u64 {
        self.of(transport).map_or(0, |block| block.denied.load(Relaxed))
    }

    /// Clients asked to prove their addresses before anything is kept of them; QUIC only.
    pub fn retried(&self, transport: Transport) -> u64 {
        self.of(transport).map_or(0, |block| block.retried.load(Relaxed))
    }

    /// Connections that ended so.
    pub fn ended(&self, transport: Transport, ending: Ending) -> u64 {
        self.of(transport).map_or(0, |block| block.ended[ending as usize].load(Relaxed))
    }

    /// Connections open now.
    pub fn open(&self, transport: Transport) -> u64 {
        let ended: u64 = Ending::ALL.into_iter().map(|ending| self.ended(transport, ending)).sum();
        self.accepted(transport).saturating_sub(ended)
    }

    pub(super) fn accept(&self, transport: Transport) {
        self.of(transport).map(|block| block.accepted.fetch_add(1, Relaxed));
    }

    pub(super) fn deny(&self, transport: Transport) {
        self.of(transport).map(|block| block.denied.fetch_add(1, Relaxed));
    }

    pub(super) fn retry(&self, transport: Transport) {
        self.of(transport).map(|block| block.retried.fetch_add(1, Relaxed));
    }

    pub(super) fn end(&self, transport: Transport, ending: Ending) {
        self.of(transport).map(|block| block.ended[ending as usize].fetch_add(1, Relaxed));
    }

    /// `None` for transports that are not encrypted.
    fn of(&self, transport: Transport) -> Option<&OfTransport> {
        let index = match transport {
            Transport::Udp | Transport::Tcp => return None,
            Transport::Tls => 0,
            Transport::Https => 1,
            Transport::Quic => 2,
        };
        self.0.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_its_own_number() {
        for (index, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, index);
        }
    }

    #[test]
    fn what_did_not_end_is_open() {
        let counters = ConnectionCounters::default();
        (0..3).for_each(|_| counters.accept(Transport::Tls));
        counters.end(Transport::Tls, Ending::Idle);
        counters.accept(Transport::Quic);
        counters.accept(Transport::Tcp);
        let open = [Transport::Tls, Transport::Https, Transport::Quic, Transport::Tcp].map(|of| counters.open(of));
        assert_eq!(open, [2, 0, 1, 0]);
        assert_eq!(counters.ended(Transport::Tls, Ending::Idle), 1);
    }
}
