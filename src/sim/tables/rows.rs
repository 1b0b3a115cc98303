//! The rows of each table, as one node sees them.

use std::net::IpAddr;

use super::{
    super::{
        ClientRoute, NodeSpec,
        gossip::{Member, Seen},
        spec::{CASSANDRA_RELEASE, KnownAs, host_id},
    },
    Row, View,
};

/// The version of the schema, which all nodes agree on.
const SCHEMA_VERSION: &str = "8c2f4c0e-6d0b-3a58-9f0e-2b7b1c5d4e3f";

/// What nodes say that they support: a part of it, each of the names is real.
const FEATURES: &str = "ALTERNATOR_TTL,CDC,COLLECTION_INDEXING,GROUP0_SCHEMA_VERSIONING,HOST_ID_BASED_HINTED_HANDOFF,\
    LARGE_COLLECTION_DETECTION,MAINTENANCE_TENANT,PARALLELIZED_AGGREGATION,PER_TABLE_PARTITIONERS,RANGE_TOMBSTONES,\
    SUPPORTS_CONSISTENT_TOPOLOGY_CHANGES,SUPPORTS_RAFT_CLUSTER_MANAGEMENT,TABLETS,TYPED_ERRORS_IN_READ_RPC,VIEW_VIRTUAL_COLUMNS";

/// Bytes on every node's disk.
const LOAD: &str = "724992.0";

/// One row for every node in gossip: also those that join, and those that have left.
pub(super) fn cluster_status<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    let with_tokens = view.seen.iter().filter(|seen| seen.member.tokens.is_some()).count();
    let rows = view.seen.iter().map(|&Seen { member, up }| {
        let (spec, facts) = (&member.spec, member.facts());
        let mut row = Row::from([
            ("peer", spec.peer().into()),
            ("up", up.into()),
            ("status", member.status().into()),
            ("load", LOAD.into()),
            ("tokens", spec.tokens.into()),
            ("host_id", spec.host_id.as_str().into()),
        ]);
        if spec.tokens > 0 {
            row.insert("owns", format!("{:.6}", 1.0 / with_tokens as f64).into());
        }
        if is_in_topology(member) {
            row.insert("dc", spec.datacenter.as_str().into());
            if view.version.has_status_columns() {
                row.insert("rack", spec.rack.as_str().into());
                row.insert("draining", facts.draining.into());
                row.insert("excluded", facts.excluded.into());
            }
        }
        row
    });
    let invented = invented(view).map(|address| {
        let own = &view.own.spec;
        let mut row = Row::from([
            ("peer", address.into()),
            ("dc", own.datacenter.as_str().into()),
            ("up", true.into()),
            ("status", "NORMAL".into()),
            ("load", LOAD.into()),
            ("tokens", own.tokens.into()),
            ("host_id", host_id(address).into()),
        ]);
        if view.version.has_status_columns() {
            row.extend([("rack", own.rack.as_str().into()), ("draining", false.into()), ("excluded", false.into())]);
        }
        row
    });
    rows.chain(invented).collect()
}

/// The other nodes. Of one that joins, only its host id is known; one that has left is not there.
pub(super) fn peers<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    let own = view.own.spec.address;
    let others = view.seen.iter().map(|seen| seen.member).filter(|member| member.spec.address != own);
    let rows = others.filter(|member| is_in_topology(member)).map(|member| {
        let spec = &member.spec;
        let mut row = Row::from([("peer", spec.peer().into()), ("host_id", spec.host_id.as_str().into())]);
        if !member.facts().normal {
            return row;
        }
        row.extend([("preferred_ip", spec.peer().into())]);
        if spec.known_as != KnownAs::Nothing {
            row.insert("rpc_address", spec.address.into());
        }
        row.extend(about(member));
        row
    });
    let invented = invented(view).map(|address| {
        let own = &view.own.spec;
        Row::from([
            ("peer", address.into()),
            ("host_id", host_id(address).into()),
            ("data_center", own.datacenter.as_str().into()),
            ("rack", own.rack.as_str().into()),
            ("rpc_address", address.into()),
            ("release_version", CASSANDRA_RELEASE.into()),
        ])
    });
    rows.chain(invented).chain(odd_peers(view)).collect()
}

/// The node itself.
pub(super) fn local<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    let spec = &view.own.spec;
    let mut row = Row::from([
        ("key", "local".into()),
        ("bootstrapped", "COMPLETED".into()),
        ("broadcast_address", spec.peer().into()),
        ("cluster_name", "simulated".into()),
        ("cql_version", "3.3.1".into()),
        ("gossip_generation", "1767225600".into()),
        ("host_id", spec.host_id.as_str().into()),
        ("listen_address", spec.peer().into()),
        ("native_protocol_version", "4".into()),
        ("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner".into()),
        ("rpc_address", spec.address.into()),
    ]);
    row.extend(about(view.own));
    vec![row]
}

/// What `peers` and `local` both say of a node.
fn about(member: &Member) -> impl Iterator<Item = (&'static str, super::Cell<'_>)> {
    let spec = &member.spec;
    let tokens = member.tokens.as_deref().map(|tokens| ("tokens", tokens.into()));
    [
        ("data_center", spec.datacenter.as_str().into()),
        ("rack", spec.rack.as_str().into()),
        ("release_version", spec.release_version.as_str().into()),
        ("schema_version", SCHEMA_VERSION.into()),
        ("supported_features", FEATURES.into()),
    ]
    .into_iter()
    .chain(tokens)
}

/// The truth that raft keeps, static columns in every row. Nodes that have left stay in it.
pub(super) fn topology<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    let rows = view.seen.iter().map(|&Seen { member, .. }| {
        let (spec, facts) = (&member.spec, member.facts());
        let mut row = Row::from([
            ("key", "topology".into()),
            ("host_id", spec.host_id.as_str().into()),
            ("datacenter", spec.datacenter.as_str().into()),
            ("rack", spec.rack.as_str().into()),
            ("node_state", facts.node_state.into()),
            ("release_version", spec.release_version.as_str().into()),
            ("num_tokens", spec.tokens.into()),
            ("shard_count", spec.shards.into()),
            ("ignore_msb", 12.into()),
            ("cleanup_status", "clean".into()),
            ("supported_features", format!("{{{}}}", FEATURES.replace(',', ", ")).into()),
            ("version", "42".into()),
            ("fence_version", "42".into()),
            ("upgrade_state", "done".into()),
            ("tablet_balancing_enabled", true.into()),
            ("enabled_features", format!("{{{}}}", FEATURES.replace(',', ", ")).into()),
        ]);
        if let Some(request) = facts.request {
            row.insert("topology_request", request.into());
        }
        if facts.normal
            && let Some(tokens) = member.tokens.as_deref()
        {
            row.insert("tokens", tokens.into());
        }
        row
    });
    rows.collect()
}

/// How clients behind private connections reach nodes.
pub(super) fn client_routes<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    let row = |route: &'a ClientRoute| {
        let ports = [
            ("port", route.port),
            ("tls_port", route.tls_port),
            ("alternator_port", route.alternator_port),
            ("alternator_https_port", route.alternator_https_port),
        ];
        let ports = ports.into_iter().filter_map(|(column, port)| Some((column, u32::from(port?).into())));
        let mut row = Row::from([
            ("connection_id", route.connection_id.as_str().into()),
            ("host_id", route.host_id.as_str().into()),
            ("address", route.address.as_str().into()),
        ]);
        row.extend(ports);
        row
    };
    view.routes.iter().map(row).collect()
}

/// How full nodes are: all alike.
pub(super) fn load_per_node<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    let owners = view.seen.iter().filter(|seen| seen.member.facts().normal);
    let row = |seen: &Seen<'a>| {
        let spec: &'a NodeSpec = &seen.member.spec;
        Row::from([
            ("node", spec.host_id.as_str().into()),
            ("dc", spec.datacenter.as_str().into()),
            ("rack", spec.rack.as_str().into()),
            ("ip", spec.peer().into()),
            ("up", seen.up.into()),
            ("tablets_allocated", (spec.shards * 10).into()),
            ("tablets_allocated_per_shard", "10".into()),
            ("storage_capacity", "1099511627776".into()),
            ("storage_allocated_load", "53687091200".into()),
            ("storage_allocated_utilization", "0.048828".into()),
        ])
    };
    owners.map(row).collect()
}

/// What the node itself runs.
pub(super) fn versions<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    vec![Row::from([
        ("key", "local".into()),
        ("version", view.version.release().into()),
        ("build_mode", "release".into()),
        ("build_id", "5ad6f1b2c3d4e5f60718293a4b5c6d7e8f901234".into()),
        ("compatible_version", CASSANDRA_RELEASE.into()),
    ])]
}

/// Whether the ring knows it: not a node that has left.
fn is_in_topology(member: &Member) -> bool {
    member.facts().node_state != "left"
}

/// Addresses that this node claims are members.
fn invented(view: &View<'_>) -> impl Iterator<Item = IpAddr> {
    view.faults.adds.iter().copied()
}

/// Rows that no reader can use, as upgrades, replacements and wrong configuration leave them behind.
fn odd_peers<'a>(view: &View<'a>) -> Vec<Row<'a>> {
    if !view.faults.odd_entries {
        return Vec::new();
    }
    let own = &view.own.spec;
    let place = || [("data_center", own.datacenter.as_str().into()), ("rack", own.rack.as_str().into())];
    let odd = |peer: [u8; 4]| (("peer", IpAddr::from(peer).into()), ("host_id", host_id(peer.into()).into()));
    let rows = [
        ([192, 0, 2, 1], Some("0.0.0.0")),
        ([192, 0, 2, 2], Some("ff02::1")),
        ([192, 0, 2, 3], Some("")),
        ([192, 0, 2, 4], None),
    ];
    let mut rows: Vec<Row<'a>> = rows
        .into_iter()
        .map(|(peer, rpc)| {
            let (peer, id) = odd(peer);
            let mut row: Row<'a> = [peer, id].into_iter().chain(place()).collect();
            row.extend(rpc.map(|rpc| ("rpc_address", rpc.into())));
            row
        })
        .collect();
    rows.push(Row::from([("peer", IpAddr::from([192, 0, 2, 5]).into())]));
    rows
}
