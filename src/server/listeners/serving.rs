//! One listener at work: its sockets, its settings, its threads.

use std::{
    io,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use arc_swap::ArcSwap;
use socket2::Socket;
use tokio::sync::mpsc;

use super::{
    Stop,
    sockets::{self, Listener},
    stop::{Gate, Guard},
};
use crate::{
    server::{
        Counters, Responder, Settings, Transport, affinity,
        encrypted::{self, Encryption, SetupError},
        privileges,
        settings::Following,
        tcp, udp,
    },
    table::Table,
};

/// What all workers have in common.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) counters: Counters,
    /// Where a worker that ends unbidden is told.
    pub(super) report: mpsc::Sender<String>,
    /// The CPUs that workers stay on; empty = any.
    pub(super) cpus: Vec<usize>,
    /// Where cursors start: each worker has another seed of these.
    pub(super) seed: u64,
    /// Workers started so far of each transport, by which they are told apart.
    pub(super) started: [AtomicUsize; Transport::ALL.len()],
}

/// A listener at work.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) listener: Listener,
    /// Looked at by its workers once for each batch or turn.
    pub(super) settings: Arc<ArcSwap<Settings>>,
    pub(super) stop: Stop,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Of workers that take connections from elsewhere.
    pub(super) inboxes: Vec<tcp::Inbox>,
}

impl Serving {
    /// Starts the workers of a listener, where so many are configured; they wait at the gate, for settings too.
    pub(super) fn start(
        listener: Listener,
        workers: usize,
        ground: &Ground,
        encryption: Option<&Encryption>,
        gate: &Gate,
    ) -> Result<Self, SetupError> {
        let (settings, stop) = (Arc::new(ArcSwap::default()), Stop::default());
        let mut serving = Serving { listener, settings, stop, threads: Vec::new(), inboxes: Vec::new() };
        let session = encryption.map(|encryption| encryption.session(serving.listener.transport));
        let session = session.transpose()?.flatten();
        for index in 0..serving.workers(workers) {
            let thread = serving.start_worker(index, ground, session.clone(), gate);
            match thread {
                Ok(thread) => serving.threads.push(thread),
                Err(error) => {
                    serving.stop.set();
                    return Err(SetupError::Thread(error));
                }
            }
        }
        Ok(serving)
    }

    /// Its workers, where so many are configured: one at least for each socket, or what comes to it would wait for ever.
    pub(super) fn workers(&self, configured: usize) -> usize {
        configured.max(self.listener.sockets.len())
    }

    /// Whether it is asked in datagrams.
    pub(super) fn takes_datagrams(&self) -> bool {
        sockets::is_datagram(self.listener.transport)
    }

    /// Tells its workers to answer what they have received, and to end.
    pub(super) fn stop(self) -> Vec<JoinHandle<()>> {
        // First, so that each socket is closed with its worker's end: what came later would wait there for nobody.
        drop(self.listener);
        self.stop.set();
        self.threads
    }

    fn start_worker(
        &mut self,
        index: usize,
        ground: &Ground,
        session: Option<encrypted::Session>,
        gate: &Gate,
    ) -> io::Result<JoinHandle<()>> {
        let Listener { transport, sockets, .. } = &self.listener;
        let (transport, socket) = (*transport, sockets[index % sockets.len()].try_clone()?);
        let work = self.work(socket, ground, session)?;
        let number = ground.started[transport as usize].fetch_add(1, Relaxed);
        let kind = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Https => "https",
            Transport::Quic => "quic",
        };
        let name = format!("{kind}-{number}");
        let guard = Guard { name: name.clone(), stop: self.stop.clone(), report: ground.report.clone() };
        let cpu = ground.cpus.get(index % ground.cpus.len().max(1)).copied();
        let own = (number * Transport::ALL.len() + transport as usize) as u64;
        let seed = fastrand::Rng::with_seed(ground.seed.wrapping_add(own)).u64(..);
        let (gate, settings, counters, stop) =
            (gate.clone(), self.settings.clone(), ground.counters.clone(), self.stop.clone());
        thread::Builder::new().name(name).spawn(move || {
            let _guard = guard;
            privileges::give_up();
            if !gate.passes() {
                return stop.set();
            }
            cpu.into_iter().for_each(affinity::pin);
            // The responder is made on its own thread, so that its memory is near the core that uses it.
            let mut following = Following::of(settings);
            let responder = Responder::new(&counters, following.settings(), seed);
            work(responder, following, &stop);
        })
    }

    fn work(&mut self, socket: Socket, ground: &Ground, session: Option<encrypted::Session>) -> io::Result<Work> {
        let tables = ground.table.clone();
        Ok(match (self.listener.transport, session) {
            (Transport::Udp, _) => {
                let socket = UdpSocket::from(socket);
                Box::new(move |responder, following, stop| udp::serve(&socket, tables, responder, following, stop))
            }
            (Transport::Tcp, _) => {
                let (listening, counters) = (tcp::Listening::new(socket.into())?, ground.counters.tcp_worker());
                self.inboxes.push(listening.inbox().clone());
                Box::new(move |responder, following, stop| {
                    tcp::serve(listening, tcp::Desk::new(tables, responder, following), counters, stop);
                })
            }
            (_, Some(session)) => {
                let worker = session.worker(socket)?;
                Box::new(move |responder, following, stop| worker.serve(tables, responder, following, stop))
            }
            (_, None) => return Err(io::Error::other("an encrypted listener without a certificate")),
        })
    }
}

type Work = Box<dyn FnOnce(Responder, Following, &Stop) + Send>;
