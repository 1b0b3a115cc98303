//! One datagram at a time, with nothing but the standard library: for systems without recvmmsg.

use std::{io, net::UdpSocket, time::Duration};

use super::{Datagrams, MAX_QUERY, Worker};
use crate::server::edns::UDP_SIZE;

/// How long the kernel may take to accept a reply. A full socket must not hold up the queries behind it, and the
/// standard library has no flag to send without waiting on a socket that waits to receive.
const SEND_WITHIN: Duration = Duration::from_millis(1);

/// A socket and room for one query and one reply.
pub(super) struct Plain<'s> {
    socket: &'s UdpSocket,
    packet: Box<[u8; MAX_QUERY]>,
    reply: Vec<u8>,
}

impl<'s> Plain<'s> {
    pub(super) fn new(socket: &'s UdpSocket) -> Self {
        // Fails only for a time-out of zero.
        let _ = socket.set_write_timeout(Some(SEND_WITHIN));
        Plain { socket, packet: Box::new([0; MAX_QUERY]), reply: Vec::with_capacity(usize::from(UDP_SIZE)) }
    }
}

impl Datagrams for Plain<'_> {
    fn turn(&mut self, worker: &mut Worker, wait: bool) -> io::Result<()> {
        if !wait {
            self.socket.set_nonblocking(true)?;
        }
        let (len, source) = self.socket.recv_from(&mut *self.packet)?;
        self.reply.clear();
        worker.look();
        let table = worker.tables.load();
        match worker.has_proxies() {
            false => worker.respond::<false>(&table, &self.packet[..len], source, &mut self.reply),
            true => worker.respond::<true>(&table, &self.packet[..len], source, &mut self.reply),
        }
        if !self.reply.is_empty() && self.socket.send_to(&self.reply, source).is_err() {
            // Lost like any datagram; the asker repeats its query.
            worker.responder.counters().unsent(1);
        }
        Ok(())
    }
}
