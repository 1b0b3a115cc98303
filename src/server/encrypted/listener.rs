//! Binding the addresses of `[server.tls]`.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    crypto::aws_lc_rs::{Ticketer, default_provider},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio_rustls::TlsAcceptor;

use super::{
    certificate::{Certificate, CertificateError, Files},
    counters::ConnectionCounters,
    desk::{Limits, Listener},
    quic,
    reload::Watch,
    seats::Seats,
    worker::{Socket, Worker},
};
use crate::{
    config::{ServerConfig, TlsConfig},
    server::{BindError, Transport, listeners::tcp_socket},
};

/// Why the encrypted transports cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS itself.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Sockets on every address of `[server.tls]`, not served yet.
pub(crate) struct Bound {
    /// As configured.
    configured: Vec<SocketAddr>,
    addresses: Vec<(Transport, SocketAddr)>,
    workers: Vec<Worker>,
}

/// Binds every address of `[server.tls]`, a socket for each worker, or nothing; `None` where none is configured.
pub(crate) fn bind(
    config: &ServerConfig,
    workers: usize,
    connections: &ConnectionCounters,
) -> Result<Option<Bound>, SetupError> {
    let tls = &config.tls;
    if !is_needed(tls) {
        return Ok(None);
    }
    let mut watch = Watch::begin(files(tls)?)?;
    let sessions = Sessions::new(watch.certificate())?;
    let limits = Limits::of(&config.tcp);
    let mut bound = Bound { configured: Vec::new(), addresses: Vec::new(), workers: Vec::new() };
    bound.workers.resize_with(workers, Worker::default);
    let listeners = [(Transport::Tls, &tls.listen), (Transport::Https, &tls.https), (Transport::Quic, &tls.quic)];
    for (transport, wanted) in listeners.iter().flat_map(|(transport, all)| all.iter().map(|one| (*transport, *one))) {
        let listener = Listener {
            transport,
            seats: Seats::new(config.tcp.connections, config.tcp.connections_per_client),
            limits,
            connections: connections.clone(),
        };
        let (address, sockets) = bind_one(transport, wanted, workers, &sessions, &limits)?;
        bound.configured.push(wanted);
        bound.addresses.push((transport, address));
        for (worker, socket) in bound.workers.iter_mut().zip(sockets) {
            worker.sockets.push((socket, listener.clone()));
        }
    }
    if let Some(first) = bound.workers.first_mut() {
        tracing::info!(not_after = watch.until(), "the certificate of the encrypted transports is loaded");
        watch.warn(SystemTime::now());
        first.watch = Some(watch);
    }
    Ok(Some(bound))
}

/// A socket for each worker, and the real port.
fn bind_one(
    transport: Transport,
    wanted: SocketAddr,
    workers: usize,
    sessions: &Sessions,
    limits: &Limits,
) -> Result<(SocketAddr, Vec<Socket>), SetupError> {
    let (protocol, names): (_, &[&[u8]]) = match transport {
        Transport::Quic => ("QUIC", &[b"doq"]),
        Transport::Https => ("HTTPS", &[b"h2", b"http/1.1"]),
        _ => ("TLS", &[b"dot"]),
    };
    let failed = |source| BindError { address: wanted, protocol, source };
    let tls = Arc::new(sessions.config(names, transport == Transport::Quic)?);
    if transport == Transport::Quic {
        let (address, sockets) = udp_sockets(wanted, workers).map_err(failed)?;
        let config = quic::Config::new(tls, limits).map_err(|error| SetupError::Tls(error.to_string()))?;
        let sockets = sockets.into_iter().map(|socket| Socket::Datagram(socket, Box::new(config.clone())));
        return Ok((address, sockets.collect()));
    }
    let (address, sockets) = tcp_sockets(wanted, workers).map_err(failed)?;
    let acceptor = TlsAcceptor::from(tls);
    Ok((address, sockets.into_iter().map(|socket| Socket::Stream(socket, acceptor.clone())).collect()))
}

fn tcp_sockets(wanted: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // SO_REUSEPORT would share the port silently with a program of the same user, so ask without it first.
    let probe = tcp_socket(wanted, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    Ok((address, (0..workers).map(|_| tcp_socket(address, true)).collect::<io::Result<_>>()?))
}

fn udp_sockets(wanted: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<UdpSocket>)> {
    let probe = udp_socket(wanted, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    Ok((address, (0..workers).map(|_| udp_socket(address, true)).collect::<io::Result<_>>()?))
}

/// A socket for QUIC, which sets all else itself.
fn udp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Whether the certificate and its key can be used, where any address needs them; what is doubtful about them.
pub fn check(config: &TlsConfig, now: SystemTime) -> Result<Option<String>, CertificateError> {
    if is_needed(config) { Ok(Watch::begin(files(config)?)?.doubt(now)) } else { Ok(None) }
}

fn is_needed(config: &TlsConfig) -> bool {
    !(config.listen.is_empty() && config.https.is_empty() && config.quic.is_empty())
}

fn files(config: &TlsConfig) -> Result<Files, CertificateError> {
    let certificate = config.certificate.clone().ok_or(CertificateError::Missing("certificate"))?;
    let key = config.key.clone().ok_or(CertificateError::Missing("key"))?;
    Ok(Files { certificate, key })
}

/// What all listeners' TLS sessions have in common.
struct Sessions {
    certificate: Arc<Certificate>,
    /// Sessions are resumed by tickets that the client keeps, so none costs memory here. Their key lasts some hours and
    /// is nowhere written down.
    tickets: Arc<dyn rustls::server::ProducesTickets>,
}

impl Sessions {
    fn new(certificate: Arc<Certificate>) -> Result<Self, SetupError> {
        let tickets = Ticketer::new().map_err(|error| SetupError::Tls(error.to_string()))?;
        Ok(Sessions { certificate, tickets })
    }

    /// TLS 1.2 and 1.3 (RFC 9325), or 1.3 alone, which QUIC needs. No client has to name a protocol, but one that names
    /// only others is refused.
    fn config(&self, protocols: &[&[u8]], only_13: bool) -> Result<rustls::ServerConfig, SetupError> {
        let versions = if only_13 { vec![&TLS13] } else { vec![&TLS13, &TLS12] };
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&versions)
            .map_err(|error| SetupError::Tls(error.to_string()))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.certificate.clone());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.ticketer = self.tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Early data could be replayed by anybody; it stays off.
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl Bound {
    /// The addresses bound, with the real ports.
    pub(crate) fn addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.addresses
    }

    /// The addresses as they are configured, in the order of each worker's sockets.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &SocketAddr> {
        self.configured.iter()
    }

    /// What each thread is to serve.
    pub(crate) fn into_workers(self) -> Vec<Worker> {
        self.workers
    }
}
