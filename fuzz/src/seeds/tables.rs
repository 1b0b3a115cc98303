//! Replies to scans of system tables: `local`, `peers`, `cluster_status`, `topology`, `client_routes`, one line each.

use super::texts;

const EMPTY: &str = r#"{"Count":0,"ScannedCount":0,"Items":[]}"#;

/// The node itself.
const LOCAL: &str = r#"{"Items":[{"host_id":{"S":"a1"},"rpc_address":{"S":"10.0.0.1"},"data_center":{"S":"dc1"},"rack":{"S":"r1"},"release_version":{"S":"2025.4.0"}}]}"#;

/// One other.
const PEERS: &str = r#"{"Items":[{"peer":{"S":"10.1.0.2"},"host_id":{"S":"a2"},"rpc_address":{"S":"10.0.0.2"},"data_center":{"S":"dc1"},"rack":{"S":"r2"}}]}"#;

/// Both, alive.
const STATUS: &str = r#"{"Items":[{"peer":{"S":"10.1.0.1"},"host_id":{"S":"a1"},"up":{"BOOL":"true"},"status":{"S":"NORMAL"},"tokens":{"S":"256"}},{"peer":{"S":"10.1.0.2"},"host_id":{"S":"A2"},"up":{"BOOL":true},"status":{"S":"NORMAL"},"draining":{"BOOL":"false"},"tokens":{"N":"256"}}]}"#;

const TOPOLOGY: &str = r#"{"Items":[{"host_id":{"S":"a1"},"datacenter":{"S":"dc1"},"node_state":{"S":"normal"},"shard_count":{"S":"8"}}]}"#;

const ROUTES: &str = r#"{"Items":[{"connection_id":{"S":"link"},"host_id":{"S":"a1"},"address":{"S":"198.51.100.1"},"alternator_port":{"S":"18000"}}]}"#;

/// The tables, one of them changed.
fn with(index: usize, table: &str) -> String {
    let mut tables = [LOCAL, PEERS, STATUS, EMPTY, EMPTY];
    tables[index] = table;
    tables.join("\n")
}

pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let state = |from: &str, to: &str| with(2, &STATUS.replacen(from, to, 2));
    let changed = [
        ("clean", with(3, TOPOLOGY)),
        ("routes", with(4, ROUTES)),
        ("named-route", with(4, &ROUTES.replace("198.51.100.1", "nlb.example"))),
        ("route-without-node", with(4, &ROUTES.replace("\"a1\"", "\"zz\""))),
        ("zero-port", with(4, &ROUTES.replace("18000", "0"))),
        ("no-address", with(1, &PEERS.replace("10.0.0.2", "0.0.0.0"))),
        ("no-address-at-all", with(0, &LOCAL.replace("10.0.0.1", "::")).replace("10.0.0.2", "a2")),
        ("no-place", with(1, &PEERS.replace("data_center", "dc"))),
        ("same-address", with(1, &PEERS.replace("10.0.0.2", "::ffff:10.0.0.1"))),
        ("no-host-id", with(1, &PEERS.replace("host_id", "x"))),
        ("decommissioning", state("NORMAL", "DECOMMISSIONING")),
        ("stopping", state("NORMAL", "shutdown")),
        ("down", state("\"BOOL\":true", "\"BOOL\":\"false\"")),
        ("unknown-up", state("\"up\"", "\"UP2\"")),
        ("draining", state("\"false\"", "\"true\"")),
        ("no-tokens", state("\"N\":\"256\"", "\"N\":0")),
        (
            "request",
            with(3, &TOPOLOGY.replace("\"shard_count\"", "\"topology_request\":{\"S\":\"leave\"},\"shard_count\"")),
        ),
        ("no-shards", with(3, &TOPOLOGY.replace("\"8\"", "\"0\""))),
        (
            "next-page",
            with(1, &PEERS.replace("{\"Items\"", "{\"LastEvaluatedKey\":{\"peer\":{\"S\":\"10.1.0.2\"}},\"Items\"")),
        ),
        ("null-values", with(1, &PEERS.replace("{\"S\":\"r2\"}", "{\"NULL\":true}"))),
        ("bare-values", with(1, &PEERS.replace("{\"S\":\"r2\"}", "[null,1e400,{}]"))),
        ("capitals", with(1, &PEERS.replace("rpc_address", "RPC_Address"))),
        ("escapes", with(1, &PEERS.replace("r2", "\\u001b[2J\\ud83d\\ude00"))),
        ("lone-surrogate", with(1, &PEERS.replace("r2", "\\ud800"))),
        ("twice", with(1, &PEERS.replace("\"rack\"", "\"data_center\":{\"S\":\"dc9\"},\"rack\""))),
        ("error", with(0, r#"{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":"no"}"#)),
        ("html", with(2, "<html>502 Bad Gateway</html>")),
        ("no-local", with(0, EMPTY)),
        ("no-status", with(2, EMPTY)),
        ("local-alone", LOCAL.to_owned()),
        ("nothing", String::new()),
        ("deep", with(1, &format!("{{\"Items\":[{{\"rack\":{}", "{\"S\":".repeat(200)))),
        ("long-name", with(1, &PEERS.replace("r2", &"x".repeat(300)))),
    ];
    let mut all = texts(changed.iter().map(|(name, text)| (*name, text.as_str())));
    all.push(("no-utf-8".into(), [LOCAL.as_bytes(), b"\n{\"Items\":[{\"rack\":{\"S\":\"\xff\"}}]}"].concat()));
    all
}
