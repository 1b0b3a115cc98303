//! How the answers of a chain come about: from the same plan as the decks, for programs and for people.

use std::{collections::BTreeSet, net::IpAddr, time::SystemTime};

use serde::Serialize;

use super::{CompiledZone, ZonePlan};
use crate::{
    model::{Member, Prefix, Scope, rfc3339, rfc3339_seconds},
    plan::{Family, FamilyPlan, ScopePlan, Serving, TtlReason, View},
};

/// Nodes told of in a text, of each kind: even with every line at its longest (255 octets and 13 around them) the whole
/// text then stays within one TCP message, whatever the cluster's size and names.
const NODES_TOLD: usize = 100;

/// Levels told of in a text, for each family and for the same reason.
const LEVELS_TOLD: usize = 8;

/// Nodes told of that nothing maps: enough to see which rule is missing.
const UNMAPPED_TOLD: usize = 8;

/// How a chain is answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChainStory {
    /// What its names stand for.
    pub scope: String,
    /// The scopes tried in order.
    pub chain: Vec<String>,
    /// The zone's epoch.
    pub epoch: u32,
    /// TTL of the answers of both families together, seconds.
    pub ttl: u32,
    /// What is out of the ordinary with the whole zone.
    pub warnings: Vec<&'static str>,
    /// What the asker is given in place of the nodes' own addresses; `None` where the zone has no rules for that.
    pub view: Option<ViewStory>,
    /// A, then AAAA.
    pub families: [FamilyStory; 2],
    /// The nodes of all levels down to the one that is answered from, by address, those answered first.
    pub nodes: Vec<NodeStory>,
}

/// How one address family of a chain is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FamilyStory {
    /// `A` or `AAAA`.
    pub rtype: &'static str,
    /// `live`, `fallback`, `last known good`, `lent`, `absent` or `unready`.
    pub answer: &'static str,
    /// The level that is answered from, counted from 1; none where the nodes are lent.
    pub level: Option<usize>,
    /// Its scope, or the zone that lends.
    pub from: Option<String>,
    /// The nodes answered.
    pub addresses: Vec<IpAddr>,
    /// Seconds.
    pub ttl: Option<u32>,
    /// Why the TTL is what it is.
    pub ttl_reason: Option<String>,
    /// The levels above the one that is answered from, or all of them, and why they are not.
    pub passed: Vec<LevelStory>,
}

/// A level of a chain that is not answered from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelStory {
    /// Counted from 1.
    pub level: usize,
    /// Its scope.
    pub scope: String,
    /// Its nodes of the family.
    pub nodes: usize,
    /// Why it is not answered from.
    pub why: String,
}

/// What an asker sees of the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewStory {
    /// Who asks.
    pub client: IpAddr,
    /// The view's number; 0 is everybody's.
    pub number: usize,
    /// Whose view it is; nobody's for everybody's.
    pub clients: Vec<String>,
    /// How it was found.
    pub why: String,
    /// The nodes told of that no rule maps: they are given by their own addresses.
    pub unmapped: Vec<IpAddr>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeStory {
    /// Its address.
    pub address: IpAddr,
    /// The address that the asker is given for it, where it is not its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<IpAddr>,
    /// The port there, where it is not the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `dc1/rack1`, `dc1` or `-`.
    pub place: String,
    /// Whether it is answered.
    #[serde(rename = "in")]
    pub is_in: bool,
    /// Why.
    pub why: String,
    /// How much of its share it leads, 0 to 1, where it is answered.
    pub weight: Option<f64>,
    /// Until when it leads less than its share.
    #[serde(serialize_with = "date")]
    pub slow_start_until: Option<SystemTime>,
}

fn date<S: serde::Serializer>(date: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    date.map(rfc3339).serialize(serializer)
}

/// How the chain of this index is answered to an asker; `None` where the zone has no such chain.
pub fn story(zone: &CompiledZone, chain: usize, client: IpAddr) -> Option<ChainStory> {
    let plan = &zone.plan;
    let view = plan.views.of(client);
    let scope = plan.scopes_in(view).get(chain)?;
    let nodes = nodes(plan, scope, view);
    let warnings = [
        (
            plan.is_stale(scope),
            "stale: nothing in this chain is known to serve; the last known good nodes are answered",
        ),
        (scope.is_lent(), "lent: nothing of this zone is known to serve; nodes of another zone are answered"),
        (plan.remembered, "remembered: discovery has not succeeded since the start; nodes are from the state file"),
        (plan.stale, "no node answers discovery; the topology is the last one known"),
        (plan.panic, "panic: too many nodes are silent to us while the cluster lists them; the prober is distrusted"),
        (plan.flat, "the servers ignore dc and rack; every scope is the whole cluster"),
    ];
    Some(ChainStory {
        scope: scope.chain.first().map_or_else(String::new, Scope::to_string),
        chain: scope.chain.iter().map(Scope::to_string).collect(),
        epoch: zone.epoch,
        ttl: plan.ttl(&zone.source, scope),
        warnings: warnings.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text).collect(),
        view: plan.views.has_rules().then(|| view_story(plan, view, client, &nodes)),
        families: [Family::V4, Family::V6].map(|family| family_story(plan, scope, family, view)),
        nodes,
    })
}

/// Whose view an asker has, and what is missing in it.
fn view_story(plan: &ZonePlan, number: usize, client: IpAddr, nodes: &[NodeStory]) -> ViewStory {
    let clients: Vec<String> =
        plan.views.get(number).iter().flat_map(|view| &view.clients).map(Prefix::to_string).collect();
    let is_mapped = |node: &&NodeStory| plan.seen(number, node.address).is_mapped;
    let has_rules = plan.views.get(number).is_some_and(View::has_rules);
    let why = match (plan.views.network_of(client), has_rules) {
        (Some(network), _) => format!("rules for clients of {network}"),
        (None, true) => format!("no rule for clients of {client}: rules for everybody"),
        (None, false) => format!("no rule for clients of {client}: nodes' own addresses"),
    };
    // Where there are no rules at all, that says everything.
    let unmapped = nodes.iter().filter(|node| has_rules && !is_mapped(node)).map(|node| node.address);
    ViewStory { client, number, clients, why, unmapped: unmapped.collect() }
}

fn family_story(plan: &ZonePlan, scope: &ScopePlan, family: Family, view: usize) -> FamilyStory {
    let rtype = if family == Family::V4 { "A" } else { "AAAA" };
    let served = scope.family(family);
    let (answer, level) = match served {
        FamilyPlan::Absent => ("absent", None),
        FamilyPlan::Unready => ("unready", None),
        FamilyPlan::Serve { serving: Serving::Lent, .. } => ("lent", None),
        FamilyPlan::Serve { level, serving, .. } => (
            match (serving, level) {
                (Serving::Lent, _) => "lent",
                (Serving::LastKnown, _) => "last known good",
                (Serving::Live, 0) => "live",
                (Serving::Live, _) => "fallback",
            },
            Some(*level),
        ),
    };
    // Of a scope without the family no level is looked at.
    let passed = if answer == "absent" { 0 } else { level.unwrap_or(scope.chain.len()) };
    let levels = scope.chain.iter().take(passed).enumerate();
    FamilyStory {
        rtype,
        answer,
        level: level.map(|level| level + 1),
        from: match plan.lender(served) {
            Some(loan) => Some(loan.zone.clone()),
            None => level.and_then(|level| scope.chain.get(level)).map(Scope::to_string),
        },
        addresses: served.nodes().iter().map(|node| node.address).collect(),
        ttl: served.ttl().map(|ttl| ttl.seconds),
        ttl_reason: served.ttl().map(|ttl| ttl.reason.to_string()),
        passed: levels
            .map(|(level, scope)| {
                passed_level(plan, scope, level, |address| Family::of(plan.seen(view, address).address) == family)
            })
            .collect(),
    }
}

/// Why a level is not answered from.
fn passed_level(plan: &ZonePlan, scope: &Scope, level: usize, is_of_family: impl Fn(IpAddr) -> bool) -> LevelStory {
    let members = plan.topology.members_of(scope).filter(|member| is_of_family(member.node.address));
    let members: Vec<&Member> = members.collect();
    let eligible = members.iter().filter(|member| plan.verdicts.is_eligible(member.node.address)).count();
    let why = match (members.len(), eligible) {
        (0, _) => "no node is known there".to_owned(),
        (1, 0) => "its only node is out".to_owned(),
        (all, 0) => format!("all {all} nodes are out"),
        (all, _) if plan.lent.is_some() => format!("none of {all} nodes is heard"),
        (all, some) => format!("{some} of {all} nodes are in"),
    };
    LevelStory { level: level + 1, scope: scope.to_string(), nodes: members.len(), why }
}

fn nodes(plan: &ZonePlan, scope: &ScopePlan, view: usize) -> Vec<NodeStory> {
    let families = || [&scope.v4, &scope.v6].into_iter();
    // Both clusters may have nodes of the same addresses.
    let of = |is_lent: bool| families().filter(move |family| family.is_lent() == is_lent).flat_map(FamilyPlan::nodes);
    let served: BTreeSet<IpAddr> = of(false).map(|node| node.address).collect();
    let deepest = deepest_level(scope);
    let mut nodes = Vec::new();
    for node in plan.nodes() {
        let is_in = served.contains(&node.address);
        // Nodes of lower levels matter only when they are served.
        let level = scope.chain.iter().position(|scope| plan.flat || scope.contains(node));
        if !is_in && level.is_none_or(|level| level > deepest) {
            continue;
        }
        let ramp = if is_in { plan.ramps.get(node.address) } else { None };
        let seen = plan.seen_own(view, node.address);
        nodes.push(NodeStory {
            address: node.address,
            seen: seen.is_mapped.then_some(seen.address),
            port: seen.port,
            place: node.place(),
            is_in,
            why: why(plan, node.address),
            weight: if is_in { plan.weight(node.address) } else { None },
            slow_start_until: ramp.map(|ramp| ramp.until),
        });
    }
    if let Some(loan) = &plan.lent {
        for node in of(true) {
            let address = node.address;
            let (place, why) = (node.place(), format!("lent by {}", loan.zone));
            let seen = plan.seen(view, address);
            let (seen, port) = (seen.is_mapped.then_some(seen.address), seen.port);
            let (is_in, weight, slow_start_until) = (true, Some(1.0), None);
            nodes.push(NodeStory { address, seen, port, place, is_in, why, weight, slow_start_until });
        }
    }
    nodes.sort_by_key(|node| !node.is_in);
    nodes
}

/// Why a node is in or out.
fn why(plan: &ZonePlan, node: IpAddr) -> String {
    let Some(verdict) = plan.verdicts.get(node) else { return String::new() };
    let is_given_up = plan.lent.is_some() && verdict.is_eligible();
    if is_given_up { format!("{verdict}, but nobody of its zone is heard") } else { verdict.to_string() }
}

/// The deepest level of the chain that any family is served from.
fn deepest_level(scope: &ScopePlan) -> usize {
    let level = |plan: &FamilyPlan| if let FamilyPlan::Serve { level, .. } = plan { *level } else { 0 };
    level(&scope.v4).max(level(&scope.v6))
}

impl FamilyStory {
    /// In one line.
    pub fn line(&self, levels: usize) -> String {
        let FamilyStory { rtype, answer, .. } = self;
        match (*answer, self.level, &self.from) {
            ("absent", ..) => format!("{rtype}: none in this scope"),
            ("lent", _, Some(zone)) => {
                let plural = if self.addresses.len() == 1 { "" } else { "s" };
                format!("{rtype}: lent by {zone}, {} node{plural}", self.addresses.len())
            }
            (_, Some(level), Some(from)) => {
                let plural = if self.addresses.len() == 1 { "" } else { "s" };
                format!("{rtype}: level {level} of {levels} ({from}), {} node{plural}, {answer}", self.addresses.len())
            }
            _ => format!("{rtype}: not ready, no node was ever known to serve"),
        }
    }

    /// Why its TTL is not the configured one, in a line.
    pub fn ttl_line(&self) -> Option<String> {
        let reason = self.ttl_reason.as_ref().filter(|reason| **reason != TtlReason::Base.to_string())?;
        Some(format!("{}: ttl={}s: {reason}", self.rtype, self.ttl?))
    }
}

impl LevelStory {
    /// In one line.
    pub fn line(&self) -> String {
        format!("not level {} ({}): {}", self.level, self.scope, self.why)
    }
}

impl ViewStory {
    /// In lines, the nodes bounded.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("view: {}", self.why)];
        let told = self.unmapped.iter().take(UNMAPPED_TOLD);
        lines.extend(told.map(|address| format!("view: node {address} is not mapped: its own address")));
        let more = self.unmapped.len().saturating_sub(UNMAPPED_TOLD);
        if more > 0 {
            lines.push(format!("view: ... and {more} more nodes"));
        }
        lines
    }
}

impl NodeStory {
    /// In one line.
    pub fn line(&self) -> String {
        let NodeStory { address, place, why, .. } = self;
        let mut line = format!("{} {address} {place}: {why}", if self.is_in { "in" } else { "out" });
        match (self.seen, self.port) {
            (Some(seen), Some(port)) => line.push_str(&format!(", seen at {seen}, port {port}")),
            (Some(seen), None) => line.push_str(&format!(", seen at {seen}")),
            (None, Some(port)) => line.push_str(&format!(", port {port}")),
            (None, None) => {}
        }
        if let (Some(until), Some(weight)) = (self.slow_start_until, self.weight) {
            let until = rfc3339_seconds(until);
            line.push_str(&format!(", leads {:.0} % of its share, slow start until {until}", weight * 100.0));
        }
        line
    }
}

impl ChainStory {
    /// In lines, the nodes bounded.
    ///
    /// ```text
    /// scope=dc1/rack1 chain=dc1/rack1>dc1 epoch=1142827008 ttl=5s
    /// A: level 2 of 2 (dc1), 4 nodes, fallback
    /// A: not level 1 (dc1/rack1): all 2 nodes are out
    /// AAAA: none in this scope
    /// in 127.0.1.121 dc1/rack2: up
    /// out 127.0.1.111 dc1/rack1: down: connection refused
    /// ```
    pub fn lines(&self) -> Vec<String> {
        let ChainStory { scope, epoch, ttl, .. } = self;
        let mut lines = vec![format!("scope={scope} chain={} epoch={epoch} ttl={ttl}s", self.chain.join(">"))];
        lines.extend(self.warnings.iter().map(|warning| (*warning).to_owned()));
        for family in &self.families {
            lines.push(family.line(self.chain.len()));
            let passed = family.passed.iter().take(LEVELS_TOLD);
            lines.extend(passed.map(|level| format!("{}: {}", family.rtype, level.line())));
            lines.extend(family.ttl_line());
        }
        lines.extend(self.view.iter().flat_map(ViewStory::lines));
        lines.extend(node_lines(&self.nodes));
        lines
    }
}

/// Nodes in lines, so many of each kind, and how many are not told.
fn node_lines(nodes: &[NodeStory]) -> Vec<String> {
    let mut lines = Vec::new();
    for is_in in [true, false] {
        let kind = nodes.iter().filter(|node| node.is_in == is_in);
        lines.extend(kind.clone().take(NODES_TOLD).map(NodeStory::line));
        let more = kind.count().saturating_sub(NODES_TOLD);
        if more > 0 {
            lines.push(format!("... and {more} more"));
        }
    }
    lines
}

/// How a chain is answered to an asker: [`ChainStory::lines`] of at most 255 octets each, as one TXT record holds one
/// line.
pub fn explain(zone: &CompiledZone, chain: usize, client: IpAddr) -> Vec<String> {
    story(zone, chain, client).map_or_else(Vec::new, |story| story.lines().into_iter().map(cut).collect())
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
