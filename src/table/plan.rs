//! Every decision about one zone for one view.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{ScopeNames, names::scope_names_after};
use crate::{
    config::ZoneConfig,
    model::{ClusterView, Demand, Loan, Meter, Node, Seen, Source, Topology},
    plan::{Census, FULL_SHARE, Family, FamilyPlan, Ramps, ScopePlan, Verdicts, View, Views},
    zone::file::StaticZone,
};

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
    /// What clients see of the nodes; those of another zone are seen by its own rules.
    pub views: Arc<Views>,
    /// The same while nothing is borrowed.
    own_views: Arc<Views>,
    /// Instead of `scopes`, by view: where some nodes are seen in another address family than their own, and so count
    /// there.
    pub scopes_seen: BTreeMap<usize, Vec<ScopePlan>>,
    /// Why each node is in or out.
    pub verdicts: Verdicts,
    /// Nodes that are in, and do not have their full share yet.
    pub ramps: Ramps,
    /// The nodes of another zone, where some of them are answered because this zone has none.
    pub lent: Option<Arc<Loan>>,
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

/// When decisions may change though nothing else does: an override begins or ends, a drain comes nearer, a node's share
/// grows. It makes no difference between two
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
            None => {
                let before = previous.map(|previous| &*previous.names);
                Arc::new(scope_names_after(&source.config, &view.topology.seen, &source.statics, before))
            }
        };
        let verdicts = Verdicts::in_zone(&source.config.name(), view);
        let before = previous.map_or(&[][..], |previous| &previous.scopes);
        let own_views = previous.map_or_else(|| views(&source.config), |previous| previous.own_views.clone());
        let (ramps, step) = Ramps::of(view, source.config.health.slow_start);
        let census = Census::new(view, &verdicts, &ramps, &source.config, before);
        let loan = view.loan.as_ref().filter(|_| census.borrows());
        let before = previous.filter(|previous| previous.lent.as_ref() == loan && loan.is_some());
        let views = match (loan, before) {
            (None, _) => own_views.clone(),
            (Some(_), Some(before)) => before.views.clone(),
            (Some(loan), None) => Arc::new(own_views.divided_by(loan)),
        };
        let lender = |number: usize| views.get(number).map_or(0, |view| view.lender);
        let scopes = |census: &Census<'_>| -> Vec<ScopePlan> {
            names.chains.iter().map(|chain| ScopePlan::new(chain.clone(), census)).collect()
        };
        let seen = |number: &usize| {
            let family = |address| Family::of(views.seen(*number, address, &view.topology).address);
            let lent = |address| {
                let seen = loan.and_then(|loan| loan.seen(lender(*number), address));
                Family::of(seen.map_or(address, |seen| seen.address))
            };
            let before = previous.map_or(&[][..], |previous| previous.scopes_in(*number));
            scopes(&Census::by([&family, &lent], view, &verdicts, &ramps, &source.config, before))
        };
        let changed = (0..views.count()).filter(|number| {
            let changes_lent = loan.is_some_and(|loan| loan.changes_family(lender(*number)));
            changes_lent || views.changes_family(*number, &view.topology)
        });
        let scopes_seen: BTreeMap<usize, Vec<ScopePlan>> = changed.map(|number| (number, seen(&number))).collect();
        let changes = [view.overrides.next_change(view.now), step, census.next_change()];
        let scopes = scopes(&census);
        let lent = scopes.iter().chain(scopes_seen.values().flatten()).any(ScopePlan::is_lent);
        ZonePlan {
            lent: loan.filter(|_| lent).cloned(),
            scopes,
            scopes_seen,
            views,
            own_views,
            next_change: NextChange(changes.into_iter().flatten().min()),
            names,
            topology: view.topology.clone(),
            verdicts,
            ramps,
            remembered: view.topology.source == Source::Snapshot,
            stale: view.topology.stale,
            flat: view.topology.flat,
            panic: view.health.panic,
        }
    }

    /// What each chain of `names` answers in the view of this number.
    pub fn scopes_in(&self, view: usize) -> &[ScopePlan] {
        self.scopes_seen.get(&view).unwrap_or(&self.scopes)
    }

    /// How a node is seen in the view of this number: one lent by the rules of its own zone, even where this zone knows
    /// one of the same address.
    pub fn seen(&self, view: usize, node: IpAddr) -> Seen {
        let lent = self.lent.as_deref().and_then(|loan| loan.seen(self.views.get(view)?.lender, node));
        lent.unwrap_or_else(|| self.seen_own(view, node))
    }

    /// How a node of this zone's cluster is seen in the view of this number.
    pub fn seen_own(&self, view: usize, node: IpAddr) -> Seen {
        self.views.seen(view, node, &self.topology)
    }

    /// The nodes that the rules of a view leave out, so that its clients are given their own addresses. None where the
    /// view has no rules.
    pub fn unmapped(&self, view: usize) -> impl Iterator<Item = IpAddr> {
        let has_rules = self.views.get(view).is_some_and(View::has_rules);
        let nodes = self.topology.members.keys().copied();
        nodes.filter(move |node| has_rules && !self.seen(view, *node).is_mapped)
    }

    /// Every node known, by address.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.topology.members.values().map(|member| &member.node)
    }

    /// Whether all of a chain's answers are believed to be stale: remembered from an earlier run, or last known good.
    pub fn is_stale(&self, scope: &ScopePlan) -> bool {
        self.remembered && !scope.is_lent() || scope.is_stale()
    }

    /// The zone whose nodes a chain's answers of one family are, where they are not this zone's.
    pub fn lender(&self, family: &FamilyPlan) -> Option<&Loan> {
        self.lent.as_deref().filter(|_| family.is_lent())
    }

    /// TTL of a chain's answers of both families together, seconds: the least of those whose nodes are in them.
    pub fn ttl(&self, source: &ZoneSource, scope: &ScopePlan) -> u32 {
        let ttls = scope.best_families().filter_map(FamilyPlan::ttl).map(|ttl| ttl.seconds);
        ttls.min().unwrap_or_else(|| seconds(source.config.ttl))
    }

    /// TTL of a chain's answers of one family, seconds: a dead family does not shorten the other's.
    pub fn family_ttl(&self, source: &ZoneSource, family: &FamilyPlan) -> u32 {
        family.ttl().map_or_else(|| seconds(source.config.ttl), |ttl| ttl.seconds)
    }

    /// How much of its share a node leads, 0 to 1; `None` for one that is out.
    pub fn weight(&self, address: IpAddr) -> Option<f64> {
        let share = self.ramps.get(address).map_or(FULL_SHARE, |ramp| ramp.share);
        self.verdicts.is_eligible(address).then(|| f64::from(share) / f64::from(FULL_SHARE))
    }

    /// Whether the zone has anything to answer for its cluster.
    pub fn is_ready(&self) -> bool {
        self.any_family(|family| matches!(family, FamilyPlan::Serve { .. }))
    }

    /// Whether it has that of its own.
    pub fn has_own(&self) -> bool {
        self.any_family(|family| matches!(family, FamilyPlan::Serve { .. }) && !family.is_lent())
    }

    fn any_family(&self, is_such: impl Fn(&FamilyPlan) -> bool) -> bool {
        self.scopes.iter().any(|scope| [&scope.v4, &scope.v6].into_iter().any(&is_such))
    }
}

fn views(config: &ZoneConfig) -> Arc<Views> {
    Arc::new(Views::new(&config.address_map, config.cluster.scheme))
}

/// Whole seconds of a configured TTL; validation keeps it below a day.
pub(super) fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}
