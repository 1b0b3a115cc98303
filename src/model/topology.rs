//! Which nodes exist and where: discovery's output.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{Node, Scope, Told};

/// Which nodes exist and where. Immutable once published; a change is a new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Every node known, by address.
    pub members: BTreeMap<IpAddr, Member>,
    /// Every scope that was seen with a node in it and not without one for long since, so that an incident never turns a
    /// name into NXDOMAIN.
    pub seen: BTreeSet<Scope>,
    /// Where this value comes from.
    pub source: Source,
    /// No node answered discovery lately: this is the last topology known, not a current one.
    pub stale: bool,
    /// Every server asked ignores `dc` and `rack` (older than ScyllaDB 2025.1): places are unknown, and every
    /// scope stands for the whole cluster.
    pub flat: bool,
}

/// One node of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node and its place.
    pub node: Node,
    /// Whether the cluster lists it now.
    pub listing: Listing,
    /// Read from the state file as "was serving when written"; only [`Source::Snapshot`] members carry it.
    pub served_before: bool,
    /// What the cluster's tables tell of it.
    pub told: Arc<Told>,
}

impl Member {
    /// A node that the cluster lists, and of which nothing else is known.
    pub fn new(node: Node) -> Self {
        Member { node, listing: Listing::Listed, served_before: false, told: Arc::default() }
    }
}

/// Whether the cluster still lists a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Its datacenter's answers list it: more than half of them when it joined, at least half since.
    Listed,
    /// The cluster stopped listing it. Kept only while nobody else of its rack or datacenter is listed, as the last
    /// known set; never eligible otherwise.
    Left,
}

/// Where a topology comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nothing is known yet.
    #[default]
    Nothing,
    /// The state file of an earlier run; discovery has not succeeded since.
    Snapshot,
    /// The cluster itself.
    Discovery,
}

impl Topology {
    /// Whether the node counts for the scope: in a flat topology every node counts for every scope.
    pub fn in_scope(&self, scope: &Scope, node: &Node) -> bool {
        self.flat || scope.contains(node)
    }

    /// The members of a scope, by address.
    pub fn members_of<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Member> {
        self.members.values().filter(move |member| self.in_scope(scope, &member.node))
    }

    /// Without scopes that are none of these datacenters and racks. Where names come from the configuration alone, one that
    /// is gone from it is gone; kept, it would be a scope that can never have a node. `None`: names are learnt, all stay.
    pub fn of_places(mut self, named: Option<&BTreeMap<Arc<str>, Vec<Arc<str>>>>) -> Self {
        if let Some(named) = named {
            self.seen.retain(|scope| is_named(scope, named));
        }
        self
    }

    /// Whether [`Topology::of_places`] would leave it as it is.
    pub fn is_of_places(&self, named: Option<&BTreeMap<Arc<str>, Vec<Arc<str>>>>) -> bool {
        named.is_none_or(|named| self.seen.iter().all(|scope| is_named(scope, named)))
    }

    /// The members that the cluster lists now.
    pub fn listed(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.listing == Listing::Listed)
    }
}

fn is_named(scope: &Scope, named: &BTreeMap<Arc<str>, Vec<Arc<str>>>) -> bool {
    match scope {
        Scope::Cluster => true,
        Scope::Datacenter(dc) => named.contains_key(dc),
        Scope::Rack(dc, rack) => named.get(dc).is_some_and(|racks| racks.contains(rack)),
    }
}
