//! Which names stand for what: scopes and their spellings, labels, nodes, services, SOA and NS, explanations.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use alternator_dns::{
    config::{ScopeRule, ZoneConfig},
    server::Outcome,
    sim::{Cluster, ClusterSpec, NodeSpec},
};
use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};

use crate::support::{Dig, Reply, TestServer, ZONE, cluster, eventually, steady};

/// One node at each place: `places[n]` has 127.13.RANGE.n+1.
async fn at(range: u8, places: &[&str]) -> Cluster {
    let node = |(index, place): (usize, &&str)| {
        let (dc, rack) = place.split_once('/').unwrap();
        NodeSpec::new([127, 13, range, index as u8 + 1], dc, rack)
    };
    Cluster::start(ClusterSpec::new(places.iter().enumerate().map(node).collect())).await.unwrap()
}

/// A server over these places; [`assert_names`] waits until it knows them.
async fn served(range: u8, places: &[&str], change: impl FnOnce(&mut ZoneConfig)) -> (Cluster, TestServer) {
    let cluster = at(range, places).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        change(zone);
    })
    .await;
    (cluster, server)
}

/// Targets and ports of SRV records.
fn services(reply: &Reply) -> Vec<(u16, u16, u16, String)> {
    let service = |data: &RData| match data {
        RData::SRV(srv) => Some((srv.priority, srv.weight, srv.port, srv.target.to_ascii())),
        _ => None,
    };
    reply.answers().iter().filter_map(|record| service(&record.data)).collect()
}

fn rule(label: &str, chain: &[&str]) -> ScopeRule {
    ScopeRule {
        label: (!label.is_empty()).then(|| label.to_owned()),
        chain: chain.iter().map(|scope| scope.parse().unwrap()).collect(),
    }
}

/// Waits until each name is answered by exactly the nodes of these last octets; `None`: NXDOMAIN.
async fn assert_names(server: &TestServer, range: u8, names: &[(&str, Option<&[u8]>)]) {
    for (name, nodes) in names {
        let ask = async || {
            let reply = server.ask(name, RecordType::A).await;
            (*name, reply.rcode(), reply.set())
        };
        let rcode = if nodes.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let set: BTreeSet<String> =
            nodes.unwrap_or_default().iter().map(|node| format!("127.13.{range}.{node}")).collect();
        eventually(ask, |(_, got_rcode, got_set)| *got_rcode == rcode && *got_set == set).await;
    }
}

#[tokio::test]
async fn every_spelling_of_a_scope_is_the_same_scope() {
    let (_cluster, server) = served(31, &["dc1/rack1", "dc1/rack2", "dc2/rack1"], |_| {}).await;
    assert_names(
        &server,
        31,
        &[
            ("", Some(&[1, 2, 3])),
            ("dc1", Some(&[1, 2])),
            ("dc2", Some(&[3])),
            ("DC1", Some(&[1, 2])),
            ("dc1.rack1", Some(&[1])),
            ("rack1.dc1", Some(&[1])),
            ("dc1--rack1", Some(&[1])),
            ("DC1.Rack2", Some(&[2])),
            ("dc2.rack1", Some(&[3])),
            ("rack1.dc2", Some(&[3])),
            ("dc2--rack1", Some(&[3])),
            ("rack1--dc1", None),
            ("dc2.rack2", None),
            ("rack2.dc2", None),
            ("dc1.dc1", None),
        ],
    )
    .await;
    // A rack's own name is above its datacenters' racks: it exists, and has nothing.
    for rack in ["rack1", "rack2"] {
        server.both_of(rack, RecordType::A, Outcome::NoData).await;
    }
    // One chain, hence one and the same explanation, whatever the spelling.
    let lines = server.explain("dc1.rack1").await;
    for spelling in ["rack1.dc1", "dc1--rack1", "DC1.RACK1"] {
        assert_eq!(server.explain(spelling).await, lines);
    }
}

#[tokio::test]
async fn where_both_orders_are_names_of_their_own_neither_stands_for_the_other() {
    // a.b is datacenter a, rack b; b.a is datacenter b, rack a.
    let (_cluster, server) = served(32, &["a/b", "b/a"], |_| {}).await;
    assert_names(
        &server,
        32,
        &[("a.b", Some(&[1])), ("b.a", Some(&[2])), ("a--b", Some(&[1])), ("b--a", Some(&[2])), ("a", Some(&[1]))],
    )
    .await;
}

#[tokio::test]
async fn a_datacenter_with_the_label_of_a_rack_keeps_its_name() {
    let (_cluster, server) = served(33, &["east/west", "west/east", "west/north"], |_| {}).await;
    assert_names(
        &server,
        33,
        &[("east", Some(&[1])), ("west", Some(&[2, 3])), ("east.west", Some(&[1])), ("west.east", Some(&[2]))],
    )
    .await;
    server.both_of("north", RecordType::A, Outcome::NoData).await;
}

#[tokio::test]
async fn free_text_becomes_labels_and_underscores_stay_as_aliases() {
    let (_cluster, server) = served(34, &["AWS_US_EAST_1/1 a", "Zürich/R.2"], |_| {}).await;
    assert_names(
        &server,
        34,
        &[
            ("aws-us-east-1", Some(&[1])),
            ("AWS_US_EAST_1", Some(&[1])),
            ("aws_us_east_1", Some(&[1])),
            ("aws-us-east-1.1-a", Some(&[1])),
            ("aws_us_east_1.1-a", Some(&[1])),
            ("1-a.aws-us-east-1", Some(&[1])),
            ("aws-us-east-1--1-a", Some(&[1])),
            ("z-rich", Some(&[2])),
            ("z-rich.r-2", Some(&[2])),
            ("aws", None),
        ],
    )
    .await;
    // Asked in ScyllaDB's own spelling, whatever the name.
    let lines = server.explain("aws-us-east-1.1-a").await;
    assert!(lines[0].starts_with("scope=AWS_US_EAST_1/1 a chain=AWS_US_EAST_1/1 a>AWS_US_EAST_1 "), "{lines:?}");
}

#[tokio::test]
async fn two_scopes_of_one_label_have_no_name_until_one_is_labelled() {
    let (cluster, server) = served(35, &["DC1/r1", "dc1/r1"], |_| {}).await;
    assert_names(&server, 35, &[("", Some(&[1, 2])), ("dc1", None), ("dc1.r1", None), ("dc1--r1", None)]).await;
    drop(server);
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.scopes = vec![rule("old", &["DC1"])];
    })
    .await;
    assert_names(
        &server,
        35,
        &[
            ("old", Some(&[1])),
            ("dc1", Some(&[2])),
            ("old.r1", Some(&[1])),
            ("r1.old", Some(&[1])),
            ("dc1.r1", Some(&[2])),
            ("dc1--r1", Some(&[2])),
        ],
    )
    .await;
}

#[tokio::test]
async fn chains_can_be_written_out_and_named() {
    let (cluster, server) = served(36, &["dc1/r1", "dc1/r2", "dc2/r1"], |zone| {
        zone.scopes = vec![rule("web", &["dc1/r1", "dc2"]), rule("", &["dc2", "cluster"])];
    })
    .await;
    assert_names(&server, 36, &[("web", Some(&[1])), ("WEB", Some(&[1])), ("dc2", Some(&[3])), ("dc1", Some(&[1, 2]))])
        .await;
    let chain = async |name: &str| server.explain(name).await[0].split(' ').nth(1).unwrap().to_owned();
    assert_eq!(chain("web").await, "chain=dc1/r1>dc2");
    assert_eq!(chain("dc2").await, "chain=dc2>cluster");
    assert_eq!(chain("dc1.r1").await, "chain=dc1/r1>dc1");
    assert_eq!(services(&server.ask("_alternator._tcp.web", RecordType::SRV).await).len(), 1);
    // The chains are walked: web goes to the other datacenter, dc1.r1 to its own.
    cluster.stop_gracefully([127, 13, 36, 1].into()).await.unwrap();
    assert_names(&server, 36, &[("web", Some(&[3])), ("dc1.r1", Some(&[2])), ("dc1", Some(&[2]))]).await;
    cluster.stop_gracefully([127, 13, 36, 3].into()).await.unwrap();
    assert_names(&server, 36, &[("dc2", Some(&[2]))]).await;
    cluster.start_node([127, 13, 36, 1].into()).await.unwrap();
    assert_names(&server, 36, &[("web", Some(&[1])), ("dc1.r1", Some(&[1])), ("dc2", Some(&[1, 2]))]).await;
}

#[tokio::test]
async fn the_apex_prefers_what_it_is_told_to_and_never_loses_the_rest() {
    let (cluster, server) = served(37, &["dc1/r1", "dc1/r2", "dc2/r1"], |zone| {
        zone.preferred_datacenter = Some("dc1".into());
        zone.preferred_rack = Some("r2".into());
    })
    .await;
    assert_names(&server, 37, &[("", Some(&[2])), ("dc1", Some(&[1, 2])), ("dc2", Some(&[3]))]).await;
    assert!(server.explain("").await[0].starts_with("scope=dc1/r2 chain=dc1/r2>dc1>cluster "));
    cluster.stop_gracefully([127, 13, 37, 2].into()).await.unwrap();
    assert_names(&server, 37, &[("", Some(&[1]))]).await;
    cluster.stop_gracefully([127, 13, 37, 1].into()).await.unwrap();
    assert_names(&server, 37, &[("", Some(&[3]))]).await;
    cluster.start_node([127, 13, 37, 2].into()).await.unwrap();
    assert_names(&server, 37, &[("", Some(&[2]))]).await;
}

#[tokio::test]
async fn a_datacenter_falls_over_to_the_others_only_where_the_zone_says_so() {
    for (range, failover) in [(38, false), (39, true)] {
        let (cluster, server) = served(range, &["dc1/r1", "dc2/r1"], |zone| zone.datacenter_failover = failover).await;
        assert_names(&server, range, &[("dc1", Some(&[1])), ("dc2", Some(&[2]))]).await;
        cluster.stop_gracefully([127, 13, range, 2].into()).await.unwrap();
        let dc2: &[u8] = if failover { &[1] } else { &[2] };
        let told = if failover {
            "level 2 of 2 (cluster), 1 node, fallback"
        } else {
            "level 1 of 1 (dc2), 1 node, last known good"
        };
        let lines = async || server.explain("dc2").await;
        eventually(lines, |lines| lines.iter().any(|line| line == &format!("A: {told}"))).await;
        assert_names(&server, range, &[("dc2", Some(dc2)), ("dc2.r1", Some(dc2)), ("dc1", Some(&[1]))]).await;
    }
}

#[tokio::test]
async fn every_node_has_a_name_that_answers_its_address_alone() {
    let mut nodes = vec!["dc1/r1 127.13.40.1", "dc1/r2 127.13.40.2"];
    if ClusterSpec::has_ipv6() {
        nodes.push("dc1/r1 ::1");
    }
    let cluster = cluster(&nodes).await;
    let server = TestServer::over(&cluster, steady).await;
    let addresses: Vec<&str> = nodes.iter().map(|node| node.split_once(' ').unwrap().1).collect();
    server.answers("", &addresses).await;
    for address in &addresses {
        let (label, rtype, other) = match address.parse::<IpAddr>().unwrap() {
            IpAddr::V4(v4) => (format!("n-{}", v4.to_string().replace('.', "-")), RecordType::A, RecordType::AAAA),
            IpAddr::V6(_) => ("n-0--1".to_owned(), RecordType::AAAA, RecordType::A),
        };
        for reply in server.both_of(&label, rtype, Outcome::Answered).await {
            assert_eq!(reply.set(), BTreeSet::from([address.to_string()]));
            assert_eq!(reply.ttl(), 5);
        }
        server.both_of(&label, other, Outcome::NoData).await;
    }
    // A node keeps its name while it is down: the name is who it is, not how it does.
    cluster.stop([127, 13, 40, 1].into()).await.unwrap();
    eventually(async || server.set("dc1").await, |set| !set.contains("127.13.40.1")).await;
    assert_eq!(server.set("n-127-13-40-1").await, BTreeSet::from(["127.13.40.1".to_owned()]));
}

#[tokio::test]
async fn services_name_every_node_and_its_port_and_the_targets_resolve() {
    let mut nodes = vec!["dc1/r1 127.13.41.1", "dc1/r2 127.13.41.2", "dc2/r1 127.13.41.3"];
    if ClusterSpec::has_ipv6() {
        nodes.push("dc1/r1 ::1");
    }
    let cluster = cluster(&nodes).await;
    let server = TestServer::over(&cluster, steady).await;
    server.answers("", &nodes.iter().map(|node| node.split_once(' ').unwrap().1).collect::<Vec<_>>()).await;
    for name in ["", "dc1", "dc2", "dc1.r1", "r1.dc1", "dc1--r1"] {
        let mut expected = server.set(name).await;
        expected.extend(server.ask(name, RecordType::AAAA).await.set());
        let service = if name.is_empty() { "_alternator._tcp".to_owned() } else { format!("_alternator._tcp.{name}") };
        for reply in server.both_of(&service, RecordType::SRV, Outcome::Answered).await {
            let mut resolved = BTreeSet::new();
            for (priority, weight, port, target) in services(&reply) {
                assert_eq!((priority, weight, port), (0, 1, cluster.port()), "{service}");
                let before = resolved.len();
                for rtype in [RecordType::A, RecordType::AAAA] {
                    resolved.extend(Dig::new(server.address, &target, rtype).ask().await.set());
                }
                assert_eq!(resolved.len(), before + 1, "{target} is one node");
            }
            assert_eq!(resolved, expected, "{service}");
            assert_eq!(reply.ttl(), 5);
        }
    }
    // Unlike a node's own name, the list follows the node's health.
    cluster.stop([127, 13, 41, 3].into()).await.unwrap();
    let targets = async || services(&server.ask("_alternator._tcp", RecordType::SRV).await).len();
    eventually(targets, |targets| *targets == nodes.len() - 1).await;
}

#[tokio::test]
async fn soa_and_ns_are_made_up_where_no_zone_file_has_them() {
    let (cluster, server) = served(42, &["dc1/r1", "dc1/r2"], |_| {}).await;
    assert_names(&server, 42, &[("", Some(&[1, 2]))]).await;
    let serial = async |server: &TestServer| {
        let reply = server.ask("", RecordType::SOA).await;
        let RData::SOA(soa) = &reply.answers()[0].data else { panic!("{reply:?}") };
        assert_eq!(soa.mname.to_ascii(), format!("ns1.{ZONE}."));
        assert_eq!(soa.rname.to_ascii(), format!("hostmaster.{ZONE}."));
        assert_eq!((soa.minimum, reply.ttl()), (5, 5));
        soa.serial
    };
    // RFC 1982 section 3.2: serials wrap.
    let is_after = |later: u32, earlier: u32| (1..1 << 31).contains(&later.wrapping_sub(earlier));
    let before = serial(&server).await;
    for reply in server.both_of("", RecordType::NS, Outcome::Answered).await {
        let RData::NS(ns) = &reply.answers()[0].data else { panic!("{reply:?}") };
        assert_eq!(ns.0.to_ascii(), format!("ns1.{ZONE}."));
        let [glue] = &reply.message.additionals[..] else { panic!("{reply:?}") };
        assert_eq!(glue.name.to_ascii(), format!("ns1.{ZONE}."));
        assert!(matches!(&glue.data, RData::A(a) if a.0.is_loopback()), "the address we listen on: {glue}");
    }
    let [ns1, _] = server.both_of("ns1", RecordType::A, Outcome::Answered).await;
    assert_eq!(ns1.set(), BTreeSet::from(["127.0.0.1".to_owned()]));
    // Every change of the answers is a new serial, and _explain tells the same number.
    cluster.stop([127, 13, 42, 2].into()).await.unwrap();
    assert_names(&server, 42, &[("", Some(&[1]))]).await;
    let after = serial(&server).await;
    assert!(is_after(after, before), "{before} {after}");
    let told = async || (server.explain("").await[0].clone(), serial(&server).await);
    let (_, last) = eventually(told, |(line, serial)| line.contains(&format!(" epoch={serial} "))).await;
    // So is a restart, without a state file and whatever the answers were.
    drop(server);
    let again = TestServer::over(&cluster, steady).await;
    assert_names(&again, 42, &[("", Some(&[1]))]).await;
    let restarted = serial(&again).await;
    assert!(is_after(restarted, last), "{last} {restarted}");
}

#[tokio::test]
async fn an_explanation_tells_of_chain_level_and_every_node() {
    let (cluster, server) = served(43, &["dc1/r1", "dc1/r2", "dc1/r2", "dc2/r1"], |_| {}).await;
    let explained = async |name: &str| {
        let mut lines = server.explain(name).await;
        let head: BTreeMap<String, String> = lines
            .remove(0)
            .split(' ')
            .filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect();
        (head, lines)
    };
    assert_names(&server, 43, &[("", Some(&[1, 2, 3, 4]))]).await;
    let (head, lines) = explained("dc1.r2").await;
    assert_eq!((&*head["scope"], &*head["chain"], &*head["ttl"]), ("dc1/r2", "dc1/r2>dc1", "5s"));
    assert_eq!(
        lines,
        [
            "A: level 1 of 2 (dc1/r2), 2 nodes, live",
            "AAAA: none in this scope",
            "in 127.13.43.2 dc1/r2: up",
            "in 127.13.43.3 dc1/r2: up"
        ]
    );
    let (head, lines) = explained("").await;
    assert_eq!((&*head["scope"], &*head["chain"]), ("cluster", "cluster"));
    assert_eq!(lines[0], "A: level 1 of 1 (cluster), 4 nodes, live");
    assert_eq!(lines.len(), 6);

    // A rack refused: its name tells the level it fell to, and why.
    for node in [2, 3] {
        cluster.list_without_serving([127, 13, 43, node].into()).await.unwrap();
    }
    assert_names(&server, 43, &[("dc1.r2", Some(&[1])), ("", Some(&[1, 4]))]).await;
    let (_, lines) = explained("dc1.r2").await;
    assert_eq!(
        lines,
        [
            "A: level 2 of 2 (dc1), 1 node, fallback",
            "A: not level 1 (dc1/r2): all 2 nodes are out",
            "AAAA: none in this scope",
            "in 127.13.43.1 dc1/r1: up",
            "out 127.13.43.2 dc1/r2: down: connection refused",
            "out 127.13.43.3 dc1/r2: down: connection refused"
        ]
    );
    let (_, lines) = explained("dc2").await;
    assert_eq!(lines, ["A: level 1 of 1 (dc2), 1 node, live", "AAAA: none in this scope", "in 127.13.43.4 dc2/r1: up"]);

    // All gone: what is served is the last known, with a TTL of a second.
    for node in [1, 4] {
        cluster.list_without_serving([127, 13, 43, node].into()).await.unwrap();
    }
    let (head, lines) = eventually(async || explained("dc1").await, |(_, lines)| lines[0].starts_with("stale: ")).await;
    assert_eq!((&*head["scope"], &*head["ttl"]), ("dc1", "1s"), "{lines:?}");
    // Nodes that were lost within one incident's time count as one set; how many, is the machine's speed.
    let a = lines.iter().find(|line| line.starts_with("A: ")).unwrap();
    assert!(a.starts_with("A: level 1 of 1 (dc1), ") && a.ends_with(", last known good"), "{lines:?}");
    for reply in server.both_of("dc1", RecordType::A, Outcome::Answered).await {
        assert!(reply.set().contains("127.13.43.1") && !reply.set().contains("127.13.43.4"), "{:?}", reply.set());
        assert_eq!(reply.ttl(), 1);
    }
    // Explanations are of this moment, and only TXT.
    assert_eq!(server.dig("_explain.dc1", RecordType::TXT).tcp().ask().await.ttl(), 0);
    server.both_of("_explain.dc1", RecordType::A, Outcome::NoData).await;
}

#[tokio::test]
async fn a_scope_without_any_node_ever_is_servfail_and_unlisted_scopes_are_learnt_never() {
    let cluster = at(44, &["dc1/r1"]).await;
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.insert("dc9".into(), vec!["r9".into()]);
    })
    .await;
    assert_names(&server, 44, &[("dc1", Some(&[1]))]).await;
    for name in ["dc9", "dc9.r9", "r9.dc9", "dc9--r9"] {
        for reply in server.both_of(name, RecordType::A, Outcome::ServFail).await {
            assert_eq!(
                (reply.rcode(), reply.is_authoritative(), reply.counts()),
                (ResponseCode::ServFail, false, [1, 0, 0, 0])
            );
        }
    }
    let lines = server.explain("dc9").await;
    assert!(lines.contains(&"A: not ready, no node was ever known to serve".to_owned()), "{lines:?}");
    server.both_of("_alternator._tcp.dc9", RecordType::SRV, Outcome::ServFail).await;
    server.both_of("dc9", RecordType::TXT, Outcome::NoData).await;
    for name in ["dc8", "dc1.r9"] {
        server.both_of(name, RecordType::A, Outcome::NxDomain).await;
    }
}
