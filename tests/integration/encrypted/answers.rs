//! The same answers as over UDP and TCP, whichever way they go.

use alternator_dns::server::{Outcome, Transport, encrypted::Ending};
use hickory_proto::op::Message;

use super::clients::{Encrypted, TRANSPORTS, assert_host, host, receive, send};
use crate::support::{
    Dig, PATIENCE, ZONE,
    packet::{name, opt, option, packet, query, question, question_of},
};

/// Queries of all kinds, with an id of 0: QUIC allows no other.
fn queries() -> Vec<Vec<u8>> {
    let mut queries = vec![
        query(&question(&format!("h1.{ZONE}"), 1), &[]),
        query(&question(&format!("H1.{}", ZONE.to_uppercase()), 1), &[&opt(1232, 0, 0x8000, &[])]),
        query(&question(ZONE, 6), &[]),
        query(&question(ZONE, 2), &[]),
        query(&question(ZONE, 255), &[&opt(512, 0, 0, &[])]),
        query(&question(ZONE, 252), &[]),
        query(&question(&format!("nothing.{ZONE}"), 1), &[&opt(4096, 0, 0, &[])]),
        query(&question(&format!("h1.{ZONE}"), 28), &[]),
        query(&question("elsewhere.test", 1), &[]),
        query(&question_of(&name("version.bind"), 16, 3), &[]),
        query(&question(ZONE, 1), &[&opt(1232, 1, 0, &[])]),
        query(&question(ZONE, 1), &[&opt(1232, 0, 0, &option(8, &[0, 1, 24, 0, 10, 1, 2]))]),
        packet(0x2800, [1, 0, 0, 0], &[&question(ZONE, 6)]),
        packet(0, [2, 0, 0, 0], &[&question(ZONE, 6), &question(ZONE, 2)]),
        packet(0, [1, 0, 0, 0], &[b"\x09short"]),
        packet(0, [0, 0, 0, 0], &[]),
    ];
    queries.iter_mut().for_each(|query| query[..2].fill(0));
    queries
}

/// A reply without its OPT, whose options may differ by transport.
fn told(reply: &[u8]) -> (String, bool, Vec<u8>) {
    let mut message = Message::from_vec(reply).unwrap();
    let has_edns = message.edns.take().is_some();
    // The upper bits of the rcode are in the OPT.
    let rcode = message.metadata.response_code;
    (format!("{rcode:?} {:?}", message.metadata), has_edns, message.to_vec().unwrap())
}

#[tokio::test]
async fn every_transport_replies_as_tcp_does() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut stream = encrypted.tls().await;
    let (mut one, mut two) = (encrypted.https(false).await, encrypted.https(true).await);
    let quic = encrypted.quic().await;
    let queries = queries();
    for query in &queries {
        let tcp = Dig::to(encrypted.server.address).tcp().send(query, PATIENCE).await.unwrap();
        send(&mut stream, std::slice::from_ref(query)).await;
        let replies = [
            ("TLS", receive(&mut stream).await),
            ("HTTP/1.1 GET", one.get(query).await.body().to_vec()),
            ("HTTP/1.1 POST", one.post(query).await.body().to_vec()),
            ("HTTP/2 GET", two.get(query).await.body().to_vec()),
            ("HTTP/2 POST", two.post(query).await.body().to_vec()),
            ("QUIC", quic.ask(query).await),
        ];
        for (about, reply) in replies {
            assert_eq!(told(&reply), told(&tcp.bytes), "{about}: {query:02x?}");
        }
    }
    // Counted like any other, and nobody counted as dropped.
    let total = encrypted.server.app.counters().total();
    assert_eq!((total, encrypted.server.count(Outcome::Dropped)), (7 * queries.len() as u64, 0));
    let accepted = TRANSPORTS.map(|transport| encrypted.connections().accepted(transport));
    assert_eq!(accepted, [1, 2, 1]);
    drop((stream, one, two));
    quic.connection.close(quinn::VarInt::from_u32(0), b"");
    encrypted.ended(Transport::Tls, Ending::Client, 1).await;
    encrypted.ended(Transport::Https, Ending::Client, 2).await;
    encrypted.ended(Transport::Quic, Ending::Client, 1).await;
    assert_eq!(TRANSPORTS.map(|transport| encrypted.connections().open(transport)), [0; 3]);
}

/// The options of a reply's OPT: codes and contents.
fn options(reply: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let edns = Message::from_vec(reply).unwrap().edns.expect("an OPT");
    edns.options().as_ref().iter().map(|(code, option)| (u16::from(*code), option.try_into().unwrap())).collect()
}

#[tokio::test]
async fn what_only_some_transports_tell_is_told_there() {
    let encrypted = Encrypted::start(|config| config.server.tcp.queries = 2).await;
    let (keepalive, padding) = (option(11, &[]), option(12, &[0; 20]));
    let with = |options: &[u8]| {
        let mut query = query(&question(&format!("h1.{ZONE}"), 1), &[&opt(1232, 0, 0, options)]);
        query[..2].fill(0);
        query
    };
    // 30 s, in units of 100 ms; 0 on the last query of a connection.
    let mut stream = encrypted.tls().await;
    for expected in [300_u16, 0] {
        send(&mut stream, &[with(&keepalive)]).await;
        assert_eq!(options(&receive(&mut stream).await), [(11, expected.to_be_bytes().to_vec())]);
    }
    assert_eq!(options(encrypted.https(true).await.post(&with(&keepalive)).await.body()), []);
    // RFC 8467 section 4.1: replies are padded to blocks of 468 octets.
    let mut stream = encrypted.tls().await;
    send(&mut stream, &[with(&padding)]).await;
    let replies = [
        receive(&mut stream).await,
        encrypted.https(true).await.post(&with(&padding)).await.body().to_vec(),
        encrypted.quic().await.ask(&with(&padding)).await,
    ];
    for reply in replies {
        assert_eq!((reply.len(), options(&reply)[0].0), (468, 12));
    }
}

#[tokio::test]
async fn a_large_reply_is_whole_on_every_transport() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut query = query(&question(&format!("many.{ZONE}"), 1), &[]);
    query[..2].fill(0);
    let mut stream = encrypted.tls().await;
    send(&mut stream, std::slice::from_ref(&query)).await;
    let replies = [
        receive(&mut stream).await,
        encrypted.https(false).await.get(&query).await.body().to_vec(),
        encrypted.https(true).await.post(&query).await.body().to_vec(),
        encrypted.quic().await.ask(&query).await,
    ];
    for reply in replies {
        assert_eq!((reply.len(), &reply[6..8]), (query.len() + 4000 * 16, &4000_u16.to_be_bytes()[..]));
    }
}

#[tokio::test]
async fn what_was_received_is_answered_when_the_server_stops() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut stream = encrypted.tls().await;
    let (mut one, mut two) = (encrypted.https(false).await, encrypted.https(true).await);
    let quic = encrypted.quic().await;
    // Once answered, so that all are known to be set up.
    send(&mut stream, &[host(1, [0, 1])]).await;
    assert_host(&receive(&mut stream).await, 1, [0, 1]);
    for http in [&mut one, &mut two] {
        assert_host(http.post(&host(2, [0, 2])).await.body(), 2, [0, 2]);
    }
    assert_host(&quic.ask(&host(3, [0, 0])).await, 3, [0, 0]);
    // Sent before the server is told to stop; all of it is loopback.
    send(&mut stream, &[host(4, [0, 4]), host(5, [0, 5])]).await;
    let counters = encrypted.server.app.connections().clone();
    let app = encrypted.server.app;
    let (stopped, replies) = tokio::join!(app.stop(), async {
        let first = receive(&mut stream).await;
        (first, receive(&mut stream).await)
    });
    let () = stopped;
    assert_host(&replies.0, 4, [0, 4]);
    assert_host(&replies.1, 5, [0, 5]);
    super::clients::assert_closed(&mut stream).await;
    quic.assert_closed(0).await;
    // Each is told in its own words, and none is left.
    assert_eq!(counters.ended(Transport::Tls, Ending::Stopped), 1);
    assert_eq!(TRANSPORTS.map(|transport| counters.open(transport)), [0; 3]);
}
