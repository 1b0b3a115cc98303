//! DNS itself: headers, negatives, types, EDNS, sizes. Every reply is asked for over UDP and TCP, and counted.

use std::{collections::BTreeSet, net::IpAddr};

use alternator_dns::{config::Answers, server::Outcome, sim::Cluster};
use hickory_proto::{
    op::ResponseCode,
    rr::rdata::opt::{EdnsCode, EdnsOption},
    rr::{DNSClass, Name, RData, RecordType},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    Dig, Reply, TestServer, ZONE, cluster, eventually, framed,
    packet::{name, opt, option, packet, query, question, question_of},
    read_frame, remembering, steady,
};

/// TTL of negative answers where no zone file says otherwise.
const NEGATIVE_TTL: u32 = 5;

const A: u16 = 1;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;

/// Two datacenters, IPv4 only, all answered at the apex.
async fn served(range: u8) -> (Cluster, TestServer) {
    let nodes = [
        format!("dc1/rack1 127.13.{range}.1"),
        format!("dc1/rack2 127.13.{range}.2"),
        format!("dc2/rack1 127.13.{range}.3"),
    ];
    let cluster = cluster(&nodes.each_ref().map(String::as_str)).await;
    let server = TestServer::over(&cluster, steady).await;
    let addresses = nodes.each_ref().map(|node| node.split_once(' ').unwrap().1);
    server.answers("", &addresses).await;
    (cluster, server)
}

/// A zone without a cluster, from the text of a zone file.
async fn of_file(text: &str) -> (tempfile::TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    std::fs::write(&file, text).unwrap();
    let mut zone = alternator_dns::config::ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
    zone.file = Some(file);
    (folder, TestServer::start(TestServer::config(&zone)).await)
}

/// An authoritative reply without answers, with the apex's SOA and nothing else.
fn assert_negative(reply: &Reply, rcode: ResponseCode, ttl: u32, about: &str) {
    assert_eq!(reply.rcode(), rcode, "{about}");
    assert!(reply.is_authoritative() && !reply.is_truncated(), "{about}");
    assert!(reply.answers().is_empty() && reply.message.additionals.is_empty(), "{about}: {reply:?}");
    let [soa] = &reply.message.authorities[..] else { panic!("{about}: one SOA, not {:?}", reply.message.authorities) };
    let RData::SOA(data) = &soa.data else { panic!("{about}: one SOA, not {soa}") };
    assert!(soa.name.to_lowercase().to_ascii() == format!("{ZONE}."), "{about}: {soa}");
    assert_eq!(soa.ttl, ttl, "{about}");
    assert!(data.minimum >= soa.ttl, "{about}: the TTL is at most the minimum");
}

/// A reply of a header and a question only.
fn assert_bare(reply: &Reply, rcode: ResponseCode, about: &str) {
    // By number: 16 means two things, and hickory names the other one.
    assert_eq!(u16::from(reply.rcode()), u16::from(rcode), "{about}");
    assert!(!reply.is_authoritative() && !reply.is_truncated(), "{about}");
    assert_eq!(reply.counts()[1..3], [0, 0], "{about}: no answer and no referral");
    assert!(reply.message.additionals.is_empty(), "{about}");
}

/// Our OPT, octet for octet, at the end of the reply: root, our size, version 0, DO as asked, no other flag, and of
/// options at most an extended error, which tells of the reply.
fn assert_opt(reply: &Reply, dnssec_ok: bool, about: &str) {
    let Some(edns) = &reply.message.edns else { panic!("{about}: an OPT") };
    let extended = (u16::from(reply.rcode()) >> 4) as u8;
    let remark = match edns.options().as_ref() {
        [] => Vec::new(),
        [(EdnsCode::Unknown(15), EdnsOption::Unknown(15, data))] => option(15, data),
        others => panic!("{about}: {others:?}"),
    };
    let len = (remark.len() as u16).to_be_bytes();
    let expected =
        [&[0, 0, 41, 0x04, 0xD0, extended, 0, u8::from(dnssec_ok) << 7, 0, len[0], len[1]], &remark[..]].concat();
    assert_eq!(reply.bytes[reply.bytes.len() - expected.len()..], expected, "{about}");
}

#[tokio::test]
async fn an_existing_name_without_the_type_is_nodata_with_the_soa() {
    let (_cluster, server) = served(1).await;
    let scopes = ["", "dc1", "dc2", "dc1.rack1", "rack1.dc1", "dc1--rack1", "n-127-13-1-1"];
    for below in scopes {
        for rtype in
            [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::CNAME, RecordType::DS, RecordType::HTTPS]
        {
            for reply in server.both_of(below, rtype, Outcome::NoData).await {
                assert_negative(&reply, ResponseCode::NoError, NEGATIVE_TTL, &format!("{below} {rtype}"));
            }
        }
    }
    for below in &scopes[1..] {
        for rtype in [RecordType::NS, RecordType::SOA] {
            for reply in server.both_of(below, rtype, Outcome::NoData).await {
                assert_negative(&reply, ResponseCode::NoError, NEGATIVE_TTL, &format!("{below} {rtype}"));
            }
        }
    }
    for below in ["_alternator._tcp", "_alternator._tcp.dc1.rack1", "_explain", "_explain.dc1"] {
        for reply in server.both_of(below, RecordType::A, Outcome::NoData).await {
            assert_negative(&reply, ResponseCode::NoError, NEGATIVE_TTL, below);
        }
    }
}

#[tokio::test]
async fn empty_non_terminals_are_nodata_at_every_depth() {
    let (_cluster, server) = served(2).await;
    for below in ["rack1", "rack2", "_tcp", "_tcp.dc1", "_tcp.dc1.rack1", "_tcp.rack1.dc1", "_tcp.dc1--rack1"] {
        for rtype in
            [RecordType::A, RecordType::AAAA, RecordType::NS, RecordType::SOA, RecordType::ANY, RecordType::TXT]
        {
            for reply in server.both_of(below, rtype, Outcome::NoData).await {
                assert_negative(&reply, ResponseCode::NoError, NEGATIVE_TTL, &format!("{below} {rtype}"));
            }
        }
    }
    let (_folder, server) = of_file("$TTL 60\na.b.c.d.e TXT deep\n").await;
    for below in ["e", "d.e", "c.d.e", "b.c.d.e"] {
        for reply in server.both_of(below, RecordType::TXT, Outcome::NoData).await {
            assert_negative(&reply, ResponseCode::NoError, NEGATIVE_TTL, below);
        }
    }
    for below in ["f.e", "x.c.d.e", "x.a.b.c.d.e"] {
        server.both_of(below, RecordType::TXT, Outcome::NxDomain).await;
    }
}

#[tokio::test]
async fn unknown_names_are_nxdomain_with_the_soa_whatever_the_type() {
    let (_cluster, server) = served(3).await;
    let unknown = [
        "nope",
        "dc3",
        "dc1.rack9",
        "dc1.dc2",
        "rack9",
        "x.dc1",
        "x.dc1.rack1",
        "x.rack1",
        "n-127-13-3-9",
        "x.n-127-13-3-1",
        "_alternator",
        "x._tcp",
        "_alternator._udp",
        "_explain.rack1",
        "_explain.nope",
        "x._explain",
        "*",
        "dc1--rack9",
    ];
    for below in unknown {
        for rtype in [RecordType::A, RecordType::AAAA, RecordType::ANY, RecordType::NS, RecordType::Unknown(65280)] {
            for reply in server.both_of(below, rtype, Outcome::NxDomain).await {
                assert_negative(&reply, ResponseCode::NXDomain, NEGATIVE_TTL, &format!("{below} {rtype}"));
            }
        }
    }
}

#[tokio::test]
async fn the_negative_ttl_is_the_lesser_of_the_soas_own_and_its_minimum() {
    for (soa_ttl, minimum, expected) in [(3600, 7, 7), (3, 60, 3), (9, 9, 9)] {
        let (_folder, server) =
            of_file(&format!("@ {soa_ttl} SOA ns.example. me.example. 1 1h 10m 7d {minimum}\n")).await;
        for reply in server.both_of("nope", RecordType::A, Outcome::NxDomain).await {
            assert_negative(&reply, ResponseCode::NXDomain, expected, "NXDOMAIN");
        }
        for reply in server.both_of("", RecordType::MX, Outcome::NoData).await {
            assert_negative(&reply, ResponseCode::NoError, expected, "NODATA");
        }
        let [reply, _] = server.both_of("", RecordType::SOA, Outcome::Answered).await;
        assert_eq!(reply.ttl(), soa_ttl, "asked for itself, the SOA has its own TTL");
    }
}

#[tokio::test]
async fn names_outside_all_zones_are_refused_without_referral() {
    let (_cluster, server) = served(4).await;
    for outside in [
        "",
        "local",
        "com",
        "example.com",
        "notalternator.local",
        "xalternator.local",
        "alternator.loca",
        "alternator.local.example",
    ] {
        for qtype in [A, 2, 6, 28, 255, 65280] {
            for reply in server.both_raw(&query(&question(outside, qtype), &[]), Outcome::Refused).await {
                assert_bare(&reply, ResponseCode::Refused, &format!("{outside:?} {qtype}"));
                assert_eq!(reply.bytes[12..], question(outside, qtype));
            }
        }
    }
}

#[tokio::test]
async fn positive_answers_hold_one_rrset_and_nothing_else() {
    let (_cluster, server) = served(5).await;
    for below in ["", "dc1", "dc1.rack1", "n-127-13-5-1"] {
        for reply in server.both_of(below, RecordType::A, Outcome::Answered).await {
            assert!(reply.is_authoritative() && !reply.is_truncated());
            assert_eq!(reply.counts(), [1, reply.answers().len() as u16, 0, 0]);
            assert_eq!(reply.set().len(), reply.answers().len(), "no duplicates");
            assert!(reply.answers().iter().all(|record| record.ttl == 5 && record.record_type() == RecordType::A));
        }
    }
}

#[tokio::test]
async fn the_question_is_echoed_byte_for_byte_and_owners_point_at_it() {
    let (_cluster, server) = served(6).await;
    let spelt = |text: &str| {
        let swap = |(at, c): (usize, char)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c };
        text.chars().enumerate().map(swap).collect::<String>()
    };
    for (below, qtype, outcome) in [
        ("", A, Outcome::Answered),
        ("dc1.rack1", A, Outcome::Answered),
        ("n-127-13-6-1", A, Outcome::Answered),
        ("", 2, Outcome::Answered),
        ("", 6, Outcome::Answered),
        ("", 255, Outcome::Answered),
        ("_alternator._tcp", 33, Outcome::Answered),
        ("dc1", 28, Outcome::NoData),
        ("nope", A, Outcome::NxDomain),
    ] {
        for text in [TestServer::name(below), spelt(&TestServer::name(below)), TestServer::name(below).to_uppercase()] {
            let asked = question(&text, qtype);
            for reply in server.both_raw(&query(&asked, &[]), outcome).await {
                assert_eq!(reply.bytes[12..12 + asked.len()], asked, "{text}");
                if outcome == Outcome::Answered {
                    let compiled = ![16, 255].contains(&qtype);
                    if compiled {
                        assert_eq!(reply.bytes[12 + asked.len()..][..2], [0xC0, 0x0C], "the owner of {text}");
                    }
                    assert_eq!(reply.answers()[0].name.to_ascii(), format!("{text}."));
                }
            }
        }
    }
    let asked = question("AlTeRnAtOr.LoCaL", 255);
    for reply in server.both_raw(&packet(0x0800, [1, 0, 0, 0], &[&asked]), Outcome::NotImp).await {
        assert_eq!(reply.bytes[12..], asked);
    }
}

#[tokio::test]
async fn any_class_but_in_and_any_is_refused() {
    let (_cluster, server) = served(7).await;
    for qclass in [0, 2, 3, 4, 254, 256, 0xFFFF] {
        for (text, qtype) in
            [(ZONE, A), (ZONE, 255), (ZONE, 252), ("version.bind", 16), ("id.server", 16), ("nope.alternator.local", A)]
        {
            let asked = question_of(&name(text), qtype, qclass);
            for reply in server.both_raw(&query(&asked, &[&opt(1232, 0, 0, &[])]), Outcome::Refused).await {
                assert_bare(&reply, ResponseCode::Refused, &format!("{text} class {qclass}"));
                assert_eq!(reply.bytes[12..12 + asked.len()], asked);
                assert_opt(&reply, false, "class");
            }
        }
    }
    let [reply, _] = server.both(&server.dig("", RecordType::A).class(DNSClass::CH), Outcome::Refused).await;
    assert_bare(&reply, ResponseCode::Refused, "CH");
    for reply in server.both(&server.dig("", RecordType::A).class(DNSClass::ANY), Outcome::Answered).await {
        assert!(reply.answers().iter().all(|record| record.dns_class == DNSClass::IN), "{reply:?}");
    }
}

#[tokio::test]
async fn any_is_one_hinfo_at_names_with_data() {
    let (_cluster, server) = served(8).await;
    for below in ["", "dc1", "dc1.rack1", "n-127-13-8-1", "_alternator._tcp", "_explain.dc1", "ns1"] {
        for reply in server.both_of(below, RecordType::ANY, Outcome::Answered).await {
            assert!(reply.is_authoritative());
            assert_eq!(reply.counts(), [1, 1, 0, 0], "{below}");
            let RData::HINFO(hinfo) = &reply.answers()[0].data else { panic!("{below}: {:?}", reply.answers()) };
            assert_eq!((&*hinfo.cpu, &*hinfo.os), (&b"RFC8482"[..], &b""[..]), "{below}");
        }
    }
    for reply in server.both_of("nope", RecordType::ANY, Outcome::NxDomain).await {
        assert_negative(&reply, ResponseCode::NXDomain, NEGATIVE_TTL, "an absent name has no HINFO");
    }
    for reply in server.both_of("rack1", RecordType::ANY, Outcome::NoData).await {
        assert_negative(&reply, ResponseCode::NoError, NEGATIVE_TTL, "nor has an empty non-terminal");
    }
}

#[tokio::test]
async fn zone_transfers_are_refused_and_the_connection_stays_usable() {
    let (_cluster, server) = served(9).await;
    for qtype in [251, 252] {
        for text in [ZONE, "dc1.alternator.local", "nope.alternator.local", "example.com"] {
            for reply in
                server.both_raw(&query(&question(text, qtype), &[&opt(1232, 0, 0, &[])]), Outcome::Refused).await
            {
                assert_bare(&reply, ResponseCode::Refused, &format!("{qtype} of {text}"));
                assert_opt(&reply, false, "transfer");
            }
        }
        // An IXFR carries the SOA it knows in its authority section.
        let soa = [&[0xC0, 12][..], &[0, 6, 0, 1, 0, 0, 0, 5, 0, 22, 0, 0], &[0; 20]].concat();
        let packet = packet(0, [1, 0, 1, 0], &[&question(ZONE, qtype), &soa]);
        server.both_raw(&packet, Outcome::Refused).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&framed(&query(&question(ZONE, qtype), &[]))).await.unwrap();
        assert_eq!(read_frame(&mut stream).await.unwrap()[3] & 15, 5);
        stream.write_all(&framed(&query(&question(ZONE, A), &[]))).await.unwrap();
        assert_eq!(read_frame(&mut stream).await.unwrap()[6..8], [0, 3], "the same connection, three addresses");
    }
}

#[tokio::test]
async fn every_opcode_but_query_is_not_implemented() {
    let (_cluster, server) = served(10).await;
    server.both_raw(&packet(0, [1, 0, 0, 0], &[&question(ZONE, A)]), Outcome::Answered).await;
    for opcode in 1..16 {
        let asked = question(ZONE, A);
        for (counts, parts) in [
            ([1, 0, 0, 0], vec![asked.clone()]),
            ([1, 0, 0, 1], vec![asked.clone(), opt(1232, 0, 0x8000, &[])]),
            ([0, 0, 0, 0], vec![]),
            ([1, 1, 1, 0], vec![asked.clone()]),
            ([1, 0, 0, 0], vec![vec![0xFF; 9]]),
        ] {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let sent = packet(opcode << 11 | 0x0100, counts, &parts);
            for reply in server.both_raw(&sent, Outcome::NotImp).await {
                assert_bare(&reply, ResponseCode::NotImp, &format!("opcode {opcode}"));
                assert_eq!(reply.flags(), 0x8000 | opcode << 11 | 0x0100 | 4, "opcode and RD are echoed");
                assert_eq!(reply.message.edns.is_some(), counts[3] == 1);
                if counts[3] == 1 {
                    assert_opt(&reply, true, "opcode");
                }
            }
        }
    }
}

#[tokio::test]
async fn exactly_one_question_or_formerr() {
    let (_cluster, server) = served(11).await;
    let (asked, edns) = (question(ZONE, A), opt(1232, 0, 0, &[]));
    for questions in [0, 2, 3, 0xFFFF] {
        let whole = if questions == 0xFFFF { 0 } else { usize::from(questions) };
        let body = [asked.repeat(whole.max(1)), edns.clone()].concat();
        let body = if questions == 0 { &edns[..] } else { &body };
        for reply in server.both_raw(&packet(0x0100, [questions, 0, 0, 1], &[body]), Outcome::FormErr).await {
            assert_bare(&reply, ResponseCode::FormErr, &format!("{questions} questions"));
            assert_eq!(reply.counts()[0], 0, "no question is the one");
            assert_eq!(reply.flags(), 0x8101);
            if whole == usize::from(questions) {
                assert_opt(&reply, false, &format!("{questions} questions"));
            }
        }
    }
    for reply in server.both_raw(&packet(0, [0, 0, 0, 0], &[]), Outcome::FormErr).await {
        assert_eq!((reply.bytes.len(), reply.message.edns.is_some()), (12, false));
    }
}

#[tokio::test]
async fn responses_and_stubs_are_dropped_and_counted() {
    let (_cluster, server) = served(12).await;
    let good = query(&question(ZONE, A), &[]);
    let mut dropped: Vec<Vec<u8>> = [0x8000, 0x8180, 0x8400, 0xFFFF]
        .iter()
        .map(|flags| packet(*flags, [1, 0, 0, 0], &[&question(ZONE, A)]))
        .collect();
    dropped.extend((1..12).map(|len| good[..len].to_vec()));
    dropped.push(packet(0x8000, [0xFFFF; 4], &[&[0xFF; 40]]));

    // On one socket each: whatever comes back is the reply to the good query behind them.
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address).await.unwrap();
    let answered = server.count(Outcome::Answered);
    for packet in dropped.iter().chain([&Vec::new(), &good]) {
        socket.send(packet).await.unwrap();
    }
    let mut buffer = [0; 600];
    let len = socket.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..len][12..12 + good.len() - 12], good[12..]);
    assert_eq!(server.count(Outcome::Dropped), dropped.len() as u64 + 1, "the empty datagram too");
    assert_eq!(server.count(Outcome::Answered), answered + 1);

    // Over TCP, what is too short to be DNS ends the connection.
    let before = server.count(Outcome::Dropped);
    dropped.retain(|packet| packet.len() >= 12);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for packet in dropped.iter().chain([&good]) {
        stream.write_all(&framed(packet)).await.unwrap();
    }
    assert_eq!(read_frame(&mut stream).await.unwrap()[6..8], [0, 3]);
    assert_eq!(server.count(Outcome::Dropped), before + dropped.len() as u64);
    assert_eq!(server.count(Outcome::Answered), answered + 2);
}

#[tokio::test]
async fn rd_and_cd_are_copied_and_no_other_flag_is() {
    let (_cluster, server) = served(13).await;
    for (text, qtype, set, outcome) in [
        (ZONE, A, AA, Outcome::Answered),
        (ZONE, 255, AA, Outcome::Answered),
        (ZONE, 28, AA, Outcome::NoData),
        ("nope.alternator.local", A, AA | 3, Outcome::NxDomain),
        ("example.com", A, 5, Outcome::Refused),
        (ZONE, 252, 5, Outcome::Refused),
        (ZONE, 253, 4, Outcome::NotImp),
    ] {
        // AA TC RD RA Z AD CD, and a return code that no query has.
        for bits in 0..128 {
            let flags = bits << 4 | 0x000F;
            let sent = packet(flags, [1, 0, 0, 0], &[&question(text, qtype)]);
            for reply in server.both_raw(&sent, outcome).await {
                assert_eq!(reply.flags(), 0x8000 | flags & 0x0110 | set, "{text} {qtype} asked with {flags:04x}");
            }
        }
    }
}

#[tokio::test]
async fn unknown_types_are_nodata_or_nxdomain_by_name() {
    let (_cluster, server) = served(14).await;
    for qtype in [0, 3, 11, 29, 64, 99, 128, 200, 248, 256, 257, 32768, 65279, 65280, 65535] {
        for reply in server.both_raw(&query(&question(ZONE, qtype), &[]), Outcome::NoData).await {
            assert_negative(&reply, ResponseCode::NoError, NEGATIVE_TTL, &format!("TYPE{qtype}"));
        }
        let sent = query(&question("nope.alternator.local", qtype), &[]);
        for reply in server.both_raw(&sent, Outcome::NxDomain).await {
            assert_negative(&reply, ResponseCode::NXDomain, NEGATIVE_TTL, &format!("TYPE{qtype}"));
        }
    }
}

#[tokio::test]
async fn meta_types_are_no_questions_about_data() {
    let (_cluster, server) = served(15).await;
    for (qtype, rcode, outcome) in [
        (41, ResponseCode::FormErr, Outcome::FormErr),
        (249, ResponseCode::NotImp, Outcome::NotImp),
        (250, ResponseCode::NotImp, Outcome::NotImp),
        (253, ResponseCode::NotImp, Outcome::NotImp),
        (254, ResponseCode::NotImp, Outcome::NotImp),
    ] {
        for text in [ZONE, "nope.alternator.local", "example.com"] {
            let asked = question(text, qtype);
            for reply in server.both_raw(&query(&asked, &[&opt(4096, 0, 0x8000, &[])]), outcome).await {
                assert_bare(&reply, rcode, &format!("TYPE{qtype} of {text}"));
                assert_eq!(reply.bytes[12..12 + asked.len()], asked);
                assert_opt(&reply, true, "meta type");
            }
        }
    }
}

#[tokio::test]
async fn what_stands_behind_the_question_is_read_over() {
    let (_cluster, server) = served(16).await;
    let asked = question(ZONE, A);
    let record = [&[0xC0, 12][..], &[0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 1]].concat();
    for (about, sent) in [
        ("trailing octets", packet(0, [1, 0, 0, 0], &[&asked, &[0xFF; 30]])),
        ("an answer", packet(0, [1, 1, 0, 0], &[&asked, &record])),
        ("an authority and a record before nothing", packet(0, [1, 0, 1, 1], &[&asked, &record, &record])),
        ("records in all sections", packet(0, [1, 2, 2, 2], &[&asked, &record.repeat(6)])),
    ] {
        for reply in server.both_raw(&sent, Outcome::Answered).await {
            assert_eq!(reply.counts(), [1, 3, 0, 0], "{about}");
        }
    }
    let edns = opt(1232, 0, 0, &[]);
    let sent = packet(0, [1, 1, 1, 3], &[&asked, &record, &record, &record, &edns, &record, &[9; 9]]);
    for reply in server.both_raw(&sent, Outcome::Answered).await {
        assert_opt(&reply, false, "an OPT among other records");
    }
    for (about, sent) in [
        ("an answer that is missing", packet(0, [1, 1, 0, 0], &[&asked])),
        ("an authority cut off", packet(0, [1, 0, 1, 0], &[&asked, &record[..record.len() - 1]])),
        ("65535 additionals", packet(0, [1, 0, 0, 0xFFFF], &[&asked, &record])),
        (
            "a record whose data runs over the end",
            packet(0, [1, 0, 0, 1], &[&asked, &[0, 0, 1, 0, 1, 0, 0, 0, 0, 0xFF, 0xFF, 1]]),
        ),
    ] {
        for reply in server.both_raw(&sent, Outcome::FormErr).await {
            assert_bare(&reply, ResponseCode::FormErr, about);
            assert_eq!(reply.bytes[12..12 + asked.len()], asked, "{about}: the question was readable");
        }
    }
}

#[tokio::test]
async fn question_names_are_plain_and_at_most_255_octets() {
    let (_cluster, server) = served(17).await;
    let long = |last: usize| {
        let labels = [63, 63, 63, last].map(|len| "a".repeat(len));
        name(&labels.join("."))
    };
    // Below the zone: 255 octets in all, the zone's own 18 with the root among them.
    let below =
        [&[63][..], &[b'x'; 63], &[63], &[b'y'; 63], &[63], &[b'z'; 63], &[44], &[b'w'; 44], &name(ZONE)].concat();
    assert_eq!((long(61).len(), below.len()), (255, 255));
    server.both_raw(&query(&question_of(&long(61), A, 1), &[]), Outcome::Refused).await;
    for reply in server.both_raw(&query(&question_of(&below, A, 1), &[]), Outcome::NxDomain).await {
        assert_negative(&reply, ResponseCode::NXDomain, NEGATIVE_TTL, "255 octets");
    }
    let over = [&[1, b'v'][..], &below].concat();
    for (about, bad) in [
        ("256 octets", long(62)),
        ("257 octets below the zone", over),
        ("a compressed name", vec![0xC0, 12]),
        ("a name compressed at its end", [&[3, b'd', b'c', b'1'][..], &[0xC0, 12]].concat()),
        ("a pointer into the header", vec![0xC0, 0]),
        ("an extended label", vec![0x41, 0]),
        ("a label of the kind 10", vec![0x80, 0]),
        ("128 labels", [&[1, b'a'].repeat(128)[..], &[0]].concat()),
        ("a label that runs over the end", vec![63, b'a']),
    ] {
        for reply in server.both_raw(&query(&question_of(&bad, A, 1), &[]), Outcome::FormErr).await {
            assert_bare(&reply, ResponseCode::FormErr, about);
            assert_eq!(reply.counts()[0], 0, "{about}: a question that could not be read is not repeated");
        }
    }
    for cut in 12..12 + question(ZONE, A).len() {
        server.both_raw(&query(&question(ZONE, A), &[])[..cut], Outcome::FormErr).await;
    }
}

#[tokio::test]
async fn labels_may_hold_any_octet() {
    let (_cluster, server) = served(18).await;
    for octet in [0, b'.', b'\\', b' ', 0x7F, 0x80, 0xFF] {
        let odd = [&[3, b'a', octet, b'b'][..], &name(ZONE)].concat();
        for qtype in [A, 255, 16] {
            let asked = question_of(&odd, qtype, 1);
            for reply in server.both_raw(&query(&asked, &[]), Outcome::NxDomain).await {
                assert_eq!(reply.bytes[12..12 + asked.len()], asked, "{octet:02x}");
            }
        }
    }
}

#[tokio::test]
async fn an_opt_is_answered_by_one_on_every_reply_and_only_then() {
    let (_cluster, server) = served(19).await;
    let (apex, meta) = (question(ZONE, A), question(ZONE, 250));
    for (about, asked, outcome) in [
        ("an answer", apex.clone(), Outcome::Answered),
        ("a fixed answer", question(ZONE, 6), Outcome::Answered),
        ("ANY", question(ZONE, 255), Outcome::Answered),
        ("NODATA", question(ZONE, 28), Outcome::NoData),
        ("NXDOMAIN", question("nope.alternator.local", A), Outcome::NxDomain),
        ("outside", question("example.com", A), Outcome::Refused),
        ("a transfer", question(ZONE, 252), Outcome::Refused),
        ("class CH", question_of(&name(ZONE), A, 3), Outcome::Refused),
        ("a meta type", meta, Outcome::NotImp),
        ("OPT as a type", question(ZONE, 41), Outcome::FormErr),
    ] {
        for reply in server.both_raw(&query(&asked, &[]), outcome).await {
            assert!(reply.message.edns.is_none() && reply.counts()[3] == 0, "{about}: no OPT unasked");
        }
        for dnssec_ok in [false, true] {
            let edns = opt(1232, 0, if dnssec_ok { 0x8000 } else { 0 }, &[]);
            for reply in server.both_raw(&query(&asked, &[&edns]), outcome).await {
                assert_opt(&reply, dnssec_ok, about);
            }
        }
        // Flags besides DO mean nothing yet and are not handed back.
        for reply in server.both_raw(&query(&asked, &[&opt(1232, 0, 0x7FFF, &[])]), outcome).await {
            assert_opt(&reply, false, about);
        }
        for version in [1, 2, 255] {
            for reply in server.both_raw(&query(&asked, &[&opt(1232, version, 0x8000, &[])]), Outcome::BadVers).await {
                assert_bare(&reply, ResponseCode::BADVERS, about);
                assert_opt(&reply, true, about);
                assert_eq!(reply.bytes[12..12 + asked.len()], asked);
            }
        }
    }
}

#[tokio::test]
async fn a_malformed_opt_is_formerr_with_an_opt_where_one_was_read() {
    let (_cluster, server) = served(21).await;
    let (asked, plain) = (question(ZONE, A), opt(1232, 0, 0x8000, &[]));
    let mut owned = name("x");
    owned.extend(&plain[1..]);
    for (about, sent, keeps_opt) in [
        ("two OPT", query(&asked, &[&plain, &plain]), true),
        ("an option longer than the OPT", query(&asked, &[&opt(1232, 0, 0x8000, &[0, 10, 0, 9, 1])]), true),
        ("an option without its length", query(&asked, &[&opt(1232, 0, 0x8000, &[0, 10, 0])]), true),
        ("a good option, then one cut off", query(&asked, &[&opt(1232, 0, 0x8000, &[0, 10, 0, 0, 1])]), true),
        ("an OPT among the answers", packet(0, [1, 1, 0, 0], &[&asked, &plain]), false),
        ("an OPT among the authorities", packet(0, [1, 0, 1, 0], &[&asked, &plain]), false),
        ("an OPT with an owner", query(&asked, &[&owned]), false),
        ("an OPT cut off", query(&asked, &[&plain[..10]]), false),
        ("an OPT longer than the packet", query(&asked, &[&[&plain[..9], &[0, 5, 1][..]].concat()]), false),
    ] {
        for reply in server.both_raw(&sent, Outcome::FormErr).await {
            assert_bare(&reply, ResponseCode::FormErr, about);
            assert_eq!(reply.bytes[12..12 + asked.len()], asked, "{about}");
            assert_eq!(reply.message.edns.is_some(), keeps_opt, "{about}");
            if keeps_opt {
                assert_opt(&reply, true, about);
            }
        }
    }
}

/// Sizes at the edges of everything.
const SIZES: [u16; 17] = [0, 1, 100, 511, 512, 513, 600, 800, 1000, 1024, 1231, 1232, 1233, 1400, 4096, 32768, 65535];

/// What a UDP reply may take.
fn limit(size: Option<u16>) -> usize {
    size.map_or(512, |size| usize::from(size.clamp(512, 1232)))
}

/// Holds that UDP replies are whole where they fit and otherwise TC, no record, OPT kept; and that TCP is whole.
async fn assert_sizes(server: &TestServer, name: &str, rtype: RecordType, records: usize) {
    // Lists that grow with the cluster are at most five times as long as the question of somebody who may be forged.
    let is_list = [RecordType::SRV, RecordType::TXT].contains(&rtype);
    let ask = |size: Option<u16>| {
        let dig = Dig::new(server.address, name, rtype);
        size.map_or(dig.clone(), |size| dig.edns(size))
    };
    for size in [None].into_iter().chain(SIZES.map(Some)) {
        let about = format!("{name} {rtype} of {records}, asked with {size:?}");
        let (answered, cut) = (server.count(Outcome::Answered), server.count(Outcome::Truncated));
        let whole = ask(size).tcp().ask().await;
        assert_eq!((whole.answers().len(), whole.is_truncated()), (records, false), "{about}");
        assert_eq!(server.count(Outcome::Answered), answered + 1, "{about}");
        let reply = ask(size).ask().await;
        let query = 12 + question(name, 0).len() + if size.is_some() { 11 } else { 0 };
        let limit = if is_list { limit(size).min(5 * query) } else { limit(size) };
        assert!(reply.bytes.len() <= limit, "{about}: {} octets", reply.bytes.len());
        assert_eq!(reply.rcode(), ResponseCode::NoError, "{about}");
        assert!(reply.is_authoritative(), "{about}");
        let remark = whole.message.edns.iter().flat_map(|edns| edns.options().as_ref());
        let remark: usize =
            remark.map(|(_, option)| if let EdnsOption::Unknown(_, data) = option { 4 + data.len() } else { 0 }).sum();
        // Explanations are not even begun for who may be forged.
        if rtype != RecordType::TXT && whole.bytes.len() - remark <= limit {
            assert_eq!((reply.flags() & TC, reply.answers().len()), (0, records), "{about}");
            assert_eq!(server.count(Outcome::Answered), answered + 2, "{about}");
        } else {
            assert_eq!(reply.flags() & TC, TC, "{about}");
            assert_eq!(reply.counts(), [1, 0, 0, u16::from(size.is_some())], "{about}");
            assert_eq!(server.count(Outcome::Truncated), cut + 1, "{about}");
        }
        if size.is_some() {
            assert_opt(&reply, false, &about);
            assert_opt(&whole, false, &about);
        }
    }
}

#[tokio::test]
async fn explanations_are_told_to_nobody_who_may_be_forged() {
    let (_cluster, server) = served(23).await;
    let asked = question("_explain.dc1.alternator.local", 16);
    let cookie = |cookie: &[u8]| query(&asked, &[&opt(1232, 0, 0, &option(10, cookie))]);
    let udp = server.dig("", A.into());
    let first = server.counted(&udp, &cookie(b"a client"), Outcome::Truncated).await;
    let told = first.bytes[first.bytes.len() - 24..].to_vec();
    let whole = server.counted(&udp, &cookie(&told), Outcome::Answered).await;
    assert!(whole.texts().iter().any(|line| line.starts_with("scope=dc1 ")), "{whole:?}");
}

#[tokio::test]
async fn no_reply_exceeds_what_the_asker_takes_and_one_that_cannot_fit_is_empty_with_tc() {
    let nodes: Vec<IpAddr> = (1..=100).map(|node| IpAddr::from([127, 13, 22, node])).collect();
    let state = tempfile::tempdir().unwrap();
    // A zone for each count around the edges: 29 and 30 records without OPT, 71 and 72 with.
    let counts = [1, 27, 28, 29, 30, 50, 70, 71, 72, 73, 99, 0];
    let zone = |count: u16| {
        let mut zone = remembering(&format!("z{count}.local"), state.path(), nodes.iter().copied());
        zone.answers = std::num::NonZeroU16::new(count).map_or(Answers::All, Answers::Count);
        zone
    };
    let mut config = TestServer::config(&zone(0));
    config.zones = counts.map(zone).to_vec();
    config.server.state_dir = Some(state.path().to_owned());
    let server = TestServer::start(config).await;
    for count in counts {
        let expected = if count == 0 { 100 } else { count.into() };
        assert_sizes(&server, &format!("z{count}.local"), RecordType::A, expected).await;
    }
    let name = "z0.local";
    let all = Dig::new(server.address, name, RecordType::A).tcp().ask().await.set();
    let expected: BTreeSet<String> = (1..=100).map(|node| format!("127.13.22.{node}")).collect();
    assert_eq!(all, expected, "over TCP the set is whole");
    assert_sizes(&server, &format!("_alternator._tcp.{name}"), RecordType::SRV, 100).await;
    assert_sizes(&server, name, RecordType::ANY, 1).await;
    let lines = Dig::new(server.address, &format!("_explain.{name}"), RecordType::TXT).tcp().ask().await.texts().len();
    assert_sizes(&server, &format!("_explain.{name}"), RecordType::TXT, lines).await;
}

#[tokio::test]
async fn every_length_of_an_answer_is_cut_exactly_where_it_stops_fitting() {
    let mut file = "$TTL 60\n".to_owned();
    for records in 1..=80 {
        (1..=records).for_each(|record| file.push_str(&format!("r{records} A 10.0.0.{record}\n")));
    }
    let (_folder, server) = of_file(&file).await;
    for records in (1..=80).filter(|records| records % 9 == 0 || (27..=31).contains(records) || *records > 68) {
        assert_sizes(&server, &TestServer::name(&format!("r{records}")), RecordType::A, records).await;
    }
}

#[tokio::test]
async fn a_scope_name_as_long_as_names_get_still_answers_and_points_at_its_apex() {
    // An apex so long that the pointers to it stand far into the question.
    let apex = [63, 63, 63].map(|len| "a".repeat(len)).join(".");
    let cluster = cluster(&["dc1/rack1 127.13.23.1"]).await;
    let zone = TestServer::zone(&cluster, |zone| {
        steady(zone);
        zone.apex = Name::from_ascii(format!("{apex}.")).unwrap();
    });
    let server = TestServer::start(TestServer::config(&zone)).await;
    let ask = async |name: String, rtype| Dig::new(server.address, &name, rtype).ask().await;
    eventually(async || ask(format!("dc1.rack1.{apex}"), RecordType::A).await.set(), |set| set.contains("127.13.23.1"))
        .await;
    let services = ask(format!("_alternator._tcp.dc1.rack1.{apex}"), RecordType::SRV).await;
    let RData::SRV(srv) = &services.answers()[0].data else { panic!("{services:?}") };
    assert_eq!(srv.target.to_ascii(), format!("n-127-13-23-1.{apex}."));
    let missing = Dig::new(server.address, &format!("nope.{apex}"), RecordType::A);
    let whole = missing.clone().edns(1232).ask().await;
    assert_eq!(whole.message.authorities[0].name.to_ascii(), format!("{apex}."));
    // The SOA alone does not fit 512 octets here. TC or not, the name does not exist.
    let cut = missing.ask().await;
    assert_eq!((cut.rcode(), cut.is_truncated(), cut.counts()), (ResponseCode::NXDomain, true, [1, 0, 0, 0]));
}
