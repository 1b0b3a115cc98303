//! What zones lend to those that name them as their fallback.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hickory_proto::rr::Name;

use super::zone::Zone;
use crate::{
    config::ZoneConfig,
    model::{ClusterView, LentView, Loan, Node},
    plan::{Verdicts, Views},
};

/// The nodes that each zone lends which is somebody's fallback, by name.
///
/// They follow from what it knows of its own cluster alone, never from what it borrows itself: so nothing is lent on, and
/// two zones may name each other.
pub(super) fn loans(zones: &[Zone], views: &[ClusterView]) -> BTreeMap<Name, Arc<Loan>> {
    let configs = || zones.iter().map(|zone| &zone.inputs.source.config);
    let asked: BTreeSet<&Name> = configs().filter_map(|zone| zone.fallback_zone.as_ref()).collect();
    // Whoever is not heard has nothing to lend, even where its nodes are not taken out.
    let lends = |(zone, view): &(&ZoneConfig, &ClusterView)| asked.contains(&zone.apex) && !view.unheard;
    let lenders = configs().zip(views).filter(lends);
    lenders.map(|(zone, view)| (zone.apex.clone(), Arc::new(loan(zone, view)))).collect()
}

fn loan(zone: &ZoneConfig, view: &ClusterView) -> Loan {
    let verdicts = Verdicts::in_zone(&zone.name(), view);
    let serving = view.topology.members.values().filter(|member| verdicts.is_eligible(member.node.address));
    let nodes: Vec<Node> = serving.map(|member| member.node.clone()).collect();
    let rules = Views::new(&zone.address_map, zone.cluster.scheme);
    let seen = |number| {
        let seen = |node: &Node| (node.address, rules.seen(number, node.address, &view.topology));
        nodes.iter().map(seen).filter(|(_, seen)| seen.is_mapped).collect()
    };
    let views = rules.iter().enumerate();
    Loan {
        zone: zone.name(),
        port: zone.cluster.port,
        views: views.map(|(number, view)| LentView { clients: view.clients.clone(), seen: seen(number) }).collect(),
        flat: view.topology.flat,
        nodes,
    }
}
