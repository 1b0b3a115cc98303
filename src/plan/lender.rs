//! Whether a zone has nothing, and what it is lent then.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::{
    Family, Verdict, Verdicts,
    census::{Place, place},
};
use crate::model::{ClusterView, Health, Loan, Member, Node, NodeState, Scope, Source, Topology};

/// Whom a zone borrows from.
pub(super) struct Lender<'a> {
    loan: &'a Loan,
    /// The nodes lent of every scope, by family.
    groups: FxHashMap<Place<'a>, [Vec<&'a Node>; 2]>,
}

impl<'a> Lender<'a> {
    /// Whoever lends to a zone that is known to have nothing; `None` where nobody does, or where nobody need. Each node
    /// counts in the family that is told of its address.
    pub(super) fn to(view: &'a ClusterView, verdicts: &Verdicts, family_of: &dyn Fn(IpAddr) -> Family) -> Option<Self> {
        let loan = view.loan.as_deref().filter(|_| has_nothing(view, verdicts))?;
        let mut groups: FxHashMap<Place<'a>, [Vec<&'a Node>; 2]> = FxHashMap::default();
        for node in &loan.nodes {
            let mut count = |place| groups.entry(place).or_default()[family_of(node.address) as usize].push(node);
            count((None, None));
            if let Some(dc) = node.datacenter.as_deref().filter(|_| !loan.flat) {
                count((Some(dc), None));
                if let Some(rack) = node.rack.as_deref() {
                    count((Some(dc), Some(rack)));
                }
            }
        }
        Some(Lender { loan, groups })
    }

    /// The zone that lends.
    pub(super) fn zone(&self) -> &str {
        &self.loan.zone
    }

    /// What a scope is lent: the nodes of the rack, or else of the datacenter, of the same name where the other cluster
    /// has any, or else all of them. Empty where none is of the family.
    pub(super) fn nodes<'s>(&'s self, scope: &'s Scope, family: Family) -> &'s [&'a Node] {
        let datacenter = scope.datacenter().map(|dc| (Some(&**dc), None));
        let places = [Some(place(scope)), datacenter, Some((None, None))].into_iter().flatten();
        let mut of_places = places.filter_map(|place| Some(self.groups.get(&place)?[family as usize].as_slice()));
        of_places.find(|nodes| !nodes.is_empty()).unwrap_or_default()
    }
}

/// Whether it is known that no node of the zone serves: somebody told which there are, or nobody is left who could, and
/// each was probed and failed. While a prober is distrusted that is not known, unless nobody of the whole cluster has been
/// heard for long: whoever lends is heard, so we are not deaf.
fn has_nothing(view: &ClusterView, verdicts: &Verdicts) -> bool {
    let ClusterView { topology, health, .. } = view;
    let is_forced = |verdict: &Verdict| matches!(verdict, Verdict::Forced(_));
    if view.unheard && !verdicts.iter().any(is_forced) {
        return true;
    }
    let is_told = topology.source == Source::Discovery || topology.stale;
    let is_probed = |address| {
        let health = health.of(address);
        health.state != NodeState::Joining || health.failure.is_some()
    };
    is_told
        && !health.panic
        && !verdicts.iter().any(Verdict::is_eligible)
        && (health.disabled || topology.listed().all(|member| is_probed(member.node.address)))
}

/// Whether nobody of the cluster is heard at present: no node gives a list, and of none the latest probe was answered.
/// What has lasted for long ([`incident_window`](super::incident_window)) is [`ClusterView::unheard`].
pub fn is_silent(topology: &Topology, health: &Health) -> bool {
    let fails = |member: &Member| health.of(member.node.address).failure.is_some();
    topology.stale && !health.disabled && topology.listed().next().is_some() && topology.listed().all(fails)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hickory_proto::rr::Name;

    use super::{
        super::{
            Census, FamilyPlan, Ramps, ScopePlan, Serving,
            eligibility::tests::{down, up, view, with},
        },
        *,
    };
    use crate::{
        config::ZoneConfig,
        model::{Failure, Listing, NodeHealth},
    };

    /// The view of a zone to which these nodes are lent, all of which serve.
    fn lent(view: &ClusterView, nodes: &[(&str, &str)]) -> ClusterView {
        let place = |(address, place): &(&str, &str)| {
            let (datacenter, rack) = place.split_once('/').unwrap();
            Node { address: address.parse().unwrap(), datacenter: Some(datacenter.into()), rack: Some(rack.into()) }
        };
        let nodes = nodes.iter().map(place).collect();
        let loan = Loan { zone: "b.test".to_owned(), port: 8001, nodes, ..Loan::default() };
        ClusterView { loan: Some(Arc::new(loan)), ..view.clone() }
    }

    fn plan(chain: &[&str], view: &ClusterView) -> ScopePlan {
        let chain = chain.iter().map(|scope| scope.parse().unwrap()).collect();
        let mut zone = ZoneConfig::new(Name::root());
        zone.min_ttl = std::time::Duration::from_secs(2);
        ScopePlan::new(chain, &Census::new(view, &Verdicts::of(view), &Ramps::default(), &zone, &[]))
    }

    /// `+addresses` of what is lent, addresses of the zone's own, or what there is instead.
    fn told(plan: &FamilyPlan) -> String {
        let nodes: Vec<String> = plan.nodes().iter().map(|node| node.address.to_string()).collect();
        match plan {
            FamilyPlan::Serve { serving: Serving::Lent, .. } => format!("+{}", nodes.join(" ")),
            FamilyPlan::Serve { serving: Serving::LastKnown, .. } => format!("~{}", nodes.join(" ")),
            FamilyPlan::Serve { serving: Serving::Live, .. } => nodes.join(" "),
            FamilyPlan::Absent => "absent".to_owned(),
            FamilyPlan::Unready => "unready".to_owned(),
        }
    }

    fn both(chain: &[&str], view: &ClusterView) -> [String; 2] {
        let plan = plan(chain, view);
        [told(&plan.v4), told(&plan.v6)]
    }

    fn died() -> NodeHealth {
        NodeHealth { served_until: Some(std::time::SystemTime::UNIX_EPOCH), ..down(Failure::Refused) }
    }

    const OTHERS: &[(&str, &str)] =
        &[("10.9.0.1", "dc1/r1"), ("10.9.0.2", "dc1/r2"), ("10.9.0.3", "dc2/r1"), ("fd09::1", "dc2/r1")];

    #[test]
    fn a_zone_with_nothing_is_lent_the_same_place_or_else_everything() {
        let dead = lent(&view(&[("10.0.0.1", "dc1/r1", died()), ("10.0.0.2", "dc3/r1", died())]), OTHERS);
        for (chain, expected) in [
            (&["dc1/r1", "dc1"][..], "+10.9.0.1"),
            (&["dc1/r9", "dc1"], "+10.9.0.1 10.9.0.2"),
            (&["dc1"], "+10.9.0.1 10.9.0.2"),
            (&["dc3"], "+10.9.0.1 10.9.0.2 10.9.0.3"),
            (&["cluster"], "+10.9.0.1 10.9.0.2 10.9.0.3"),
            (&["dc2", "cluster"], "+10.9.0.3"),
        ] {
            assert_eq!(told(&plan(chain, &dead).v4), expected, "{chain:?}");
        }
        let plan = plan(&["dc1/r1", "dc1"], &dead);
        let FamilyPlan::Serve { level, ttl, .. } = &plan.v4 else { panic!("{plan:?}") };
        assert_eq!((*level, ttl.seconds, ttl.reason.to_string()), (2, 2, "lent by b.test".to_owned()));
        assert!(plan.is_lent() && !plan.is_stale());
    }

    #[test]
    fn one_node_of_its_own_is_enough_for_the_whole_zone() {
        let one = lent(&view(&[("10.0.0.1", "dc1/r1", died()), ("10.0.0.2", "dc3/r1", up())]), OTHERS);
        assert_eq!(both(&["dc1"], &one), ["~10.0.0.1", "absent"]);
        assert_eq!(both(&["dc3"], &one), ["10.0.0.2", "absent"]);
        let dead = lent(&view(&[("10.0.0.1", "dc1/r1", died())]), OTHERS);
        assert_eq!(both(&["dc1"], &with(&dead, &["force-up 10.0.0.1"]))[0], "10.0.0.1");
        // Draining everything is how an operator asks for the other zone.
        let drained = with(&lent(&view(&[("10.0.0.1", "dc1/r1", up())]), OTHERS), &["drain *"]);
        assert_eq!(both(&["dc1"], &drained)[0], "+10.9.0.1 10.9.0.2");
    }

    #[test]
    fn nothing_is_lent_before_it_is_known_that_there_is_nothing() {
        let mut dead = lent(&view(&[("10.0.0.1", "dc1/r1", died()), ("10.0.0.2", "dc1/r1", died())]), OTHERS);
        let is_lent = |view: &ClusterView| plan(&["dc1"], view).is_lent();
        assert!(is_lent(&dead));
        let second: IpAddr = "10.0.0.2".parse().unwrap();
        let healthy = dead.health.clone();
        // One that nobody probed yet may serve.
        Arc::make_mut(&mut dead.health).nodes.remove(&second);
        assert!(!is_lent(&dead));
        // But not one that the cluster lists no longer.
        Arc::make_mut(&mut dead.topology).members.get_mut(&second).unwrap().listing = Listing::Left;
        assert!(is_lent(&dead));
        dead.health = healthy;
        Arc::make_mut(&mut dead.health).panic = true;
        assert!(!is_lent(&dead), "nobody believes that they are dead");
        Arc::make_mut(&mut dead.health).panic = false;
        // What is remembered, or nothing: once nobody answers.
        for source in [Source::Snapshot, Source::Nothing] {
            Arc::make_mut(&mut dead.topology).source = source;
            Arc::make_mut(&mut dead.topology).stale = false;
            assert!(!is_lent(&dead), "{source:?}");
            Arc::make_mut(&mut dead.topology).stale = true;
            assert!(is_lent(&dead), "{source:?}");
        }
        dead.loan = None;
        assert!(!is_lent(&dead));
    }

    #[test]
    fn a_cluster_that_nobody_hears_for_long_is_given_up_though_the_prober_is_distrusted() {
        let held = || NodeHealth { failure: Some(Failure::TimedOut), ..up() };
        let mut silent = lent(&view(&[("10.0.0.1", "dc1/r1", held()), ("10.0.0.2", "dc1/r1", held())]), OTHERS);
        assert!(!is_silent(&silent.topology, &silent.health), "somebody lists them");
        Arc::make_mut(&mut silent.topology).stale = true;
        Arc::make_mut(&mut silent.health).panic = true;
        assert!(is_silent(&silent.topology, &silent.health));
        assert_eq!(both(&["dc1"], &silent)[0], "10.0.0.1 10.0.0.2", "not for long enough");
        silent.unheard = true;
        assert_eq!(both(&["dc1"], &silent)[0], "+10.9.0.1 10.9.0.2");
        assert_eq!(both(&["dc1"], &with(&silent, &["force-up 10.0.0.1"]))[0], "10.0.0.1 10.0.0.2");
        Arc::make_mut(&mut silent.health).nodes.insert("10.0.0.2".parse().unwrap(), up());
        assert!(!is_silent(&silent.topology, &silent.health));
    }

    #[test]
    fn a_family_is_lent_that_the_zone_itself_would_have_answered() {
        let of_v4 = lent(&view(&[("10.0.0.1", "dc1/r1", died())]), OTHERS);
        assert_eq!(both(&["dc2"], &of_v4), ["+10.9.0.3", "absent"]);
        assert_eq!(both(&["cluster"], &of_v4)[1], "absent", "its clients never got any");
        let of_both = view(&[("10.0.0.1", "dc1/r1", died()), ("fd00::1", "dc1/r1", died())]);
        assert_eq!(both(&["cluster"], &lent(&of_both, OTHERS))[1], "+fd09::1");
        // What the other zone has none of stays what it was, and services name those that serve.
        let v4_only = lent(&of_both, &OTHERS[..3]);
        assert_eq!(both(&["cluster"], &v4_only)[1], "~fd00::1");
        assert!(plan(&["cluster"], &v4_only).best_nodes().all(|node| node.address.is_ipv4()));
        let nothing = ClusterView::default();
        let mut stale = lent(&nothing, &OTHERS[..3]);
        Arc::make_mut(&mut stale.topology).stale = true;
        assert_eq!(both(&["cluster"], &stale), ["+10.9.0.1 10.9.0.2 10.9.0.3", "absent"]);
    }

    #[test]
    fn places_that_the_other_cluster_cannot_tell_count_for_every_scope() {
        let mut dead = lent(&view(&[("10.0.0.1", "dc1/r1", died())]), OTHERS);
        Arc::make_mut(dead.loan.as_mut().unwrap()).flat = true;
        assert_eq!(told(&plan(&["dc1/r1"], &dead).v4), "+10.9.0.1 10.9.0.2 10.9.0.3");
    }
}
