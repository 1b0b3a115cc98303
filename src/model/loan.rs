//! What a zone may borrow from another.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Node, Prefix};

/// The nodes of another zone's cluster that serve, for a zone that has none. Immutable; a change is a new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loan {
    /// The zone that lends, without trailing dot.
    pub zone: String,
    /// The port of its nodes, but of those that are seen at another.
    pub port: u16,
    /// Its nodes that serve, in the order of their addresses: its own, never ones that it borrows itself.
    pub nodes: Vec<Node>,
    /// Nothing is known of their places: each counts for every scope.
    pub flat: bool,
    /// What clients see of them, by the rules of the zone that lends: the same addresses mean other nodes in the
    /// networks of the zone that borrows. The first is everybody's; none where nothing is mapped.
    pub views: Vec<LentView>,
}

/// What some clients see of nodes lent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LentView {
    /// Whose view it is; none for everybody's.
    pub clients: Vec<Prefix>,
    /// The nodes that a rule maps.
    pub seen: BTreeMap<IpAddr, Seen>,
}

/// How a node is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where clients connect to.
    pub address: IpAddr,
    /// And at which port, where it is not the cluster's.
    pub port: Option<u16>,
    /// Whether a rule says so; otherwise it is the node's own address.
    pub is_mapped: bool,
}

impl Loan {
    /// How a node is seen in the lender's view of this number, with its port; `None` where it is not lent.
    pub fn seen(&self, view: usize, node: IpAddr) -> Option<Seen> {
        self.nodes.binary_search_by_key(&node, |node| node.address).ok()?;
        let mapped = self.views.get(view).and_then(|view| view.seen.get(&node)).copied();
        let seen = mapped.unwrap_or(Seen { address: node, port: None, is_mapped: false });
        Some(Seen { port: seen.port.or(Some(self.port)), ..seen })
    }

    /// Whether a node is seen in another address family than its own.
    pub fn changes_family(&self, view: usize) -> bool {
        let changes = |(own, seen): (&IpAddr, &Seen)| own.is_ipv4() != seen.address.is_ipv4();
        self.views.get(view).is_some_and(|view| view.seen.iter().any(changes))
    }
}
