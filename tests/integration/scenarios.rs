//! What every client library of Alternator promises, promised by name: the acceptance scenarios of the official Rust
//! client (and a few of the others'), asked over UDP and TCP.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use alternator_dns::{
    config::{Answers, ScopeRule, Seed},
    server::Outcome,
    sim::{BadReply, Cluster, ClusterSpec, Endpoint, Fault, NodeSpec},
};
use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::support::{Dig, Reply, TestServer, asked, cluster, eventually, ip, set, steady, within_own_time as within};

/// A change of the cluster shows in the answers within this.
const SOON: Duration = Duration::from_secs(5);

/// The scenarios' cluster at 127.11.`net`.0/24: dc1 {RAC1: 1, the seed}, dc2 {RAC1: 1, RAC2: 2}, dc3 {RAC1: 2, RAC2: 1}.
struct Nodes {
    cluster: Cluster,
    seed: String,
    dc2_rac1: [String; 1],
    dc2_rac2: [String; 2],
    dc3_rac1: [String; 2],
    dc3_rac2: [String; 1],
}

impl Nodes {
    async fn start(net: u8) -> Self {
        Self::start_with(net, Some(Duration::from_millis(500))).await
    }

    /// `failure_detector`: how long the others list a crashed node; `None`: for ever.
    async fn start_with(net: u8, failure_detector: Option<Duration>) -> Self {
        let at = |last: u8| format!("127.11.{net}.{last}");
        let places = ["dc1/RAC1", "dc2/RAC1", "dc2/RAC2", "dc2/RAC2", "dc3/RAC1", "dc3/RAC1", "dc3/RAC2"];
        let addresses = [11, 21, 22, 23, 31, 32, 33].map(at);
        let node = |(place, address): (&str, &String)| {
            let (dc, rack) = place.split_once('/').unwrap();
            NodeSpec::new(ip(address), dc, rack)
        };
        let spec = ClusterSpec::new(places.into_iter().zip(&addresses).map(node).collect());
        let cluster = Cluster::start(spec.failure_detector(failure_detector)).await.unwrap();
        let [seed, a, b, c, d, e, f] = addresses;
        Nodes { cluster, seed, dc2_rac1: [a], dc2_rac2: [b, c], dc3_rac1: [d, e], dc3_rac2: [f] }
    }

    fn dc2(&self) -> Vec<&str> {
        self.dc2_rac1.iter().chain(&self.dc2_rac2).map(String::as_str).collect()
    }

    fn dc3(&self) -> Vec<&str> {
        self.dc3_rac1.iter().chain(&self.dc3_rac2).map(String::as_str).collect()
    }

    fn all(&self) -> Vec<&str> {
        [vec![self.seed.as_str()], self.dc2(), self.dc3()].concat()
    }

    async fn stop(&self, nodes: &[&str]) {
        for node in nodes {
            self.cluster.stop(ip(node)).await.unwrap();
        }
    }
}

/// [`TestServer::answers`] within [`SOON`].
async fn soon(server: &TestServer, name: &str, addresses: &[&str]) {
    let wanted = set(addresses);
    within(SOON, || server.both_families(name), |sets| sets.iter().all(|set| *set == wanted)).await;
}

/// The question over UDP and over TCP.
fn transports(dig: &Dig) -> [Dig; 2] {
    [dig.clone(), dig.clone().tcp()]
}

/// How often each address came first.
fn leaders(replies: &[Reply]) -> BTreeMap<IpAddr, usize> {
    let mut leaders = BTreeMap::new();
    for reply in replies {
        *leaders.entry(reply.first()).or_insert(0) += 1;
    }
    leaders
}

/// Asserts that in ten rounds, each node of the name comes first exactly once in each round, over UDP and over TCP.
async fn deals_exactly(server: &TestServer, name: &str, nodes: &[&str]) {
    for dig in transports(&server.dig(name, RecordType::A)) {
        let replies = server.undisturbed(async || dig.repeat(10 * nodes.len()).await).await;
        for (round, replies) in replies.chunks(nodes.len()).enumerate() {
            let once: BTreeMap<IpAddr, usize> = nodes.iter().map(|node| (ip(node), 1)).collect();
            assert_eq!(leaders(replies), once, "round {round} of {name:?}");
            assert!(replies.iter().all(|reply| reply.addresses().len() == nodes.len()));
        }
    }
}

#[tokio::test]
async fn a_datacenters_name_is_answered_with_its_nodes_only() {
    let nodes = Nodes::start(1).await;
    let server = TestServer::over(&nodes.cluster, steady).await;
    server.answers("dc2", &nodes.dc2()).await;
    let before = server.count(Outcome::Answered);
    for dig in transports(&server.dig("dc2", RecordType::A)) {
        for reply in dig.repeat(20).await {
            assert_eq!(reply.set(), set(&nodes.dc2()));
            assert!(reply.is_authoritative() && reply.ttl() == 5);
        }
    }
    assert_eq!(server.count(Outcome::Answered) - before, 40);
}

#[tokio::test]
async fn a_racks_name_is_answered_with_its_nodes_only_in_every_spelling() {
    let nodes = Nodes::start(2).await;
    let one = |zone: &mut alternator_dns::config::ZoneConfig| {
        steady(zone);
        zone.answers = Answers::Count(std::num::NonZeroU16::MIN);
    };
    let server = TestServer::over(&nodes.cluster, one).await;
    let rack = nodes.dc2_rac2.each_ref().map(String::as_str);
    eventually(async || server.explain("dc2.rac2").await, |told| told[1].contains("2 nodes, live")).await;
    for name in ["dc2.rac2", "rac2.dc2", "dc2--rac2", "DC2.RAC2"] {
        let drawn = async || {
            let mut drawn = std::collections::BTreeSet::new();
            for dig in transports(&server.dig(name, RecordType::A)) {
                for reply in dig.repeat(10).await {
                    assert_eq!(reply.addresses().len(), 1, "{name}");
                    drawn.extend(reply.set());
                }
            }
            drawn
        };
        assert_eq!(drawn().await, set(&rack), "{name}");
    }
}

#[tokio::test]
async fn in_ten_rounds_of_queries_each_node_leads_exactly_ten_times() {
    let nodes = Nodes::start(3).await;
    let server = TestServer::over(&nodes.cluster, steady).await;
    for (name, expected) in [("", nodes.all()), ("dc2", nodes.dc2()), ("dc3.rac1", nodes.dc3()[..2].to_vec())] {
        server.answers(name, &expected).await;
        deals_exactly(&server, name, &expected).await;
    }
}

#[tokio::test]
async fn a_host_name_as_seed_is_replaced_by_the_nodes_it_leads_to() {
    let mut nodes: Vec<String> = (1..=3).map(|last| format!("dc1/RAC1 127.11.4.{last}")).collect();
    nodes.insert(0, "dc1/RAC1 127.0.0.1".to_owned());
    let cluster = cluster(&nodes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // `localhost` is a contact point that no node lists, like a proxy's or a service's address.
    cluster.inject_everywhere(Fault::Omits(ip("127.0.0.1"))).await.unwrap();
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.cluster.seeds = vec![Seed::Host("localhost".into())];
    })
    .await;
    let live = ["127.11.4.1", "127.11.4.2", "127.11.4.3"];
    // From the first query on: the seed is never answered, not even while nothing else is known.
    let ask = async || {
        let answered = server.set("").await;
        assert!(!answered.contains("127.0.0.1"), "{answered:?}");
        answered
    };
    within(SOON, ask, |answered| *answered == set(&live)).await;
    deals_exactly(&server, "", &live).await;
    let explained = server.explain("").await.join("\n");
    assert!(!explained.contains("127.0.0.1") && !explained.contains("localhost"), "{explained}");

    // A contact point that the nodes list is a node like any other.
    for node in cluster.nodes() {
        cluster.heal(node.address).await.unwrap();
    }
    soon(&server, "", &[&live[..], &["127.0.0.1"]].concat()).await;
}

#[tokio::test]
async fn a_stopped_node_is_never_answered_again_until_none_is_left() {
    let nodes = Nodes::start(5).await;
    // A longer time-out would let deaths further apart count as one incident.
    let server = TestServer::over(&nodes.cluster, |zone| zone.health.timeout = Duration::from_millis(500)).await;
    let mut left = nodes.dc2();
    soon(&server, "dc2", &left).await;
    let servfails = server.count(Outcome::ServFail);
    while left.len() > 1 {
        let stopped = left.remove(0);
        nodes.stop(&[stopped]).await;
        soon(&server, "dc2", &left).await;
        // Long enough for the others to notice, and for the poller to ask about it again and again.
        server.keeps_answering("dc2", &left, asked(&nodes.cluster, &[&nodes.seed], 20)).await;
        let everywhere = server.set("").await;
        assert!(!everywhere.contains(stopped), "{everywhere:?}");
    }
    // Deaths within 2.25 seconds count as one incident; this is more, so that the last one is the last known good set.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let last = left[0];
    nodes.stop(&[last]).await;
    let told_stale = async || server.explain("dc2").await.iter().any(|line| line.starts_with("stale:"));
    within(SOON, told_stale, |stale| *stale).await;
    server.keeps_answering("dc2", &[last], asked(&nodes.cluster, &[&nodes.seed], 20)).await;
    for dig in transports(&server.dig("dc2", RecordType::A)) {
        let reply = dig.ask().await;
        assert_eq!((reply.rcode(), reply.ttl()), (ResponseCode::NoError, 1));
    }
    assert_eq!((server.count(Outcome::ServFail), server.count(Outcome::NxDomain)), (servfails, 0));
    // Other scopes are as good as ever.
    let others = [vec![nodes.seed.as_str()], nodes.dc3()].concat();
    server.answers("", &others).await;
    assert_eq!(server.ask("dc3", RecordType::A).await.ttl(), 5);
    assert!(!server.explain("dc3").await.iter().any(|line| line.starts_with("stale:")));
}

#[tokio::test]
async fn a_datacenter_stopped_at_once_is_answered_by_its_last_known_good_nodes() {
    // The others list them for ever: one that is dropped from the lists while its rack has others is forgotten.
    let nodes = Nodes::start_with(6, None).await;
    let server = TestServer::over(&nodes.cluster, steady).await;
    server.answers("dc2", &nodes.dc2()).await;
    nodes.stop(&nodes.dc2()).await;
    let told = async || server.explain("dc2").await;
    let told = within(SOON, told, |told| told.iter().any(|line| line.starts_with("stale:"))).await;
    assert!(told.contains(&"A: level 1 of 1 (dc2), 3 nodes, last known good".to_owned()), "{told:#?}");
    server.keeps_answering("dc2", &nodes.dc2(), asked(&nodes.cluster, &[&nodes.seed], 20)).await;
    // One that returns is answered alone, and no longer as a guess.
    nodes.cluster.start_node(ip(nodes.dc2()[2])).await.unwrap();
    soon(&server, "dc2", &nodes.dc2()[2..]).await;
    within(SOON, async || server.ask("dc2", RecordType::A).await.ttl(), |ttl| *ttl == 5).await;
}

#[tokio::test]
async fn a_rack_without_nodes_falls_back_to_its_datacenter_and_returns_with_its_first_node() {
    let nodes = Nodes::start(7).await;
    let server = TestServer::over(&nodes.cluster, steady).await;
    let rack = nodes.dc2_rac2.each_ref().map(String::as_str);
    soon(&server, "dc2.rac2", &rack).await;
    nodes.stop(&rack).await;
    let rest = [nodes.dc2_rac1[0].as_str()];
    soon(&server, "dc2.rac2", &rest).await;
    soon(&server, "dc2--rac2", &rest).await;
    server.keeps_answering("dc2.rac2", &rest, asked(&nodes.cluster, &[&nodes.seed], 20)).await;
    let told = server.explain("dc2.rac2").await;
    assert!(told.contains(&"A: level 2 of 2 (dc2), 1 node, fallback".to_owned()), "{told:#?}");
    assert_eq!(server.ask("dc2.rac2", RecordType::A).await.ttl(), 5, "live nodes are not stale");

    nodes.cluster.start_node(ip(rack[1])).await.unwrap();
    soon(&server, "dc2.rac2", &rack[1..]).await;
    server.keeps_answering("dc2.rac2", &rack[1..], asked(&nodes.cluster, &[&nodes.seed], 20)).await;
    nodes.cluster.start_node(ip(rack[0])).await.unwrap();
    soon(&server, "dc2.rac2", &rack).await;
    deals_exactly(&server, "dc2.rac2", &rack).await;
    assert_eq!(server.count(Outcome::NxDomain), 0);
}

#[tokio::test]
async fn a_chain_written_out_is_walked_to_its_end_and_back() {
    let nodes = Nodes::start(8).await;
    let server = TestServer::over(&nodes.cluster, |zone| {
        steady(zone);
        let chain = ["dc2/RAC2", "dc3/RAC2", "cluster"].map(|scope| scope.parse().unwrap()).to_vec();
        zone.scopes = vec![ScopeRule { label: Some("web".into()), chain }];
    })
    .await;
    let (first, second) = (nodes.dc2_rac2.each_ref().map(String::as_str), [nodes.dc3_rac2[0].as_str()]);
    soon(&server, "web", &first).await;
    nodes.stop(&first).await;
    soon(&server, "web", &second).await;
    nodes.stop(&second).await;
    let rest = [vec![nodes.seed.as_str(), nodes.dc2_rac1[0].as_str()], nodes.dc3()[..2].to_vec()].concat();
    soon(&server, "web", &rest).await;
    nodes.cluster.start_node(ip(second[0])).await.unwrap();
    soon(&server, "web", &second).await;
    nodes.cluster.start_node(ip(first[0])).await.unwrap();
    soon(&server, "web", &first[..1]).await;
}

#[tokio::test]
async fn a_datacenter_fails_over_to_others_only_where_the_zone_says_so() {
    let nodes = Nodes::start(9).await;
    let staying = TestServer::over(&nodes.cluster, steady).await;
    let moving = TestServer::over(&nodes.cluster, |zone| {
        steady(zone);
        zone.datacenter_failover = true;
    })
    .await;
    for server in [&staying, &moving] {
        soon(server, "dc2", &nodes.dc2()).await;
    }
    nodes.stop(&nodes.dc2()).await;
    let others = [vec![nodes.seed.as_str()], nodes.dc3()].concat();
    soon(&moving, "dc2", &others).await;
    soon(&moving, "dc2.rac2", &others).await;
    // The other answers its own nodes only, as long as it takes.
    let told = async || staying.explain("dc2").await;
    within(SOON, told, |told| told.iter().any(|line| line.starts_with("stale:"))).await;
    let done = asked(&nodes.cluster, &[&nodes.seed], 20);
    while !done() {
        let answered = staying.set("dc2").await;
        assert!(!answered.is_empty() && answered.is_subset(&set(&nodes.dc2())), "{answered:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    nodes.cluster.start_node(ip(nodes.dc2()[0])).await.unwrap();
    for server in [&staying, &moving] {
        soon(server, "dc2", &nodes.dc2()[..1]).await;
        soon(server, "dc2.rac2", &nodes.dc2()[..1]).await;
    }
}

#[tokio::test]
async fn an_unknown_datacenter_is_never_the_seed_by_accident() {
    let nodes = Nodes::start(10).await;
    let server = TestServer::over(&nodes.cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.insert("dc9".into(), vec!["RAC1".into()]);
        zone.cluster.datacenters.entry("dc3".into()).or_default().push("RAC9".into());
    })
    .await;
    server.answers("", &nodes.all()).await;
    let before = [Outcome::NxDomain, Outcome::ServFail].map(|outcome| server.count(outcome));
    for rtype in [RecordType::A, RecordType::AAAA] {
        for name in ["dc8", "dc8.rac1", "dc8--rac1", "dc2.rac9", "rac1.dc8"] {
            for dig in transports(&server.dig(name, rtype)) {
                assert!(dig.ask().await.is_nxdomain(), "{name}");
            }
        }
        for name in ["dc9", "dc9.rac1", "dc9--rac1"] {
            for dig in transports(&server.dig(name, rtype)) {
                let reply = dig.ask().await;
                assert_eq!((reply.rcode(), reply.answers().len()), (ResponseCode::ServFail, 0), "{name}");
            }
        }
    }
    let after = [Outcome::NxDomain, Outcome::ServFail].map(|outcome| server.count(outcome));
    assert_eq!([after[0] - before[0], after[1] - before[1]], [20, 12]);
    // A configured rack that the cluster does not have is what its datacenter is.
    server.answers("dc3.rac9", &nodes.dc3()).await;
    let told = server.explain("dc9").await;
    assert!(told.contains(&"A: not ready, no node was ever known to serve".to_owned()), "{told:#?}");

    // The datacenter comes into being.
    let node = NodeSpec::new(ip("127.11.10.91"), "dc9", "RAC1");
    nodes.cluster.add_node(&node).await.unwrap();
    soon(&server, "dc9.rac1", &["127.11.10.91"]).await;
}

#[tokio::test]
async fn an_unknown_datacenter_with_failover_is_the_whole_cluster() {
    let nodes = Nodes::start(11).await;
    let server = TestServer::over(&nodes.cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.insert("dc9".into(), vec!["RAC1".into()]);
        zone.datacenter_failover = true;
    })
    .await;
    soon(&server, "dc9", &nodes.all()).await;
    soon(&server, "dc9.rac1", &nodes.all()).await;
    let told = server.explain("dc9.rac1").await;
    assert!(told.contains(&"A: level 3 of 3 (cluster), 7 nodes, fallback".to_owned()), "{told:#?}");
}

#[tokio::test]
async fn a_node_down_at_the_start_is_answered_once_it_starts() {
    let nodes = Nodes::start(12).await;
    let late = nodes.dc2_rac2[0].as_str();
    nodes.stop(&[late]).await;
    let server = TestServer::over(&nodes.cluster, steady).await;
    let rest: Vec<&str> = nodes.dc2().into_iter().filter(|node| *node != late).collect();
    soon(&server, "dc2", &rest).await;
    server.keeps_answering("dc2", &rest, asked(&nodes.cluster, &[&nodes.seed], 20)).await;
    // Listed before it serves, as a restarting node is: not answered before its port does.
    nodes.cluster.list_without_serving(ip(late)).await.unwrap();
    server.keeps_answering("dc2", &rest, asked(&nodes.cluster, &[&nodes.seed], 20)).await;
    nodes.cluster.start_node(ip(late)).await.unwrap();
    soon(&server, "dc2", &nodes.dc2()).await;
    deals_exactly(&server, "dc2", &nodes.dc2()).await;
}

#[tokio::test]
async fn a_seed_down_at_the_start_delays_the_answers_and_no_more() {
    let nodes = Nodes::start(13).await;
    nodes.stop(&[&nodes.seed]).await;
    let server = TestServer::over(&nodes.cluster, steady).await;
    for name in ["", "dc2", "dc2.rac2"] {
        for dig in transports(&server.dig(name, RecordType::A)) {
            let reply = dig.ask().await;
            assert_eq!((reply.rcode(), reply.answers().len()), (ResponseCode::ServFail, 0), "{name}");
        }
    }
    nodes.cluster.start_node(ip(&nodes.seed)).await.unwrap();
    soon(&server, "", &nodes.all()).await;
    soon(&server, "dc2.rac2", &nodes.dc2()[1..]).await;
    // From then on the seed is a node like any other.
    nodes.stop(&[&nodes.seed]).await;
    soon(&server, "", &nodes.all()[1..]).await;
}

/// One node is one server of lists: every round asks it, so that each connection counted is the poller's.
async fn lone_node(address: &str) -> (Cluster, TestServer) {
    let cluster = cluster(&[&format!("dc1/RAC1 {address}")]).await;
    let server = TestServer::over(&cluster, |zone| zone.health.enabled = false).await;
    server.answers("", &[address]).await;
    (cluster, server)
}

#[tokio::test]
async fn the_poller_keeps_one_connection_to_each_node() {
    let nodes = Nodes::start(14).await;
    // Every probe makes a connection of its own, so the poller's are counted alone.
    let server = TestServer::over(&nodes.cluster, |zone| zone.health.enabled = false).await;
    server.answers("", &nodes.all()).await;
    let done = asked(&nodes.cluster, &nodes.all(), 30);
    eventually(async || done(), |done| *done).await;
    for node in nodes.all() {
        let counters = nodes.cluster.counters(ip(node));
        assert_eq!((counters.accepted, counters.open_peak, counters.health), (1, 1, 0), "{node}: {counters:?}");
    }
    // A node that restarts is connected to once more.
    let restarted = nodes.dc2()[0];
    nodes.stop(&[restarted]).await;
    nodes.cluster.start_node(ip(restarted)).await.unwrap();
    let done = asked(&nodes.cluster, &[restarted], 30);
    eventually(async || done(), |done| *done).await;
    let counters = nodes.cluster.counters(ip(restarted));
    assert_eq!((counters.accepted, counters.open_peak), (2, 1), "{counters:?}");
}

#[tokio::test]
async fn a_probe_makes_a_connection_of_its_own_and_leaves_none_behind() {
    let cluster = cluster(&["dc1/RAC1 127.11.15.1"]).await;
    let node = ip("127.11.15.1");
    let server = TestServer::over(&cluster, steady).await;
    server.answers("", &["127.11.15.1"]).await;
    let probed = eventually(async || cluster.counters(node), |counters| counters.health >= 20).await;
    // The poller's, and at most one probe's that is under way.
    assert!(probed.open_peak <= 2 && probed.open <= 2, "{probed:?}");
    assert!(probed.accepted <= probed.health + 2, "{probed:?}");
}

#[tokio::test]
async fn a_poller_that_paused_takes_up_its_connection_again() {
    let cluster = cluster(&["dc1/RAC1 127.11.16.1"]).await;
    let node = ip("127.11.16.1");
    let server = TestServer::over(&cluster, |zone| {
        zone.health.enabled = false;
        zone.cluster.idle_interval = Duration::from_secs(2);
    })
    .await;
    server.answers("", &["127.11.16.1"]).await;
    let before = cluster.counters(node).localnodes;
    // Nobody asks now: three rounds take the poller through two pauses at least.
    let counters = eventually(async || cluster.counters(node), |counters| counters.localnodes >= before + 6).await;
    assert_eq!((counters.accepted, counters.open_peak), (1, 1), "{counters:?}");
}

#[tokio::test]
async fn replies_that_are_no_list_are_read_to_their_end_and_their_connection_is_kept() {
    let (cluster, server) = lone_node("127.11.17.1").await;
    let node = ip("127.11.17.1");
    let page = BadReply::Redirect("http://127.11.17.9/localnodes".into());
    for bad in [
        BadReply::Status(500),
        BadReply::Status(503),
        BadReply::Status(404),
        BadReply::Garbage,
        BadReply::Html,
        BadReply::EmptyList,
        page,
    ] {
        cluster.inject(node, Fault::Reply(Endpoint::Localnodes, bad.clone())).await.unwrap();
        let done = asked(&cluster, &["127.11.17.1"], 5);
        server.keeps_answering("", &["127.11.17.1"], done).await;
        let counters = cluster.counters(node);
        assert_eq!((counters.accepted, counters.open_peak), (1, 1), "{bad:?}: {counters:?}");
    }
    cluster.heal(node).await.unwrap();
    let told = async || server.explain("").await.join("\n");
    eventually(told, |told| !told.contains("no node answers discovery")).await;
    assert_eq!(cluster.counters(node).accepted, 1);
}

#[tokio::test]
async fn while_nobody_asks_the_poller_rests_and_the_first_query_wakes_it() {
    let nodes = Nodes::start(18).await;
    let server = TestServer::over(&nodes.cluster, |zone| {
        steady(zone);
        zone.cluster.idle_interval = Duration::from_secs(3600);
    })
    .await;
    server.answers("", &nodes.all()).await;
    let polls = || nodes.all().iter().map(|node| nodes.cluster.counters(ip(node)).localnodes).sum::<u64>();
    let rests = async || {
        let before = polls();
        tokio::time::sleep(Duration::from_secs(2)).await;
        polls() - before
    };
    // Twenty rounds fit into the time in which none is seen.
    eventually(rests, |polls| *polls == 0).await;
    let newcomer = "127.11.18.24";
    nodes.cluster.add_node(&NodeSpec::new(ip(newcomer), "dc2", "RAC2")).await.unwrap();
    // Names that are not the zone's wake nobody.
    assert_eq!(Dig::new(server.address, "example.com", RecordType::A).ask().await.rcode(), ResponseCode::Refused);
    assert_eq!(rests().await, 0);
    assert!(!server.set("dc2").await.contains(newcomer));
    soon(&server, "dc2", &[nodes.dc2(), vec![newcomer]].concat()).await;
}

#[tokio::test]
async fn seeds_and_nodes_may_be_ipv6() {
    if !ClusterSpec::has_ipv6() {
        return;
    }
    let cluster = cluster(&["dc1/RAC1 ::1", "dc1/RAC1 127.11.19.1", "dc1/RAC2 127.11.19.2"]).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.cluster.seeds = vec![Seed::Address(ip("::1"))];
    })
    .await;
    let v4 = ["127.11.19.1", "127.11.19.2"];
    server.answers("", &["::1", v4[0], v4[1]]).await;
    for transport in transports(&server.dig("", RecordType::AAAA)) {
        assert_eq!(transport.ask().await.addresses(), [ip("::1")]);
    }
    assert_eq!(server.set("").await, set(&v4));
    deals_exactly(&server, "", &v4).await;
    assert!(server.ask("dc1.rac2", RecordType::AAAA).await.is_nodata());
    // The node's own name, as SRV gives it.
    assert_eq!(server.ask("n-0--1", RecordType::AAAA).await.addresses(), [ip("::1")]);
    let counters = cluster.counters(ip("::1"));
    assert!(counters.localnodes > 0 && counters.health > 0, "{counters:?}");
}

#[tokio::test]
async fn odd_entries_in_a_list_change_nothing() {
    let nodes = Nodes::start(20).await;
    nodes.cluster.inject_everywhere(Fault::OddEntries).await.unwrap();
    // Without probes, whatever is taken for an address is answered.
    let server = TestServer::over(&nodes.cluster, |zone| zone.health.enabled = false).await;
    soon(&server, "", &nodes.all()).await;
    soon(&server, "dc2.rac2", &nodes.dc2()[1..]).await;
    let done = asked(&nodes.cluster, &nodes.all(), 15);
    server.keeps_answering("", &nodes.all(), done).await;
}

#[tokio::test]
async fn a_port_in_a_list_gives_way_to_the_configured_one() {
    let mut texts = vec!["dc1/RAC1 127.11.21.1", "dc1/RAC1 127.11.21.2", "dc1/RAC1 127.11.21.3"];
    let has_ipv6 = ClusterSpec::has_ipv6();
    if has_ipv6 {
        texts.push("dc1/RAC1 ::1");
    }
    let cluster = cluster(&texts).await;
    // These are listed with a port that is not theirs, and only so.
    for (address, entry) in [("127.11.21.3", "127.11.21.3:9000"), ("::1", "[::1]:9000")] {
        cluster.inject_everywhere(Fault::Omits(ip(address))).await.unwrap();
        if has_ipv6 || address != "::1" {
            cluster.inject_everywhere(Fault::Entries(vec![entry.into()])).await.unwrap();
        }
    }
    let server = TestServer::over(&cluster, steady).await;
    let mut all = vec!["127.11.21.1", "127.11.21.2", "127.11.21.3"];
    if has_ipv6 {
        all.push("::1");
    }
    soon(&server, "dc1", &all).await;
    assert!(cluster.counters(ip("127.11.21.3")).health > 0, "it was probed on the configured port");
}

#[tokio::test]
async fn names_of_free_text_are_asked_for_as_spelt_and_answered_by_their_labels() {
    let cluster = cluster(&[
        "dc 1/r&1 127.11.22.1",
        "dc 1/Ü=2 127.11.22.2",
        "US_EAST+1/a%20b 127.11.22.3",
        "US_EAST+1/a b 127.11.22.4",
    ])
    .await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        let chain = vec!["US_EAST+1/a b".parse().unwrap(), "US_EAST+1".parse().unwrap()];
        zone.scopes = vec![ScopeRule { label: Some("spaced".into()), chain }];
    })
    .await;
    let all = ["127.11.22.1", "127.11.22.2", "127.11.22.3", "127.11.22.4"];
    for (name, expected) in [
        ("", &all[..]),
        ("dc-1", &all[..2]),
        ("dc-1.r-1", &all[..1]),
        ("r-1.dc-1", &all[..1]),
        ("dc-1--r-1", &all[..1]),
        ("us-east-1", &all[2..]),
        ("us_east-1", &all[2..]),
        ("us-east-1.a-20b", &all[2..3]),
        ("us-east-1.a-b", &all[3..]),
        ("spaced", &all[3..]),
    ] {
        soon(&server, name, expected).await;
    }
    // "Ü=2" has the label "2".
    soon(&server, "dc-1.2", &all[1..2]).await;
}

/// A cluster at 127.11.`net`.0/24 that speaks well, behind a first seed that does not.
async fn behind(net: u8, first: Seed) -> (Cluster, TestServer) {
    let nodes = [1, 2, 3].map(|last| format!("dc1/RAC1 127.11.{net}.{last}"));
    let cluster = cluster(&nodes.each_ref().map(String::as_str)).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.cluster.seeds.insert(0, first);
    })
    .await;
    (cluster, server)
}

#[tokio::test]
async fn a_contact_point_that_tells_nothing_useful_gives_way_to_the_next_seed() {
    let good = ["127.11.23.1", "127.11.23.2", "127.11.23.3"];
    let cluster = cluster(&good.map(|address| format!("dc1/RAC1 {address}")).each_ref().map(String::as_str)).await;
    let faults = [
        Fault::Reply(Endpoint::Localnodes, BadReply::Status(503)),
        Fault::Reply(Endpoint::Localnodes, BadReply::Html),
        Fault::Reply(Endpoint::Localnodes, BadReply::Garbage),
        Fault::Reply(Endpoint::Localnodes, BadReply::EmptyList),
        Fault::Reply(Endpoint::Localnodes, BadReply::Truncated),
        Fault::Reply(Endpoint::Localnodes, BadReply::Huge),
        Fault::Entries(vec!["node.example.com".into()]),
        Fault::Hang,
        Fault::Silent,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let bad = IpAddr::from([127, 11, 23, 100 + number as u8]);
        let spec = ClusterSpec::new(vec![NodeSpec::new(bad, "dc1", "RAC1")]).port(cluster.port());
        let contact = Cluster::start(spec).await.unwrap();
        // It is nobody's node, not even its own.
        contact.inject(bad, Fault::Omits(bad)).await.unwrap();
        contact.inject(bad, fault.clone()).await.unwrap();
        let server = TestServer::over(&cluster, |zone| {
            steady(zone);
            zone.cluster.seeds.insert(0, Seed::Address(bad));
        })
        .await;
        let ask = async || {
            let answered = server.set("").await;
            assert!(!answered.contains(&bad.to_string()), "{fault:?}: {answered:?}");
            answered
        };
        within(SOON, ask, |answered| *answered == set(&good)).await;
        soon(&server, "dc1.rac1", &good).await;
        server.app.stop().await;
    }
}

#[tokio::test]
async fn contact_points_that_tell_nothing_useful_are_no_answer() {
    let bad = cluster(&["dc1/RAC1 127.11.24.1", "dc1/RAC1 127.11.24.2"]).await;
    for (node, reply) in [("127.11.24.1", BadReply::EmptyList), ("127.11.24.2", BadReply::Status(503))] {
        bad.inject(ip(node), Fault::Reply(Endpoint::Localnodes, reply)).await.unwrap();
    }
    let server = TestServer::over(&bad, |zone| zone.cluster.seeds.push(Seed::Address(ip("127.11.24.2")))).await;
    let done = asked(&bad, &["127.11.24.1", "127.11.24.2"], 5);
    while !done() {
        let reply = server.ask("", RecordType::A).await;
        assert_eq!((reply.rcode(), reply.answers().len()), (ResponseCode::ServFail, 0));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_seed_name_that_does_not_resolve_gives_way_to_the_next_seed() {
    let (_cluster, server) = behind(25, Seed::Host("no-such-host.invalid".into())).await;
    soon(&server, "", &["127.11.25.1", "127.11.25.2", "127.11.25.3"]).await;
}

#[tokio::test]
async fn a_seed_in_no_nodes_list_is_no_answer() {
    // The address answers discovery and health checks, like a load balancer in front of the cluster, and is no node.
    let balancer = ip("127.11.26.99");
    let texts = ["dc1/RAC1 127.11.26.99", "dc1/RAC1 127.11.26.1", "dc1/RAC1 127.11.26.2"];
    let cluster = cluster(&texts).await;
    cluster.inject_everywhere(Fault::Omits(balancer)).await.unwrap();
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.cluster.seeds = vec![Seed::Address(balancer)];
    })
    .await;
    soon(&server, "", &["127.11.26.1", "127.11.26.2"]).await;
    for node in ["127.11.26.1", "127.11.26.2"] {
        cluster.stop(ip(node)).await.unwrap();
    }
    let told = async || server.explain("").await.join("\n");
    within(SOON, told, |told| told.contains("stale:")).await;
    let answered = server.set("").await;
    assert!(!answered.is_empty() && !answered.contains("127.11.26.99"), "{answered:?}");
}
