//! Binding every address before anything is served, and running the workers on them.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use super::{
    Cookies, Counters, Responder, Settings, Transport, affinity,
    encrypted::{self, ConnectionCounters, SetupError},
    settings, tcp, udp,
};
use crate::{config::ServerConfig, table::Table};

/// Connections the kernel holds until they are accepted; the common maximum (`net.core.somaxconn` before Linux 5.4
/// was 128, since then 4096).
const BACKLOG: i32 = 1024;

/// Tries for a port that is free for both UDP and TCP when port 0 is asked for. Each try is almost certain to succeed.
const PORT_TRIES: usize = 20;

/// How long stopping waits for the workers: what was received is answered in milliseconds, the rest of the process
/// has two seconds in all.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({protocol}): {source}{}", hint(source, protocol))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// `UDP`, `TCP`, `TLS`, `HTTPS` or `QUIC`.
    pub protocol: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

impl BindError {
    /// Whether somebody else has the port.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

fn hint(error: &io::Error, protocol: &str) -> &'static str {
    let is_encrypted = !matches!(protocol, "UDP" | "TCP");
    match error.kind() {
        io::ErrorKind::AddrInUse if is_encrypted => {
            "; another program has the port: stop it or choose another in [server.tls]"
        }
        io::ErrorKind::PermissionDenied if is_encrypted => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another in [server.tls] or grant it"
        }
        io::ErrorKind::AddrInUse => "; another program has the port: stop it or choose another with --listen",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another with --listen or grant it"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

/// Sockets on every address, not served yet.
pub struct Bound {
    addresses: Vec<SocketAddr>,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    /// `None` where nothing encrypted is configured.
    encrypted: Option<encrypted::Bound>,
    connections: ConnectionCounters,
    /// Workers per address.
    workers: usize,
    config: ServerConfig,
}

/// Binds UDP and TCP on every address, a socket for each worker, or nothing.
pub fn bind(config: &ServerConfig) -> Result<Bound, BindError> {
    let workers = settings::workers(config);
    let (addresses, udp, tcp) = (Vec::new(), Vec::new(), Vec::new());
    let (encrypted, connections) = (None, ConnectionCounters::default());
    let mut bound = Bound { addresses, udp, tcp, encrypted, connections, workers, config: config.clone() };
    for &address in &config.listen {
        let (address, tcp, udp) = bind_one(address, workers)?;
        bound.addresses.push(address);
        bound.tcp.extend(tcp);
        bound.udp.extend(udp);
    }
    Ok(bound)
}

fn bind_one(wanted: SocketAddr, workers: usize) -> Result<(SocketAddr, Vec<TcpListener>, Vec<UdpSocket>), BindError> {
    // Held until one is found, so that each try is another port: where few are free the kernel offers the same again.
    let mut half_taken = Vec::new();
    loop {
        // SO_REUSEPORT would share the port silently with a program of the same user, so ask without it first. TCP
        // before UDP: its answer tells of another server more surely.
        let probe =
            tcp_socket(wanted, false).map_err(|source| BindError { address: wanted, protocol: "TCP", source })?;
        let address = probe.local_addr().map_err(|source| BindError { address: wanted, protocol: "TCP", source })?;
        match bind_udp(address, workers) {
            // The free port TCP got may be taken for UDP: try another.
            Err(error) if wanted.port() == 0 && error.is_in_use() && half_taken.len() < PORT_TRIES => {
                half_taken.push(probe);
            }
            Err(error) => return Err(error),
            Ok(udp) => {
                drop(probe);
                let tcp = (0..workers).map(|_| tcp_socket(address, true)).collect::<io::Result<_>>();
                return Ok((address, tcp.map_err(|source| BindError { address, protocol: "TCP", source })?, udp));
            }
        }
    }
}

fn bind_udp(address: SocketAddr, workers: usize) -> Result<Vec<UdpSocket>, BindError> {
    let failed = |source| BindError { address, protocol: "UDP", source };
    drop(udp_socket(address, false).map_err(failed)?);
    (0..workers).map(|_| udp_socket(address, true)).collect::<io::Result<_>>().map_err(failed)
}

fn udp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    udp::prepare(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

pub(super) fn tcp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier run in TIME_WAIT must not keep a restarted server off its port.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Bound {
    /// The addresses bound, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Binds the addresses of `[server.tls]`, too.
    pub fn with_encrypted(mut self) -> Result<Self, SetupError> {
        self.encrypted = encrypted::bind(&self.config, self.workers, &self.connections)?;
        Ok(self)
    }

    /// Serves this table on all sockets, a thread for each.
    pub fn run(self, table: &Arc<ArcSwap<Table>>, counters: &Counters, seed: u64) -> io::Result<Running> {
        let stop = Stop::default();
        let (report, ended) = mpsc::channel(1);
        let (addresses, connections) = (self.addresses.clone(), self.connections);
        let encrypted = self.encrypted.as_ref().map(|bound| bound.addresses().to_vec()).unwrap_or_default();
        let mut running = Running { addresses, encrypted, connections, stop: stop.clone(), threads: Vec::new(), ended };
        let mut rng = fastrand::Rng::with_seed(seed);
        let cpus = if self.config.pin_workers { affinity::cpus() } else { Vec::new() };
        let cookies = Cookies::new(&self.config.cookies).map_err(io::Error::other)?;
        // Addresses that come later are not known: replies to them are dropped where they arrive, being responses.
        let datagrams = running.encrypted.iter().filter(|(transport, _)| *transport == Transport::Quic);
        let listening: Vec<_> = self.addresses.iter().chain(datagrams.map(|(_, address)| address)).copied().collect();
        let is_wildcard = listening.iter().any(|address| address.ip().is_unspecified());
        let interfaces = if is_wildcard { udp::interface_addresses() } else { Vec::new() };
        let settings_at = |listener: &SocketAddr| {
            Arc::new(Settings::new(&self.config, *listener, cookies.clone(), &listening, &interfaces))
        };
        let settings: Vec<_> = self.config.listen.iter().map(settings_at).collect();
        let workers = self.workers;
        let mut start = |kind: &str, index: usize, work: Box<dyn FnOnce(Responder) + Send>| {
            // The sockets of an address stand together, one for each worker.
            let settings = &settings[index / workers];
            let (settings, counters, seed) = (settings.clone(), counters.clone(), rng.u64(..));
            let name = format!("{kind}-{index}");
            let guard = Guard { name: name.clone(), stop: stop.clone(), report: report.clone() };
            let cpu = cpus.get(index % cpus.len().max(1)).copied();
            thread::Builder::new().name(name).spawn(move || {
                let _guard = guard;
                cpu.into_iter().for_each(affinity::pin);
                // The responder is made on its own thread, so that its memory is near the core that uses it.
                work(Responder::new(&counters, &settings, seed));
            })
        };
        for (index, socket) in self.udp.into_iter().enumerate() {
            let (tables, stop) = (table.clone(), stop.clone());
            let work = move |responder| udp::serve(&socket, tables, responder, &stop);
            running.threads.push(start("udp", index, Box::new(work))?);
        }
        let limits = tcp::Limits::of_each(workers, &self.config.tcp);
        for (index, listener) in self.tcp.into_iter().enumerate() {
            let (tables, stop, connections) = (table.clone(), stop.clone(), counters.tcp_worker());
            let work = move |responder| {
                tcp::serve(listener, tcp::Desk::new(tables, responder), limits, connections, &stop);
            };
            running.threads.push(start("tcp", index, Box::new(work))?);
        }
        let Some(encrypted) = self.encrypted else { return Ok(running) };
        let settings: Arc<[_]> = encrypted.configured().map(settings_at).collect();
        for (index, worker) in encrypted.into_workers().into_iter().enumerate() {
            let name = format!("encrypted-{index}");
            let guard = Guard { name: name.clone(), stop: stop.clone(), report: report.clone() };
            let (tables, counters, settings) = (table.clone(), counters.clone(), settings.clone());
            let (stop, seed) = (stop.clone(), rng.u64(..));
            let work = move || {
                let _guard = guard;
                worker.serve(&encrypted::Answering { tables, counters, settings, seed }, &stop);
            };
            running.threads.push(thread::Builder::new().name(name).spawn(work)?);
        }
        Ok(running)
    }
}

/// Tells workers to stop; they look several times a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reports a worker that ended although nobody told it to.
struct Guard {
    name: String,
    stop: Stop,
    report: mpsc::Sender<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.stop.is_set() {
            // One report is enough to end the process; a full channel already has it.
            let _ = self.report.try_send(std::mem::take(&mut self.name));
        }
    }
}

/// Workers at work.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    encrypted: Vec<(Transport, SocketAddr)>,
    connections: ConnectionCounters,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
    ended: mpsc::Receiver<String>,
}

impl Running {
    /// The addresses served.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of the encrypted transports.
    pub fn encrypted(&self) -> &[(Transport, SocketAddr)] {
        &self.encrypted
    }

    /// What became of the connections of the encrypted transports.
    pub fn connections(&self) -> &ConnectionCounters {
        &self.connections
    }

    /// Waits until a worker ends that nobody told to, and names it.
    pub async fn ended(&mut self) -> String {
        self.ended.recv().await.unwrap_or_default()
    }

    /// Stops accepting, answers what was received, and waits for the workers (for a bounded time). Blocks; returns
    /// whether all ended.
    pub fn stop(self) -> bool {
        self.stop.set();
        let deadline = Instant::now() + STOP_WITHIN;
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }
}
