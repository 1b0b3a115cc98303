//! Binding every address before anything is served.

use std::{io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::{
    BindError, Inherited, Running,
    running::encrypted_listeners,
    serving::{Ground, Serving},
    sockets::{Binding, Listener},
    stop::GateKeeper,
};
use crate::{
    config::ServerConfig,
    server::{
        Cookies, Counters, Transport, affinity,
        encrypted::{ConnectionCounters, Credentials, Encryption, SetupError},
        settings,
    },
    table::Table,
};

/// Sockets on every address, not served yet.
pub struct Bound {
    addresses: Vec<SocketAddr>,
    listeners: Vec<Listener>,
    inherited: Inherited,
    credentials: Option<Credentials>,
    config: ServerConfig,
}

/// Binds UDP and TCP on every address, a socket for each worker, or nothing. Where sockets for an address were inherited,
/// these are used instead.
pub fn bind(config: &ServerConfig, inherited: Inherited) -> Result<Bound, BindError> {
    let (addresses, listeners, config) = (Vec::new(), Vec::new(), config.clone());
    let mut bound = Bound { addresses, listeners, inherited, credentials: None, config };
    let workers = settings::workers(&bound.config);
    let mut binding = Binding { workers, inherited: &mut bound.inherited, leaving: &[] };
    for &address in &bound.config.listen {
        let pair = binding.plain(address)?;
        bound.addresses.push(pair[0].address);
        bound.listeners.extend(pair);
    }
    Ok(bound)
}

impl Bound {
    /// The addresses bound, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Binds the addresses of `[server.tls]`, too, once their certificate is found usable.
    pub fn with_encrypted(mut self) -> Result<Self, SetupError> {
        self.credentials = Credentials::load(&self.config.tls)?;
        let workers = settings::workers(&self.config);
        let mut binding = Binding { workers, inherited: &mut self.inherited, leaving: &[] };
        for (transport, address) in encrypted_listeners(&self.config) {
            self.listeners.push(binding.one(transport, address, address)?);
        }
        Ok(self)
    }

    /// What was inherited, and what of it was taken. What was not is closed with this value.
    pub fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// Serves this table on all sockets, a thread for each.
    pub fn run(self, table: &Arc<ArcSwap<Table>>, counters: &Counters, seed: u64) -> io::Result<Running> {
        let (report, ended) = mpsc::channel(1);
        let connections = ConnectionCounters::default();
        let ground = Ground {
            table: table.clone(),
            counters: counters.clone(),
            report,
            cpus: if self.config.pin_workers { affinity::cpus() } else { Vec::new() },
            seed,
            started: Default::default(),
        };
        let encryption = self.credentials.map(|with| Encryption::new(with, &connections, &ground.report));
        let encryption = encryption.transpose().map_err(other)?;
        let workers = settings::workers(&self.config);
        let gate = GateKeeper::default();
        let start = |listener| Serving::start(listener, workers, &ground, encryption.as_ref(), gate.gate());
        let serving = self.listeners.into_iter().map(start).collect::<Result<Vec<_>, _>>().map_err(other)?;
        let secret = match self.inherited.cookie_secret() {
            Some(secret) => secret,
            None => Cookies::made_up().map_err(io::Error::other)?,
        };
        let claimed = self.inherited.claimed();
        let mut running = Running::new(ground, serving, encryption, connections, (secret, claimed), ended);
        running.go_by(self.config);
        gate.open();
        Ok(running)
    }
}

/// Threads that cannot be started have a reason of the system's; what else can fail here has one of TLS.
fn other(error: SetupError) -> io::Error {
    match error {
        SetupError::Thread(error) => error,
        other => io::Error::other(other),
    }
}

/// Listeners of both transports that every address has, and their addresses.
pub(super) const PLAIN: [Transport; 2] = [Transport::Udp, Transport::Tcp];
