//! The tables' rows about one node, brought together by its host id.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use super::{TableNode, TableView, row::Row};
use crate::model::{Leaving, Route, Told};

/// States of a node that `/localnodes` leaves out although gossip has it alive: not yet there, or gone. Gossip's older
/// words stand beside those of Raft's topology. Any other word, one that is not known here included, is of a node that
/// takes requests.
const UNLISTED: [&str; 14] = [
    "BOOT",
    "BOOTSTRAPPING",
    "BOOT_REPLACE",
    "HIBERNATE",
    "JOINING",
    "LEFT",
    "LEFT_TOKEN_RING",
    "NONE",
    "REMOVED",
    "REMOVED_TOKEN",
    "REMOVING",
    "REMOVING_TOKEN",
    "REPLACING",
    "SHUTDOWN",
];

/// `release_version` of every node of every release: the Cassandra that drivers take ScyllaDB for.
const CASSANDRA_RELEASE: &str = "3.0.8";

/// Other ways to one node that are kept: one for each private network that clients are in.
const MAX_ROUTES: usize = 64;

/// All rows of one node's tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) local: Vec<Row>,
    pub(super) peers: Vec<Row>,
    pub(super) status: Vec<Row>,
    /// `None` where it was not read.
    pub(super) topology: Option<Vec<Row>>,
    /// `None` where it was not read.
    pub(super) routes: Option<Vec<Row>>,
    /// Of the node itself. Empty where it is not told.
    pub(super) versions: Vec<Row>,
}

/// The view in these tables; otherwise which of them is not what it should be.
pub(super) fn join(tables: &Tables) -> Result<TableView, String> {
    let own = tables.local.first().ok_or("system.local has no row")?;
    // The node itself is in it, always; and whether a column exists shows in any row. Without either nobody would be
    // alive, which no reply means to say.
    if tables.status.is_empty() {
        return Err("system.cluster_status has no row".to_owned());
    }
    if tables.status.iter().all(|row| row.flag("up").is_none()) {
        return Err("system.cluster_status has no column \"up\"".to_owned());
    }
    let index = Index::of(tables);
    let (routes, named_routes) = routes(tables.routes.as_deref().unwrap_or_default());
    let mut view = TableView {
        named_routes,
        lacks_shards: tables.topology.is_none(),
        lacks_routes: tables.routes.is_none(),
        ..TableView::default()
    };
    let mut nodes = BTreeMap::new();
    let peers = tables.peers.iter().map(|row| (row, row.any_address("peer"), false));
    let own_gossip = own.any_address("broadcast_address").or_else(|| own.any_address("listen_address"));
    for (row, gossip, is_self) in [(own, own_gossip, true)].into_iter().chain(peers) {
        let about = index.about(row, gossip);
        if is_self {
            view.own_datacenter = about.datacenter();
        }
        match about.node(is_self, &routes) {
            Read::Node(mut node) => {
                if is_self && let Some(release) = release_in(&tables.versions) {
                    node.told.version = Some(release);
                }
                keep(&mut nodes, *node);
            }
            Read::Unusable => view.skipped += 1,
            Read::Elsewhere => {}
        }
    }
    view.nodes = nodes.into_values().collect();
    mark_those_without_tokens(&mut view.nodes);
    Ok(view)
}

/// Rows by what names a node in them.
struct Index<'a> {
    status_by_id: BTreeMap<String, &'a Row>,
    status_by_gossip: BTreeMap<IpAddr, &'a Row>,
    topology_by_id: BTreeMap<String, &'a Row>,
}

impl<'a> Index<'a> {
    fn of(tables: &'a Tables) -> Self {
        let by_id =
            |rows: &'a [Row]| rows.iter().filter_map(|row| Some((row.id("host_id")?, row))).collect::<BTreeMap<_, _>>();
        let status = &tables.status;
        Index {
            status_by_id: by_id(status),
            status_by_gossip: status.iter().filter_map(|row| Some((row.any_address("peer")?, row))).collect(),
            topology_by_id: by_id(tables.topology.as_deref().unwrap_or_default()),
        }
    }

    /// All that is told of the node of a row of `local` or `peers`. Its gossip address joins where a host id is
    /// missing on either side, never where they differ: a node that replaced another may have its address.
    fn about(&self, row: &'a Row, gossip: Option<IpAddr>) -> About<'a> {
        let id = row.id("host_id");
        let status = id.as_ref().and_then(|id| self.status_by_id.get(id)).copied().or_else(|| {
            let found = self.status_by_gossip.get(&gossip?).copied()?;
            (id.is_none() || found.id("host_id").is_none()).then_some(found)
        });
        let id = id.or_else(|| status?.id("host_id"));
        let topology = id.as_ref().and_then(|id| self.topology_by_id.get(id)).copied();
        About { row, id, status, topology }
    }
}

/// The rows about one node.
struct About<'a> {
    /// Of `local` or `peers`.
    row: &'a Row,
    id: Option<String>,
    status: Option<&'a Row>,
    topology: Option<&'a Row>,
}

/// What the rows about a node come to.
enum Read {
    Node(Box<TableNode>),
    /// It would be listed, but has no address for clients, or no place.
    Unusable,
    /// It would not be listed, and lacks an address or a place: on its way in or out.
    Elsewhere,
}

impl About<'_> {
    fn node(&self, is_self: bool, routes: &BTreeMap<String, BTreeMap<Arc<str>, Route>>) -> Read {
        // Whoever answers is alive, whatever it thinks of itself.
        let up = is_self || self.status.and_then(|row| row.flag("up")).unwrap_or(false);
        let state = self.state();
        let listed = up && state.as_deref().is_none_or(|state| !UNLISTED.contains(&state));
        let (Some(address), Some(datacenter)) = (self.row.address("rpc_address"), self.datacenter()) else {
            return if listed { Read::Unusable } else { Read::Elsewhere };
        };
        let rack = self.row.name("rack").or_else(|| self.status?.name("rack")).or_else(|| self.topology?.name("rack"));
        let version = self.row.word("release_version").or_else(|| self.topology?.word("release_version"));
        let version = version.filter(|version| *version != CASSANDRA_RELEASE);
        let told = Told {
            leaving: self.leaving(state.as_deref()),
            state: state.map(Arc::from),
            version: version.map(Arc::from),
            shards: self.topology.and_then(|row| row.number("shard_count")).filter(|shards| *shards > 0),
            routes: self.id.as_ref().and_then(|id| routes.get(id)).cloned().unwrap_or_default(),
            host_id: self.id.as_deref().map(Arc::from),
        };
        let tokens = self.status.and_then(|row| row.number("tokens"));
        Read::Node(Box::new(TableNode { address, datacenter, rack: rack.map(Arc::from), up, listed, tokens, told }))
    }

    fn datacenter(&self) -> Option<Arc<str>> {
        let told = self.row.name("data_center").or_else(|| self.status?.name("dc"));
        told.or_else(|| self.topology?.name("datacenter")).map(Arc::from)
    }

    /// ScyllaDB's word in upper case: gossip's, or Raft's where gossip has none.
    fn state(&self) -> Option<String> {
        let word = self.status.and_then(|row| row.word("status")).or_else(|| self.topology?.word("node_state"));
        word.map(str::to_ascii_uppercase)
    }

    /// Whether it is on its way out. `topology_request` is what was asked for and has not begun.
    fn leaving(&self, state: Option<&str>) -> Option<Leaving> {
        let raft = |column| self.topology.and_then(|row| row.word(column)).map(str::to_ascii_lowercase);
        let is = |column| self.status.and_then(|row| row.flag(column)) == Some(true);
        let (node_state, request) = (raft("node_state"), raft("topology_request"));
        let (node_state, request) = (node_state.as_deref(), request.as_deref());
        if matches!(state, Some("DECOMMISSIONING" | "LEAVING")) || node_state == Some("decommissioning") {
            Some(Leaving::Decommissioning)
        } else if matches!(state, Some("REMOVING" | "REMOVING_TOKEN")) || node_state == Some("removing") {
            Some(Leaving::Removing)
        } else if is("excluded") {
            Some(Leaving::Excluded)
        } else if is("draining") || matches!(request, Some("leave" | "remove")) {
            Some(Leaving::Draining)
        } else {
            None
        }
    }
}

/// The node's release, without the number of its build: `2025.4.2` of `2025.4.2-0.20260108.9c0d1e2f3a4b`.
pub(super) fn release_in(versions: &[Row]) -> Option<Arc<str>> {
    let version = versions.first()?.word("version")?;
    version.split('-').next().filter(|release| !release.is_empty()).map(Arc::from)
}

/// Keeps one node for each address. Two may share one (`broadcast_rpc_address` of a balancer): whoever asks there
/// reaches either, so it is listed if one of them is, and leaves when the last one does.
fn keep(nodes: &mut BTreeMap<IpAddr, TableNode>, node: TableNode) {
    match nodes.entry(node.address) {
        Entry::Vacant(vacant) => drop(vacant.insert(node)),
        Entry::Occupied(mut known) => {
            let rank = |node: &TableNode| (node.listed, node.told.leaving.is_none(), node.up);
            if rank(&node) > rank(known.get()) {
                known.insert(node);
            }
        }
    }
}

/// A node without tokens has no data and only passes requests on: it leaves where others in their normal state have
/// some. All without any is a cluster in the making, or a version that tells nothing.
fn mark_those_without_tokens(nodes: &mut [TableNode]) {
    let is_normal = |node: &TableNode| node.listed && node.told.state.as_deref() == Some("NORMAL");
    if nodes.iter().any(|node| is_normal(node) && node.told.leaving.is_none() && node.tokens > Some(0)) {
        for node in nodes.iter_mut().filter(|node| is_normal(node) && node.tokens == Some(0)) {
            node.told.leaving.get_or_insert(Leaving::NoTokens);
        }
    }
}

/// Routes by host id and connection id, and how many have a host name for an address.
fn routes(rows: &[Row]) -> (BTreeMap<String, BTreeMap<Arc<str>, Route>>, usize) {
    let mut routes: BTreeMap<String, BTreeMap<Arc<str>, Route>> = BTreeMap::new();
    let mut named = 0;
    for row in rows {
        let (Some(connection), Some(id)) = (row.name("connection_id"), row.id("host_id")) else { continue };
        let Some(address) = row.address("address") else {
            named += usize::from(row.text("address").is_some() && row.any_address("address").is_none());
            continue;
        };
        let port = |column| row.number(column).filter(|port| *port > 0);
        let route = Route { address, port: port("alternator_port"), https_port: port("alternator_https_port") };
        let of_node = routes.entry(id).or_default();
        if of_node.len() < MAX_ROUTES {
            of_node.insert(connection.into(), route);
        }
    }
    (routes, named)
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
