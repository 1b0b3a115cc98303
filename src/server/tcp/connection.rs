//! One client's connection.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;
use mio::{Interest, Registry, Token, net::TcpStream};

use crate::{
    server::{Asker, Responder, Transport},
    table::Table,
};

/// Longest query taken. Real ones stay below 300 octets; a longer length prefix is no client of ours.
const MAX_QUERY: usize = 4096;

/// Octets read at once: hundreds of queries. What of them is not answered yet is all of its input that a connection
/// ever holds.
const READ: usize = 16 * 1024;

/// Replies collected before they are written. With one more reply of at most 65,537 octets, that is all of its output
/// that a connection ever holds, since nothing is read from a client that does not take its replies.
const MAX_UNSENT: usize = 64 * 1024;

/// Reads before the other connections have their turn.
const READS: usize = 4;

/// What the connections of a worker share, since one of them has its turn at a time. Nothing of one may be left when the
/// next has its turn.
pub(super) struct Desk {
    tables: Arc<ArcSwap<Table>>,
    responder: Responder,
    input: Box<[u8; READ]>,
    replies: Vec<u8>,
}

impl Desk {
    pub(super) fn new(tables: Arc<ArcSwap<Table>>, responder: Responder) -> Self {
        Desk { tables, responder, input: Box::new([0; READ]), replies: Vec::new() }
    }

    /// Answers, into replies begun anew, the whole queries at the beginning of the first `len` octets of input, in their
    /// order, until replies are enough to be written; returns how many octets they were.
    fn answer(&mut self, len: usize, source: SocketAddr) -> io::Result<usize> {
        let mut at = 0;
        self.replies.clear();
        let table = self.tables.load();
        while let Some(query) = next_query(&self.input[at..len])? {
            at += 2 + query.len();
            let start = self.replies.len();
            self.replies.extend_from_slice(&[0, 0]);
            let asker = Asker { source, transport: Transport::Tcp, keepalive: 0 };
            self.responder.respond(&table, query, &asker, &mut self.replies);
            match self.replies.len() - start - 2 {
                0 => self.replies.truncate(start),
                // A length in front of each message (RFC 1035 section 4.2.2). Replies are below 65,536 octets.
                reply => self.replies[start..start + 2].copy_from_slice(&(reply as u16).to_be_bytes()),
            }
            if self.replies.len() > MAX_UNSENT {
                break;
            }
        }
        Ok(at)
    }
}

/// The next whole query; an error where the framing says it can never become one.
fn next_query(received: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((len, rest)) = received.split_first_chunk::<2>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*len));
    if len == 0 || len > MAX_QUERY {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(rest.get(..len))
}

/// What a connection is to do next.
pub(super) enum Next {
    /// Wait for the kernel to tell of it.
    Wait,
    /// Have another turn soon: there may be more to read.
    Again,
    /// Be closed.
    Close,
}

/// One client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    source: SocketAddr,
    /// Received and not answered: a part of a query, or queries behind replies that could not be sent.
    received: Vec<u8>,
    /// Replies the client has not taken yet.
    unsent: Vec<u8>,
    /// Nothing more is to be read: the client closed its half, or sent what cannot be a query.
    ended: bool,
    /// The kernel told that the client closed its half, which it tells once: what is left is to be read to its end.
    closing: bool,
    /// It waits for another turn: what the kernel tells meanwhile need not be listened to.
    pub(super) has_more: bool,
    progress: Instant,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, source: SocketAddr, now: Instant) -> Self {
        // Fails only for a connection that is broken already, which the first read finds out.
        let _ = stream.set_nodelay(true);
        let (received, unsent) = (Vec::new(), Vec::new());
        let (ended, closing, has_more) = (false, false, false);
        Connection { stream, source, received, unsent, ended, closing, has_more, progress: now }
    }

    /// Has the kernel tell when there is something to read, or room again to write.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// When the client last sent a whole query or took a part of its replies.
    pub(super) fn progress(&self) -> Instant {
        self.progress
    }

    /// Whether replies wait for the client to take them.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Tells the client that no more will come, also where it still sends.
    pub(super) fn close(&mut self) {
        // A connection that is broken already needs no good-bye.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The kernel told that the client closed its half.
    pub(super) fn read_closed(&mut self) {
        self.closing = true;
    }

    /// Reads, answers and writes, as far as that goes without waiting.
    pub(super) fn turn(&mut self, desk: &mut Desk, now: Instant) -> Next {
        self.try_turn(desk, now).unwrap_or(Next::Close)
    }

    fn try_turn(&mut self, desk: &mut Desk, now: Instant) -> io::Result<Next> {
        if !self.send_unsent(now)? {
            return Ok(Next::Wait);
        }
        for _ in 0..READS {
            let (len, drained) = self.read(desk)?;
            let answered = desk.answer(len, self.source).unwrap_or_else(|_| {
                // Not before the answers to what came whole are sent.
                self.ended = true;
                len
            });
            if answered > 0 {
                self.progress = now;
            }
            self.received.extend_from_slice(&desk.input[answered..len]);
            if !self.send(&mut desk.replies)? {
                return Ok(Next::Wait);
            }
            let has_more = !self.ended && (!drained || self.closing);
            // Also what can be no query: the next turn of the loop ends the connection for it.
            let has_whole = !matches!(next_query(&self.received), Ok(None));
            match () {
                () if has_whole => {}
                () if self.ended => return Ok(Next::Close),
                () if !has_more => return Ok(Next::Wait),
                () => {}
            }
        }
        Ok(Next::Again)
    }

    /// Puts what is not answered yet, and behind it what can be read, at the beginning of the desk's input. Returns how
    /// much that is, and whether the kernel has no more for now.
    fn read(&mut self, desk: &mut Desk) -> io::Result<(usize, bool)> {
        let kept = self.received.len();
        desk.input[..kept].copy_from_slice(&self.received);
        self.received.clear();
        // Queries that waited come first; with them the buffer may be full.
        if self.ended || !matches!(next_query(&desk.input[..kept]), Ok(None)) {
            return Ok((kept, false));
        }
        let room = READ - kept;
        match self.stream.read(&mut desk.input[kept..]) {
            Ok(0) => {
                self.ended = true;
                Ok((kept, true))
            }
            // The kernel tells when more comes; a read that finds nothing would only say the same.
            Ok(read) => Ok((kept + read, read < room)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok((kept, true)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok((kept, false)),
            Err(error) => Err(error),
        }
    }

    /// Sends replies, and keeps what the client does not take yet; whether it took all. Whatever happens, none are left
    /// for the next connection.
    fn send(&mut self, replies: &mut Vec<u8>) -> io::Result<bool> {
        let sent = write(&mut self.stream, replies);
        if let Ok(sent) = sent {
            self.unsent.extend_from_slice(&replies[sent..]);
        }
        replies.clear();
        sent.map(|_| self.unsent.is_empty())
    }

    /// Sends what was kept; whether the client took all.
    fn send_unsent(&mut self, now: Instant) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let sent = write(&mut self.stream, &self.unsent)?;
        if sent > 0 {
            self.progress = now;
        }
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            // Not many clients are slow; those who were need not hold the memory for good.
            self.unsent = Vec::new();
        }
        Ok(self.unsent.is_empty())
    }
}

/// Writes what the kernel takes; returns how much.
fn write(stream: &mut TcpStream, octets: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < octets.len() {
        match stream.write(&octets[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_absurd_ones_end_the_connection() {
        assert_eq!(next_query(&[0]).unwrap(), None);
        assert_eq!(next_query(&[0, 3, 1, 2]).unwrap(), None);
        assert_eq!(next_query(&[0, 2, 1, 2, 0, 9]).unwrap(), Some(&[1, 2][..]));
        assert!(next_query(&[0, 0]).is_err());
        assert!(next_query(&[0x10, 1]).is_err());
    }
}
