//! One client's connection.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, net::TcpStream};
use socket2::{SockRef, Socket};

use super::{
    Closed, Limits, Passed,
    desk::{Desk, Frame, READ, frame},
    header::{self, Header},
};
use crate::server::proxy;

/// Reads before the other connections have their turn.
const READS: usize = 4;

/// How long a connection is left its place after it was opened or completed a transaction: a query comes right behind the
/// handshake, and often behind the reply to another, unless the network delays or loses it.
const FRESH: Duration = Duration::from_millis(50);

/// How long the end of a connection waits for the client to close its half: closed before, with octets unread, the
/// kernel would reset it, and replies under way would be lost. Several round trips of a slow network.
const LINGER: Duration = Duration::from_secs(2);

/// Octets that are read and thrown away meanwhile; who sends more has not listened.
const LINGER_OCTETS: usize = 256 * 1024;

/// What a connection is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for the kernel to tell of it.
    Wait,
    /// Have another turn soon: there may be more to read.
    Again,
    /// Another turn, too, but first be counted as the connection of whom its proxy named.
    Named,
    /// Be closed.
    Close(Closed),
}

/// What time makes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// One more turn, to answer what came whole, and then its end.
    LastTurn,
    /// Be closed.
    Close(Closed),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing but a part of a PROXY header has come yet; `expected` where the other side is a proxy of ours.
    Beginning { expected: bool },
    /// Queries come, and replies go.
    Open,
    /// Nothing more is read; what is owed is sent first.
    Ending(Closed),
    /// All is sent, and the client is to close its half.
    Lingering { why: Closed, until: Instant, left: usize },
}

/// What the kernel has more of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    More,
    Nothing,
    /// The client closed its half.
    End,
}

/// One client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    source: SocketAddr,
    phase: Phase,
    /// Received and not answered: a part of a query, or queries behind replies that could not be sent.
    received: Vec<u8>,
    /// Replies the client has not taken yet.
    unsent: Vec<u8>,
    /// Whole queries so far.
    queries: u64,
    /// The kernel told that the client closed its half, which it tells once: what is left is to be read to its end.
    half_closed: bool,
    /// It has lived long enough: ends when there is nothing whole left to answer.
    is_old: bool,
    /// It waits for another turn: what the kernel tells meanwhile need not be listened to.
    pub(super) has_more: bool,
    opened: Instant,
    /// When it last had completed all transactions it had begun; at first, when it was opened.
    completed: Instant,
    /// When the client last took a part of its replies.
    progress: Instant,
}

impl Connection {
    /// A connection from this address, which is a proxy's where a header is expected.
    pub(super) fn new(stream: TcpStream, source: SocketAddr, expects_header: bool, now: Instant) -> Self {
        Connection {
            stream,
            source,
            phase: Phase::Beginning { expected: expects_header },
            received: Vec::new(),
            unsent: Vec::new(),
            queries: 0,
            half_closed: false,
            is_old: false,
            has_more: false,
            opened: now,
            completed: now,
            progress: now,
        }
    }

    /// One that was somebody else's before.
    pub(super) fn of(passed: Passed, now: Instant) -> Self {
        let stream = TcpStream::from_std(passed.socket.into());
        let ago = |age| now.checked_sub(age).unwrap_or(now);
        let (opened, completed) = (ago(passed.age), ago(passed.idle));
        let new = Connection::new(stream, passed.source, passed.expects_header, now);
        Connection { queries: passed.queries, opened, completed, ..new }
    }

    /// Gives it away, where nothing of it is here: it is between two queries.
    pub(super) fn pass(&mut self, registry: &Registry, now: Instant) -> Option<Passed> {
        let expects_header = match self.phase {
            Phase::Beginning { expected } => expected,
            Phase::Open => false,
            Phase::Ending(_) | Phase::Lingering { .. } => return None,
        };
        let is_between = self.octets_waiting() == 0 && !self.has_more && !self.half_closed && !self.is_old;
        if !is_between {
            return None;
        }
        // A descriptor of its own: what is left here is closed with this connection, which ends nothing.
        let socket = Socket::from(self.stream.as_fd().try_clone_to_owned().ok()?);
        // Or the kernel would go on telling us of it, as long as it is open anywhere.
        registry.deregister(&mut self.stream).ok()?;
        let since = |then| now.saturating_duration_since(then);
        let (source, queries, age, idle) = (self.source, self.queries, since(self.opened), since(self.completed));
        Some(Passed { socket, source, expects_header, queries, age, idle })
    }

    fn octets_waiting(&self) -> usize {
        self.received.len() + self.unsent.len()
    }

    /// Whether a proxy is to name its client yet.
    pub(super) fn expects_header(&self) -> bool {
        matches!(self.phase, Phase::Beginning { expected: true })
    }

    /// Has the kernel tell when there is something to read, or room again to write.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// The client.
    pub(super) fn source(&self) -> SocketAddr {
        self.source
    }

    /// When it last had completed all transactions it had begun.
    pub(super) fn completed(&self) -> Instant {
        self.completed
    }

    /// Octets it holds.
    pub(super) fn octets(&self) -> usize {
        self.received.capacity() + self.unsent.capacity()
    }

    /// Why it ends, where that is decided.
    pub(super) fn end(&self) -> Option<Closed> {
        match self.phase {
            Phase::Ending(why) | Phase::Lingering { why, .. } => Some(why),
            Phase::Beginning { .. } | Phase::Open => None,
        }
    }

    /// Whether all is said on it, and nothing would be lost with it.
    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// Whether it was opened, or completed a transaction, so shortly ago that a query may well be under way.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        !self.is_lingering() && now < self.completed + FRESH
    }

    /// Whether it has not asked yet.
    pub(super) fn is_new(&self) -> bool {
        self.queries == 0
    }

    #[cfg(test)]
    pub(super) fn lingers(&mut self, now: Instant) {
        self.phase = Phase::Lingering { why: Closed::Framing, until: now + LINGER, left: LINGER_OCTETS };
    }

    #[cfg(test)]
    pub(super) fn asked(&mut self, now: Instant) {
        (self.queries, self.completed) = (self.queries + 1, now);
    }

    /// The kernel told that the client closed its half.
    pub(super) fn read_closed(&mut self) {
        self.half_closed = true;
    }

    /// It has lived long enough.
    pub(super) fn grow_old(&mut self) {
        self.is_old = true;
    }

    /// Closed with replies that the client does not take, the kernel would go on holding them, and trying.
    pub(super) fn discard(&mut self) {
        if !self.unsent.is_empty() {
            // A connection that is broken already holds nothing.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// What time makes of it.
    pub(super) fn due(&self, limits: &Limits, now: Instant) -> Due {
        let owes = !self.unsent.is_empty();
        let idle = now > self.completed + limits.idle;
        let timed_out = match self.phase {
            Phase::Lingering { until, .. } => (now > until).then_some(Closed::Idle),
            Phase::Beginning { expected: true } => idle.then_some(Closed::Proxy),
            _ if owes => (idle || now > self.progress + limits.stalled).then_some(Closed::Stalled),
            _ => idle.then_some(Closed::Idle),
        };
        match timed_out {
            Some(why) => Due::Close(self.end().unwrap_or(why)),
            None if !self.is_old && now > self.opened + limits.lifetime => Due::LastTurn,
            None => Due::Nothing,
        }
    }

    /// Reads, answers and writes, as far as that goes without waiting. At most `most` queries are answered in all.
    pub(super) fn turn(&mut self, desk: &mut Desk, most: u64, now: Instant) -> Next {
        let next = self.try_turn(desk, most, now);
        next.unwrap_or_else(|_| Next::Close(self.end().unwrap_or(Closed::Reset)))
    }

    fn try_turn(&mut self, desk: &mut Desk, most: u64, now: Instant) -> io::Result<Next> {
        if self.is_lingering() {
            return self.linger(desk);
        }
        if !self.send_unsent(now)? {
            return Ok(Next::Wait);
        }
        for _ in 0..READS {
            let (len, kernel) = self.read(desk)?;
            let waits = kernel == Kernel::Nothing && !self.half_closed;
            if let Phase::Beginning { expected } = self.phase {
                match header::read(&desk.input[..len], expected) {
                    Header::Absent => self.phase = Phase::Open,
                    Header::Foul => return Ok(Next::Close(Closed::Proxy)),
                    Header::Whole { octets, client } => {
                        self.phase = Phase::Open;
                        self.source = proxy::asker(client, self.source);
                        self.received.extend_from_slice(&desk.input[octets..len]);
                        return Ok(Next::Named);
                    }
                    Header::Partial if kernel == Kernel::End => return Ok(Next::Close(Closed::Finished)),
                    Header::Partial if self.is_old => return Ok(Next::Close(Closed::Lifetime)),
                    Header::Partial => {
                        self.received.extend_from_slice(&desk.input[..len]);
                        if waits {
                            return Ok(Next::Wait);
                        }
                        continue;
                    }
                }
            }
            if kernel == Kernel::End {
                self.phase = Phase::Ending(Closed::Finished);
            }
            self.answer(desk, len, most, now)?;
            if !self.unsent.is_empty() {
                return Ok(Next::Wait);
            }
            match (frame(&self.received), self.phase) {
                // Also what can be no query: it ends the connection when its turn comes.
                (Frame::Whole(_) | Frame::Bad, _) => {}
                (Frame::Partial, Phase::Ending(why)) => return self.finish(why, desk, now),
                (Frame::Partial, _) if waits && self.is_old => return self.finish(Closed::Lifetime, desk, now),
                (Frame::Partial, _) if waits => return Ok(Next::Wait),
                (Frame::Partial, _) => {}
            }
        }
        if self.is_old && self.end().is_none() {
            self.phase = Phase::Ending(Closed::Lifetime);
        }
        Ok(Next::Again)
    }

    /// Puts what is not answered yet, and behind it what can be read, at the beginning of the desk's input. Returns how
    /// much that is, and what the kernel has more of.
    fn read(&mut self, desk: &mut Desk) -> io::Result<(usize, Kernel)> {
        let received = std::mem::take(&mut self.received);
        let kept = received.len();
        desk.input[..kept].copy_from_slice(&received);
        let begins = matches!(self.phase, Phase::Beginning { .. });
        // Queries that waited come first; with them the buffer may be full.
        if self.end().is_some() || (!begins && frame(&received) != Frame::Partial) {
            return Ok((kept, Kernel::More));
        }
        match self.stream.read(&mut desk.input[kept..]) {
            Ok(0) => Ok((kept, Kernel::End)),
            // The kernel tells when more comes; a read that finds nothing would only say the same.
            Ok(read) if read < READ - kept => Ok((kept + read, Kernel::Nothing)),
            Ok(read) => Ok((kept + read, Kernel::More)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Whatever was told: the end is not here yet, and asking again and again would not bring it.
                self.half_closed = false;
                Ok((kept, Kernel::Nothing))
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok((kept, Kernel::More)),
            Err(error) => Err(error),
        }
    }

    /// Answers what is whole in the first `len` octets of the desk's input, sends the replies, and keeps the rest.
    fn answer(&mut self, desk: &mut Desk, len: usize, most: u64, now: Instant) -> io::Result<()> {
        let done = desk.answer(len, self.source, most - self.queries);
        self.queries += done.queries;
        if let Some(why) = done.end {
            // Not before the answers to what came whole are sent.
            self.phase = Phase::Ending(why);
        }
        self.received.extend_from_slice(&desk.input[done.octets..len]);
        if desk.replies.is_empty() {
            return Ok(());
        }
        self.progress = now;
        // Whatever happens, none are left for the next connection.
        let sent = write(&mut self.stream, &desk.replies);
        if let Ok(sent) = sent {
            self.unsent.extend_from_slice(&desk.replies[sent..]);
        }
        desk.replies.clear();
        sent?;
        if self.unsent.is_empty() {
            self.completed = now;
        }
        Ok(())
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
            self.completed = now;
        }
        Ok(self.unsent.is_empty())
    }

    /// All is sent: says good-bye, and where octets of the client may be unread, waits for its.
    fn finish(&mut self, why: Closed, desk: &mut Desk, now: Instant) -> io::Result<Next> {
        if why == Closed::Finished || self.queries == 0 {
            return Ok(Next::Close(why));
        }
        self.phase = Phase::Lingering { why, until: now + LINGER, left: LINGER_OCTETS };
        self.stream.shutdown(Shutdown::Write)?;
        self.linger(desk)
    }

    /// Reads and forgets, until the client closes its half.
    fn linger(&mut self, desk: &mut Desk) -> io::Result<Next> {
        let Phase::Lingering { why, left, .. } = &mut self.phase else { return Ok(Next::Wait) };
        for _ in 0..READS {
            match self.stream.read(&mut desk.input[..]) {
                Ok(read) if read == 0 || read > *left => return Ok(Next::Close(*why)),
                Ok(read) => *left -= read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Next::Again)
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
