//! What the connections of a worker share: their messages in, their messages out.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;

use super::Closed;
use crate::{
    server::{Asker, Responder, Settings, Transport, settings::Following},
    table::Table,
};

/// Shortest message there is: a header.
const MIN_QUERY: usize = 12;

/// Longest query taken. Real ones stay below 300 octets; a longer length prefix is no client of ours.
const MAX_QUERY: usize = 4096;

/// Octets read at once: hundreds of queries. What of them is not answered yet is all of its input that a connection
/// ever holds.
pub(super) const READ: usize = 16 * 1024;

/// Replies collected before they are written. With one more reply of at most 65,537 octets, that is all of its output
/// that a connection ever holds, since nothing is read from a client that does not take its replies.
const MAX_UNSENT: usize = 64 * 1024;

/// Queries answered before the others have their turn (a few times as many: see `READS`). Some kinds take 10 µs, so
/// that a thousand connections which ask nothing else keep nobody waiting for more than a second or two.
const QUERIES: u64 = 64;

/// What the connections of a worker share, since one of them has its turn at a time. Nothing of one may be left when the
/// next has its turn.
pub(in crate::server) struct Desk {
    tables: Arc<ArcSwap<Table>>,
    responder: Responder,
    following: Following,
    pub(super) input: Box<[u8; READ]>,
    pub(super) replies: Vec<u8>,
    /// How long a connection may idle, as it is told: units of 100 ms.
    pub(super) keepalive: u16,
}

/// What became of the input.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// How many octets at its beginning need not be kept.
    pub(super) octets: usize,
    /// The whole messages among them.
    pub(super) queries: u64,
    /// Why there is nothing more to answer on this connection.
    pub(super) end: Option<Closed>,
}

impl Desk {
    pub(in crate::server) fn new(tables: Arc<ArcSwap<Table>>, responder: Responder, following: Following) -> Self {
        Desk { tables, responder, following, input: Box::new([0; READ]), replies: Vec::new(), keepalive: 0 }
    }

    /// Goes by what the operator chose last; whether that is something new.
    pub(super) fn look(&mut self) -> bool {
        self.following.look(&mut self.responder)
    }

    /// What the operator chose.
    pub(super) fn settings(&self) -> &Settings {
        self.responder.settings()
    }

    /// Answers, into replies begun anew, the whole queries at the beginning of the first `len` octets of input, in their
    /// order, until replies are enough to be written, the others wait, or there were `most` queries (at least one).
    pub(super) fn answer(&mut self, len: usize, source: SocketAddr, most: u64) -> Answered {
        let mut done = Answered::default();
        self.replies.clear();
        let table = self.tables.load();
        let asker = Asker { source, transport: Transport::Tcp, keepalive: self.keepalive };
        loop {
            let query = match frame(&self.input[done.octets..len]) {
                Frame::Whole(query) => query,
                Frame::Partial => return done,
                Frame::Bad => return Answered { octets: len, end: Some(Closed::Framing), ..done },
            };
            done.octets += 2 + query.len();
            done.queries += 1;
            let start = self.replies.len();
            self.replies.extend_from_slice(&[0, 0]);
            self.responder.respond(&table, query, &asker, &mut self.replies);
            match self.replies.len() - start - 2 {
                0 => self.replies.truncate(start),
                // A length in front of each message (RFC 1035 section 4.2.2). Replies are below 65,536 octets.
                reply => self.replies[start..start + 2].copy_from_slice(&(reply as u16).to_be_bytes()),
            }
            if done.queries == most {
                return Answered { octets: len, end: Some(Closed::Queries), ..done };
            }
            if self.replies.len() > MAX_UNSENT || done.queries == QUERIES {
                return done;
            }
        }
    }
}

/// The beginning of what was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'r> {
    /// A message.
    Whole(&'r [u8]),
    /// A part of one, or nothing.
    Partial,
    /// What can never become a query, and leaves nothing to go on with.
    Bad,
}

/// The message that the octets begin with.
pub(super) fn frame(received: &[u8]) -> Frame<'_> {
    let Some((len, rest)) = received.split_first_chunk::<2>() else { return Frame::Partial };
    let len = usize::from(u16::from_be_bytes(*len));
    if !(MIN_QUERY..=MAX_QUERY).contains(&len) {
        return Frame::Bad;
    }
    rest.get(..len).map_or(Frame::Partial, Frame::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_absurd_ones_are_told() {
        assert_eq!(frame(&[0]), Frame::Partial);
        assert_eq!(frame(&[0, 12, 1, 2]), Frame::Partial);
        assert_eq!(frame(&[[0, 12].as_slice(), &[7; 13]].concat()), Frame::Whole(&[7; 12]));
        for len in [0, 1, 11, 4097, u16::MAX] {
            assert_eq!(frame(&len.to_be_bytes()), Frame::Bad, "{len}");
        }
        assert_eq!(frame(&4096_u16.to_be_bytes()), Frame::Partial);
    }
}
