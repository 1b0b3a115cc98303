//! What changes, as it changes.

use serde_json::Value;

use super::{Site, serve};
use crate::support::{cluster, eventually, ip};

#[tokio::test]
async fn a_change_is_told_at_once_with_its_cause_to_who_follows_and_to_who_asks() {
    let cluster = cluster(&["dc1/rack1 127.41.2.1", "dc1/rack2 127.41.2.2"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.2.1", "127.41.2.2"]).await;
    let mut stream = http.follow("/events").await;
    let status = stream.next("status").await.unwrap().data;
    assert_eq!(status["zones"][0]["name"], "alternator.local", "{status}");
    cluster.stop(ip("127.41.2.2")).await.unwrap();
    let change = loop {
        let change = stream.next("change").await.unwrap();
        if change.data["kind"] == "node" && change.data["subject"] == "127.41.2.2" {
            break change;
        }
    };
    assert_eq!(change.id, change.data["number"].as_u64());
    assert_eq!(change.data["zone"], "alternator.local");
    assert!(change.data["text"].as_str().unwrap().contains("connection refused"), "{change:?}");
    assert!(change.data["at"].as_str().unwrap().ends_with('Z'));

    // The same for who asks now and then.
    let number = change.id.unwrap();
    let list = http.get(&format!("/events.json?since={}", number - 1)).await.json();
    assert_eq!(list["changes"][0], change.data);
    let later = http.get(&format!("/events.json?since={number}")).await.json();
    assert!(later["changes"].as_array().unwrap().iter().all(|change| change["number"].as_u64().unwrap() > number));
    assert!(later["latest"].as_u64().unwrap() >= number);

    // And for who lost the connection: everything after what was seen last, nothing twice.
    let mut again = http.clone().header(&format!("Last-Event-ID: {}", number - 1)).follow("/events").await;
    assert_eq!(again.next("change").await.unwrap().data, change.data);
    let mut from_start = http.follow("/events?since=0").await;
    assert_eq!(from_start.next("change").await.unwrap().id, Some(1));
    // Numbers of an earlier process are greater than any of this one: all is new to whoever saw them.
    let mut restarted = http.clone().header("Last-Event-ID: 1000000").follow("/events").await;
    assert_eq!(restarted.next("change").await.unwrap().id, Some(1));
}

#[tokio::test]
async fn what_moves_is_told_every_second_while_somebody_listens() {
    let site = Site::start(|_| {}).await;
    let mut stream = site.http().follow("/events").await;
    let total = |data: &Value| data["queries"]["total"].as_u64().unwrap();
    let before = total(&stream.next("status").await.unwrap().data);
    for _ in 0..3 {
        site.server.ask("", hickory_proto::rr::RecordType::A).await;
    }
    loop {
        let status = stream.next("status").await.unwrap().data;
        if total(&status) == before + 3 {
            assert_eq!(status["queries"]["by_outcome"]["answered"].as_u64().unwrap(), before + 3);
            break;
        }
    }
    // Who comes later is told at once, too.
    let mut late = site.http().follow("/events").await;
    assert!(late.next("status").await.is_some());
}

#[tokio::test]
async fn a_scope_that_falls_back_is_in_the_list() {
    let cluster = cluster(&["dc1/rack1 127.41.3.1", "dc1/rack2 127.41.3.2"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("dc1.rack1", &["127.41.3.1"]).await;
    let began = http.get("/events.json").await.json()["latest"].as_u64().unwrap();
    cluster.stop(ip("127.41.3.1")).await.unwrap();
    let list = async || http.get(&format!("/events.json?since={began}")).await.json();
    let has = |list: &Value| {
        let changes = list["changes"].as_array().unwrap();
        changes.iter().any(|change| change["kind"] == "scope" && change["subject"] == "dc1/rack1")
    };
    eventually(&list, has).await;
}
