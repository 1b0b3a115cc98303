//! Who holds connections, and does not use them, is in nobody's way.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use alternator_dns::{
    config::ListenerAccess,
    model::{Access, Denied},
    server::{Transport, encrypted::Ending},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::clients::{Encrypted, HOST, TRANSPORTS, assert_closed, assert_host, connect_tls, host, receive, send};
use crate::support::{
    PATIENCE, ZONE, framed,
    packet::{query, question},
};

/// A client of each transport is served now.
async fn all_are_served(encrypted: &Encrypted) {
    let mut stream = encrypted.tls().await;
    send(&mut stream, &[host(1, [0, 1])]).await;
    assert_host(&receive(&mut stream).await, 1, [0, 1]);
    for http2 in [false, true] {
        assert_host(encrypted.https(http2).await.get(&host(2, [0, 2])).await.body(), 2, [0, 2]);
    }
    assert_host(&encrypted.quic().await.ask(&host(3, [0, 0])).await, 3, [0, 0]);
}

/// The accepted connections are those that ended and those that are open.
fn assert_sums(encrypted: &Encrypted) {
    let counters = encrypted.connections();
    for transport in TRANSPORTS {
        let ended: u64 = Ending::ALL.into_iter().map(|ending| counters.ended(transport, ending)).sum();
        assert_eq!(counters.accepted(transport), ended + counters.open(transport), "{transport}");
    }
}

#[tokio::test]
async fn handshakes_that_hang_keep_nobody_out() {
    let encrypted = Encrypted::start(|config| {
        config.server.tcp.connections = 16;
        config.server.tcp.connections_per_client = 16;
    })
    .await;
    let mut held = Vec::new();
    for transport in [Transport::Tls, Transport::Https] {
        for number in 0..40 {
            let mut stream = TcpStream::connect(encrypted.address(transport)).await.unwrap();
            // Nothing, the beginning of a handshake, half of a hello.
            let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 40]].concat();
            let part = number % 3 * 20;
            let _ = stream.write_all(&hello[..part]).await;
            held.push(stream);
        }
    }
    let forged = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..40 {
        forged.send_to(&first_packet(&encrypted).await, encrypted.address(Transport::Quic)).await.unwrap();
    }
    for _ in 0..3 {
        all_are_served(&encrypted).await;
    }
    let counters = encrypted.connections();
    for transport in TRANSPORTS {
        // Over QUIC those who have not proved their addresses evict nobody.
        let turned_away = counters.ended(transport, Ending::Evicted) + counters.retried(transport);
        assert!(turned_away >= 24, "{transport}");
        assert!(counters.open(transport) <= 16, "{transport}");
    }
    assert_sums(&encrypted);
}

/// The first packet of a QUIC connection, as a client sends it to nobody.
pub async fn first_packet(encrypted: &Encrypted) -> Vec<u8> {
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (_endpoint, _connecting) = quic_connecting(encrypted, nobody.local_addr().unwrap());
    let mut packet = vec![0; 2000];
    let len = timeout(PATIENCE, nobody.recv(&mut packet)).await.expect("a packet").unwrap();
    packet.truncate(len);
    packet
}

fn quic_connecting(encrypted: &Encrypted, to: SocketAddr) -> (quinn::Endpoint, quinn::Connecting) {
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(encrypted.client(&[b"doq"])).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, to, HOST).unwrap();
    (endpoint, connecting)
}

#[tokio::test]
async fn a_flood_of_first_packets_takes_nobodys_place() {
    let encrypted = Encrypted::start(|_| {}).await;
    let before = encrypted.quic().await;
    // As if forged: what the server sends back is not read.
    let forged = tokio::net::UdpSocket::bind("127.13.71.1:0").await.unwrap();
    for _ in 0..100 {
        let packet = first_packet(&encrypted).await;
        forged.send_to(&packet, encrypted.address(Transport::Quic)).await.unwrap();
    }
    let counters = encrypted.connections();
    let told = || std::future::ready(counters.retried(Transport::Quic) + counters.accepted(Transport::Quic));
    crate::support::eventually(told, |told| *told >= 101).await;
    // The first are kept for as long as a handshake may take, the others have to prove their address first.
    assert!(counters.open(Transport::Quic) <= 65, "{}", counters.open(Transport::Quic));
    let retried = counters.retried(Transport::Quic);
    assert!(retried >= 36, "{retried}");
    // Whoever is really there does.
    assert_host(&encrypted.quic().await.ask(&host(1, [0, 0])).await, 1, [0, 0]);
    assert_eq!(counters.retried(Transport::Quic), retried + 1);
    assert_host(&before.ask(&host(2, [0, 0])).await, 2, [0, 0]);
    encrypted.ended(Transport::Quic, Ending::Handshake, 64).await;
    assert_sums(&encrypted);
}

#[tokio::test]
async fn the_longest_idle_makes_room_for_the_next() {
    let encrypted = Encrypted::start(|config| {
        config.server.tcp.connections = 4;
        config.server.tcp.connections_per_client = 4;
    })
    .await;
    let mut held = Vec::new();
    for number in 0..4 {
        let mut stream = encrypted.tls().await;
        send(&mut stream, &[host(number, [0, number])]).await;
        assert_host(&receive(&mut stream).await, number, [0, number]);
        held.push(stream);
    }
    // The first asks again, so that the second is the one.
    send(&mut held[0], &[host(9, [0, 9])]).await;
    assert_host(&receive(&mut held[0]).await, 9, [0, 9]);
    let mut fifth = encrypted.tls().await;
    assert_closed(&mut held[1]).await;
    for stream in [0, 2, 3] {
        send(&mut held[stream], &[host(5, [0, 5])]).await;
        assert_host(&receive(&mut held[stream]).await, 5, [0, 5]);
    }
    send(&mut fifth, &[host(5, [0, 5])]).await;
    assert_host(&receive(&mut fifth).await, 5, [0, 5]);
    encrypted.ended(Transport::Tls, Ending::Evicted, 1).await;

    // QUIC tells why.
    let mut quics = Vec::new();
    for _ in 0..5 {
        let quic = encrypted.quic().await;
        assert_host(&quic.ask(&host(3, [0, 0])).await, 3, [0, 0]);
        quics.push(quic);
    }
    quics[0].assert_closed(4).await;
    assert_host(&quics[4].ask(&host(3, [0, 0])).await, 3, [0, 0]);
    assert_sums(&encrypted);
}

/// A TLS connection from another loopback address.
async fn tls_from(encrypted: &Encrypted, address: [u8; 4]) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(address), 0).into()).unwrap();
    let stream = socket.connect(encrypted.address(Transport::Tls)).await.unwrap();
    connect_tls(stream, encrypted.client(&[])).await
}

#[tokio::test]
async fn a_client_with_its_share_takes_no_place_of_others() {
    let encrypted = Encrypted::start(|config| config.server.tcp.connections_per_client = 2).await;
    let other = tls_from(&encrypted, [127, 13, 70, 1]).await.unwrap();
    let mut own = Vec::new();
    for _ in 0..10 {
        own.push(tls_from(&encrypted, [127, 13, 70, 2]).await.unwrap());
    }
    encrypted.ended(Transport::Tls, Ending::Evicted, 8).await;
    assert_closed(&mut own[0]).await;
    for mut stream in own.into_iter().skip(8).chain([other]) {
        send(&mut stream, &[host(1, [0, 1])]).await;
        assert_host(&receive(&mut stream).await, 1, [0, 1]);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_however_busy_it_seems() {
    let encrypted = Encrypted::start(|config| config.server.tcp.idle = Duration::from_millis(300)).await;
    let mut stream = encrypted.tls().await;
    let mut trickle = encrypted.tls().await;
    let (_one, _two) = (encrypted.https(false).await, encrypted.https(true).await);
    let quic = encrypted.quic().await;
    // Octets of a query that never comes whole.
    let trickling = tokio::spawn(async move {
        while trickle.write_all(&[0x0F]).await.is_ok() && trickle.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_closed(&mut stream).await;
    quic.assert_closed(0).await;
    timeout(PATIENCE, trickling).await.expect("it is closed, too").unwrap();
    encrypted.ended(Transport::Tls, Ending::Idle, 2).await;
    encrypted.ended(Transport::Https, Ending::Idle, 2).await;
    encrypted.ended(Transport::Quic, Ending::Idle, 1).await;
    assert_sums(&encrypted);
}

#[tokio::test]
async fn no_connection_lives_longer_than_it_may() {
    let encrypted = Encrypted::start(|config| config.server.tcp.lifetime = Duration::from_millis(300)).await;
    let mut stream = encrypted.tls().await;
    let quic = encrypted.quic().await;
    let mut http = encrypted.https(true).await;
    // Busy all the time.
    let tls = async {
        let mut reply = [0; 4096];
        while stream.write_all(&framed(&host(1, [0, 1]))).await.is_ok()
            && stream.flush().await.is_ok()
            && stream.read(&mut reply).await.is_ok_and(|read| read > 0)
        {}
    };
    let https = async { while http.try_request(super::clients::post(&host(1, [0, 1]))).await.is_ok() {} };
    let over_quic = async {
        while let Ok((mut send, mut receive)) = quic.connection.open_bi().await {
            let _ = send.write_all(&framed(&host(1, [0, 0]))).await;
            let _ = send.finish();
            let _ = receive.read_to_end(1000).await;
        }
    };
    timeout(PATIENCE, async { tokio::join!(tls, https, over_quic) }).await.expect("all are closed");
    for transport in TRANSPORTS {
        encrypted.ended(transport, Ending::Lifetime, 1).await;
    }
}

#[tokio::test]
async fn a_connection_asks_no_more_queries_than_it_may() {
    let encrypted = Encrypted::start(|config| config.server.tcp.queries = 3).await;
    let mut stream = encrypted.tls().await;
    send(&mut stream, &(0..5).map(|number| host(number, [0, number])).collect::<Vec<_>>()).await;
    for number in 0..3 {
        assert_host(&receive(&mut stream).await, number, [0, number]);
    }
    assert_closed(&mut stream).await;
    let quic = encrypted.quic().await;
    for _ in 0..3 {
        assert_host(&quic.ask(&host(3, [0, 0])).await, 3, [0, 0]);
    }
    quic.assert_closed(0).await;
    for http2 in [false, true] {
        let mut http = encrypted.https(http2).await;
        for _ in 0..3 {
            assert_host(http.post(&host(4, [0, 4])).await.body(), 4, [0, 4]);
        }
    }
    for (transport, times) in TRANSPORTS.into_iter().zip([1, 2, 1]) {
        encrypted.ended(transport, Ending::Queries, times).await;
    }
}

#[tokio::test]
async fn who_has_no_access_is_refused_or_not_spoken_to() {
    let encrypted = Encrypted::start(|config| {
        let tls = &config.server.tls;
        let rule = |listeners: Vec<SocketAddr>, denied| {
            let access = Access::new(&[], &["127.0.0.1/32".parse().unwrap()], denied).unwrap();
            ListenerAccess { listeners, access }
        };
        config.server.access = vec![
            rule([&tls.listen[..], &tls.quic[..]].concat(), Denied::Drop),
            rule(tls.https.clone(), Denied::Refuse),
        ];
    })
    .await;
    tls_from(&encrypted, [127, 0, 0, 1]).await.unwrap_err();
    let (_endpoint, _connecting) = quic_connecting(&encrypted, encrypted.address(Transport::Quic));
    let denied = || std::future::ready(encrypted.connections().denied(Transport::Quic));
    crate::support::eventually(denied, |denied| *denied > 0).await;
    let response = encrypted.https(true).await.get(&host(1, [0, 1])).await;
    assert_eq!((response.status().as_u16(), response.body()[3] & 15), (200, 5));
    // Others are served, and so is everybody where no rule is.
    let mut other = tls_from(&encrypted, [127, 13, 70, 3]).await.unwrap();
    send(&mut other, &[host(1, [0, 1])]).await;
    assert_host(&receive(&mut other).await, 1, [0, 1]);
    assert_eq!(encrypted.server.ask("h1", hickory_proto::rr::RecordType::A).await.addresses().len(), 1);
    assert_eq!(encrypted.connections().denied(Transport::Tls), 1);
    assert_eq!(TRANSPORTS.map(|transport| encrypted.connections().accepted(transport)), [1, 1, 0]);
}

#[tokio::test]
async fn a_zone_that_drops_a_client_leaves_its_connection() {
    let encrypted = Encrypted::start(|config| {
        config.zones[0].access = Access::new(&[], &["127.0.0.1/32".parse().unwrap()], Denied::Drop).unwrap();
    })
    .await;
    let elsewhere = |id| {
        let mut packet = query(&question("elsewhere.test", 1), &[]);
        packet[..2].copy_from_slice(&[0, id]);
        packet
    };
    let mut stream = encrypted.tls().await;
    send(&mut stream, &[host(1, [0, 1]), elsewhere(2)]).await;
    assert_eq!(receive(&mut stream).await[..2], [0, 2], "the first has no reply");
    for http2 in [false, true] {
        let mut http = encrypted.https(http2).await;
        assert_eq!(http.post(&host(1, [0, 1])).await.status().as_u16(), 403);
        assert_eq!(http.post(&elsewhere(2)).await.status().as_u16(), 200);
    }
    let quic = encrypted.quic().await;
    assert!(quic.exchange(&framed(&host(1, [0, 0]))).await.is_err());
    assert_eq!(quic.ask(&elsewhere(0)).await[3] & 15, 5);
}

#[tokio::test]
async fn who_does_not_go_on_is_not_waited_for() {
    let encrypted = Encrypted::start(|_| {}).await;
    let takes_nothing = async {
        let mut stream = encrypted.tls().await;
        let mut many = query(&question(&format!("many.{ZONE}"), 1), &[]);
        many[..2].fill(0);
        // 64 KiB for each of them, until nothing goes any more.
        while let Ok(Ok(())) = timeout(PATIENCE, stream.write_all(&framed(&many))).await {}
        stream
    };
    let ends_no_body = async {
        let stream = TcpStream::connect(encrypted.address(Transport::Https)).await.unwrap();
        let mut stream = connect_tls(stream, encrypted.client(&[])).await.unwrap();
        let head = "POST /dns-query HTTP/1.1\r\nhost: x\r\ncontent-type: application/dns-message\r\n";
        stream.write_all(format!("{head}content-length: 30\r\n\r\nhalf").as_bytes()).await.unwrap();
        let mut response = String::new();
        let _ = timeout(PATIENCE, stream.read_to_string(&mut response)).await.expect("it is closed");
        assert!(response.starts_with("HTTP/1.1 408 "), "{response:?}");
    };
    let ends_no_stream = async {
        let quic = encrypted.quic().await;
        let (mut send, mut receive) = quic.connection.open_bi().await.unwrap();
        send.write_all(&framed(&host(1, [0, 0]))).await.unwrap();
        match timeout(PATIENCE, receive.read_to_end(1000)).await.expect("it is reset") {
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => assert_eq!(code.into_inner(), 5),
            other => panic!("{other:?}"),
        }
        // Only the stream; and only after others were served.
        assert_host(&quic.ask(&host(2, [0, 0])).await, 2, [0, 0]);
    };
    let (_held, ..) = tokio::join!(takes_nothing, ends_no_body, ends_no_stream, all_are_served(&encrypted));
    encrypted.ended(Transport::Tls, Ending::Broken, 1).await;
}
