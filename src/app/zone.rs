//! One zone at work: its poller, its prober, the writer of its state file.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{beginning::Known, error::StartError};
use crate::{
    admin::{Sight, ZoneSight},
    config::{Seed, ZoneConfig},
    controller::{Inputs, Writer},
    discovery,
    handover::Knowledge,
    health,
    http::NodeClient,
    model::{Demand, Health, NodeState, Source, Topology},
    table::ZoneSource,
    zone::file::StaticZone,
};

/// Tasks; each tells its name when it ended although nobody told it to.
pub(super) type Tasks = JoinSet<Option<&'static str>>;

/// Where zones are started.
pub(super) struct Ground<'a> {
    pub(super) sight: &'a Sight,
    pub(super) tasks: &'a mut Tasks,
    /// Ends everything.
    pub(super) stop: &'a CancellationToken,
    /// Addresses that answer.
    pub(super) listen: &'a [SocketAddr],
    /// Folder of the state files.
    pub(super) state_dir: Option<&'a Path>,
}

/// One zone at work.
pub(super) struct Zone {
    pub(super) source: Arc<ZoneSource>,
    epoch: Option<u32>,
    epochs: watch::Sender<u32>,
    topology: watch::Receiver<Arc<Topology>>,
    health: watch::Receiver<Arc<Health>>,
    discovery: Arc<discovery::Stats>,
    probes: Arc<health::Stats>,
    /// Ends poller and prober.
    stop: CancellationToken,
    writer: Option<Writing>,
}

/// The writer of a zone's state file.
struct Writing {
    dir: PathBuf,
    stop: CancellationToken,
    /// Cancelled when it has written for the last time.
    ended: CancellationToken,
    task: AbortHandle,
}

/// The client for a zone's nodes, where it has any.
pub(super) fn client(zone: &ZoneConfig) -> Result<Option<NodeClient>, StartError> {
    if zone.cluster.seeds.is_empty() {
        return Ok(None);
    }
    let client = NodeClient::new(&zone.cluster, discovery::LIMITS).map_err(|error| {
        let reason: &dyn std::error::Error = &error;
        StartError::Client { zone: zone.name(), reason: reason.source().unwrap_or(reason).to_string() }
    })?;
    Ok(Some(client))
}

/// Whether a zone's nodes are found and probed in the same way.
pub(super) fn is_asked_alike(old: &ZoneConfig, new: &ZoneConfig) -> bool {
    old.cluster == new.cluster && old.health == new.health && old.datacenters() == new.datacenters()
}

impl Zone {
    /// Starts a zone that is not served yet. Its state file is written once `ended`, the token of its last writer, is
    /// cancelled.
    pub(super) fn start(
        config: &ZoneConfig,
        statics: StaticZone,
        client: Option<NodeClient>,
        known: Known,
        ended: Option<CancellationToken>,
        ground: &mut Ground<'_>,
    ) -> Self {
        if client.is_none() {
            tracing::info!(zone = %config.name(), "no seeds: the zone serves only its static records");
        }
        let epochs = watch::Sender::new(known.epoch.unwrap_or_default());
        let mut zone = Self::begin(config, statics, client, known, epochs, Default::default(), ground);
        zone.write(ended, ground);
        zone
    }

    /// Goes on with another way of finding and probing its nodes; what is known of them stays known.
    pub(super) fn restart(
        &mut self,
        config: &ZoneConfig,
        statics: StaticZone,
        client: Option<NodeClient>,
        ground: &mut Ground<'_>,
    ) {
        self.stop.cancel();
        let (topology, health) = (self.topology.borrow().as_ref().clone(), self.health.borrow().clone());
        let known = Known::so_far(config, &self.source.config.cluster.seeds, topology, &health);
        let stats = (self.discovery.clone(), self.probes.clone());
        let known = Known { epoch: self.epoch, ..known };
        let mut next = Self::begin(config, statics, client, known, self.epochs.clone(), stats, ground);
        next.write(self.writer.take().map(Writing::stop), ground);
        *self = next;
    }

    /// Answers by another configuration; poller and prober go on as they are.
    pub(super) fn answer_by(&mut self, config: &ZoneConfig, statics: StaticZone, ground: &mut Ground<'_>) {
        let (demand, meter) = (self.source.demand.clone(), self.source.meter.clone());
        let listen = ground.listen.to_vec();
        self.source = Arc::new(ZoneSource { config: config.clone(), statics, listen, demand, meter });
        if self.writes_elsewhere(ground) {
            let ended = self.writer.take().map(Writing::stop);
            self.write(ended, ground);
        }
    }

    /// Whether its state file is to be in another folder.
    pub(super) fn writes_elsewhere(&self, ground: &Ground<'_>) -> bool {
        self.writer.as_ref().map(|writer| writer.dir.as_path()) != ground.state_dir
    }

    /// Ends it. Returns what is cancelled when its state file is written for the last time.
    pub(super) fn stop(self) -> Option<CancellationToken> {
        self.stop.cancel();
        self.writer.map(Writing::stop)
    }

    /// Leaves its state file to another process.
    pub(super) fn write_no_more(&self) {
        self.writer.iter().for_each(|writer| writer.task.abort());
    }

    /// What the controller follows.
    pub(super) fn inputs(&self, sight: &Sight) -> Inputs {
        Inputs {
            source: self.source.clone(),
            epoch: self.epoch,
            topology: self.topology.clone(),
            health: self.health.clone(),
            overrides: sight.overrides.clone(),
            epochs: self.epochs.clone(),
        }
    }

    /// What is known of it.
    pub(super) fn knowledge(&self) -> Knowledge {
        let config = &self.source.config;
        Knowledge {
            zone: config.name(),
            seeds: config.cluster.seeds.iter().map(Seed::to_string).collect(),
            epoch: *self.epochs.borrow(),
            topology: self.topology.borrow().as_ref().clone(),
            health: self.health.borrow().as_ref().clone(),
        }
    }

    /// Whether it is known who answers: the cluster has told its nodes, and each of them was probed until it was in, or
    /// failed.
    pub(super) fn is_settled(&self) -> bool {
        let (topology, health) = (self.topology.borrow(), self.health.borrow());
        let is_probed = |address| {
            let health = health.of(address);
            health.state != NodeState::Joining || health.failure.is_some()
        };
        self.source.config.cluster.seeds.is_empty()
            || topology.source == Source::Discovery
                && (health.disabled || topology.listed().all(|member| is_probed(member.node.address)))
    }

    /// Why it has no answers, where it has none.
    pub(super) fn without_answers(&self) -> String {
        let (topology, health) = (self.topology.borrow(), self.health.borrow());
        let listed = topology.listed().count();
        if topology.source != Source::Discovery {
            return "none of its seeds tells which nodes there are".to_owned();
        }
        let failure = topology.listed().find_map(|member| health.of(member.node.address).failure);
        match failure {
            _ if listed == 0 => "the cluster lists no node for it".to_owned(),
            Some(failure) => format!("none of {listed} nodes is found to serve ({failure})"),
            None => format!("none of {listed} nodes is found to serve"),
        }
    }

    /// What can be looked at.
    pub(super) fn sight(&self) -> ZoneSight {
        ZoneSight {
            name: self.source.config.name(),
            topology: self.topology.clone(),
            health: self.health.clone(),
            discovery: self.discovery.clone(),
            probes: self.probes.clone(),
        }
    }

    fn begin(
        config: &ZoneConfig,
        statics: StaticZone,
        client: Option<NodeClient>,
        known: Known,
        epochs: watch::Sender<u32>,
        stats: (Arc<discovery::Stats>, Arc<health::Stats>),
        ground: &mut Ground<'_>,
    ) -> Self {
        let Known { epoch, topology: initial, health: initial_health } = known;
        let (discovery, probes) = stats;
        let stop = ground.stop.child_token();
        let wake = Arc::new(Notify::new());
        let waker = wake.clone();
        let demand = Arc::new(Demand::new(move || waker.notify_one()));
        let (publish_topology, topology) = watch::channel(Arc::new(initial.clone()));
        let (publish_health, health) = watch::channel(Arc::new(initial_health));
        if let Some(client) = client {
            let name = config.name();
            let journal = ground.sight.journal.of(&name);
            let poller = discovery::run(discovery::Options {
                client,
                cluster: config.cluster.clone(),
                datacenters: config.datacenters(),
                fall: config.health.fall,
                initial,
                demand: demand.clone(),
                wake,
                publish: publish_topology,
                stop: stop.clone(),
                seed: fastrand::u64(..),
                stats: discovery.clone(),
                journal: journal.clone(),
            });
            let poller = poller.instrument(tracing::error_span!("discovery", zone = %name));
            spawn(ground.tasks, "a zone's poller", &stop, poller);
            let prober = health::run(health::Options {
                cluster: config.cluster.clone(),
                health: config.health.clone(),
                topology: topology.clone(),
                publish: publish_health,
                stats: probes.clone(),
                journal,
                stop: stop.clone(),
                seed: fastrand::u64(..),
            });
            let prober = prober.instrument(tracing::error_span!("health", zone = %name));
            spawn(ground.tasks, "a zone's prober", &stop, async {
                if let Err(error) = prober.await {
                    tracing::error!(%error, "a zone's prober cannot start");
                }
            });
        }
        let listen = ground.listen.to_vec();
        let meter = ground.sight.counters.meter(&config.name());
        let source = Arc::new(ZoneSource { config: config.clone(), statics, listen, demand, meter });
        Zone { source, epoch, epochs, topology, health, discovery, probes, stop, writer: None }
    }

    /// Writes the state file from now on, once whoever wrote it before has done so for the last time.
    fn write(&mut self, ended_before: Option<CancellationToken>, ground: &mut Ground<'_>) {
        self.writer = ground.state_dir.map(|dir| {
            let (stop, ended) = (ground.stop.child_token(), CancellationToken::new());
            let writer = Writer {
                zone: self.source.config.name(),
                seeds: self.source.config.cluster.seeds.clone(),
                topology: self.topology.clone(),
                health: self.health.clone(),
                epochs: self.epochs.subscribe(),
                dir: dir.to_owned(),
                stop: stop.clone(),
            };
            let guard = ended.clone().drop_guard();
            let task = spawn(ground.tasks, "the writer of a state file", &stop, async move {
                let _guard = guard;
                if let Some(ended) = ended_before {
                    ended.cancelled().await;
                }
                writer.run().await;
            });
            Writing { dir: dir.to_owned(), stop, ended, task }
        });
    }
}

impl Writing {
    fn stop(self) -> CancellationToken {
        self.stop.cancel();
        self.ended
    }
}

/// Starts a task that is not to end before it is told to.
pub(super) fn spawn(
    tasks: &mut Tasks,
    name: &'static str,
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) -> AbortHandle {
    let stop = stop.clone();
    tasks.spawn(async move {
        task.await;
        (!stop.is_cancelled()).then_some(name)
    })
}
