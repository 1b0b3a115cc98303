//! All listeners at work.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::{
    Prepared,
    serving::{Ground, Serving},
};
use crate::{
    config::{CookieSecret, ServerConfig},
    server::{
        Cookies, Settings, Transport,
        encrypted::{ConnectionCounters, Encryption, SetupError},
        udp,
    },
};

/// How long stopping waits for the workers: what was received is answered in milliseconds, the rest of the process
/// has two seconds in all.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

/// How often that is looked at.
const STOP_LOOK: Duration = Duration::from_millis(5);

/// Workers at work.
#[derive(Debug)]
pub struct Running {
    pub(super) ground: Ground,
    pub(super) config: ServerConfig,
    /// In the order of the configuration: UDP and TCP of each address, then what is encrypted.
    pub(super) serving: Vec<Serving>,
    /// Workers of listeners that are gone, as long as they answer what was received.
    pub(super) leaving: Vec<JoinHandle<()>>,
    pub(super) encryption: Option<Encryption>,
    pub(super) connections: ConnectionCounters,
    /// Makes cookies where the configuration has no secret; the same as long as somebody may bring one back.
    pub(super) secret: CookieSecret,
    /// Of the sockets inherited.
    pub(super) claimed: Vec<bool>,
    /// Whose sockets another process was offered, by their listeners' settings: a reload may come before it serves them.
    pub(super) offered: Vec<Arc<ArcSwap<Settings>>>,
    addresses: Vec<SocketAddr>,
    encrypted: Vec<(Transport, SocketAddr)>,
    ended: mpsc::Receiver<String>,
}

impl Running {
    pub(super) fn new(
        ground: Ground,
        serving: Vec<Serving>,
        encryption: Option<Encryption>,
        connections: ConnectionCounters,
        (secret, claimed): (CookieSecret, Vec<bool>),
        ended: mpsc::Receiver<String>,
    ) -> Self {
        Running {
            ground,
            config: ServerConfig::default(),
            serving,
            leaving: Vec::new(),
            encryption,
            connections,
            secret,
            claimed,
            offered: Vec::new(),
            addresses: Vec::new(),
            encrypted: Vec::new(),
            ended,
        }
    }

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

    /// Binds the listeners that this configuration has beyond those at work, reads its certificates, and starts what
    /// workers it needs, without anybody noticing: where anything of it fails, nothing was changed.
    pub fn prepare(&self, config: &ServerConfig) -> Result<Prepared, SetupError> {
        Prepared::new(self, config)
    }

    /// Gives all listeners their settings by this configuration.
    pub(super) fn go_by(&mut self, config: ServerConfig) {
        let cookies = Cookies::with(&config.cookies, &self.secret);
        self.addresses = addresses_of(&self.serving);
        self.encrypted = encrypted_of(&self.serving);
        // Replies to addresses that are not served are dropped where they arrive, being responses.
        let listening: Vec<_> = self.serving.iter().filter(|serving| serving.takes_datagrams()).collect();
        let listening: Vec<_> = listening.iter().map(|serving| serving.listener.address).collect();
        let is_wildcard = listening.iter().any(|address| address.ip().is_unspecified());
        let interfaces = if is_wildcard { udp::interface_addresses() } else { Vec::new() };
        for serving in &self.serving {
            let configured = serving.listener.configured;
            let mut settings = Settings::new(&config, configured, cookies.clone(), &listening, &interfaces);
            settings.workers = serving.threads.len();
            serving.settings.store(Arc::new(settings));
        }
        self.config = config;
    }

    /// Waits until a worker ends that nobody told to, and names it.
    pub async fn ended(&mut self) -> String {
        self.ended.recv().await.unwrap_or_default()
    }

    /// Stops accepting, answers what was received, and waits for the workers (for a bounded time). Blocks; returns
    /// whether all ended.
    pub fn stop(self) -> bool {
        let mut threads = self.leaving;
        for serving in self.serving {
            threads.extend(serving.stop());
        }
        let deadline = Instant::now() + STOP_WITHIN;
        while !threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(STOP_LOOK);
        }
        true
    }
}

/// The addresses that listeners answer on over UDP and TCP.
pub(super) fn addresses_of<'s>(serving: impl IntoIterator<Item = &'s Serving>) -> Vec<SocketAddr> {
    let listeners = serving.into_iter().map(|serving| &serving.listener);
    listeners.filter(|listener| listener.transport == Transport::Udp).map(|listener| listener.address).collect()
}

/// Those of the encrypted ones.
pub(super) fn encrypted_of<'s>(serving: impl IntoIterator<Item = &'s Serving>) -> Vec<(Transport, SocketAddr)> {
    let listeners = serving.into_iter().map(|serving| &serving.listener);
    let encrypted = listeners.filter(|listener| listener.transport.is_encrypted());
    encrypted.map(|listener| (listener.transport, listener.address)).collect()
}

/// The encrypted listeners of a configuration, in their order.
pub(super) fn encrypted_listeners(config: &ServerConfig) -> impl Iterator<Item = (Transport, SocketAddr)> {
    let tls = &config.tls;
    let all = [(Transport::Tls, &tls.listen), (Transport::Https, &tls.https), (Transport::Quic, &tls.quic)];
    all.into_iter().flat_map(|(transport, addresses)| addresses.iter().map(move |address| (transport, *address)))
}
