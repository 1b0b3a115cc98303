//! The options of EDNS(0), one by one and together, asked for over UDP and TCP, IPv4 and IPv6, and counted.
//!
//! | module | RFC |
//! |---|---|
//! | [`cookies`] | 7873, 9018: DNS cookies |
//! | [`options`] | 5001 NSID, 7871 client subnet, 7828 keepalive, 7830 padding, 6891 unknown ones, all at once |
//! | [`zone_version`] | 9660: the SOA serial |
//! | [`errors`] | 8914: extended errors, and what is left out where room is short |
//! | [`chaos`] | 4892: which server this is, without EDNS |

mod chaos;
mod cookies;
mod errors;
mod options;
mod zone_version;

use alternator_dns::{config::ServerConfig, server::Outcome};

use crate::support::{
    Reply, TestServer,
    packet::{Opt, name, opt, query, question},
};

const A: u16 = 1;

const NSID: u16 = 3;
const SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
const EXTENDED_ERROR: u16 = 15;
const ZONE_VERSION: u16 = 19;

/// A server of a zone file, with `www` in it.
async fn served(change: impl FnOnce(&mut ServerConfig)) -> TestServer {
    TestServer::of_file("$TTL 60\nwww A 10.0.0.1\n", |config| change(&mut config.server)).await
}

/// A query for a name below the zone, with these options.
fn asking(below: &str, qtype: u16, options: &[Vec<u8>]) -> Vec<u8> {
    query(&question(&TestServer::name(below), qtype), &[&opt(1232, 0, 0, &options.concat())])
}

/// A query for `www`, with these options.
fn www(options: &[Vec<u8>]) -> Vec<u8> {
    asking("www", A, options)
}

/// Our OPT with these options.
fn our_opt(rcode: u16, options: &[(u16, &[u8])]) -> Opt {
    let options = options.iter().map(|(code, data)| (*code, data.to_vec())).collect();
    Opt { size: 1232, extended_rcode: (rcode >> 4) as u8, version: 0, flags: 0, options }
}

/// Nothing but header, question and our OPT without options.
fn assert_formerr(reply: &Reply, sent: &[u8], about: &str) {
    assert_eq!((reply.rcode_number(), reply.is_authoritative()), (1, false), "{about}");
    assert_eq!(reply.counts(), [1, 0, 0, 1], "{about}");
    let asked = name(&TestServer::name("www")).len() + 4;
    assert_eq!(reply.bytes[12..12 + asked], sent[12..12 + asked], "{about}: the question");
    assert_eq!(reply.opt(), Some(our_opt(1, &[])), "{about}");
}

/// The one address of `www`.
fn assert_answered(reply: &Reply, about: &str) {
    assert_eq!((reply.rcode_number(), reply.counts()), (0, [1, 1, 0, 1]), "{about}");
    assert_eq!(reply.set(), crate::support::set(&["10.0.0.1"]), "{about}");
}

/// Asks for `www` everywhere; the replies are answers with these options.
async fn assert_options(server: &TestServer, asked: &[Vec<u8>], expected: &[(u16, &[u8])], about: &str) {
    for reply in server.everywhere(&www(asked), Outcome::Answered).await {
        assert_answered(&reply, about);
        assert_eq!(reply.opt(), Some(our_opt(0, expected)), "{about}");
    }
}
