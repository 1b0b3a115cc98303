//! DNS over TLS as such: framing, pipelines, protocols.

use alternator_dns::server::{Outcome, Transport, encrypted::Ending};
use tokio::io::AsyncWriteExt;

use super::clients::{Encrypted, assert_closed, assert_host, host, receive, send};
use crate::support::{
    ZONE, framed,
    packet::{packet, query, question},
};

#[tokio::test]
async fn pipelined_queries_are_answered_in_their_order() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut stream = encrypted.tls().await;
    let all: Vec<Vec<u8>> = (0..=255).map(|number| host(number, [7, number])).collect();
    send(&mut stream, &all).await;
    for number in 0..=255 {
        assert_host(&receive(&mut stream).await, number, [7, number]);
    }
    // What is malformed or dropped keeps its place.
    let parts = [
        packet(0x8000, [1, 0, 0, 0], &[&question(ZONE, 1)]),
        vec![1, 2, 3],
        packet(0, [2, 0, 0, 0], &[]),
        host(9, [7, 9]),
    ];
    send(&mut stream, &parts).await;
    assert_eq!(receive(&mut stream).await[3] & 15, 1);
    assert_host(&receive(&mut stream).await, 9, [7, 9]);
    assert_eq!(encrypted.server.count(Outcome::Dropped), 2);
}

#[tokio::test]
async fn a_query_may_come_octet_by_octet_and_across_records() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut stream = encrypted.tls().await;
    for octet in framed(&host(1, [0, 1])) {
        stream.write_all(&[octet]).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_host(&receive(&mut stream).await, 1, [0, 1]);
    // One and a half, then the other half and one more.
    let two = framed(&host(3, [0, 3]));
    let (half, rest) = two.split_at(two.len() / 2);
    stream.write_all(&[&framed(&host(2, [0, 2])), half].concat()).await.unwrap();
    assert_host(&receive(&mut stream).await, 2, [0, 2]);
    stream.write_all(&[rest, &framed(&host(4, [0, 4]))].concat()).await.unwrap();
    for number in [3, 4] {
        assert_host(&receive(&mut stream).await, number, [0, number]);
    }
}

#[tokio::test]
async fn the_longest_query_is_answered_and_a_longer_one_ends_the_connection() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut stream = encrypted.tls().await;
    let longest = |octets: usize| {
        let head = query(&question(&format!("h1.{ZONE}"), 1), &[]);
        // An OPT whose one unknown option fills the rest.
        let room = (octets - head.len() - 11) as u16;
        let mut packet = head;
        packet[11] = 1;
        packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
        packet.extend(room.to_be_bytes());
        packet.extend([0xFD, 0xE9]);
        packet.extend((room - 4).to_be_bytes());
        packet.resize(octets, 0);
        packet
    };
    send(&mut stream, &[longest(4096), longest(4096), host(1, [0, 1])]).await;
    for _ in 0..2 {
        assert_eq!(receive(&mut stream).await[7], 1, "one answer");
    }
    assert_host(&receive(&mut stream).await, 1, [0, 1]);
    // Not before what came whole is answered.
    stream.write_all(&[framed(&host(2, [0, 2])), longest(4097)].concat()).await.unwrap();
    assert_host(&receive(&mut stream).await, 2, [0, 2]);
    for broken in [vec![0, 0], vec![0x10, 1], vec![0xFF, 0xFF]] {
        let mut stream = encrypted.tls().await;
        stream.write_all(&[framed(&host(3, [0, 3])), broken].concat()).await.unwrap();
        assert_host(&receive(&mut stream).await, 3, [0, 3]);
        assert_closed(&mut stream).await;
    }
    assert_closed(&mut stream).await;
    encrypted.ended(Transport::Tls, Ending::Broken, 4).await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_every_answer() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut stream = encrypted.tls().await;
    send(&mut stream, &(0..100).map(|number| host(number, [0, number])).collect::<Vec<_>>()).await;
    // The last query is cut off: it is nobody's.
    stream.write_all(&framed(&host(100, [0, 100]))[..10]).await.unwrap();
    stream.shutdown().await.unwrap();
    for number in 0..100 {
        assert_host(&receive(&mut stream).await, number, [0, number]);
    }
    assert_closed(&mut stream).await;
    encrypted.ended(Transport::Tls, Ending::Client, 1).await;
}

#[tokio::test]
async fn the_protocol_may_be_named_or_not_but_not_another() {
    let encrypted = Encrypted::start(|_| {}).await;
    for (protocols, negotiated) in
        [(&[&b"dot"[..]][..], Some(&b"dot"[..])), (&[], None), (&[b"h2", b"dot"], Some(b"dot"))]
    {
        let mut stream = encrypted.tls_with(encrypted.client(protocols)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), negotiated);
        send(&mut stream, &[host(1, [0, 1])]).await;
        assert_host(&receive(&mut stream).await, 1, [0, 1]);
    }
    encrypted.tls_with(encrypted.client(&[b"h2"])).await.unwrap_err();
    encrypted.ended(Transport::Tls, Ending::Handshake, 1).await;
}

#[tokio::test]
async fn a_client_that_asks_much_and_reads_late_gets_all_of_it() {
    let encrypted = Encrypted::start(|_| {}).await;
    let stream = encrypted.tls().await;
    let (mut read, mut write) = tokio::io::split(stream);
    let asked = framed(&query(&question(&format!("many.{ZONE}"), 1), &[]));
    let expected = asked.len() - 2 + 4000 * 16;
    let writer = tokio::spawn(async move {
        for _ in 0..100 {
            write.write_all(&asked).await.unwrap();
            write.flush().await.unwrap();
        }
        write
    });
    for _ in 0..100 {
        let mut len = [0; 2];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut len).await.unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut reply).await.unwrap();
        assert_eq!(reply.len(), expected);
    }
    drop(writer.await.unwrap());
}
