//! 002 and 003, 005, 010, 012, 020, 021, 045: names, sizes, families, zones large and small.

use std::collections::BTreeSet;

use alternator_dns::{
    config::{Flags, ZoneConfig},
    server::Outcome,
};
use hickory_proto::rr::{Name, RecordType};

use super::{A, AAAA, ask, assert_soa_of, plain, serving};
use crate::support::{
    Dig, TestServer, ZONE,
    packet::{name, opt, query, question, question_of},
    set,
};

#[tokio::test]
async fn t002_noerr_what_is_there_is_answered_with_aa() {
    let server = serving("$TTL 60\n@ A 10.0.0.9\nfoo A 10.0.0.1\na.b.c.d A 10.0.0.2\nten TXT \"ten\"\n").await;
    for (below, address) in [("", "10.0.0.9"), ("foo", "10.0.0.1"), ("a.b.c.d", "10.0.0.2")] {
        for reply in ask(&server, below, A, Outcome::Answered).await {
            assert_eq!((reply.flags(), reply.counts(), reply.set()), (0x8400, [1, 1, 0, 0], set(&[address])));
        }
    }
}

#[tokio::test]
async fn t003_simple_errs_negatives_tell_which_names_there_are() {
    let server = serving("$TTL 60\nfoo A 10.0.0.1\na.b.c.d A 10.0.0.2\n").await;
    // At a leaf, and where there is nothing but something below.
    for (below, qtype) in [("foo", AAAA), ("foo", 16), ("a.b.c.d", 15), ("b.c.d", A), ("c.d", A), ("d", A), ("d", 2)] {
        for reply in ask(&server, below, qtype, Outcome::NoData).await {
            assert_eq!((reply.flags(), reply.counts()), (0x8400, [1, 0, 1, 0]), "{below}");
            assert_soa_of(&reply, ZONE);
        }
    }
    for below in ["x", "y.x", "z.y.x", "w.z.y.x", "x.foo", "x.a.b.c.d", "x.b.c.d", "fo", "fooo"] {
        for reply in ask(&server, below, A, Outcome::NxDomain).await {
            assert_eq!((reply.flags(), reply.counts()), (0x8403, [1, 0, 1, 0]), "{below}");
            assert_soa_of(&reply, ZONE);
        }
    }
    for outside in ["", "local", "com", "example.com", "x.local", "foo.alternator.local.example"] {
        for reply in server.everywhere(&plain(outside, A), Outcome::Refused).await {
            assert_eq!((reply.flags(), reply.counts()), (0x8005, [1, 0, 0, 0]), "{outside:?}");
        }
    }
}

/// The same set over UDP of every size and over TCP: whole, or TC and nothing, exactly where it stops fitting.
#[tokio::test]
async fn t005_big_sets_are_whole_or_not_there() {
    let big: String = (0..100).map(|host| format!("big A 10.0.1.{host}\n")).collect();
    let server = serving(&format!("$TTL 60\n{big}")).await;
    let asked = question(&TestServer::name("big"), A);
    let bare = 12 + asked.len() + 100 * 16;
    let mut over_tcp = BTreeSet::new();
    for address in server.app.addresses() {
        for size in [None, Some(512), Some(1024), Some(1232), Some(4096), Some(65_535)] {
            let edns: Vec<Vec<u8>> = size.map(|size| opt(size, 0, 0, &[])).into_iter().collect();
            let sent = query(&asked, &edns.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let cut = server.counted(&Dig::to(*address), &sent, Outcome::Truncated).await;
            assert_eq!((cut.flags(), cut.counts()), (0x8600, [1, 0, 0, edns.len() as u16]), "{size:?}");
            let whole = server.counted(&Dig::to(*address).tcp(), &sent, Outcome::Answered).await;
            assert_eq!((whole.flags(), whole.counts()), (0x8400, [1, 100, 0, edns.len() as u16]), "{size:?}");
            assert_eq!((whole.bytes.len(), whole.set().len()), (bare + 11 * edns.len(), 100));
            over_tcp.insert(whole.bytes[12..bare].to_vec());
        }
    }
    assert_eq!(over_tcp.len(), 1, "always the same octets");
}

/// Mixed case, and octets that are no letters: in a zone file they are escaped.
#[tokio::test]
async fn t010_chars_are_matched_by_case_and_given_back_as_they_were() {
    let file = "$TTL 60\nCase A 10.0.0.1\n_under-score A 10.0.0.1\n3com A 10.0.0.1\na\\.dot A 10.0.0.1\n\
                sp\\032ace A 10.0.0.1\nnul\\000l A 10.0.0.1\nhigh\\200 A 10.0.0.1\n\\@ A 10.0.0.1\n";
    let server = serving(file).await;
    let labels: [&[u8]; 10] =
        [b"case", b"CASE", b"cAsE", b"_under-score", b"3com", b"a.dot", b"sp ace", b"nul\0l", b"high\xC8", b"@"];
    for label in labels {
        let owner = [&[label.len() as u8], label, &name(ZONE)].concat();
        let asked = question_of(&owner, A, 1);
        for reply in server.everywhere(&query(&asked, &[]), Outcome::Answered).await {
            assert_eq!(reply.bytes[12..12 + asked.len()], asked, "{label:02x?}");
            assert_eq!(reply.bytes[12 + asked.len()..][..2], [0xC0, 12]);
        }
    }
    // What folds in no other way than A to Z does.
    for label in [&b"high\xE8"[..], b"[under-score", b"a\x00dot", b"`"] {
        let owner = [&[label.len() as u8], label, &name(ZONE)].concat();
        server.everywhere(&query(&question_of(&owner, A, 1), &[]), Outcome::NxDomain).await;
    }
}

#[tokio::test]
async fn t012_aaaa_each_family_by_itself() {
    let server = serving("$TTL 60\nv4 A 10.0.0.1\nv6 AAAA fd00::1\nboth A 10.0.0.1\nboth AAAA fd00::1\n").await;
    for (below, v4, v6) in [("v4", true, false), ("v6", false, true), ("both", true, true)] {
        for (qtype, rtype, is_there, address) in
            [(A, RecordType::A, v4, "10.0.0.1"), (AAAA, RecordType::AAAA, v6, "fd00::1")]
        {
            let outcome = if is_there { Outcome::Answered } else { Outcome::NoData };
            for reply in ask(&server, below, qtype, outcome).await {
                assert_eq!(reply.set(), if is_there { set(&[address]) } else { BTreeSet::new() }, "{below}");
                assert!(reply.answers().iter().all(|record| record.record_type() == rtype), "never the other family");
                assert_eq!(reply.counts()[3], 0, "nor beside it");
                assert!(is_there || reply.is_nodata());
            }
        }
    }
}

/// A zone of one label; its name servers below it.
#[tokio::test]
async fn t020_tld_a_zone_of_one_label_is_a_zone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    let text = "$TTL 60\n@ SOA a.nic hostmaster 1 1h 10m 7d 9\n@ NS a.nic\na.nic A 10.0.0.53\nwww.sub A 10.0.0.1\n";
    std::fs::write(&file, text).unwrap();
    let mut zone = ZoneConfig::new(Name::from_ascii("tld.").unwrap());
    zone.file = Some(file);
    let server = TestServer::start(TestServer::in_both_families(TestServer::config(&zone))).await;
    for reply in server.everywhere(&plain("tld", 2), Outcome::Answered).await {
        assert_eq!((reply.flags(), reply.counts()), (0x8400, [1, 1, 0, 1]));
    }
    for (text, qtype, outcome) in [
        ("www.sub.tld", A, Outcome::Answered),
        ("TLD", 6, Outcome::Answered),
        ("sub.tld", A, Outcome::NoData),
        ("nic.tld", A, Outcome::NoData),
        ("nope.tld", A, Outcome::NxDomain),
        ("", 6, Outcome::Refused),
        ("ld", A, Outcome::Refused),
        ("tld.tl", A, Outcome::Refused),
    ] {
        for reply in server.everywhere(&plain(text, qtype), outcome).await {
            if matches!(outcome, Outcome::NoData | Outcome::NxDomain) {
                assert_soa_of(&reply, "tld");
            }
        }
    }
}

/// The root is nobody's zone here: it is refused before anything is served.
#[test]
fn t021_root_is_no_zone() {
    let folder = tempfile::tempdir().unwrap();
    for apex in [".", ""] {
        let file = folder.path().join("alternator-dns.toml");
        std::fs::write(&file, format!("[zones.\"{apex}\"]\nttl = \"5s\"\n")).unwrap();
        let flags = Flags { config: Some(file), ..Flags::default() };
        let problems = alternator_dns::config::load(&flags, [], &[] as &[&std::path::Path]).unwrap_err();
        assert!(format!("{problems:?}").contains("the root is none"), "{problems:?}");
    }
}

/// As many zones as an operator may have, some of them below others: each answers for its own names.
#[tokio::test]
async fn t045_many_zones_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let zone = |number: u32, apex: String| {
        let file = folder.path().join(number.to_string());
        std::fs::write(&file, format!("$TTL 60\nwww A 10.1.{}.{}\n", number / 256, number % 256)).unwrap();
        ZoneConfig { file: Some(file), ..ZoneConfig::new(Name::from_ascii(apex).unwrap()) }
    };
    let apex = |number: u32| match number {
        // A twentieth of them below others.
        number if number % 20 == 7 => format!("sub.z{}.test.", number - 1),
        number => format!("z{number}.test."),
    };
    let zones: Vec<ZoneConfig> = (0..400).map(|number| zone(number, apex(number))).collect();
    let mut config = TestServer::config(&zones[0]);
    config.zones = zones;
    let server = TestServer::start(TestServer::in_both_families(config)).await;
    for number in 0..400 {
        let apex = apex(number);
        let address = format!("10.1.{}.{}", number / 256, number % 256);
        for by in [Dig::to(server.address), Dig::to(server.address).tcp()] {
            let reply = server.counted(&by, &plain(&format!("www.{apex}"), A), Outcome::Answered).await;
            assert_eq!(reply.set(), set(&[&address]), "{apex}");
        }
        let missing =
            server.counted(&Dig::to(server.address), &plain(&format!("x.{apex}"), A), Outcome::NxDomain).await;
        assert_soa_of(&missing, apex.trim_end_matches('.'));
    }
    for reply in server.everywhere(&plain("www.z400.test", A), Outcome::Refused).await {
        assert_eq!(reply.counts(), [1, 0, 0, 0]);
    }
}
