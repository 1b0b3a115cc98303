//! Who may ask: per listener, per zone, REFUSED or silence; and packets that nobody can have sent.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use alternator_dns::{
    config::{Config, ListenerAccess, ZoneConfig},
    model::{Access, Denied},
    server::{Closed, Outcome},
    sim::ClusterSpec,
};
use hickory_proto::rr::{Name, RecordType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{
    Dig, PATIENCE, Reply, TestServer, eventually, framed, free_port, ip,
    packet::{Opt, name, opt, option, packet, query, question, question_of},
    read_frame, set,
};

const A: u16 = 1;
const ANY: u16 = 255;
const AXFR: u16 = 252;
const EXTENDED_ERROR: u16 = 15;

/// Askers: some of a network, one of it that is special, and the rest.
const INSIDE: &str = "127.21.40.1";
const SPECIAL: &str = "127.21.40.7";
const OUTSIDE: &str = "127.21.41.1";

fn access(allow: &[&str], deny: &[&str], denied: Denied) -> Access {
    let [allow, deny] = [allow, deny].map(|list| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
    Access::new(&allow, &deny, denied).unwrap()
}

/// A zone whose `www` has this address.
fn zone(folder: &tempfile::TempDir, apex: &str, records: &str) -> ZoneConfig {
    let file = folder.path().join(apex);
    std::fs::write(&file, format!("$TTL 60\n{records}")).unwrap();
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{apex}.")).unwrap());
    zone.file = Some(file);
    zone
}

/// A server of these zones and listener rules.
async fn serving(zones: Vec<ZoneConfig>, listen: &[SocketAddr], rules: Vec<ListenerAccess>) -> TestServer {
    let mut config: Config = TestServer::config(&zones[0]);
    config.zones = zones;
    config.server.access = rules;
    if !listen.is_empty() {
        config.server.listen = listen.to_vec();
    }
    TestServer::start(config).await
}

/// A server of `open.test` that these rules are for, wherever it listens.
async fn behind(rule: Access) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let rules = vec![ListenerAccess { listeners: Vec::new(), access: rule }];
    serving(vec![zone(&folder, "open.test", "www A 10.0.0.1\n")], &[], rules).await
}

fn asking(text: &str, qtype: u16) -> Vec<u8> {
    query(&question(text, qtype), &[&opt(1232, 0, 0, &[])])
}

/// Somebody who asks over UDP, and over TCP.
fn both(server: SocketAddr, from: &str) -> [Dig; 2] {
    [Dig::to(server).from(from), Dig::to(server).from(from).tcp()]
}

async fn assert_answered(server: &TestServer, to: SocketAddr, from: &str, text: &str) {
    for by in both(to, from) {
        let reply = server.counted(&by, &asking(text, A), Outcome::Answered).await;
        assert_eq!(reply.set(), set(&["10.0.0.1"]), "{from} {text}");
    }
}

/// REFUSED, the question and nothing else; with an OPT, the reason.
fn assert_denied(reply: &Reply, sent: &[u8], about: &str) {
    assert_eq!(reply.rcode_number(), 5, "{about}");
    assert_eq!(reply.flags(), 0x8005 | u16::from_be_bytes([sent[2], sent[3]]) & 0x7910, "{about}");
    assert_eq!(reply.counts()[1..3], [0, 0], "{about}");
    let text = [&[0, 18][..], b"not for your address"].concat();
    let told = Opt { size: 1232, extended_rcode: 0, version: 0, flags: 0, options: vec![(EXTENDED_ERROR, text)] };
    assert!(reply.opt().is_none_or(|opt| opt == told), "{about}: {:?}", reply.opt());
    assert_eq!(reply.opt().is_some(), sent[11] > 0, "{about}: an OPT for an OPT");
}

async fn assert_refused(server: &TestServer, to: SocketAddr, from: &str, text: &str) {
    for by in both(to, from) {
        let sent = asking(text, A);
        let reply = server.counted(&by, &sent, Outcome::Denied).await;
        assert_denied(&reply, &sent, &format!("{from} {text}"));
        assert_eq!(reply.bytes[12..12 + question(text, A).len()], question(text, A));
    }
}

/// Over UDP: counted as this outcome, and not a single octet comes back. `allowed` may ask: a reply to it comes after any
/// reply to what came before.
async fn assert_silence(
    server: &TestServer,
    to: SocketAddr,
    from: SocketAddr,
    sent: &[u8],
    outcome: Outcome,
    allowed: &Dig,
) {
    let udp = UdpSocket::bind(from).unwrap();
    let before = server.count(outcome);
    udp.send_to(sent, to).unwrap();
    eventually(|| std::future::ready(server.count(outcome)), |count| *count == before + 1).await;
    allowed.ask().await;
    udp.set_nonblocking(true).unwrap();
    let nothing = udp.recv(&mut [0; 512]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(ErrorKind::WouldBlock), "{from}");
}

async fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(from).unwrap();
    socket.connect(to).await
}

/// Not a single octet comes before the connection is closed.
async fn assert_closed(mut tcp: TcpStream) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.expect("the server closes");
    // A reset is a close too, where octets were left unread.
    assert!(read.is_err() || rest.is_empty(), "{rest:02x?}");
}

/// Over TCP: each message is counted as this outcome, none has a reply, and the connection goes on.
async fn assert_tcp_silence(server: &TestServer, to: SocketAddr, from: SocketAddr, sent: &[u8], outcome: Outcome) {
    let before = server.count(outcome);
    let mut tcp = connect(from, to).await.unwrap();
    tcp.write_all(&framed(sent).repeat(3)).await.unwrap();
    eventually(|| std::future::ready(server.count(outcome)), |count| *count == before + 3).await;
    tcp.shutdown().await.unwrap();
    assert_closed(tcp).await;
    assert_eq!(server.count(outcome), before + 3);
}

fn any_port(from: &str) -> SocketAddr {
    SocketAddr::new(ip(from), 0)
}

#[tokio::test]
async fn the_longest_prefix_decides() {
    let inner = format!("{SPECIAL}/32");
    let server = behind(access(&["127.0.0.0/8", &inner], &["127.21.40.0/24"], Denied::Refuse)).await;
    for (from, is_allowed) in [("127.0.0.1", true), (OUTSIDE, true), (SPECIAL, true), (INSIDE, false)] {
        match is_allowed {
            true => assert_answered(&server, server.address, from, "www.open.test").await,
            false => assert_refused(&server, server.address, from, "www.open.test").await,
        }
    }
    // The other way round: who is on no list is not among those who are allowed.
    let server = behind(access(&["127.21.40.0/24"], &[&inner], Denied::Refuse)).await;
    for (from, is_allowed) in [("127.0.0.1", false), (OUTSIDE, false), (SPECIAL, false), (INSIDE, true)] {
        match is_allowed {
            true => assert_answered(&server, server.address, from, "www.open.test").await,
            false => assert_refused(&server, server.address, from, "www.open.test").await,
        }
    }
}

#[tokio::test]
async fn each_listener_has_its_own_rules() {
    let folder = tempfile::tempdir().unwrap();
    let at = |address: &str| SocketAddr::new(ip(address), free_port(ip(address)));
    let mut listen = vec![at("127.21.42.1"), at("127.21.42.2"), at("127.21.42.3")];
    let rule = |listeners: &[SocketAddr], access| ListenerAccess { listeners: listeners.to_vec(), access };
    let mut rules = vec![
        rule(&listen[..1], access(&["127.21.40.0/24"], &[], Denied::Refuse)),
        rule(&[], access(&[], &["127.21.40.0/24"], Denied::Refuse)),
    ];
    if ClusterSpec::has_ipv6() {
        listen.push(at("::1"));
        listen.push(at("::1"));
        rules.push(rule(&listen[4..], access(&[], &["::/64"], Denied::Refuse)));
    }
    let server = serving(vec![zone(&folder, "open.test", "www A 10.0.0.1\n")], &listen, rules).await;
    assert_eq!(server.app.addresses(), listen);
    let text = "www.open.test";
    assert_answered(&server, listen[0], INSIDE, text).await;
    assert_refused(&server, listen[0], OUTSIDE, text).await;
    for others in &listen[1..3] {
        assert_refused(&server, *others, INSIDE, text).await;
        assert_answered(&server, *others, OUTSIDE, text).await;
    }
    if let [_, _, _, open, closed] = listen[..] {
        assert_answered(&server, open, "::1", text).await;
        assert_refused(&server, closed, "::1", text).await;
    }
}

#[tokio::test]
async fn who_may_not_ask_a_listener_is_refused_whatever_it_sends() {
    let server = behind(access(&[], &["127.21.40.0/24"], Denied::Refuse)).await;
    let (asked, plain) = (question("www.open.test", A), opt(1232, 0, 0, &[]));
    let with = |options: &[u8]| query(&asked, &[&opt(1232, 0, 0, options)]);
    for (about, sent) in [
        ("a name without EDNS", query(&asked, &[])),
        ("a missing name", asking("nope.open.test", A)),
        ("outside", asking("example.com", A)),
        ("ANY", asking("open.test", ANY)),
        ("a transfer", asking("open.test", AXFR)),
        ("class CH", query(&question_of(&name("id.server"), 16, 3), &[&plain])),
        ("another opcode", packet(4 << 11, [1, 0, 0, 1], &[&asked, &plain])),
        ("two questions", packet(0, [2, 0, 0, 1], &[&asked, &asked, &plain])),
        ("another version", query(&asked, &[&opt(1232, 1, 0, &[])])),
        ("no question", packet(0, [0, 0, 0, 1], &[&plain])),
        ("an option that is malformed", with(&option(10, &[1; 7]))),
        ("a zone's version", with(&option(19, &[]))),
    ] {
        for by in both(server.address, INSIDE) {
            assert_denied(&server.counted(&by, &sent, Outcome::Denied).await, &sent, about);
        }
    }
    // A cookie is told: it proves an address, and gives nothing.
    for by in both(server.address, INSIDE) {
        let reply = server.counted(&by, &with(&option(10, b"a client")), Outcome::Denied).await;
        assert_eq!((reply.rcode_number(), reply.options()[0].0, reply.counts()[1..3].to_vec()), (5, 10, vec![0, 0]));
    }
    // What gets no reply from anybody gets none here, and is not called denied.
    let response = packet(0x8000, [1, 0, 0, 0], &[&asked]);
    let allowed = Dig::new(server.address, "www.open.test", RecordType::A);
    assert_silence(&server, server.address, any_port(INSIDE), &response, Outcome::Dropped, &allowed).await;
    assert_tcp_silence(&server, server.address, any_port(INSIDE), &response, Outcome::Dropped).await;
}

#[tokio::test]
async fn silence_is_not_a_single_octet() {
    let server = behind(access(&[], &["127.21.40.0/24"], Denied::Drop)).await;
    let allowed = Dig::new(server.address, "www.open.test", RecordType::A);
    let plain = opt(1232, 0, 0, &[]);
    for sent in [
        asking("www.open.test", A),
        asking("nope.open.test", A),
        asking("example.com", A),
        asking("open.test", ANY),
        packet(15 << 11, [0; 4], &[]),
        packet(0, [2, 0, 0, 0], &[&[0xFF; 20]]),
        packet(0, [0, 0, 0, 1], &[&opt(1232, 0, 0, &option(10, b"a client"))]),
        query(&question("www.open.test", A), &[&opt(1232, 1, 0, &[]), &plain]),
    ] {
        assert_silence(&server, server.address, any_port(INSIDE), &sent, Outcome::Denied, &allowed).await;
    }
    // A connection is closed before anything of it is read.
    for closed in 1..=3 {
        let total = server.app.counters().total();
        // It may be closed already.
        if let Ok(mut tcp) = connect(any_port(INSIDE), server.address).await {
            let _ = tcp.write_all(&framed(&asking("www.open.test", A))).await;
            assert_closed(tcp).await;
        }
        eventually(|| std::future::ready(server.app.counters().tcp(Closed::Denied)), |count| *count == closed).await;
        assert_eq!(server.app.counters().total(), total, "no query was seen");
    }
    assert_answered(&server, server.address, OUTSIDE, "www.open.test").await;
}

/// Zones of one server: open to all, refusing some, silent to some, and one below a closed one.
async fn zones() -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let records = "www A 10.0.0.1\n";
    let closed = |apex: &str, denied| {
        let mut zone = zone(&folder, apex, records);
        zone.access = access(&[], &["127.21.40.0/24"], denied);
        zone
    };
    let alias = "www A 10.0.0.1\nin CNAME www.closed.test.\nout CNAME www.open.test.\nfar CNAME www.silent.test.\n";
    let zones = vec![
        zone(&folder, "open.test", alias),
        closed("closed.test", Denied::Refuse),
        zone(&folder, "below.closed.test", records),
        closed("silent.test", Denied::Drop),
        closed("below.open.test", Denied::Refuse),
    ];
    serving(zones, &[], Vec::new()).await
}

#[tokio::test]
async fn each_zone_has_its_own_rules_and_the_nearest_decides() {
    let server = zones().await;
    for text in ["open.test", "closed.test", "below.closed.test", "silent.test", "below.open.test"] {
        assert_answered(&server, server.address, OUTSIDE, &format!("www.{text}")).await;
    }
    for text in ["www.open.test", "www.below.closed.test"] {
        assert_answered(&server, server.address, INSIDE, text).await;
    }
    for text in ["www.closed.test", "nope.closed.test", "closed.test", "www.below.open.test", "WWW.Closed.TEST"] {
        assert_refused(&server, server.address, INSIDE, text).await;
    }
    for qtype in [ANY, AXFR, 6, 2, 249, 65280] {
        for by in both(server.address, INSIDE) {
            let sent = asking("www.closed.test", qtype);
            assert_denied(&server.counted(&by, &sent, Outcome::Denied).await, &sent, &format!("TYPE{qtype}"));
        }
    }
    let allowed = Dig::new(server.address, "www.open.test", RecordType::A);
    for (text, qtype) in [("www.silent.test", A), ("nope.silent.test", A), ("silent.test", ANY), ("silent.test", AXFR)]
    {
        let sent = asking(text, qtype);
        assert_silence(&server, server.address, any_port(INSIDE), &sent, Outcome::Denied, &allowed).await;
        assert_tcp_silence(&server, server.address, any_port(INSIDE), &sent, Outcome::Denied).await;
    }
    // What is of no zone is no zone's business.
    for by in both(server.address, INSIDE) {
        server.counted(&by, &asking("example.com", A), Outcome::Refused).await;
        server.counted(&by, &asking("www.open.test", 28), Outcome::NoData).await;
    }
}

/// An alias is the zone's own; where it leads to is the other zone's, which has its own opinion of who asks.
#[tokio::test]
async fn an_alias_leads_nobody_into_a_zone_that_is_closed_to_it() {
    let server = zones().await;
    for by in both(server.address, OUTSIDE) {
        for text in ["in.open.test", "out.open.test", "far.open.test"] {
            let reply = server.counted(&by, &asking(text, A), Outcome::Answered).await;
            assert_eq!((reply.answers().len(), reply.set()), (2, set(&["10.0.0.1"])), "{text}");
        }
    }
    for by in both(server.address, INSIDE) {
        for (text, records) in [("out.open.test", 2), ("in.open.test", 1), ("far.open.test", 1)] {
            let reply = server.counted(&by, &asking(text, A), Outcome::Answered).await;
            assert_eq!(reply.rcode_number(), 0, "{text}");
            assert_eq!(reply.answers().len(), records, "{text}: {:?}", reply.answers());
            assert_eq!(reply.answers()[0].record_type(), RecordType::CNAME, "{text}");
            assert_eq!(reply.counts()[2], 0, "{text}: nothing of the other zone");
        }
    }
}

/// Whatever is asked, with whichever options: nothing of a closed zone is in any reply to who may not ask for it.
#[tokio::test]
async fn no_query_gets_anything_of_a_closed_zone() {
    let folder = tempfile::tempdir().unwrap();
    let records = "www A 10.99.88.77\ntext TXT secret\nin CNAME www\n*.wild A 10.99.88.77\n_x._tcp SRV 0 0 1 www\n";
    let mut closed = zone(&folder, "closed.test", records);
    closed.access = access(&[], &["127.21.40.0/24"], Denied::Refuse);
    let aliases = "a CNAME www.closed.test.\nb CNAME a\nc CNAME in.closed.test.\nd CNAME nope.closed.test.\n\
                   e CNAME closed.test.\nf CNAME text.closed.test.\n*.g CNAME x.wild.closed.test.\n";
    let server = serving(vec![zone(&folder, "open.test", aliases), closed], &[], Vec::new()).await;
    let soa = Dig::new(server.address, "closed.test", RecordType::SOA).ask().await.bytes;
    let serial = &soa[soa.len() - 20..soa.len() - 16];

    let below = ["", "www.", "text.", "in.", "x.wild.", "nope.", "_x._tcp.", "a.b.c.", "_explain.", "ns1."];
    let aliases = ["a", "b", "c", "d", "e", "f", "x.g"];
    let names = below.map(|below| format!("{below}closed.test"));
    let names: Vec<String> = names.into_iter().chain(aliases.map(|alias| format!("{alias}.open.test"))).collect();
    let options = [vec![], option(19, &[]), option(10, b"a client"), [option(19, &[]), option(3, &[])].concat()];
    let mut seen = 0;
    for text in &names {
        for qtype in [1, 2, 5, 6, 16, 28, 33, 41, 250, 252, 255, 65280] {
            for qclass in [1, 3, 255] {
                let asked = question_of(&name(text), qtype, qclass);
                let sent = options.iter().map(|options| query(&asked, &[&opt(1232, 0, 0, options)]));
                for sent in sent.chain([query(&asked, &[])]) {
                    for by in both(server.address, INSIDE) {
                        let reply = by.exchange(&sent, PATIENCE).await.expect("a reply");
                        let behind = &reply[12 + asked.len()..];
                        assert_eq!(reply[8..10], [0, 0], "{text} {qtype} {qclass}: no SOA");
                        // Both zones may have the same serial.
                        let version = if text.ends_with("open.test") { &b"secret"[..] } else { serial };
                        for secret in [&[10, 99, 88, 77][..], b"secret", version] {
                            let is_told = behind.windows(secret.len()).any(|octets| octets == secret);
                            assert!(!is_told, "{text} {qtype} {qclass}: {secret:02x?} in {reply:02x?}");
                        }
                    }
                    let told = Dig::to(server.address).from(OUTSIDE).exchange(&sent, PATIENCE).await.expect("a reply");
                    seen += usize::from(told.windows(4).any(|octets| octets == [10, 99, 88, 77]));
                }
            }
        }
    }
    assert!(seen > 40, "others are told: {seen}");
}

/// Two of our own listeners: nobody else can have sent what comes from their address and one of their ports.
#[tokio::test]
async fn packets_from_our_own_addresses_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let listen: Vec<SocketAddr> =
        ["127.21.43.1", "127.21.43.2"].map(|text| SocketAddr::new(ip(text), free_port(ip(text)))).into();
    assert_ne!(listen[0].port(), listen[1].port(), "two ports, so that each is free on the other address");
    let server = serving(vec![zone(&folder, "open.test", "www A 10.0.0.1\n")], &listen, Vec::new()).await;
    let allowed = Dig::new(listen[0], "www.open.test", RecordType::A);
    let ours = SocketAddr::new(listen[0].ip(), listen[1].port());
    for to in &listen {
        let sent = asking("www.open.test", A);
        assert_silence(&server, *to, ours, &sent, Outcome::Dropped, &allowed).await;
        assert_tcp_silence(&server, *to, ours, &sent, Outcome::Dropped).await;
    }
    // The same address with a port of a client, and the same port with another address, may be anybody.
    let client = SocketAddr::new(listen[0].ip(), 0);
    for from in [client, SocketAddr::new(ip(OUTSIDE), listen[1].port())] {
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.send_to(&asking("www.open.test", A), listen[0]).unwrap();
        let (len, _) = socket.recv_from(&mut [0; 512]).unwrap();
        assert!(len > 12, "{from}");
    }
}

/// Denied queries keep their place in a pipeline, and the connection its use.
#[tokio::test]
async fn a_connection_goes_on_after_a_refusal() {
    let server = zones().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(any_port(INSIDE)).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let parts = ["www.closed.test", "www.silent.test", "www.open.test", "nope.closed.test", "www.below.closed.test"];
    let all: Vec<u8> = parts.iter().flat_map(|text| framed(&asking(text, A))).collect();
    stream.write_all(&all).await.unwrap();
    for rcode in [5, 0, 5, 0] {
        let reply = timeout(PATIENCE, read_frame(&mut stream)).await.unwrap().expect("a reply");
        assert_eq!(reply[3] & 15, rcode);
    }
    assert_eq!((server.count(Outcome::Denied), server.count(Outcome::Answered)), (3, 2));
}
