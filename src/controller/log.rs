//! What changed in the decisions, for the log and the journal: one line per transition.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    journal::Journal,
    model::Scope,
    plan::{Family, FamilyPlan, ScopePlan, Serving},
    table::{Refusal, ZonePlan},
};

/// Where the changes of a zone are told.
pub(super) struct Log<'a> {
    pub(super) zone: &'a str,
    pub(super) journal: &'a Journal,
}

/// How much a change matters.
enum Level {
    Info,
    Warning,
    Error,
}

impl Log<'_> {
    /// Tells that a scope's answers of one type changed.
    fn scope(&self, level: Level, scope: &str, rtype: &str, text: &str) {
        let zone = self.zone;
        match level {
            Level::Info => tracing::info!(zone, scope, rtype, "{text}"),
            Level::Warning => tracing::warn!(zone, scope, rtype, "{text}"),
            Level::Error => tracing::error!(zone, scope, rtype, "{text}"),
        }
        self.journal.note(Some(zone), "scope", scope, format_args!("{rtype}: {text}"));
    }
}

/// Tells what a person at 3 a.m. needs to know of the answers.
pub(super) fn changes(log: &Log<'_>, before: Option<&ZonePlan>, now: &ZonePlan) {
    let zone = log.zone;
    let known: BTreeSet<&Refusal> = before.map(|plan| plan.names.refused.iter().collect()).unwrap_or_default();
    for refusal in now.names.refused.iter().filter(|refusal| !known.contains(refusal)) {
        tracing::warn!(zone, "{refusal}");
        log.journal.note(Some(zone), "scope", "names", refusal);
    }
    unmapped(log, before, now);
    if !now.scopes.is_empty() && !now.is_ready() {
        // One line for all scopes: what is missing is the cluster.
        if before.is_none_or(ZonePlan::is_ready) {
            let text = "no node was ever known to serve: every name of the cluster is SERVFAIL";
            tracing::error!(zone, "{text}");
            log.journal.note(Some(zone), "scope", "cluster", text);
        }
        return;
    }
    let lender = |plan: &ZonePlan| plan.lent.as_ref().map(|loan| loan.zone.clone());
    if let Some(zone_that_lends) = lender(now) {
        // One line for all scopes, too: what is missing is the whole zone.
        if before.and_then(lender).as_ref() != Some(&zone_that_lends) {
            let text = format!("no node of this zone serves: answering those of {zone_that_lends}");
            tracing::error!(zone, "{text}");
            log.journal.note(Some(zone), "scope", "cluster", text);
        }
        return;
    }
    if let Some(zone_that_lent) = before.and_then(lender) {
        let text = format!("no longer answering the nodes of {zone_that_lent}");
        tracing::info!(zone, "{text}");
        log.journal.note(Some(zone), "scope", "cluster", text);
    }
    let earlier: BTreeMap<&Vec<Scope>, &ScopePlan> =
        before.iter().flat_map(|plan| &plan.scopes).map(|scope| (&scope.chain, scope)).collect();
    for scope in &now.scopes {
        let earlier = earlier.get(&scope.chain);
        let name = scope.chain.first().map_or_else(String::new, Scope::to_string);
        for (family, rtype) in [(Family::V4, "A"), (Family::V6, "AAAA")] {
            let was = earlier.and_then(|earlier| served(earlier.family(family)));
            let is = served(scope.family(family));
            if was == is {
                continue;
            }
            match is {
                // That is told of the whole zone.
                None | Some(Served::From(_, Serving::Lent)) => {}
                Some(Served::Nothing) => {
                    log.scope(Level::Error, &name, rtype, "no node was ever known to serve: SERVFAIL");
                }
                Some(Served::From(_, Serving::LastKnown)) => {
                    log.scope(Level::Error, &name, rtype, "no eligible node: answering the last known good ones");
                }
                Some(Served::From(0, Serving::Live)) => {
                    log.scope(Level::Info, &name, rtype, "answering live nodes");
                }
                Some(Served::From(level, Serving::Live)) => {
                    let text = format!("falling back to {}", scope.chain[level]);
                    log.scope(Level::Warning, &name, rtype, &text);
                }
            }
        }
    }
}

/// Tells which nodes the rules for some clients leave out, once for each: of a node that joins, a rule is easily
/// forgotten, and the clients are given an address that may be of no use to them.
fn unmapped(log: &Log<'_>, before: Option<&ZonePlan>, now: &ZonePlan) {
    let before = before.filter(|before| before.views == now.views);
    for (number, view) in now.views.iter().enumerate() {
        let known: BTreeSet<IpAddr> = before.into_iter().flat_map(|before| before.unmapped(number)).collect();
        let new: Vec<IpAddr> = now.unmapped(number).filter(|node| !known.contains(node)).collect();
        let Some(first) = new.first() else { continue };
        let (zone, whose) = (log.zone, view.whose());
        let nodes =
            if new.len() == 1 { first.to_string() } else { format!("{first} and {} more nodes", new.len() - 1) };
        let text = format!("{whose} are given the own addresses of {nodes}: no rule of address_map maps them");
        tracing::warn!(zone, "{text}");
        log.journal.note(Some(zone), "scope", "address_map", text);
    }
}

/// What a scope serves, as far as it is told.
#[derive(PartialEq, Eq)]
enum Served {
    Nothing,
    From(usize, Serving),
}

fn served(plan: &FamilyPlan) -> Option<Served> {
    match plan {
        FamilyPlan::Absent => None,
        FamilyPlan::Unready => Some(Served::Nothing),
        FamilyPlan::Serve { level, serving, .. } => Some(Served::From(*level, *serving)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hickory_proto::rr::Name;

    use super::*;
    use crate::{
        config::{AddressRule, Mapping, ZoneConfig},
        model::{ClusterView, Member, Node, Topology},
        table::ZoneSource,
        zone::file::StaticZone,
    };

    #[test]
    fn nodes_that_rules_leave_out_are_told_once_each() {
        let mut config = ZoneConfig::new(Name::from_ascii("z.test.").unwrap());
        let to = Mapping::Network { from: "10.0.0.0/24".parse().unwrap(), to: "198.51.100.0/24".parse().unwrap() };
        let clients = Some(vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        config.address_map = vec![AddressRule { clients, to }];
        let (statics, listen, demand, meter) = (StaticZone::default(), Vec::new(), Arc::default(), Arc::default());
        let source = ZoneSource { config, statics, listen, demand, meter };
        let plan = |nodes: &[[u8; 4]]| {
            let member = |address: &[u8; 4]| {
                let node = Node { address: (*address).into(), datacenter: None, rack: None };
                (node.address, Member::new(node))
            };
            let topology = Topology { members: nodes.iter().map(member).collect(), ..Topology::default() };
            ZonePlan::new(&source, &ClusterView { topology: Arc::new(topology), ..ClusterView::default() })
        };
        let journal = Journal::default();
        let told = || {
            let changes = journal.since(0);
            let of_map = changes.iter().filter(|change| change.subject == "address_map");
            of_map.map(|change| change.text.clone()).collect::<Vec<_>>()
        };
        let log = Log { zone: "z.test", journal: &journal };
        let whose = "clients of 203.0.113.0/24 and 1 more are given the own addresses of";
        let plans = [
            plan(&[[10, 0, 0, 1]]),
            plan(&[[10, 0, 0, 1], [10, 0, 1, 2]]),
            plan(&[[10, 0, 1, 2], [10, 0, 1, 3], [10, 0, 1, 4]]),
        ];
        changes(&log, None, &plans[0]);
        assert_eq!(told(), [""; 0], "of those without rules nothing is told");
        changes(&log, Some(&plans[0]), &plans[1]);
        changes(&log, Some(&plans[1]), &plans[1]);
        changes(&log, Some(&plans[1]), &plans[2]);
        let expected = [
            format!("{whose} 10.0.1.2: no rule of address_map maps them"),
            format!("{whose} 10.0.1.3 and 1 more nodes: no rule of address_map maps them"),
        ];
        assert_eq!(told(), expected);
    }
}
