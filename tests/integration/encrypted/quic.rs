//! DNS over QUIC as such: streams and error codes.

use alternator_dns::server::{Outcome, Transport, encrypted::Ending};
use futures_util::future::join_all;
use quinn::{ReadError, ReadToEndError, VarInt};

use super::clients::{Encrypted, assert_host, host};
use crate::support::{
    ZONE, framed,
    packet::{opt, option, packet, query, question},
};

/// RFC 9250 section 4.3.
const PROTOCOL_ERROR: u32 = 2;

#[tokio::test]
async fn a_connection_serves_many_streams_at_once() {
    let encrypted = Encrypted::start(|_| {}).await;
    let quic = encrypted.quic().await;
    let replies = join_all((0..=255).map(|number| {
        let quic = &quic;
        async move { quic.ask(&host(number, [0, 0])).await }
    }));
    for (number, reply) in (0..=255).zip(replies.await) {
        assert_host(&reply, number, [0, 0]);
    }
    assert_eq!(encrypted.server.count(Outcome::Answered), 256);
}

#[tokio::test]
async fn a_stream_comes_in_parts_and_is_answered_when_it_ends() {
    let encrypted = Encrypted::start(|_| {}).await;
    let quic = encrypted.quic().await;
    let (mut send, mut receive) = quic.connection.open_bi().await.unwrap();
    for octet in framed(&host(1, [0, 0])) {
        send.write_all(&[octet]).await.unwrap();
        // Another goes ahead of it.
        if octet == 0 {
            assert_host(&quic.ask(&host(2, [0, 0])).await, 2, [0, 0]);
        }
    }
    send.finish().unwrap();
    assert_host(&receive.read_to_end(1000).await.unwrap()[2..], 1, [0, 0]);
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_so() {
    let encrypted = Encrypted::start(|_| {}).await;
    let good = framed(&host(1, [0, 0]));
    let keepalive = {
        let mut query = query(&question(ZONE, 1), &[&opt(1232, 0, 0, &option(11, &[]))]);
        query[..2].fill(0);
        framed(&query)
    };
    let cases = [
        ("an id", framed(&host(1, [0, 1]))),
        ("two queries", [&good[..], &good].concat()),
        ("an octet too many", [&good[..], &[0]].concat()),
        ("cut off", good[..good.len() - 1].to_vec()),
        ("nothing", Vec::new()),
        ("half a length", vec![0]),
        ("an empty message", vec![0, 0]),
        ("edns-tcp-keepalive", keepalive),
        ("too long", framed(&[0; 4097])),
    ];
    let bystander = encrypted.quic().await;
    for (about, octets) in &cases {
        let quic = encrypted.quic().await;
        assert_host(&quic.ask(&host(1, [0, 0])).await, 1, [0, 0]);
        quic.exchange(octets).await.expect_err(about);
        quic.assert_closed(PROTOCOL_ERROR).await;
        assert_host(&bystander.ask(&host(2, [0, 0])).await, 2, [0, 0]);
    }
    encrypted.ended(Transport::Quic, Ending::Broken, cases.len() as u64).await;
}

#[tokio::test]
async fn a_message_without_a_reply_and_a_cancelled_query_end_their_streams_only() {
    let encrypted = Encrypted::start(|_| {}).await;
    let quic = encrypted.quic().await;
    let mut response = packet(0x8000, [1, 0, 0, 0], &[&question(ZONE, 1)]);
    response[..2].fill(0);
    for dropped in [response, vec![0, 0, 1]] {
        match quic.exchange(&framed(&dropped)).await {
            Err(ReadToEndError::Read(ReadError::Reset(code))) => assert_eq!(code, VarInt::from_u32(5)),
            other => panic!("{other:?}"),
        }
    }
    let (mut send, mut receive) = quic.connection.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    send.reset(VarInt::from_u32(3)).unwrap();
    match receive.read_to_end(10).await {
        Err(ReadToEndError::Read(ReadError::Reset(code))) => assert_eq!(code, VarInt::from_u32(3)),
        other => panic!("{other:?}"),
    }
    assert_host(&quic.ask(&host(1, [0, 0])).await, 1, [0, 0]);
    assert_eq!(encrypted.server.count(Outcome::Dropped), 2);
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let encrypted = Encrypted::start(|_| {}).await;
    for protocols in [&[][..], &[&b"h3"[..]]] {
        assert!(encrypted.quic_with(protocols).await.is_err());
    }
    encrypted.ended(Transport::Quic, Ending::Handshake, 2).await;
    encrypted.quic_with(&[b"h3", b"doq"]).await.unwrap();
}

#[tokio::test]
async fn packets_do_not_tell_by_their_lengths_what_was_asked() {
    let encrypted = Encrypted::start(|_| {}).await;
    let quic = encrypted.quic().await;
    let before = quic.connection.stats().udp_rx.bytes;
    for number in 0..20 {
        assert_host(&quic.ask(&host(number, [0, 0])).await, number, [0, 0]);
    }
    // RFC 9000 section 14: no path carries less.
    let received = quic.connection.stats().udp_rx.bytes - before;
    assert!(received >= 20 * 1200, "{received}");
}

#[tokio::test]
async fn streams_of_one_way_are_not_granted() {
    let encrypted = Encrypted::start(|_| {}).await;
    let quic = encrypted.quic().await;
    let opened = tokio::time::timeout(std::time::Duration::from_millis(100), quic.connection.open_uni()).await;
    assert!(opened.is_err(), "it waits for a permission that never comes");
    assert_host(&quic.ask(&host(1, [0, 0])).await, 1, [0, 0]);
}
