//! What can be looked at.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use crate::{
    controller::Compiles,
    discovery, health,
    http::NodeIdentity,
    journal::Journal,
    model::{Health, Overrides, Topology},
    server::{Counters, Transport, encrypted::ConnectionCounters},
    table::Table,
};

/// Everything the HTTP side may look at. Clones look at the same server.
#[derive(Clone)]
pub struct Sight {
    /// The Table now served.
    pub table: Arc<ArcSwap<Table>>,
    /// What queries became.
    pub counters: Counters,
    /// What became of the connections of the encrypted transports.
    pub connections: ConnectionCounters,
    /// The zones, in the order of the configuration; a reload replaces them.
    pub zones: Arc<ArcSwap<Vec<ZoneSight>>>,
    /// Compiles and swaps.
    pub compiles: Arc<Compiles>,
    /// The last changes.
    pub journal: Journal,
    /// What operators forced.
    pub overrides: watch::Receiver<Arc<Overrides>>,
    /// What became of reloads.
    pub reloads: Arc<Reloads>,
    /// When the server started.
    pub started: SystemTime,
    /// Where it answers, with the real ports; plain addresses stand here for UDP, and have TCP as well.
    pub listen: Arc<ArcSwap<Vec<(Transport, SocketAddr)>>>,
    /// Which server this is, as clients are told.
    pub identity: Arc<ArcSwapOption<String>>,
}

/// One zone.
#[derive(Clone, Debug)]
pub struct ZoneSight {
    /// Its name, without trailing dot.
    pub name: String,
    /// How its nodes are verified.
    pub identity: NodeIdentity,
    /// Which nodes exist.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// What is believed of them.
    pub health: watch::Receiver<Arc<Health>>,
    /// Other zones on the same cluster: they share its poller and its prober, and what these count.
    pub shares_with: Vec<String>,
    /// What discovery counts.
    pub discovery: Arc<discovery::Stats>,
    /// What the prober counts.
    pub probes: Arc<health::Stats>,
}

/// What became of reloads.
#[derive(Debug, Default)]
pub struct Reloads {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last: Mutex<Option<(SystemTime, Result<(), String>)>>,
}

impl Reloads {
    /// A reload ended.
    pub fn note(&self, at: SystemTime, result: Result<(), String>) {
        let counter = if result.is_ok() { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, result));
    }

    /// Reloads that succeeded.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Relaxed)
    }

    /// Reloads that failed, and changed nothing.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// When the last one ended, and why it failed.
    pub fn last(&self) -> Option<(SystemTime, Result<(), String>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
