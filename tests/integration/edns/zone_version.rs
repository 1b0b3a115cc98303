//! ZONEVERSION (RFC 9660): the serial of the zone that answers.

use std::net::IpAddr;

use alternator_dns::{
    config::{Answers, Config, CookiePolicy, ZoneConfig},
    model::{Access, Denied},
    server::Outcome,
    sim::Cluster,
};
use hickory_proto::rr::{Name, RData, RecordType};

use super::{A, COOKIE, EXTENDED_ERROR, ZONE_VERSION, served, www};
use crate::support::{
    Dig, Reply, TestServer, cluster,
    packet::{name, opt, option, query, question, question_of},
    remembering, steady,
};

/// The version told of a zone: the labels of its name, type 0, the serial.
fn version(labels: u8, serial: u32) -> (u16, Vec<u8>) {
    (ZONE_VERSION, [&[labels, 0][..], &serial.to_be_bytes()].concat())
}

fn asking(text: &str, qtype: u16) -> Vec<u8> {
    query(&question(text, qtype), &[&opt(1232, 0, 0, &option(ZONE_VERSION, &[]))])
}

/// The serial in a reply's SOA, in its answer or authority section.
fn serial(reply: &Reply) -> u32 {
    let soa = reply.message.answers.iter().chain(&reply.message.authorities).find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    });
    soa.expect("an SOA")
}

/// The version in a reply, besides which it may tell an extended error.
fn told(reply: &Reply) -> Vec<(u16, Vec<u8>)> {
    reply.options().into_iter().filter(|(code, _)| *code != EXTENDED_ERROR).collect()
}

async fn three() -> (Cluster, TestServer) {
    let cluster = cluster(&["dc1/rack1 127.21.3.1", "dc1/rack2 127.21.3.2"]).await;
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.insert("dc9".into(), Vec::new());
    });
    let server = TestServer::start(TestServer::in_both_families(TestServer::config(&zone))).await;
    server.answers("", &["127.21.3.1", "127.21.3.2"]).await;
    (cluster, server)
}

#[tokio::test]
async fn every_reply_of_a_zone_tells_its_serial() {
    let (_cluster, server) = three().await;
    let ask = async || {
        let epoch = serial(&server.ask("", RecordType::SOA).await);
        let mut versions = Vec::new();
        for (below, qtype, outcome) in [
            ("", A, Outcome::Answered),
            ("dc1.rack1", A, Outcome::Answered),
            ("", 6, Outcome::Answered),
            ("", 2, Outcome::Answered),
            ("", 255, Outcome::Answered),
            ("_alternator._tcp", 33, Outcome::Answered),
            ("", 15, Outcome::NoData),
            ("rack1", A, Outcome::NoData),
            ("nope", A, Outcome::NxDomain),
            ("a.b.c.d.e.f", A, Outcome::NxDomain),
            ("dc9", A, Outcome::ServFail),
        ] {
            for reply in server.everywhere(&asking(&TestServer::name(below), qtype), outcome).await {
                if outcome == Outcome::NxDomain || outcome == Outcome::NoData || qtype == 6 {
                    assert_eq!(told(&reply), [version(2, serial(&reply))], "that of the SOA in the same reply");
                }
                versions.push((below, qtype, told(&reply)));
            }
        }
        (epoch, versions)
    };
    let (epoch, versions) = server.undisturbed(ask).await;
    for (below, qtype, told) in versions {
        assert_eq!(told, [version(2, epoch)], "{below} {qtype}");
    }
}

#[tokio::test]
async fn it_changes_with_the_answers() {
    let (cluster, server) = three().await;
    let ask = async || {
        told(&server.counted(&Dig::to(server.address), &asking(crate::support::ZONE, A), Outcome::Answered).await)
    };
    let before = server.undisturbed(async || (ask().await, serial(&server.ask("", RecordType::SOA).await))).await;
    assert_eq!(before.0, [version(2, before.1)]);
    cluster.stop("127.21.3.2".parse().unwrap()).await.unwrap();
    server.answers("", &["127.21.3.1"]).await;
    let after = server.undisturbed(async || (ask().await, serial(&server.ask("", RecordType::SOA).await))).await;
    assert_eq!(after.0, [version(2, after.1)]);
    assert_ne!(before, after);
}

#[tokio::test]
async fn nobody_gets_it_unasked_and_a_question_that_holds_one_is_no_question() {
    let server = served(|_| {}).await;
    for reply in server.everywhere(&www(&[]), Outcome::Answered).await {
        assert_eq!(reply.options(), []);
    }
    for data in [&[0][..], &[2, 0], &[2, 0, 0, 0, 0, 1], &[0; 40]] {
        for reply in server.everywhere(&www(&[option(ZONE_VERSION, data)]), Outcome::Answered).await {
            assert_eq!(reply.options(), [], "{data:?}");
        }
    }
}

/// Two zones, one below the other, and a third that nobody may ask for.
async fn nested() -> TestServer {
    let zone = |apex: &str| ZoneConfig::new(Name::from_ascii(apex).unwrap());
    let mut closed = zone("closed.test.");
    let everybody = ["0.0.0.0/0", "::/0"].map(|prefix| prefix.parse().unwrap());
    closed.access = Access::new(&[], &everybody, Denied::Refuse).unwrap();
    let mut config = TestServer::config(&closed);
    config.zones = vec![zone("example.test."), zone("a.b.example.test."), closed];
    TestServer::start(TestServer::in_both_families(config)).await
}

#[tokio::test]
async fn it_is_of_the_nearest_zone_and_counts_its_labels() {
    let server = nested().await;
    for (text, labels, outcome) in [
        ("example.test", 2, Outcome::NoData),
        ("x.example.test", 2, Outcome::NxDomain),
        ("A.B.Example.Test", 4, Outcome::NoData),
        ("x.y.z.a.b.example.test", 4, Outcome::NxDomain),
    ] {
        for reply in server.everywhere(&asking(text, 16), outcome).await {
            assert_eq!(told(&reply), [version(labels, serial(&reply))], "{text}");
        }
    }
}

/// RFC 9660 section 3.2: only who is authoritative tells a version, and who may not ask for a zone learns nothing of it.
#[tokio::test]
async fn what_is_refused_tells_none() {
    let server = nested().await;
    let chaos = query(&question_of(&name("example.test"), 16, 3), &[&opt(1232, 0, 0, &option(ZONE_VERSION, &[]))]);
    for (about, sent, outcome) in [
        ("outside", asking("example.org", A), Outcome::Refused),
        ("the root", asking("", 2), Outcome::Refused),
        ("the parent", asking("test", 6), Outcome::Refused),
        ("class CH", chaos, Outcome::Refused),
        ("a transfer", asking("example.test", 252), Outcome::Refused),
        ("a zone of others", asking("closed.test", 6), Outcome::Denied),
        ("a name of it", asking("x.closed.test", A), Outcome::Denied),
        ("a transfer of it", asking("closed.test", 252), Outcome::Denied),
    ] {
        for reply in server.everywhere(&sent, outcome).await {
            assert_eq!((reply.rcode_number(), told(&reply)), (5, vec![]), "{about}");
        }
    }
}

/// What a zone has no part in tells nothing of it: the call for a cookie, and class CH.
#[tokio::test]
async fn a_zone_that_is_closed_is_not_told_of_by_other_means() {
    let mut closed = ZoneConfig::new(Name::from_ascii("server.").unwrap());
    let everybody = ["0.0.0.0/0", "::/0"].map(|prefix| prefix.parse().unwrap());
    closed.access = Access::new(&[], &everybody, Denied::Refuse).unwrap();
    let mut config = TestServer::in_both_families(TestServer::config(&closed));
    config.server.identity = Some("ns1".to_owned());
    config.server.cookies.policy = CookiePolicy::Required;
    let server = TestServer::start(config).await;
    let options = [option(COOKIE, b"a client"), option(ZONE_VERSION, &[])].concat();
    for address in server.app.addresses() {
        let sent = query(&question("server", 6), &[&opt(1232, 0, 0, &options)]);
        let reply = server.counted(&Dig::to(*address), &sent, Outcome::BadCookie).await;
        assert_eq!(told(&reply).iter().map(|(code, _)| *code).collect::<Vec<_>>(), [COOKIE], "BADCOOKIE");
    }
    let chaos = query(&question_of(&name("id.server"), 16, 3), &[&opt(1232, 0, 0, &option(ZONE_VERSION, &[]))]);
    for reply in server.everywhere(&chaos, Outcome::Answered).await {
        assert_eq!(told(&reply), [], "class CH");
    }
}

/// It takes no answer's room: where it does not fit, it is left out, as it is where TC tells to come back over TCP.
#[tokio::test]
async fn where_room_is_short_it_is_left_out_before_any_address_is() {
    let state = tempfile::tempdir().unwrap();
    let nodes: Vec<IpAddr> = (1..=100).map(|node| IpAddr::from([127, 21, 4, node])).collect();
    let mut zone = remembering("z.local", state.path(), nodes);
    zone.answers = Answers::Count(60.try_into().unwrap());
    let mut config: Config = TestServer::config(&zone);
    config.server.state_dir = Some(state.path().to_owned());
    let server = TestServer::start(config).await;
    // Header, question, addresses, OPT.
    let whole = 12 + 13 + 60 * 16 + 11;
    for (size, outcome, is_told) in [
        (whole - 1, Outcome::Truncated, true),
        (whole, Outcome::Answered, false),
        (whole + 9, Outcome::Answered, false),
        (whole + 10, Outcome::Answered, true),
        (whole + 11, Outcome::Answered, true),
    ] {
        let sent = query(&question("z.local", A), &[&opt(size, 0, 0, &option(ZONE_VERSION, &[]))]);
        let reply = server.counted(&Dig::to(server.address), &sent, outcome).await;
        assert!(reply.bytes.len() <= usize::from(size), "{size}");
        assert_eq!(told(&reply).len(), usize::from(is_told), "{size}: {:?}", reply.options());
        let tcp = server.counted(&Dig::to(server.address).tcp(), &sent, Outcome::Answered).await;
        assert_eq!((told(&tcp).len(), tcp.answers().len()), (1, 60));
    }
}
