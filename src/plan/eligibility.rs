//! Who may be answered, and why the others may not.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use crate::model::{ClusterView, Failure, Listing, Member, NodeHealth, NodeState};

/// Why one node is in or out of the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In: its own port answers.
    Up,
    /// In: probing is disabled and the cluster lists it.
    Listed,
    /// In: silent, but so are more than the panic threshold of the zone's members; the prober is distrusted.
    Distrusted(Failure),
    /// Out: has not answered enough probes of ours yet.
    Joining(Option<Failure>),
    /// Out: failed its probes.
    Down(Option<Failure>),
    /// Out: the cluster stopped listing it.
    Left,
    /// Out: known from the state file only; discovery has not succeeded since the start.
    Remembered,
}

impl Verdict {
    /// Whether the node may be dealt.
    pub fn is_eligible(&self) -> bool {
        matches!(self, Verdict::Up | Verdict::Listed | Verdict::Distrusted(_))
    }

    fn of(member: &Member, health: Option<&NodeHealth>, view: &ClusterView) -> Verdict {
        if member.listing == Listing::Left {
            return Verdict::Left;
        }
        if view.health.disabled {
            return Verdict::Listed;
        }
        // One never probed is joining.
        let (state, failure) = health.map_or((NodeState::Joining, &None), |health| (health.state, &health.failure));
        match (state, failure) {
            (NodeState::Up, _) => Verdict::Up,
            (_, Some(failure)) if view.health.panic && failure.is_silence() => Verdict::Distrusted(failure.clone()),
            (NodeState::Down, failure) => Verdict::Down(failure.clone()),
            (NodeState::Joining, None) if member.served_before => Verdict::Remembered,
            (NodeState::Joining, failure) => Verdict::Joining(failure.clone()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |f: &mut fmt::Formatter<'_>, word: &str, failure: &Option<Failure>| match failure {
            Some(failure) => write!(f, "{word}: {failure}"),
            None => f.write_str(word),
        };
        match self {
            Verdict::Up => f.write_str("up"),
            Verdict::Listed => f.write_str("listed, not probed"),
            Verdict::Distrusted(failure) => write!(f, "{failure}, but the prober is distrusted"),
            Verdict::Joining(failure) => because(f, "joining", failure),
            Verdict::Down(failure) => because(f, "down", failure),
            Verdict::Left => f.write_str("no longer listed by the cluster"),
            Verdict::Remembered => f.write_str("remembered from the state file"),
        }
    }
}

/// The verdict on every member of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(BTreeMap<IpAddr, Verdict>);

impl Verdicts {
    /// Judges every member.
    pub fn of(view: &ClusterView) -> Self {
        let judge =
            |(address, member): (&IpAddr, &Member)| (*address, Verdict::of(member, view.health.get(*address), view));
        Verdicts(view.topology.members.iter().map(judge).collect())
    }

    /// All verdicts, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Verdict> {
        self.0.values()
    }

    /// The verdict on a member; `None` for an address that is none.
    pub fn get(&self, address: IpAddr) -> Option<&Verdict> {
        self.0.get(&address)
    }

    /// Whether the member may be dealt.
    pub fn is_eligible(&self, address: IpAddr) -> bool {
        self.get(address).is_some_and(Verdict::is_eligible)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Health, Node, Scope, Source, Topology};

    /// A view with the given nodes: (address, "dc/rack", health).
    pub(in crate::plan) fn view(nodes: &[(&str, &str, NodeHealth)]) -> ClusterView {
        let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
        let mut health = Health::default();
        for (address, place, node_health) in nodes {
            let address: IpAddr = address.parse().unwrap();
            let scope: Scope = place.parse().unwrap();
            let rack = match &scope {
                Scope::Rack(_, rack) => Some(rack.clone()),
                _ => None,
            };
            let node = Node { address, datacenter: scope.datacenter().cloned(), rack };
            topology.members.insert(address, Member { node, listing: Listing::Listed, served_before: false });
            health.nodes.insert(address, node_health.clone());
        }
        ClusterView { topology: Arc::new(topology), health: Arc::new(health), ..ClusterView::default() }
    }

    pub(in crate::plan) fn up() -> NodeHealth {
        NodeHealth { state: NodeState::Up, ..NodeHealth::default() }
    }

    pub(in crate::plan) fn down(failure: Failure) -> NodeHealth {
        NodeHealth { state: NodeState::Down, failure: Some(failure), ..NodeHealth::default() }
    }

    #[test]
    fn panic_brings_back_the_silent_and_never_the_refused() {
        let mut view = view(&[
            ("10.0.0.1", "dc1/r1", up()),
            ("10.0.0.2", "dc1/r1", down(Failure::TimedOut)),
            ("10.0.0.3", "dc1/r1", down(Failure::Refused)),
        ]);
        let eligible = |view: &ClusterView| -> Vec<bool> {
            let verdicts = Verdicts::of(view);
            view.topology.members.keys().map(|address| verdicts.is_eligible(*address)).collect()
        };
        assert_eq!(eligible(&view), [true, false, false]);
        Arc::make_mut(&mut view.health).panic = true;
        assert_eq!(eligible(&view), [true, true, false]);
        // It ends for a node as soon as the cluster no longer lists it.
        let silent: IpAddr = "10.0.0.2".parse().unwrap();
        Arc::make_mut(&mut view.topology).members.get_mut(&silent).unwrap().listing = Listing::Left;
        assert_eq!(eligible(&view), [true, false, false]);
    }

    #[test]
    fn without_probing_listing_alone_decides() {
        let mut view = view(&[("10.0.0.1", "dc1/r1", NodeHealth::default())]);
        assert!(!Verdicts::of(&view).is_eligible([10, 0, 0, 1].into()), "never admitted before its own answer");
        Arc::make_mut(&mut view.health).disabled = true;
        assert!(Verdicts::of(&view).is_eligible([10, 0, 0, 1].into()));
    }
}
