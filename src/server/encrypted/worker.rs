//! One thread of an encrypted listener: a runtime of its own, a socket, and the connections on it.

use std::{
    io,
    net::{TcpListener as StdListener, UdpSocket},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::LocalSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    counters::Ending,
    crew::Crew,
    desk::{Desk, Listener, Visit},
    https, quic,
    seats::Holders,
    tls,
};
use crate::{
    server::{
        Responder, Transport,
        listeners::Stop,
        settings::Following,
        tcp::{Failure, Seldom},
    },
    table::Table,
};

/// How often a worker looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Pause after accept failed: out of descriptors, most likely, and no connection of ours gave one back.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Pause after a connection was sent away to give its descriptor back: its task does so in far less.
const AFTER_EVICTION: Duration = Duration::from_millis(5);

/// How long nothing may arrive on a connection that is to stop, before it is closed: the kernel has handed over within
/// this time what it received before.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(10);

/// How long a client of HTTPS or QUIC may take to finish what it began once its connection is to end.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// How long open connections may take to finish when stopping.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// How often a worker that stops looks whether all is done.
const STOP_LOOK: Duration = Duration::from_millis(5);

/// A listener's socket, and with what its connections are encrypted.
pub(super) enum Bound {
    /// TLS, HTTPS.
    Stream(StdListener, TlsAcceptor),
    /// QUIC.
    Datagram(UdpSocket, Box<quic::Config>),
}

/// One thread of a listener: a socket, and a runtime for all that happens on it.
pub(crate) struct Worker {
    socket: Bound,
    listener: Listener,
    holders: Holders,
    runtime: Runtime,
}

impl Worker {
    pub(super) fn new(socket: Bound, listener: Listener, holders: Holders) -> io::Result<Self> {
        // Nothing here blocks, so no thread of this name is ever seen.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().thread_name("blocking").max_blocking_threads(1).build()?;
        Ok(Worker { socket, listener, holders, runtime })
    }

    /// Serves until told to stop, then answers what was received. Returns early only where something failed, having
    /// said what.
    pub(crate) fn serve(self, tables: Arc<ArcSwap<Table>>, responder: Responder, following: Following, stop: &Stop) {
        let Worker { socket, listener, holders, runtime } = self;
        let tasks = LocalSet::new();
        let desk = Desk::new(listener, tables, responder, following);
        if let Err(error) = tasks.block_on(&runtime, run(socket, desk, holders, stop)) {
            tracing::error!(%error, "a worker of encrypted transports failed");
        }
        drop(tasks);
        runtime.shutdown_background();
    }
}

async fn run(socket: Bound, desk: Rc<Desk>, holders: Holders, stop: &Stop) -> io::Result<()> {
    let crew = Crew::default();
    match socket {
        Bound::Stream(socket, acceptor) => {
            let socket = TcpListener::from_std(socket)?;
            crew.lasting(accept(socket, acceptor, desk, holders, crew.clone()));
        }
        Bound::Datagram(socket, config) => crew.lasting(quic::accept(socket, config, desk, crew.clone())),
    }
    while !stop.is_set() {
        tokio::select! {
            () = crew.failed() => return Err(io::Error::other("a task ended unexpectedly")),
            () = sleep(LOOK_UP) => {}
        }
    }
    crew.stopping().cancel();
    let until = Instant::now() + STOP_WITHIN;
    while crew.open() > 0 && Instant::now() < until {
        sleep(STOP_LOOK).await;
    }
    // What tells QUIC's clients is sent by a task of its own.
    sleep(STOP_LOOK).await;
    Ok(())
}

/// Takes connections of TLS or HTTPS until the worker stops.
async fn accept(socket: TcpListener, acceptor: TlsAcceptor, desk: Rc<Desk>, holders: Holders, crew: Crew) {
    let (mut crowd, mut trouble) = (Seldom::default(), Seldom::default());
    let mut may_make_room = true;
    loop {
        let accepted = tokio::select! {
            () = crew.stopping().cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let error = match accepted {
            Ok((_, source)) if desk.denies(source.ip()) => continue,
            Ok((stream, source)) => {
                may_make_room = true;
                let visit = desk.admit(source);
                crew.connection(serve(stream, acceptor.clone(), visit, crew.clone(), desk.transport()));
                continue;
            }
            Err(error) => error,
        };
        let (now, transport) = (Instant::now().into_std(), desk.transport());
        match Failure::of(&error) {
            Failure::Nothing | Failure::Gone => {}
            Failure::Exhausted if may_make_room && holders.make_room() => {
                may_make_room = false;
                if crowd.is_due(now) {
                    tracing::warn!(%error, %transport,
                        "no descriptors left: the connections that have been idle longest give way");
                }
                sleep(AFTER_EVICTION).await;
            }
            Failure::Exhausted | Failure::Other => {
                may_make_room = true;
                if trouble.is_due(now) {
                    tracing::warn!(%error, %transport, "cannot accept connections; trying on");
                }
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, visit: Visit, crew: Crew, transport: Transport) {
    // Fails only for a connection that is broken already, which the first read finds out.
    let _ = stream.set_nodelay(true);
    let visit = Rc::new(visit);
    let ending = match handshake(acceptor.accept(stream), &visit, &crew).await {
        Err(ending) => ending,
        Ok(stream) if transport == Transport::Https => https::serve(stream, visit.clone(), crew).await,
        Ok(stream) => tls::serve(stream, &visit, crew.stopping()).await,
    };
    visit.end(ending);
}

/// Waits for a handshake, within its time.
pub(super) async fn handshake<T, E>(
    handshake: impl Future<Output = Result<T, E>>,
    visit: &Visit,
    crew: &Crew,
) -> Result<T, Ending> {
    let mut handshake = std::pin::pin!(timeout(visit.limits().handshake, handshake));
    let done = tokio::select! {
        done = &mut handshake => done,
        () = visit.evicted() => return Err(Ending::Evicted),
        // Its end is not read yet, perhaps, and a query behind it.
        () = crew.stopping().cancelled() => match timeout(LAST_LOOK, handshake).await {
            Ok(done) => done,
            Err(_) => return Err(Ending::Stopped),
        },
    };
    match done {
        Ok(Ok(done)) => {
            visit.progress();
            Ok(done)
        }
        _ => Err(Ending::Handshake),
    }
}

/// One end of a TLS session.
pub(super) type Session = TlsStream<TcpStream>;

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::{super::desk::tests::desk, *};

    #[tokio::test]
    async fn a_handshake_that_is_all_but_done_is_finished_while_stopping() {
        let crew = Crew::default();
        let visit = desk().admit("192.0.2.1:53".parse().unwrap());
        crew.stopping().cancel();
        let arrives = async {
            yield_now().await;
            Ok::<_, io::Error>(())
        };
        assert_eq!(handshake(arrives, &visit, &crew).await, Ok(()));
        let hangs = std::future::pending::<io::Result<()>>();
        assert_eq!(handshake(hangs, &visit, &crew).await, Err(Ending::Stopped));
    }
}
