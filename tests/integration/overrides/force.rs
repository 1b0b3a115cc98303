//! gdnsd's `t/044admin` for nodes: globs, single addresses, exceptions, datacenters, up against a real down, and each
//! change seen in the journal and in the answers.

use alternator_dns::{config::ZoneConfig, model::NodeState};
use hickory_proto::rr::RecordType;

use super::Steered;
use crate::support::{TestServer, cluster, eventually, ip, steady};

/// dc1: rack1 {1, 2}, rack2 {3}; dc2: rack1 {4, 5}, at 127.15.`net`.0/24.
async fn five(net: u8, change: impl FnOnce(&mut ZoneConfig)) -> (alternator_dns::sim::Cluster, Steered, [String; 5]) {
    let addresses = [1, 2, 3, 4, 5].map(|last| format!("127.15.{net}.{last}"));
    let places = ["dc1/rack1", "dc1/rack1", "dc1/rack2", "dc2/rack1", "dc2/rack1"];
    let nodes: Vec<String> =
        places.iter().zip(&addresses).map(|(place, address)| format!("{place} {address}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let cluster = cluster(&nodes).await;
    let config = TestServer::config(&TestServer::zone(&cluster, |zone| {
        steady(zone);
        change(zone);
    }));
    let steered = Steered::start(config).await;
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    steered.server.answers("", &all).await;
    steered.server.answers("dc1.rack1", &all[..2]).await;
    (cluster, steered, addresses)
}

/// Waits until these names are answered by these nodes, written as their last octets.
async fn answered(steered: &Steered, addresses: &[String; 5], wanted: &[(&str, &str)]) {
    for (name, nodes) in wanted {
        let node = |digit: char| addresses[digit.to_digit(10).unwrap() as usize - 1].as_str();
        let nodes: Vec<&str> = nodes.chars().map(node).collect();
        steered.server.answers(name, &nodes).await;
    }
}

/// Waits until probes have found a node down.
async fn seen_down(steered: &Steered, node: &str) {
    let zones = steered.server.app.sight().zones.load_full();
    let state = || async { zones[0].health.borrow().of(ip(node)).state };
    eventually(state, |state| *state == NodeState::Down).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_racks_and_globs_are_drained_with_exceptions_and_come_back() {
    let (cluster, steered, nodes) = five(1, |_| {}).await;
    let all = [("", "12345"), ("dc1", "123"), ("dc1.rack1", "12"), ("dc1.rack2", "3"), ("dc2", "45")];

    let reply = steered.set(&format!("drain {}", nodes[0])).await;
    assert_eq!((&reply["matches"], &reply["nodes"][0]["place"]), (&1.into(), &"dc1/rack1".into()), "{reply}");
    answered(&steered, &nodes, &[("", "2345"), ("dc1", "23"), ("dc1.rack1", "2")]).await;
    let line = steered.server.explain("dc1.rack1").await.into_iter().find(|line| line.starts_with("out ")).unwrap();
    assert!(line.contains("127.15.1.1 dc1/rack1: drained by ops since") && line.ends_with("Z: why"), "{line}");
    assert!(steered.told(&nodes[0])[0].starts_with("drained by ops since"), "{:?}", steered.told(&nodes[0]));

    // A rack falls back; a datacenter that may not is answered all the same, since no answer is ever empty.
    assert_eq!(steered.set("drain dc1/rack1").await["matches"], 2);
    answered(&steered, &nodes, &[("", "345"), ("dc1", "3"), ("dc1.rack1", "3")]).await;
    assert_eq!(steered.set("drain dc1/rack*").await["matches"], 3);
    answered(&steered, &nodes, &[("", "45"), ("dc1", "123"), ("dc1.rack1", "12"), ("dc1.rack2", "3")]).await;
    assert_eq!(steered.server.ask("dc1", RecordType::A).await.ttl(), 1, "as everything that is the last resort");

    // An exception from it.
    steered.set(&format!("force-up {}", nodes[2])).await;
    answered(&steered, &nodes, &[("", "345"), ("dc1", "3"), ("dc1.rack1", "3"), ("dc1.rack2", "3")]).await;

    // What is taken back leaves what else there is in force.
    steered.unset(&nodes[0]).await;
    steered.unset("dc1/rack*").await;
    answered(&steered, &nodes, &[("", "345"), ("dc1.rack1", "3")]).await;
    steered.unset("dc1/rack1").await;
    assert!(steered.told("dc1/rack1")[1].starts_with("taken back by ops2; was drained by ops"), "in the journal");
    answered(&steered, &nodes, &all).await;

    // Up beats a real down, as long as the cluster lists the node.
    cluster.list_without_serving(ip(&nodes[2])).await.unwrap();
    seen_down(&steered, &nodes[2]).await;
    answered(&steered, &nodes, &all).await;
    steered.unset(&nodes[2]).await;
    answered(&steered, &nodes, &[("", "1245"), ("dc1", "12"), ("dc1.rack2", "12")]).await;
    steered.set(&format!("force-up {}", nodes[2])).await;
    answered(&steered, &nodes, &all).await;
    steered.unset(&nodes[2]).await;

    for target in ["*/127.15.1.*", "127.15.1.0/24", "*"] {
        assert_eq!(steered.set(&format!("drain {target}")).await["matches"], 5);
        // All that serve, drained as they are; the dead one stays out.
        answered(&steered, &nodes, &[("", "1245"), ("dc1", "12"), ("dc1.rack2", "12"), ("dc2", "45")]).await;
        eventually(|| steered.server.explain(""), |lines| lines.iter().any(|line| line.starts_with("stale: "))).await;
        steered.unset(target).await;
        eventually(|| steered.server.explain(""), |lines| !lines.iter().any(|line| line.starts_with("stale: "))).await;
    }
    assert_eq!(steered.get("/overrides").await["overrides"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datacenters_are_drained_and_forced_where_others_may_take_over() {
    let (cluster, steered, nodes) = five(2, |zone| zone.datacenter_failover = true).await;
    steered.set("drain dc1").await;
    answered(&steered, &nodes, &[("", "45"), ("dc1", "45"), ("dc1.rack1", "45"), ("dc1.rack2", "45")]).await;
    // The rack is more specific than its datacenter.
    steered.set("force-up dc1/rack2").await;
    answered(&steered, &nodes, &[("", "345"), ("dc1", "3"), ("dc1.rack1", "3")]).await;
    // Of equals the last: a datacenter up again, for an hour.
    steered.set("force-up dc1").await;
    answered(&steered, &nodes, &[("", "12345"), ("dc1", "123"), ("dc1.rack1", "12")]).await;
    let list = steered.get("/overrides").await;
    let listed: Vec<String> = list["overrides"]
        .as_array()
        .unwrap()
        .iter()
        .map(|known| {
            format!("{} {} {}", known["action"].as_str().unwrap(), known["target"].as_str().unwrap(), known["matches"])
        })
        .collect();
    assert_eq!(listed, ["force-up dc1/rack2 1", "force-up dc1 3", "drain dc1 3"], "the deciding one first");
    assert!(list["overrides"][1]["until"].is_string() && list["overrides"][2]["until"].is_null(), "{list}");

    // The datacenter's own death is not seen as long as it is forced up and listed.
    cluster.list_without_serving(ip(&nodes[2])).await.unwrap();
    seen_down(&steered, &nodes[2]).await;
    answered(&steered, &nodes, &[("dc1.rack2", "3")]).await;
    let (status, reply) = steered.delete("target=dc1&action=force-up").await;
    assert_eq!((status, reply["removed"].as_array().map(Vec::len)), (200, Some(1)), "{reply}");
    answered(&steered, &nodes, &[("", "345"), ("dc1", "3")]).await;
    steered.unset("dc1/rack2").await;
    answered(&steered, &nodes, &[("", "45"), ("dc1", "45")]).await;
    steered.unset("dc1").await;
    answered(&steered, &nodes, &[("", "1245"), ("dc1", "12"), ("dc1.rack2", "12")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_the_cluster_forgot_is_not_forced_back() {
    let (cluster, steered, nodes) = five(3, |_| {}).await;
    steered.set(&format!("force-up {}", nodes[1])).await;
    // The others stop listing it half a second later.
    cluster.stop(ip(&nodes[1])).await.unwrap();
    answered(&steered, &nodes, &[("", "1345"), ("dc1.rack1", "1")]).await;
}
