//! The whole state of a server as one value: what `/status.json` says, and `alternator-dns status` reads.
//!
//! Every field has a default when it is read, so that a client may be older or newer than the server it asks.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{Sight, ZoneSight};
use crate::{
    model::{Node, NodeState, Origin, Override, Scope, Source},
    plan::{FamilyPlan, ScopePlan, Serving, Verdict},
    server::Outcome,
    table::{CompiledZone, ZonePlan},
};

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The process.
    pub server: ServerStatus,
    /// What queries became.
    pub queries: Queries,
    /// The zones, by name.
    pub zones: Vec<ZoneStatus>,
    /// What operators forced, in force or not.
    pub overrides: Vec<OverrideStatus>,
    /// The journal.
    pub events: Events,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStatus {
    /// Of the program.
    pub version: String,
    /// What the server is called, where it tells.
    pub identity: Option<String>,
    /// When it started, RFC 3339.
    pub started: String,
    /// Seconds since.
    pub uptime: f64,
    /// Number of the process.
    pub pid: u32,
    /// Where it answers.
    pub listen: Vec<Listening>,
    /// What became of reloads.
    pub reload: ReloadStatus,
}

/// An address that is answered on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listening {
    /// `udp`, `tcp`, `tls`, `https`, `quic`.
    pub transport: String,
    /// Address and port.
    pub address: String,
}

/// What became of reloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadStatus {
    /// How many succeeded.
    pub succeeded: u64,
    /// How many failed, and changed nothing.
    pub failed: u64,
    /// The last one.
    pub last: Option<LastReload>,
}

/// One reload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastReload {
    /// When it ended, RFC 3339.
    pub at: String,
    /// Why it failed; `None` = it did not.
    pub error: Option<String>,
}

/// What queries became.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queries {
    /// Queries by outcome.
    pub by_outcome: BTreeMap<String, u64>,
    /// All of them.
    pub total: u64,
}

/// One zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneStatus {
    /// Its name, without trailing dot.
    pub name: String,
    /// Number of what is served: grows with each change, and is the SOA serial.
    pub epoch: u32,
    /// There is something to answer.
    pub ready: bool,
    /// No node answers discovery: the topology is the last one known.
    pub stale: bool,
    /// The topology is from the state file: discovery has not succeeded since the start.
    pub remembered: bool,
    /// The servers ignore datacenters and racks: each scope is the whole cluster.
    pub flat: bool,
    /// The prober is distrusted.
    pub panic: bool,
    /// Where the topology is from: `nothing`, `snapshot` (the state file), `discovery`.
    pub source: String,
    /// TTL of addresses as configured, seconds.
    pub ttl: u32,
    /// Every node known, by address.
    pub nodes: Vec<NodeStatus>,
    /// Every chain that names stand for.
    pub scopes: Vec<ScopeStatus>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Where clients connect to.
    pub address: String,
    /// Its datacenter, where learnt.
    pub datacenter: Option<String>,
    /// Its rack, where learnt.
    pub rack: Option<String>,
    /// One of [`VERDICTS`].
    pub verdict: String,
    /// It may be answered.
    #[serde(rename = "in")]
    pub is_in: bool,
    /// The verdict and its cause, for people.
    pub reason: String,
    /// What our probes say: `joining`, `up`, `down`.
    pub state: String,
    /// Since when, RFC 3339; `None` = never probed.
    pub since: Option<String>,
    /// What the last probe took.
    pub probe_seconds: Option<f64>,
    /// Answers it led since the start.
    pub led: u64,
    /// Share of its full weight, where it is answered.
    pub weight: Option<f64>,
    /// The override in force.
    #[serde(rename = "override")]
    pub forced: Option<OverrideStatus>,
}

/// What one chain answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeStatus {
    /// The scope that its names stand for: `cluster`, `dc1`, `dc1/rack1`.
    pub name: String,
    /// Its owner names, without trailing dots.
    pub names: Vec<String>,
    /// The scopes tried in order.
    pub chain: Vec<String>,
    /// What A is answered with.
    pub a: FamilyStatus,
    /// What AAAA is answered with.
    pub aaaa: FamilyStatus,
}

/// What one chain answers for one address family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FamilyStatus {
    /// Level of the chain in use; 0 = its own. `None` = there is no answer.
    pub level: Option<usize>,
    /// The scope of that level.
    pub from: Option<String>,
    /// The nodes answered.
    pub nodes: Vec<String>,
    /// `live`, `last_known` (stale), `unready` (SERVFAIL), `absent` (NODATA).
    pub serving: String,
    /// TTL of the answers, seconds.
    pub ttl: u32,
}

/// What an operator forced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverrideStatus {
    /// The nodes meant: an address, a network, `dc1/rack1`, `dc1`, or a pattern.
    pub target: String,
    /// `drain` or `force-up`.
    pub action: String,
    /// The zone meant; `None` = all.
    pub zone: Option<String>,
    /// When it begins, RFC 3339.
    pub from: String,
    /// When it ends; `None` = when somebody ends it.
    pub until: Option<String>,
    /// When it was decided.
    pub set_at: String,
    /// Who decided.
    pub by: String,
    /// Why.
    pub reason: String,
    /// `api` or `file`.
    pub origin: String,
}

/// The journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Number of the latest change.
    pub latest: u64,
}

/// The words for [`Verdict`]s.
pub const VERDICTS: [&str; 9] =
    ["up", "listed", "distrusted", "forced", "joining", "down", "drained", "left", "remembered"];

/// The word for a verdict.
pub(super) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Up => "up",
        Verdict::Listed => "listed",
        Verdict::Distrusted(_) => "distrusted",
        Verdict::Joining(_) => "joining",
        Verdict::Down(_) => "down",
        Verdict::Left => "left",
        Verdict::Remembered => "remembered",
        Verdict::Drained(_) => "drained",
        Verdict::Forced(_) => "forced",
    }
}

/// The word for an origin.
pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Api => "api",
        Origin::File => "file",
    }
}

/// A time as everything here tells it: RFC 3339 in UTC, with milliseconds.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// A zone's name as everything here tells it.
pub(super) fn zone_name(zone: &CompiledZone) -> String {
    zone.source.config.name()
}

/// Whether a zone has something to answer: one without a cluster has its records.
pub(super) fn is_ready(zone: &CompiledZone) -> bool {
    zone.source.config.cluster.seeds.is_empty() || zone.plan.is_ready()
}

impl Status {
    /// The state of now. Takes some milliseconds with a thousand nodes.
    pub fn of(sight: &Sight, now: SystemTime) -> Self {
        let (sights, table) = (sight.zones.load(), sight.table.load_full());
        let overrides = sight.overrides.borrow().clone();
        let leads = leads(sight);
        let mut zones: Vec<ZoneStatus> = table
            .zones()
            .map(|zone| {
                let name = zone_name(zone);
                let sight = sights.iter().find(|sight| sight.name == name);
                let forced = |node: &Node| overrides.in_force(&name, node, now).map(|forced| told(forced));
                ZoneStatus::of(zone, sight, leads.get(&name), &forced)
            })
            .collect();
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        Status {
            server: ServerStatus::of(sight, now),
            queries: Queries::of(sight),
            zones,
            overrides: overrides.iter().map(|known| told(known)).collect(),
            events: Events { latest: *sight.journal.latest().borrow() },
        }
    }
}

/// Answers led, by zone and node.
pub(super) fn leads(sight: &Sight) -> HashMap<String, HashMap<IpAddr, u64>> {
    let mut leads: HashMap<String, HashMap<IpAddr, u64>> = HashMap::new();
    for (zone, node, led) in sight.counters.leads() {
        leads.entry(zone).or_default().insert(node, led);
    }
    leads
}

impl ServerStatus {
    fn of(sight: &Sight, now: SystemTime) -> Self {
        let listening = |transport: &str, address: &std::net::SocketAddr| Listening {
            transport: transport.to_lowercase(),
            address: address.to_string(),
        };
        let mut listen = Vec::new();
        for (transport, address) in sight.listen.load().iter() {
            listen.push(listening(&transport.to_string(), address));
            if *transport == crate::server::Transport::Udp {
                listen.push(listening("tcp", address));
            }
        }
        let last = sight.reloads.last();
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: sight.identity.clone(),
            started: rfc3339(sight.started),
            uptime: now.duration_since(sight.started).unwrap_or_default().as_secs_f64(),
            pid: std::process::id(),
            listen,
            reload: ReloadStatus {
                succeeded: sight.reloads.succeeded(),
                failed: sight.reloads.failed(),
                last: last.map(|(at, result)| LastReload { at: rfc3339(at), error: result.err() }),
            },
        }
    }
}

impl Queries {
    /// The counters of now.
    pub fn of(sight: &Sight) -> Self {
        let by_outcome: BTreeMap<String, u64> =
            Outcome::ALL.iter().map(|outcome| (outcome.to_string(), sight.counters.get(*outcome))).collect();
        Queries { total: by_outcome.values().sum(), by_outcome }
    }
}

impl ZoneStatus {
    fn of(
        zone: &CompiledZone,
        sight: Option<&ZoneSight>,
        leads: Option<&HashMap<IpAddr, u64>>,
        forced: &dyn Fn(&Node) -> Option<OverrideStatus>,
    ) -> Self {
        let plan = &zone.plan;
        let health = sight.map(|sight| sight.health.borrow().clone());
        let node = |node: &Node| {
            let verdict = plan.verdicts.get(node.address);
            let health = health.as_ref().and_then(|health| health.get(node.address));
            NodeStatus {
                address: node.address.to_string(),
                datacenter: node.datacenter.as_deref().map(str::to_owned),
                rack: node.rack.as_deref().map(str::to_owned),
                verdict: verdict.map(word).unwrap_or_default().to_owned(),
                is_in: verdict.is_some_and(Verdict::is_eligible),
                reason: verdict.map(ToString::to_string).unwrap_or_default(),
                state: health.map_or(NodeState::Joining, |health| health.state).to_string(),
                since: health.and_then(|health| health.since).map(rfc3339),
                probe_seconds: sight.and_then(|sight| sight.probes.last(node.address)).map(|took| took.as_secs_f64()),
                led: leads.and_then(|leads| leads.get(&node.address)).copied().unwrap_or_default(),
                weight: plan.weight(node.address),
                forced: forced(node),
            }
        };
        let source = match plan.topology.source {
            Source::Nothing => "nothing",
            Source::Snapshot => "snapshot",
            Source::Discovery => "discovery",
        };
        ZoneStatus {
            name: zone_name(zone),
            epoch: zone.epoch,
            ready: is_ready(zone),
            stale: plan.stale,
            remembered: plan.remembered,
            flat: plan.flat,
            panic: plan.panic,
            source: source.to_owned(),
            ttl: u32::try_from(zone.source.config.ttl.as_secs()).unwrap_or(u32::MAX),
            nodes: plan.nodes().map(node).collect(),
            scopes: scopes(zone),
        }
    }
}

fn scopes(zone: &CompiledZone) -> Vec<ScopeStatus> {
    let plan = &zone.plan;
    let mut names: Vec<Vec<String>> = vec![Vec::new(); plan.scopes.len()];
    for (name, chain) in &plan.names.names {
        if let Some(names) = names.get_mut(*chain) {
            names.push(name.to_ascii().trim_end_matches('.').to_owned());
        }
    }
    let scope = |(scope, names): (&ScopePlan, Vec<String>)| ScopeStatus {
        name: scope.chain.first().map(Scope::to_string).unwrap_or_default(),
        names,
        chain: scope.chain.iter().map(Scope::to_string).collect(),
        a: family(zone, plan, scope, &scope.v4),
        aaaa: family(zone, plan, scope, &scope.v6),
    };
    plan.scopes.iter().zip(names).map(scope).collect()
}

fn family(zone: &CompiledZone, plan: &ZonePlan, scope: &ScopePlan, family: &FamilyPlan) -> FamilyStatus {
    let ttl = plan.family_ttl(&zone.source, family);
    match family {
        FamilyPlan::Serve { level, nodes, serving, .. } => FamilyStatus {
            level: Some(*level),
            from: scope.chain.get(*level).map(Scope::to_string),
            nodes: nodes.iter().map(|node| node.address.to_string()).collect(),
            serving: if *serving == Serving::Live { "live" } else { "last_known" }.to_owned(),
            ttl,
        },
        FamilyPlan::Unready => FamilyStatus { serving: "unready".to_owned(), ttl, ..FamilyStatus::default() },
        FamilyPlan::Absent => FamilyStatus { serving: "absent".to_owned(), ttl, ..FamilyStatus::default() },
    }
}

fn told(known: &Override) -> OverrideStatus {
    OverrideStatus {
        target: known.target.to_string(),
        action: known.action.to_string(),
        zone: known.zone.clone(),
        from: rfc3339(known.from),
        until: known.until.map(rfc3339),
        set_at: rfc3339(known.set_at),
        by: known.by.clone(),
        reason: known.reason.clone(),
        origin: origin(known.origin).to_owned(),
    }
}
