//! Every decision about one zone for one view.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{ScopeNames, scope_names};
use crate::{
    config::ZoneConfig,
    model::{ClusterView, Demand, Meter, Node, Source, Topology},
    plan::{Census, FamilyPlan, ScopePlan, Verdicts},
    zone::file::StaticZone,
};

/// TTL of answers believed to be stale, seconds: whoever gets one should ask again soon.
const STALE_TTL: u32 = 1;

/// What of a zone does not change with its cluster.
#[derive(Clone, Debug)]
pub struct ZoneSource {
    /// The zone's configuration.
    pub config: ZoneConfig,
    /// Its zone file's records.
    pub statics: StaticZone,
    /// Addresses the server listens on: the glue of a name server that no zone file names.
    pub listen: Vec<SocketAddr>,
    /// Told of every query for the zone.
    pub demand: Arc<Demand>,
    /// Under which numbers queries for it are counted. Given by name, so that they stay over reloads.
    pub meter: Arc<Meter>,
}

/// Every decision about one zone for one view. Two plans that are equal compile to the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonePlan {
    /// Which name stands for which chain.
    pub names: Arc<ScopeNames>,
    /// What each chain of `names` answers, in the same order.
    pub scopes: Vec<ScopePlan>,
    /// Why each node is in or out.
    pub verdicts: Verdicts,
    /// Every node known, and every scope ever seen.
    pub topology: Arc<Topology>,
    /// The topology is from the state file: discovery has not succeeded since the start.
    pub remembered: bool,
    /// No node answers discovery: the topology is the last one known.
    pub stale: bool,
    /// Every server ignores datacenters and racks: each scope is the whole cluster.
    pub flat: bool,
    /// The prober is distrusted.
    pub panic: bool,
    /// When the same view may lead to other decisions.
    pub next_change: NextChange,
}

/// When decisions may change though nothing else does: an override begins or ends. It makes no difference between two
/// plans, which answer alike until then.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextChange(pub Option<SystemTime>);

impl PartialEq for NextChange {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for NextChange {}

impl ZonePlan {
    /// Decides everything. A zone without seeds has no cluster, hence no scopes.
    pub fn new(source: &ZoneSource, view: &ClusterView) -> Self {
        Self::after(None, source, view)
    }

    /// The same decisions, taking over from a plan of the same zone and source whatever is the same in both: it is
    /// then made and compared in no time.
    pub fn after(previous: Option<&ZonePlan>, source: &ZoneSource, view: &ClusterView) -> Self {
        let names = match previous.filter(|previous| previous.topology.seen == view.topology.seen) {
            Some(previous) => previous.names.clone(),
            None if source.config.cluster.seeds.is_empty() => Arc::default(),
            None => Arc::new(scope_names(&source.config, &view.topology.seen, &source.statics)),
        };
        let verdicts = Verdicts::in_zone(&source.config.name(), view);
        let before = previous.map_or(&[][..], |previous| &previous.scopes);
        let census = Census::new(view, &verdicts, incident_window(&source.config), before);
        let scopes = names.chains.iter().map(|chain| ScopePlan::new(chain.clone(), &census)).collect();
        ZonePlan {
            names,
            scopes,
            topology: view.topology.clone(),
            verdicts,
            remembered: view.topology.source == Source::Snapshot,
            stale: view.topology.stale,
            flat: view.topology.flat,
            panic: view.health.panic,
            next_change: NextChange(view.overrides.next_change(view.now)),
        }
    }

    /// Every node known, by address.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.topology.members.values().map(|member| &member.node)
    }

    /// Whether all of a chain's answers are believed to be stale: remembered from an earlier run, or last known good.
    pub fn is_stale(&self, scope: &ScopePlan) -> bool {
        self.remembered || scope.is_stale()
    }

    /// TTL of a chain's answers of both families together, seconds.
    pub fn ttl(&self, source: &ZoneSource, scope: &ScopePlan) -> u32 {
        ttl(source, self.is_stale(scope))
    }

    /// TTL of a chain's answers of one family, seconds: a dead family does not shorten the other's.
    pub fn family_ttl(&self, source: &ZoneSource, family: &FamilyPlan) -> u32 {
        ttl(source, self.remembered || family.is_stale())
    }

    /// Whether the zone has anything to answer for its cluster.
    pub fn is_ready(&self) -> bool {
        self.scopes
            .iter()
            .any(|scope| [&scope.v4, &scope.v6].into_iter().any(|family| matches!(family, FamilyPlan::Serve { .. })))
    }
}

fn ttl(source: &ZoneSource, is_stale: bool) -> u32 {
    let ttl = seconds(source.config.ttl);
    if is_stale { ttl.min(STALE_TTL) } else { ttl }
}

/// Whole seconds of a configured TTL; validation keeps it below a day.
pub(super) fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}

/// How far apart probes may find the nodes of one and the same incident: each needs `fall` probes, each of which may
/// start an interval (and its jitter) late and take its whole time-out.
fn incident_window(zone: &ZoneConfig) -> Duration {
    let health = &zone.health;
    (health.interval.mul_f32(1.25) + health.timeout) * health.fall + Duration::from_secs(1)
}
