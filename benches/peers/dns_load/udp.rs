//! Queries in bursts over connected UDP sockets.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, MultiHeaders, recvmmsg, sendmmsg, sendmsg},
};

use crate::{
    clocks::Clock,
    question::MAX_QUERY,
    run::{Load, Script},
    slots::{Sent, Slots},
    tally::Tally,
};

/// Most queries in one burst, and replies taken by one call.
const BATCH: usize = 16;

/// Longest reply kept; what is longer is cut off, and found to be wrong.
const MAX_REPLY: usize = 1500;

/// The longest burst of a steady rate, in nanoseconds of it.
const STEADY_BURST: u64 = 100_000;

/// How much faster than steadily what is late may leave.
const CATCH_UP: f64 = 2.0;

/// How bursts leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bursts {
    /// As one datagram that the kernel cuts up before it reaches the server's socket (UDP_SEGMENT): cheap, so that
    /// the generator is faster than any server.
    Segmented,
    /// As one datagram each (sendmmsg).
    Single,
}

/// When queries are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As soon as earlier ones are answered: as many as the server can answer.
    Flood,
    /// So many a second, answered or not.
    Steady(f64),
}

struct Socket {
    socket: UdpSocket,
    slots: Slots,
    headers_in: MultiHeaders<()>,
    headers_out: MultiHeaders<()>,
}

/// Buffers that all sockets share; each call uses them from the start.
struct Buffers {
    replies: Box<[[u8; MAX_REPLY]; BATCH]>,
    burst: Vec<u8>,
}

/// UDP as a load.
pub(crate) struct Udp {
    sockets: Vec<Socket>,
    buffers: Buffers,
    script: Script,
    bursts: Bursts,
    pace: Pace,
    /// Of a steady rate: when it began, how many queries were due since, and the socket that is next.
    began: Option<u64>,
    scheduled: u64,
    next: usize,
    /// No burst before that: a generator that was kept waiting catches up at CATCH_UP times the rate, not at once.
    not_before: u64,
}

impl Udp {
    pub(crate) fn connect(
        server: SocketAddr,
        sockets: usize,
        outstanding: usize,
        script: Script,
        bursts: Bursts,
        pace: Pace,
    ) -> io::Result<Self> {
        let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let open = || {
            let socket = UdpSocket::bind(any)?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            Ok(Socket {
                socket,
                slots: Slots::new(outstanding),
                headers_in: MultiHeaders::preallocate(BATCH, None),
                headers_out: MultiHeaders::preallocate(BATCH, None),
            })
        };
        Ok(Udp {
            sockets: (0..sockets).map(|_| open()).collect::<io::Result<_>>()?,
            buffers: Buffers {
                replies: Box::new([[0; MAX_REPLY]; BATCH]),
                burst: Vec::with_capacity(BATCH * MAX_QUERY),
            },
            script,
            bursts,
            pace,
            began: None,
            scheduled: 0,
            next: 0,
            not_before: 0,
        })
    }

    /// Refills every socket that has half of its slots free: bursts are what makes the generator cheap.
    fn flood(&mut self, clock: Clock, tally: &mut Tally) -> io::Result<()> {
        for socket in &mut self.sockets {
            let free = socket.slots.free();
            if free * 2 >= socket.slots.under_way() + free {
                let now = clock.now();
                let times = std::iter::repeat_n(now, free.min(BATCH));
                socket.send(&mut self.script, &mut self.buffers.burst, times, self.bursts, tally)?;
            }
        }
        Ok(())
    }

    /// Sends what is due by now, at most one burst, so that replies are looked for in between.
    fn steady(&mut self, rate: f64, clock: Clock, tally: &mut Tally) -> io::Result<()> {
        let now = clock.now();
        let began = *self.began.get_or_insert(now);
        let interval = 1e9 / rate;
        let due = ((now - began) as f64 / interval) as u64 + 1;
        let burst = ((STEADY_BURST as f64 / interval) as u64).clamp(1, BATCH as u64);
        let from = self.scheduled;
        let to = due.min(from + burst);
        if from == to || now < self.not_before {
            return Ok(());
        }
        self.scheduled = to;
        self.not_before = now + ((to - from) as f64 * interval / CATCH_UP) as u64;
        let times = (from..to).map(|nth| began + (nth as f64 * interval) as u64);
        times.clone().for_each(|at| tally.late.record(now.saturating_sub(at)));
        let at = self.next;
        self.next = (at + 1) % self.sockets.len();
        self.sockets[at].send(&mut self.script, &mut self.buffers.burst, times, self.bursts, tally)
    }
}

impl Load for Udp {
    fn turn(&mut self, clock: Clock, sending: bool, tally: &mut Tally) -> io::Result<()> {
        match self.pace {
            _ if !sending => {}
            Pace::Flood => self.flood(clock, tally)?,
            Pace::Steady(rate) => self.steady(rate, clock, tally)?,
        }
        for socket in &mut self.sockets {
            if socket.slots.under_way() > 0 {
                socket.receive(&self.script, &mut self.buffers.replies, clock, tally)?;
            }
        }
        Ok(())
    }

    fn expire(&mut self, before: u64) -> u64 {
        self.sockets.iter_mut().map(|socket| socket.slots.expire(before)).sum()
    }

    fn under_way(&self) -> usize {
        self.sockets.iter().map(|socket| socket.slots.under_way()).sum()
    }
}

impl Socket {
    /// One burst of one question: the pieces of a segmented datagram are of one length. `times` are when its queries
    /// were due.
    fn send(
        &mut self,
        script: &mut Script,
        burst: &mut Vec<u8>,
        times: impl Iterator<Item = u64>,
        bursts: Bursts,
        tally: &mut Tally,
    ) -> io::Result<()> {
        burst.clear();
        let question = script.next();
        let len = script.question(question).len();
        let mut count = 0;
        for at in times {
            match self.slots.take(Sent { question, at }) {
                Some(id) => script.question(question).write(id, burst),
                // More are unanswered than anybody waits for.
                None => tally.lost += 1,
            }
            count += 1;
        }
        script.sent(question, count);
        if burst.is_empty() {
            return Ok(());
        }
        let sent = match bursts {
            Bursts::Segmented => self.send_segmented(burst, len),
            Bursts::Single => self.send_single(burst, len),
        };
        match sent {
            // What did not leave is given up like what was lost on the way: after the time-out.
            Ok(()) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ECONNREFUSED) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn send_segmented(&self, burst: &[u8], len: usize) -> Result<(), Errno> {
        let size = u16::try_from(len).map_err(|_| Errno::EMSGSIZE)?;
        let pieces = [ControlMessage::UdpGsoSegments(&size)];
        let control = if burst.len() > len { &pieces[..] } else { &[] };
        sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(burst)], control, MsgFlags::empty(), None).map(drop)
    }

    fn send_single(&mut self, burst: &[u8], len: usize) -> Result<(), Errno> {
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        let mut count = 0;
        for (slice, query) in slices.iter_mut().zip(burst.chunks(len)) {
            *slice = [IoSlice::new(query)];
            count += 1;
        }
        let (fd, no_address) = (self.socket.as_raw_fd(), [None; BATCH]);
        sendmmsg(fd, &mut self.headers_out, slices[..count].iter(), no_address, [], MsgFlags::empty()).map(drop)
    }

    /// Takes the replies that are there.
    fn receive(
        &mut self,
        script: &Script,
        replies: &mut [[u8; MAX_REPLY]; BATCH],
        clock: Clock,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let mut lengths = [0; BATCH];
        let mut slices = replies.each_mut().map(|reply| [IoSliceMut::new(reply)]);
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let received = match recvmmsg(fd, &mut self.headers_in, slices.iter_mut(), flags, None) {
            Ok(messages) => messages.zip(&mut lengths).map(|(message, length)| *length = message.bytes).count(),
            // Refused: the server does not listen yet, or no longer. Its queries time out.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let now = clock.now();
        for (reply, length) in replies.iter().zip(lengths).take(received) {
            tally.reply(&mut self.slots, script, &reply[..length], now);
        }
        Ok(())
    }
}
