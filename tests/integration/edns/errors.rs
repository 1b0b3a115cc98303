//! Extended errors (RFC 8914): why an answer is what it is, and what is left out first where room is short.

use std::net::{IpAddr, SocketAddr};

use alternator_dns::{
    config::{Answers, CookieSecret},
    model::{Access, Denied},
    server::Outcome,
};
use hickory_proto::rr::RecordType;

use super::{A, COOKIE, EXTENDED_ERROR, NSID, asking, our_opt, served, www};
use crate::support::{
    Dig, Reply, TestServer, ZONE, cluster, eventually,
    packet::{opt, option, packet, query, question},
    remembering, steady,
};

/// A code and a text.
fn remark(code: u8, text: &str) -> (u16, Vec<u8>) {
    (EXTENDED_ERROR, [&[0, code], text.as_bytes()].concat())
}

fn assert_told(reply: &Reply, code: u8, text: &str, about: &str) {
    assert_eq!(reply.options(), [remark(code, text)], "{about}");
    let words = &reply.options()[0].1[2..];
    assert!(words.len() <= 64 && std::str::from_utf8(words).is_ok(), "{about}");
}

/// Waits until a name's address answer is remarked on so, and holds that all replies are.
async fn tells(server: &TestServer, below: &str, code: u8, text: &str) {
    let sent = asking(below, A, &[]);
    let ask = async || Dig::to(server.address).send(&sent, crate::support::PATIENCE).await.unwrap().options();
    eventually(ask, |options| *options == [remark(code, text)]).await;
    for reply in server.everywhere(&sent, if code == 14 { Outcome::ServFail } else { Outcome::Answered }).await {
        assert_told(&reply, code, text, below);
    }
}

/// An answer that is what its name says needs no remark.
async fn tells_nothing(server: &TestServer, below: &str) {
    for reply in server.everywhere(&asking(below, A, &[]), Outcome::Answered).await {
        assert_eq!(reply.opt(), Some(our_opt(0, &[])), "{below}");
    }
}

#[tokio::test]
async fn answers_of_another_level_old_answers_and_missing_ones_say_so() {
    let cluster = cluster(&["dc1/rack1 127.21.5.1", "dc1/rack2 127.21.5.2"]).await;
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        zone.cluster.datacenters.insert("dc9".into(), vec!["r9".into()]);
    });
    let server = TestServer::start(TestServer::in_both_families(TestServer::config(&zone))).await;
    server.answers("", &["127.21.5.1", "127.21.5.2"]).await;
    server.answers("dc1.rack1", &["127.21.5.1"]).await;
    for below in ["", "dc1", "dc1.rack1", "rack2.dc1", "n-127-21-5-1"] {
        tells_nothing(&server, below).await;
    }
    // Nothing was ever known there.
    tells(&server, "dc9", 14, "dc9: no node known yet").await;
    tells(&server, "dc9.r9", 14, "dc9/r9: no node known yet").await;
    for reply in server.everywhere(&asking("_alternator._tcp.dc9", 33, &[]), Outcome::ServFail).await {
        assert_told(&reply, 14, "dc9: no node known yet", "services");
    }
    for reply in server.everywhere(&asking("dc9", A, &[]), Outcome::ServFail).await {
        assert_eq!((reply.rcode_number(), reply.counts()), (2, [1, 0, 0, 1]));
    }
    // A rack without a node falls back to its datacenter.
    cluster.stop("127.21.5.1".parse().unwrap()).await.unwrap();
    server.answers("dc1.rack1", &["127.21.5.2"]).await;
    tells(&server, "dc1.rack1", 0, "dc1/rack1: level 2 of 2 (dc1)").await;
    for below in ["", "dc1", "dc1.rack2"] {
        tells_nothing(&server, below).await;
    }
    for reply in server.everywhere(&asking("_alternator._tcp.dc1.rack1", 33, &[]), Outcome::Answered).await {
        assert_told(&reply, 0, "dc1/rack1: level 2 of 2 (dc1)", "services");
    }
    // Without OPT, nothing of it.
    for reply in server.both_of("dc1.rack1", RecordType::A, Outcome::Answered).await {
        assert_eq!(reply.counts(), [1, 1, 0, 0]);
    }
    // Names that do not depend on nodes have no remark.
    for (below, qtype, outcome) in
        [("", 6, Outcome::Answered), ("dc1.rack1", 28, Outcome::NoData), ("nope", A, Outcome::NxDomain)]
    {
        for reply in server.everywhere(&asking(below, qtype, &[]), outcome).await {
            assert_eq!(reply.options(), [], "{below} {qtype}");
        }
    }
    // Everything gone: what served last is answered.
    cluster.stop("127.21.5.2".parse().unwrap()).await.unwrap();
    tells(&server, "dc1", 3, "dc1: last known, level 1 of 1 (dc1)").await;
    tells(&server, "dc1.rack2", 3, "dc1/rack2: last known, level 1 of 2 (dc1/rack2)").await;
    tells(&server, "", 3, "cluster: last known, level 1 of 1 (cluster)").await;
    // And back.
    cluster.start_node("127.21.5.2".parse().unwrap()).await.unwrap();
    eventually(async || server.dig("dc1", RecordType::A).edns(1232).ask().await.options(), Vec::is_empty).await;
}

#[tokio::test]
async fn nodes_of_an_earlier_run_are_called_remembered() {
    let state = tempfile::tempdir().unwrap();
    let nodes = [1, 2].map(|node| IpAddr::from([127, 21, 6, node]));
    let mut zone = remembering(ZONE, state.path(), nodes);
    // Nobody finds out that they are gone.
    zone.health.enabled = false;
    let mut config = TestServer::config(&zone);
    config.server.state_dir = Some(state.path().to_owned());
    let server = TestServer::start(TestServer::in_both_families(config)).await;
    tells(&server, "", 3, "cluster: remembered, level 1 of 1 (cluster)").await;
    tells(&server, "dc1", 3, "dc1: remembered, level 1 of 1 (dc1)").await;
    tells(&server, "rack1.dc1", 3, "dc1/rack1: remembered, level 1 of 2 (dc1/rack1)").await;
}

#[tokio::test]
async fn what_is_refused_or_not_implemented_says_why() {
    let server = served(|_| {}).await;
    let plain = opt(1232, 0, 0, &[]);
    let asked = question(&TestServer::name("www"), A);
    let chaos = [&asked[..asked.len() - 2], &[0, 3]].concat();
    for (about, sent, outcome, rcode, code, text) in [
        ("outside", query(&question("example.com", A), &[&plain]), Outcome::Refused, 5, 20, "no zone of this server"),
        ("the root", query(&question("", 2), &[&plain]), Outcome::Refused, 5, 20, "no zone of this server"),
        ("ANY outside", query(&question("local", 255), &[&plain]), Outcome::Refused, 5, 20, "no zone of this server"),
        ("AXFR", asking("", 252, &[]), Outcome::Refused, 5, 21, ""),
        ("IXFR", asking("", 251, &[]), Outcome::Refused, 5, 21, ""),
        ("class CH", query(&chaos, &[&plain]), Outcome::Refused, 5, 21, ""),
        ("TKEY", asking("", 249, &[]), Outcome::NotImp, 4, 21, ""),
        ("MAILB", asking("www", 253, &[]), Outcome::NotImp, 4, 21, ""),
        ("NOTIFY", packet(4 << 11, [1, 0, 0, 1], &[&asked, &plain]), Outcome::NotImp, 4, 21, ""),
        ("UPDATE", packet(5 << 11, [1, 0, 0, 1], &[&asked, &plain]), Outcome::NotImp, 4, 21, ""),
        ("DSO", packet(6 << 11, [0, 0, 0, 1], &[&plain]), Outcome::NotImp, 4, 21, ""),
    ] {
        for reply in server.everywhere(&sent, outcome).await {
            assert_eq!((reply.rcode_number(), reply.is_authoritative()), (rcode, false), "{about}");
            assert_told(&reply, code, text, about);
        }
    }
    // What is malformed, or of another version, speaks for itself.
    let two = packet(0, [2, 0, 0, 1], &[&asked, &asked, &plain]);
    for (sent, outcome) in [
        (two, Outcome::FormErr),
        (asking("www", 41, &[]), Outcome::FormErr),
        (query(&asked, &[&opt(1232, 1, 0, &[])]), Outcome::BadVers),
    ] {
        for reply in server.everywhere(&sent, outcome).await {
            assert_eq!(reply.options(), []);
        }
    }
}

#[tokio::test]
async fn who_may_not_ask_is_told_that_it_is_about_its_address() {
    let deny = ["127.21.7.0/24"].map(|prefix| prefix.parse().unwrap());
    let server = TestServer::of_file("$TTL 60\nwww A 10.0.0.1\n", |config| {
        config.zones[0].access = Access::new(&[], &deny, Denied::Refuse).unwrap();
    })
    .await;
    for by in [Dig::to(server.address).from("127.21.7.9"), Dig::to(server.address).from("127.21.7.9").tcp()] {
        let reply = server.counted(&by, &www(&[]), Outcome::Denied).await;
        assert_eq!(reply.rcode_number(), 5);
        assert_told(&reply, 18, "not for your address", "denied");
        // Where the zone is not the reason, something else is.
        let outside = query(&question("example.com", A), &[&opt(1232, 0, 0, &[])]);
        let reply = server.counted(&by, &outside, Outcome::Refused).await;
        assert_told(&reply, 20, "no zone of this server", "outside");
    }
}

const SECRET: CookieSecret = [7; 16];

/// What a reply of this many addresses, without options, is long; and the sizes its remark needs with and without text.
struct Sizes {
    query: u16,
    bare: u16,
    coded: u16,
    whole: u16,
}

/// A zone whose answers are `records` remembered addresses, and a remark that says so.
async fn short_of_room(net: u8, records: u16) -> (tempfile::TempDir, TestServer, Sizes) {
    let state = tempfile::tempdir().unwrap();
    let nodes: Vec<IpAddr> = (1..=100).map(|node| IpAddr::from([127, 21, net, node])).collect();
    let mut zone = remembering(ZONE, state.path(), nodes);
    zone.answers = Answers::Count(records.try_into().unwrap());
    zone.health.enabled = false;
    let mut config = TestServer::config(&zone);
    config.server.state_dir = Some(state.path().to_owned());
    config.server.cookies.secrets = vec![SECRET];
    config.server.identity = Some("ns1".to_owned());
    let server = TestServer::start(config).await;
    let question = question(ZONE, A).len() as u16;
    let bare = 12 + question + 16 * records + 11;
    let text = "cluster: remembered, level 1 of 1 (cluster)".len() as u16;
    (state, server, Sizes { query: 12 + question + 11, bare, coded: bare + 6, whole: bare + 6 + text })
}

async fn sized(server: &TestServer, size: u16, options: &[Vec<u8>], outcome: Outcome) -> Reply {
    let sent = query(&question(ZONE, A), &[&opt(size, 0, 0, &options.concat())]);
    let reply = server.counted(&Dig::to(server.address), &sent, outcome).await;
    assert!(reply.bytes.len() <= usize::from(size.max(512)), "{} octets of {size}", reply.bytes.len());
    reply
}

fn remark_len(reply: &Reply) -> Option<usize> {
    reply.options().iter().find(|(code, _)| *code == EXTENDED_ERROR).map(|(_, data)| data.len())
}

/// A cookie of ours: a reply to who brings one may be as long as it takes.
async fn cookie(server: &TestServer) -> Vec<u8> {
    let sent = asking("", 6, &[option(COOKIE, b"a client")]);
    let options = server.counted(&Dig::to(server.address), &sent, Outcome::Answered).await.options();
    option(COOKIE, &options[0].1)
}

#[tokio::test]
async fn the_text_goes_first_then_the_remark_and_only_then_the_addresses() {
    let (_state, server, Sizes { bare, coded, whole, .. }) = short_of_room(8, 50).await;
    let cookie = cookie(&server).await;
    let len = 28;
    let text = usize::from(whole - coded) + 2;
    for (size, outcome, remark) in [
        (bare - 1, Outcome::Truncated, None),
        (bare, Outcome::Answered, None),
        (coded - 1, Outcome::Answered, None),
        (coded, Outcome::Answered, Some(2)),
        (whole - 1, Outcome::Answered, Some(2)),
        (whole, Outcome::Answered, Some(text)),
        (whole + 1, Outcome::Answered, Some(text)),
    ] {
        let reply = sized(&server, size + len, std::slice::from_ref(&cookie), outcome).await;
        assert_eq!(remark_len(&reply), remark, "{size}");
        assert_eq!(reply.answers().len(), if outcome == Outcome::Answered { 50 } else { 0 }, "{size}");
        assert_eq!(reply.options()[0].0, COOKIE, "{size}: what was asked for stays");
    }
    // Over TCP there is room for everything.
    let sent = query(&question(ZONE, A), &[&opt(512, 0, 0, &[])]);
    let tcp = server.counted(&Dig::to(server.address).tcp(), &sent, Outcome::Answered).await;
    assert_eq!(remark_len(&tcp), Some(text));
}

/// What nobody asked for does not make a reply long that may go to a forged address.
#[tokio::test]
async fn without_a_cookie_no_remark_makes_a_reply_five_times_as_long_as_its_query() {
    let mut seen = Vec::new();
    for (net, records) in [(9, 1), (10, 5), (11, 7), (12, 10), (13, 20)] {
        let (_state, server, Sizes { query, bare, coded, whole }) = short_of_room(net, records).await;
        let expected = match 5 * query {
            limit if whole <= limit => Some(usize::from(whole - coded) + 2),
            limit if coded <= limit => Some(2),
            _ => None,
        };
        let reply = sized(&server, 1232, &[], Outcome::Answered).await;
        assert_eq!((remark_len(&reply), reply.answers().len()), (expected, usize::from(records)), "{records}");
        assert!(reply.bytes.len() <= usize::from((5 * query).max(bare)));
        let options = [cookie(&server).await];
        let known = sized(&server, 1232, &options, Outcome::Answered).await;
        assert_eq!(remark_len(&known), Some(usize::from(whole - coded) + 2), "with a cookie: {records}");
        seen.push(expected.map(|len| len > 2));
    }
    for kind in [Some(true), Some(false), None] {
        assert!(seen.contains(&kind), "each case is there: {seen:?}");
    }
}

/// Options that were asked for have their room before addresses have theirs.
#[tokio::test]
async fn what_was_asked_for_is_told_even_where_the_addresses_do_not_fit() {
    let (_state, server, Sizes { bare, .. }) = short_of_room(14, 50).await;
    let address: SocketAddr = server.address;
    for (size, outcome) in [(bare + 6, Outcome::Truncated), (bare + 7, Outcome::Answered)] {
        let reply = sized(&server, size, &[option(NSID, &[])], outcome).await;
        assert_eq!(reply.options(), [(NSID, b"ns1".to_vec())], "{size} at {address}");
    }
}
