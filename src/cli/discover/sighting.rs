//! The cluster as one of its nodes tells of it, and what would be served of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use hickory_proto::rr::Name;
use serde::Serialize;

use super::sans::{Sans, text};
use crate::{
    config::ZoneConfig,
    discovery::tables::TableView,
    model::Scope,
    table::{ScopeNames, scope_names},
    zone::{file::StaticZone, label::node_label},
};

/// What an operator is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sighting {
    /// The zone that it would be served as.
    pub(super) zone: String,
    /// The node that told all this.
    pub(super) seed: IpAddr,
    /// Alternator's port.
    pub(super) port: u16,
    /// `system_tables` or `localnodes`.
    pub(super) source: Source,
    /// Why it is `localnodes`, where the tables could not be read.
    pub(super) reason: Option<String>,
    /// Datacenters and their racks, as far as they are known.
    pub(super) datacenters: BTreeMap<String, BTreeSet<String>>,
    pub(super) nodes: Vec<SeenNode>,
    /// Every scope with its names.
    pub(super) names: Vec<ScopeLine>,
    /// Scopes or names that nothing gets, and why.
    pub(super) unnamed: Vec<String>,
    pub(super) sans: Sans,
    /// What is odd.
    pub(super) notes: Vec<String>,
}

/// Where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    SystemTables,
    Localnodes,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SeenNode {
    pub(super) address: IpAddr,
    pub(super) datacenter: Option<String>,
    pub(super) rack: Option<String>,
    /// ScyllaDB's word; `None` where it was not told.
    pub(super) state: Option<String>,
    /// Whether the cluster has it alive.
    pub(super) up: bool,
    /// Whether the cluster would have it in lists for clients.
    pub(super) listed: bool,
    /// Why it gets no new clients although it may serve.
    pub(super) leaving: Option<String>,
    pub(super) version: Option<String>,
    pub(super) shards: Option<u32>,
    pub(super) tokens: Option<u32>,
    pub(super) host_id: Option<String>,
    /// Whether its port answered this program: "yes", or why not. `None` when it was not asked.
    pub(super) answers: Option<String>,
}

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ScopeLine {
    /// The name people type first.
    pub(super) name: String,
    /// What is answered: the scopes of its chain, the first one that has a node.
    pub(super) chain: Vec<String>,
    /// Other spellings.
    pub(super) also: Vec<String>,
}

impl SeenNode {
    /// A node of a list: the cluster lists it, and nothing else is known.
    pub(super) fn listed(address: IpAddr) -> Self {
        SeenNode {
            address,
            datacenter: None,
            rack: None,
            state: None,
            up: true,
            listed: true,
            leaving: None,
            version: None,
            shards: None,
            tokens: None,
            host_id: None,
            answers: None,
        }
    }
}

/// The nodes of a view, in the order of their places.
pub(super) fn nodes_of(view: &TableView) -> Vec<SeenNode> {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let seen = view.nodes.iter().map(|node| SeenNode {
        address: node.address,
        datacenter: Some(node.datacenter.to_string()),
        rack: text(&node.rack),
        state: text(&node.told.state),
        up: node.up,
        listed: node.listed,
        leaving: node.told.leaving.map(|leaving| leaving.to_string()),
        version: text(&node.told.version),
        shards: node.told.shards,
        tokens: node.tokens,
        host_id: text(&node.told.host_id),
        answers: None,
    });
    let mut seen: Vec<SeenNode> = seen.collect();
    seen.sort_by(|a, b| (&a.datacenter, &a.rack, a.address).cmp(&(&b.datacenter, &b.rack, b.address)));
    seen
}

/// What is odd about a view.
pub(super) fn notes_of(view: &TableView) -> Vec<String> {
    let mut notes = Vec::new();
    if view.skipped > 0 {
        notes.push(format!(
            "{} left out: no address that clients can connect to (rpc_address, broadcast_rpc_address), or no datacenter",
            counted(view.skipped, "node is", "nodes are")
        ));
    }
    if view.named_routes > 0 {
        notes.push(format!(
            "{} in client_routes left out: a host name, where an answer needs an address",
            counted(view.named_routes, "route is", "routes are")
        ));
    }
    notes.extend(view.unread.iter().map(|failure| format!("a part is missing: {failure}")));
    notes
}

/// `1 node`, `2 nodes`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The datacenters and racks of the nodes.
pub(super) fn places(nodes: &[SeenNode]) -> BTreeMap<String, BTreeSet<String>> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        let Some(dc) = &node.datacenter else { continue };
        places.entry(dc.clone()).or_default().extend(node.rack.clone());
    }
    places
}

/// The names that the zone would have with the scopes of these nodes and the configured ones.
pub(super) fn names_with(zone: &ZoneConfig, statics: &StaticZone, nodes: &[SeenNode]) -> ScopeNames {
    let mut seen = BTreeSet::new();
    // A place that is down keeps its names.
    for node in nodes {
        let Some(dc) = &node.datacenter else { continue };
        let dc: Arc<str> = dc.as_str().into();
        seen.extend(node.rack.iter().map(|rack| Scope::Rack(dc.clone(), rack.as_str().into())));
        seen.insert(Scope::Datacenter(dc));
    }
    scope_names(zone, &seen, statics)
}

/// A line for each scope.
pub(super) fn scope_lines(names: &ScopeNames, spelt: impl Fn(usize) -> Vec<String>) -> Vec<ScopeLine> {
    let lines = names.chains.iter().enumerate().filter_map(|(index, chain)| {
        let mut also = spelt(index).into_iter();
        let name = also.next()?;
        Some(ScopeLine { name, chain: chain.iter().map(Scope::to_string).collect(), also: also.collect() })
    });
    lines.collect()
}

/// The names for a certificate; written out with the nodes' own where there shall be no wildcards.
pub(super) fn sans_of(apex: &Name, names: &ScopeNames, nodes: &[SeenNode], written_out: bool) -> Sans {
    if !written_out {
        return Sans::with_wildcards(apex, names.names.keys());
    }
    let labels = nodes.iter().map(|node| node_label(node.address));
    let of_nodes: Vec<Name> =
        labels.filter_map(|label| Name::from_ascii(label).ok()?.append_domain(apex).ok()).collect();
    Sans::written_out(apex, names.names.keys().chain(&of_nodes))
}

/// The zone's name for people.
pub(super) fn zone_name(zone: &ZoneConfig) -> String {
    text(&zone.apex)
}
