//! Readiness, liveness, and the whole status.

use alternator_dns::admin::{NodeStatus, Status};
use serde_json::Value;

use super::serve;
use crate::support::{cluster, eventually, ip};

fn node<'s>(status: &'s Status, address: &str) -> &'s NodeStatus {
    status.zones[0].nodes.iter().find(|node| node.address == address).unwrap()
}

#[tokio::test]
async fn one_is_ready_once_every_zone_has_something_to_answer_and_then_stays_so() {
    let cluster = cluster(&["dc1/rack1 127.41.4.1"]).await;
    cluster.stop(ip("127.41.4.1")).await.unwrap();
    let (server, http) = serve(&cluster, |_| {}).await;
    let reply = http.get("/readyz").await;
    let told: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, &told["zones_not_ready"][0]), (503, &Value::from("alternator.local")));
    assert_eq!(http.get("/livez").await.status, 200, "not ready is no reason to be ended");

    cluster.start_node(ip("127.41.4.1")).await.unwrap();
    eventually(|| async { http.get("/readyz").await.status }, |status| *status == 200).await;
    server.answers("", &["127.41.4.1"]).await;

    // Nothing serves any more: what was known last is answered, and this stays in service.
    cluster.stop(ip("127.41.4.1")).await.unwrap();
    let stale = async || http.get("/status.json").await.json()["zones"][0]["scopes"][0]["a"]["serving"].clone();
    eventually(&stale, |serving| serving == "last_known").await;
    let reply = http.get("/readyz").await;
    assert_eq!((reply.status, reply.body.contains("\"ready\":true")), (200, true), "{reply:?}");
}

#[tokio::test]
async fn the_status_is_what_is_served_and_why() {
    let nodes = ["dc1/rack1 127.41.5.1", "dc1/rack1 127.41.5.2", "dc1/rack2 127.41.5.3", "dc2/rack1 127.41.5.4"];
    let cluster = cluster(&nodes).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.5.1", "127.41.5.2", "127.41.5.3", "127.41.5.4"]).await;
    for down in ["127.41.5.1", "127.41.5.2"] {
        cluster.stop(ip(down)).await.unwrap();
    }
    server.answers("dc1.rack1", &["127.41.5.3"]).await;
    let look = async || serde_json::from_value::<Status>(http.get("/status.json").await.json()).unwrap();
    let status = eventually(&look, |status| node(status, "127.41.5.1").reason == "down: connection refused").await;

    assert_eq!(status.server.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.server.pid, std::process::id());
    let listen: Vec<_> = status.server.listen.iter().map(|at| (at.transport.as_str(), at.address.as_str())).collect();
    let address = server.address.to_string();
    assert_eq!(listen, [("udp", address.as_str()), ("tcp", address.as_str())]);
    assert!(status.server.uptime > 0.0 && status.server.started.ends_with('Z'));
    assert_eq!(status.queries.by_outcome.values().sum::<u64>(), status.queries.total);

    let zone = &status.zones[0];
    assert_eq!((zone.name.as_str(), zone.ready, zone.stale, zone.panic), ("alternator.local", true, false, false));
    assert_eq!(zone.source, "discovery");
    let down = node(&status, "127.41.5.1");
    assert_eq!((down.verdict.as_str(), down.is_in, down.state.as_str()), ("down", false, "down"));
    assert_eq!((down.datacenter.as_deref(), down.rack.as_deref()), (Some("dc1"), Some("rack1")));
    assert!(down.since > node(&status, "127.41.5.3").since, "it is down since after the other came up");
    let up = node(&status, "127.41.5.3");
    assert_eq!((up.verdict.as_str(), up.is_in, up.reason.as_str()), ("up", true, "up"));
    assert!(up.probe_seconds.is_some_and(|took| took > 0.0 && took < 5.0));

    let scope = zone.scopes.iter().find(|scope| scope.name == "dc1/rack1").unwrap();
    assert!(scope.names.contains(&"dc1.rack1.alternator.local".to_owned()), "{scope:?}");
    assert_eq!(scope.chain, ["dc1/rack1", "dc1"]);
    assert_eq!((scope.a.level, scope.a.from.as_deref(), scope.a.serving.as_str()), (Some(1), Some("dc1"), "live"));
    assert_eq!(scope.a.nodes, ["127.41.5.3"]);
    assert_eq!(scope.aaaa.serving, "absent");
    // As the answer itself says.
    let reply = server.ask("dc1.rack1", hickory_proto::rr::RecordType::A).await;
    assert_eq!(reply.ttl(), scope.a.ttl);
}

#[tokio::test]
async fn leads_are_told_by_node() {
    let cluster = cluster(&["dc1/rack1 127.41.6.1", "dc1/rack1 127.41.6.2"]).await;
    let (server, http) = serve(&cluster, |_| {}).await;
    server.answers("", &["127.41.6.1", "127.41.6.2"]).await;
    let look = async || serde_json::from_value::<Status>(http.get("/status.json").await.json()).unwrap();
    let before = look().await;
    let mut first = Vec::new();
    for _ in 0..10 {
        first.push(server.ask("", hickory_proto::rr::RecordType::A).await.first().to_string());
    }
    for address in ["127.41.6.1", "127.41.6.2"] {
        let led = first.iter().filter(|first| *first == address).count() as u64;
        let goal = node(&before, address).led + led;
        eventually(&look, |status| node(status, address).led == goal).await;
    }
}
