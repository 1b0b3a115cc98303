//! How an answer comes about, in words.

use std::collections::BTreeMap;

use super::CompiledZone;
use crate::{
    model::{Node, Scope},
    plan::{Family, FamilyPlan, Serving},
};

/// Nodes told of, of each kind: even with every line at its longest (255 octets and 13 around them) the whole text
/// then stays within one TCP message, whatever the cluster's size and names.
const NODES_TOLD: usize = 100;

/// How a chain is answered: lines of at most 255 octets each, as one TXT record holds one line. Made from the same
/// plan as the decks.
///
/// ```text
/// scope=dc1/rack1 chain=dc1/rack1>dc1 epoch=1142827008 ttl=5s
/// A: level 2 of 2 (dc1), 4 nodes, fallback
/// AAAA: none in this scope
/// in 127.0.1.121 dc1/rack2: up
/// out 127.0.1.111 dc1/rack1: down: connection refused
/// ```
pub fn explain(zone: &CompiledZone, chain: usize) -> Vec<String> {
    let plan = &zone.plan;
    let Some(scope) = plan.scopes.get(chain) else { return Vec::new() };
    let names: Vec<String> = scope.chain.iter().map(Scope::to_string).collect();
    let mut lines = vec![format!(
        "scope={} chain={} epoch={} ttl={}s",
        names.first().map_or("", String::as_str),
        names.join(">"),
        zone.epoch,
        plan.ttl(&zone.source, scope)
    )];
    let warnings = [
        (
            plan.is_stale(scope),
            "stale: nothing in this chain is known to serve; the last known good nodes are answered",
        ),
        (plan.remembered, "remembered: discovery has not succeeded since the start; nodes are from the state file"),
        (plan.stale, "no node answers discovery; the topology is the last one known"),
        (plan.panic, "panic: too many nodes are silent to us while the cluster lists them; the prober is distrusted"),
        (plan.flat, "the servers ignore dc and rack; every scope is the whole cluster"),
    ];
    lines.extend(warnings.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text.to_owned()));
    lines.extend([Family::V4, Family::V6].map(|family| told_family(scope.family(family), family, &names)));

    let served: BTreeMap<_, &Node> = scope.nodes().map(|node| (node.address, node)).collect();
    let (mut inside, mut outside) = (Told::default(), Told::default());
    for node in plan.nodes() {
        let is_served = served.contains_key(&node.address);
        // Nodes of lower levels matter only when they are served.
        let level = scope.chain.iter().position(|scope| plan.flat || scope.contains(node));
        if !is_served && level.is_none_or(|level| level > deepest_level(scope)) {
            continue;
        }
        let told = if is_served { &mut inside } else { &mut outside };
        told.add(|| {
            let verdict = plan.verdicts.get(node.address).map_or_else(String::new, ToString::to_string);
            format!("{} {} {}: {verdict}", if is_served { "in" } else { "out" }, node.address, node.place())
        });
    }
    for Told { lines: nodes, more } in [inside, outside] {
        lines.extend(nodes);
        if more > 0 {
            lines.push(format!("... and {more} more"));
        }
    }
    lines.into_iter().map(cut).collect()
}

/// Nodes of one kind.
#[derive(Default)]
struct Told {
    lines: Vec<String>,
    /// How many are not told.
    more: usize,
}

impl Told {
    /// Adds a node, whose line is written only if it is told.
    fn add(&mut self, line: impl FnOnce() -> String) {
        match self.lines.len() < NODES_TOLD {
            true => self.lines.push(line()),
            false => self.more += 1,
        }
    }
}

/// The deepest level of the chain that any family is served from.
fn deepest_level(scope: &crate::plan::ScopePlan) -> usize {
    let level = |plan: &FamilyPlan| if let FamilyPlan::Serve { level, .. } = plan { *level } else { 0 };
    level(&scope.v4).max(level(&scope.v6))
}

fn told_family(plan: &FamilyPlan, family: Family, chain: &[String]) -> String {
    let rtype = if family == Family::V4 { "A" } else { "AAAA" };
    match plan {
        FamilyPlan::Absent => format!("{rtype}: none in this scope"),
        FamilyPlan::Unready => format!("{rtype}: not ready, no node was ever known to serve"),
        FamilyPlan::Serve { level, nodes, serving, .. } => {
            let how = match (serving, level) {
                (Serving::LastKnown, _) => "last known good",
                (Serving::Live, 0) => "live",
                (Serving::Live, _) => "fallback",
            };
            let plural = if nodes.len() == 1 { "" } else { "s" };
            format!(
                "{rtype}: level {} of {} ({}), {} node{plural}, {how}",
                level + 1,
                chain.len(),
                chain[*level],
                nodes.len()
            )
        }
    }
}

/// A character-string holds at most 255 octets (RFC 1035 section 3.3); names of racks are free text.
fn cut(mut line: String) -> String {
    let mut end = line.len().min(255);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}
