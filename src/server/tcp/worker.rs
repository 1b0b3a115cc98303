//! One thread's listener and connections. In one piece: accepting, serving, closing and leaving them to another process
//! share the places and the poll.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{TcpListener, TcpStream},
};
use socket2::SockRef;

use super::{
    Closed, Inbox, Limits, TcpCounters,
    connection::{Connection, Due, Next},
    desk::Desk,
    failure::{Failure, Seldom},
    places::{Client, Places},
};
use crate::{
    model::Verdict,
    server::listeners::{Heir, Stop},
};

/// How often an idle worker looks whether it should stop, and which connections have outstayed their limits.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Pause after accept or poll failed: out of descriptors, most likely, with no connection of ours that could give its
/// back.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Pause where all places are taken by connections too fresh to give way; a part of the time they are.
const AFTER_FRESH: Duration = Duration::from_millis(5);

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// Connections accepted before those that are open have their turn.
const ACCEPTS: usize = 64;

/// Octets of replies that the kernel holds for a connection, before it doubles them for its own needs: as much as a
/// connection collects before it writes. Left alone, the kernel holds megabytes for each client that reads nothing.
const SEND_BUFFER: usize = 128 * 1024;

/// How long the kernel tries to deliver replies that nobody takes, also after the connection is closed here.
const UNDELIVERED: Duration = Duration::from_secs(30);

/// How long nothing may happen before a worker that is told to stop ends: the kernel has handed over within this time
/// what it received before. Far longer than that takes, and not felt by whoever waits for the end.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// How long open connections may take to finish when stopping.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// How long connections may take to come between two queries before they are closed, where another process goes on with
/// those that do: a query that has begun comes whole within this time, unless its client is gone.
const PASS_WITHIN: Duration = Duration::from_secs(3);

/// How often that is looked at.
const PASS_LOOK: Duration = Duration::from_millis(5);

const LISTENER: Token = Token(usize::MAX);
const INBOX: Token = Token(usize::MAX - 1);

/// Serves until told to stop, then answers what was received.
pub(in crate::server) fn serve(listening: Listening, desk: Desk, counters: Arc<TcpCounters>, stop: &Stop) {
    let limits = Limits::of(desk.settings());
    Worker::new(listening, desk, limits, counters).serve_until(stop);
}

/// A listener and the epoll set it is in: all of a worker that can fail.
pub(in crate::server) struct Listening {
    poll: Poll,
    listener: TcpListener,
    inbox: Inbox,
}

impl Listening {
    pub(in crate::server) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        // Accepted connections have what their listener has.
        let socket = SockRef::from(&listener);
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.set_tcp_user_timeout(Some(UNDELIVERED))?;
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let inbox = Inbox::new(Waker::new(poll.registry(), INBOX)?);
        Ok(Listening { poll, listener, inbox })
    }

    /// Where its worker finds connections that others pass on.
    pub(in crate::server) fn inbox(&self) -> &Inbox {
        &self.inbox
    }
}

/// One thread's listener and connections.
pub(super) struct Worker {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    inbox: Inbox,
    limits: Limits,
    places: Places,
    /// Connections that had their turn and may have more to read.
    unfinished: Vec<usize>,
    desk: Desk,
    counters: Arc<TcpCounters>,
    /// Connections may be waiting in the kernel.
    has_waiting: bool,
    /// Not before this is accept tried again.
    accept_from: Option<Instant>,
    next_sweep: Instant,
    is_stopping: bool,
    crowd: Seldom,
    trouble: Seldom,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

impl Worker {
    pub(super) fn new(listening: Listening, desk: Desk, limits: Limits, counters: Arc<TcpCounters>) -> Self {
        let Listening { poll, listener, inbox } = listening;
        Worker {
            poll,
            events: Events::with_capacity(EVENTS),
            listener,
            inbox,
            limits,
            places: Places::new(limits),
            unfinished: Vec::new(),
            desk,
            counters,
            has_waiting: false,
            accept_from: None,
            next_sweep: Instant::now() + LOOK_UP,
            is_stopping: false,
            crowd: Seldom::default(),
            trouble: Seldom::default(),
        }
    }

    /// Serves until told to stop, then answers what was received.
    pub(super) fn serve_until(&mut self, stop: &Stop) {
        while !stop.is_set() {
            self.turn(LOOK_UP);
        }
        if let Some(heir) = stop.heir() {
            self.pass_all(heir);
        }
        self.stop();
    }

    /// Gives all connections away as they come between two queries, and takes no new ones, for a bounded time.
    fn pass_all(&mut self, heir: &Heir) {
        // The listening socket is open in the other process, too: closed here, nothing in it is lost.
        let _ = self.poll.registry().deregister(&mut self.listener);
        (self.has_waiting, self.accept_from) = (false, None);
        let until = Instant::now() + PASS_WITHIN;
        loop {
            for index in 0..self.places.end() {
                self.pass(index, heir);
            }
            if self.places.len() == 0 || Instant::now() >= until {
                return;
            }
            self.turn(PASS_LOOK);
        }
    }

    fn pass(&mut self, index: usize, heir: &Heir) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if let Some(passed) = connection.pass(self.poll.registry(), Instant::now()) {
            // Where nobody is there to take it, it is closed.
            let _ = heir.send(passed);
            self.close(index, Closed::HandedOver);
        }
    }

    /// Answers what the kernel has received, for a bounded time, and closes everything.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        let until = Instant::now() + STOP_WITHIN;
        while self.turn(LAST_LOOK) && Instant::now() < until {}
        for index in 0..self.places.end() {
            self.close(index, Closed::Stopped);
        }
    }

    /// Waits for something to happen, `wait` at most, and does what there is to do; whether there was anything.
    pub(super) fn turn(&mut self, wait: Duration) -> bool {
        let wait = self.wait_at_most(wait);
        if let Err(error) = self.poll.poll(&mut self.events, Some(wait)) {
            if error.kind() != ErrorKind::Interrupted {
                tracing::error!(%error, "waiting for TCP connections failed; trying on");
                std::thread::sleep(AFTER_ERROR);
            }
            return true;
        }
        let now = Instant::now();
        if self.desk.look() {
            self.limits = Limits::of(self.desk.settings());
            self.places.limit(self.limits);
        }
        self.places.forget_candidates();
        self.desk.keepalive = if self.is_stopping { 0 } else { self.limits.keepalive(self.places.len()) };
        let mut busy = !self.unfinished.is_empty();
        for index in std::mem::take(&mut self.unfinished) {
            if let Some(connection) = self.places.get_mut(index) {
                connection.has_more = false;
            }
            self.serve(index, false, now);
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            busy = true;
            match event.token() {
                LISTENER => self.has_waiting = true,
                INBOX => self.take_passed(now),
                Token(index) => self.serve(index, event.is_read_closed(), now),
            }
        }
        self.events = events;
        if self.has_waiting && self.accept_from.is_none_or(|from| from <= now) {
            busy |= self.accept();
        }
        if now >= self.next_sweep {
            self.sweep(now);
        }
        busy
    }

    fn wait_at_most(&self, wait: Duration) -> Duration {
        match self.accept_from {
            _ if !self.unfinished.is_empty() => Duration::ZERO,
            _ if !self.has_waiting => wait,
            None => Duration::ZERO,
            Some(from) => from.saturating_duration_since(Instant::now()).min(wait),
        }
    }

    /// Takes connections that wait in the kernel; whether it took any.
    fn accept(&mut self) -> bool {
        let mut may_make_room = true;
        self.accept_from = None;
        for accepted in 0..ACCEPTS {
            let now = Instant::now();
            let full = self.places.is_full();
            let gives_way = if full { self.places.in_the_way(now) } else { None };
            if full && gives_way.is_none() {
                self.accept_from = Some(now + AFTER_FRESH);
                return accepted > 0;
            }
            match self.listener.accept() {
                Ok((stream, source)) => {
                    may_make_room = true;
                    self.admit(stream, source, gives_way, now);
                }
                Err(error) => match Failure::of(&error) {
                    Failure::Nothing => {
                        self.has_waiting = false;
                        return accepted > 0;
                    }
                    Failure::Gone => {}
                    Failure::Exhausted if may_make_room && self.give_back_a_descriptor(now) => may_make_room = false,
                    Failure::Exhausted | Failure::Other => {
                        if self.trouble.is_due(now) {
                            tracing::warn!(%error, "cannot accept TCP connections; trying on");
                        }
                        self.accept_from = Some(now + AFTER_ERROR);
                        return accepted > 0;
                    }
                },
            }
        }
        true
    }

    /// Closes a connection, so that another can be accepted; whether there was one to close.
    fn give_back_a_descriptor(&mut self, now: Instant) -> bool {
        let Some(index) = self.places.in_the_way(now) else { return false };
        if self.crowd.is_due(now) {
            tracing::warn!(
                connections = self.places.len(),
                "no descriptors left: the connections that have been idle longest give way"
            );
        }
        self.close(index, Closed::Evicted);
        true
    }

    /// Gives a new connection its place, where it may have one, and its first turn.
    fn admit(&mut self, stream: TcpStream, source: SocketAddr, gives_way: Option<usize>, now: Instant) {
        self.counters.count_accepted();
        let settings = self.desk.settings();
        let is_proxy = settings.proxies.contains(source.ip());
        if !is_proxy && settings.access.verdict(source.ip()) == Verdict::Drop {
            // Reset, so that not even the kernel remembers.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return self.counters.count_closed(Closed::Denied);
        }
        let client = if is_proxy { Client::Unnamed } else { Client::of(source.ip()) };
        self.seat(Connection::new(stream, source, is_proxy, now), client, gives_way, now);
    }

    /// Goes on with connections that somebody else had, as far as the rules and bounds of new ones let it.
    fn take_passed(&mut self, now: Instant) {
        for passed in self.inbox.take() {
            self.counters.count_accepted();
            let (settings, source) = (self.desk.settings(), passed.source.ip());
            if !settings.proxies.contains(source) && settings.access.verdict(source) == Verdict::Drop {
                let _ = passed.socket.set_linger(Some(Duration::ZERO));
                self.counters.count_closed(Closed::Denied);
                continue;
            }
            let connection = Connection::of(passed, now);
            let client = if connection.expects_header() { Client::Unnamed } else { Client::of(source) };
            let full = self.places.is_full();
            let gives_way = if full { self.places.in_the_way(now) } else { None };
            if full && gives_way.is_none() && self.places.in_the_way_of(client).is_none() {
                // It cannot wait in the kernel as a new one does.
                self.counters.count_closed(Closed::Evicted);
                continue;
            }
            self.seat(connection, client, gives_way, now);
        }
    }

    /// Gives a connection its place, and its first turn here.
    fn seat(&mut self, connection: Connection, client: Client, gives_way: Option<usize>, now: Instant) {
        if let Some(index) = self.places.in_the_way_of(client).or(gives_way) {
            if gives_way.is_some() && self.crowd.is_due(now) {
                let connections = self.places.len();
                tracing::warn!(
                    connections,
                    "all places are taken: the connections that have been idle longest give way"
                );
            }
            self.close(index, Closed::Evicted);
        }
        let index = self.places.insert(connection, client);
        let registry = self.poll.registry();
        let registered = self.places.get_mut(index).map(|connection| connection.register(registry, Token(index)));
        // Fails only where the kernel is out of memory; the client finds its connection closed.
        if !matches!(registered, Some(Ok(()))) {
            return self.close(index, Closed::Reset);
        }
        // Its query is most often there already; otherwise this asks once in vain.
        self.serve(index, false, now);
    }

    /// Gives a connection its turn. An event may be older than the connection in its place; that does no harm.
    fn serve(&mut self, index: usize, read_closed: bool, now: Instant) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if read_closed {
            connection.read_closed();
        }
        // One turn for each, however much comes meanwhile: who sends without a pause must not crowd out the others.
        if connection.has_more {
            return;
        }
        let before = connection.octets();
        let next = connection.turn(&mut self.desk, self.limits.queries, now);
        let after = connection.octets();
        connection.has_more = matches!(next, Next::Again | Next::Named);
        self.places.account(before, after);
        match next {
            Next::Wait => {}
            Next::Again => self.unfinished.push(index),
            Next::Named => self.name(index),
            Next::Close(why) => return self.close(index, why),
        }
        while let Some(index) = self.places.too_much(now) {
            self.close(index, Closed::Crowded);
        }
    }

    /// A proxy has told whose connection it is.
    fn name(&mut self, index: usize) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let address = connection.source().ip();
        // A proxy that speaks for itself looks whether we are alive: it need not be one of those who may ask.
        let settings = self.desk.settings();
        let is_proxy = settings.proxies.contains(address);
        if !is_proxy && settings.access.verdict(address) == Verdict::Drop {
            return self.close(index, Closed::Denied);
        }
        let client = Client::of(address);
        if let Some(other) = self.places.in_the_way_of(client) {
            self.close(other, Closed::Evicted);
        }
        self.places.name(index, client);
        self.unfinished.push(index);
    }

    /// Closes a connection for this reason, unless its end was decided for another.
    fn close(&mut self, index: usize, why: Closed) {
        let Some(mut connection) = self.places.remove(index) else { return };
        if connection.has_more {
            self.unfinished.retain(|other| *other != index);
        }
        if matches!(why, Closed::Stalled | Closed::Evicted | Closed::Crowded) {
            connection.discard();
        }
        self.counters.count_closed(connection.end().unwrap_or(why));
    }

    /// Closes what has outstayed its limits.
    fn sweep(&mut self, now: Instant) {
        self.next_sweep = now + LOOK_UP;
        for index in 0..self.places.end() {
            let Some(connection) = self.places.get_mut(index) else { continue };
            match connection.due(&self.limits, now) {
                Due::Nothing => {}
                Due::Close(why) => self.close(index, why),
                Due::LastTurn => {
                    connection.grow_old();
                    self.serve(index, false, now);
                }
            }
        }
    }
}
