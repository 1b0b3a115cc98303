//! UDP: one thread and one SO_REUSEPORT socket per worker, so that the kernel spreads askers over workers.

use std::{
    io::{self, ErrorKind},
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use super::{Responder, Transport, listeners::Stop};

/// Longest query taken; real ones stay below 300 octets, EDNS options included. What is longer arrives cut off, and
/// is answered as malformed.
const MAX_QUERY: usize = 4096;

/// How often an idle worker looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How long a stopping worker goes on answering what keeps arriving.
const DRAIN_FOR: Duration = Duration::from_millis(500);

/// Pause after an unexpected error of the socket, so that one that persists costs no core.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// Serves until told to stop, then answers what is already in the socket.
pub(super) fn serve(socket: &UdpSocket, mut responder: Responder, stop: &Stop) {
    let mut packet = [0; MAX_QUERY];
    let mut reply = Vec::with_capacity(usize::from(super::edns::UDP_SIZE));
    if let Err(error) = socket.set_read_timeout(Some(LOOK_UP)) {
        tracing::error!(%error, "a UDP worker cannot set its time-out");
        return;
    }
    while !stop.is_set() {
        if let Err(error) = answer_one(socket, &mut responder, &mut packet, &mut reply) {
            match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => {
                    tracing::debug!(%error, "receiving failed");
                    thread::sleep(AFTER_ERROR);
                }
            }
        }
    }
    let until = Instant::now() + DRAIN_FOR;
    if socket.set_nonblocking(true).is_ok() {
        while Instant::now() < until && answer_one(socket, &mut responder, &mut packet, &mut reply).is_ok() {}
    }
}

fn answer_one(socket: &UdpSocket, responder: &mut Responder, packet: &mut [u8], reply: &mut Vec<u8>) -> io::Result<()> {
    let (len, source) = socket.recv_from(packet)?;
    responder.respond(&packet[..len], source, Transport::Udp, reply);
    if !reply.is_empty() {
        // A reply that cannot be sent is lost like any datagram; the asker repeats its query.
        let _ = socket.send_to(reply, source);
    }
    Ok(())
}
