//! DNS cookies (RFC 7873, RFC 9018).

use std::{
    hash::Hasher,
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use alternator_dns::{
    config::{CookieConfig, CookiePolicy, CookieSecret},
    server::Outcome,
};
use siphasher::sip::SipHasher24;

use super::{A, COOKIE, NSID, asking, assert_answered, assert_formerr, our_opt, served, www};
use crate::support::{
    Dig, Reply, TestServer, ip,
    packet::{opt, option, packet, query, question},
};

const SECRET: CookieSecret = *b"a secret of ours";
const OTHER: CookieSecret = *b"the one that was";
const CLIENT: [u8; 8] = *b"a client";
const BADCOOKIE: u16 = 23;

async fn with(policy: CookiePolicy, secrets: &[CookieSecret]) -> TestServer {
    let secrets = secrets.to_vec();
    served(|server| server.cookies = CookieConfig { policy, secrets }).await
}

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32
}

/// A cookie made here from the text of RFC 9018 section 4, so that the server is not the judge of its own.
fn made(secret: CookieSecret, made_at: u32, source: IpAddr) -> Vec<u8> {
    let mut cookie = [&CLIENT[..], &[1, 0, 0, 0], &made_at.to_be_bytes()].concat();
    let mut hasher = SipHasher24::new_with_key(&secret);
    hasher.write(&cookie);
    match source {
        IpAddr::V4(source) => hasher.write(&source.octets()),
        IpAddr::V6(source) => hasher.write(&source.octets()),
    }
    cookie.extend(hasher.finish().to_le_bytes());
    cookie
}

/// The cookie of a reply, its only option.
fn cookie_in(reply: &Reply) -> Vec<u8> {
    match &reply.options()[..] {
        [(COOKIE, cookie)] if cookie.len() == 24 && cookie[..8] == CLIENT => cookie.clone(),
        others => panic!("a cookie for {CLIENT:02x?}, not {others:02x?}"),
    }
}

/// Asks over UDP from here, with this cookie.
async fn told(server: &TestServer, by: &Dig, cookie: &[u8], outcome: Outcome) -> Reply {
    server.counted(by, &www(&[option(COOKIE, cookie)]), outcome).await
}

/// BADCOOKIE tells nothing but a cookie.
fn assert_badcookie(reply: &Reply) -> Vec<u8> {
    assert_eq!((reply.rcode_number(), reply.is_authoritative()), (BADCOOKIE, false));
    assert_eq!(reply.counts(), [1, 0, 0, 1]);
    let cookie = cookie_in(reply);
    assert_eq!(reply.opt(), Some(our_opt(BADCOOKIE, &[(COOKIE, &cookie)])));
    cookie
}

#[tokio::test]
async fn a_clients_part_is_answered_with_the_cookie_of_the_standard() {
    let server = with(CookiePolicy::Optional, &[SECRET]).await;
    for reply in server.everywhere(&www(&[option(COOKIE, &CLIENT)]), Outcome::Answered).await {
        assert_answered(&reply, "a client's part alone");
        let cookie = cookie_in(&reply);
        let made_at = u32::from_be_bytes(cookie[12..16].try_into().unwrap());
        assert!(now().wrapping_sub(made_at) < 60, "{made_at} is now");
        // IPv4 or IPv6: it was made for the one or the other.
        let expected = ["127.0.0.1", "::1"].map(|source| made(SECRET, made_at, ip(source)));
        assert!(expected.contains(&cookie), "{cookie:02x?}");
    }
    for reply in server.everywhere(&www(&[]), Outcome::Answered).await {
        assert_eq!(reply.opt(), Some(our_opt(0, &[])), "nobody gets one unasked");
    }
    // It comes with whatever the answer is.
    for (below, qtype, outcome) in [
        ("www", 28, Outcome::NoData),
        ("nope", A, Outcome::NxDomain),
        ("www", 255, Outcome::Answered),
        ("www", 252, Outcome::Refused),
        ("www", 250, Outcome::NotImp),
    ] {
        for reply in server.everywhere(&asking(below, qtype, &[option(COOKIE, &CLIENT)]), outcome).await {
            assert_eq!(reply.options()[0].1[..8], CLIENT, "{below} {qtype}");
        }
    }
}

#[tokio::test]
async fn a_cookie_brought_back_from_its_address_is_good_and_from_another_is_not() {
    let server = with(CookiePolicy::Optional, &[SECRET]).await;
    for address in server.app.addresses() {
        for by in [Dig::to(*address), Dig::to(*address).tcp()] {
            let cookie = cookie_in(&told(&server, &by, &CLIENT, Outcome::Answered).await);
            for _ in 0..3 {
                let again = told(&server, &by, &cookie, Outcome::Answered).await;
                assert_answered(&again, "with a cookie");
                assert_eq!(cookie_in(&again), cookie, "a good one is kept");
            }
            // Another client's part, another time, another hash: none is good, all are answered, with a good one.
            for at in [0, 15, 23] {
                let mut wrong = cookie.clone();
                wrong[at] ^= 1;
                let reply = server.counted(&by, &www(&[option(COOKIE, &wrong)]), Outcome::Answered).await;
                let given = &reply.options()[0].1;
                assert!(given[..8] == wrong[..8] && given[8..] != wrong[8..], "octet {at}");
            }
        }
    }
    let [here, there] = ["127.0.0.1", "127.21.1.2"].map(|source| Dig::to(server.address).from(source));
    let cookie = cookie_in(&told(&server, &here, &CLIENT, Outcome::Answered).await);
    let other = cookie_in(&told(&server, &there, &cookie, Outcome::Answered).await);
    assert_ne!(cookie, other, "it is the other's now");
    assert_eq!(cookie_in(&told(&server, &there, &other, Outcome::Answered).await), other);
}

#[tokio::test]
async fn lengths_that_no_cookie_has_are_formerr() {
    for policy in [CookiePolicy::Optional, CookiePolicy::Required] {
        let server = with(policy, &[SECRET]).await;
        for len in [0, 1, 7, 9, 15, 41, 100] {
            let sent = www(&[option(COOKIE, &vec![7; len])]);
            for reply in server.everywhere(&sent, Outcome::FormErr).await {
                assert_formerr(&reply, &sent, &format!("{len} octets"));
            }
        }
    }
    let server = with(CookiePolicy::Optional, &[SECRET]).await;
    for len in [8, 16, 17, 23, 24, 25, 39, 40] {
        let sent = www(&[option(COOKIE, &[&CLIENT[..], &[7; 32]].concat()[..len])]);
        for reply in server.everywhere(&sent, Outcome::Answered).await {
            cookie_in(&reply);
        }
    }
    // Of two, the first counts.
    let two = www(&[option(COOKIE, &CLIENT), option(COOKIE, b"somebody")]);
    for reply in server.everywhere(&two, Outcome::Answered).await {
        cookie_in(&reply);
    }
}

#[tokio::test]
async fn a_server_without_cookies_ignores_the_option_whatever_it_holds() {
    let server = with(CookiePolicy::Off, &[]).await;
    for len in [0, 1, 7, 8, 15, 24, 41] {
        for reply in server.everywhere(&www(&[option(COOKIE, &vec![7; len])]), Outcome::Answered).await {
            assert_answered(&reply, "cookies are off");
            assert_eq!(reply.opt(), Some(our_opt(0, &[])));
        }
    }
    let alone = packet(0, [0, 0, 0, 1], &[&opt(1232, 0, 0, &option(COOKIE, &CLIENT))]);
    for reply in server.everywhere(&alone, Outcome::FormErr).await {
        assert_eq!((reply.counts(), reply.opt()), ([0, 0, 0, 1], Some(our_opt(1, &[]))));
    }
}

#[tokio::test]
async fn where_cookies_are_required_udp_is_answered_to_those_who_bring_theirs_back() {
    let server = with(CookiePolicy::Required, &[SECRET]).await;
    // Who knows no cookies is answered.
    for reply in server.everywhere(&www(&[]), Outcome::Answered).await {
        assert_answered(&reply, "no cookie");
    }
    for address in server.app.addresses() {
        let (udp, tcp) = (Dig::to(*address), Dig::to(*address).tcp());
        let cookie = assert_badcookie(&told(&server, &udp, &CLIENT, Outcome::BadCookie).await);
        let answered = told(&server, &udp, &cookie, Outcome::Answered).await;
        assert_answered(&answered, "after the retry");
        assert_eq!(cookie_in(&answered), cookie);
        let mut wrong = cookie.clone();
        wrong[20] ^= 0x10;
        assert_badcookie(&told(&server, &udp, &wrong, Outcome::BadCookie).await);
        assert_badcookie(&told(&server, &udp, &[&CLIENT[..], &[1; 32]].concat(), Outcome::BadCookie).await);
        // Over TCP the address is known to be real.
        for cookie in [&CLIENT[..], &wrong] {
            assert_answered(&told(&server, &tcp, cookie, Outcome::Answered).await, "over TCP");
        }
        // Whatever is asked, the cookie comes first: not even who answers what is told.
        for below in ["nope", "www", ""] {
            for qtype in [A, 255, 252] {
                let sent = asking(below, qtype, &[option(COOKIE, &CLIENT)]);
                assert_badcookie(&server.counted(&udp, &sent, Outcome::BadCookie).await);
            }
        }
        let outside = query(&question("example.com", A), &[&opt(1232, 0, 0, &option(COOKIE, &CLIENT))]);
        assert_badcookie(&server.counted(&udp, &outside, Outcome::BadCookie).await);
    }
}

#[tokio::test]
async fn cookies_live_for_an_hour_and_clocks_may_differ_by_minutes() {
    let server = with(CookiePolicy::Required, &[SECRET]).await;
    for address in server.app.addresses() {
        let by = Dig::to(*address);
        // Seconds of age; those around the bounds are tested where the clock can be set.
        for age in [0, 60, 1700, 1900, 3500, -200] {
            let cookie = made(SECRET, now().wrapping_add_signed(-age), address.ip());
            let reply = told(&server, &by, &cookie, Outcome::Answered).await;
            let is_kept = (0..=1800).contains(&age);
            assert_eq!(cookie_in(&reply) == cookie, is_kept, "after half an hour it is replaced: {age}");
        }
        for age in [3700, 86_400, -400, i32::MAX] {
            let cookie = made(SECRET, now().wrapping_add_signed(-age), address.ip());
            assert_badcookie(&told(&server, &by, &cookie, Outcome::BadCookie).await);
        }
        for cookie in [made(OTHER, now(), address.ip()), made(SECRET, now(), ip("192.0.2.1"))] {
            assert_badcookie(&told(&server, &by, &cookie, Outcome::BadCookie).await);
        }
    }
}

#[tokio::test]
async fn a_secret_is_replaced_without_anybody_noticing() {
    let before = with(CookiePolicy::Required, &[OTHER]).await;
    let between = with(CookiePolicy::Required, &[SECRET, OTHER]).await;
    let after = with(CookiePolicy::Required, &[SECRET]).await;
    let by = |server: &TestServer| Dig::to(server.address);
    let old = assert_badcookie(&told(&before, &by(&before), &CLIENT, Outcome::BadCookie).await);
    let new = cookie_in(&told(&between, &by(&between), &old, Outcome::Answered).await);
    assert_ne!(old, new, "accepted, and replaced by one of the new secret");
    assert_eq!(cookie_in(&told(&between, &by(&between), &new, Outcome::Answered).await), new);
    assert_eq!(cookie_in(&told(&after, &by(&after), &new, Outcome::Answered).await), new);
    assert_badcookie(&told(&after, &by(&after), &old, Outcome::BadCookie).await);
}

#[tokio::test]
async fn servers_of_one_secret_accept_each_others_cookies_and_others_do_not() {
    let one = with(CookiePolicy::Required, &[SECRET]).await;
    let two = with(CookiePolicy::Required, &[SECRET]).await;
    // Secrets made up at the start.
    let [three, four] = [with(CookiePolicy::Required, &[]).await, with(CookiePolicy::Required, &[]).await];
    let all: [SocketAddr; 4] = [&one, &two, &three, &four].map(|server| server.address);
    for (from, to, is_accepted) in
        [(&one, &two, true), (&two, &one, true), (&one, &three, false), (&three, &four, false), (&three, &three, true)]
    {
        let cookie = assert_badcookie(&told(from, &Dig::to(from.address), &CLIENT, Outcome::BadCookie).await);
        let outcome = if is_accepted { Outcome::Answered } else { Outcome::BadCookie };
        let reply = told(to, &Dig::to(to.address), &cookie, outcome).await;
        assert_eq!(cookie_in(&reply) == cookie, is_accepted, "{} to {} of {all:?}", from.address, to.address);
    }
}

/// RFC 7873 section 5.4: a query without a question only asks for a cookie.
#[tokio::test]
async fn a_cookie_may_be_asked_for_without_a_question() {
    let alone = |options: &[Vec<u8>]| packet(0x0100, [0, 0, 0, 1], &[&opt(1232, 0, 0, &options.concat())]);
    for policy in [CookiePolicy::Optional, CookiePolicy::Required] {
        let server = with(policy, &[SECRET]).await;
        for address in server.app.addresses() {
            for by in [Dig::to(*address), Dig::to(*address).tcp()] {
                let ask = async |cookie: &[u8], outcome, rcode| {
                    let reply = server.counted(&by, &alone(&[option(COOKIE, cookie)]), outcome).await;
                    assert_eq!((reply.rcode_number(), reply.counts()), (rcode, [0, 0, 0, 1]));
                    assert_eq!(reply.flags() & 0xFFF0, 0x8100, "RD is echoed, nothing is claimed");
                    cookie_in(&reply)
                };
                let cookie = ask(&CLIENT, Outcome::NoData, 0).await;
                assert_eq!(ask(&cookie, Outcome::NoData, 0).await, cookie);
                let mut wrong = cookie.clone();
                wrong[9] ^= 1;
                assert_ne!(ask(&wrong, Outcome::BadCookie, BADCOOKIE).await, wrong);
                let expired = made(SECRET, now() - 3700, address.ip());
                assert_ne!(ask(&expired, Outcome::BadCookie, BADCOOKIE).await, expired);
            }
        }
        for (about, options) in [
            ("no option", vec![]),
            ("other options", vec![option(NSID, &[])]),
            ("a wrong length", vec![option(COOKIE, &[1; 9])]),
        ] {
            for reply in server.everywhere(&alone(&options), Outcome::FormErr).await {
                assert_eq!((reply.rcode_number(), reply.counts()), (1, [0, 0, 0, 1]), "{about}");
                assert_eq!(reply.opt(), Some(our_opt(1, &[])), "{about}");
            }
        }
        for reply in server.everywhere(&packet(0, [0; 4], &[]), Outcome::FormErr).await {
            assert_eq!(reply.bytes.len(), 12, "no OPT, no OPT");
        }
    }
}

/// Whoever brings a cookie has not forged its address, and is answered with as much as fits.
#[tokio::test]
async fn long_lists_go_over_udp_to_those_who_bring_a_cookie() {
    let state = tempfile::tempdir().unwrap();
    let nodes = (1..=16).map(|node| ip(&format!("127.21.2.{node}")));
    let mut config = TestServer::config(&crate::support::remembering(crate::support::ZONE, state.path(), nodes));
    config.server.state_dir = Some(state.path().to_owned());
    config.server.cookies.secrets = vec![SECRET];
    let server = TestServer::start(config).await;
    let ask = async |cookie: &[u8], outcome| {
        let sent = asking("_alternator._tcp", 33, &[option(COOKIE, cookie)]);
        (server.counted(&Dig::to(server.address), &sent, outcome).await, sent.len())
    };
    let (cut, asked) = ask(&CLIENT, Outcome::Truncated).await;
    assert!(cut.is_truncated() && cut.counts() == [1, 0, 0, 1] && cut.bytes.len() <= 5 * asked);
    let (whole, asked) = ask(&cookie_in(&cut), Outcome::Answered).await;
    assert!(!whole.is_truncated() && whole.answers().len() == 16, "{:?}", whole.counts());
    assert!((5 * asked..=1232).contains(&whole.bytes.len()), "{} octets", whole.bytes.len());
}
