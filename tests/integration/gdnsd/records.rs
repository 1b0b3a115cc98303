//! 006, 008, 014, 015, 016, 018, 046: records at the bounds of what they may be, and how long replies are.

use alternator_dns::{app::load_zones, config::ZoneConfig, server::Outcome};
use hickory_proto::rr::{Name, RData, RecordType};

use super::{A, ask, assert_soa_of, plain, serving};
use crate::support::{
    Dig, PATIENCE, TestServer, ZONE,
    packet::{name, question},
};

/// Octets of a header.
const HEADER: usize = 12;

/// A name of 255 octets, one of as many labels as a zone of two leaves room for, sets of several records, and numbers at
/// both ends of their range.
#[tokio::test]
async fn t006_limits_names_and_numbers_at_their_bounds() {
    let labels = |count: usize| vec!["a"; count].join(".");
    let long = [63, 63, 63, 44].map(|len| "x".repeat(len)).join(".");
    let many = labels(118);
    let [text, more] = [255, 100].map(|len| "t".repeat(len));
    let file = format!(
        "$TTL 60\n{long} A 10.0.0.1\n{many} A 10.0.0.1\n\
         five A 10.0.0.1\nfive A 10.0.0.2\nfive A 10.0.0.3\nfive A 10.0.0.4\nfive A 10.0.0.5\n\
         text TXT \"{text}\" \"{more}\" \"\"\nlow 0 MX 0 x\nhigh 2147483647 MX 65535 x\n\
         low SRV 0 0 0 x\nhigh SRV 65535 65535 65535 x\nzero 0 A 0.0.0.0\nall 2147483647 A 255.255.255.255\n"
    );
    let server = serving(&file).await;
    for below in [&long, &many] {
        let text = TestServer::name(below);
        for reply in ask(&server, below, A, Outcome::Answered).await {
            assert_eq!(reply.bytes.len(), HEADER + question(&text, A).len() + 16);
        }
        let (_, parent) = below.split_once('.').unwrap();
        ask(&server, parent, A, Outcome::NoData).await;
    }
    assert_eq!([&long, &many].map(|below| name(&TestServer::name(below)).len()), [255, 254]);
    assert_eq!(TestServer::name(&many).split('.').count(), 120);
    for reply in ask(&server, "five", A, Outcome::Answered).await {
        assert_eq!((reply.answers().len(), reply.set().len()), (5, 5));
    }
    for reply in ask(&server, "text", 16, Outcome::Answered).await {
        let RData::TXT(data) = &reply.answers()[0].data else { panic!("{reply:?}") };
        assert_eq!(data.txt_data.iter().map(|part| part.len()).collect::<Vec<_>>(), [255, 100, 0]);
    }
    for (below, ttl, number) in [("low", 0, 0), ("high", i32::MAX as u32, u16::MAX)] {
        for reply in ask(&server, below, 15, Outcome::Answered).await {
            let RData::MX(data) = &reply.answers()[0].data else { panic!("{reply:?}") };
            assert_eq!((reply.ttl(), data.preference), (ttl, number));
        }
        for reply in ask(&server, below, 33, Outcome::Answered).await {
            let RData::SRV(data) = &reply.answers()[0].data else { panic!("{reply:?}") };
            assert_eq!((data.priority, data.weight, data.port), (number, number, number));
        }
    }
    for (below, ttl, address) in [("zero", 0, "0.0.0.0"), ("all", i32::MAX as u32, "255.255.255.255")] {
        for reply in ask(&server, below, A, Outcome::Answered).await {
            assert_eq!((reply.ttl(), reply.set()), (ttl, crate::support::set(&[address])));
        }
    }
}

/// Sizes to the octet: owners are pointers to names in front of them.
#[tokio::test]
async fn t008_compress_replies_have_exactly_the_octets_they_need() {
    let server = serving(
        "$TTL 60\n@ SOA ns1 hostmaster 1 1h 10m 7d 9\n@ NS ns1\n@ NS ns2\nns1 A 10.0.0.53\nns2 A 10.0.0.54\n\
         www A 10.0.0.1\nwww A 10.0.0.2\nsix AAAA fd00::1\nserv SRV 0 1 53 ns1\nalias CNAME www\n",
    )
    .await;
    let apex = name(ZONE).len();
    // A pointer, type, class, TTL and the length of the data.
    let head = 12;
    // An owner spelt as one label and a pointer to the apex.
    let ns_owner = 4 + 2 + 10;
    // MNAME and RNAME, five numbers. Names within data are written out, which old software reads best.
    let soa = head + (4 + apex) + (11 + apex) + 20;
    for (below, qtype, outcome, len) in [
        ("www", A, Outcome::Answered, 2 * (head + 4)),
        ("six", 28, Outcome::Answered, head + 16),
        ("", 6, Outcome::Answered, soa),
        ("", 2, Outcome::Answered, 2 * (head + 4 + apex) + 2 * (ns_owner + 4)),
        ("serv", 33, Outcome::Answered, head + 6 + 4 + apex),
        ("www", 28, Outcome::NoData, soa),
        ("nope", A, Outcome::NxDomain, soa),
        ("a.long.way.down", A, Outcome::NxDomain, soa),
    ] {
        for reply in ask(&server, below, qtype, outcome).await {
            let asked = question(&TestServer::name(below), qtype).len();
            assert_eq!(reply.bytes.len() - HEADER - asked, len, "{below} {qtype}: {:02x?}", reply.bytes);
        }
    }
}

#[tokio::test]
async fn t014_naptr_and_other_types_with_names_in_them_are_served_as_written() {
    let server = serving(
        "$TTL 60\nsip NAPTR 10 20 \"s\" \"SIP+D2U\" \"\" _sip._udp\nloc TYPE29 \\# 16 \
         00112233445566778899aabbccddeeff\nrp TYPE17 \\# 4 01610000\n",
    )
    .await;
    for reply in ask(&server, "sip", 35, Outcome::Answered).await {
        let RData::NAPTR(data) = &reply.answers()[0].data else { panic!("{reply:?}") };
        assert_eq!((data.order, data.preference, &*data.flags, &*data.services), (10, 20, &b"s"[..], &b"SIP+D2U"[..]));
        assert_eq!(data.replacement.to_ascii(), format!("_sip._udp.{ZONE}."));
    }
    for reply in ask(&server, "loc", 29, Outcome::Answered).await {
        let octets: Vec<u8> = (0..16).map(|octet| octet * 0x11).collect();
        assert!(reply.bytes.ends_with(&[&[0, 16], &octets[..]].concat()));
    }
}

/// Types that nobody has heard of: their octets come back as they were written, and others are NODATA.
#[tokio::test]
async fn t015_rfc3597_unknown_types_are_octets() {
    let server = serving("$TTL 60\nodd TYPE65280 \\# 3 010203\nodd TYPE731 \\# 0\nodd TYPE65534 \\# 1 ff\n").await;
    for (qtype, data) in [(65280, &[1, 2, 3][..]), (65534, &[0xFF])] {
        for reply in ask(&server, "odd", qtype, Outcome::Answered).await {
            let record =
                [&[0xC0, 12][..], &qtype.to_be_bytes(), &[0, 1, 0, 0, 0, 60, 0, data.len() as u8], data].concat();
            assert!(reply.bytes.ends_with(&record), "TYPE{qtype}: {:02x?}", reply.bytes);
        }
    }
    // No octets at all are data, too, which hickory does not read.
    for address in server.app.addresses() {
        for by in [Dig::to(*address), Dig::to(*address).tcp()] {
            let reply = by.exchange(&plain(&TestServer::name("odd"), 731), PATIENCE).await.expect("a reply");
            assert!(reply.ends_with(&[
                0xC0,
                12,
                731_u16.to_be_bytes()[0],
                731_u16.to_be_bytes()[1],
                0,
                1,
                0,
                0,
                0,
                60,
                0,
                0
            ]));
        }
    }
    for qtype in [A, 65281, 300] {
        for reply in ask(&server, "odd", qtype, Outcome::NoData).await {
            assert_soa_of(&reply, ZONE);
        }
    }
}

/// As many addresses as one message holds beside the longest question and an OPT with every option are one answer; of
/// more, none is left out: their file is refused.
#[tokio::test]
async fn t016_alimit_as_many_addresses_as_a_message_holds() {
    const MOST: usize = (65_535 - HEADER - 259 - 11 - 128) / 16;
    let file = |count: usize| {
        let records: String = (0..count).map(|host| format!("many A 10.{}.{}.1\n", host / 256, host % 256)).collect();
        format!("$TTL 60\n{records}")
    };
    let server = serving(&file(MOST)).await;
    let sent = plain(&TestServer::name("many"), A);
    for address in server.app.addresses() {
        let whole = server.counted(&Dig::to(*address).tcp(), &sent, Outcome::Answered).await;
        assert_eq!((whole.answers().len(), whole.set().len()), (MOST, MOST));
        let cut = server.counted(&Dig::to(*address), &sent, Outcome::Truncated).await;
        assert_eq!(cut.counts(), [1, 0, 0, 0]);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
    zone.file = Some(folder.path().join("zone"));
    std::fs::write(folder.path().join("zone"), file(MOST + 1)).unwrap();
    let loaded = load_zones(&TestServer::config(&zone)).map(|_| "it loads");
    let problems = loaded.expect_err("one address too many");
    assert!(problems[0].to_string().contains("more records than fit into a DNS message"), "{problems:?}");
}

/// Beyond 16 KiB no pointer reaches: names there are written so that they can be read.
#[tokio::test]
async fn t018_misc_names_beyond_16_kib_can_be_read() {
    let servers = 0..600;
    let records: String = servers
        .clone()
        .map(|host| format!("@ NS host{host}.name-server\nhost{host}.name-server A 10.0.0.1\n"))
        .collect();
    let server = serving(&format!("$TTL 60\n@ SOA host0.name-server hostmaster 1 1h 10m 7d 9\n{records}")).await;
    for address in server.app.addresses() {
        let reply = server.counted(&Dig::to(*address).tcp(), &plain(ZONE, 2), Outcome::Answered).await;
        assert!(reply.bytes.len() > 0x4000, "{}", reply.bytes.len());
        assert_eq!(reply.answers().len(), 600);
        for glue in &reply.message.additionals {
            assert_eq!(glue.record_type(), RecordType::A);
            assert!(glue.name.to_ascii().ends_with(&format!(".name-server.{ZONE}.")), "{glue}");
        }
        let names: std::collections::BTreeSet<String> =
            reply.answers().iter().map(|record| record.data.to_string()).collect();
        assert_eq!(names, servers.clone().map(|host| format!("host{host}.name-server.{ZONE}.")).collect());
    }
}

#[tokio::test]
async fn t046_any_is_one_record_over_every_transport() {
    let server = serving("$TTL 60\nwww A 10.0.0.1\nwww A 10.0.0.2\nwww TXT x\na.ent A 10.0.0.1\n").await;
    for reply in ask(&server, "www", 255, Outcome::Answered).await {
        // HINFO, "RFC8482" and an empty string.
        assert!(reply.bytes.ends_with(b"\x00\x09\x07RFC8482\x00"), "{:02x?}", reply.bytes);
        assert_eq!((reply.flags(), reply.counts()), (0x8400, [1, 1, 0, 0]));
    }
    ask(&server, "ent", 255, Outcome::NoData).await;
    ask(&server, "nope", 255, Outcome::NxDomain).await;
}
