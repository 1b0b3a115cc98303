//! A zone that has nothing at all is answered with the nodes of another.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use alternator_dns::{
    admin::Status,
    app::{self, Beginning},
    config::{Answers, Config, ZoneConfig},
    model::NodeState,
    sim::{Cluster, Fault},
};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType},
};

use crate::support::{Dig, Http, Load, PATIENCE, Reply, TestServer, asked, cluster, eventually, ip, set, steady};

/// A zone over a cluster, with another one to fall back to.
fn zone(nodes: &Cluster, apex: &str, fallback: Option<&str>) -> ZoneConfig {
    TestServer::zone(nodes, |zone| {
        zone.apex = Name::from_ascii(format!("{apex}.")).unwrap();
        zone.fallback_zone = fallback.map(|zone| Name::from_ascii(format!("{zone}.")).unwrap());
        (zone.ttl, zone.min_ttl) = (Duration::from_secs(60), Duration::from_secs(2));
        steady(zone);
    })
}

fn with(zones: &[&ZoneConfig]) -> Config {
    Config { zones: zones.iter().map(|zone| (*zone).clone()).collect(), ..TestServer::config(zones[0]) }
}

async fn ask(server: &TestServer, name: &str, rtype: RecordType) -> Reply {
    Dig::new(server.address, name, rtype).tcp().edns(1232).ask().await
}

/// What is answered, and the extended error with it: its code and text.
async fn told(server: &TestServer, name: &str) -> (BTreeSet<String>, Option<(u16, String)>) {
    let reply = ask(server, name, RecordType::A).await;
    let data = reply.options().into_iter().find(|(code, _)| *code == 15).map(|(_, data)| data);
    let ede = data.map(|data| (u16::from_be_bytes([data[0], data[1]]), String::from_utf8(data[2..].to_vec()).unwrap()));
    (reply.set(), ede)
}

/// Waits until a name is answered with these addresses, for which the text of the error, if any, says why.
async fn answers(server: &TestServer, name: &str, addresses: &[&str], why: Option<(u16, &str)>) {
    let wanted = (set(addresses), why.map(|(code, text)| (code, text.to_owned())));
    eventually(async || told(server, name).await, |told| *told == wanted).await;
}

async fn stop(nodes: &Cluster) {
    for node in nodes.nodes() {
        nodes.stop(node.address).await.unwrap();
    }
}

/// The texts of the journal's changes of a zone as a whole.
fn noted(server: &TestServer, zone: &str) -> Vec<String> {
    let changes = server.app.sight().journal.since(0).into_iter();
    let of_zone = changes.filter(|change| change.zone.as_deref() == Some(zone) && change.subject == "cluster");
    of_zone
        .map(|change| change.text)
        .filter(|text| text.contains("nodes of") || text.contains("answering those"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_zone_is_answered_with_the_nodes_of_another_until_one_of_its_own_is_back() {
    let first = cluster(&["dc1/r1 127.81.6.1", "dc1/r2 127.81.6.2", "dc2/r1 127.81.6.3"]).await;
    let second = cluster(&["dc1/r1 127.81.7.1", "dc1/r2 127.81.7.2", "dc3/r1 127.81.7.3"]).await;
    let (a, b) = (zone(&first, "a.test", Some("b.test")), zone(&second, "b.test", Some("a.test")));
    let mut config = with(&[&a, &b]);
    config.server.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let mut server = TestServer::start(config).await;
    let (own, others) = (["127.81.6.1", "127.81.6.2", "127.81.6.3"], ["127.81.7.1", "127.81.7.2", "127.81.7.3"]);
    answers(&server, "a.test", &own, None).await;
    answers(&server, "b.test", &others, None).await;
    // One that lives is enough.
    first.stop(ip(own[0])).await.unwrap();
    first.stop(ip(own[1])).await.unwrap();
    answers(&server, "a.test", &own[2..], None).await;
    answers(&server, "dc1.a.test", &own[..2], Some((3, "dc1: last known, level 1 of 1 (dc1)"))).await;

    stop(&first).await;
    answers(&server, "a.test", &others, Some((0, "lent by b.test, for cluster"))).await;
    answers(&server, "dc1.a.test", &others[..2], Some((0, "lent by b.test, for dc1"))).await;
    answers(&server, "dc1.r2.a.test", &others[1..2], Some((0, "lent by b.test, for dc1/r2"))).await;
    answers(&server, "dc2.a.test", &others, Some((0, "lent by b.test, for dc2"))).await;
    answers(&server, "b.test", &others, None).await;
    assert_eq!(ask(&server, "a.test", RecordType::A).await.ttl(), 2, "min_ttl: they are to come back");
    assert!(ask(&server, "a.test", RecordType::AAAA).await.is_nodata());
    let services = ask(&server, "_alternator._tcp.dc1.a.test", RecordType::SRV).await;
    assert_eq!((services.answers().len(), services.ttl()), (2, 2));
    for record in services.answers() {
        let RData::SRV(srv) = &record.data else { panic!("{record}") };
        assert_eq!(srv.port, second.port());
        assert!(srv.target.to_ascii().ends_with(".a.test."), "{}", srv.target);
        let target = ask(&server, &srv.target.to_ascii(), RecordType::A).await.set();
        assert!(target.is_subset(&set(&others)) && target.len() == 1, "{target:?}");
    }

    // Everywhere where people look.
    let explained = ask(&server, "_explain.dc1.a.test", RecordType::TXT).await.texts().join("\n");
    for line in [
        "lent: nothing of this zone",
        "A: lent by b.test, 2 nodes",
        "A: not level 1 (dc1): all 2 nodes are out",
        "in 127.81.7.1 dc1/r1: lent by b.test",
    ] {
        assert!(explained.contains(line), "{line} in {explained}");
    }
    let status = Status::of(server.app.sight(), SystemTime::now());
    assert_eq!((status.zones[0].lent_by.as_deref(), status.zones[1].lent_by.as_deref()), (Some("b.test"), None));
    assert!(status.zones[0].scopes.iter().all(|scope| scope.a.serving == "lent" && scope.a.level.is_none()));
    let metrics = Http::to(server.app.admin()[0]).get("/metrics").await.body;
    for line in ["alternator_dns_zone_lent{zone=\"a.test\"} 1", "alternator_dns_zone_lent{zone=\"b.test\"} 0"] {
        assert!(
            metrics.lines().any(|told| told == line || told.starts_with(&format!("{line}."))),
            "{line} in {metrics}"
        );
    }
    eventually(async || noted(&server, "a.test").len(), |noted| *noted == 1).await;

    // What changes over there changes here; and another TTL is no reason to turn to the dead.
    let load = Load::start(server.address, &["a.test"], 300);
    let mut other_ttl = server.app.config().clone();
    for seconds in 70..80 {
        other_ttl.zones[0].ttl = Duration::from_secs(seconds);
        server.app.reload(&other_ttl).await.unwrap();
    }
    let samples = load.stop().await;
    let lent: BTreeSet<IpAddr> = others.map(ip).into();
    assert!(samples.iter().all(|sample| sample.set == lent), "{:?}", samples.iter().find(|one| one.set != lent));
    second.stop(ip(others[0])).await.unwrap();
    answers(&server, "dc1.a.test", &others[1..2], Some((0, "lent by b.test, for dc1"))).await;

    first.start_node(ip(own[2])).await.unwrap();
    answers(&server, "a.test", &own[2..], None).await;
    assert_eq!(ask(&server, "a.test", RecordType::A).await.ttl(), 79);
    assert_eq!(Status::of(server.app.sight(), SystemTime::now()).zones[0].lent_by, None);
    let expected =
        ["no node of this zone serves: answering those of b.test", "no longer answering the nodes of b.test"];
    eventually(async || noted(&server, "a.test"), |noted| *noted == expected).await;

    // The other way round, and what is borrowed is not lent.
    stop(&second).await;
    answers(&server, "b.test", &own[2..], Some((0, "lent by a.test, for cluster"))).await;
    stop(&first).await;
    for (zone, nodes) in [("a.test", &own), ("b.test", &others)] {
        let is_stale = |why: &Option<(u16, String)>| why.as_ref().is_some_and(|(code, _)| *code == 3);
        let (addresses, _) = eventually(async || told(&server, zone).await, |(_, why)| is_stale(why)).await;
        assert!(addresses.is_subset(&set(nodes)), "{addresses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_borrowed_at_first_and_a_zone_that_was_never_seen_alive_borrows_then() {
    let first = cluster(&["dc1/r1 127.81.8.1", "dc1/r1 127.81.8.2"]).await;
    let second = cluster(&["dc1/r1 127.81.9.1"]).await;
    stop(&first).await;
    let (a, b) = (zone(&first, "a.test", Some("b.test")), zone(&second, "b.test", None));
    let begin = Instant::now();
    let server = TestServer::start(with(&[&a, &b])).await;
    let replies = eventually(
        async || ask(&server, "a.test", RecordType::A).await,
        |reply| {
            // Nothing, or what the other zone lends, but that not at once.
            let is_lent = reply.set() == set(&["127.81.9.1"]);
            assert!(is_lent || reply.rcode() == ResponseCode::ServFail, "{:?}", reply.message);
            is_lent
        },
    )
    .await;
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(replies.ttl(), 2);
    answers(&server, "dc1.a.test", &["127.81.9.1"], Some((0, "lent by b.test, for dc1"))).await;
    // The cluster comes up for the first time.
    first.start_node(ip("127.81.8.1")).await.unwrap();
    answers(&server, "a.test", &["127.81.8.1"], None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_what_is_remembered_and_a_replacement_know_whom_to_answer() {
    let first = cluster(&["dc1/r1 127.81.10.1", "dc1/r1 127.81.10.2"]).await;
    let second = cluster(&["dc1/r1 127.81.11.1", "dc1/r1 127.81.11.2"]).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut a, b) = (zone(&first, "a.test", Some("b.test")), zone(&second, "b.test", None));
    a.answers = Answers::All;
    let mut config = with(&[&a, &b]);
    config.server.state_dir = Some(dir.path().to_owned());
    let mut server = TestServer::start(config.clone()).await;
    let (own, others) = (["127.81.10.1", "127.81.10.2"], ["127.81.11.1", "127.81.11.2"]);
    answers(&server, "a.test", &own, None).await;
    answers(&server, "b.test", &others, None).await;
    let lent = Some((0, "lent by b.test, for cluster"));
    stop(&first).await;
    answers(&server, "a.test", &others, lent).await;
    for name in ["a.test.json", "b.test.json"] {
        eventually(async || dir.path().join(name).exists(), |exists| *exists).await;
    }
    let known = server.app.offer().unwrap().zones;
    server.app.stop().await;

    // Whoever is told that the zone has nothing borrows from the first answer on.
    let beginning = Beginning { zones: known, ..Beginning::default() };
    let app = app::start_from(&config, beginning).await.unwrap();
    let server = TestServer { address: app.addresses()[0], app };
    let (addresses, why) = told(&server, "a.test").await;
    assert_eq!((addresses, why), (set(&others), lent.map(|(code, text)| (code, text.to_owned()))));
    server.app.stop().await;

    // Whoever only remembers asks first.
    let server = TestServer::start(config).await;
    let (addresses, why) = told(&server, "a.test").await;
    assert_eq!((addresses, why.map(|(code, _)| code)), (set(&own), Some(3)));
    answers(&server, "a.test", &others, lent).await;
    first.start_node(ip(own[0])).await.unwrap();
    answers(&server, "a.test", &own[..1], None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_falls_silent_is_given_up_though_the_prober_is_distrusted() {
    let first = cluster(&["dc1/r1 127.81.12.1", "dc1/r1 127.81.12.2", "dc1/r1 127.81.12.3"]).await;
    let second = cluster(&["dc1/r1 127.81.13.1"]).await;
    let (mut a, b) = (zone(&first, "a.test", Some("b.test")), zone(&second, "b.test", Some("a.test")));
    a.health.timeout = Duration::from_millis(200);
    let server = TestServer::start(with(&[&a, &b])).await;
    let own = ["127.81.12.1", "127.81.12.2", "127.81.12.3"];
    answers(&server, "a.test", &own, None).await;
    answers(&server, "b.test", &["127.81.13.1"], None).await;
    // While one of them is heard, it is our own ears that are in doubt: nothing changes.
    for node in &own[1..] {
        first.inject(ip(node), Fault::Silent).await.unwrap();
    }
    let panics = async || sight_of(&server, "a.test").0;
    eventually(panics, |panic| *panic).await;
    let (is_asked, start) = (asked(&first, &own[..1], 5), Instant::now());
    while !is_asked() {
        assert_eq!(told(&server, "a.test").await, (set(&own), None));
        assert!(start.elapsed() < 3 * PATIENCE, "the node that is heard is asked no more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Nobody at all.
    first.inject(ip(own[0]), Fault::Silent).await.unwrap();
    answers(&server, "a.test", &["127.81.13.1"], Some((0, "lent by b.test, for cluster"))).await;
    let explained = ask(&server, "_explain.a.test", RecordType::TXT).await.texts().join("\n");
    assert!(explained.contains("A: not level 1 (cluster): none of 3 nodes is heard"), "{explained}");
    assert!(sight_of(&server, "a.test").1, "its nodes are not taken out");
    // What is not heard is not lent.
    second.stop(ip("127.81.13.1")).await.unwrap();
    answers(&server, "b.test", &["127.81.13.1"], Some((3, "cluster: last known, level 1 of 1 (cluster)"))).await;
    second.start_node(ip("127.81.13.1")).await.unwrap();
    answers(&server, "a.test", &["127.81.13.1"], Some((0, "lent by b.test, for cluster"))).await;
    for node in own {
        first.heal(ip(node)).await.unwrap();
    }
    answers(&server, "a.test", &own, None).await;
}

/// Whether the prober of a zone is distrusted, and whether it holds any node for up.
fn sight_of(server: &TestServer, zone: &str) -> (bool, bool) {
    let zones = server.app.sight().zones.load();
    let health = zones.iter().find(|sight| sight.name == zone).unwrap().health.borrow().clone();
    (health.panic, health.nodes.values().any(|node| node.state == NodeState::Up))
}
