//! Who may be answered, and why the others may not.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use crate::model::{Action, ClusterView, Failure, Leaving, Listing, Member, NodeHealth, NodeState, Override};

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
    /// Out: an operator drained it. It counts among those that served last, so that draining everything empties no
    /// answer.
    Drained(Arc<Override>),
    /// Out: the cluster's tables say that it is about to leave, though it may still serve. It counts among those that
    /// served last, as a drained one does.
    Leaving(Leaving),
    /// In: an operator forced it up, whatever its probes and the tables say.
    Forced(Arc<Override>),
}

impl Verdict {
    /// Whether the node may be dealt.
    pub fn is_eligible(&self) -> bool {
        matches!(self, Verdict::Up | Verdict::Listed | Verdict::Distrusted(_) | Verdict::Forced(_))
    }

    fn of(member: &Member, health: Option<&NodeHealth>, forced: Option<&Arc<Override>>, view: &ClusterView) -> Verdict {
        // Nobody is forced back into a cluster.
        if member.listing == Listing::Left {
            return Verdict::Left;
        }
        if let Some(forced) = forced {
            return match forced.action {
                Action::Drain => Verdict::Drained(forced.clone()),
                Action::ForceUp => Verdict::Forced(forced.clone()),
            };
        }
        if let Some(leaving) = member.told.leaving {
            return Verdict::Leaving(leaving);
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
            Verdict::Leaving(leaving) => write!(f, "leaving: {leaving}"),
            Verdict::Drained(forced) | Verdict::Forced(forced) => forced.fmt(f),
        }
    }
}

/// The verdict on every member of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(BTreeMap<IpAddr, Verdict>);

impl Verdicts {
    /// Judges every member of a zone.
    pub fn in_zone(zone: &str, view: &ClusterView) -> Self {
        let judge = |(address, member): (&IpAddr, &Member)| {
            let forced = view.overrides.in_force(zone, &member.node, view.now);
            (*address, Verdict::of(member, view.health.get(*address), forced, view))
        };
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
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::model::{Health, Node, Origin, Overrides, Scope, Source, Told, Topology};

    impl Verdicts {
        /// Judges every member of the tests' zone.
        pub(in crate::plan) fn of(view: &ClusterView) -> Self {
            Self::in_zone("z.test", view)
        }
    }

    /// `drain TARGET` or `force-up TARGET`, from noon on.
    pub(in crate::plan) fn forced(text: &str) -> Override {
        let (action, target) = text.split_once(' ').unwrap();
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400);
        Override {
            target: target.parse().unwrap(),
            action: action.parse().unwrap(),
            zone: None,
            from: noon,
            until: Some(noon + Duration::from_secs(3600)),
            set_at: noon,
            by: "ops".to_owned(),
            reason: "kernel upgrade".to_owned(),
            origin: Origin::Api,
        }
    }

    /// The view at noon with these overrides.
    pub(in crate::plan) fn with(view: &ClusterView, overrides: &[&str]) -> ClusterView {
        let overrides: Vec<Override> = overrides.iter().map(|text| forced(text)).collect();
        ClusterView { overrides: Arc::new(Overrides::new(overrides)), now: forced("drain *").from, ..view.clone() }
    }

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
            topology.members.insert(address, Member::new(node));
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
    fn who_is_leaving_is_out_unless_an_operator_says_otherwise() {
        let mut view = view(&[("10.0.0.1", "dc1/r1", up()), ("10.0.0.2", "dc1/r1", up())]);
        let first: IpAddr = "10.0.0.1".parse().unwrap();
        let told = |leaving| Arc::new(Told { leaving, ..Told::default() });
        let member = |view: &mut ClusterView, change: &dyn Fn(&mut Member)| {
            change(Arc::make_mut(&mut view.topology).members.get_mut(&first).unwrap());
        };
        member(&mut view, &|member| member.told = told(Some(Leaving::Decommissioning)));
        let verdict = |view: &ClusterView| Verdicts::of(view).get(first).unwrap().clone();
        assert_eq!(verdict(&view), Verdict::Leaving(Leaving::Decommissioning));
        assert_eq!(verdict(&view).to_string(), "leaving: decommissioning");
        assert!(!verdict(&view).is_eligible());
        assert!(verdict(&with(&view, &["force-up 10.0.0.1"])).is_eligible());
        assert!(matches!(verdict(&with(&view, &["drain 10.0.0.1"])), Verdict::Drained(_)));
        Arc::make_mut(&mut view.health).disabled = true;
        assert!(!verdict(&view).is_eligible(), "without probing as well");
        member(&mut view, &|member| member.listing = Listing::Left);
        assert_eq!(verdict(&view), Verdict::Left);
        member(&mut view, &|member| (member.listing, member.told) = (Listing::Listed, told(None)));
        assert!(verdict(&view).is_eligible(), "given up");
    }

    #[test]
    fn without_probing_listing_alone_decides() {
        let mut view = view(&[("10.0.0.1", "dc1/r1", NodeHealth::default())]);
        assert!(!Verdicts::of(&view).is_eligible([10, 0, 0, 1].into()), "never admitted before its own answer");
        Arc::make_mut(&mut view.health).disabled = true;
        assert!(Verdicts::of(&view).is_eligible([10, 0, 0, 1].into()));
    }

    #[test]
    fn what_an_operator_forces_is_stronger_than_probes_and_weaker_than_the_cluster() {
        let silent = down(Failure::TimedOut);
        let view = view(&[
            ("10.0.0.1", "dc1/r1", up()),
            ("10.0.0.2", "dc1/r1", silent.clone()),
            ("10.0.0.3", "dc1/r2", silent),
        ]);
        let eligible =
            |view: &ClusterView| -> Vec<bool> { Verdicts::of(view).iter().map(Verdict::is_eligible).collect() };
        assert_eq!(eligible(&view), [true, false, false]);
        let mut exception = with(&view, &["drain dc1", "force-up 10.0.0.2"]);
        assert_eq!(eligible(&exception), [false, true, false]);
        let told: Vec<String> = Verdicts::of(&exception).iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "drained by ops since 2026-11-21 12:00Z until 13:00Z: kernel upgrade");
        assert_eq!(told[1], "forced up by ops since 2026-11-21 12:00Z until 13:00Z: kernel upgrade");
        // Distrust of the prober deals the silent, but not the drained.
        Arc::make_mut(&mut exception.health).panic = true;
        assert_eq!(eligible(&exception), [false, true, false]);
        Arc::make_mut(&mut exception.health).disabled = true;
        assert_eq!(eligible(&exception), [false, true, false], "without probing as well");
        let forced: IpAddr = "10.0.0.2".parse().unwrap();
        Arc::make_mut(&mut exception.topology).members.get_mut(&forced).unwrap().listing = Listing::Left;
        assert_eq!(eligible(&exception), [false, false, false]);
        exception.now += Duration::from_secs(3600);
        assert_eq!(eligible(&exception), [true, false, true], "it is over");
    }
}
