//! What encrypted listeners are set up with.

use std::{io, sync::Arc, time::SystemTime};

use rustls::{
    crypto::aws_lc_rs::{Ticketer, default_provider},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use socket2::Socket;
use tokio::sync::mpsc::Sender;
use tokio_rustls::TlsAcceptor;

use super::{
    certificate::{Certificate, CertificateError, Files},
    counters::ConnectionCounters,
    desk::Listener,
    quic,
    reload::{Follower, Watch},
    seats::{Holders, Seats},
    worker::{Bound, Worker},
};
use crate::{
    config::TlsConfig,
    server::{BindError, Transport},
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
    /// The thread that follows the certificate's files.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// The files of a certificate, read and found usable.
#[derive(Debug)]
pub(crate) struct Credentials(Watch);

impl Credentials {
    /// Reads them, where any address needs them.
    pub(crate) fn load(config: &TlsConfig) -> Result<Option<Self>, CertificateError> {
        if is_needed(config) { Ok(Some(Credentials(Watch::begin(files(config)?)?))) } else { Ok(None) }
    }
}

/// What all encrypted listeners have in common.
#[derive(Debug)]
pub(crate) struct Encryption {
    sessions: Sessions,
    connections: ConnectionCounters,
    holders: Holders,
    follower: Follower,
}

impl Encryption {
    /// Encryption with this certificate, whose files are followed from now on; a failure of that is reported.
    pub(crate) fn new(
        Credentials(mut watch): Credentials,
        connections: &ConnectionCounters,
        report: &Sender<String>,
    ) -> Result<Self, SetupError> {
        let sessions = Sessions::new(watch.certificate())?;
        tracing::info!(not_after = watch.until(), "the certificate of the encrypted transports is loaded");
        watch.warn(SystemTime::now());
        let follower = Follower::start(watch, report).map_err(SetupError::Thread)?;
        Ok(Encryption { sessions, connections: connections.clone(), holders: Holders::default(), follower })
    }

    /// Presents this certificate from now on, and follows its files.
    pub(crate) fn present(&self, Credentials(mut watch): Credentials) {
        watch.present_as(&self.sessions.certificate);
        watch.warn(SystemTime::now());
        self.follower.follow(watch);
    }

    /// What a listener of this transport needs; `None` for one that is not encrypted.
    pub(crate) fn session(&self, transport: Transport) -> Result<Option<Session>, SetupError> {
        let names: &[&[u8]] = match transport {
            Transport::Udp | Transport::Tcp => return Ok(None),
            Transport::Quic => &[b"doq"],
            Transport::Https => &[b"h2", b"http/1.1"],
            Transport::Tls => &[b"dot"],
        };
        let tls = Arc::new(self.sessions.config(names, transport == Transport::Quic)?);
        let seats = Seats::new(1, 1);
        let with = if transport == Transport::Quic {
            let config = quic::Config::new(tls).map_err(|error| SetupError::Tls(error.to_string()))?;
            With::Quic(Box::new(config))
        } else {
            self.holders.add(&seats);
            With::Tls(TlsAcceptor::from(tls))
        };
        let listener = Listener { transport, seats, connections: self.connections.clone() };
        Ok(Some(Session { with, listener, holders: self.holders.clone() }))
    }
}

/// What the workers of one encrypted listener need.
#[derive(Clone)]
pub(crate) struct Session {
    with: With,
    listener: Listener,
    holders: Holders,
}

impl Session {
    /// A worker on a socket of the listener.
    pub(crate) fn worker(self, socket: Socket) -> io::Result<Worker> {
        let socket = match self.with {
            With::Tls(acceptor) => Bound::Stream(socket.into(), acceptor),
            With::Quic(config) => Bound::Datagram(socket.into(), config),
        };
        Worker::new(socket, self.listener, self.holders)
    }
}

/// With what a listener encrypts.
#[derive(Clone)]
enum With {
    Tls(TlsAcceptor),
    Quic(Box<quic::Config>),
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
#[derive(Debug)]
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
