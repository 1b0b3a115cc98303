//! Where the connections of one listener are answered.

use std::{
    cell::{Cell, RefCell, RefMut},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{
    counters::{ConnectionCounters, Ending},
    seats::{Seat, Seats},
};
use crate::{
    config::TcpConfig,
    model::Verdict,
    server::{Asker, Outcome, Responder, Transport, settings::Following},
    table::Table,
};

/// Longest query taken, as over TCP. Real ones stay below 300 octets.
pub(super) const MAX_QUERY: usize = 4096;

/// What bounds one connection. How many there may be is the business of [`Seats`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Queries; 0 = no bound.
    pub(super) queries: u64,
    /// How long it may go without a whole query. Octets that trickle in do not count, and neither does anything below
    /// the queries: pings, empty frames.
    pub(super) idle: Duration,
    /// How long it may live.
    pub(super) lifetime: Duration,
    /// How long the handshake may take. Across an ocean, with a packet lost, it takes two seconds.
    pub(super) handshake: Duration,
    /// How long a query that has begun, or a reply that the client is to take, may make no progress.
    pub(super) stalled: Duration,
}

impl Limits {
    pub(super) fn of(config: &TcpConfig) -> Self {
        Limits {
            queries: config.queries,
            idle: config.idle,
            lifetime: config.lifetime,
            handshake: Duration::from_secs(5),
            stalled: Duration::from_secs(10),
        }
    }
}

/// What the workers of one listener share.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) transport: Transport,
    /// As many as the settings say.
    pub(super) seats: Arc<Seats>,
    pub(super) connections: ConnectionCounters,
}

/// One worker's part of one listener.
pub(super) struct Desk {
    listener: Listener,
    tables: Arc<ArcSwap<Table>>,
    limits: Cell<Limits>,
    /// Borrowed while a query is answered, which never waits, so nobody finds it taken.
    answering: RefCell<(Responder, Following)>,
}

impl Desk {
    pub(super) fn new(
        listener: Listener,
        tables: Arc<ArcSwap<Table>>,
        responder: Responder,
        following: Following,
    ) -> Rc<Self> {
        let limits = Cell::new(Limits::of(&responder.settings().tcp));
        let desk = Desk { listener, tables, limits, answering: RefCell::new((responder, following)) };
        desk.bound(&desk.answering.borrow().0.settings().tcp);
        Rc::new(desk)
    }

    /// What bounds its connections.
    pub(super) fn limits(&self) -> Limits {
        self.limits.get()
    }

    fn bound(&self, config: &TcpConfig) {
        self.limits.set(Limits::of(config));
        self.listener.seats.allow(config.connections, config.connections_per_client);
    }

    /// The responder, which goes by what the operator chose last.
    fn responder(&self) -> RefMut<'_, Responder> {
        let mut answering = self.answering.borrow_mut();
        let (responder, following) = &mut *answering;
        if following.look(responder) {
            self.bound(&responder.settings().tcp);
        }
        RefMut::map(answering, |(responder, _)| responder)
    }

    pub(super) fn transport(&self) -> Transport {
        self.listener.transport
    }

    pub(super) fn connections(&self) -> &ConnectionCounters {
        &self.listener.connections
    }

    /// Whether whoever comes from there is sent away without a word; counts it. Those who are to be told are told in
    /// the replies to their queries.
    pub(super) fn denies(&self, source: IpAddr) -> bool {
        let denied = self.responder().settings().access.verdict(source) == Verdict::Drop;
        if denied {
            self.connections().deny(self.transport());
        }
        denied
    }

    /// Lets a client in.
    pub(super) fn admit(self: &Rc<Self>, source: SocketAddr) -> Visit {
        self.visit(self.listener.seats.take(source.ip()), source)
    }

    /// Lets a client in that has not proved its address, where nobody has to give way for it.
    pub(super) fn admit_unproved(self: &Rc<Self>, source: SocketAddr) -> Option<Visit> {
        Some(self.visit(self.listener.seats.take_vacant(source.ip())?, source))
    }

    fn visit(self: &Rc<Self>, seat: Seat, source: SocketAddr) -> Visit {
        self.connections().accept(self.transport());
        let now = Instant::now();
        Visit {
            seat,
            desk: self.clone(),
            source,
            began: now,
            asked: Cell::new(0),
            progress: Cell::new(now),
            ending: Cell::new(Ending::Stopped),
        }
    }

    /// Connections of the listener, on all workers.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.listener.seats.len()
    }
}

/// One client's connection, from before its handshake to its end.
pub(super) struct Visit {
    desk: Rc<Desk>,
    seat: Seat,
    source: SocketAddr,
    began: Instant,
    /// Queries so far.
    asked: Cell<u64>,
    /// The end of the handshake, or the last whole query.
    progress: Cell<Instant>,
    /// Without another word it was dropped with the worker.
    ending: Cell<Ending>,
}

impl Visit {
    pub(super) fn limits(&self) -> Limits {
        self.desk.limits()
    }

    /// Waits until another needs the place. One task waits at a time.
    pub(super) async fn evicted(&self) {
        self.seat.evicted().await;
    }

    /// The handshake is done, or a query came whole.
    pub(super) fn progress(&self) {
        self.progress.set(Instant::now());
        self.seat.progress();
    }

    /// When it will have been idle for too long, or have lived for too long, and which of them.
    pub(super) fn deadline(&self) -> (Instant, Ending) {
        let idle = (self.progress.get() + self.limits().idle, Ending::Idle);
        let lifetime = (self.began + self.limits().lifetime, Ending::Lifetime);
        if lifetime.0 <= idle.0 { lifetime } else { idle }
    }

    /// Whether it asked all it may.
    pub(super) fn is_spent(&self) -> bool {
        self.limits().queries != 0 && self.asked.get() >= self.limits().queries
    }

    /// Appends the reply to a whole query to `out`; nothing, when there is none. `stopping`: the connection is closed
    /// soon, which is told where the transport has a word for it.
    pub(super) fn answer(&self, query: &[u8], stopping: bool, out: &mut Vec<u8>) -> Outcome {
        self.progress();
        self.asked.set(self.asked.get() + 1);
        let idle = u16::try_from(self.limits().idle.as_millis() / 100).unwrap_or(u16::MAX);
        let keepalive = if stopping || self.is_spent() { 0 } else { idle };
        let asker = Asker { source: self.source, transport: self.desk.transport(), keepalive };
        let table = self.desk.tables.load();
        self.desk.responder().respond(&table, query, &asker, out)
    }

    /// Says how it ended.
    pub(super) fn end(&self, ending: Ending) {
        self.ending.set(ending);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let ending = if std::thread::panicking() { Ending::Failed } else { self.ending.get() };
        self.desk.connections().end(self.desk.transport(), ending);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::server::{Counters, Settings};

    /// Serves no zones, over TLS.
    pub(in crate::server::encrypted) fn desk() -> Rc<Desk> {
        let (seats, connections) = (Seats::new(1, 1), ConnectionCounters::default());
        let listener = Listener { transport: Transport::Tls, seats, connections };
        let mut following = Following::of(Arc::new(ArcSwap::from_pointee(Settings::default())));
        let responder = Responder::new(&Counters::default(), following.settings(), 1);
        Desk::new(listener, Arc::new(ArcSwap::from_pointee(Table::default())), responder, following)
    }
}
