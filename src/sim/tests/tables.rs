//! The system tables over the API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

/// One request of the API over a connection of its own.
pub(super) async fn api(cluster: &Cluster, node: IpAddr, operation: &str, body: &Value) -> Answer {
    let mut client = Client::connect(cluster.at(node)).await.unwrap();
    let target = format!("X-Amz-Target: DynamoDB_20120810.{operation}\r\n");
    client.ask("POST", "/", &target, &body.to_string()).await.unwrap()
}

pub(super) async fn ask(cluster: &Cluster, node: IpAddr, operation: &str, table: &str) -> Answer {
    api(cluster, node, operation, &json!({ "TableName": format!(".scylla.alternator.system.{table}") })).await
}

/// All rows of a table, in one page.
pub(super) async fn scan(cluster: &Cluster, node: IpAddr, table: &str) -> Vec<Value> {
    let answer = ask(cluster, node, "Scan", table).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let reply = answer.json();
    assert!(reply.get("LastEvaluatedKey").is_none());
    let rows = reply["Items"].as_array().unwrap().clone();
    assert_eq!(
        (reply["Count"].as_u64(), reply["ScannedCount"].as_u64()),
        (Some(rows.len() as u64), reply["Count"].as_u64())
    );
    rows
}

/// The one row in which a column says this.
pub(super) fn row(rows: &[Value], column: &str, text: &str) -> Value {
    let found: Vec<&Value> = rows.iter().filter(|row| row[column] == json!({ "S": text })).collect();
    assert_eq!(found.len(), 1, "{column} {text}: {rows:?}");
    found[0].clone()
}

fn error(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.head.contains("content-type: application/x-amz-json-1.0\r\n"), "{}", answer.head);
    let json = answer.json();
    let kind = json["__type"].as_str().unwrap().strip_prefix("com.amazonaws.dynamodb.v20120810#").unwrap();
    (kind.to_owned(), json["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn values_have_the_types_that_scylladb_gives_them() {
    let mut spec = spec();
    spec.nodes[0] = spec.nodes[0].clone().internal([10, 0, 0, 1]).tokens(2).shards(6).host_id("a");
    spec.nodes[1] = spec.nodes[1].clone().tokens(0).without_rpc_address().host_id("b");
    let cluster = Cluster::start(spec).await.unwrap();
    let status = scan(&cluster, B, "cluster_status").await;
    let a = row(&status, "host_id", "a");
    assert_eq!(a["peer"], json!({ "S": "10.0.0.1" }), "the address among the nodes");
    assert_eq!((&a["up"], &a["draining"]), (&json!({ "BOOL": "true" }), &json!({ "BOOL": "false" })));
    assert_eq!((&a["tokens"], &a["rack"]), (&json!({ "S": "2" }), &json!({ "S": "rack1" })));
    let b = row(&status, "host_id", "b");
    assert_eq!((&b["tokens"], b.get("owns")), (&json!({ "S": "0" }), None));

    let peers = scan(&cluster, B, "peers").await;
    assert_eq!(peers.len(), 3, "all but itself");
    let a = row(&peers, "host_id", "a");
    assert_eq!((&a["peer"], &a["rpc_address"]), (&json!({ "S": "10.0.0.1" }), &json!({ "S": "127.0.3.1" })));
    assert_eq!((&a["data_center"], &a["release_version"]), (&json!({ "S": "dc1" }), &json!({ "S": "3.0.8" })));
    let tokens = a["tokens"]["S"].as_str().unwrap();
    assert!(tokens.starts_with('{') && tokens.ends_with('}') && tokens.contains(", "), "{tokens}");
    assert_eq!(row(&scan(&cluster, A, "peers").await, "host_id", "b").get("rpc_address"), None);
    assert!(list(&cluster, A).await.contains(&"b".to_owned()), "listed by its host id");

    let local = scan(&cluster, A, "local").await;
    assert_eq!(local.len(), 1);
    assert_eq!((&local[0]["key"], &local[0]["host_id"]), (&json!({ "S": "local" }), &json!({ "S": "a" })));
    assert_eq!((&local[0]["broadcast_address"], &local[0]["rpc_address"]), (&a["peer"], &a["rpc_address"]));
    let topology = scan(&cluster, A, "topology").await;
    assert_eq!(row(&topology, "host_id", "a")["shard_count"], json!({ "S": "6" }));
    assert_eq!(scan(&cluster, A, "load_per_node").await.len(), 4);

    cluster.inject(A, Fault::JsonBooleans).await.unwrap();
    let status = scan(&cluster, A, "cluster_status").await;
    assert_eq!(row(&status, "host_id", "a")["up"], json!({ "BOOL": true }));
    cluster.inject(A, Fault::OddEntries).await.unwrap();
    assert_eq!(scan(&cluster, A, "peers").await.len(), 3 + 5);
    cluster.set_tokens(B, 1).unwrap();
    assert_eq!(row(&scan(&cluster, A, "cluster_status").await, "host_id", "b")["tokens"], json!({ "S": "1" }));
}

/// Reads a table page by page, and fails when a row comes twice; the rows, and how many pages it took.
async fn read_in_pages(cluster: &Cluster, table: &str, limit: Option<u64>) -> (BTreeSet<String>, usize) {
    let (mut rows, mut pages, mut start) = (BTreeSet::new(), 0, None);
    loop {
        let mut body = json!({ "TableName": format!(".scylla.alternator.system.{table}") });
        if let Some(limit) = limit {
            body["Limit"] = limit.into();
        }
        if let Some(start) = start {
            body["ExclusiveStartKey"] = start;
        }
        let answer = api(cluster, A, "Scan", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let reply = answer.json();
        pages += 1;
        for row in reply["Items"].as_array().unwrap() {
            assert!(rows.insert(row.to_string()), "twice: {row}");
        }
        let Some(next) = reply.get("LastEvaluatedKey") else { return (rows, pages) };
        let mut next = next.clone();
        if let Some(weight) = next.get_mut(":scylla:paging:weight") {
            *weight = json!({ "N": weight["N"].to_string() });
        }
        start = Some(next);
    }
}

#[tokio::test]
async fn pages_end_where_the_request_or_the_node_wants() {
    let cluster = start().await;
    for table in ["cluster_status", "topology"] {
        let (all, pages) = read_in_pages(&cluster, table, None).await;
        assert_eq!((all.len(), pages), (4, 1));
        assert_eq!(read_in_pages(&cluster, table, Some(3)).await, (all.clone(), 2));
        assert_eq!(read_in_pages(&cluster, table, Some(2)).await, (all.clone(), 3), "the last is empty");
        cluster.set_page_rows(Some(1));
        assert_eq!(read_in_pages(&cluster, table, None).await, (all.clone(), 4));
        assert_eq!(read_in_pages(&cluster, table, Some(3)).await, (all, 4));
        cluster.set_page_rows(None);
    }
}

#[tokio::test]
async fn large_tables_come_in_pages_of_their_own() {
    let node = |n: u8| NodeSpec::new([127, 0, 3, n], "dc1", "rack1").tokens(8192);
    let cluster = Cluster::start(ClusterSpec::new((1..=20).map(node).collect())).await.unwrap();
    let (rows, pages) = read_in_pages(&cluster, "topology", None).await;
    assert_eq!(rows.len(), 20);
    assert!((2..=5).contains(&pages), "{pages}");
}

#[tokio::test]
async fn a_key_to_go_on_at_is_checked() {
    let cluster = start().await;
    cluster.set_page_rows(Some(1));
    let request =
        |start: Value| json!({ "TableName": ".scylla.alternator.system.topology", "ExclusiveStartKey": start });
    let reply = ask(&cluster, A, "Scan", "topology").await.json();
    let next = reply["LastEvaluatedKey"].clone();
    assert_eq!(
        (&next[":scylla:paging:region"], &next[":scylla:paging:weight"]),
        (&json!({ "S": "clustered" }), &json!({ "N": 1 }))
    );
    let (kind, message) = error(&api(&cluster, A, "Scan", &request(next.clone())).await);
    assert_eq!(kind, "ValidationException");
    assert!(
        message.starts_with("Malformed value object for key weight"),
        "a number is sent, and none is taken: {message}"
    );
    let key = json!({ "key": next["key"], "host_id": next["host_id"] });
    assert_eq!(api(&cluster, A, "Scan", &request(key.clone())).await.status, 200, "the key alone will do");
    for wrong in [json!({}), json!({ "key": next["key"] }), json!({ "key": { "N": "1" }, "host_id": next["host_id"] })]
    {
        assert_eq!(error(&api(&cluster, A, "Scan", &request(wrong)).await).0, "ValidationException");
    }
    let mut half = key;
    half[":scylla:paging:region"] = json!({ "S": "clustered" });
    assert_eq!(error(&api(&cluster, A, "Scan", &request(half)).await).0, "ValidationException");
}

#[tokio::test]
async fn columns_can_be_selected_and_partitions_queried() {
    let cluster = start().await;
    let of = |table: &str, more: Value| {
        let mut body = json!({ "TableName": format!(".scylla.alternator.system.{table}") });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let names = |reply: &Value| {
        let keys = reply["Items"][0].as_object().unwrap().keys();
        keys.cloned().collect::<Vec<_>>()
    };
    for more in [
        json!({ "AttributesToGet": ["peer", "up"] }),
        json!({ "ProjectionExpression": "peer, #u", "ExpressionAttributeNames": { "#u": "up" } }),
    ] {
        let reply = api(&cluster, A, "Scan", &of("cluster_status", more)).await.json();
        assert_eq!((names(&reply), reply["Count"].as_u64()), (vec!["peer".to_owned(), "up".to_owned()], Some(4)));
    }
    let count = api(&cluster, A, "Scan", &of("peers", json!({ "Select": "COUNT" }))).await.json();
    assert_eq!((count["Count"].as_u64(), count.get("Items")), (Some(3), None));
    for more in [
        json!({ "KeyConditionExpression": "peer = :p", "ExpressionAttributeValues": { ":p": { "S": "127.0.3.2" } } }),
        json!({ "KeyConditions": { "peer": { "AttributeValueList": [{ "S": "127.0.3.2" }], "ComparisonOperator": "EQ" } } }),
    ] {
        let reply = api(&cluster, A, "Query", &of("peers", more)).await.json();
        assert_eq!(
            (reply["Count"].as_u64(), &reply["Items"][0]["rpc_address"]),
            (Some(1), &json!({ "S": "127.0.3.2" }))
        );
    }
    for (operation, more) in [
        ("Query", json!({})),
        ("Scan", json!({ "ProjectionExpression": "#u" })),
        ("Scan", json!({ "ExpressionAttributeNames": { "#u": "up" } })),
        ("Scan", json!({ "Limit": 0 })),
        ("Scan", json!({ "FilterExpression": "up = :t" })),
    ] {
        let refused = api(&cluster, A, operation, &of("peers", more.clone())).await;
        assert_eq!(error(&refused).0, "ValidationException", "{operation} {more}");
    }
}

#[tokio::test]
async fn other_tables_and_operations_are_refused() {
    let cluster = start().await;
    let internal = "Requested resource not found: Internal table: system.no_table not found";
    for (operation, table, kind, message) in [
        ("Scan", ".scylla.alternator.system.no_table", "ResourceNotFoundException", internal),
        (
            "Scan",
            ".scylla.alternator.alternator_t.t",
            "ResourceNotFoundException",
            "Table: .scylla.alternator.alternator_t.t",
        ),
        (
            "Scan",
            ".scylla.alternator.system",
            "ResourceNotFoundException",
            "Table: .scylla.alternator.system not found",
        ),
        ("Query", "users", "ResourceNotFoundException", "Table: users not found"),
        (
            "GetItem",
            ".scylla.alternator.system.local",
            "ResourceNotFoundException",
            "Table: .scylla.alternator.system.local not found",
        ),
        ("PutItem", ".scylla.alternator.system.local", "ResourceNotFoundException", "not found"),
        ("DescribeEndpoints", "", "UnknownOperationException", "Unsupported operation DescribeEndpoints"),
    ] {
        let (found, text) = error(&api(&cluster, A, operation, &json!({ "TableName": table })).await);
        assert_eq!(found, kind, "{operation} {table}");
        assert!(text.contains(message), "{text}");
    }
    for body in [json!({}), json!([]), json!("x")] {
        assert_eq!(error(&api(&cluster, A, "Scan", &body).await).0, "ValidationException");
    }
    let mut client = Client::connect(cluster.at(A)).await.unwrap();
    let target = "X-Amz-Target: DynamoDB_20120810.Scan\r\n";
    assert_eq!(error(&client.ask("POST", "/", target, "{").await.unwrap()).0, "ValidationException");
    assert_eq!(client.get("/").await.unwrap().status, 200, "the connection is kept");
}

#[tokio::test]
async fn client_routes_are_by_connection_and_node() {
    let route = |connection: &str, host: &str| ClientRoute {
        connection_id: connection.into(),
        host_id: host.into(),
        address: "198.51.100.7".into(),
        alternator_port: Some(18_000),
        ..ClientRoute::default()
    };
    let cluster = Cluster::start(spec().client_routes([route("c1", "h1"), route("c1", "h2")])).await.unwrap();
    cluster.set_client_route(route("c2", "h1"));
    cluster.set_client_route(ClientRoute { tls_port: Some(9142), ..route("c1", "h2") });
    let rows = scan(&cluster, B, "client_routes").await;
    assert_eq!(rows.len(), 3);
    let changed = row(&rows, "host_id", "h2");
    assert_eq!(
        changed,
        json!({ "connection_id": { "S": "c1" }, "host_id": { "S": "h2" }, "address": { "S": "198.51.100.7" },
                "alternator_port": { "S": "18000" }, "tls_port": { "S": "9142" } }),
        "what is not set is not there"
    );
    cluster.remove_client_route("c1", "h2");
    assert_eq!(scan(&cluster, A, "client_routes").await.len(), 2);
}
