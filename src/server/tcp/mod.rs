//! TCP (RFC 7766): several queries per connection, answered in one write when they came in one read.
//!
//! Each worker is one thread with a listener and an epoll set of its own: a readable connection is read, answered and
//! written to on the spot, without a task to wake in between.
//!
//! | | |
//! |---|---|
//! | [`Connection`] | one client's connection: what of it is not answered or not sent yet |
//! | [`Desk`] | what the connections of a worker share: one buffer for reading, one for replies, the responder |

mod connection;
#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use mio::{Events, Interest, Poll, Token, net::TcpListener};

use self::connection::{Connection, Desk, Next};
use super::{Responder, listeners::Stop};
use crate::table::Table;

/// What bounds a worker's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections open at once; further ones wait in the kernel. Each may hold what [`connection`] bounds, some 150 KiB
    /// where a client sends much and takes nothing.
    connections: usize,
    /// How long a connection may go without a whole query, or without taking any of its replies (RFC 7766 section
    /// 6.2.3 leaves the numbers to us; clients reuse connections for seconds, not minutes).
    idle: Duration,
    stalled: Duration,
}

/// Connections open at once on one address, over all its workers: 150 MiB at the very worst, and no more descriptors
/// than a server has beside those that discovery and probes need.
const CONNECTIONS: usize = 1024;

/// Connections that each worker may have, however many there are.
const LEAST_CONNECTIONS: usize = 64;

impl Limits {
    /// The limits of each of so many workers on an address.
    pub(super) fn of_each(workers: usize) -> Self {
        let connections = (CONNECTIONS / workers.max(1)).max(LEAST_CONNECTIONS);
        Limits { connections, idle: Duration::from_secs(30), stalled: Duration::from_secs(10) }
    }
}

/// How often an idle worker looks whether it should stop, and which connections have outstayed their limits.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Pause after accept failed: out of descriptors, most likely, and only closing connections helps.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// Connections accepted before those that are open have their turn.
const ACCEPTS: usize = 64;

/// How long nothing may happen before a worker that is told to stop ends: the kernel has handed over within this time
/// what it received before. Far longer than that takes, and not felt by whoever waits for the end.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// How long open connections may take to finish when stopping.
const STOP_WITHIN: Duration = Duration::from_millis(500);

const LISTENER: Token = Token(usize::MAX);

/// Serves until told to stop, then answers what was received.
pub(super) fn serve(
    listener: std::net::TcpListener,
    tables: Arc<ArcSwap<Table>>,
    responder: Responder,
    stop: &Stop,
    limits: Limits,
) {
    let mut worker = match Worker::new(listener, Desk::new(tables, responder), limits) {
        Ok(worker) => worker,
        Err(error) => return tracing::error!(%error, "a TCP worker cannot start"),
    };
    while !stop.is_set() {
        worker.turn(LOOK_UP);
    }
    let until = Instant::now() + STOP_WITHIN;
    while worker.turn(LAST_LOOK) && Instant::now() < until {}
    worker.connections.iter_mut().flatten().for_each(Connection::close);
}

/// One thread's listener and connections.
struct Worker {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    limits: Limits,
    /// By token; places of closed ones are `free`.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Connections that had their turn and may have more to read.
    unfinished: Vec<usize>,
    desk: Desk,
    /// Connections may be waiting in the kernel.
    has_waiting: bool,
    /// Not before this is accept tried again.
    accept_from: Option<Instant>,
    next_sweep: Instant,
}

impl Worker {
    fn new(listener: std::net::TcpListener, desk: Desk, limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Worker {
            poll,
            events: Events::with_capacity(EVENTS),
            listener,
            limits,
            connections: Vec::new(),
            free: Vec::new(),
            unfinished: Vec::new(),
            desk,
            has_waiting: false,
            accept_from: None,
            next_sweep: Instant::now() + LOOK_UP,
        })
    }

    /// Waits for something to happen, `wait` at most, and does what there is to do; whether there was anything.
    fn turn(&mut self, wait: Duration) -> bool {
        let can_accept = self.has_waiting && self.accept_from.is_none() && !self.is_full();
        let wait = if self.unfinished.is_empty() && !can_accept { wait } else { Duration::ZERO };
        if let Err(error) = self.poll.poll(&mut self.events, Some(wait)) {
            if error.kind() != ErrorKind::Interrupted {
                tracing::error!(%error, "waiting for TCP connections failed; trying on");
                std::thread::sleep(AFTER_ERROR);
            }
            return true;
        }
        let now = Instant::now();
        let mut busy = !self.unfinished.is_empty();
        for index in std::mem::take(&mut self.unfinished) {
            if let Some(Some(connection)) = self.connections.get_mut(index) {
                connection.has_more = false;
            }
            self.serve(index, false, now);
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            busy = true;
            match event.token() {
                LISTENER => self.has_waiting = true,
                Token(index) => self.serve(index, event.is_read_closed(), now),
            }
        }
        self.events = events;
        if self.has_waiting {
            busy |= self.accept(now);
        }
        if now >= self.next_sweep {
            self.sweep(now);
        }
        busy
    }

    fn is_full(&self) -> bool {
        self.connections.len() - self.free.len() >= self.limits.connections
    }

    /// Takes connections that wait in the kernel, while there is room; whether it took any.
    fn accept(&mut self, now: Instant) -> bool {
        if self.accept_from.is_some_and(|from| now < from) {
            return false;
        }
        for accepted in 0..ACCEPTS {
            if self.is_full() {
                return accepted > 0;
            }
            match self.listener.accept() {
                Ok((stream, source)) => {
                    self.accept_from = None;
                    self.open(Connection::new(stream, source, now));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    (self.has_waiting, self.accept_from) = (false, None);
                    return accepted > 0;
                }
                // The client gave up while it waited.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    if self.accept_from.is_none() {
                        tracing::warn!(%error, "cannot accept TCP connections; trying on");
                    }
                    self.accept_from = Some(now + AFTER_ERROR);
                    return accepted > 0;
                }
            }
        }
        true
    }

    fn open(&mut self, mut connection: Connection) {
        let index = self.free.pop().unwrap_or(self.connections.len());
        // Fails only where the kernel is out of memory; the client finds its connection closed.
        if connection.register(self.poll.registry(), Token(index)).is_err() {
            if index < self.connections.len() {
                self.free.push(index);
            }
            return;
        }
        match self.connections.get_mut(index) {
            Some(place) => *place = Some(connection),
            None => self.connections.push(Some(connection)),
        }
    }

    /// Gives a connection its turn. An event may be older than the connection in its place; that does no harm.
    fn serve(&mut self, index: usize, read_closed: bool, now: Instant) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        if read_closed {
            connection.read_closed();
        }
        // One turn for each, however much comes meanwhile: who sends without a pause must not crowd out the others.
        if connection.has_more {
            return;
        }
        match connection.turn(&mut self.desk, now) {
            Next::Wait => {}
            Next::Again => {
                connection.has_more = true;
                self.unfinished.push(index);
            }
            Next::Close => self.close(index),
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) {
            connection.close();
            self.free.push(index);
        }
    }

    /// Closes what has outstayed its limits.
    fn sweep(&mut self, now: Instant) {
        self.next_sweep = now + LOOK_UP;
        for index in 0..self.connections.len() {
            let limit = |connection: &Connection| {
                if connection.has_unsent() { self.limits.stalled } else { self.limits.idle }
            };
            if self.connections[index].as_ref().is_some_and(|held| now > held.progress() + limit(held)) {
                self.close(index);
            }
        }
    }
}
