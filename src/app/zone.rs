//! One zone at work: what its answers are made of, on a cluster that others may share, and the writer of its state file.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{beginning::Known, cluster::Cluster};
use crate::{
    admin::{Sight, ZoneSight},
    config::{Seed, ZoneConfig},
    controller::{Inputs, Writer},
    handover::Knowledge,
    model::{NodeState, Source},
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
    pub(super) cluster: Arc<Cluster>,
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

impl Zone {
    /// Starts a zone that is not served yet. Its state file is written once `ended`, the token of its last writer, is
    /// cancelled.
    pub(super) fn start(
        config: &ZoneConfig,
        statics: StaticZone,
        cluster: Arc<Cluster>,
        epoch: Option<u32>,
        ended: Option<CancellationToken>,
        ground: &mut Ground<'_>,
    ) -> Self {
        if config.cluster.seeds.is_empty() {
            tracing::info!(zone = %config.name(), "no seeds: the zone serves only its static records");
        }
        let epochs = watch::Sender::new(epoch.unwrap_or_default());
        let source = source(config, statics, &cluster, ground);
        let mut zone = Zone { source, epoch, epochs, cluster, writer: None };
        zone.write(ended, ground);
        zone
    }

    /// Goes on with another cluster, or with the same one asked in another way.
    pub(super) fn turn_to(
        &mut self,
        cluster: Arc<Cluster>,
        config: &ZoneConfig,
        statics: StaticZone,
        ground: &mut Ground<'_>,
    ) {
        self.cluster = cluster;
        self.source = source(config, statics, &self.cluster, ground);
        let ended = self.writer.take().map(Writing::stop);
        self.write(ended, ground);
    }

    /// Answers by another configuration; its cluster is asked as before.
    pub(super) fn answer_by(&mut self, config: &ZoneConfig, statics: StaticZone, ground: &mut Ground<'_>) {
        self.source = source(config, statics, &self.cluster, ground);
        if self.writes_elsewhere(ground) {
            let ended = self.writer.take().map(Writing::stop);
            self.write(ended, ground);
        }
    }

    /// Whether its state file is to be in another folder.
    pub(super) fn writes_elsewhere(&self, ground: &Ground<'_>) -> bool {
        self.writer.as_ref().map(|writer| writer.dir.as_path()) != ground.state_dir
    }

    /// Ends it, not its cluster. Returns what is cancelled when its state file is written for the last time.
    pub(super) fn stop(self) -> Option<CancellationToken> {
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
            topology: self.cluster.topology.clone(),
            health: self.cluster.health.clone(),
            elsewhere: Arc::new(self.cluster.named_elsewhere(&self.source.config)),
            overrides: sight.overrides.clone(),
            epochs: self.epochs.clone(),
        }
    }

    /// What this process has learnt so far, for the cluster that this configuration leads to.
    pub(super) fn so_far(&self, config: &ZoneConfig) -> Known {
        let (topology, health) =
            (self.cluster.topology.borrow().as_ref().clone(), self.cluster.health.borrow().clone());
        Known::so_far(config, &self.source.config.cluster.seeds, topology, &health)
    }

    /// What is known of it.
    pub(super) fn knowledge(&self) -> Knowledge {
        let config = &self.source.config;
        Knowledge {
            zone: config.name(),
            seeds: config.cluster.seeds.iter().map(Seed::to_string).collect(),
            epoch: *self.epochs.borrow(),
            topology: self.cluster.topology.borrow().as_ref().clone(),
            health: self.cluster.health.borrow().as_ref().clone(),
        }
    }

    /// Whether it is known who answers: the cluster has told its nodes, and each of them was probed until it was in, or
    /// failed.
    pub(super) fn is_settled(&self) -> bool {
        let (topology, health) = (self.cluster.topology.borrow(), self.cluster.health.borrow());
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
        let (topology, health) = (self.cluster.topology.borrow(), self.cluster.health.borrow());
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
        let name = self.source.config.name();
        let others = self.cluster.zones().into_iter().filter(|zone| **zone != *name);
        ZoneSight {
            identity: self.cluster.asked.proofs.identity.clone(),
            topology: self.cluster.topology.clone(),
            health: self.cluster.health.clone(),
            discovery: self.cluster.counts.discovery.clone(),
            probes: self.cluster.counts.probes.clone(),
            shares_with: others.map(|zone| zone.to_string()).collect(),
            name,
        }
    }

    /// Writes the state file from now on, once whoever wrote it before has done so for the last time.
    fn write(&mut self, ended_before: Option<CancellationToken>, ground: &mut Ground<'_>) {
        self.writer = ground.state_dir.map(|dir| {
            let (stop, ended) = (ground.stop.child_token(), CancellationToken::new());
            let writer = Writer {
                zone: self.source.config.name(),
                seeds: self.source.config.cluster.seeds.clone(),
                topology: self.cluster.topology.clone(),
                health: self.cluster.health.clone(),
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

/// What answers are made of that does not change with the cluster.
fn source(config: &ZoneConfig, statics: StaticZone, cluster: &Cluster, ground: &Ground<'_>) -> Arc<ZoneSource> {
    // Given by name: a zone that goes on is counted under its number.
    let meter = ground.sight.counters.meter(&config.name());
    let (demand, listen) = (cluster.demand.clone(), ground.listen.to_vec());
    Arc::new(ZoneSource { config: config.clone(), statics, listen, demand, meter })
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
