//! Several zones on one cluster: its nodes are asked once for all of them, and each zone answers in its own way.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use alternator_dns::{
    admin::{Status, ZoneSight},
    app::{self, Beginning},
    config::{Config, ScopeRule, Seed, ZoneConfig},
    journal::Change,
    model::Scope,
    sim::Cluster,
};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use crate::support::{Dig, Http, Load, Reply, TestServer, asked, cluster, eventually, ip, set, steady};

/// A zone over the cluster that knows of no place but those its chains name, each a datacenter or `dc/rack`.
fn zone(nodes: &Cluster, apex: &str, names: &[&str]) -> ZoneConfig {
    TestServer::zone(nodes, |zone| {
        zone.apex = Name::from_ascii(format!("{apex}.")).unwrap();
        zone.cluster.datacenters.clear();
        let rule = |name: &&str| ScopeRule { label: None, chain: vec![name.parse::<Scope>().unwrap()] };
        zone.scopes = names.iter().map(rule).collect();
        steady(zone);
    })
}

fn with(zones: &[&ZoneConfig]) -> Config {
    Config { zones: zones.iter().map(|zone| (*zone).clone()).collect(), ..TestServer::config(zones[0]) }
}

async fn a(server: &TestServer, name: &str) -> Reply {
    Dig::new(server.address, name, RecordType::A).ask().await
}

async fn answers(server: &TestServer, name: &str, addresses: &[&str]) {
    eventually(async || a(server, name).await.set(), |answered| *answered == set(addresses)).await;
}

fn sight(server: &TestServer, zone: &str) -> ZoneSight {
    let zones = server.app.sight().zones.load();
    zones.iter().find(|sight| sight.name == zone).unwrap().clone()
}

/// Requests for lists and probes that all nodes together have got.
fn requests(nodes: &Cluster) -> (u64, u64) {
    let counters = nodes.nodes().into_iter().map(|node| nodes.counters(node.address));
    counters.fold((0, 0), |(lists, probes), node| (lists + node.localnodes, probes + node.health))
}

/// Waits until a zone's cluster was asked this many times more.
async fn asked_more(server: &TestServer, zone: &str, rounds: u64, probes: u64) {
    let told = || {
        let sight = sight(server, zone);
        (sight.discovery.rounds.load(std::sync::atomic::Ordering::Relaxed), sight.probes.probes())
    };
    let before = told();
    eventually(async || told(), |now| now.0 >= before.0 + rounds && now.1 >= before.1 + probes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_is_asked_once_and_each_zone_answers_in_its_own_way() {
    let nodes = cluster(&["dc1/r1 127.81.1.1", "dc1/r2 127.81.1.2", "dc2/r1 127.81.1.3"]).await;
    let seeds = |last: &[u8]| last.iter().map(|last| Seed::Address([127, 81, 1, *last].into())).collect();
    let mut first = zone(&nodes, "first.test", &["dc1/r1", "dc2"]);
    (first.preferred_datacenter, first.ttl, first.cluster.seeds) =
        (Some("dc1".into()), Duration::from_secs(7), seeds(&[1, 2]));
    let mut second = zone(&nodes, "second.test", &["dc1/r2", "dc2"]);
    (second.preferred_datacenter, second.ttl) = (Some("dc2".into()), Duration::from_secs(9));
    (second.cluster.seeds, second.health.slow_start) = (seeds(&[2, 1, 1]), Duration::from_millis(1));
    let third = zone(&nodes, "third.test", &["dc1/r1"]);
    let mut config = with(&[&first, &second, &third]);
    config.server.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let server = TestServer::start(config).await;
    answers(&server, "first.test", &["127.81.1.1", "127.81.1.2"]).await;
    answers(&server, "second.test", &["127.81.1.3"]).await;
    answers(&server, "r1.dc1.first.test", &["127.81.1.1"]).await;
    answers(&server, "r2.dc1.second.test", &["127.81.1.2"]).await;
    assert_eq!((a(&server, "first.test").await.ttl(), a(&server, "second.test").await.ttl()), (7, 9));
    // Names are each zone's own.
    for other in ["dc1.r2.first.test", "dc1.r1.second.test", "dc2.third.test"] {
        assert_eq!(a(&server, other).await.rcode(), ResponseCode::NXDomain, "{other}");
    }
    let shares = |zone: &str| sight(&server, zone).shares_with;
    assert_eq!(
        (shares("first.test"), shares("third.test").is_empty()),
        (vec!["second.test".to_owned()], true),
        "other seeds"
    );

    // One poller and one prober: what they count is all that nodes got, but for what is under way.
    let alone = with(&[&first, &second]);
    let mut server = server;
    let alone = Config { zones: alone.zones, ..server.app.config().clone() };
    server.app.reload(&alone).await.unwrap();
    let before = requests(&nodes);
    let counted = || {
        let sight = sight(&server, "first.test");
        (sight.discovery.answers.load(std::sync::atomic::Ordering::Relaxed), sight.probes.probes())
    };
    let counted_before = counted();
    asked_more(&server, "first.test", 20, 60).await;
    let now = requests(&nodes);
    let told = counted();
    // A node has at most one question and one probe at a time from each; the third zone's own may have been under way.
    let slack = 3 * 3;
    let (lists, probes) = (now.0 - before.0, now.1 - before.1);
    let (told_lists, told_probes) = (told.0 - counted_before.0, told.1 - counted_before.1);
    assert!(lists <= told_lists + slack && probes <= told_probes + slack, "{lists} and {probes} of {told:?}");
    assert!(told_lists >= 20 && told_probes >= 60);
    let (first, second) = (sight(&server, "first.test"), sight(&server, "second.test"));
    assert!(Arc::ptr_eq(&first.probes, &second.probes) && Arc::ptr_eq(&first.discovery, &second.discovery));

    // Whoever looks sees that they share.
    let status = Status::of(server.app.sight(), SystemTime::now());
    let told: Vec<&[String]> = status.zones.iter().map(|zone| zone.shares_with.as_slice()).collect();
    assert_eq!(told, [["second.test".to_owned()], ["first.test".to_owned()]]);
    let metrics = Http::to(server.app.admin()[0]).get("/metrics").await.body;
    for zone in ["first.test", "second.test"] {
        let line = format!("alternator_dns_cluster_zones{{zone=\"{zone}\"}} 2");
        assert!(metrics.lines().any(|told| told.starts_with(&line)), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_join_and_leave_a_cluster_under_load_and_nothing_is_forgotten() {
    let nodes = cluster(&["dc1/r1 127.81.2.1", "dc1/r1 127.81.2.2", "dc2/r1 127.81.2.3", "dc2/r1 127.81.2.4"]).await;
    // A node that a new poller or prober would take for one that may be up.
    nodes.list_without_serving(ip("127.81.2.4")).await.unwrap();
    let first = zone(&nodes, "first.test", &["dc1", "dc2"]);
    let second = zone(&nodes, "second.test", &["dc1", "dc2/r1"]);
    let mut server = TestServer::start(with(&[&first])).await;
    let alive = ["127.81.2.1", "127.81.2.2", "127.81.2.3"];
    answers(&server, "first.test", &alive).await;
    let since = |server: &TestServer| sight(server, "first.test").health.borrow().of(ip(alive[0])).since;
    let (up_since, topology) = (since(&server), sight(&server, "first.test").topology);
    let load = Load::start(server.address, &["first.test"], 300);
    let base = server.app.config().clone();
    let of = |zones: &[&ZoneConfig]| Config { zones: with(zones).zones, ..base.clone() };
    for round in 0..10 {
        let applied = server.app.reload(&of(&[&second, &first])).await.unwrap();
        assert_eq!(applied.changes, ["zone second.test added"]);
        // At once: its cluster is known. Its own place is, once somebody was asked who is in it.
        assert_eq!(a(&server, "second.test").await.set(), set(&alive), "in round {round}");
        answers(&server, "dc2.r1.second.test", &[alive[2]]).await;
        assert_eq!(a(&server, "dc2.r1.first.test").await.rcode(), ResponseCode::NXDomain);
        server.app.reload(&of(&[&first])).await.unwrap();
    }
    let samples = load.stop().await;
    let whole: BTreeSet<IpAddr> = alive.map(ip).into();
    assert!(samples.iter().all(|sample| sample.set == whole), "{:?}", samples.iter().find(|one| one.set != whole));
    assert_eq!(since(&server), up_since);
    assert!(sight(&server, "first.test").topology.same_channel(&topology), "the same poller's");

    // The one that stays keeps the cluster, and the last one ends it.
    server.app.reload(&of(&[&second, &first])).await.unwrap();
    server.app.reload(&of(&[&second])).await.unwrap();
    assert_eq!(a(&server, "second.test").await.set(), set(&alive));
    asked_more(&server, "second.test", 3, 9).await;
    nodes.stop(ip(alive[1])).await.unwrap();
    answers(&server, "second.test", &[alive[0], alive[2]]).await;
    let mut without = second.clone();
    without.cluster.seeds.clear();
    server.app.reload(&of(&[&without])).await.unwrap();
    eventually(async || nodes.nodes().iter().all(|node| nodes.counters(node.address).open == 0), |closed| *closed)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_asks_in_another_way_leaves_and_returns_with_what_is_known() {
    let nodes = cluster(&["dc1/r1 127.81.3.1", "dc1/r1 127.81.3.2"]).await;
    nodes.list_without_serving(ip("127.81.3.2")).await.unwrap();
    let (first, second) = (zone(&nodes, "first.test", &["dc1"]), zone(&nodes, "second.test", &["dc1"]));
    let mut server = TestServer::start(with(&[&first, &second])).await;
    answers(&server, "second.test", &["127.81.3.1"]).await;
    let up_since = sight(&server, "second.test").health.borrow().of(ip("127.81.3.1")).since;
    let load = Load::start(server.address, &["first.test", "second.test"], 300);
    let together = server.app.config().clone();
    let mut apart = together.clone();
    apart.zones[1].health.interval += Duration::from_millis(1);
    for _ in 0..5 {
        let changes = server.app.reload(&apart).await.unwrap().changes;
        assert_eq!(changes, ["zone second.test: health"]);
        let (one, other) = (sight(&server, "first.test"), sight(&server, "second.test"));
        assert!(one.shares_with.is_empty() && !Arc::ptr_eq(&one.probes, &other.probes));
        assert_eq!(other.health.borrow().of(ip("127.81.3.1")).since, up_since);
        asked_more(&server, "first.test", 1, 2).await;
        asked_more(&server, "second.test", 1, 2).await;
        server.app.reload(&together).await.unwrap();
        assert_eq!(sight(&server, "first.test").shares_with, ["second.test"]);
    }
    // Both at once: one cluster asked in another way, which goes on counting.
    let counted = sight(&server, "first.test").probes;
    let mut slower = together.clone();
    slower.zones.iter_mut().for_each(|zone| zone.health.interval += Duration::from_millis(1));
    server.app.reload(&slower).await.unwrap();
    assert_eq!(sight(&server, "first.test").shares_with, ["second.test"]);
    assert!(Arc::ptr_eq(&sight(&server, "first.test").probes, &counted));
    assert_eq!(sight(&server, "first.test").health.borrow().of(ip("127.81.3.1")).since, up_since);
    let samples = load.stop().await;
    assert!(samples.iter().all(|sample| sample.set == BTreeSet::from([ip("127.81.3.1")])));
    nodes.start_node(ip("127.81.3.2")).await.unwrap();
    answers(&server, "second.test", &["127.81.3.1", "127.81.3.2"]).await;
}

#[tokio::test]
async fn a_query_for_any_of_the_zones_keeps_the_poller_awake_and_changes_are_noted_for_each() {
    let nodes = cluster(&["dc1/r1 127.81.4.1", "dc1/r1 127.81.4.2"]).await;
    let zones = ["first.test", "second.test"].map(|apex| {
        let mut zone = zone(&nodes, apex, &["dc1"]);
        zone.cluster.idle_interval = Duration::from_secs(3600);
        zone
    });
    let server = TestServer::start(with(&[&zones[0], &zones[1]])).await;
    for zone in ["second.test", "first.test", "second.test"] {
        let is_asked = asked(&nodes, &["127.81.4.1"], 6);
        // Without anybody who asks, or with somebody whom the poller does not hear, it would be an hour.
        let ask = async || {
            a(&server, zone).await;
            is_asked()
        };
        eventually(ask, |asked| *asked).await;
    }
    nodes.stop(ip("127.81.4.2")).await.unwrap();
    let is_down = |zone: &str, change: &Change| {
        change.zone.as_deref() == Some(zone) && change.subject == "127.81.4.2" && change.text.starts_with("is down")
    };
    let noted = async || {
        ["first.test", "second.test"]
            .map(|zone| server.app.sight().journal.since(0).iter().filter(|change| is_down(zone, change)).count())
    };
    assert_eq!(eventually(noted, |noted| *noted != [0, 0]).await, [1, 1]);
}

#[tokio::test]
async fn another_process_and_a_later_run_go_on_with_what_the_zones_know() {
    let nodes = cluster(&["dc1/r1 127.81.5.1", "dc2/r1 127.81.5.2"]).await;
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (zone(&nodes, "first.test", &["dc1"]), zone(&nodes, "second.test", &["dc2"]));
    let mut config = with(&[&first, &second]);
    config.server.state_dir = Some(dir.path().to_owned());
    let mut server = TestServer::start(config.clone()).await;
    let all = ["127.81.5.1", "127.81.5.2"];
    answers(&server, "second.test", &all).await;
    answers(&server, "dc1.first.test", &all[..1]).await;
    answers(&server, "dc2.second.test", &all[1..]).await;
    let told = server.app.offer().unwrap().zones;
    assert_eq!(told.len(), 2, "one for each zone");
    for name in ["first.test.json", "second.test.json"] {
        eventually(async || dir.path().join(name).exists(), |exists| *exists).await;
    }
    server.app.stop().await;
    for node in nodes.nodes() {
        nodes.stop(node.address).await.unwrap();
    }
    let of_files = config.clone();
    config.server.state_dir = None;
    for (config, told) in [(config, told), (of_files, Vec::new())] {
        let beginning = Beginning { zones: told, ..Beginning::default() };
        let app = app::start_from(&config, beginning).await.unwrap();
        let server = TestServer { address: app.addresses()[0], app };
        for (name, addresses) in [
            ("first.test", &all[..1]),
            ("second.test", &all),
            ("dc1.first.test", &all[..1]),
            ("dc2.second.test", &all[1..]),
        ] {
            assert_eq!(a(&server, name).await.set(), set(addresses), "{name}");
        }
        assert_eq!(a(&server, "dc2.first.test").await.rcode(), ResponseCode::NXDomain);
        server.app.stop().await;
    }
}
