//! What is counted by zone, transport and node, over real sockets.

use std::{collections::BTreeMap, net::IpAddr};

use alternator_dns::{
    config::ZoneConfig,
    server::{Outcome, Transport},
};
use hickory_proto::rr::{Name, RecordType};

use crate::support::{Dig, TestServer, cluster, eventually, ip};

/// Of one zone over one transport: outcomes that came at least once.
fn counts(server: &TestServer, zone: &str, transport: Transport) -> BTreeMap<Outcome, u64> {
    let rows = server.app.counters().by_zone();
    let row = rows.iter().find(|row| row.zone == zone && row.transport == transport).unwrap();
    Outcome::ALL.into_iter().zip(row.outcomes).filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn every_query_is_counted_at_its_zone_and_transport() {
    let inner = ZoneConfig::new(Name::from_ascii("inner.alternator.local.").unwrap());
    let server = TestServer::of_file("t 60 IN TXT x\nalias 60 IN CNAME t\n", |config| config.zones.push(inner)).await;
    let (mut expected, mut sent) = (BTreeMap::new(), 0);
    for (name, rtype, zone, outcome) in [
        ("t.alternator.local", RecordType::TXT, "alternator.local", Outcome::Answered),
        ("t.alternator.local", RecordType::A, "alternator.local", Outcome::NoData),
        ("alias.alternator.local", RecordType::TXT, "alternator.local", Outcome::Answered),
        ("none.alternator.local", RecordType::A, "alternator.local", Outcome::NxDomain),
        ("t.alternator.local", RecordType::AXFR, "alternator.local", Outcome::Refused),
        ("inner.alternator.local", RecordType::SOA, "inner.alternator.local", Outcome::Answered),
        ("x.inner.alternator.local", RecordType::A, "inner.alternator.local", Outcome::NxDomain),
        ("www.example.com", RecordType::A, "", Outcome::Refused),
    ] {
        for (dig, transport) in [
            (Dig::new(server.address, name, rtype), Transport::Udp),
            (Dig::new(server.address, name, rtype).tcp(), Transport::Tcp),
        ] {
            server.counted(&dig, &dig.bytes(), outcome).await;
            *expected.entry((zone, transport)).or_insert_with(BTreeMap::new).entry(outcome).or_insert(0) += 1;
            sent += 1;
        }
    }
    // Decided before anybody looked for a zone: an EDNS version that nobody knows.
    let dig = Dig::new(server.address, "t.alternator.local", RecordType::TXT).edns(1232);
    let later = dig.with(|message| _ = message.edns.as_mut().unwrap().set_version(1));
    server.counted(&later, &later.bytes(), Outcome::BadVers).await;
    expected.get_mut(&("", Transport::Udp)).unwrap().insert(Outcome::BadVers, 1);
    for ((zone, transport), expected) in expected {
        assert_eq!(counts(&server, zone, transport), expected, "{zone:?} over {transport}");
    }
    let all: u64 = server.app.counters().by_zone().iter().flat_map(|row| row.outcomes).sum();
    assert_eq!((all, server.app.counters().total()), (sent + 1, sent + 1));
}

/// How many answers each node led, of those that led any.
fn led(server: &TestServer) -> BTreeMap<IpAddr, u64> {
    let leads = server.app.counters().leads().into_iter();
    leads.filter(|(zone, _, led)| zone == "alternator.local" && *led > 0).map(|(_, node, led)| (node, led)).collect()
}

#[tokio::test]
async fn the_node_that_comes_first_is_counted_as_the_leader() {
    let nodes = ["dc1/rack1 127.22.0.1", "dc1/rack2 127.22.0.2", "dc1/rack3 127.22.0.3"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    std::fs::write(&file, "db 60 IN CNAME dc1\nstatic 60 IN A 127.22.0.9\n").unwrap();
    let cluster = cluster(&nodes).await;
    let server = TestServer::over(&cluster, |zone| zone.file = Some(file)).await;
    server.answers("dc1", &["127.22.0.1", "127.22.0.2", "127.22.0.3"]).await;
    let (mut expected, mut seen) = (led(&server), BTreeMap::new());
    for round in 0..50 {
        let name = ["", "dc1", "dc1.rack2", "db"][round % 4];
        let dig = server.dig(name, RecordType::A);
        let reply = if round % 3 == 0 { dig.tcp().ask().await } else { dig.ask().await };
        let first = reply.addresses()[0];
        *expected.entry(first).or_insert(0) += 1;
        *seen.entry(first).or_insert(0) += 1;
        // Neither what is written in a zone file, nor lists of services, nor what has no answer is led by a node.
        server.ask("static", RecordType::A).await;
        server.dig("_alternator._tcp", RecordType::SRV).tcp().ask().await;
        server.ask("none", RecordType::A).await;
    }
    assert_eq!(led(&server), expected);
    assert_eq!(seen.len(), 3, "every node led");
    // A node that is out keeps what it led.
    let before = led(&server)[&ip("127.22.0.2")];
    cluster.stop(ip("127.22.0.2")).await.unwrap();
    eventually(|| server.set(""), |set| !set.contains("127.22.0.2")).await;
    assert!(led(&server)[&ip("127.22.0.2")] >= before);
}
