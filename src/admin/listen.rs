//! Binding the addresses, and taking clients in, so many and no more.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener as Listener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    patience::Patience,
    token::{TokenError, TokenFile},
};
use crate::config::AdminConfig;

/// Connections at once, over all addresses: a dozen of people's pages, with six connections each as browsers have them,
/// and whatever gathers metrics. Each costs some ten KiB.
const CONNECTIONS: usize = 128;

/// Connections at once of one client, so that none keeps out whoever watches whether this process lives.
const CONNECTIONS_PER_CLIENT: usize = 48;

/// Clients the kernel lets wait for a place.
const BACKLOG: i32 = 128;

/// Octets the kernel holds for a client that does not take its replies; the usual bound is several MiB.
const SEND_BUFFER: usize = 256 * 1024;

/// How long a client may take for the head of a request, and be idle between two.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Octets of a request's head, and its lines: a long password and the headers of a browser fit.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEAD_LINES: usize = 64;

/// How long requests under way may take when the server stops; the whole process has two seconds.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// Time until accepting is tried again after it failed, as when there are no descriptors left; and until an address
/// that somebody else has is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Why the HTTP side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address.
    #[error("cannot listen on {address} (admin): {source}{}", hint(source))]
    Address {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// An address that other machines can reach, and no token.
    #[error(
        "admin.listen: {0} can be reached from other machines, where anybody could read and change everything: name a \
         token_file under [admin], or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The token.
    #[error("admin.{0}")]
    Token(#[from] TokenError),
}

impl BindError {
    /// Whether somebody else has the port.
    pub fn is_in_use(&self) -> bool {
        matches!(self, BindError::Address { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has the port: stop it or choose another under [admin]",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another under [admin] or grant it"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

/// The addresses of the HTTP side, bound and not served yet.
#[derive(Debug)]
pub struct Bound {
    listeners: Listeners,
    /// Addresses nobody asked for, which somebody else has; tried again while serving.
    taken: Vec<SocketAddr>,
    pub(super) token: Option<Arc<TokenFile>>,
}

/// Listening sockets, to be used again: by the same process with another configuration, or by its successor.
#[derive(Debug, Default)]
pub struct Listeners(Vec<(SocketAddr, Listener)>);

impl Listeners {
    /// Sockets that came from elsewhere; those that do not tell their address are left out.
    pub fn new(sockets: impl IntoIterator<Item = Listener>) -> Self {
        Listeners(sockets.into_iter().filter_map(|socket| Some((socket.local_addr().ok()?, socket))).collect())
    }

    /// The sockets, to be handed on.
    pub fn sockets(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter().map(|(_, socket)| socket)
    }

    /// The same sockets once more.
    pub fn again(&self) -> io::Result<Listeners> {
        self.0
            .iter()
            .map(|(address, socket)| Ok((*address, socket.try_clone()?)))
            .collect::<io::Result<_>>()
            .map(Listeners)
    }

    fn take(&self, address: SocketAddr) -> io::Result<Option<Listener>> {
        self.0.iter().find(|(own, _)| *own == address).map(|(_, socket)| socket.try_clone()).transpose()
    }
}

/// Binds every address and reads the token, or does nothing.
///
/// That an address is taken which nobody asked for is no reason not to serve DNS: it is waited for.
pub fn bind(config: &AdminConfig) -> Result<Bound, BindError> {
    bind_with(config, &Listeners::default())
}

/// [`bind`], with sockets that are there already.
pub fn bind_with(config: &AdminConfig, known: &Listeners) -> Result<Bound, BindError> {
    let is_open = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    if let (None, Some(address)) = (&config.token_file, config.listen.iter().find(is_open)) {
        return Err(BindError::Open(*address));
    }
    let token = config.token_file.as_deref().map(TokenFile::read).transpose()?.map(Arc::new);
    let mut bound = Bound { listeners: Listeners::default(), taken: Vec::new(), token };
    for &address in &config.listen {
        let listener = known.take(address).and_then(|known| known.map_or_else(|| listen(address), Ok));
        let listener = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        match listener {
            Ok(listener) => bound.listeners.0.push(listener),
            Err(error) if config.is_default && error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(%address, "admin: another program has this address: no metrics and no status until it is \
                    free; choose another under [admin], or listen = [] for none");
                bound.taken.push(address);
            }
            Err(source) => return Err(BindError::Address { address, source }),
        }
    }
    Ok(bound)
}

fn listen(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier run in TIME_WAIT must not keep a restarted server off its port.
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Bound {
    /// The addresses, with the real ports.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.0.iter().map(|(address, _)| *address).collect()
    }

    /// The sockets once more, for whoever serves next.
    pub fn listeners(&self) -> io::Result<Listeners> {
        self.listeners.again()
    }

    /// Serves until told to stop, and then for as long as requests under way may take.
    pub(super) async fn accept(self, router: Router, stop: CancellationToken) {
        let door = Door { router, places: Arc::new(Semaphore::new(CONNECTIONS)), clients: Arc::default(), stop };
        let mut doors = JoinSet::new();
        for (address, listener) in self.listeners.0 {
            match listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)) {
                Ok(listener) => drop(doors.spawn(door.clone().open(listener))),
                Err(error) => tracing::error!(%address, %error, "admin: cannot serve here"),
            }
        }
        for address in self.taken {
            let door = door.clone();
            doors.spawn(async move {
                if let Some(listener) = door.wait_for(address).await {
                    door.open(listener).await;
                }
            });
        }
        if let Some(token) = self.token {
            doors.spawn(token.follow(door.stop.clone()));
        }
        door.stop.cancelled().await;
        while doors.join_next().await.is_some() {}
    }
}

/// Where clients come in.
#[derive(Clone)]
struct Door {
    router: Router,
    places: Arc<Semaphore>,
    clients: Arc<Clients>,
    stop: CancellationToken,
}

impl Door {
    /// Takes clients in until told to stop, and ends when the last has left.
    async fn open(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                // Those that ended, so that they are not kept until the end.
                Some(_) = connections.join_next() => continue,
                () = self.stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, place)) => drop(connections.spawn(self.clone().serve(stream, place))),
                Err(error) => {
                    tracing::debug!(%error, "admin: cannot accept");
                    sleep(TRY_AGAIN).await;
                }
            }
        }
        drop(listener);
        // What is not done by then is ended by dropping it.
        let _ = timeout(FINISH_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
    }

    /// The next client that may come in.
    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, Place)> {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { return Err(io::ErrorKind::Other.into()) };
            let (stream, client) = listener.accept().await?;
            if let Some(client) = Clients::enter(&self.clients, client.ip().to_canonical()) {
                return Ok((stream, Place { _place: place, _client: client }));
            }
        }
    }

    async fn serve(self, stream: TcpStream, _place: Place) {
        // Events are small, and wanted now.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_headers(MAX_HEAD_LINES)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Patience::with(stream)), TowerToHyperService::new(self.router));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }

    /// The address, once whoever has it has left it. `None`: told to stop.
    async fn wait_for(&self, address: SocketAddr) -> Option<TcpListener> {
        loop {
            tokio::select! {
                () = sleep(TRY_AGAIN) => {}
                () = self.stop.cancelled() => return None,
            }
            let listener = listen(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            if let Ok(listener) = listener {
                tracing::info!(%address, "admin: the address is free now");
                return Some(listener);
            }
        }
    }
}

/// A client's right to be here.
struct Place {
    _place: OwnedSemaphorePermit,
    _client: Client,
}

/// How many connections each client has.
#[derive(Debug, Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

/// One connection of a client.
struct Client {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    /// `None`: the client has as many as it may.
    fn enter(clients: &Arc<Clients>, address: IpAddr) -> Option<Client> {
        let mut counts = clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count == CONNECTIONS_PER_CLIENT {
            return None;
        }
        *count += 1;
        Some(Client { clients: clients.clone(), address })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
