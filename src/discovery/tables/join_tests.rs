//! Views from tables as versions of ScyllaDB write them.

use std::collections::BTreeSet;

use super::*;
use crate::discovery::tables::{page, read_bodies};

/// The tables of a version, as `Scan` gives them.
struct Version {
    local: &'static str,
    peers: &'static str,
    status: &'static str,
    topology: &'static str,
    routes: &'static str,
}

const NONE: &str = r#"{"Count":0,"ScannedCount":0,"Items":[]}"#;

/// 5.4: gossip's words, no rack, draining or excluded in `cluster_status`, no host id for some peers; no `topology`.
const V5_4: Version = Version {
    local: r#"{"Count":1,"ScannedCount":1,"Items":[{"key":{"S":"local"},"bootstrapped":{"S":"COMPLETED"},"broadcast_address":{"S":"10.0.0.1"},
        "cluster_name":{"S":"test"},"data_center":{"S":"dc1"},"host_id":{"S":"11111111-0000-4000-8000-000000000001"},"listen_address":{"S":"10.0.0.1"},
        "rack":{"S":"rack1"},"release_version":{"S":"3.0.8"},"rpc_address":{"S":"192.0.2.1"}}]}"#,
    peers: r#"{"Count":2,"ScannedCount":2,"Items":[
        {"peer":{"S":"10.0.0.2"},"data_center":{"S":"dc1"},"host_id":{"S":"11111111-0000-4000-8000-000000000002"},"rack":{"S":"rack2"},
         "release_version":{"S":"3.0.8"},"rpc_address":{"S":"192.0.2.2"}},
        {"peer":{"S":"10.0.0.3"},"data_center":{"S":"dc2"},"rack":{"S":"rack1"},"release_version":{"S":"3.0.8"},"rpc_address":{"S":"192.0.2.3"}}]}"#,
    status: r#"{"Count":3,"ScannedCount":3,"Items":[
        {"peer":{"S":"10.0.0.1"},"dc":{"S":"dc1"},"host_id":{"S":"11111111-0000-4000-8000-000000000001"},"load":{"S":"123"},"owns":{"S":"0.3"},
         "status":{"S":"NORMAL"},"tokens":{"S":"256"},"up":{"BOOL":"true"}},
        {"peer":{"S":"10.0.0.2"},"dc":{"S":"dc1"},"host_id":{"S":"11111111-0000-4000-8000-000000000002"},"status":{"S":"LEAVING"},"tokens":{"S":"256"},
         "up":{"BOOL":"true"}},
        {"peer":{"S":"10.0.0.3"},"dc":{"S":"dc2"},"host_id":{"S":"11111111-0000-4000-8000-000000000003"},"status":{"S":"NORMAL"},"tokens":{"S":"256"},
         "up":{"BOOL":"false"}}]}"#,
    topology: NONE,
    routes: NONE,
};

/// 6.1: topology by Raft; one node excluded, one without tokens, one joining.
const V6_1: Version = Version {
    local: r#"{"Count":1,"ScannedCount":1,"Items":[{"broadcast_address":{"S":"10.0.0.1"},"data_center":{"S":"dc1"},
        "host_id":{"S":"AAAAAAAA-0000-4000-8000-000000000001"},"rack":{"S":"rack1"},"release_version":{"S":"6.1.2"},"rpc_address":{"S":"10.0.0.1"}}]}"#,
    peers: r#"{"Count":4,"ScannedCount":4,"Items":[
        {"peer":{"S":"10.0.0.2"},"data_center":{"S":"dc1"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000002"},"rack":{"S":"rack2"},
         "release_version":{"S":"6.1.2"},"rpc_address":{"S":"10.0.0.2"}},
        {"peer":{"S":"10.0.0.3"},"data_center":{"S":"dc1"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000003"},"rack":{"S":"rack3"},
         "release_version":{"S":"6.1.2"},"rpc_address":{"S":"10.0.0.3"}},
        {"peer":{"S":"10.0.0.4"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000004"}},
        {"peer":{"S":"10.0.0.5"},"data_center":{"S":"dc1"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000005"},"rack":{"S":"rack1"},
         "release_version":{"S":"6.1.1"},"rpc_address":{"S":"0.0.0.0"}}]}"#,
    status: r#"{"Count":5,"ScannedCount":5,"Items":[
        {"peer":{"S":"10.0.0.1"},"dc":{"S":"dc1"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000001"},"status":{"S":"NORMAL"},"tokens":{"S":"256"},"up":{"BOOL":true}},
        {"peer":{"S":"10.0.0.2"},"dc":{"S":"dc1"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000002"},"status":{"S":"NORMAL"},"tokens":{"S":"0"},"up":{"BOOL":true}},
        {"peer":{"S":"10.0.0.3"},"dc":{"S":"dc1"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000003"},"status":{"S":"NORMAL"},"tokens":{"S":"256"},
         "excluded":{"BOOL":"true"},"up":{"BOOL":"false"}},
        {"peer":{"S":"10.0.0.4"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000004"},"status":{"S":"BOOTSTRAPPING"},"tokens":{"S":"0"},"up":{"BOOL":true}},
        {"peer":{"S":"10.0.0.5"},"dc":{"S":"dc1"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000005"},"status":{"S":"NORMAL"},"tokens":{"S":"256"},"up":{"BOOL":true}}]}"#,
    topology: r#"{"Count":2,"ScannedCount":2,"Items":[
        {"key":{"S":"topology"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000001"},"datacenter":{"S":"dc1"},"rack":{"S":"rack1"},
         "node_state":{"S":"normal"},"shard_count":{"S":"8"},"num_tokens":{"S":"256"},"release_version":{"S":"6.1.2"}},
        {"key":{"S":"topology"},"host_id":{"S":"aaaaaaaa-0000-4000-8000-000000000002"},"node_state":{"S":"normal"},"shard_count":{"N":"4"}}]}"#,
    routes: NONE,
};

/// 2025.x: rack, draining and excluded in `cluster_status`; a decommission asked for and one begun; client routes.
const V2025: Version = Version {
    local: r#"{"Items":[{"broadcast_address":{"S":"fd00::1"},"data_center":{"S":"AWS_US_EAST_1"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000001"},
        "rack":{"S":"1a"},"release_version":{"S":"2025.4.0"},"rpc_address":{"S":"fd00::1"}}],"Count":1,"ScannedCount":1}"#,
    peers: r#"{"Items":[
        {"peer":{"S":"fd00::2"},"data_center":{"S":"AWS_US_EAST_1"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000002"},"rack":{"S":"1b"},
         "release_version":{"S":"2025.4.0"},"rpc_address":{"S":"fd00::2"}},
        {"peer":{"S":"fd00::3"},"data_center":{"S":"AWS_US_EAST_1"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000003"},"rack":{"S":"1b"},
         "release_version":{"S":"2025.3.1"},"rpc_address":{"S":"fd00::3"}},
        {"peer":{"S":"fd00::4"},"data_center":{"S":"AWS_US_EAST_1"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000004"},"rack":{"S":"1b"},
         "release_version":{"S":"2025.4.0"},"rpc_address":{"S":"fd00::4"}}],"Count":3,"ScannedCount":3}"#,
    status: r#"{"Items":[
        {"peer":{"S":"fd00::1"},"dc":{"S":"AWS_US_EAST_1"},"rack":{"S":"1a"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000001"},"status":{"S":"NORMAL"},
         "draining":{"BOOL":"false"},"excluded":{"BOOL":"false"},"tokens":{"S":"1"},"up":{"BOOL":"true"}},
        {"peer":{"S":"fd00::2"},"dc":{"S":"AWS_US_EAST_1"},"rack":{"S":"1b"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000002"},"status":{"S":"DECOMMISSIONING"},
         "draining":{"BOOL":"true"},"excluded":{"BOOL":"false"},"tokens":{"S":"1"},"up":{"BOOL":"true"}},
        {"peer":{"S":"fd00::3"},"dc":{"S":"AWS_US_EAST_1"},"rack":{"S":"1b"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000003"},"status":{"S":"NORMAL"},
         "draining":{"BOOL":"true"},"tokens":{"S":"1"},"up":{"BOOL":"true"}},
        {"peer":{"S":"fd00::4"},"dc":{"S":"AWS_US_EAST_1"},"rack":{"S":"1b"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000004"},"status":{"S":"shutdown"},
         "tokens":{"S":"1"},"up":{"BOOL":"true"}}],"Count":4,"ScannedCount":4}"#,
    topology: r#"{"Items":[
        {"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000001"},"node_state":{"S":"normal"},"topology_request":{"S":"leave"},"shard_count":{"S":"14"}}],"Count":1}"#,
    routes: r#"{"Items":[
        {"connection_id":{"S":"link-1"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000001"},"address":{"S":"198.51.100.7"},"port":{"S":"9042"},
         "alternator_port":{"S":"18001"},"alternator_https_port":{"S":"0"}},
        {"connection_id":{"S":"link-2"},"host_id":{"S":"bbbbbbbb-0000-4000-8000-000000000001"},"address":{"S":"nlb.example.com"},"alternator_port":{"S":"18001"}},
        {"connection_id":{"S":"link-1"},"host_id":{"S":"BBBBBBBB-0000-4000-8000-000000000002"},"address":{"S":"198.51.100.7"},"alternator_https_port":{"S":"18443"}}]}"#,
};

fn view(version: &Version) -> TableView {
    let bodies = [version.local, version.peers, version.status, version.topology, version.routes];
    read_bodies(bodies.map(str::as_bytes)).unwrap()
}

/// Address, listed, leaving; as much as decides who is answered.
fn fates(view: &TableView) -> Vec<(String, bool, Option<Leaving>)> {
    view.nodes.iter().map(|node| (node.address.to_string(), node.listed, node.told.leaving)).collect()
}

fn fate(address: &str, listed: bool, leaving: impl Into<Option<Leaving>>) -> (String, bool, Option<Leaving>) {
    (address.to_owned(), listed, leaving.into())
}

#[test]
fn version_5_4_joins_by_host_id_or_gossip_address() {
    let view = view(&V5_4);
    let expected = [
        fate("192.0.2.1", true, None),
        fate("192.0.2.2", true, Leaving::Decommissioning),
        fate("192.0.2.3", false, None),
    ];
    assert_eq!(fates(&view), expected);
    assert_eq!((view.own_datacenter.as_deref(), view.skipped), (Some("dc1"), 0));
    let last = &view.nodes[2];
    assert_eq!((&*last.datacenter, last.rack.as_deref(), last.up), ("dc2", Some("rack1"), false));
    assert_eq!(last.told.host_id.as_deref(), Some("11111111-0000-4000-8000-000000000003"), "from cluster_status");
    assert_eq!(
        (last.tokens, last.told.shards, last.told.version.as_deref()),
        (Some(256), None, None),
        "3.0.8 is Cassandra's"
    );
}

#[test]
fn version_6_1_tells_states_tokens_and_shards() {
    let view = view(&V6_1);
    let expected = [
        fate("10.0.0.1", true, None),
        fate("10.0.0.2", true, Leaving::NoTokens),
        fate("10.0.0.3", false, Leaving::Excluded),
    ];
    assert_eq!(fates(&view), expected, "without who joins, who has no address");
    assert_eq!(view.skipped, 1, "10.0.0.5 would be listed, 10.0.0.4 not yet");
    let shards: Vec<_> = view.nodes.iter().map(|node| node.told.shards).collect();
    assert_eq!(shards, [Some(8), Some(4), None]);
    assert_eq!(view.nodes[0].told.host_id.as_deref(), Some("aaaaaaaa-0000-4000-8000-000000000001"), "lower case");
    assert_eq!(view.nodes[0].told.state.as_deref(), Some("NORMAL"));
}

#[test]
fn version_2025_tells_who_is_about_to_leave() {
    let view = view(&V2025);
    let expected = [
        fate("fd00::1", true, Leaving::Draining),
        fate("fd00::2", true, Leaving::Decommissioning),
        fate("fd00::3", true, Leaving::Draining),
        fate("fd00::4", false, None),
    ];
    assert_eq!(fates(&view), expected, "a request in topology, a state, a flag, a stopping node");
    assert_eq!(view.nodes[3].told.state.as_deref(), Some("SHUTDOWN"));
    let link = "198.51.100.7".parse().unwrap();
    let first: Vec<_> = view.nodes[0].told.routes.iter().collect();
    assert_eq!(first, [(&"link-1".into(), &Route { address: link, port: Some(18001), https_port: None })]);
    assert_eq!(view.nodes[1].told.routes["link-1"].https_port, Some(18443));
    assert_eq!(view.named_routes, 1);
}

fn rows(json: &str) -> Vec<Row> {
    page::read(format!("{{\"Items\":{json}}}").as_bytes()).unwrap().rows
}

/// Two nodes, the second as these rows have it.
fn beside_another(peer: &str, status: &str, topology: &str) -> TableView {
    let tables = Tables {
        local: rows(
            r#"[{"host_id":{"S":"1"},"rpc_address":{"S":"10.0.0.1"},"data_center":{"S":"dc1"},"rack":{"S":"r"}}]"#,
        ),
        peers: rows(&format!("[{{{peer}}}]")),
        status: rows(&format!(
            r#"[{{"host_id":{{"S":"1"}},"peer":{{"S":"10.0.0.1"}},"up":{{"BOOL":"true"}},"status":{{"S":"NORMAL"}},"tokens":{{"S":"1"}}}},{{{status}}}]"#
        )),
        topology: Some(rows(&format!("[{{{topology}}}]"))),
        routes: None,
        versions: rows(r#"[{"version":{"S":"2025.4.2-0.20260108.9c0d1e2f3a4b"}}]"#),
    };
    join(&tables).unwrap()
}

const PEER: &str =
    r#""peer":{"S":"10.0.0.2"},"host_id":{"S":"2"},"rpc_address":{"S":"10.0.0.2"},"data_center":{"S":"dc1"}"#;

#[test]
fn states_list_a_node_as_localnodes_does() {
    let listed = |status: &str| {
        let status =
            format!(r#""host_id":{{"S":"2"}},"up":{{"BOOL":"true"}},"tokens":{{"S":"1"}},"status":{{"S":"{status}"}}"#);
        beside_another(PEER, &status, "").nodes[1].listed
    };
    for state in ["NORMAL", "normal", "REBUILDING", "DECOMMISSIONING", "LEAVING", "ROLLBACK_TO_NORMAL", "SOMETHING_NEW"]
    {
        assert!(listed(state), "{state}");
    }
    for state in ["BOOTSTRAPPING", "REPLACING", "JOINING", "BOOT", "REMOVING", "LEFT", "shutdown", "none"] {
        assert!(!listed(state), "{state}");
    }
}

#[test]
fn a_node_tells_its_own_release() {
    let nodes = beside_another(PEER, "", "").nodes;
    assert_eq!(nodes[0].told.version.as_deref(), Some("2025.4.2"));
    assert_eq!(nodes[1].told.version, None);
}

#[test]
fn columns_that_are_not_there_change_little() {
    let up = r#""host_id":{"S":"2"},"up":{"BOOL":"true"}"#;
    let stateless = beside_another(PEER, up, "");
    assert!(stateless.nodes[1].listed && stateless.nodes[1].told.state.is_none(), "alive, and nothing against it");
    let by_raft = beside_another(PEER, up, r#""host_id":{"S":"2"},"node_state":{"S":"bootstrapping"}"#);
    assert!(!by_raft.nodes[1].listed, "Raft's word where gossip has none");
    assert_eq!(by_raft.nodes[1].told.state.as_deref(), Some("BOOTSTRAPPING"));
    let gone = beside_another(PEER, r#""host_id":{"S":"9"},"up":{"BOOL":"true"}"#, "");
    assert!(!gone.nodes[1].up && !gone.nodes[1].listed, "a peer that gossip does not know");
    let placeless = PEER.replace("data_center", "x");
    let from_status = beside_another(&placeless, &format!(r#"{up},"dc":{{"S":"dc9"}},"rack":{{"S":"r9"}}"#), "");
    assert_eq!((&*from_status.nodes[1].datacenter, from_status.nodes[1].rack.as_deref()), ("dc9", Some("r9")));
    let nowhere = beside_another(&placeless, up, "");
    assert_eq!((nowhere.nodes.len(), nowhere.skipped), (1, 1));
    assert!(nowhere.nodes[0].listed);
}

#[test]
fn a_gossip_address_joins_only_where_no_host_id_says_otherwise() {
    let other = r#""host_id":{"S":"3"},"peer":{"S":"10.0.0.2"},"up":{"BOOL":"true"}"#;
    assert!(!beside_another(PEER, other, "").nodes[1].up, "another node has that address now");
    assert!(beside_another(PEER, r#""peer":{"S":"10.0.0.2"},"up":{"BOOL":"true"}"#, "").nodes[1].up);
    assert!(beside_another(&PEER.replace("host_id", "x"), other, "").nodes[1].up);
}

#[test]
fn addresses_shared_by_two_nodes_are_one() {
    let shared = PEER.replace("\"rpc_address\":{\"S\":\"10.0.0.2\"}", "\"rpc_address\":{\"S\":\"10.0.0.1\"}");
    for status in ["NORMAL", "DECOMMISSIONING", "BOOTSTRAPPING"] {
        let status = format!(r#""host_id":{{"S":"2"}},"up":{{"BOOL":"true"}},"status":{{"S":"{status}"}}"#);
        assert_eq!(fates(&beside_another(&shared, &status, "")), [fate("10.0.0.1", true, None)], "{status}");
    }
}

#[test]
fn tokens_matter_only_beside_others_that_have_some() {
    let status = r#""host_id":{"S":"2"},"up":{"BOOL":"true"},"status":{"S":"NORMAL"},"tokens":{"S":"0"}"#;
    assert_eq!(beside_another(PEER, status, "").nodes[1].told.leaving, Some(Leaving::NoTokens));
    let none = V6_1.status.replace("\"256\"", "\"0\"");
    let view = read_bodies([V6_1.local, V6_1.peers, &none, V6_1.topology, NONE].map(str::as_bytes)).unwrap();
    let leaving: BTreeSet<_> = view.nodes.iter().map(|node| node.told.leaving).collect();
    assert_eq!(leaving, BTreeSet::from([None, Some(Leaving::Excluded)]), "all without");
    let untold = r#""host_id":{"S":"2"},"up":{"BOOL":"true"},"status":{"S":"NORMAL"}"#;
    assert_eq!(beside_another(PEER, untold, "").nodes[1].told.leaving, None);
}

#[test]
fn what_is_no_cluster_is_a_failure_and_not_an_empty_one() {
    let bodies = |local: &str, status: &str| {
        let bodies = [local, V6_1.peers, status, NONE, NONE].map(str::as_bytes);
        read_bodies(bodies).unwrap_err().to_string()
    };
    assert_eq!(bodies(NONE, V6_1.status), "the reply is not understood: system.local has no row");
    let without = V6_1.status.replace("\"up\"", "\"down\"");
    assert!(bodies(V6_1.local, &without).contains("no column \"up\""));
    assert!(bodies("<html>", V6_1.status).starts_with("the reply is not understood: expected value"));
}
