//! 009, 019, 058: packets made by hand, over UDP and TCP, IPv4 and IPv6, and a good one after each.

use alternator_dns::server::Outcome;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{A, assert_answers, plain, serving};
use crate::support::{
    Dig, PATIENCE, TestServer, ZONE, framed,
    packet::{ID, name, opt, option, packet, query, question, question_of},
    read_frame,
};

const FILE: &str = "$TTL 60\nwww A 10.0.0.1\n";

/// A packet, and what becomes of it: an outcome and, in the reply, the return code and whether question and OPT are there.
struct Bad {
    about: &'static str,
    sent: Vec<u8>,
    outcome: Outcome,
    rcode: u16,
    has_question: bool,
    has_opt: bool,
}

fn bad(about: &'static str, sent: Vec<u8>, (outcome, rcode): (Outcome, u16), shape: &str) -> Bad {
    Bad { about, sent, outcome, rcode, has_question: shape.contains('q'), has_opt: shape.contains('o') }
}

const FORMERR: (Outcome, u16) = (Outcome::FormErr, 1);
const NOTIMP: (Outcome, u16) = (Outcome::NotImp, 4);
const REFUSED: (Outcome, u16) = (Outcome::Refused, 5);
const BADVERS: (Outcome, u16) = (Outcome::BadVers, 16);
const ANSWERED: (Outcome, u16) = (Outcome::Answered, 0);

fn packets() -> Vec<Bad> {
    let www = question("www.alternator.local", A);
    let of = |name: &[u8]| query(&question_of(name, A, 1), &[]);
    let class = |qclass: u16| query(&question_of(&name("www.alternator.local"), A, qclass), &[]);
    let edns = opt(1232, 0, 0, &[]);
    let with = |additional: &[u8]| query(&www, &[additional]);
    let labels =
        |len: usize, count: usize| [[&[len as u8][..], &vec![b'x'; len]].concat().repeat(count), vec![0]].concat();
    let whole = query(&www, &[]);
    let cut = |len: usize| whole[..whole.len() - len].to_vec();
    let cut_opt = |len: usize| with(&edns[..edns.len() - len]);
    // TSIG, class ANY, TTL 0: an algorithm, a time, five minutes, sixteen octets, an id, no error, nothing else.
    let data = [&name("hmac-sha256")[..], &[0; 6], &[1, 44], &[0, 16], &[7; 16], &ID, &[0; 4]].concat();
    let tsig = [&name("key")[..], &[0, 250, 0, 255, 0, 0, 0, 0, 0, data.len() as u8], &data].concat();
    let dso = |body: &[u8]| packet(6 << 11, [0; 4], &[body]);
    vec![
        bad("a pointer at the end of the name", of(b"\x03ggg\xC0\x0C"), FORMERR, ""),
        bad("a pointer into the header", of(b"\x03ggg\xC0\x01"), FORMERR, ""),
        bad("a pointer to itself", of(b"\xC0\x0C"), FORMERR, ""),
        bad("a pointer beyond the end", of(b"\xFF\xFF"), FORMERR, ""),
        bad("a name of 257 octets", of(&labels(63, 4)), FORMERR, ""),
        bad("a name of 321 octets", of(&labels(63, 5)), FORMERR, ""),
        bad("a name without an end", of(&[63; 200]), FORMERR, ""),
        bad("a label of the kind 01", of(b"\x40\x00"), FORMERR, ""),
        bad("a label of the kind 10", of(b"\x80\x00"), FORMERR, ""),
        bad("a question without its last octet", cut(1), FORMERR, ""),
        bad("a question without a class", cut(2), FORMERR, ""),
        bad("a question cut in its type", cut(3), FORMERR, ""),
        bad("a question cut in its name", cut(7), FORMERR, ""),
        bad("a header alone that promises a question", whole[..12].to_vec(), FORMERR, ""),
        bad("an additional record of three octets", with(&[0, 0, 0]), FORMERR, "q"),
        bad("an OPT without its length", cut_opt(2), FORMERR, "q"),
        bad("an OPT cut in its length", cut_opt(1), FORMERR, "q"),
        bad("an OPT whose data is not there", with(&[&edns[..9], &[0, 1]].concat()), FORMERR, "q"),
        bad("options cut in a code", with(&opt(1232, 0, 0, &[0])), FORMERR, "qo"),
        bad("options cut in a length", with(&opt(1232, 0, 0, b"xxx")), FORMERR, "qo"),
        bad("an option longer than its record", with(&opt(1232, 0, 0, &[0x55, 0x55, 0, 2, 1])), FORMERR, "qo"),
        bad("two OPT", query(&www, &[&edns, &edns]), FORMERR, "qo"),
        bad("an OPT that is owned", with(&[&[1, b'x'][..], &edns].concat()), FORMERR, "q"),
        bad("no question and no OPT", packet(0, [0; 4], &[]), FORMERR, ""),
        bad("no question and an OPT", packet(0, [0, 0, 0, 1], &[&edns]), FORMERR, "o"),
        bad("two questions", packet(0, [2, 0, 0, 0], &[&www, &www]), FORMERR, ""),
        bad("a payload size of 1", with(&opt(1, 0, 0, &[])), ANSWERED, "qo"),
        bad("EDNS version 1", with(&opt(512, 1, 0, &[])), BADVERS, "qo"),
        bad("a signature that nobody here can check", query(&www, &[&edns, &tsig]), ANSWERED, "qo"),
        bad("class HS", class(4), REFUSED, "q"),
        bad("class NONE", class(254), REFUSED, "q"),
        bad("class ANY, which is IN here", class(255), ANSWERED, "q"),
        bad("IXFR", plain(ZONE, 251), REFUSED, "q"),
        bad("IQUERY", packet(1 << 11, [1, 0, 0, 0], &[&www]), NOTIMP, "q"),
        bad("a stateful operation, keepalive", dso(&[0, 1, 0, 8, 0, 0, 0x3A, 0x98, 0, 0, 0x3A, 0x98]), NOTIMP, ""),
        bad("a stateful operation, retry delay", dso(&[0, 2, 0, 4, 0, 0, 0, 0]), NOTIMP, ""),
        bad("a stateful operation, padding cut off", dso(&[0, 3, 0, 9, 0]), NOTIMP, ""),
        bad("a stateful operation without any", dso(&[]), NOTIMP, ""),
    ]
}

#[tokio::test]
async fn t019_bad_every_packet_made_by_hand_gets_its_reply_and_spoils_nothing() {
    let server = serving(FILE).await;
    let packets = packets();
    assert!(packets.len() >= 34);
    for Bad { about, sent, outcome, rcode, has_question, has_opt } in packets {
        for reply in server.everywhere(&sent, outcome).await {
            assert_eq!(reply.rcode_number(), rcode, "{about}: {:02x?}", reply.bytes);
            let answers = u16::from(outcome == Outcome::Answered);
            assert_eq!(reply.counts(), [u16::from(has_question), answers, 0, u16::from(has_opt)], "{about}");
            let told = reply.opt().map(|opt| opt.size);
            assert_eq!(told, has_opt.then_some(1232), "{about}");
        }
        assert_answers(&server).await;
    }
}

/// What gets no reply, one by one over UDP, and all of it on one connection.
#[tokio::test]
async fn t009_broken_responses_and_stubs_are_met_with_silence() {
    let server = serving(FILE).await;
    let www = question("www.alternator.local", A);
    let silent: Vec<Vec<u8>> = vec![
        packet(0x8000, [1, 0, 0, 0], &[&www]),
        packet(0x8500, [1, 1, 0, 0], &[&www, &[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]]),
        packet(0x8000, [0xFFFF; 4], &[&[0xFF; 90]]),
        packet(0xB000, [0; 4], &[]),
        ID.to_vec(),
        [&ID[..], &[0; 9]].concat(),
    ];
    for address in server.app.addresses() {
        let before = server.count(Outcome::Dropped);
        let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = tokio::net::UdpSocket::bind(any).await.unwrap();
        socket.connect(address).await.unwrap();
        let mut good = plain("www.alternator.local", A);
        good[..2].copy_from_slice(&[1, 2]);
        for packet in silent.iter().chain([&good]) {
            socket.send(packet).await.unwrap();
        }
        let mut buffer = [0; 512];
        timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("the good one is answered").unwrap();
        assert_eq!(buffer[..2], [1, 2], "and nothing before it");
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A length that no message has would end the connection.
        let whole = || silent.iter().filter(|packet| packet.len() >= 12);
        let all: Vec<u8> = whole().chain([&good]).flat_map(|packet| framed(packet)).collect();
        stream.write_all(&all).await.unwrap();
        let reply = timeout(PATIENCE, read_frame(&mut stream)).await.expect("in time").expect("a reply");
        assert_eq!(reply[..2], [1, 2]);
        assert_eq!(server.count(Outcome::Dropped), before + (silent.len() + whole().count()) as u64);
    }
}

/// Six queries in one segment, the fourth of them broken: five answers and a FORMERR, in their order.
#[tokio::test]
async fn t019_bad_queries_keep_their_place_in_a_pipeline() {
    let server = serving(FILE).await;
    for address in server.app.addresses() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let query = |number: u8| {
            let mut packet = match number {
                3 => query(&question_of(b"\xC0\x0C", A, 1), &[]),
                _ => plain("www.alternator.local", A),
            };
            packet[..2].copy_from_slice(&[7, number]);
            framed(&packet)
        };
        stream.write_all(&(0..6).flat_map(query).collect::<Vec<u8>>()).await.unwrap();
        for number in 0..6 {
            let reply = timeout(PATIENCE, read_frame(&mut stream)).await.expect("in time").expect("a reply");
            assert_eq!((reply[..2].to_vec(), reply[3] & 15), (vec![7, number], u8::from(number == 3)));
        }
    }
}

/// RFC 8490 section 5.1: a server without stateful operations says NOTIMP, and the connection goes on as a plain one.
#[tokio::test]
async fn t058_dso_is_not_implemented_and_the_connection_goes_on() {
    let server = serving(FILE).await;
    for address in server.app.addresses() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let keepalive = packet(6 << 11, [0; 4], &[&[0, 1, 0, 8, 0, 0, 0x3A, 0x98, 0, 0, 0x3A, 0x98]]);
        let one_way = [&[0, 0][..], &keepalive[2..]].concat();
        for sent in [&keepalive, &one_way] {
            stream.write_all(&framed(sent)).await.unwrap();
            let reply = timeout(PATIENCE, read_frame(&mut stream)).await.expect("in time").expect("a reply");
            assert_eq!(reply, [&sent[..2], &[0xB0, 4, 0, 0, 0, 0, 0, 0, 0, 0]].concat());
        }
        stream.write_all(&framed(&plain("www.alternator.local", A))).await.unwrap();
        assert!(timeout(PATIENCE, read_frame(&mut stream)).await.expect("in time").is_some());
    }
}

/// Cookie, keepalive, NSID and client subnet on one connection, with a question and without.
#[tokio::test]
async fn t050_cookies_go_with_every_other_option_over_tcp() {
    let server = TestServer::of_file(FILE, |config| config.server.identity = Some("ns1".to_owned())).await;
    let options =
        [option(10, b"a client"), option(11, &[]), option(3, &[]), option(8, &[0, 1, 24, 0, 192, 0, 2])].concat();
    let edns = opt(1232, 0, 0, &options);
    for address in server.app.addresses() {
        let by = Dig::to(*address).tcp();
        let asked = query(&question("www.alternator.local", A), &[&edns]);
        let with = server.counted(&by, &asked, Outcome::Answered).await;
        let without = server.counted(&by, &packet(0, [0, 0, 0, 1], &[&edns]), Outcome::NoData).await;
        for reply in [with, without] {
            let mut codes: Vec<u16> = reply.options().into_iter().map(|(code, _)| code).collect();
            codes.sort_unstable();
            assert_eq!((reply.rcode_number(), codes), (0, vec![3, 8, 10, 11]));
        }
    }
}
