//! NSID, client subnet, keepalive, padding, what nobody knows, and everything at once.

use std::time::Duration;

use alternator_dns::{config::Config, server::Outcome};

use super::{
    A, COOKIE, KEEPALIVE, NSID, PADDING, SUBNET, ZONE_VERSION, asking, assert_answered, assert_formerr, assert_options,
    our_opt, served, www,
};
use crate::support::{
    Dig, PATIENCE, TestServer,
    packet::{opt, opt_of, option, packet, query, question},
};

const IDENTITY: &str = "ns1.ams";

async fn called() -> TestServer {
    served(|server| server.identity = Some(IDENTITY.to_owned())).await
}

#[tokio::test]
async fn a_server_with_a_name_tells_it_to_whoever_asks() {
    let server = called().await;
    assert_options(&server, &[], &[], "not asked").await;
    assert_options(&server, &[option(NSID, &[])], &[(NSID, IDENTITY.as_bytes())], "asked").await;
    // RFC 5001 section 2.2: what a query's option holds is ignored.
    for payload in [&b"x"[..], IDENTITY.as_bytes(), &[0; 300]] {
        assert_options(&server, &[option(NSID, payload)], &[(NSID, IDENTITY.as_bytes())], "a payload").await;
    }
    let twice = [option(NSID, &[]), option(NSID, b"again")];
    assert_options(&server, &twice, &[(NSID, IDENTITY.as_bytes())], "asked twice, told once").await;
    for (below, qtype, outcome) in [
        ("www", 28, Outcome::NoData),
        ("nope", A, Outcome::NxDomain),
        ("www", 255, Outcome::Answered),
        ("", 6, Outcome::Answered),
    ] {
        for reply in server.everywhere(&asking(below, qtype, &[option(NSID, &[])]), outcome).await {
            assert_eq!(reply.options(), [(NSID, IDENTITY.as_bytes().to_vec())], "{below} {qtype}");
        }
    }
}

#[tokio::test]
async fn a_server_without_a_name_has_none_to_tell() {
    let server = served(|_| {}).await;
    for payload in [&[][..], b"x"] {
        assert_options(&server, &[option(NSID, payload)], &[], "no identity").await;
    }
}

/// What `dig +subnet=0` and `+subnet=::/0` send, and family 0, which tells of no address at all.
#[tokio::test]
async fn a_subnet_of_nobody_is_echoed() {
    let server = served(|_| {}).await;
    for data in [[0, 1, 0, 0], [0, 2, 0, 0]] {
        assert_options(&server, &[option(SUBNET, &data)], &[(SUBNET, &data)], "a subnet of no length").await;
    }
    // A reply that hickory does not read.
    let none = option(SUBNET, &[0, 0, 0, 0]);
    let before = server.count(Outcome::Answered);
    for address in server.app.addresses() {
        for by in [Dig::to(*address), Dig::to(*address).tcp()] {
            let reply = by.exchange(&www(std::slice::from_ref(&none)), PATIENCE).await.expect("a reply");
            assert_eq!(reply[2..12], [0x84, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            assert_eq!(opt_of(&reply), Some(our_opt(0, &[(SUBNET, &[0, 0, 0, 0])])));
        }
    }
    assert_eq!(server.count(Outcome::Answered) - before, 2 * server.app.addresses().len() as u64);
}

#[tokio::test]
async fn client_subnets_are_echoed_with_scope_0() {
    let server = served(|_| {}).await;
    let sound: [&[u8]; 9] = [
        &[0, 1, 1, 0, 0x80],
        &[0, 1, 8, 0, 10],
        &[0, 1, 24, 0, 192, 0, 2],
        &[0, 1, 27, 0, 192, 0, 2, 0b1110_0000],
        &[0, 1, 32, 0, 192, 0, 2, 1],
        &[0, 2, 1, 0, 0x80],
        &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0],
        &[0, 2, 57, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0x80],
        &[0, 2, 128, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ];
    for data in sound {
        // The scope, the fourth octet, stays 0: the answer suits everybody (RFC 7871 section 7.2.1).
        assert_options(&server, &[option(SUBNET, data)], &[(SUBNET, data)], &format!("{data:?}")).await;
        for (below, qtype, outcome) in [("nope", A, Outcome::NxDomain), ("www", 28, Outcome::NoData)] {
            for reply in server.everywhere(&asking(below, qtype, &[option(SUBNET, data)]), outcome).await {
                assert_eq!(reply.options(), [(SUBNET, data.to_vec())], "{below}");
            }
        }
    }
}

#[tokio::test]
async fn malformed_client_subnets_are_formerr() {
    let server = called().await;
    let malformed: [(&str, &[u8]); 18] = [
        ("no data", &[]),
        ("a family alone", &[0, 1]),
        ("no scope", &[0, 1, 24]),
        ("IPv4 with a mask of 33", &[0, 1, 33, 0, 192, 0, 2, 0, 0]),
        ("IPv4 with a mask of 255", &[0, 1, 255, 0, 192, 0, 2, 0]),
        ("IPv6 with a mask of 129", &[0, 2, 129, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0]),
        ("IPv4 with too few octets", &[0, 1, 24, 0, 192, 0]),
        ("IPv4 with no octets", &[0, 1, 24, 0]),
        ("IPv4 with too many octets", &[0, 1, 24, 0, 192, 0, 2, 0]),
        ("IPv6 with too few octets", &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0]),
        ("IPv6 with too many octets", &[0, 2, 8, 0, 0x20, 0]),
        ("no mask, but an octet", &[0, 1, 0, 0, 0]),
        ("IPv4 with bits beyond its mask", &[0, 1, 27, 0, 192, 0, 2, 0b0001_0000]),
        ("IPv6 with bits beyond its mask", &[0, 2, 1, 0, 0xC0]),
        ("a scope", &[0, 1, 24, 24, 192, 0, 2]),
        ("a scope and no mask", &[0, 1, 0, 1]),
        ("an unknown family", &[0, 3, 24, 0, 192, 0, 2]),
        ("family 0 with a mask", &[0, 0, 8, 0, 192]),
    ];
    for (about, data) in malformed {
        let sent = www(&[option(SUBNET, data)]);
        for reply in server.everywhere(&sent, Outcome::FormErr).await {
            assert_formerr(&reply, &sent, about);
        }
        // Wherever it stands, and whatever else is asked.
        let sent =
            www(&[option(NSID, &[]), option(SUBNET, &[0, 0, 0, 0]), option(SUBNET, data), option(COOKIE, &[1; 8])]);
        for reply in server.everywhere(&sent, Outcome::FormErr).await {
            assert_formerr(&reply, &sent, about);
        }
    }
}

/// Over UDP the option means nothing (RFC 7828 section 3.2.1); over TCP it asks, and holds no time (section 3.1).
#[tokio::test]
async fn keepalive_is_for_connections() {
    let server = served(|_| {}).await;
    for address in server.app.addresses() {
        for data in [&[][..], &[0, 1], &[1, 2, 3]] {
            let sent = www(&[option(KEEPALIVE, data)]);
            let udp = server.counted(&Dig::to(*address), &sent, Outcome::Answered).await;
            assert_eq!(udp.opt(), Some(our_opt(0, &[])), "ignored");
            if !data.is_empty() {
                let tcp = server.counted(&Dig::to(*address).tcp(), &sent, Outcome::FormErr).await;
                assert_formerr(&tcp, &sent, "a time in a query");
            }
        }
        let tcp = server.counted(&Dig::to(*address).tcp(), &www(&[option(KEEPALIVE, &[])]), Outcome::Answered).await;
        assert_answered(&tcp, "keepalive");
        assert_eq!(tcp.opt(), Some(our_opt(0, &[(KEEPALIVE, &300_u16.to_be_bytes())])), "30 s, the default");
        let unasked = server.counted(&Dig::to(*address).tcp(), &www(&[]), Outcome::Answered).await;
        assert_eq!(unasked.opt(), Some(our_opt(0, &[])));
    }
}

/// The time that is told is the one that holds, in units of 100 ms, whatever the answer is.
#[tokio::test]
async fn keepalive_tells_the_time_that_is_configured() {
    for (idle, units) in [(Duration::from_millis(12_300), 123_u16), (Duration::from_secs(600), 6000)] {
        let server = served(|server| server.tcp.idle = idle).await;
        for address in server.app.addresses() {
            for (below, outcome) in [("www", Outcome::Answered), ("nope", Outcome::NxDomain), ("", Outcome::NoData)] {
                let sent = asking(below, A, &[option(KEEPALIVE, &[])]);
                let reply = server.counted(&Dig::to(*address).tcp(), &sent, outcome).await;
                assert_eq!(reply.options(), [(KEEPALIVE, units.to_be_bytes().to_vec())], "{idle:?} {below:?}");
            }
        }
    }
}

/// Whoever reads along learns nothing from sizes that it does not read anyway.
#[tokio::test]
async fn padding_is_ignored_where_nothing_is_encrypted() {
    let server = called().await;
    for len in [0, 1, 128, 400] {
        assert_options(&server, &[option(PADDING, &vec![0; len])], &[], "padding alone").await;
    }
    let with_nsid = [option(PADDING, &[1; 30]), option(NSID, &[])];
    assert_options(&server, &with_nsid, &[(NSID, IDENTITY.as_bytes())], "padding before another").await;
}

/// LLQ, UL, DAU, DHU, N3U, EXPIRE, CHAIN, KEY-TAG, an extended error, CLIENT-TAG, SERVER-TAG, REPORT-CHANNEL, and what is
/// assigned to nobody or to local use.
const UNKNOWN: [u16; 18] = [0, 1, 2, 4, 5, 6, 7, 9, 13, 14, 15, 16, 17, 18, 20, 100, 65001, 65535];

#[tokio::test]
async fn unknown_options_are_ignored_and_not_echoed() {
    let server = called().await;
    for code in UNKNOWN {
        for data in [&[][..], &[1], &[0xFF; 200]] {
            assert_options(&server, &[option(code, data)], &[], &format!("option {code}")).await;
        }
    }
    let all: Vec<Vec<u8>> = UNKNOWN.iter().map(|code| option(*code, b"data")).collect();
    let around = [&all[..], &[option(NSID, &[])], &all[..]].concat();
    assert_options(&server, &around, &[(NSID, IDENTITY.as_bytes())], "one known among many").await;
}

#[tokio::test]
async fn all_options_together_are_all_answered_in_whichever_order_they_come() {
    let server = called().await;
    let subnet = [0, 1, 24, 0, 192, 0, 2];
    let mut asked = vec![
        option(COOKIE, b"a client"),
        option(NSID, &[]),
        option(SUBNET, &subnet),
        option(KEEPALIVE, &[]),
        option(PADDING, &[0; 20]),
        option(ZONE_VERSION, &[]),
        option(100, b"unknown"),
    ];
    let serial = {
        let reply = server.ask("", hickory_proto::rr::RecordType::SOA).await;
        let end = reply.bytes.len() - 20;
        reply.bytes[end..end + 4].to_vec()
    };
    for turn in 0..asked.len() {
        asked.rotate_left(1);
        if turn % 2 == 1 {
            asked.reverse();
        }
        for reply in server.everywhere(&www(&asked), Outcome::Answered).await {
            assert_answered(&reply, "all options");
            let mut told = reply.options();
            told.retain(|(code, time)| *code != KEEPALIVE || *time != [1, 44]);
            let [cookie, rest @ ..] = &told[..] else { panic!("{told:?}") };
            assert!(cookie.0 == COOKIE && cookie.1.len() == 24 && cookie.1.starts_with(b"a client"), "{cookie:?}");
            let version = [&[2, 0][..], &serial].concat();
            let expected = [(NSID, IDENTITY.as_bytes().to_vec()), (SUBNET, subnet.to_vec()), (ZONE_VERSION, version)];
            assert_eq!(rest, expected, "turn {turn}");
        }
    }
    for address in server.app.addresses() {
        for (by, is_tcp) in [(Dig::to(*address), false), (Dig::to(*address).tcp(), true)] {
            let reply = server.counted(&by, &www(&asked), Outcome::Answered).await;
            assert_eq!(reply.options().iter().any(|(code, _)| *code == KEEPALIVE), is_tcp);
        }
    }
}

/// A version we do not speak is told so; what its options look like is not ours to judge.
#[tokio::test]
async fn options_of_another_version_are_not_looked_at() {
    let server = called().await;
    let options = [option(NSID, &[]), option(COOKIE, &[1; 7]), option(SUBNET, &[9]), vec![1, 2, 3]].concat();
    let sent = query(&question(&TestServer::name("www"), A), &[&opt(1232, 1, 0, &options)]);
    for reply in server.everywhere(&sent, Outcome::BadVers).await {
        assert_eq!((reply.rcode_number(), reply.counts()), (16, [1, 0, 0, 1]));
        assert_eq!(reply.opt(), Some(our_opt(16, &[])));
    }
    let alone = packet(0, [0, 0, 0, 1], &[&opt(1232, 1, 0, &options)]);
    for reply in server.everywhere(&alone, Outcome::BadVers).await {
        assert_eq!((reply.rcode_number(), reply.counts()), (16, [0, 0, 0, 1]));
    }
}

/// From the least to the most that a reply may have: its OPT is whole, with what was asked for, whether or not the answer
/// fits beside it.
#[tokio::test]
async fn at_every_size_a_reply_fits_and_holds_its_options() {
    let records: String = (0..40).map(|host| format!("many A 10.0.0.{host}\n")).collect();
    let change = |config: &mut Config| config.server.identity = Some(IDENTITY.to_owned());
    let server = TestServer::of_file(&format!("$TTL 60\n{records}"), change).await;
    let options = [option(NSID, &[]), option(SUBNET, &[0, 1, 0, 0]), option(COOKIE, b"a client")].concat();
    let told = 11 + (4 + IDENTITY.len()) + (4 + 4) + (4 + 24);
    let asked = question(&TestServer::name("many"), A);
    let whole = 12 + asked.len() + 40 * 16 + told;
    assert!((513..1232).contains(&whole), "{whole}");
    for size in 512..=1232 {
        let outcome = if usize::from(size) < whole { Outcome::Truncated } else { Outcome::Answered };
        let sent = query(&asked, &[&opt(size, 0, 0, &options)]);
        let reply = server.counted(&Dig::to(server.address), &sent, outcome).await;
        let records = if outcome == Outcome::Answered { 40 } else { 0 };
        assert_eq!(reply.counts(), [1, records, 0, 1], "{size}");
        assert_eq!(reply.bytes.len(), if records > 0 { whole } else { whole - 40 * 16 }, "{size}");
        let codes: Vec<u16> = reply.options().into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, [COOKIE, NSID, SUBNET], "{size}");
    }
}
