//! Changing the listeners while they serve.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;

use super::{
    Inherited, Running,
    bound::PLAIN,
    running::{addresses_of, encrypted_listeners, encrypted_of},
    serving::Serving,
    sockets::Binding,
    stop::GateKeeper,
};
use crate::{
    config::ServerConfig,
    server::{
        Settings, Transport,
        encrypted::{Credentials, Encryption, SetupError},
        settings,
    },
};

/// A change of the listeners that nothing can fail at any more, and that has changed nothing yet: new listeners are
/// bound, their workers wait. Dropped, it takes all of that back.
pub struct Prepared {
    config: ServerConfig,
    slots: Vec<Slot>,
    /// Read and found usable; presented from the commit on.
    credentials: Option<Credentials>,
    /// Where nothing was encrypted before.
    encryption: Option<Encryption>,
    gate: GateKeeper,
    addresses: Vec<SocketAddr>,
    encrypted: Vec<(Transport, SocketAddr)>,
    notes: Vec<String>,
}

/// A listener after the change.
enum Slot {
    /// One that serves already, known by its settings.
    Stays(Arc<ArcSwap<Settings>>),
    New(Serving),
}

impl Prepared {
    pub(super) fn new(running: &Running, config: &ServerConfig) -> Result<Self, SetupError> {
        let credentials = Credentials::load(&config.tls)?;
        let workers = settings::workers(config);
        let kept = Kept::of(running, config);
        let leaving = kept.leaving(running);
        let mut inherited = Inherited::default();
        let mut binding = Binding { workers, inherited: &mut inherited, leaving: &leaving };
        let mut listeners = Vec::new();
        for (index, wanted) in config.listen.iter().enumerate() {
            match kept.plain[index] {
                Some(pair) => listeners.extend(pair.map(Ok)),
                None => listeners.extend(binding.plain(*wanted)?.map(Err)),
            }
        }
        for (index, (transport, wanted)) in encrypted_listeners(config).enumerate() {
            listeners.push(match kept.encrypted[index] {
                Some(stays) => Ok(stays),
                None => Err(binding.one(transport, wanted, wanted)?),
            });
        }
        let (mut new_encryption, mut credentials) = (None, credentials);
        if running.encryption.is_none()
            && let Some(credentials) = credentials.take()
        {
            new_encryption = Some(Encryption::new(credentials, &running.connections, &running.ground.report)?);
        }
        let encryption = running.encryption.as_ref().or(new_encryption.as_ref());
        let gate = GateKeeper::default();
        let mut slots = Vec::new();
        for listener in listeners {
            slots.push(match listener {
                Ok(serving) => Slot::Stays(serving.settings.clone()),
                Err(listener) => {
                    Slot::New(Serving::start(listener, workers, &running.ground, encryption, gate.gate())?)
                }
            });
        }
        let after: Vec<_> = slots.iter().filter_map(|slot| slot.find(&running.serving)).collect();
        let (addresses, encrypted) = (addresses_of(after.iter().copied()), encrypted_of(after.iter().copied()));
        let notes = notes(running, config, &kept);
        let config = config.clone();
        Ok(Prepared { config, slots, credentials, encryption: new_encryption, gate, addresses, encrypted, notes })
    }

    /// The addresses served after the change, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Those of the encrypted transports.
    pub fn encrypted(&self) -> &[(Transport, SocketAddr)] {
        &self.encrypted
    }

    /// What of the configuration does not come into force before a restart, one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Makes the change: new listeners serve, those that stay go by their new settings without losing a query or a
    /// connection, and then those that are gone answer what they have received and end. `running` is what this was
    /// prepared for. Bounds of connections hold for new ones; where more are open than there may be now, each new one
    /// takes the place of another.
    pub fn commit(self, running: &mut Running) {
        let mut before = std::mem::take(&mut running.serving);
        for slot in self.slots {
            match slot {
                Slot::New(serving) => running.serving.push(serving),
                Slot::Stays(settings) => {
                    let stays = before.iter().position(|serving| Arc::ptr_eq(&serving.settings, &settings));
                    running.serving.extend(stays.map(|index| before.remove(index)));
                }
            }
        }
        match (&running.encryption, self.credentials) {
            (Some(encryption), Some(credentials)) => encryption.present(credentials),
            (Some(_), None) => running.encryption = None,
            (None, _) => running.encryption = self.encryption,
        }
        running.go_by(self.config);
        self.gate.open();
        running.leaving.retain(|thread| !thread.is_finished());
        running.leaving.extend(before.into_iter().flat_map(Serving::stop));
    }
}

impl Slot {
    fn find<'s>(&'s self, serving: &'s [Serving]) -> Option<&'s Serving> {
        match self {
            Slot::New(new) => Some(new),
            Slot::Stays(settings) => serving.iter().find(|serving| Arc::ptr_eq(&serving.settings, settings)),
        }
    }
}

/// What stays of the listeners at work: for each listener of the new configuration the one that serves it already.
struct Kept<'r> {
    /// UDP and TCP, for each address.
    plain: Vec<Option<[&'r Serving; 2]>>,
    encrypted: Vec<Option<&'r Serving>>,
}

impl<'r> Kept<'r> {
    fn of(running: &'r Running, config: &ServerConfig) -> Self {
        // An address may be written twice where its port is 0; each is another listener.
        let mut left: Vec<&Serving> = running.serving.iter().collect();
        let mut take = |transport: Transport, configured: SocketAddr| {
            let is_it = |serving: &&Serving| {
                serving.listener.transport == transport && serving.listener.configured == configured
            };
            left.iter().position(is_it).map(|index| left.remove(index))
        };
        let plain = config.listen.iter().map(|address| {
            let [udp, tcp] = PLAIN.map(|transport| take(transport, *address));
            Some([udp?, tcp?])
        });
        let plain = plain.collect();
        let encrypted = encrypted_listeners(config).map(|(transport, address)| take(transport, address)).collect();
        Kept { plain, encrypted }
    }

    fn all(&self) -> impl Iterator<Item = &'r Serving> {
        self.plain.iter().flatten().flatten().chain(self.encrypted.iter().flatten()).copied()
    }

    /// The listeners that do not stay.
    fn leaving(&self, running: &Running) -> Vec<(Transport, SocketAddr)> {
        let stays = |serving: &&Serving| self.all().any(|kept| std::ptr::eq(kept, *serving));
        let leaving = running.serving.iter().filter(|serving| !stays(serving));
        leaving.map(|serving| (serving.listener.transport, serving.listener.address)).collect()
    }
}

/// What stays as it is until a restart.
fn notes(running: &Running, config: &ServerConfig, kept: &Kept<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let workers = settings::workers(config);
    if let Some(other) = kept.all().find(|serving| serving.threads.len() != serving.workers(workers)) {
        notes.push(format!(
            "[server] workers: listeners that stay have {} workers, not {workers}, until a restart (serve --replace)",
            other.threads.len()
        ));
    }
    if config.pin_workers == running.ground.cpus.is_empty() {
        notes.push(format!(
            "[server] pin_workers = {} comes into force with a restart (serve --replace)",
            config.pin_workers
        ));
    }
    notes
}
