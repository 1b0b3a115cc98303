//! Addresses that clients can use: each network of clients is answered with addresses of its own, over real sockets.

use std::{collections::BTreeSet, net::IpAddr};

use alternator_dns::{
    config::{AddressRule, Answers, Config, DiscoveryMode, Mapping, ZoneConfig},
    model::Prefix,
    reload::Applied,
    server::Outcome,
    sim::{ClientRoute, Cluster, ClusterSpec, NodeSpec},
};
use hickory_proto::{op::ResponseCode, rr::RecordType};
use serde_json::Value;
use tokio::{net::UdpSocket, time::timeout};

use crate::support::{
    Http, Load, PATIENCE, PROGRAM, Reply, Sample, TestServer, ZONE, cluster, eventually, ip,
    packet::{proxied, query, question},
    set, steady,
};

/// A client that the rules are for, one in a network within, and one that no rule is for.
const OUTER: &str = "127.69.1.7";
const INNER: &str = "127.69.1.200";
const OTHER: &str = "127.69.9.9";

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn rule(clients: &[&str], from: &str, to: &str) -> AddressRule {
    let clients = (!clients.is_empty()).then(|| clients.iter().map(|text| prefix(text)).collect());
    AddressRule { clients, to: Mapping::Network { from: prefix(from), to: prefix(to) } }
}

/// Three nodes in two racks, and in the network behind them one that only some rules map.
async fn four(net: u8, change: impl FnOnce(&mut ZoneConfig)) -> (Cluster, TestServer) {
    let nodes = [("rack1", 1), ("rack1", 2), ("rack2", 3), ("rack2", 129)];
    let nodes = nodes.map(|(rack, last)| format!("dc1/{rack} 127.68.{net}.{last}"));
    let cluster = cluster(&nodes.each_ref().map(String::as_str)).await;
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        change(zone);
    });
    let mut config = TestServer::config(&zone);
    config.server.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let server = TestServer::start(config).await;
    for (name, count) in [("", 4), ("dc1.rack1", 2), ("dc1.rack2", 2)] {
        let are_in = |lines: &Vec<String>| lines.iter().filter(|line| line.starts_with("in ")).count() == count;
        eventually(|| server.explain(name), are_in).await;
    }
    (cluster, server)
}

/// What a client gets over UDP and over TCP, which is the same.
async fn ask(server: &TestServer, from: &str, name: &str, rtype: RecordType) -> Reply {
    let dig = server.dig(name, rtype).from(from).edns(1232);
    let (udp, tcp) = (dig.ask().await, dig.clone().tcp().ask().await);
    let sorted = |reply: &Reply| {
        let texts = reply.answers().iter().map(|record| format!("{} {}", record.record_type(), record.data));
        texts.collect::<BTreeSet<_>>()
    };
    assert_eq!((sorted(&udp), udp.rcode()), (sorted(&tcp), tcp.rcode()), "{name} {rtype} from {from}");
    udp
}

async fn addresses(server: &TestServer, from: &str, name: &str) -> BTreeSet<String> {
    ask(server, from, name, RecordType::A).await.set()
}

#[tokio::test]
async fn each_network_of_clients_has_its_own_addresses_of_the_same_nodes() {
    let (_cluster, server) = four(1, |zone| {
        zone.address_map = vec![
            rule(&["127.69.1.0/24"], "127.68.1.0/25", "198.51.100.0/25"),
            rule(&["127.69.1.128/25"], "127.68.1.3", "192.0.2.33"),
            rule(&["127.69.1.128/25"], "127.68.1.0/24", "203.0.113.0/24"),
        ];
    })
    .await;
    let own = ["127.68.1.1", "127.68.1.2", "127.68.1.3", "127.68.1.129"];
    // The last node is in no `from` of the outer network's.
    let outer = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "127.68.1.129"];
    let inner = ["203.0.113.1", "203.0.113.2", "192.0.2.33", "203.0.113.129"];
    for (from, expected) in [(OTHER, &own), (OUTER, &outer), (INNER, &inner)] {
        assert_eq!(addresses(&server, from, "").await, set(expected), "{from}");
        assert_eq!(addresses(&server, from, "rack1.dc1").await, set(&expected[..2]), "{from}");
        assert_eq!(addresses(&server, from, "dc1--rack2").await, set(&expected[2..]), "{from}");
        // The nodes' names are theirs, whatever they are seen at.
        for (node, seen) in ["n-127-68-1-1", "n-127-68-1-2", "n-127-68-1-3", "n-127-68-1-129"].iter().zip(expected) {
            assert_eq!(addresses(&server, from, node).await, set(&[seen]), "{node} from {from}");
        }
        let services = ask(&server, from, "_alternator._tcp.dc1.rack1", RecordType::SRV).await;
        let targets: BTreeSet<String> = services.answers().iter().map(|record| record.data.to_string()).collect();
        let port = server.app.config().zones[0].cluster.port;
        let expected = [1, 2].map(|last| format!("0 1 {port} n-127-68-1-{last}.{ZONE}."));
        assert_eq!(targets, expected.into(), "{from}");
        for (name, rtype) in [("", RecordType::AAAA), ("n-127-68-1-1", RecordType::AAAA), ("", RecordType::MX)] {
            assert!(ask(&server, from, name, rtype).await.is_nodata(), "{name} {rtype} from {from}");
        }
        assert!(ask(&server, from, "n-198-51-100-1", RecordType::A).await.is_nxdomain(), "no name for what is seen");
    }
}

#[tokio::test]
async fn in_every_view_every_node_leads_and_is_counted_as_itself() {
    let (_cluster, server) = four(2, |zone| {
        zone.answers = Answers::Count(2.try_into().unwrap());
        // Two nodes behind one address, which stands for both.
        zone.address_map = vec![
            rule(&["127.69.1.0/24"], "127.68.2.1", "198.51.100.1"),
            rule(&["127.69.1.0/24"], "127.68.2.2", "198.51.100.1"),
            rule(&["127.69.1.0/24"], "127.68.2.3", "198.51.100.3"),
        ];
    })
    .await;
    let led = |server: &TestServer| {
        let leads = server.app.counters().leads().into_iter();
        leads.map(|(_, node, led)| (node.to_string(), led)).collect::<std::collections::BTreeMap<_, _>>()
    };
    let dig = server.dig("", RecordType::A).from(OUTER);
    let replies = server.undisturbed(async || {
        let before = led(&server);
        (dig.repeat(60).await, before, led(&server))
    });
    let (replies, before, after) = replies.await;
    let mut firsts = std::collections::BTreeMap::new();
    for reply in &replies {
        assert_eq!(reply.set().len(), 2, "no address twice: {:?}", reply.addresses());
        *firsts.entry(reply.first().to_string()).or_insert(0) += 1;
    }
    let expected = [("198.51.100.1", 30), ("198.51.100.3", 15), ("127.68.2.129", 15)];
    assert_eq!(firsts, expected.map(|(address, led)| (address.to_owned(), led)).into());
    for node in ["127.68.2.1", "127.68.2.2", "127.68.2.3", "127.68.2.129"] {
        let led = after.get(node).unwrap() - before.get(node).copied().unwrap_or_default();
        assert_eq!(led, 15, "{node}: {before:?} {after:?}");
    }
}

#[tokio::test]
async fn how_many_addresses_are_answered_goes_by_those_that_the_client_sees() {
    let (_cluster, server) = four(3, |zone| {
        zone.answers = Answers::Auto;
        zone.address_map = vec![rule(&["127.69.1.0/24", "127.68.3.0/24"], "127.68.3.0/24", "127.69.1.0/24")];
    })
    .await;
    for (from, count) in [
        (OTHER, 4),
        // In the network of the addresses that it sees.
        (OUTER, 1),
        // In that of the nodes' own, which it does not see.
        ("127.68.3.77", 4),
    ] {
        let reply = server.dig("dc1", RecordType::A).from(from).ask().await;
        assert_eq!(reply.answers().len(), count, "{from}");
    }
}

#[tokio::test]
async fn the_client_that_a_proxy_names_picks_the_view() {
    let nodes = cluster(&["dc1/rack1 127.68.4.1"]).await;
    let zone = TestServer::zone(&nodes, |zone| {
        steady(zone);
        zone.address_map = vec![
            rule(&["203.0.113.0/24"], "127.68.4.0/24", "198.51.100.0/24"),
            rule(&["2001:db8::/32"], "127.68.4.0/24", "192.0.2.0/24"),
            rule(&["127.0.0.2"], "127.68.4.0/24", "198.18.0.0/24"),
        ];
    });
    let mut config = TestServer::config(&zone);
    config.server.proxy_from = [prefix("127.0.0.2")].into_iter().collect();
    let server = TestServer::start(config).await;
    server.answers("", &["127.68.4.1"]).await;
    let proxy = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    proxy.connect(server.address).await.unwrap();
    for (client, seen) in [
        ("203.0.113.7:4000", [198, 51, 100, 1]),
        ("[::ffff:203.0.113.7]:4000", [198, 51, 100, 1]),
        ("[2001:db8::7]:4000", [192, 0, 2, 1]),
        // Not the proxy's own view.
        ("198.51.100.7:4000", [127, 68, 4, 1]),
    ] {
        let packet = [proxied(client.parse().unwrap()), query(&question(ZONE, 1), &[])].concat();
        proxy.send(&packet).await.unwrap();
        let mut reply = [0; 512];
        let len = timeout(PATIENCE, proxy.recv(&mut reply)).await.expect("in time").unwrap();
        assert_eq!((reply[3] & 15, &reply[len - 4..len]), (0, &seen[..]), "{client}");
    }
}

#[tokio::test]
async fn addresses_of_either_family_are_mapped() {
    if !ClusterSpec::has_ipv6() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let nodes = cluster(&["dc1/rack1 127.68.5.1", "dc1/rack1 ::1"]).await;
    let server = TestServer::over(&nodes, |zone| {
        steady(zone);
        zone.address_map = vec![
            rule(&["127.69.1.0/24"], "::/64", "2001:db8::/64"),
            rule(&["::1"], "127.68.5.0/24", "198.51.100.0/24"),
        ];
    })
    .await;
    server.answers("", &["127.68.5.1", "::1"]).await;
    let both = async |from: &str| {
        let mut all = addresses(&server, from, "").await;
        all.extend(ask(&server, from, "", RecordType::AAAA).await.set());
        all
    };
    assert_eq!(both(OUTER).await, set(&["127.68.5.1", "2001:db8::1"]));
    assert_eq!(both(OTHER).await, set(&["127.68.5.1", "::1"]));
    assert_eq!(ask(&server, OUTER, "n-0--1", RecordType::AAAA).await.set(), set(&["2001:db8::1"]));
}

/// Asks over HTTP, and reads JSON.
async fn get(server: &TestServer, path: &str) -> Value {
    let reply = Http::to(server.app.admin()[0]).get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

#[tokio::test]
async fn explanations_and_the_status_tell_who_sees_what() {
    let (_cluster, server) = four(6, |zone| {
        zone.address_map = vec![rule(&["127.69.1.0/24", "203.0.113.0/24"], "127.68.6.0/25", "198.51.100.0/25")];
    })
    .await;
    let told = |from: &str| {
        let dig = server.dig("_explain.dc1", RecordType::TXT).from(from).tcp();
        async move { dig.ask().await.texts() }
    };
    let lines = told(OUTER).await;
    for expected in [
        "view: rules for clients of 127.69.1.0/24",
        "view: node 127.68.6.129 is not mapped: its own address",
        "in 127.68.6.1 dc1/rack1: up, seen at 198.51.100.1",
        "in 127.68.6.129 dc1/rack2: up",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected:?} in {lines:#?}");
    }
    let lines = told(OTHER).await;
    let expected = format!("view: no rule for clients of {OTHER}: nodes' own addresses");
    assert!(lines.contains(&expected) && !lines.iter().any(|line| line.contains("seen at")), "{lines:#?}");

    // Of any client, over HTTP.
    for (client, expected) in [
        ("203.0.113.7", ["rules for clients of 203.0.113.0/24", "node 127.68.6.129 is not mapped"]),
        ("203.0.112.7", ["no rule for clients of 203.0.112.7", "nodes' own addresses"]),
    ] {
        let path = format!("/explain?name=dc1.{ZONE}&client={client}&format=lines");
        let text = get(&server, &path).await.to_string();
        assert!(expected.iter().all(|part| text.contains(part)), "{client}: {text}");
    }
    let explained = get(&server, &format!("/explain?name={ZONE}&client=203.0.113.7")).await;
    let name = &explained["names"][0];
    assert_eq!(name["scope"]["view"]["unmapped"], serde_json::json!(["127.68.6.129"]));
    let dealt: BTreeSet<&str> =
        name["deal"]["next"][0].as_array().unwrap().iter().map(|address| address.as_str().unwrap()).collect();
    assert_eq!(dealt, ["198.51.100.1", "198.51.100.2", "198.51.100.3", "127.68.6.129"].into());
    let explained = get(&server, &format!("/explain?name=n-127-68-6-1.{ZONE}&client=203.0.113.7")).await;
    assert!(explained["names"][0]["what"].as_str().unwrap().contains("seen at 198.51.100.1"), "{explained}");

    let status = get(&server, "/status.json").await;
    let zone = &status["zones"][0];
    assert_eq!(
        zone["views"],
        serde_json::json!([
            { "clients": [], "mapped": 0, "unmapped": 0 },
            { "clients": ["127.69.1.0/24", "203.0.113.0/24"], "mapped": 3, "unmapped": 1 },
        ])
    );
    let seen = |node: usize| zone["nodes"][node]["seen"].clone();
    assert_eq!(seen(0), serde_json::json!([{ "view": 1, "address": "198.51.100.1", "port": null }]));
    assert_eq!(seen(3), Value::Null, "not mapped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_changes_loses_no_query_and_mixes_no_addresses() {
    let (_cluster, mut server) = four(7, |_| {}).await;
    let base = server.app.config().clone();
    let with = |rules: Vec<AddressRule>| {
        let mut config: Config = base.clone();
        config.zones[0].address_map = rules;
        config
    };
    // Of those who ask here, of others, of everybody, none.
    let maps = [
        with(vec![rule(&["127.0.0.0/8"], "127.68.7.0/24", "198.51.100.0/24")]),
        with(vec![rule(&["127.0.0.1"], "127.68.7.0/24", "203.0.113.0/24"), rule(&[], "127.68.7.0/24", "192.0.2.0/24")]),
        with(vec![rule(&["10.0.0.0/8"], "127.68.7.0/24", "198.51.100.0/24")]),
        with(vec![rule(&[], "127.68.7.0/24", "192.0.2.0/24")]),
        base.clone(),
    ];
    let nets: [&str; 5] = ["198.51.100", "203.0.113", "127.68.7", "192.0.2", "127.68.7"];
    let sets = nets
        .map(|net| [1, 2, 3, 129].map(|last| ip(&format!("{net}.{last}"))).into_iter().collect::<BTreeSet<IpAddr>>());
    let load = Load::start(server.address, &[ZONE], 500);
    for _ in 0..6 {
        for (map, set) in maps.iter().zip(&sets) {
            let applied = server.app.reload(map).await.unwrap();
            let changed = Applied { changes: vec![format!("zone {ZONE}: address_map")], at_restart: Vec::new() };
            assert_eq!(applied, changed);
            let told: BTreeSet<IpAddr> = server.ask("", RecordType::A).await.addresses().into_iter().collect();
            assert_eq!(&told, set, "served once the reload is over");
        }
    }
    let samples: Vec<Sample> = load.stop().await;
    let odd = samples.iter().find(|sample| !sets.contains(&sample.set));
    assert!(odd.is_none() && samples.len() > 100, "{} samples: {odd:?}", samples.len());
    assert_eq!(server.count(Outcome::ServFail) + server.count(Outcome::NoData), 0);
}

#[tokio::test]
async fn a_zone_that_knows_no_node_yet_is_not_ready_in_any_view() {
    // A seed that refuses.
    let mut zone = ZoneConfig::new(format!("{ZONE}.").parse().unwrap());
    zone.cluster.seeds = vec![alternator_dns::config::Seed::Address(ip("127.68.8.1"))];
    zone.cluster.port = 1;
    zone.address_map = vec![rule(&["127.69.1.0/24"], "127.68.8.0/24", "198.51.100.0/24")];
    let server = TestServer::start(TestServer::config(&zone)).await;
    for from in [OUTER, OTHER] {
        let reply = server.dig("", RecordType::A).from(from).edns(1232).ask().await;
        assert_eq!((reply.rcode(), reply.options().len()), (ResponseCode::ServFail, 1), "{from}: and says why");
    }
}

#[tokio::test]
async fn client_routes_of_the_cluster_lead_to_one_address_and_many_ports() {
    let nodes: Vec<NodeSpec> = [("rack1", 1), ("rack1", 2), ("rack2", 3)]
        .map(|(rack, last)| NodeSpec::new(ip(&format!("127.68.9.{last}")), "dc1", rack))
        .into();
    let route = |node: &NodeSpec, connection: &str, port: u16| ClientRoute {
        connection_id: connection.to_owned(),
        host_id: node.host_id.clone(),
        address: "198.51.100.50".to_owned(),
        alternator_port: Some(port),
        ..ClientRoute::default()
    };
    let routes = [route(&nodes[0], "link-1", 9001), route(&nodes[1], "link-1", 9002), route(&nodes[2], "link-2", 9999)];
    let third = route(&nodes[2], "link-1", 9003);
    let cluster = Cluster::start(ClusterSpec::new(nodes).client_routes(routes)).await.unwrap();
    let server = TestServer::over(&cluster, |zone| {
        steady(zone);
        zone.cluster.discovery = DiscoveryMode::Auto;
        zone.address_map = vec![AddressRule {
            clients: Some(vec![prefix("127.69.1.0/24")]),
            to: Mapping::Routes("link-1".to_owned()),
        }];
    })
    .await;
    let own = ["127.68.9.1", "127.68.9.2", "127.68.9.3"];
    server.answers("", &own).await;
    let link = async |name: &str| addresses(&server, OUTER, name).await;
    let ports = async || {
        let reply = ask(&server, OUTER, "_alternator._tcp", RecordType::SRV).await;
        let data = |record: &hickory_proto::rr::Record| record.data.to_string();
        let ports = reply.answers().iter().map(data).map(|data| data.split(' ').nth(2).unwrap().parse().unwrap());
        ports.collect::<BTreeSet<u16>>()
    };
    let port = cluster.port();
    eventually(async || link("").await, |found| *found == set(&["198.51.100.50", own[2]])).await;
    assert_eq!(link("dc1.rack1").await, set(&["198.51.100.50"]));
    assert_eq!((link("n-127-68-9-2").await, link("n-127-68-9-3").await), (set(&["198.51.100.50"]), set(&[own[2]])));
    assert_eq!(ports().await, [9001, 9002, port].into());
    let explained = server.dig("_explain", RecordType::TXT).from(OUTER).tcp().ask().await.texts();
    for expected in ["view: node 127.68.9.3 is not mapped: its own address", "seen at 198.51.100.50, port 9001"] {
        assert!(explained.iter().any(|line| line.contains(expected)), "{expected:?} in {explained:#?}");
    }
    // The table changes, and so do the answers.
    let (connection, host) = (third.connection_id.clone(), third.host_id.clone());
    cluster.set_client_route(third);
    eventually(async || link("").await, |found| *found == set(&["198.51.100.50"])).await;
    assert_eq!(ports().await, [9001, 9002, 9003].into());
    cluster.remove_client_route(&connection, &host);
    eventually(async || link("").await, |found| *found == set(&["198.51.100.50", own[2]])).await;
    // Nobody else sees any of it.
    assert_eq!(addresses(&server, OTHER, "").await, set(&own));
}

#[test]
fn the_configuration_file_says_who_sees_what() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    let text = r#"
        [zones."alternator.local".cluster]
        seeds = ["10.0.0.1"]
        [[zones."alternator.local".address_map]]
        clients = ["203.0.113.0/24", "2001:db8::/32"]
        from = "10.0.0.0/24"
        to = "198.51.100.0/24"
        [[zones."alternator.local".address_map]]
        client_routes = "link-1"
    "#;
    std::fs::write(&file, text).unwrap();
    for (client, expected) in [
        ("203.0.113.7", "view: rules for clients of 203.0.113.0/24"),
        ("::ffff:203.0.113.7", "view: rules for clients of 203.0.113.0/24"),
        ("2001:db8::7", "view: rules for clients of 2001:db8::/32"),
        ("10.0.0.7", "view: no rule for clients of 10.0.0.7: rules for everybody"),
    ] {
        let mut command = std::process::Command::new(PROGRAM);
        command.args(["explain", ZONE, "--offline", "--client", client, "--config"]).arg(&file);
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && told.contains(expected), "{client}: {told}");
    }
}
