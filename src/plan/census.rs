//! The members of every scope, gathered in one pass over the topology for all chains that are walked.

use std::{
    cell::OnceCell,
    net::IpAddr,
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustc_hash::FxHashMap;

use super::{
    Family, FamilyPlan, Ramps, ScopePlan, Verdict, Verdicts, Weights,
    lender::Lender,
    ttl::{Ttl, Ttls},
};
use crate::{
    config::ZoneConfig,
    model::{ClusterView, Health, Member, Node, NodeState, Scope},
};

/// Served nodes, by address. One value for all chains served from the same scope and, where nothing changed, for the
/// plan before and the next: so they compare by pointer first.
#[derive(Clone, Debug)]
pub struct Nodes(Arc<[Node]>);

impl Deref for Nodes {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        &self.0
    }
}

impl PartialEq for Nodes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Nodes {}

impl FromIterator<Node> for Nodes {
    fn from_iter<I: IntoIterator<Item = Node>>(nodes: I) -> Self {
        Nodes(nodes.into_iter().collect())
    }
}

/// Datacenter and rack of a scope; neither for the cluster.
pub(super) type Place<'a> = (Option<&'a str>, Option<&'a str>);

/// The members of every scope by address family, and which of them may be dealt.
pub struct Census<'a> {
    health: &'a Health,
    verdicts: &'a Verdicts,
    flat: bool,
    window: Duration,
    ramps: &'a Ramps,
    ttls: Ttls<'a>,
    groups: FxHashMap<Place<'a>, [Group<'a>; 2]>,
    /// Whom the zone borrows from, where it has nothing.
    lender: Option<Lender<'a>>,
    /// What the plan before served from each scope.
    before: FxHashMap<(Place<'a>, Family), &'a Nodes>,
}

/// The members of one scope and family.
#[derive(Default)]
struct Group<'a> {
    members: Vec<&'a Member>,
    eligible: Vec<&'a Node>,
    live: OnceCell<Option<Live>>,
    last_known: OnceCell<Option<LastKnown>>,
}

impl<'a> Census<'a> {
    /// Gathers the members of `view`. `before`: the plans whose lists of nodes are taken over where they are the same.
    pub fn new(
        view: &'a ClusterView,
        verdicts: &'a Verdicts,
        ramps: &'a Ramps,
        zone: &ZoneConfig,
        before: &'a [ScopePlan],
    ) -> Self {
        Self::by([&Family::of, &Family::of], view, verdicts, ramps, zone, before)
    }

    /// The same with each node counted in the family that is told of its address: of the zone's own, and of those lent.
    pub fn by(
        [family_of, lent_family_of]: [&dyn Fn(IpAddr) -> Family; 2],
        view: &'a ClusterView,
        verdicts: &'a Verdicts,
        ramps: &'a Ramps,
        zone: &ZoneConfig,
        before: &'a [ScopePlan],
    ) -> Self {
        let mut groups: FxHashMap<Place<'a>, [Group<'a>; 2]> = FxHashMap::default();
        for (member, verdict) in view.topology.members.values().zip(verdicts.iter()) {
            let (node, family) = (&member.node, family_of(member.node.address));
            let mut count = |place| {
                let group = &mut groups.entry(place).or_default()[family as usize];
                group.members.push(member);
                if verdict.is_eligible() {
                    group.eligible.push(node);
                }
            };
            count((None, None));
            if let Some(dc) = node.datacenter.as_deref() {
                count((Some(dc), None));
                if let Some(rack) = node.rack.as_deref() {
                    count((Some(dc), Some(rack)));
                }
            }
        }
        let mut served = FxHashMap::default();
        for scope in before {
            for family in [Family::V4, Family::V6] {
                let plan = scope.family(family);
                if let (FamilyPlan::Serve { nodes, .. }, Some(from)) = (plan, scope.source(plan)) {
                    served.insert((place(from), family), nodes);
                }
            }
        }
        Census {
            health: &view.health,
            verdicts,
            flat: view.topology.flat,
            window: incident_window(zone),
            ramps,
            ttls: Ttls::new(view, zone),
            groups,
            lender: Lender::to(view, verdicts, lent_family_of),
            before: served,
        }
    }

    /// When the same members may be answered otherwise: a drain has come nearer.
    pub fn next_change(&self) -> Option<SystemTime> {
        self.ttls.next_change()
    }

    /// Whether the zone has nothing and somebody lends.
    pub fn borrows(&self) -> bool {
        self.lender.is_some()
    }

    /// How far apart nodes of one incident may have served last.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Whether the scope has any member, of whatever family.
    pub(super) fn has_members(&self, scope: &Scope) -> bool {
        [Family::V4, Family::V6].into_iter().any(|family| self.has_family(scope, family))
    }

    /// Whether the scope has a member of the family.
    pub(super) fn has_family(&self, scope: &Scope, family: Family) -> bool {
        self.group(scope, family).is_some_and(|group| !group.members.is_empty())
    }

    /// The eligible nodes of a scope; `None` where there are none.
    pub(super) fn live(&self, scope: &Scope, family: Family) -> Option<Live> {
        let group = self.group(scope, family)?;
        let found = || {
            let nodes = (!group.eligible.is_empty()).then(|| self.nodes(scope, family, &group.eligible))?;
            let weights = self.ramps.weights(nodes.iter().map(|node| node.address));
            Some(Live { weights, ttl: self.ttls.live(&nodes), nodes })
        };
        group.live.get_or_init(found).clone()
    }

    /// Of a scope none of whose nodes is eligible: those that served last. `None` where none ever did.
    pub(super) fn last_known(&self, scope: &Scope, family: Family) -> Option<LastKnown> {
        let group = self.group(scope, family)?;
        let found = || {
            let known: Vec<(Served, &Node)> =
                group.members.iter().filter_map(|member| Some((self.served(member)?, &member.node))).collect();
            let latest = known.iter().map(|(served, _)| *served).max()?;
            let last: Vec<&Node> = known
                .into_iter()
                .filter(|(served, _)| served.is_with(latest, self.window))
                .map(|(_, node)| node)
                .collect();
            Some(LastKnown { served: latest, nodes: self.nodes(scope, family, &last), ttl: self.ttls.stale() })
        };
        group.last_known.get_or_init(found).clone()
    }

    /// What a scope is lent. `None` where the zone borrows nothing, or nothing of the family, or has nodes of the other
    /// family only: nobody is given addresses of one that the zone's clients never got.
    pub(super) fn lent(&self, scope: &Scope, family: Family) -> Option<(Nodes, Ttl)> {
        let is_known = self.has_family(&Scope::Cluster, family) || !self.has_members(&Scope::Cluster);
        let lender = self.lender.as_ref().filter(|_| is_known)?;
        let nodes = lender.nodes(scope, family);
        (!nodes.is_empty()).then(|| (self.nodes(scope, family, nodes), self.ttls.lent(lender.zone())))
    }

    /// When a member that is not eligible served.
    fn served(&self, member: &Member) -> Option<Served> {
        let health = self.health.get(member.node.address);
        let is_up = health.is_some_and(|health| health.state == NodeState::Up);
        let until = match (is_up || self.health.disabled, health.and_then(|health| health.served_until)) {
            (true, _) => return Some(Served::Still),
            (false, Some(until)) => until,
            (false, None) if member.served_before => SystemTime::UNIX_EPOCH,
            (false, None) => return None,
        };
        let verdict = self.verdicts.get(member.node.address);
        let is_drained = matches!(verdict, Some(Verdict::Drained(_) | Verdict::Leaving(_)));
        Some(if is_drained { Served::BeforeDrained } else { Served::Until(until) })
    }

    /// In a flat topology every node counts for every scope.
    fn group<'s>(&'s self, scope: &'s Scope, family: Family) -> Option<&'s Group<'a>> {
        let place = if self.flat { (None, None) } else { place(scope) };
        self.groups.get(&place).map(|families| &families[family as usize])
    }

    /// The list of the plan before where it is the same.
    fn nodes(&self, scope: &Scope, family: Family, nodes: &[&Node]) -> Nodes {
        let before = self.before.get(&(place(scope), family));
        let same = before.filter(|before| before.iter().eq(nodes.iter().copied()));
        same.map_or_else(|| nodes.iter().copied().cloned().collect(), |same| (*same).clone())
    }
}

pub(super) fn place(scope: &Scope) -> Place<'_> {
    match scope {
        Scope::Cluster => (None, None),
        Scope::Datacenter(dc) => (Some(dc), None),
        Scope::Rack(dc, rack) => (Some(dc), Some(rack)),
    }
}

/// How far apart probes may find the nodes of one and the same incident: each needs `fall` probes, each of which may
/// start an interval (and its jitter) late and take its whole time-out. Nodes that served until this much before the last
/// one that served count as one "last known good" set.
pub fn incident_window(zone: &ZoneConfig) -> Duration {
    let health = &zone.health;
    (health.interval.mul_f32(1.25) + health.timeout) * health.fall + Duration::from_secs(1)
}

/// The eligible nodes of one level.
#[derive(Clone)]
pub(super) struct Live {
    /// Never empty.
    pub(super) nodes: Nodes,
    pub(super) weights: Weights,
    pub(super) ttl: Ttl,
}

/// When a node that is not eligible served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Served {
    /// At some time, and now it is drained or leaving, and not known to serve: somebody is at work on it. Better than
    /// nothing.
    BeforeDrained,
    /// Until then.
    Until(SystemTime),
    /// It serves, but the cluster lists it no longer, or it is drained or leaving: the best there is.
    Still,
}

impl Served {
    /// Whether one incident took both.
    pub(super) fn is_with(self, latest: Served, window: Duration) -> bool {
        match (self, latest) {
            (Served::Until(until), Served::Until(latest)) => until + window >= latest,
            (served, latest) => served == latest,
        }
    }
}

/// The last known good set of one level.
#[derive(Clone)]
pub(super) struct LastKnown {
    /// When the one that served last did.
    pub(super) served: Served,
    /// Never empty.
    pub(super) nodes: Nodes,
    pub(super) ttl: Ttl,
}
