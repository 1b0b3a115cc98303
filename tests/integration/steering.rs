//! What softens a change: slow start, short TTLs before a node leaves, and the removal cap.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use alternator_dns::{
    model::{Action, NodeState, Origin, Override, Target},
    plan::Ramps,
    sim::{BadReply, Endpoint, Fault},
};
use hickory_proto::rr::RecordType;

use crate::support::{TestServer, cluster, eventually, ip, set, steady};

/// How much of its share a node leads now.
fn weight(server: &TestServer, node: &str) -> Option<f64> {
    server.app.table().zones().next().unwrap().plan.weight(ip(node))
}

/// How often each node leads in whole periods of the apex.
async fn leads(server: &TestServer) -> (BTreeMap<IpAddr, usize>, Vec<u32>) {
    let weights = {
        let table = server.app.table();
        let deck = &table.zones().next().unwrap().dealt[0].deck;
        deck.weights().map_or_else(|| vec![1; deck.nodes().len()], <[u32]>::to_vec)
    };
    let mut leads = BTreeMap::new();
    for _ in 0..weights.iter().sum::<u32>() {
        *leads.entry(server.ask("", RecordType::A).await.first()).or_insert(0) += 1;
    }
    (leads, weights)
}

/// Every node leads as often as its weight says.
async fn assert_led_by_weight(server: &TestServer) -> Vec<u32> {
    let (leads, weights) = server.undisturbed(async || leads(server).await).await;
    let expected: Vec<usize> = weights.iter().map(|weight| *weight as usize).collect();
    assert_eq!(leads.into_values().collect::<Vec<_>>(), expected);
    weights
}

#[tokio::test]
async fn a_node_that_returns_leads_little_at_first_and_its_share_after_slow_start() {
    const SLOW_START: Duration = Duration::from_secs(3);
    let nodes = ["127.67.1.1", "127.67.1.2", "127.67.1.3"];
    let cluster = cluster(&nodes.map(|node| format!("dc1/rack1 {node}")).each_ref().map(String::as_str)).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.health.slow_start = SLOW_START;
    })
    .await;
    server.answers("", &nodes).await;
    // All began together: nobody is warmer than the others.
    assert_eq!(server.app.table().zones().next().unwrap().plan.ramps, Ramps::default());
    assert_eq!(assert_led_by_weight(&server).await, [1, 1, 1]);

    let been_up = async || {
        let health = server.app.sight().zones.load()[0].health.borrow().clone();
        let since =
            health.nodes.values().filter(|node| node.state == NodeState::Up).filter_map(|node| node.since).min();
        since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default()
    };
    eventually(been_up, |up| *up > SLOW_START).await;
    cluster.stop(ip(nodes[2])).await.unwrap();
    server.answers("", &nodes[..2]).await;
    assert_eq!(weight(&server, nodes[2]), None);
    cluster.start_node(ip(nodes[2])).await.unwrap();
    eventually(async || weight(&server, nodes[2]), Option::is_some).await;
    assert!(weight(&server, nodes[2]) < Some(1.0));
    let told = server.explain("").await;
    let line = told.iter().find(|line| line.starts_with(&format!("in {} ", nodes[2]))).unwrap();
    assert!(line.contains(": up, leads ") && line.contains(" % of its share, slow start until "), "{line}");
    let [first, second, returned] = assert_led_by_weight(&server).await[..] else { panic!() };
    assert!(first == second && returned < first, "{returned} of {first}");
    eventually(async || weight(&server, nodes[2]), |weight| *weight == Some(1.0)).await;
    assert_eq!(assert_led_by_weight(&server).await, [1, 1, 1]);
}

#[tokio::test]
async fn while_a_probe_fails_answers_with_its_node_are_kept_for_a_second_only() {
    let (failing, near, far) = ("127.67.2.1", "127.67.2.2", "127.67.2.3");
    let cluster =
        cluster(&[&format!("dc1/rack1 {failing}"), &format!("dc1/rack1 {near}"), &format!("dc1/rack2 {far}")]).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        // It fails, and stays.
        zone.health.fall = u32::MAX;
    })
    .await;
    server.answers("", &[failing, near, far]).await;
    server.answers("dc1.rack1", &[failing, near]).await;
    server.answers("dc1.rack2", &[far]).await;
    // Name, and TTL while the node fails.
    let names = [("", 1), ("dc1", 1), ("dc1.rack1", 1), ("dc1.rack2", 5)];
    let ttls = async || {
        let mut ttls = Vec::new();
        for (name, _) in names {
            let services = format!("_alternator._tcp{}{name}", if name.is_empty() { "" } else { "." });
            for (name, rtype) in [(name, RecordType::A), (&*services, RecordType::SRV)] {
                let records: Vec<u32> =
                    server.dig(name, rtype).tcp().ask().await.answers().iter().map(|record| record.ttl).collect();
                assert!(records.iter().all(|ttl| *ttl == records[0]), "one TTL in an RRset: {records:?}");
                ttls.push(records[0]);
            }
        }
        ttls
    };
    assert_eq!(ttls().await, [5; 8]);
    cluster.inject(ip(failing), Fault::Reply(Endpoint::Health, BadReply::Status(500))).await.unwrap();
    let short: Vec<u32> = names.iter().flat_map(|(_, ttl)| [*ttl; 2]).collect();
    eventually(ttls, |ttls| *ttls == short).await;
    let line = format!("A: ttl=1s: {failing} fails its probes: status 500");
    assert!(server.explain("dc1.rack1").await.contains(&line));
    assert!(!server.explain("dc1.rack2").await.iter().any(|line| line.contains("fails its probes")));
    server.answers("dc1.rack1", &[failing, near]).await;
    cluster.heal(ip(failing)).await.unwrap();
    eventually(ttls, |ttls| *ttls == [5; 8]).await;
}

#[tokio::test]
async fn before_a_drain_answers_are_kept_no_longer_than_until_it_begins() {
    let (drained, stays) = ("127.67.4.1", "127.67.4.2");
    let cluster = cluster(&[&format!("dc1/rack1 {drained}"), &format!("dc1/rack2 {stays}")]).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.ttl = Duration::from_secs(3);
    })
    .await;
    server.answers("", &[drained, stays]).await;
    let from = SystemTime::now() + Duration::from_secs(4);
    let drain = Override {
        target: Target::Node(ip(drained)),
        action: Action::Drain,
        zone: None,
        from,
        until: None,
        set_at: SystemTime::now(),
        by: "a test".to_owned(),
        reason: String::new(),
        origin: Origin::Api,
    };
    server.app.overrides().set(drain).await.unwrap();
    // Seconds left when it was asked, and the TTL.
    let (mut told, mut reason) = (Vec::new(), None);
    loop {
        let left = from.duration_since(SystemTime::now()).unwrap_or_default();
        let reply = server.ask("dc1", RecordType::A).await;
        if reply.set() == set(&[stays]) {
            break;
        }
        assert_eq!(reply.set(), set(&[drained, stays]), "until it begins");
        told.push((left, reply.ttl()));
        if reply.ttl() < 3 && reason.is_none() {
            reason = server.explain("dc1").await.into_iter().find(|line| line.contains("is drained from "));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(told.windows(2).all(|pair| pair[1].1 <= pair[0].1), "{told:?}");
    assert_eq!((told[0].1, told[told.len() - 1].1), (3, 1), "{told:?}");
    assert!(told.iter().all(|(left, ttl)| left.as_secs() < 3 || *ttl == 3), "only in the last seconds: {told:?}");
    assert!(reason.unwrap().starts_with("A: ttl="));
    assert_eq!(server.ask("dc1.rack2", RecordType::A).await.ttl(), 3);
}

#[tokio::test]
async fn a_crowd_leaves_by_a_second_round_and_the_journal_says_so() {
    let nodes: Vec<String> = (1..=7).map(|last| format!("127.67.3.{last}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let placed: Vec<String> = nodes.iter().map(|node| format!("dc1/rack1 {node}")).collect();
    let cluster = cluster(&placed.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let server = TestServer::over(&cluster, |zone| {
        zone.health.enabled = false;
        zone.health.fall = 1;
        // However the leaving is spread over rounds, in one of them it is a crowd.
        zone.cluster.removal_cap = 0.3;
    })
    .await;
    server.answers("", &nodes).await;
    let noted = async |text: &str| server.app.sight().journal.since(0).iter().any(|change| change.text.contains(text));
    assert!(!noted("second round").await);
    for node in &nodes[2..] {
        cluster.remove_node(ip(node)).await.unwrap();
    }
    server.answers("", &nodes[..2]).await;
    assert!(noted("nodes are gone at once: waiting for a second round").await);
    assert!(noted("of the nodes that waited with leaving").await);
}
