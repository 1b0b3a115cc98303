//! One thread of encrypted listeners: a runtime of its own, a socket of each listener, and the connections on them.

use std::{
    io,
    net::{TcpListener as StdListener, UdpSocket},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    counters::Ending,
    crew::Crew,
    desk::{Desk, Listener, Visit},
    https, quic,
    reload::{LOOK_EVERY, Watch},
    tls,
};
use crate::{
    server::{
        Counters, Responder, Settings, Transport,
        listeners::Stop,
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

/// One listener's socket on one worker.
pub(super) enum Socket {
    /// TLS, HTTPS.
    Stream(StdListener, TlsAcceptor),
    /// QUIC.
    Datagram(UdpSocket, Box<quic::Config>),
}

/// What one thread serves: a socket of each listener, in their order.
#[derive(Default)]
pub(crate) struct Worker {
    pub(super) sockets: Vec<(Socket, Listener)>,
    /// Follows the files of the certificate; one worker has it.
    pub(super) watch: Option<Watch>,
}

/// What answering needs.
pub(crate) struct Answering {
    pub(crate) tables: Arc<ArcSwap<Table>>,
    pub(crate) counters: Counters,
    /// Of each listener, in their order.
    pub(crate) settings: Arc<[Arc<Settings>]>,
    pub(crate) seed: u64,
}

impl Worker {
    /// Serves until told to stop, then answers what was received. Returns early only where something failed, having
    /// said what.
    pub(crate) fn serve(self, answering: &Answering, stop: &Stop) {
        // The name is that of the one thread beside this one, which looks at files.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = match builder.enable_all().thread_name("certificate").max_blocking_threads(1).build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "a worker of encrypted transports cannot start"),
        };
        let tasks = LocalSet::new();
        if let Err(error) = tasks.block_on(&runtime, self.run(answering, stop)) {
            tracing::error!(%error, "a worker of encrypted transports failed");
        }
        drop(tasks);
        // A file system that hangs while the certificate is looked at must not keep the process.
        runtime.shutdown_background();
    }

    async fn run(self, answering: &Answering, stop: &Stop) -> io::Result<()> {
        let crew = Crew::default();
        let mut rng = fastrand::Rng::with_seed(answering.seed);
        let (mut sockets, mut desks) = (Vec::new(), Vec::new());
        for ((socket, listener), settings) in self.sockets.into_iter().zip(&*answering.settings) {
            let responder = Responder::new(&answering.counters, settings, rng.u64(..));
            desks.push(Desk::new(listener, answering.tables.clone(), responder));
            sockets.push(socket);
        }
        // Connections of QUIC have no descriptors of their own.
        let holders: Rc<[_]> = desks.iter().filter(|desk| desk.transport() != Transport::Quic).cloned().collect();
        for (socket, desk) in sockets.into_iter().zip(desks) {
            match socket {
                Socket::Stream(socket, acceptor) => {
                    let socket = TcpListener::from_std(socket)?;
                    crew.lasting(accept(socket, acceptor, desk, holders.clone(), crew.clone()));
                }
                Socket::Datagram(socket, config) => {
                    let endpoint = config.endpoint(socket)?;
                    crew.lasting(quic::accept(endpoint, desk, crew.clone()));
                }
            }
        }
        if let Some(watch) = self.watch {
            crew.lasting(follow(watch, crew.clone()));
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
}

/// Looks at the files of the certificate, on a thread where a slow file system keeps no query waiting.
async fn follow(mut watch: Watch, crew: Crew) {
    loop {
        tokio::select! {
            () = crew.stopping().cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            watch.look(SystemTime::now());
            watch
        });
        match looked.await {
            Ok(back) => watch = back,
            Err(error) => return tracing::error!(%error, "looking at the certificate's files failed"),
        }
    }
}

/// Takes connections of TLS or HTTPS until the worker stops. `holders`: the listeners whose connections have descriptors.
async fn accept(socket: TcpListener, acceptor: TlsAcceptor, desk: Rc<Desk>, holders: Rc<[Rc<Desk>]>, crew: Crew) {
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
            Failure::Exhausted if may_make_room && make_room(&holders) => {
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

/// Sends a connection of the listener away that has most, so that another can be accepted; whether there was one.
fn make_room(holders: &[Rc<Desk>]) -> bool {
    holders.iter().max_by_key(|desk| desk.held()).is_some_and(|desk| desk.make_room())
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
