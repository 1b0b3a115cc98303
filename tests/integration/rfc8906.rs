//! The compliance list of RFC 8906 (BCP 231), "Failure to Communicate": one test for each section that says what to ask
//! and what to expect. Everything is asked over UDP and TCP, IPv4 and IPv6, and counted.
//!
//! Sections 4 to 6 are about boxes in front of servers; what they break, section 8 asks for. No query of these tests
//! stays without a reply, which is the RFC's subject.

use alternator_dns::server::Outcome;
use hickory_proto::rr::RecordType;

use crate::support::{
    Dig, Reply, TestServer, ZONE,
    packet::{Opt, opt, option, packet, query, question},
};

const SOA: u16 = 6;
const DNSKEY: u16 = 48;

const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const RESERVED: u16 = 0x0040;
const AD: u16 = 0x0020;
const CD: u16 = 0x0010;

const DNSSEC_OK: u16 = 0x8000;
/// An EDNS flag that nobody has given a meaning.
const UNKNOWN_FLAG: u16 = 0x0040;
/// An EDNS option that nobody has given a meaning.
const UNKNOWN_OPTION: u16 = 100;

const BADVERS: u16 = 16;

async fn served() -> TestServer {
    let many: String = (1..=80).map(|host| format!("many A 10.0.0.{host}\n")).collect();
    TestServer::of_file(&format!("$TTL 60\nwww A 10.0.0.1\n{many}"), |_| {}).await
}

/// A question for the zone's SOA, with these flags.
fn soa(flags: u16) -> Vec<u8> {
    packet(flags, [1, 0, 0, 0], &[&question(ZONE, SOA)])
}

/// A question for the zone's SOA, with this OPT.
fn soa_with(opt: &[u8]) -> Vec<u8> {
    query(&question(ZONE, SOA), &[opt])
}

/// NOERROR and AA, the SOA in the answer section and nothing else; of the header no other flag but `flags`.
fn assert_soa(reply: &Reply, flags: u16) {
    assert_eq!(reply.flags(), 0x8400 | flags);
    assert_eq!(reply.counts()[..3], [1, 1, 0]);
    assert_eq!(reply.answers()[0].record_type(), RecordType::SOA);
    assert_eq!(reply.flags() & (RA | RESERVED | AD), 0);
}

/// BADVERS, not AA, no SOA, and an OPT of version 0 that repeats nothing.
fn assert_badvers(reply: &Reply, flags: u16) {
    assert_eq!(reply.rcode_number(), BADVERS);
    assert!(!reply.is_authoritative());
    assert_eq!(reply.counts(), [1, 0, 0, 1]);
    assert_eq!(reply.opt(), Some(ours(BADVERS, flags)));
}

/// Our OPT: version 0, no options.
fn ours(rcode: u16, flags: u16) -> Opt {
    Opt { size: 1232, extended_rcode: (rcode >> 4) as u8, version: 0, flags, options: Vec::new() }
}

/// Section 7, response code selection: NOTIMP tells of an opcode, BADVERS of an EDNS version, REFUSED of a zone that is
/// not here; a type that is not known is no error. None of them is SERVFAIL or FORMERR, which say "try elsewhere" or
/// "ask without EDNS".
#[tokio::test]
async fn section_7_response_codes_tell_what_is_the_matter() {
    let server = served().await;
    let plain = opt(1232, 0, 0, &[]);
    for (sent, outcome, rcode) in [
        (packet(15 << 11, [1, 0, 0, 1], &[&question(ZONE, SOA), &plain]), Outcome::NotImp, 4),
        (soa_with(&opt(1232, 255, 0, &[])), Outcome::BadVers, BADVERS),
        (query(&question("example.com", SOA), &[&plain]), Outcome::Refused, 5),
        (query(&question(ZONE, 1000), &[&plain]), Outcome::NoData, 0),
        (query(&question("nope.alternator.local", 1000), &[&plain]), Outcome::NxDomain, 3),
    ] {
        for reply in server.everywhere(&sent, outcome).await {
            assert_eq!(reply.rcode_number(), rcode);
        }
    }
}

/// Section 8.1.1, is the server configured for the zone: NOERROR, AA, the SOA, no RD, no AD, no OPT.
#[tokio::test]
async fn section_8_1_1_the_server_is_configured_for_the_zone() {
    let server = served().await;
    for reply in server.everywhere(&soa(0), Outcome::Answered).await {
        assert_soa(&reply, 0);
        assert_eq!(reply.opt(), None);
    }
}

/// Section 8.1.2, unknown types: NOERROR and AA with an empty answer section.
#[tokio::test]
async fn section_8_1_2_unknown_types() {
    let server = served().await;
    for rtype in [1000, 65280, 65535] {
        for reply in server.everywhere(&query(&question(ZONE, rtype), &[]), Outcome::NoData).await {
            assert_eq!((reply.flags(), reply.counts()), (0x8400, [1, 0, 1, 0]));
            assert!(reply.is_nodata());
        }
    }
}

/// Section 8.1.3.1, CD=1: the SOA as without it. CD may be handed back.
#[tokio::test]
async fn section_8_1_3_1_checking_disabled() {
    let server = served().await;
    for reply in server.everywhere(&soa(CD), Outcome::Answered).await {
        assert_soa(&reply, CD);
    }
}

/// Section 8.1.3.2, AD=1: the SOA; AD is not set by a server that validates nothing.
#[tokio::test]
async fn section_8_1_3_2_authentic_data() {
    let server = served().await;
    for reply in server.everywhere(&soa(AD), Outcome::Answered).await {
        assert_soa(&reply, 0);
    }
}

/// Section 8.1.3.3, the reserved bit: the SOA, and the bit is not copied.
#[tokio::test]
async fn section_8_1_3_3_the_reserved_bit() {
    let server = served().await;
    for reply in server.everywhere(&soa(RESERVED), Outcome::Answered).await {
        assert_soa(&reply, 0);
    }
}

/// Section 8.1.3.4, RD=1: the SOA, RD copied; RA says that nobody recurses here.
#[tokio::test]
async fn section_8_1_3_4_recursive_queries() {
    let server = served().await;
    for reply in server.everywhere(&soa(RD), Outcome::Answered).await {
        assert_soa(&reply, RD);
    }
    for reply in server.everywhere(&soa(RD | RA | RESERVED | AD | CD), Outcome::Answered).await {
        assert_soa(&reply, RD | CD);
    }
}

/// Section 8.1.4, unknown opcodes: a header alone is answered NOTIMP with the opcode, without SOA and AA.
#[tokio::test]
async fn section_8_1_4_unknown_opcodes() {
    let server = served().await;
    for opcode in [15, 3, 7, 8, 9, 10, 11, 12, 13, 14] {
        for reply in server.everywhere(&packet(opcode << 11, [0; 4], &[]), Outcome::NotImp).await {
            assert_eq!((reply.flags(), reply.counts()), (0x8004 | opcode << 11, [0; 4]));
            assert_eq!(reply.bytes.len(), 12);
        }
    }
}

/// Section 8.1.5, TCP: the SOA, as over UDP. (Every test here asks over both.)
#[tokio::test]
async fn section_8_1_5_tcp() {
    let server = served().await;
    let [udp, tcp] = server.both_raw(&soa(0), Outcome::Answered).await;
    assert_soa(&tcp, 0);
    assert_eq!(udp.bytes, tcp.bytes);
}

/// Section 8.2.1, minimal EDNS: the SOA, and an OPT of version 0.
#[tokio::test]
async fn section_8_2_1_minimal_edns() {
    let server = served().await;
    for reply in server.everywhere(&soa_with(&opt(4096, 0, 0, &[])), Outcome::Answered).await {
        assert_soa(&reply, 0);
        assert_eq!(reply.opt(), Some(ours(0, 0)));
    }
}

/// Section 8.2.2, version negotiation: BADVERS, no SOA, no AA, and an OPT of version 0.
#[tokio::test]
async fn section_8_2_2_version_negotiation() {
    let server = served().await;
    for version in [1, 2, 100, 255] {
        for reply in server.everywhere(&soa_with(&opt(4096, version, 0, &[])), Outcome::BadVers).await {
            assert_badvers(&reply, 0);
        }
    }
}

/// Section 8.2.3, unknown options: the SOA and an OPT, without the option.
#[tokio::test]
async fn section_8_2_3_unknown_options() {
    let server = served().await;
    for data in [&[][..], b"data"] {
        let sent = soa_with(&opt(4096, 0, 0, &option(UNKNOWN_OPTION, data)));
        for reply in server.everywhere(&sent, Outcome::Answered).await {
            assert_soa(&reply, 0);
            assert_eq!(reply.opt(), Some(ours(0, 0)));
        }
    }
}

/// Section 8.2.4, unknown flags: the SOA and an OPT, the flag not copied.
#[tokio::test]
async fn section_8_2_4_unknown_flags() {
    let server = served().await;
    for flags in [UNKNOWN_FLAG, 0x7FFF] {
        for reply in server.everywhere(&soa_with(&opt(4096, 0, flags, &[])), Outcome::Answered).await {
            assert_soa(&reply, 0);
            assert_eq!(reply.opt(), Some(ours(0, 0)));
        }
    }
}

/// Section 8.2.5, version 1 with an unknown flag: BADVERS, the flag not copied.
#[tokio::test]
async fn section_8_2_5_version_negotiation_with_unknown_flags() {
    let server = served().await;
    for reply in server.everywhere(&soa_with(&opt(4096, 1, UNKNOWN_FLAG, &[])), Outcome::BadVers).await {
        assert_badvers(&reply, 0);
    }
}

/// Section 8.2.6, version 1 with an unknown option: BADVERS, without the option.
#[tokio::test]
async fn section_8_2_6_version_negotiation_with_unknown_options() {
    let server = served().await;
    let sent = soa_with(&opt(4096, 1, 0, &option(UNKNOWN_OPTION, b"data")));
    for reply in server.everywhere(&sent, Outcome::BadVers).await {
        assert_badvers(&reply, 0);
    }
}

/// Section 8.2.7, truncated responses: 512 octets offered with DO=1, for keys and for what surely does not fit: an OPT of
/// version 0 in any case.
#[tokio::test]
async fn section_8_2_7_truncated_responses() {
    let server = served().await;
    let small = opt(512, 0, DNSSEC_OK, &[]);
    for reply in server.everywhere(&query(&question(ZONE, DNSKEY), &[&small]), Outcome::NoData).await {
        assert_eq!((reply.flags(), reply.opt()), (0x8400, Some(ours(0, DNSSEC_OK))));
    }
    let large = query(&question("many.alternator.local", 1), &[&small]);
    for address in server.app.addresses() {
        let cut = server.counted(&Dig::to(*address), &large, Outcome::Truncated).await;
        assert_eq!((cut.flags(), cut.counts()), (0x8600, [1, 0, 0, 1]), "AA and TC, and an OPT");
        assert_eq!(cut.opt(), Some(ours(0, DNSSEC_OK)));
        let whole = server.counted(&Dig::to(*address).tcp(), &large, Outcome::Answered).await;
        assert_eq!((whole.flags(), whole.counts()), (0x8400, [1, 80, 0, 1]));
        assert_eq!(whole.opt(), Some(ours(0, DNSSEC_OK)));
    }
}

/// Section 8.2.8, DO=1: the SOA, and DO copied (RFC 3225 section 3).
#[tokio::test]
async fn section_8_2_8_dnssec_ok() {
    let server = served().await;
    for reply in server.everywhere(&soa_with(&opt(4096, 0, DNSSEC_OK, &[])), Outcome::Answered).await {
        assert_soa(&reply, 0);
        assert_eq!(reply.opt(), Some(ours(0, DNSSEC_OK)));
    }
}

/// Section 8.2.9, version 1 with DO=1: BADVERS, with DO as in version 0.
#[tokio::test]
async fn section_8_2_9_version_negotiation_with_dnssec_ok() {
    let server = served().await;
    for reply in server.everywhere(&soa_with(&opt(4096, 1, DNSSEC_OK, &[])), Outcome::BadVers).await {
        assert_badvers(&reply, DNSSEC_OK);
    }
}

/// Section 8.2.10, several defined options: NSID, EXPIRE, a client subnet of nobody and a cookie, as `dig +nsid +expire
/// +subnet=0.0.0.0/0 +cookie` sends them: the SOA, and an OPT of version 0 that holds of these what is offered here.
#[tokio::test]
async fn section_8_2_10_several_defined_options() {
    let server = served().await;
    let subnet = [0, 1, 0, 0];
    let options = [option(3, &[]), option(9, &[]), option(8, &subnet), option(10, b"a client")].concat();
    for reply in server.everywhere(&soa_with(&opt(4096, 0, 0, &options)), Outcome::Answered).await {
        assert_soa(&reply, 0);
        let told = reply.opt().expect("an OPT");
        assert_eq!((told.version, told.flags, told.extended_rcode), (0, 0, 0));
        let [(10, cookie), (8, echoed)] = &told.options[..] else { panic!("a cookie and a subnet: {told:?}") };
        assert_eq!((&cookie[..8], cookie.len(), &echoed[..]), (&b"a client"[..], 24, &subnet[..]));
    }
}
