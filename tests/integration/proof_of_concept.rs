//! What was wrong with the proof of concept (and its copies) that came before: one test for each of its defects.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use alternator_dns::{
    config::{Config, Scheme, Seed, ServerConfig},
    server::Outcome,
    sim::{BadReply, Cluster, ClusterSpec, Endpoint, Fault, NodeSpec, SeenByOthers},
};
use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::support::{Dig, TestServer, ZONE, asked, cluster, eventually, ip, set, steady};

/// Three nodes of one rack at 127.11.`net`.1 to 3, and a server over them that knows all three.
async fn three(net: u8) -> (Cluster, TestServer, [String; 3]) {
    let addresses = [1, 2, 3].map(|last| format!("127.11.{net}.{last}"));
    let nodes = addresses.each_ref().map(|address| format!("dc1/rack1 {address}"));
    let cluster = cluster(&nodes.each_ref().map(String::as_str)).await;
    let server = TestServer::over(&cluster, steady).await;
    server.answers("", &addresses.each_ref().map(String::as_str)).await;
    (cluster, server, addresses)
}

/// Servers that answer every request by 200 and one handwritten body; a request for a datacenter other than dc1 by
/// `[]`. Closed when dropped.
struct Handwritten {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Handwritten {
    async fn start(addresses: &[&str], body: &'static str) -> Self {
        let (mut port, mut tasks) = (0, JoinSet::new());
        for address in addresses {
            let listener = TcpListener::bind(SocketAddr::new(ip(address), port)).await.unwrap();
            port = listener.local_addr().unwrap().port();
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(Self::converse(stream, body));
                }
            });
        }
        Handwritten { port, _tasks: tasks }
    }

    async fn converse(mut stream: TcpStream, body: &str) {
        let mut request = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            request.push(byte);
            if request.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&request).into_owned();
                let body = if text.contains("dc=") && !text.contains("dc=dc1") { "[]" } else { body };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                if stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await.is_err() {
                    return;
                }
                request.clear();
            }
        }
    }
}

#[tokio::test]
async fn an_empty_list_does_not_spoil_the_answers_for_good() {
    let (cluster, server, nodes) = three(101).await;
    let nodes = nodes.each_ref().map(String::as_str);
    cluster.inject_everywhere(Fault::Reply(Endpoint::Localnodes, BadReply::EmptyList)).await.unwrap();
    server.keeps_answering("", &nodes, asked(&cluster, &nodes, 10)).await;
    server.keeps_answering("dc1.rack1", &nodes, asked(&cluster, &nodes, 10)).await;
    // And the lists that come after it are read.
    for node in nodes {
        cluster.heal(ip(node)).await.unwrap();
    }
    cluster.add_node(&NodeSpec::new(ip("127.11.101.4"), "dc1", "rack1")).await.unwrap();
    server.answers("", &[&nodes[..], &["127.11.101.4"]].concat()).await;
}

#[tokio::test]
async fn a_list_may_be_written_in_any_way_json_can_be() {
    let (first, second) = ("127.11.102.1", "127.11.102.2");
    for body in [
        r#"["127.11.102.1","127.11.102.2"]"#,
        r#"["127.11.102.1", "127.11.102.2"]"#,
        "\r\n[\r\n\t\"127.11.102.1\" ,\r\n\t\" 127.11.102.2\\n\"\r\n]\r\n",
        r#"["\u0031\u0032\u0037.11.102.1","127\u002e11.102.2","127.11.102.2"]"#,
    ] {
        let nodes = Handwritten::start(&[first, second], body).await;
        let mut zone = alternator_dns::config::ZoneConfig::new(format!("{ZONE}.").parse().unwrap());
        zone.cluster.seeds = vec![Seed::Address(ip(first))];
        zone.cluster.port = nodes.port;
        zone.cluster.datacenters.insert("dc1".into(), vec![]);
        super::support::fast(&mut zone);
        steady(&mut zone);
        let server = TestServer::start(TestServer::config(&zone)).await;
        server.answers("", &[first, second]).await;
        server.answers("dc1", &[first, second]).await;
        server.app.stop().await;
    }
}

#[tokio::test]
async fn a_body_that_is_no_list_is_no_list_of_one_odd_node() {
    let (cluster, server, nodes) = three(103).await;
    let nodes = nodes.each_ref().map(String::as_str);
    let before = server.count(Outcome::ServFail);
    for bad in [BadReply::Garbage, BadReply::Html, BadReply::Truncated, BadReply::Huge, BadReply::Status(200)] {
        cluster.inject_everywhere(Fault::Reply(Endpoint::Localnodes, bad)).await.unwrap();
        server.keeps_answering("", &nodes, asked(&cluster, &nodes, 3)).await;
    }
    assert_eq!(server.count(Outcome::ServFail), before);
}

#[tokio::test]
async fn only_questions_for_addresses_are_answered_with_addresses() {
    let (_cluster, server, _) = three(104).await;
    let before = server.count(Outcome::NoData);
    let types = [RecordType::TXT, RecordType::MX, RecordType::AAAA, RecordType::CNAME, RecordType::HTTPS];
    for rtype in types {
        for dig in [server.dig("dc1", rtype), server.dig("dc1", rtype).tcp()] {
            assert!(dig.ask().await.is_nodata(), "{rtype}");
        }
    }
    assert_eq!(server.count(Outcome::NoData) - before, 2 * types.len() as u64);
}

#[tokio::test]
async fn only_names_that_exist_are_answered_with_addresses() {
    let (_cluster, server, _) = three(105).await;
    for name in ["nowhere", "www.dc1", "dc1.rack1.x", "dc1.rack2", "x.y.z"] {
        for dig in [server.dig(name, RecordType::A), server.dig(name, RecordType::A).tcp()] {
            assert!(dig.ask().await.is_nxdomain(), "{name}");
        }
    }
    assert!(server.ask("rack1", RecordType::A).await.is_nodata(), "rack1.dc1 is below it");
    assert_eq!(server.count(Outcome::NxDomain), 10);
}

#[tokio::test]
async fn names_of_others_are_refused_and_never_forwarded() {
    let (_cluster, server, _) = three(106).await;
    let before = server.count(Outcome::Refused);
    for name in ["example.com", "local", ".", "alternator.local.example.com", "notalternator.local", "localhost"] {
        let dig = Dig::new(server.address, name, RecordType::A).with(|message| {
            message.metadata.recursion_desired = true;
        });
        for dig in [dig.clone(), dig.tcp()] {
            let reply = dig.ask().await;
            assert_eq!(reply.rcode(), ResponseCode::Refused, "{name}");
            assert!(!reply.is_authoritative() && !reply.message.metadata.recursion_available, "{name}");
            assert!(reply.answers().is_empty() && reply.message.authorities.is_empty(), "no referral either");
        }
    }
    assert_eq!(server.count(Outcome::Refused) - before, 12);
}

#[tokio::test]
async fn ipv6_nodes_are_answered_as_what_they_are() {
    if !ClusterSpec::has_ipv6() {
        return;
    }
    let cluster = cluster(&["dc1/rack1 ::1", "dc1/rack1 127.11.107.1"]).await;
    let server = TestServer::over(&cluster, steady).await;
    server.answers("", &["::1", "127.11.107.1"]).await;
    let (a, aaaa) = (server.ask("", RecordType::A).await, server.ask("", RecordType::AAAA).await);
    assert_eq!((a.set(), aaaa.set()), (set(&["127.11.107.1"]), set(&["::1"])));
    assert!(matches!(a.answers()[0].data, RData::A(_)) && matches!(aaaa.answers()[0].data, RData::AAAA(_)));
}

#[tokio::test]
async fn a_zone_has_an_soa_and_name_servers() {
    let (_cluster, server, _) = three(108).await;
    for (rtype, what) in [(RecordType::SOA, "SOA"), (RecordType::NS, "NS")] {
        for dig in [server.dig("", rtype), server.dig("", rtype).tcp()] {
            let reply = dig.ask().await;
            assert!(reply.is_authoritative(), "{what}");
            assert_eq!(reply.answers().iter().map(|record| record.record_type()).collect::<Vec<_>>(), [rtype]);
        }
    }
    let reply = server.ask("", RecordType::NS).await;
    let RData::NS(target) = &reply.answers()[0].data else { panic!("{reply:?}") };
    let name = target.0.to_ascii();
    let server_itself = Dig::new(server.address, &name, RecordType::A).ask().await;
    assert_eq!(server_itself.set(), set(&["127.0.0.1"]), "{name} is where this server listens");
}

#[tokio::test]
async fn a_name_without_the_type_is_nodata_and_a_missing_name_nxdomain_both_cacheable() {
    let (_cluster, server, _) = three(109).await;
    let (nodata, nxdomain) = (server.ask("", RecordType::AAAA).await, server.ask("nowhere", RecordType::AAAA).await);
    assert!(nodata.is_nodata() && nxdomain.is_nxdomain());
    for reply in [nodata, nxdomain] {
        let soa = &reply.message.authorities[0];
        let RData::SOA(data) = &soa.data else { panic!("{soa:?}") };
        assert_eq!((soa.ttl, data.minimum), (5, 5), "the negative TTL is short: an incident must not outlive itself");
    }
}

#[tokio::test]
async fn edns_is_spoken() {
    let (_cluster, server, nodes) = three(110).await;
    let plain = server.ask("", RecordType::A).await;
    assert!(plain.message.edns.is_none());
    for dig in [server.dig("", RecordType::A).edns(4096), server.dig("", RecordType::A).edns(4096).tcp()] {
        let reply = dig.ask().await;
        assert_eq!(reply.message.edns.as_ref().map(|edns| edns.max_payload()), Some(1232));
        assert_eq!(reply.set(), nodes.iter().cloned().collect());
    }
    let before = server.count(Outcome::BadVers);
    let later = server.dig("", RecordType::A).edns(1232).with(|message| {
        message.edns.as_mut().unwrap().set_version(1);
    });
    // 16 has two names: BADVERS in an OPT, BADSIG in a TSIG.
    assert_eq!(u16::from(later.ask().await.rcode()), 16);
    assert_eq!(server.count(Outcome::BadVers) - before, 1);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_truncated_and_whole_over_tcp() {
    let addresses: Vec<String> = (1..=40).map(|last| format!("127.11.111.{last}")).collect();
    let nodes: Vec<String> = addresses.iter().map(|address| format!("dc1/rack1 {address}")).collect();
    let cluster = cluster(&nodes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let server = TestServer::over(&cluster, |zone| zone.health.enabled = false).await;
    let whole = addresses.iter().cloned().collect();
    let dig = server.dig("", RecordType::A).edns(1232);
    eventually(async || dig.ask().await.set(), |answered| *answered == whole).await;
    let before = server.count(Outcome::Truncated);
    let cut = server.ask("", RecordType::A).await;
    assert!(cut.is_truncated() && cut.answers().is_empty() && cut.bytes.len() <= 512, "{cut:?}");
    assert_eq!(server.count(Outcome::Truncated) - before, 1);
    let tcp = server.dig("", RecordType::A).tcp().ask().await;
    assert!(!tcp.is_truncated());
    assert_eq!(tcp.set(), whole);
}

#[tokio::test]
async fn any_address_and_port_can_be_listened_on() {
    let cluster = cluster(&["dc1/rack1 127.11.112.1"]).await;
    let mut listen = vec!["127.11.112.53:0".parse().unwrap(), "127.11.112.54:0".parse().unwrap()];
    if ClusterSpec::has_ipv6() {
        listen.push("[::1]:0".parse().unwrap());
    }
    let zone = TestServer::zone(&cluster, steady);
    let config = Config { server: ServerConfig { listen, workers: 2, ..ServerConfig::default() }, zones: vec![zone] };
    let server = TestServer::start(config).await;
    for &address in server.app.addresses() {
        assert_ne!(address.port(), 53, "no port that takes a privilege");
        let dig = Dig::new(address, ZONE, RecordType::A);
        for dig in [dig.clone(), dig.tcp()] {
            let ask = async || dig.ask().await.set();
            eventually(ask, |answered| *answered == set(&["127.11.112.1"])).await;
        }
    }
}

#[tokio::test]
async fn tcp_serves_as_well_as_udp() {
    let (_cluster, server, nodes) = three(113).await;
    let wanted = nodes.iter().cloned().collect();
    let before = server.count(Outcome::Answered);
    for dig in [server.dig("dc1", RecordType::A), server.dig("dc1", RecordType::A).tcp()] {
        for reply in dig.repeat(50).await {
            assert_eq!(reply.set(), wanted);
        }
    }
    assert_eq!(server.count(Outcome::Answered) - before, 100);
}

#[tokio::test]
async fn every_datacenter_of_a_cluster_is_served() {
    let cluster = cluster(&["dc1/rack1 127.11.114.1", "dc2/rack1 127.11.114.2", "dc3/rack1 127.11.114.3"]).await;
    let server = TestServer::over(&cluster, steady).await;
    server.answers("", &["127.11.114.1", "127.11.114.2", "127.11.114.3"]).await;
    for (name, address) in [("dc1", "127.11.114.1"), ("dc2", "127.11.114.2"), ("dc3", "127.11.114.3")] {
        server.answers(name, &[address]).await;
    }
}

#[tokio::test]
async fn nodes_are_asked_on_their_own_port_and_over_tls_where_configured() {
    let listener = TcpListener::bind("127.11.115.1:0").await.unwrap();
    let mut zone = alternator_dns::config::ZoneConfig::new(format!("{ZONE}.").parse().unwrap());
    zone.cluster.seeds = vec![Seed::Address(ip("127.11.115.1"))];
    zone.cluster.port = listener.local_addr().unwrap().port();
    zone.cluster.scheme = Scheme::Https;
    let server = TestServer::start(TestServer::config(&zone)).await;
    let (mut stream, _) = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
    // TLS handshake, of any version: RFC 8446 section 5.1.
    assert_eq!((stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap()), (22, 3));
    drop(server);
}

#[tokio::test]
async fn a_node_that_is_listed_and_does_not_serve_is_not_answered() {
    let (cluster, server, nodes) = three(116).await;
    let nodes = nodes.each_ref().map(String::as_str);
    cluster.list_without_serving(ip(nodes[2])).await.unwrap();
    server.answers("", &nodes[..2]).await;
    server.keeps_answering("", &nodes[..2], asked(&cluster, &nodes[..2], 20)).await;
    // Serving wrongly is not serving either.
    cluster.inject(ip(nodes[1]), Fault::Reply(Endpoint::Health, BadReply::Status(503))).await.unwrap();
    server.answers("", &nodes[..1]).await;
    let told = server.explain("").await;
    for line in ["down: status 503", "down: connection refused"] {
        assert!(told.iter().any(|told| told.starts_with("out ") && told.ends_with(line)), "{told:#?}");
    }
}

#[tokio::test]
async fn the_answer_of_one_node_does_not_replace_what_all_others_say() {
    let (cluster, server, nodes) = three(117).await;
    let nodes = nodes.each_ref().map(String::as_str);
    cluster.partition(&[ip(nodes[1])], SeenByOthers::Listed).unwrap();
    server.keeps_answering("", &nodes, asked(&cluster, &nodes, 20)).await;
}

#[tokio::test]
async fn what_fails_is_told_and_not_swallowed() {
    let (cluster, server, nodes) = three(118).await;
    let nodes = nodes.each_ref().map(String::as_str);
    let told = async || server.explain("").await.join("\n");
    eventually(told, |told| !told.contains("discovery")).await;
    cluster.inject_everywhere(Fault::Reply(Endpoint::Localnodes, BadReply::Status(500))).await.unwrap();
    eventually(told, |told| told.contains("no node answers discovery; the topology is the last one known")).await;
    server.answers("", &nodes).await;
    for node in nodes {
        cluster.heal(ip(node)).await.unwrap();
    }
    eventually(told, |told| !told.contains("discovery")).await;
    cluster.inject(ip(nodes[0]), Fault::Reply(Endpoint::Health, BadReply::Status(500))).await.unwrap();
    let line = format!("out {} dc1/rack1: down: status 500", nodes[0]);
    eventually(told, |told| told.contains(&line)).await;
}

#[tokio::test]
async fn packets_that_are_no_queries_harm_nobody() {
    let (_cluster, server, nodes) = three(119).await;
    let dig = server.dig("", RecordType::A);
    let question = dig.bytes();
    for len in [0, 1, 11] {
        assert!(dig.send(&question[..len], Duration::from_millis(50)).await.is_none());
    }
    for len in [12, 13, question.len() - 1] {
        let reply = dig.send(&question[..len], Duration::from_secs(5)).await.unwrap();
        assert_eq!(reply.rcode(), ResponseCode::FormErr);
    }
    assert_eq!((server.count(Outcome::Dropped), server.count(Outcome::FormErr)), (3, 3));
    server.answers("", &nodes.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn a_cluster_that_was_never_reached_is_servfail_and_no_empty_answer() {
    // Nobody listens there.
    let closed = TcpListener::bind("127.11.120.1:0").await.unwrap().local_addr().unwrap();
    let mut zone = alternator_dns::config::ZoneConfig::new(format!("{ZONE}.").parse().unwrap());
    zone.cluster.seeds = vec![Seed::Address(closed.ip())];
    zone.cluster.port = closed.port();
    let server = TestServer::start(TestServer::config(&zone)).await;
    for dig in [server.dig("", RecordType::A), server.dig("", RecordType::AAAA).tcp()] {
        let reply = dig.ask().await;
        assert_eq!((reply.rcode(), reply.answers().len()), (ResponseCode::ServFail, 0));
        assert!(!reply.is_authoritative());
    }
    assert_eq!(server.count(Outcome::ServFail), 2);
    // What the zone knows by itself is there all the same.
    assert!(server.ask("", RecordType::SOA).await.is_authoritative());
}

#[tokio::test]
async fn answers_are_dealt_and_not_always_led_by_the_same_node() {
    let (_cluster, server, nodes) = three(121).await;
    let dig = server.dig("", RecordType::A);
    let replies = server.undisturbed(async || dig.repeat(30).await).await;
    let leaders: Vec<IpAddr> = replies.iter().map(|reply| reply.first()).collect();
    for node in nodes {
        assert_eq!(leaders.iter().filter(|leader| **leader == ip(&node)).count(), 10);
    }
}
