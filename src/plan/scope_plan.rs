//! Which level of a fallback chain serves.

use std::net::IpAddr;

use super::{
    Census, Nodes, Ttl, Weights,
    census::{LastKnown, Live},
};
use crate::{
    config::ZoneConfig,
    model::{Node, Scope},
};

/// What one chain answers, for each address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePlan {
    /// The scopes tried in order; the first is what the name stands for. Never empty.
    pub chain: Vec<Scope>,
    /// A answers.
    pub v4: FamilyPlan,
    /// AAAA answers.
    pub v6: FamilyPlan,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What a chain answers for one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FamilyPlan {
    /// The scope has nodes, none of them of this family, whatever their health: NODATA. So has one whose nodes of
    /// this family never served while those of the other do.
    Absent,
    /// These nodes, from this level of the chain.
    Serve {
        /// Index into the chain; one beyond its last where the nodes are another zone's.
        level: usize,
        /// Never empty.
        nodes: Nodes,
        /// Live, the last known good set, or another zone's.
        serving: Serving,
        /// How often each of them leads; all alike, but for nodes that have just come up.
        weights: Weights,
        /// How long the answer may be kept.
        ttl: Ttl,
    },
    /// Nothing was ever known: SERVFAIL.
    Unready,
}

/// Whether served nodes are believed to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Eligible nodes.
    Live,
    /// The last known good set, because the chain has no eligible node: stale.
    LastKnown,
    /// Eligible nodes of another zone, because this one has none at all.
    Lent,
}

/// The chain of a scope when none is written out: rack, then its datacenter, then (where the zone allows it) all.
pub fn default_chain(zone: &ZoneConfig, scope: &Scope) -> Vec<Scope> {
    let mut chain = vec![scope.clone()];
    match scope {
        Scope::Cluster => {
            // The apex stands for the whole cluster, so preferring a datacenter there never loses the others.
            chain.clear();
            if let Some(dc) = &zone.preferred_datacenter {
                chain.extend(zone.preferred_rack.iter().map(|rack| Scope::Rack(dc.clone(), rack.clone())));
                chain.push(Scope::Datacenter(dc.clone()));
            }
            chain.push(Scope::Cluster);
            return chain;
        }
        Scope::Datacenter(_) => {}
        Scope::Rack(dc, _) => chain.push(Scope::Datacenter(dc.clone())),
    }
    if zone.datacenter_failover {
        chain.push(Scope::Cluster);
    }
    chain
}

impl ScopePlan {
    /// Walks the chain.
    pub fn new(chain: Vec<Scope>, census: &Census<'_>) -> Self {
        let plan = |family| FamilyPlan::new(&chain, family, census);
        let (mut v4, mut v6) = (plan(Family::V4), plan(Family::V6));
        leave_out_unready(&mut v4, &mut v6);
        for (family, plan) in [(Family::V4, &mut v4), (Family::V6, &mut v6)] {
            if *plan != FamilyPlan::Absent
                && let Some((nodes, ttl)) = chain.first().and_then(|scope| census.lent(scope, family))
            {
                let (level, serving, weights) = (chain.len(), Serving::Lent, Weights::default());
                *plan = FamilyPlan::Serve { level, nodes, serving, weights, ttl };
            }
        }
        leave_out_unready(&mut v4, &mut v6);
        ScopePlan { v4, v6, chain }
    }

    /// The scope whose nodes a family is answered with: that of its level, or that of the name where they are lent.
    pub fn source(&self, plan: &FamilyPlan) -> Option<&Scope> {
        let FamilyPlan::Serve { level, .. } = plan else { return None };
        self.chain.get(*level).or(self.chain.first())
    }

    /// Whether nodes of another zone are answered.
    pub fn is_lent(&self) -> bool {
        [&self.v4, &self.v6].into_iter().any(FamilyPlan::is_lent)
    }

    /// The plan of one family.
    pub fn family(&self, family: Family) -> &FamilyPlan {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// All nodes served, of both families, by address.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        [&self.v4, &self.v6].into_iter().flat_map(FamilyPlan::nodes)
    }

    /// The nodes to name where both families share an answer: the live ones, or, with none left, the last known good.
    pub fn best_nodes(&self) -> impl Iterator<Item = &Node> {
        self.best_families().flat_map(FamilyPlan::nodes)
    }

    /// The families of [`ScopePlan::best_nodes`].
    pub fn best_families(&self) -> impl Iterator<Item = &FamilyPlan> {
        let all_stale = self.is_stale();
        [&self.v4, &self.v6].into_iter().filter(move |family| all_stale || !family.is_stale())
    }

    /// Whether both are answered by the same nodes from the same levels; how long and how often each is left out.
    pub fn is_served_as(&self, other: &ScopePlan) -> bool {
        self.chain == other.chain && self.v4.is_served_as(&other.v4) && self.v6.is_served_as(&other.v6)
    }

    /// Whether only last known good nodes are answered.
    pub fn is_stale(&self) -> bool {
        let families = [&self.v4, &self.v6];
        families.iter().any(|family| family.is_stale())
            && families.iter().all(|family| family.is_stale() || !matches!(family, FamilyPlan::Serve { .. }))
    }
}

impl FamilyPlan {
    /// The nodes served.
    pub fn nodes(&self) -> &[Node] {
        if let FamilyPlan::Serve { nodes, .. } = self { nodes } else { &[] }
    }

    /// How long its answer may be kept; `None` where it has none.
    pub fn ttl(&self) -> Option<&Ttl> {
        if let FamilyPlan::Serve { ttl, .. } = self { Some(ttl) } else { None }
    }

    /// Whether the last known good set is answered.
    pub fn is_stale(&self) -> bool {
        matches!(self, FamilyPlan::Serve { serving: Serving::LastKnown, .. })
    }

    /// Whether another zone's nodes are answered.
    pub fn is_lent(&self) -> bool {
        matches!(self, FamilyPlan::Serve { serving: Serving::Lent, .. })
    }

    fn is_served_as(&self, other: &FamilyPlan) -> bool {
        match (self, other) {
            (
                FamilyPlan::Serve { level, nodes, serving, .. },
                FamilyPlan::Serve { level: other_level, nodes: others, serving: how, .. },
            ) => (level, nodes, serving) == (other_level, others, how),
            (FamilyPlan::Absent, FamilyPlan::Absent) | (FamilyPlan::Unready, FamilyPlan::Unready) => true,
            _ => false,
        }
    }

    fn new(chain: &[Scope], family: Family, census: &Census<'_>) -> Self {
        // A scope without any node is what its first populated fallback is; only then does its family matter.
        let Some(head) = chain.iter().position(|scope| census.has_members(scope)) else {
            return FamilyPlan::Unready;
        };
        // Which families a scope has is a fact of its topology, never of its health: a rack of IPv4 nodes must not
        // send its IPv6 clients to another rack, and a dead IPv6 node must not turn AAAA into NODATA.
        if !census.has_family(&chain[head], family) {
            return FamilyPlan::Absent;
        }
        let levels = || chain.iter().enumerate().skip(head);
        if let Some((level, live)) = levels().find_map(|(level, scope)| Some((level, census.live(scope, family)?))) {
            let Live { nodes, weights, ttl } = live;
            return FamilyPlan::Serve { level, nodes, serving: Serving::Live, weights, ttl };
        }
        let known: Vec<(usize, LastKnown)> =
            levels().filter_map(|(level, scope)| Some((level, census.last_known(scope, family)?))).collect();
        // The set that served last is the best known, at whatever level; of those lost in one incident, the first. A
        // rack that died long before the rest of its datacenter must not be dug out again for it.
        let latest = known.iter().map(|(_, known)| known.served).max();
        let is_with = |known: &LastKnown| latest.is_some_and(|latest| known.served.is_with(latest, census.window()));
        match known.into_iter().find(|(_, known)| is_with(known)) {
            Some((level, LastKnown { nodes, ttl, .. })) => {
                FamilyPlan::Serve { level, nodes, serving: Serving::LastKnown, weights: Weights::default(), ttl }
            }
            None => FamilyPlan::Unready,
        }
    }
}

/// A first node of a family that is joining, or that we cannot reach at all (a host without IPv6), has never been part of
/// the answers: while the other family serves it must not turn NODATA into SERVFAIL.
fn leave_out_unready(v4: &mut FamilyPlan, v6: &mut FamilyPlan) {
    match (&*v4, &*v6) {
        (FamilyPlan::Serve { .. }, FamilyPlan::Unready) => *v6 = FamilyPlan::Absent,
        (FamilyPlan::Unready, FamilyPlan::Serve { .. }) => *v4 = FamilyPlan::Absent,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use hickory_proto::rr::Name;

    use super::{
        super::{
            Ramps, Verdicts,
            eligibility::tests::{down, up, view, with},
        },
        *,
    };
    use crate::model::{ClusterView, Failure, Leaving, Listing, NodeHealth, Told};

    fn plan(chain: &[&str], view: &ClusterView) -> ScopePlan {
        let chain = chain.iter().map(|scope| scope.parse().unwrap()).collect();
        // One incident is what happened within four seconds.
        let zone = ZoneConfig::new(Name::root());
        ScopePlan::new(chain, &Census::new(view, &Verdicts::of(view), &Ramps::default(), &zone, &[]))
    }

    /// `level: addresses`, with `~` for the last known good set.
    fn told(plan: &FamilyPlan) -> String {
        match plan {
            FamilyPlan::Absent => "absent".to_owned(),
            FamilyPlan::Unready => "unready".to_owned(),
            FamilyPlan::Serve { level, nodes, serving, .. } => {
                let mark = match serving {
                    Serving::Live => "",
                    Serving::LastKnown => "~",
                    Serving::Lent => "+",
                };
                let nodes: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
                format!("{mark}{level}: {}", nodes.join(" "))
            }
        }
    }

    fn gone(seconds: u64) -> NodeHealth {
        NodeHealth {
            served_until: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + seconds)),
            ..down(Failure::Refused)
        }
    }

    #[test]
    fn a_chain_serves_from_its_first_level_with_an_eligible_node() {
        let chain = ["dc1/r1", "dc1", "cluster"];
        let nodes = |one: NodeHealth, two: NodeHealth, three: NodeHealth| {
            view(&[("10.0.0.1", "dc1/r1", one), ("10.0.0.2", "dc1/r2", two), ("10.0.0.3", "dc2/r1", three)])
        };
        assert_eq!(told(&plan(&chain, &nodes(up(), up(), up())).v4), "0: 10.0.0.1");
        assert_eq!(told(&plan(&chain, &nodes(gone(0), up(), up())).v4), "1: 10.0.0.2");
        assert_eq!(told(&plan(&chain, &nodes(gone(0), gone(0), up())).v4), "2: 10.0.0.3");
        assert_eq!(told(&plan(&chain, &nodes(gone(0), gone(0), gone(0))).v4), "~0: 10.0.0.1");
        assert_eq!(told(&plan(&["dc1"], &nodes(gone(0), gone(0), up())).v4), "~0: 10.0.0.1 10.0.0.2");
    }

    #[test]
    fn the_family_of_a_scope_is_a_fact_of_its_topology() {
        let view_of = |v6: NodeHealth| {
            view(&[("10.0.0.1", "dc1/r1", up()), ("fd00::1", "dc1/r2", v6), ("fd00::2", "dc1/r3", up())])
        };
        // A rack of IPv4 nodes has no AAAA, although its datacenter does.
        assert_eq!(told(&plan(&["dc1/r1", "dc1"], &view_of(up())).v6), "absent");
        // A dead IPv6 node falls back; it never becomes NODATA.
        assert_eq!(told(&plan(&["dc1/r2", "dc1"], &view_of(gone(0))).v6), "1: fd00::2");
        // A configured rack that never had a node is what its datacenter is.
        assert_eq!(told(&plan(&["dc1/r9", "dc1"], &view_of(up())).v4), "1: 10.0.0.1");
    }

    #[test]
    fn nothing_ever_known_is_unready_and_never_an_empty_answer() {
        assert_eq!(told(&plan(&["cluster"], &ClusterView::default()).v4), "unready");
        let never_answered = view(&[("10.0.0.1", "dc1/r1", NodeHealth::default())]);
        assert_eq!(told(&plan(&["cluster"], &never_answered).v4), "unready");
        assert_eq!(told(&plan(&["cluster"], &never_answered).v6), "absent");
    }

    #[test]
    fn the_last_known_good_set_is_what_one_incident_took() {
        // .1 died long before; .2 and .3 went together.
        let lost = view(&[
            ("10.0.0.1", "dc1/r1", gone(0)),
            ("10.0.0.2", "dc1/r1", gone(60)),
            ("10.0.0.3", "dc1/r1", gone(62)),
        ]);
        assert_eq!(told(&plan(&["cluster"], &lost).v4), "~0: 10.0.0.2 10.0.0.3");
    }

    #[test]
    fn a_datacenter_that_left_but_still_serves_is_its_own_last_known_good() {
        let mut left = view(&[("10.0.0.1", "dc1/r1", up()), ("10.0.0.2", "dc1/r1", gone(0))]);
        for member in Arc::make_mut(&mut left.topology).members.values_mut() {
            member.listing = Listing::Left;
        }
        assert_eq!(told(&plan(&["dc1"], &left).v4), "~0: 10.0.0.1");
    }

    #[test]
    fn a_snapshot_serves_the_nodes_that_served() {
        let mut old =
            view(&[("10.0.0.1", "dc1/r1", NodeHealth::default()), ("10.0.0.2", "dc1/r1", NodeHealth::default())]);
        let first: IpAddr = "10.0.0.1".parse().unwrap();
        Arc::make_mut(&mut old.topology).members.get_mut(&first).unwrap().served_before = true;
        assert_eq!(told(&plan(&["cluster"], &old).v4), "~0: 10.0.0.1");
    }

    #[test]
    fn a_flat_cluster_is_one_scope() {
        let mut flat = view(&[("10.0.0.1", "dc1/r1", up()), ("10.0.0.2", "dc1/r1", up())]);
        Arc::make_mut(&mut flat.topology).flat = true;
        assert_eq!(told(&plan(&["dc7/r7"], &flat).v4), "0: 10.0.0.1 10.0.0.2");
    }

    #[test]
    fn the_last_known_good_set_is_the_one_that_served_last_anywhere_in_the_chain() {
        let lost = |rest: u64| {
            view(&[
                ("10.0.0.1", "dc1/r1", gone(0)),
                ("10.0.0.2", "dc1/r2", gone(rest)),
                ("10.0.0.3", "dc1/r2", gone(rest + 2)),
            ])
        };
        // The rack had been down for an hour, and its name answered with the rest of the datacenter.
        assert_eq!(told(&plan(&["dc1/r1", "dc1"], &lost(3600)).v4), "~1: 10.0.0.2 10.0.0.3");
        // One incident took both.
        assert_eq!(told(&plan(&["dc1/r1", "dc1"], &lost(1)).v4), "~0: 10.0.0.1");
    }

    #[test]
    fn a_family_that_never_served_is_absent_while_the_other_serves() {
        let joining =
            |v4: NodeHealth| view(&[("10.0.0.1", "dc1/r1", v4), ("fd00::1", "dc1/r1", NodeHealth::default())]);
        for v4 in [up(), gone(0)] {
            assert_eq!(told(&plan(&["dc1/r1", "dc1"], &joining(v4)).v6), "absent");
        }
    }

    #[test]
    fn what_is_drained_falls_back_and_comes_last_and_never_empties_an_answer() {
        let chain = ["dc1/r1", "dc1"];
        let nodes = |one: NodeHealth, two: NodeHealth, three: NodeHealth| {
            view(&[("10.0.0.1", "dc1/r1", one), ("10.0.0.2", "dc1/r1", two), ("10.0.0.3", "dc1/r2", three)])
        };
        let told = |view: &ClusterView, overrides: &[&str]| told(&plan(&chain, &with(view, overrides)).v4);
        let all_up = nodes(up(), up(), up());
        assert_eq!(told(&all_up, &["drain 10.0.0.1"]), "0: 10.0.0.2");
        assert_eq!(told(&all_up, &["drain dc1/r1"]), "1: 10.0.0.3");
        assert_eq!(told(&all_up, &["drain dc1", "force-up 10.0.0.3"]), "1: 10.0.0.3");
        // Nothing else is left: those that serve are dealt, drained as they are.
        assert_eq!(told(&all_up, &["drain dc1"]), "~0: 10.0.0.1 10.0.0.2");
        let last_died = nodes(up(), gone(0), gone(0));
        assert_eq!(told(&last_died, &["drain 10.0.0.1"]), "~0: 10.0.0.1");
        // One that was stopped after it had been drained is not what served last, whenever it was stopped.
        let stopped = nodes(gone(9), gone(8), gone(0));
        assert_eq!(told(&stopped, &["drain 10.0.0.1"]), "~0: 10.0.0.2");
        assert_eq!(told(&stopped, &["drain dc1/r1"]), "~1: 10.0.0.3");
        assert_eq!(told(&stopped, &["drain dc1"]), "~0: 10.0.0.1 10.0.0.2");
    }

    #[test]
    fn what_is_leaving_comes_last_and_never_empties_an_answer() {
        let nodes = |leaving: &[usize]| {
            let mut view =
                view(&[("10.0.0.1", "dc1/r1", up()), ("10.0.0.2", "dc1/r1", up()), ("10.0.0.3", "dc1/r2", gone(0))]);
            let members = Arc::make_mut(&mut view.topology).members.values_mut().enumerate();
            for (_, member) in members.filter(|(index, _)| leaving.contains(index)) {
                member.told = Arc::new(Told { leaving: Some(Leaving::Decommissioning), ..Told::default() });
            }
            view
        };
        let told = |leaving: &[usize]| told(&plan(&["dc1"], &nodes(leaving)).v4);
        assert_eq!(told(&[]), "0: 10.0.0.1 10.0.0.2");
        assert_eq!(told(&[0]), "0: 10.0.0.2");
        assert_eq!(told(&[0, 1]), "~0: 10.0.0.1 10.0.0.2", "they serve until they have left");
        assert_eq!(told(&[0, 1, 2]), "~0: 10.0.0.1 10.0.0.2");
    }

    #[test]
    fn a_node_forced_up_is_live_though_it_never_answered() {
        let dead = view(&[("10.0.0.1", "dc1/r1", NodeHealth::default()), ("10.0.0.2", "dc1/r1", gone(0))]);
        assert_eq!(told(&plan(&["dc1"], &with(&dead, &["force-up 10.0.0.1"])).v4), "0: 10.0.0.1");
    }
}
