//! Queries over TCP connections.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    clocks::Clock,
    question::MAX_QUERY,
    run::{Load, Script},
    slots::{Sent, Slots},
    tally::Tally,
};

/// Octets read at once; some hundred replies of the usual length. A longer message is taken for a broken connection.
const READ: usize = 64 * 1024;

/// How long a connection may take to open: two repetitions of a handshake's first packet that was lost.
const CONNECT: Duration = Duration::from_secs(5);

/// Pause after opening one. Some servers let ten wait to be accepted; for more, the handshake is repeated a second
/// later.
const BETWEEN: Duration = Duration::from_millis(1);

/// How long a connection that could not be opened is left alone, in nanoseconds.
const AGAIN: u64 = 100_000_000;

struct Connection {
    stream: Option<TcpStream>,
    slots: Slots,
    /// Read, and not yet a whole reply.
    partial: Vec<u8>,
    /// Not yet written.
    unsent: Vec<u8>,
    /// When to try to open it again.
    again: u64,
}

/// TCP as a load: each connection has as many queries under way as it may.
pub(crate) struct Tcp {
    server: SocketAddr,
    connections: Vec<Connection>,
    buffer: Box<[u8]>,
    script: Script,
}

impl Tcp {
    pub(crate) fn connect(
        server: SocketAddr,
        connections: usize,
        outstanding: usize,
        script: Script,
    ) -> io::Result<Self> {
        let open = || {
            Ok(Connection {
                stream: Some(open(server)?),
                slots: Slots::new(outstanding),
                partial: Vec::with_capacity(READ),
                unsent: Vec::with_capacity(outstanding * (MAX_QUERY + 2)),
                again: 0,
            })
        };
        let connections = (0..connections).map(|_| open()).collect::<io::Result<_>>()?;
        Ok(Tcp { server, connections, buffer: vec![0; READ].into(), script })
    }
}

impl Load for Tcp {
    fn turn(&mut self, clock: Clock, sending: bool, tally: &mut Tally) -> io::Result<()> {
        for connection in &mut self.connections {
            if connection.stream.is_none() && sending && clock.now() >= connection.again {
                connection.stream = open(self.server).ok();
                connection.again = clock.now() + AGAIN;
            }
            if connection.stream.is_none() {
                continue;
            }
            if sending {
                connection.ask(&mut self.script, clock);
            }
            if connection.talk(&self.script, &mut self.buffer, clock, tally).is_err() {
                connection.close(tally);
            }
        }
        Ok(())
    }

    fn expire(&mut self, before: u64) -> u64 {
        self.connections.iter_mut().map(|connection| connection.slots.expire(before)).sum()
    }

    fn under_way(&self) -> usize {
        self.connections.iter().map(|connection| connection.slots.under_way()).sum()
    }
}

impl Connection {
    fn ask(&mut self, script: &mut Script, clock: Clock) {
        if self.slots.free() == 0 || !self.unsent.is_empty() {
            return;
        }
        let at = clock.now();
        while let question = script.next()
            && let Some(id) = self.slots.take(Sent { question, at })
        {
            // A query is far shorter than 64 KiB.
            let len = script.question(question).len() as u16;
            self.unsent.extend_from_slice(&len.to_be_bytes());
            script.question(question).write(id, &mut self.unsent);
            script.sent(question, 1);
        }
    }

    /// Writes and reads what goes without waiting. An error means that the connection is of no use any more.
    fn talk(&mut self, script: &Script, buffer: &mut [u8], clock: Clock, tally: &mut Tally) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if self.slots.under_way() == 0 {
            return Ok(());
        }
        let read = match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = clock.now();
        if self.partial.is_empty() {
            let used = replies(&buffer[..read], |reply| tally.reply(&mut self.slots, script, reply, now));
            self.partial.extend_from_slice(&buffer[used..read]);
        } else {
            self.partial.extend_from_slice(&buffer[..read]);
            let used = replies(&self.partial, |reply| tally.reply(&mut self.slots, script, reply, now));
            self.partial.drain(..used);
        }
        if self.partial.len() > READ { Err(ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    fn close(&mut self, tally: &mut Tally) {
        self.stream = None;
        self.partial.clear();
        self.unsent.clear();
        tally.closed += 1;
        tally.lost += self.slots.expire(u64::MAX);
    }
}

fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, CONNECT)?;
    thread::sleep(BETWEEN);
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Hands on every whole message (RFC 1035, section 4.2.2); returns the octets used.
fn replies(bytes: &[u8], mut each: impl FnMut(&[u8])) -> usize {
    let mut used = 0;
    while let Some((len, rest)) = bytes[used..].split_first_chunk()
        && let Some(reply) = rest.get(..usize::from(u16::from_be_bytes(*len)))
    {
        each(reply);
        used += 2 + reply.len();
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_or_wait() {
        let bytes = b"\0\x02ab\0\0\0\x03cd";
        let mut seen = Vec::new();
        assert_eq!(replies(bytes, |reply| seen.push(reply.to_vec())), 6);
        assert_eq!(seen, [&b"ab"[..], b""]);
        assert_eq!(replies(b"\0", |_| unreachable!()), 0);
    }
}
