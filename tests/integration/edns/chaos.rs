//! Class CHAOS: which server this is, and which software (RFC 4892).

use alternator_dns::{config::ServerConfig, server::Outcome};

use super::{EXTENDED_ERROR, our_opt, served};
use crate::support::{
    Reply, TestServer,
    packet::{name, opt, query, question_of},
};

const TXT: u16 = 16;
const ANY: u16 = 255;
const CHAOS: u16 = 3;

const IDENTITY_NAMES: [&str; 2] = ["id.server", "hostname.bind"];
const VERSION_NAMES: [&str; 2] = ["version.bind", "version.server"];

async fn ask(server: &TestServer, text: &str, qtype: u16, outcome: Outcome) -> Vec<Reply> {
    let asked = question_of(&name(text), qtype, CHAOS);
    let replies = server.everywhere(&query(&asked, &[]), outcome).await;
    for reply in &replies {
        assert_eq!(reply.bytes[12..12 + asked.len()], asked, "the question comes back as it was: {text}");
    }
    replies
}

/// One TXT record of class CH and TTL 0, whose owner is the question's name.
async fn assert_told(server: &TestServer, text: &str, told: &str) {
    for text in [text.to_owned(), text.to_uppercase()] {
        for qtype in [TXT, ANY] {
            let len = told.len() as u8;
            let record = [&[0xC0, 12, 0, 16, 0, 3, 0, 0, 0, 0, 0, len + 1, len], told.as_bytes()].concat();
            for reply in ask(server, &text, qtype, Outcome::Answered).await {
                assert_eq!(reply.flags(), 0x8400, "NOERROR, AA");
                assert_eq!((reply.counts(), reply.bytes.ends_with(&record)), ([1, 1, 0, 0], true), "{text} {qtype}");
            }
        }
    }
}

async fn assert_refused(server: &TestServer, text: &str, qtype: u16) {
    for reply in ask(server, text, qtype, Outcome::Refused).await {
        assert_eq!((reply.flags(), reply.counts()), (0x8005, [1, 0, 0, 0]), "{text} {qtype}");
    }
    let edns = query(&question_of(&name(text), qtype, CHAOS), &[&opt(1232, 0, 0, &[])]);
    for reply in server.everywhere(&edns, Outcome::Refused).await {
        assert_eq!(reply.opt(), Some(our_opt(5, &[(EXTENDED_ERROR, &[0, 21])])), "{text} {qtype}");
    }
}

async fn called(identity: Option<&str>, version: Option<&str>) -> TestServer {
    served(|server: &mut ServerConfig| {
        server.identity = identity.map(str::to_owned);
        server.version = version.map(str::to_owned);
    })
    .await
}

#[tokio::test]
async fn a_server_tells_what_it_is_called_and_which_software_it_is_where_it_may() {
    let server = called(Some("ns1.ams"), Some("alternator-dns 9")).await;
    for text in IDENTITY_NAMES {
        assert_told(&server, text, "ns1.ams").await;
    }
    for text in VERSION_NAMES {
        assert_told(&server, text, "alternator-dns 9").await;
    }
}

#[tokio::test]
async fn what_is_not_configured_is_not_told() {
    for (identity, version, hidden) in [
        (None, None, [IDENTITY_NAMES, VERSION_NAMES].concat()),
        (Some("ns1"), None, VERSION_NAMES.to_vec()),
        (None, Some("1"), IDENTITY_NAMES.to_vec()),
    ] {
        let server = called(identity, version).await;
        for text in hidden {
            for qtype in [TXT, ANY] {
                assert_refused(&server, text, qtype).await;
            }
        }
    }
}

#[tokio::test]
async fn no_other_name_or_type_exists_in_chaos() {
    let server = called(Some("ns1"), Some("1")).await;
    for text in IDENTITY_NAMES.into_iter().chain(VERSION_NAMES) {
        for qtype in [1, 2, 6, 28, 46, 252, 65280] {
            assert_refused(&server, text, qtype).await;
        }
    }
    for text in
        ["", "server", "bind", "x.id.server", "authors.bind", "www.alternator.local", "alternator.local", "id.serve"]
    {
        assert_refused(&server, text, TXT).await;
    }
    // In class IN they are names like any other, of no zone here.
    for reply in server.everywhere(&query(&question_of(&name("id.server"), TXT, 1), &[]), Outcome::Refused).await {
        assert_eq!((reply.flags(), reply.counts()), (0x8005, [1, 0, 0, 0]));
    }
}

#[tokio::test]
async fn the_longest_identity_is_told_whole() {
    let identity = "x".repeat(64);
    let server = called(Some(&identity), None).await;
    assert_told(&server, "id.server", &identity).await;
}
