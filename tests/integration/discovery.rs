//! Which nodes exist, as the answers tell it: observers that err, lie, are old or are gone; nodes that come, go and
//! move; several datacenters, seeds and zones.

use std::time::Duration;

use alternator_dns::{
    config::{Config, Seed, ServerConfig, ZoneConfig},
    server::Outcome,
    sim::{BadReply, Cluster, ClusterSpec, Endpoint, Fault, NodeSpec, SeenByOthers},
};
use hickory_proto::rr::{Name, RecordType};

use super::support::{Dig, TestServer, asked, cluster, eventually, ip, set, steady, within};

const FLAT: &str = "the servers ignore dc and rack; every scope is the whole cluster";
const STALE_TOPOLOGY: &str = "no node answers discovery; the topology is the last one known";

/// How long it may take until an upgraded server is seen to be one: where it was never asked while it was down, it is
/// believed to be old for a minute. Most often it was.
const UPGRADE_SEEN: Duration = Duration::from_secs(90);

/// Two datacenters at 127.11.`net`.0/24: dc1 {rack1: .11 .12, rack2: .13 .14}, dc2 {rack1: .21 .22, rack2: .23}.
struct Two {
    cluster: Cluster,
    dc1: [String; 4],
    dc2: [String; 3],
}

impl Two {
    async fn start(net: u8) -> Self {
        Self::start_with(net, Some(Duration::from_millis(500))).await
    }

    /// `failure_detector`: how long the others list a crashed node; `None`: for ever.
    async fn start_with(net: u8, failure_detector: Option<Duration>) -> Self {
        let dc1 = [11, 12, 13, 14].map(|last| format!("127.11.{net}.{last}"));
        let dc2 = [21, 22, 23].map(|last| format!("127.11.{net}.{last}"));
        let places = ["dc1/rack1", "dc1/rack1", "dc1/rack2", "dc1/rack2", "dc2/rack1", "dc2/rack1", "dc2/rack2"];
        let node = |(place, address): (&str, &String)| {
            let (dc, rack) = place.split_once('/').unwrap();
            NodeSpec::new(ip(address), dc, rack)
        };
        let spec = ClusterSpec::new(places.into_iter().zip(dc1.iter().chain(&dc2)).map(node).collect());
        let cluster = Cluster::start(spec.failure_detector(failure_detector)).await.unwrap();
        Two { cluster, dc1, dc2 }
    }

    fn dc1(&self) -> [&str; 4] {
        self.dc1.each_ref().map(String::as_str)
    }

    fn dc2(&self) -> [&str; 3] {
        self.dc2.each_ref().map(String::as_str)
    }

    fn all(&self) -> Vec<&str> {
        self.dc1.iter().chain(&self.dc2).map(String::as_str).collect()
    }

    /// Waits until every name is answered as it should be.
    async fn settled(&self, server: &TestServer) {
        server.answers("", &self.all()).await;
        server.answers("dc1", &self.dc1()).await;
        server.answers("dc1.rack1", &self.dc1()[..2]).await;
        server.answers("dc1.rack2", &self.dc1()[2..]).await;
        server.answers("dc2.rack1", &self.dc2()[..2]).await;
        server.answers("dc2.rack2", &self.dc2()[2..]).await;
    }

    /// Asserts that every name stays answered as it should be while these nodes are asked for many lists.
    async fn stays(&self, server: &TestServer, observers: &[&str]) {
        for (name, expected) in [
            ("", self.all()),
            ("dc1", self.dc1().to_vec()),
            ("dc1.rack1", self.dc1()[..2].to_vec()),
            ("dc2.rack2", self.dc2()[2..].to_vec()),
        ] {
            server.keeps_answering(name, &expected, asked(&self.cluster, observers, 12)).await;
        }
    }

    async fn heal_all(&self) {
        for node in self.cluster.nodes() {
            self.cluster.heal(node.address).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_observer_that_sees_only_itself_changes_nothing() {
    let two = Two::start(151).await;
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    for observer in [two.dc1()[0], two.dc1()[2], two.dc2()[0]] {
        two.cluster.partition(&[ip(observer)], SeenByOthers::Listed).unwrap();
        two.stays(&server, &[observer]).await;
        two.cluster.heal(ip(observer)).await.unwrap();
    }
}

#[tokio::test]
async fn a_node_the_others_lost_sight_of_leaves_alone_and_returns() {
    let two = Two::start(152).await;
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    // It serves, and says so; but writes to it reach nobody else.
    let lost = two.dc1()[1];
    two.cluster.partition(&[ip(lost)], SeenByOthers::Unlisted).unwrap();
    let rest: Vec<&str> = two.all().into_iter().filter(|node| *node != lost).collect();
    server.answers("", &rest).await;
    server.answers("dc1.rack1", &two.dc1()[..1]).await;
    server.keeps_answering("", &rest, asked(&two.cluster, &two.dc2(), 20)).await;
    two.cluster.heal(ip(lost)).await.unwrap();
    two.settled(&server).await;
}

#[tokio::test]
async fn an_observer_that_tells_an_empty_list_changes_nothing() {
    let two = Two::start(153).await;
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    for observer in [two.dc1()[3], two.dc2()[2]] {
        two.cluster.inject(ip(observer), Fault::Reply(Endpoint::Localnodes, BadReply::EmptyList)).await.unwrap();
        two.stays(&server, &[observer]).await;
    }
}

#[tokio::test]
async fn an_observer_that_adds_or_omits_an_address_changes_nothing() {
    let two = Two::start(154).await;
    // The address added serves: only that one node alone lists it keeps it out.
    let outsider = ip("127.11.154.99");
    let spec = ClusterSpec::new(vec![NodeSpec::new(outsider, "dc1", "rack1")]).port(two.cluster.port());
    let other = Cluster::start(spec).await.unwrap();
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    let liar = two.dc1()[3];
    two.cluster.inject(ip(liar), Fault::Adds(outsider)).await.unwrap();
    two.cluster.inject(ip(liar), Fault::Omits(ip(two.dc1()[0]))).await.unwrap();
    two.stays(&server, &[liar]).await;
    assert_eq!(other.counters(outsider).health, 0, "it is not even probed");
}

#[tokio::test]
async fn observers_that_hang_or_fail_change_nothing() {
    let two = Two::start(155).await;
    let server = TestServer::over(&two.cluster, |zone| {
        steady(zone);
        // Hanging nodes serve nobody; this is about what is known of the others.
        zone.health.enabled = false;
    })
    .await;
    two.settled(&server).await;
    two.cluster.inject(ip(two.dc1()[1]), Fault::Hang).await.unwrap();
    two.cluster.inject(ip(two.dc1()[2]), Fault::Reply(Endpoint::Localnodes, BadReply::Huge)).await.unwrap();
    two.cluster.inject(ip(two.dc2()[1]), Fault::Reply(Endpoint::Localnodes, BadReply::Status(500))).await.unwrap();
    two.stays(&server, &[two.dc1()[0], two.dc2()[0]]).await;
    // A change is seen all the same.
    two.cluster.remove_node(ip(two.dc1()[3])).await.unwrap();
    server.answers("dc1", &two.dc1()[..3]).await;
}

#[tokio::test]
async fn servers_that_ignore_datacenters_and_racks_change_nothing_while_others_do_not() {
    let two = Two::start(156).await;
    // Old from the start, in both datacenters.
    for old in [two.dc1()[1], two.dc2()[0], two.dc2()[2]] {
        two.cluster.inject(ip(old), Fault::OldVersion).await.unwrap();
    }
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    two.stays(&server, &[two.dc1()[1], two.dc2()[0], two.dc2()[2]]).await;
    assert!(!server.explain("dc1").await.contains(&FLAT.to_owned()));
}

/// An old cluster of one datacenter with two racks, all its names answered flat.
async fn old_cluster(net: u8) -> (Cluster, TestServer, [String; 3]) {
    let nodes = [1, 2, 3].map(|last| format!("127.11.{net}.{last}"));
    let texts =
        [format!("dc1/rack1 {}", nodes[0]), format!("dc1/rack1 {}", nodes[1]), format!("dc1/rack2 {}", nodes[2])];
    let cluster = cluster(&texts.each_ref().map(String::as_str)).await;
    cluster.inject_everywhere(Fault::OldVersion).await.unwrap();
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.insert("dc2".into(), vec!["rack1".into()]);
    })
    .await;
    (cluster, server, nodes)
}

#[tokio::test]
async fn in_a_cluster_of_old_servers_every_scope_is_the_whole_cluster_and_says_so() {
    let (_cluster, server, nodes) = old_cluster(157).await;
    let nodes = nodes.each_ref().map(String::as_str);
    for name in ["", "dc1", "dc1.rack1", "dc1.rack2", "dc1--rack2", "dc2", "dc2.rack1"] {
        server.answers(name, &nodes).await;
        let told = server.explain(name).await;
        assert!(told.contains(&FLAT.to_owned()), "{name}: {told:#?}");
        assert!(
            told.iter().any(|line| line.starts_with("A: level 1 of") && line.ends_with("3 nodes, live")),
            "{told:#?}"
        );
    }
    assert!(server.ask("dc3", RecordType::A).await.is_nxdomain(), "what is not configured does not exist");
}

#[tokio::test]
async fn a_rolling_upgrade_ends_with_names_told_apart_and_no_gap() {
    let (cluster, server, nodes) = old_cluster(158).await;
    let nodes = nodes.each_ref().map(String::as_str);
    server.answers("dc1.rack2", &nodes).await;
    let before = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| server.count(outcome));
    for (number, node) in nodes.iter().enumerate() {
        let others: Vec<&str> = nodes.iter().filter(|other| *other != node).copied().collect();
        cluster.stop(ip(node)).await.unwrap();
        server.answers("", &others).await;
        cluster.heal(ip(node)).await.unwrap();
        cluster.start_node(ip(node)).await.unwrap();
        server.answers("", &nodes).await;
        for name in ["dc1", "dc1.rack1", "dc1.rack2"] {
            assert!(!server.set(name).await.is_empty(), "{name} after {number} upgrades");
        }
    }
    within(UPGRADE_SEEN, || server.set("dc1.rack1"), |answered| *answered == set(&nodes[..2])).await;
    server.answers("dc1", &nodes).await;
    server.answers("dc1.rack1", &nodes[..2]).await;
    server.answers("dc1.rack2", &nodes[2..]).await;
    assert!(!server.explain("dc1.rack1").await.contains(&FLAT.to_owned()));
    let after = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| server.count(outcome));
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_first_upgraded_server_leaves_no_scope_without_an_answer() {
    let (cluster, server, nodes) = old_cluster(167).await;
    let nodes = nodes.each_ref().map(String::as_str);
    server.answers("dc1.rack2", &nodes).await;
    cluster.stop(ip(nodes[1])).await.unwrap();
    server.answers("", &[nodes[0], nodes[2]]).await;
    cluster.heal(ip(nodes[1])).await.unwrap();
    cluster.start_node(ip(nodes[1])).await.unwrap();
    // From being the whole cluster to being itself, with nothing between.
    let ask = async || {
        let answered = server.set("dc1.rack2").await;
        assert!(!answered.is_empty(), "{:#?}", server.explain("dc1.rack2").await);
        answered
    };
    within(UPGRADE_SEEN, ask, |answered| *answered == set(&nodes[2..])).await;
}

#[tokio::test]
async fn when_no_node_answers_discovery_the_topology_is_kept_and_marked_stale() {
    let two = Two::start(159).await;
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    two.cluster.inject_everywhere(Fault::Reply(Endpoint::Localnodes, BadReply::Status(503))).await.unwrap();
    for name in ["", "dc1", "dc2.rack2"] {
        let told = async || server.explain(name).await;
        eventually(told, |told| told.contains(&STALE_TOPOLOGY.to_owned())).await;
    }
    two.stays(&server, &[two.dc1()[0]]).await;
    // Health is still known at first hand.
    let reply = server.ask("dc1", RecordType::A).await;
    assert_eq!(reply.ttl(), 5);
    two.cluster.stop(ip(two.dc1()[0])).await.unwrap();
    server.answers("dc1", &two.dc1()[1..]).await;

    two.heal_all().await;
    two.cluster.start_node(ip(two.dc1()[0])).await.unwrap();
    two.cluster.remove_node(ip(two.dc2()[1])).await.unwrap();
    two.cluster.add_node(&NodeSpec::new(ip("127.11.159.24"), "dc2", "rack2")).await.unwrap();
    server.answers("dc1", &two.dc1()).await;
    server.answers("dc2", &[two.dc2()[0], two.dc2()[2], "127.11.159.24"]).await;
    let told = async || server.explain("").await;
    eventually(told, |told| !told.contains(&STALE_TOPOLOGY.to_owned())).await;
}

#[tokio::test]
async fn when_all_nodes_are_gone_the_last_known_good_ones_are_answered_and_all_recover() {
    // However long it takes to stop them all, nobody is left to say that one has left.
    let two = Two::start_with(160, None).await;
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    let before = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| server.count(outcome));
    for node in two.all() {
        two.cluster.stop(ip(node)).await.unwrap();
    }
    let told = async || server.explain("").await;
    let told_stale = |told: &Vec<String>| {
        told.contains(&STALE_TOPOLOGY.to_owned()) && told.iter().any(|line| line.starts_with("stale:"))
    };
    eventually(told, told_stale).await;
    two.settled(&server).await;
    for name in ["", "dc1", "dc2.rack2"] {
        assert_eq!(server.ask(name, RecordType::A).await.ttl(), 1, "{name}");
    }
    // The first to return is the only one known to serve; not the seed this time.
    two.cluster.start_node(ip(two.dc2()[2])).await.unwrap();
    server.answers("", &two.dc2()[2..]).await;
    server.answers("dc2.rack2", &two.dc2()[2..]).await;
    for node in two.all() {
        two.cluster.start_node(ip(node)).await.unwrap();
    }
    two.settled(&server).await;
    eventually(async || server.ask("", RecordType::A).await.ttl(), |ttl| *ttl == 5).await;
    let after = [Outcome::ServFail, Outcome::NxDomain].map(|outcome| server.count(outcome));
    assert_eq!(before, after);
}

#[tokio::test]
async fn nodes_are_added_and_removed_while_the_cluster_runs() {
    let two = Two::start(161).await;
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    two.cluster.add_node(&NodeSpec::new(ip("127.11.161.15"), "dc1", "rack2")).await.unwrap();
    server.answers("dc1.rack2", &[&two.dc1()[2..], &["127.11.161.15"]].concat()).await;
    server.answers("", &[&two.all()[..], &["127.11.161.15"]].concat()).await;
    two.cluster.remove_node(ip(two.dc1()[2])).await.unwrap();
    server.answers("dc1.rack2", &[two.dc1()[3], "127.11.161.15"]).await;
    // The seed is decommissioned: the others go on without it.
    two.cluster.remove_node(ip(two.dc1()[0])).await.unwrap();
    server.answers("dc1", &[two.dc1()[1], two.dc1()[3], "127.11.161.15"]).await;
    two.cluster.add_node(&NodeSpec::new(ip("127.11.161.25"), "dc2", "rack2")).await.unwrap();
    server.answers("dc2.rack2", &[two.dc2()[2], "127.11.161.25"]).await;
    // Nothing is left of those who left.
    let told = server.explain("").await.join("\n");
    assert!(!told.contains(two.dc1()[0]) && !told.contains(two.dc1()[2]), "{told}");
}

#[tokio::test]
async fn a_rack_and_a_datacenter_fill_and_empty_while_the_cluster_runs() {
    let two = Two::start(162).await;
    let server = TestServer::over(&two.cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.entry("dc1".into()).or_default().push("rack3".into());
    })
    .await;
    two.settled(&server).await;
    server.answers("dc1.rack3", &two.dc1()).await;
    two.cluster.add_node(&NodeSpec::new(ip("127.11.162.31"), "dc1", "rack3")).await.unwrap();
    server.answers("dc1.rack3", &["127.11.162.31"]).await;
    two.cluster.remove_node(ip("127.11.162.31")).await.unwrap();
    server.answers("dc1.rack3", &two.dc1()).await;
    two.settled(&server).await;
}

#[tokio::test]
async fn a_node_that_moves_to_another_rack_is_answered_there() {
    let two = Two::start(163).await;
    let server = TestServer::over(&two.cluster, steady).await;
    two.settled(&server).await;
    let moved = two.dc1()[1];
    two.cluster.move_to_rack(ip(moved), "rack2").unwrap();
    server.answers("dc1.rack2", &two.dc1()[1..]).await;
    server.answers("dc1.rack1", &two.dc1()[..1]).await;
    server.keeps_answering("dc1", &two.dc1(), asked(&two.cluster, &two.dc1(), 10)).await;
    two.cluster.move_to_rack(ip(moved), "rack1").unwrap();
    two.settled(&server).await;
}

#[tokio::test]
async fn seeds_in_datacenters_without_names_meet_at_the_apex() {
    let two = Two::start(164).await;
    let seeds = |count: usize| {
        let seeds = [two.dc1()[0], two.dc2()[0]].map(|seed| Seed::Address(ip(seed)));
        move |zone: &mut ZoneConfig| {
            steady(zone);
            zone.cluster.datacenters.clear();
            zone.cluster.seeds = seeds[..count].to_vec();
        }
    };
    let server = TestServer::over(&two.cluster, seeds(2)).await;
    server.answers("", &two.all()).await;
    assert!(server.ask("dc1", RecordType::A).await.is_nxdomain(), "nobody said the name");
    // Each datacenter votes for itself: neither the loss of a seed nor a partition of the two changes that.
    server.keeps_answering("", &two.all(), asked(&two.cluster, &two.all(), 10)).await;
    two.cluster.stop(ip(two.dc2()[0])).await.unwrap();
    let rest: Vec<&str> = two.all().into_iter().filter(|node| *node != two.dc2()[0]).collect();
    server.answers("", &rest).await;
    server.keeps_answering("", &rest, asked(&two.cluster, &two.dc2()[1..], 10)).await;
    two.cluster.start_node(ip(two.dc2()[0])).await.unwrap();
    server.answers("", &two.all()).await;
    // One seed tells of its own datacenter, and of no other.
    let single = TestServer::over(&two.cluster, seeds(1)).await;
    single.answers("", &two.dc1()).await;
}

#[tokio::test]
async fn several_zones_with_a_cluster_each_are_served_by_one_process() {
    let (one, other) = (Two::start_with(165, None).await, Two::start(166).await);
    let zone = |two: &Two, apex: &str| {
        let mut zone = TestServer::zone(&two.cluster, steady);
        zone.apex = Name::from_ascii(apex).unwrap();
        zone
    };
    // One lies within another, and one has no cluster at all.
    let zones = vec![
        zone(&one, "one.test."),
        zone(&other, "other.one.test."),
        ZoneConfig::new(Name::from_ascii("static.test.").unwrap()),
    ];
    let server = ServerConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], workers: 1, ..ServerConfig::default() };
    let server = TestServer::start(Config { server, zones }).await;
    let becomes = async |name: &str, expected: &[&str]| {
        for dig in [Dig::new(server.address, name, RecordType::A), Dig::new(server.address, name, RecordType::A).tcp()]
        {
            eventually(async || dig.ask().await.set(), |answered| *answered == set(expected)).await;
        }
    };
    becomes("one.test", &one.all()).await;
    becomes("dc1.rack2.one.test", &one.dc1()[2..]).await;
    becomes("other.one.test", &other.all()).await;
    becomes("dc2.other.one.test", &other.dc2()).await;
    assert!(Dig::new(server.address, "static.test", RecordType::A).ask().await.is_nodata());
    // What happens to one cluster is nothing to the other.
    for node in one.all() {
        one.cluster.stop(ip(node)).await.unwrap();
    }
    other.cluster.remove_node(ip(other.dc2()[0])).await.unwrap();
    becomes("dc2.other.one.test", &other.dc2()[1..]).await;
    let stale = async || Dig::new(server.address, "one.test", RecordType::A).ask().await;
    // Nodes whose probes begin to fail shorten it, too, while others of them are out already.
    eventually(stale, |reply| reply.ttl() == 1 && reply.set() == set(&one.all())).await;
    assert_eq!(Dig::new(server.address, "other.one.test", RecordType::A).ask().await.ttl(), 5);
}
