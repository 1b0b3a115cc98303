//! The cluster's side: nodes, scopes, discovery, probes.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use super::{
    super::{
        Sight, ZoneSight,
        status::{self, VERDICTS},
    },
    families::Families,
};
use crate::{
    discovery::Means,
    model::Scope,
    plan::{FamilyPlan, ScopePlan},
    table::CompiledZone,
};

/// Ends the help of what a cluster's poller and prober count: a sum over zones is to be divided, or taken over one zone of
/// each cluster.
const SHARED: &str = "; the same for all zones of a cluster, see alternator_dns_cluster_zones";

pub(super) fn tell(sight: &Sight, now: SystemTime, to: &mut Families<'_>) -> fmt::Result {
    let table = sight.table.load_full();
    let mut zones: Vec<(String, &Arc<CompiledZone>)> =
        table.zones().map(|zone| (status::zone_name(zone), zone)).collect();
    zones.sort_by(|a, b| a.0.cmp(&b.0));
    about_zones(&zones, to)?;
    nodes(&zones, to)?;
    scopes(&zones, to)?;
    // A zone without a cluster is never asked of anybody.
    let has_cluster = |sight: &&ZoneSight| {
        zones.iter().any(|(name, zone)| *name == sight.name && !zone.source.config.cluster.seeds.is_empty())
    };
    let sights: Vec<ZoneSight> = sight.zones.load().iter().filter(has_cluster).cloned().collect();
    discovery(&sights, now.max(sight.started), sight.started, to)?;
    probes(&sights, to)
}

fn about_zones(zones: &[(String, &Arc<CompiledZone>)], to: &mut Families<'_>) -> fmt::Result {
    let mut tell = |name: &str, help: &str, value: &dyn Fn(&CompiledZone) -> f64| {
        to.gauges(name, help, zones.iter().map(|(name, zone)| (vec![("zone", name.as_str())], value(zone))))
    };
    let flag = |is_set: bool| f64::from(u8::from(is_set));
    tell(
        "alternator_dns_zone_epoch",
        "Number of what is served, the SOA serial: another one with each change",
        &|zone| f64::from(zone.epoch),
    )?;
    tell("alternator_dns_zone_ready", "Whether there is anything to answer", &|zone| flag(status::is_ready(zone)))?;
    tell("alternator_dns_zone_stale", "Whether no node answers discovery: the nodes are the last known", &|zone| {
        flag(zone.plan.stale)
    })?;
    tell(
        "alternator_dns_zone_remembered",
        "Whether the nodes are from the state file: none answered since the start",
        &|zone| flag(zone.plan.remembered),
    )?;
    tell(
        "alternator_dns_zone_flat",
        "Whether the servers ignore datacenters and racks: each name is the whole cluster",
        &|zone| flag(zone.plan.flat),
    )?;
    tell(
        "alternator_dns_zone_lent",
        "Whether nodes of another zone are answered (fallback_zone), because none of this one serves",
        &|zone| flag(zone.plan.lent.is_some()),
    )?;
    tell("alternator_dns_zone_panic", "Whether so many nodes are silent that the prober is distrusted", &|zone| {
        flag(zone.plan.panic)
    })
}

/// Nodes by place and state. Every state of a place is told, so that none vanishes when its last node leaves it.
fn nodes(zones: &[(String, &Arc<CompiledZone>)], to: &mut Families<'_>) -> fmt::Result {
    let mut counts: BTreeMap<(&str, &str, &str, &str), f64> = BTreeMap::new();
    for (name, zone) in zones {
        for node in zone.plan.nodes() {
            let (dc, rack) = (node.datacenter.as_deref().unwrap_or_default(), node.rack.as_deref().unwrap_or_default());
            for state in VERDICTS {
                counts.entry((name, dc, rack, state)).or_default();
            }
            if let Some(verdict) = zone.plan.verdicts.get(node.address) {
                *counts.entry((name, dc, rack, status::word(verdict))).or_default() += 1.0;
            }
        }
    }
    let samples = counts.into_iter().map(|((zone, dc, rack, state), count)| {
        (vec![("zone", zone), ("datacenter", dc), ("rack", rack), ("state", state)], count)
    });
    to.gauges("alternator_dns_nodes", "Nodes known, by place and why they are answered or not", samples)
}

fn scopes(zones: &[(String, &Arc<CompiledZone>)], to: &mut Families<'_>) -> fmt::Result {
    let mut answers = Vec::new();
    for (name, zone) in zones {
        for scope in &zone.plan.scopes {
            for (family, plan) in [("a", &scope.v4), ("aaaa", &scope.v6)] {
                answers.push((name.as_str(), chain_name(scope), family, plan));
            }
        }
    }
    // Two names may stand for different chains that begin alike; what is told of them must not be told twice.
    answers.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
    answers.dedup_by(|a, b| (a.0, &a.1, a.2) == (b.0, &b.1, b.2));
    let mut tell = |name: &str, help: &str, value: &dyn Fn(&FamilyPlan) -> Option<f64>| {
        let samples = answers.iter().filter_map(|(zone, scope, family, plan)| {
            Some((vec![("zone", *zone), ("scope", scope.as_str()), ("family", *family)], value(plan)?))
        });
        to.gauges(name, help, samples)
    };
    tell(
        "alternator_dns_fallback_level",
        "Level of its chain that a scope is answered from; 0 = its own nodes, one beyond the last = another zone's; not \
         there while it has no answer",
        &|plan| if let FamilyPlan::Serve { level, .. } = plan { Some(*level as f64) } else { None },
    )?;
    tell(
        "alternator_dns_scope_nodes",
        "Nodes that a scope is answered with; 0 = SERVFAIL; not there where it has no nodes of the family",
        &|plan| match plan {
            FamilyPlan::Serve { nodes, .. } => Some(nodes.len() as f64),
            FamilyPlan::Unready => Some(0.0),
            FamilyPlan::Absent => None,
        },
    )?;
    tell(
        "alternator_dns_scope_stale",
        "Whether a scope is answered with nodes that served last, because none of its chain serves now",
        &|plan| match plan {
            FamilyPlan::Serve { .. } => Some(f64::from(u8::from(plan.is_stale()))),
            FamilyPlan::Unready | FamilyPlan::Absent => None,
        },
    )
}

/// A chain by the scopes in it.
fn chain_name(scope: &ScopePlan) -> String {
    scope.chain.first().map(Scope::to_string).unwrap_or_default()
}

fn discovery(sights: &[ZoneSight], now: SystemTime, started: SystemTime, to: &mut Families<'_>) -> fmt::Result {
    let shared = |help: &str| format!("{help}{SHARED}");
    to.gauges(
        "alternator_dns_cluster_zones",
        "Zones on the zone's cluster, this one included: they share its poller and its prober",
        sights.iter().map(|sight| (vec![("zone", sight.name.as_str())], 1.0 + sight.shares_with.len() as f64)),
    )?;
    let age = |sight: &ZoneSight| {
        let since = sight.discovery.last_success().unwrap_or(started);
        now.duration_since(since).unwrap_or_default().as_secs_f64()
    };
    to.gauges(
        "alternator_dns_topology_age_seconds",
        "Time since discovery last succeeded, or since the start while it never did",
        sights.iter().map(|sight| (vec![("zone", sight.name.as_str())], age(sight))),
    )?;
    to.histograms(
        "alternator_dns_poll_duration_seconds",
        &shared("Time that questions for lists of nodes took which gave a list"),
        sights.iter().map(|sight| (vec![("zone", sight.name.as_str())], sight.discovery.latency())),
    )?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed) as f64;
    let mut samples = Vec::new();
    for ZoneSight { name, discovery, .. } in sights {
        let counters = [
            ("answered", &discovery.answers),
            ("refused", &discovery.refused),
            ("silent", &discovery.silent),
            ("bad_status", &discovery.bad_status),
            ("bad_reply", &discovery.bad_reply),
        ];
        samples.extend(
            counters.map(|(result, counter)| (vec![("zone", name.as_str()), ("result", result)], count(counter))),
        );
    }
    to.counters("alternator_dns_polls", &shared("Questions for lists of nodes, by what came of them"), samples)?;
    tables(sights, to)?;
    let mut rounds = Vec::new();
    for ZoneSight { name, discovery, .. } in sights {
        let (all, unanswered) = (count(&discovery.rounds), count(&discovery.unanswered_rounds));
        rounds.extend(
            [("answered", all - unanswered), ("unanswered", unanswered)]
                .map(|(result, count)| (vec![("zone", name.as_str()), ("result", result)], count)),
        );
    }
    let help = shared("Rounds of such questions, by whether any node gave a list");
    to.counters("alternator_dns_poll_rounds", &help, rounds)?;
    let mut tell = |name: &str, help: &str, counter: &dyn Fn(&crate::discovery::Stats) -> f64| {
        let samples = sights.iter().map(|sight| (vec![("zone", sight.name.as_str())], counter(&sight.discovery)));
        to.counters(name, &shared(help), samples)
    };
    tell("alternator_dns_skipped_entries", "Entries of such lists that are no usable address", &|stats| {
        count(&stats.skipped_entries)
    })?;
    tell("alternator_dns_unresolved_seeds", "Look-ups of a seed's name that gave no address", &|stats| {
        count(&stats.unresolved_seeds)
    })?;
    tell("alternator_dns_unresolved_hosts", "Look-ups of a node's host name that gave no address", &|stats| {
        count(&stats.unresolved_hosts)
    })?;
    tell("alternator_dns_node_joins", "Nodes that joined", &|stats| count(&stats.joined))?;
    tell("alternator_dns_node_leaves", "Nodes that left", &|stats| count(&stats.left))
}

/// How nodes are found.
fn tables(sights: &[ZoneSight], to: &mut Families<'_>) -> fmt::Result {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed) as f64;
    let (mut reads, mut sources) = (Vec::new(), Vec::new());
    for ZoneSight { name, discovery, .. } in sights {
        let means = discovery.basis().means;
        for source in [Means::Tables, Means::Localnodes] {
            let labels = vec![("zone", name.as_str()), ("source", source.word())];
            sources.push((labels, f64::from(u8::from(means == source))));
        }
        for (result, counter) in [("read", &discovery.views), ("failed", &discovery.failed_views)] {
            reads.push((vec![("zone", name.as_str()), ("result", result)], count(counter)));
        }
    }
    to.gauges(
        "alternator_dns_discovery_source",
        "Where nodes and their places are learnt from: 1 for one of them",
        sources,
    )?;
    to.counters(
        "alternator_dns_table_reads",
        "Times that a node's system tables were read, by whether they could be, of nodes that answer otherwise",
        reads,
    )
}

fn probes(sights: &[ZoneSight], to: &mut Families<'_>) -> fmt::Result {
    let shared = |help: &str| format!("{help}{SHARED}");
    let mut samples = Vec::new();
    for ZoneSight { name, probes, .. } in sights {
        let failures = probes.failures();
        let counts = [
            ("success", probes.successes()),
            ("refused", failures.refused),
            ("closed", failures.closed),
            ("status", failures.status),
            ("protocol", failures.protocol),
            ("timed_out", failures.timed_out),
            ("unreachable", failures.unreachable),
        ];
        samples.extend(counts.map(|(result, count)| (vec![("zone", name.as_str()), ("result", result)], count as f64)));
    }
    to.histograms(
        "alternator_dns_probe_duration_seconds",
        &shared("Time that probes took which were answered well"),
        sights.iter().map(|sight| (vec![("zone", sight.name.as_str())], sight.probes.latency())),
    )?;
    to.counters("alternator_dns_probes", &shared("Probes of nodes, by what came of them"), samples)?;
    let mut tell = |name: &str, help: &str, counter: &dyn Fn(&crate::health::Stats) -> u64| {
        let samples = sights.iter().map(|sight| (vec![("zone", sight.name.as_str())], counter(&sight.probes) as f64));
        to.counters(name, &shared(help), samples)
    };
    tell("alternator_dns_node_transitions", "Changes of what probes say of a node", &|stats| stats.transitions())?;
    tell("alternator_dns_panics", "How often so many nodes fell silent that the prober was distrusted", &|stats| {
        stats.panics()
    })
}
