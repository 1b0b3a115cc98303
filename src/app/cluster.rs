//! One cluster at work: its poller and its prober, for all zones that ask it in the same way.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error_span};

use super::{
    beginning::Known,
    error::StartError,
    files::Proofs,
    zone::{Ground, spawn},
};
use crate::{
    config::{ClusterConfig, HealthConfig, Seed, ZoneConfig},
    discovery, health,
    http::NodeClient,
    journal::ZoneJournal,
    model::{Demand, Health, Scope, Topology},
};

/// Zones named in each line of a cluster's log; with more, a line would be nothing but names.
const NAMED: usize = 4;

/// All that decides how a cluster is asked. Zones that agree in it share one poller and one prober.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    cluster: ClusterConfig,
    health: HealthConfig,
    /// What is in the files that nodes are verified with and reads are signed with.
    pub(super) proofs: Proofs,
}

impl Asked {
    /// How a zone's cluster is asked. The order of lists says nothing about that, nor does how fast a node gets its full
    /// share.
    pub(super) fn of(zone: &ZoneConfig, proofs: Proofs) -> Self {
        let mut cluster = zone.cluster.clone();
        cluster.seeds.sort_by_cached_key(Seed::to_string);
        cluster.seeds.dedup();
        cluster.datacenters.values_mut().for_each(|racks| racks.sort());
        Asked { cluster, health: HealthConfig { slow_start: Duration::ZERO, ..zone.health.clone() }, proofs }
    }

    /// The client that asks, where there is anybody to ask. `zone` is one of those that want it.
    pub(super) fn client(&self, zone: &ZoneConfig) -> Result<Option<NodeClient>, StartError> {
        if self.cluster.seeds.is_empty() {
            return Ok(None);
        }
        let client = NodeClient::new(&self.cluster, &self.proofs.identity, discovery::LIMITS).map_err(|error| {
            let reason: &dyn std::error::Error = &error;
            StartError::Client { zone: zone.name(), reason: reason.source().unwrap_or(reason).to_string() }
        })?;
        Ok(Some(client))
    }
}

/// The zones on a cluster, and what they know of it by their configurations and from earlier runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sharers {
    /// Their names.
    pub(super) zones: Vec<Arc<str>>,
    /// Every datacenter and rack that one of them names.
    places: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Scopes that had nodes when they were asked for in another way.
    seen: BTreeSet<Scope>,
}

impl Sharers {
    /// A zone more.
    pub(super) fn add(&mut self, zone: &ZoneConfig) {
        self.zones.push(zone.name().into());
        for (datacenter, racks) in zone.datacenters() {
            let known = self.places.entry(datacenter).or_default();
            known.extend(racks);
            // Whatever the order of the zones is, the same places are the same value.
            known.sort();
            known.dedup();
        }
    }

    /// What a zone that joins has seen.
    pub(super) fn remember(&mut self, topology: &Topology) {
        self.seen.extend(topology.seen.iter().cloned());
    }

    fn name(&self) -> String {
        let mut name = self.zones.iter().take(NAMED).map(|zone| &**zone).collect::<Vec<_>>().join(", ");
        if self.zones.len() > NAMED {
            name.push_str(&format!(" and {} more", self.zones.len() - NAMED));
        }
        name
    }
}

/// What discovery and probes count.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) discovery: Arc<discovery::Stats>,
    pub(super) probes: Arc<health::Stats>,
}

/// One cluster at work.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) asked: Asked,
    /// Told of every query for any of the zones: it is idle only when nobody asks for one of them.
    pub(super) demand: Arc<Demand>,
    pub(super) topology: watch::Receiver<Arc<Topology>>,
    pub(super) health: watch::Receiver<Arc<Health>>,
    pub(super) counts: Counts,
    sharers: watch::Sender<Sharers>,
    journal: ZoneJournal,
    /// Ends poller and prober.
    stop: CancellationToken,
}

impl Cluster {
    /// Starts the poller and the prober, with what is known already. Without client there is nobody to ask.
    pub(super) fn start(
        asked: Asked,
        client: Option<NodeClient>,
        sharers: Sharers,
        known: Known,
        counts: Counts,
        ground: &mut Ground<'_>,
    ) -> Self {
        let (wake, stop, journal) =
            (Arc::new(Notify::new()), ground.stop.child_token(), ground.sight.journal.of_zones());
        journal.set_zones(sharers.zones.clone());
        let waker = wake.clone();
        let demand = Arc::new(Demand::new(move || waker.notify_one()));
        let (publish_topology, topology) = watch::channel(Arc::new(known.topology));
        let (publish_health, health) = watch::channel(Arc::new(known.health));
        let sharers = watch::Sender::new(sharers);
        let cluster = Cluster { asked, demand, topology, health, counts, sharers, journal, stop };
        if let Some(client) = client {
            cluster.poll(client, wake, publish_topology, ground);
            cluster.probe(publish_health, ground);
        }
        cluster
    }

    /// Whose cluster it is from now on. Nothing that is known is lost, and nobody waits.
    pub(super) fn share(&self, sharers: Sharers) {
        self.journal.set_zones(sharers.zones.clone());
        self.sharers.send_if_modified(|before| {
            let topology = self.topology.borrow();
            let mut now = sharers;
            now.seen = now.seen.difference(&topology.seen).chain(&before.seen).cloned().collect();
            let differs = *before != now;
            *before = now;
            differs
        });
    }

    /// The zones whose cluster it is.
    pub(super) fn zones(&self) -> Vec<Arc<str>> {
        self.sharers.borrow().zones.clone()
    }

    /// Datacenters that only other zones than this one name.
    pub(super) fn named_elsewhere(&self, zone: &ZoneConfig) -> BTreeSet<Arc<str>> {
        let own = zone.datacenters();
        self.sharers.borrow().places.keys().filter(|datacenter| !own.contains_key(*datacenter)).cloned().collect()
    }

    /// Ends it.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    fn poll(
        &self,
        client: NodeClient,
        wake: Arc<Notify>,
        publish: watch::Sender<Arc<Topology>>,
        ground: &mut Ground<'_>,
    ) {
        let (cluster, fall) = (self.asked.cluster.clone(), self.asked.health.fall);
        let (demand, stop, journal) = (self.demand.clone(), self.stop.clone(), self.journal.clone());
        let stats = self.counts.discovery.clone();
        let poller = move |sharers: &Sharers, learnt: BTreeSet<Scope>| {
            publish.send_if_modified(|topology| {
                let is_new = !learnt.is_subset(&topology.seen);
                if is_new {
                    Arc::make_mut(topology).seen.extend(learnt);
                }
                is_new
            });
            discovery::run(discovery::Options {
                client: client.clone(),
                cluster: cluster.clone(),
                datacenters: sharers.places.clone(),
                fall,
                initial: publish.borrow().as_ref().clone(),
                demand: demand.clone(),
                wake: wake.clone(),
                publish: publish.clone(),
                stop: stop.clone(),
                seed: fastrand::u64(..),
                stats: stats.clone(),
                journal: journal.clone(),
            })
        };
        let poller = again(poller, self.sharers.subscribe());
        let poller = named(poller, |zones| error_span!("discovery", zone = %zones), self.sharers.subscribe());
        spawn(ground.tasks, "a cluster's poller", &self.stop, poller);
    }

    fn probe(&self, publish: watch::Sender<Arc<Health>>, ground: &mut Ground<'_>) {
        let prober = health::run(health::Options {
            cluster: self.asked.cluster.clone(),
            identity: self.asked.proofs.identity.clone(),
            health: self.asked.health.clone(),
            topology: self.topology.clone(),
            publish,
            stats: self.counts.probes.clone(),
            journal: self.journal.clone(),
            stop: self.stop.clone(),
            seed: fastrand::u64(..),
        });
        let prober = async {
            if let Err(error) = prober.await {
                tracing::error!(%error, "a cluster's prober cannot start");
            }
        };
        let prober = named(prober, |zones| error_span!("health", zone = %zones), self.sharers.subscribe());
        spawn(ground.tasks, "a cluster's prober", &self.stop, prober);
    }
}

/// Runs a poller, and the next one from what it found whenever other places have names, or when others have seen more.
/// One ends before the next begins, so that the topology has one writer at any time.
async fn again<F: Future<Output = ()>>(
    poller: impl Fn(&Sharers, BTreeSet<Scope>) -> F,
    mut sharers: watch::Receiver<Sharers>,
) {
    let mut told = BTreeSet::new();
    loop {
        let now = sharers.borrow_and_update().clone();
        let learnt = now.seen.difference(&told).cloned().collect();
        tokio::select! {
            () = poller(&now, learnt) => return,
            Ok(_) = sharers.wait_for(|next| next.places != now.places || next.seen != now.seen) => {}
        }
        told = now.seen;
    }
}

/// Runs a task whose lines name the zones on its cluster, as they are at the time.
async fn named(task: impl Future<Output = ()>, span: fn(&str) -> Span, mut sharers: watch::Receiver<Sharers>) {
    let mut task = pin!(task);
    loop {
        let now = sharers.borrow_and_update().clone();
        tokio::select! {
            () = task.as_mut().instrument(span(&now.name())) => return,
            Ok(_) = sharers.wait_for(|next| next.zones != now.zones) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;

    #[test]
    fn what_only_answers_depend_on_makes_no_other_cluster() {
        let zone = |seeds: &[&str], change: &dyn Fn(&mut ZoneConfig)| {
            let mut zone = ZoneConfig::new(Name::from_ascii("z.test.").unwrap());
            zone.cluster.seeds = seeds.iter().map(|seed| Seed::Host((*seed).to_owned())).collect();
            change(&mut zone);
            Asked::of(&zone, Proofs::default())
        };
        let one = zone(&["a", "b"], &|_| {});
        assert_eq!(one, zone(&["b", "a", "b"], &|zone| zone.ttl += Duration::from_secs(1)));
        assert_eq!(one, zone(&["a", "b"], &|zone| zone.health.slow_start += Duration::from_secs(1)));
        assert_eq!(one, zone(&["a", "b"], &|zone| zone.preferred_datacenter = Some("dc1".into())));
        let others: [&dyn Fn(&mut ZoneConfig); 3] =
            [&|zone| zone.cluster.port += 1, &|zone| zone.health.rise += 1, &|zone| {
                _ = zone.cluster.datacenters.insert("dc1".into(), Vec::new())
            }];
        assert!(others.iter().all(|change| zone(&["a", "b"], change) != one) && zone(&["a"], &|_| {}) != one);
    }

    #[test]
    fn a_line_names_few_of_many_zones() {
        let mut sharers = Sharers::default();
        for number in 1..=6 {
            sharers.add(&ZoneConfig::new(Name::from_ascii(format!("z{number}.test.")).unwrap()));
            match number {
                1 => assert_eq!(sharers.name(), "z1.test"),
                2 => assert_eq!(sharers.name(), "z1.test, z2.test"),
                _ => {}
            }
        }
        assert_eq!(sharers.name(), "z1.test, z2.test, z3.test, z4.test and 2 more");
    }
}
