//! Looking at a server: [`Status`] made from a [`Sight`].

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::SystemTime,
};

use super::{
    super::{Sight, ZoneSight},
    DiscoveryStatus, Events, FamilyStatus, LastReload, Listening, NodeStatus, Queries, ReloadStatus, ScopeStatus,
    SeenStatus, ServerStatus, Status, TableStatus, ViewStatus, ZoneStatus,
};
use crate::{
    config::DiscoveryMode,
    discovery::Basis,
    model::{Node, NodeState, Scope, Source, Told, rfc3339},
    overrides,
    plan::{FamilyPlan, ScopePlan, Serving, Verdict, View},
    server::Outcome,
    table::{CompiledZone, ZonePlan},
};

/// The word for a verdict.
pub(in crate::admin) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Up => "up",
        Verdict::Listed => "listed",
        Verdict::Distrusted(_) => "distrusted",
        Verdict::Joining(_) => "joining",
        Verdict::Down(_) => "down",
        Verdict::Left => "left",
        Verdict::Remembered => "remembered",
        Verdict::Leaving(_) => "leaving",
        Verdict::Drained(_) => "drained",
        Verdict::Forced(_) => "forced",
    }
}

/// A zone's name as everything here tells it.
pub(in crate::admin) fn zone_name(zone: &CompiledZone) -> String {
    zone.source.config.name()
}

/// Whether a zone has something to answer: one without a cluster has its records.
pub(in crate::admin) fn is_ready(zone: &CompiledZone) -> bool {
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
                let forced =
                    |node: &Node| overrides.in_force(&name, node, now).map(|forced| overrides::Told::from(&**forced));
                ZoneStatus::of(zone, sight, leads.get(&name), &forced)
            })
            .collect();
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        Status {
            server: ServerStatus::of(sight, now),
            queries: Queries::of(sight),
            zones,
            overrides: overrides.iter().map(|known| overrides::Told::from(&**known)).collect(),
            events: Events { latest: *sight.journal.latest().borrow() },
        }
    }
}

/// Answers led, by zone and node.
pub(in crate::admin) fn leads(sight: &Sight) -> HashMap<String, HashMap<IpAddr, u64>> {
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
            identity: sight.identity.load().as_deref().cloned(),
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
        forced: &dyn Fn(&Node) -> Option<overrides::Told>,
    ) -> Self {
        let plan = &zone.plan;
        let health = sight.map(|sight| sight.health.borrow().clone());
        let node = |node: &Node| {
            let verdict = plan.verdicts.get(node.address);
            let health = health.as_ref().and_then(|health| health.get(node.address));
            NodeStatus {
                address: node.address.to_string(),
                seen: seen(plan, node),
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
                told: plan.topology.members.get(&node.address).map(|member| TableStatus::of(&member.told)),
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
            tls: sight.and_then(|sight| sight.identity.told()),
            unverified: sight.is_some_and(|sight| sight.identity.is_unverified()),
            source: source.to_owned(),
            lent_by: plan.lent.as_ref().map(|loan| loan.zone.clone()),
            shares_with: sight.map(|sight| sight.shares_with.clone()).unwrap_or_default(),
            discovery: sight.map(DiscoveryStatus::of).unwrap_or_default(),
            ttl: u32::try_from(zone.source.config.ttl.as_secs()).unwrap_or(u32::MAX),
            views: views(plan),
            nodes: plan.nodes().map(node).collect(),
            scopes: scopes(zone),
        }
    }
}

/// Who is given which addresses.
fn views(plan: &ZonePlan) -> Vec<ViewStatus> {
    let view = |(number, view): (usize, &View)| ViewStatus {
        clients: view.clients.iter().map(ToString::to_string).collect(),
        mapped: plan.nodes().filter(|node| plan.seen(number, node.address).is_mapped).count(),
        unmapped: plan.unmapped(number).count(),
    };
    let views = plan.views.iter().enumerate().filter(|_| plan.views.has_rules());
    views.map(view).collect()
}

/// Where a node is seen at another address than its own.
fn seen(plan: &ZonePlan, node: &Node) -> Vec<SeenStatus> {
    let seen = (0..plan.views.count()).map(|view| (view, plan.seen(view, node.address)));
    let mapped = seen.filter(|(_, seen)| seen.is_mapped);
    mapped.map(|(view, seen)| SeenStatus { view, address: seen.address.to_string(), port: seen.port }).collect()
}

impl TableStatus {
    fn of(told: &Told) -> Self {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        TableStatus {
            host_id: text(&told.host_id),
            state: text(&told.state),
            version: text(&told.version),
            shards: told.shards,
        }
    }
}

impl DiscoveryStatus {
    fn of(sight: &ZoneSight) -> Self {
        let Basis { mode, means, reason, unread } = sight.discovery.basis();
        DiscoveryStatus { mode: mode_word(mode).to_owned(), source: means.word().to_owned(), reason, unread }
    }
}

/// A mode as it is configured.
fn mode_word(mode: DiscoveryMode) -> &'static str {
    match mode {
        DiscoveryMode::Auto => "auto",
        DiscoveryMode::Localnodes => "localnodes",
        DiscoveryMode::SystemTables => "system_tables",
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
            level: (!family.is_lent()).then_some(*level),
            from: scope.chain.get(*level).map(Scope::to_string),
            nodes: nodes.iter().map(|node| node.address.to_string()).collect(),
            serving: match serving {
                Serving::Live => "live",
                Serving::LastKnown => "last_known",
                Serving::Lent => "lent",
            }
            .to_owned(),
            ttl,
        },
        FamilyPlan::Unready => FamilyStatus { serving: "unready".to_owned(), ttl, ..FamilyStatus::default() },
        FamilyPlan::Absent => FamilyStatus { serving: "absent".to_owned(), ttl, ..FamilyStatus::default() },
    }
}
