//! What healthy nodes answer.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn a_list_is_of_the_own_datacenter_unless_asked_otherwise() {
    let cluster = start().await;
    let mut client = Client::connect(cluster.at(A)).await.unwrap();
    for (path, want) in [
        ("/localnodes", &["127.0.3.1", "127.0.3.2", "127.0.3.3"][..]),
        ("/localnodes/", &["127.0.3.1", "127.0.3.2", "127.0.3.3"]),
        ("/localnodes?dc=dc2", &["127.0.3.4"]),
        ("/localnodes?rack=rack2", &["127.0.3.3"]),
        ("/localnodes?dc=%64c2&rack=rack1", &["127.0.3.4"]),
        ("/localnodes?dc=dc3", &[]),
    ] {
        let answer = client.get(path).await.unwrap();
        assert_eq!(answer.list(), want, "{path}");
        assert!(answer.head.contains("content-type: application/json\r\n"), "{}", answer.head);
    }
    let orders: BTreeSet<String> = {
        let mut orders = BTreeSet::new();
        for _ in 0..100 {
            orders.insert(client.get("/localnodes").await.unwrap().text().to_owned());
        }
        orders
    };
    assert_eq!(orders.len(), 6, "every order of three occurs");
    let counters = cluster.counters(A);
    assert_eq!((counters.localnodes, counters.accepted, counters.open), (106, 1, 1));
}

#[tokio::test]
async fn other_paths_and_methods_are_not_found_and_keep_the_connection() {
    let cluster = start().await;
    let mut client = Client::connect(cluster.at(A)).await.unwrap();
    for (method, path) in [
        ("GET", "/localnodes//"),
        ("GET", "/localnode"),
        ("GET", "/Localnodes"),
        ("POST", "/localnodes"),
        ("DELETE", "/"),
        ("GET", "//"),
    ] {
        let answer = client.ask(method, path, "", "").await.unwrap();
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(answer.json(), serde_json::json!({ "message": "Not found", "code": 404 }));
    }
    let counters = cluster.counters(A);
    assert_eq!((counters.other, counters.accepted), (6, 1));
}

#[tokio::test]
async fn health_repeats_the_host() {
    let cluster = start().await;
    let answer = get(&cluster, B, "/").await.unwrap();
    assert_eq!(answer.text(), format!("healthy: {}", cluster.at(B)));
    assert!(answer.head.contains("content-type: text/plain\r\n"), "{}", answer.head);
    assert_eq!(cluster.counters(B).health, 1);
}

#[tokio::test]
async fn the_api_lists_no_tables_and_knows_nothing_else() {
    let cluster = start().await;
    let mut client = Client::connect(cluster.at(A)).await.unwrap();
    let list = "X-Amz-Target: DynamoDB_20120810.ListTables\r\n";
    let answer = client.ask("POST", "/", list, "{}").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, r#"{"TableNames":[]}"#));
    assert!(answer.head.contains("content-type: application/x-amz-json-1.0\r\n"), "{}", answer.head);
    for headers in ["X-Amz-Target: DynamoDB_20120810.Get\"Item\r\n", ""] {
        let answer = client.ask("POST", "/", headers, "{}").await.unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["__type"], "com.amazonaws.dynamodb.v20120810#UnknownOperationException");
    }
    let large = client.ask("POST", "/", list, &" ".repeat(3 << 20)).await;
    assert!(large.is_err() || large.is_ok_and(|answer| answer.status == 413));
    assert_eq!(cluster.counters(A).api, 4);
}

#[tokio::test]
async fn nonsense_ends_its_own_connection_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = start().await;
    for nonsense in [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"GET / HTTP/9\r\n\r\n", &[b'a'; 200_000]] {
        let mut stream = tokio::net::TcpStream::connect(cluster.at(A)).await.unwrap();
        // Either may fail when the node has had enough.
        let _ = stream.write_all(nonsense).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    eventually("the connections end", async || cluster.counters(A).open == 0).await;
    assert_eq!(get(&cluster, A, "/").await.unwrap().status, 200);
}
