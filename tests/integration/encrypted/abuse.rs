//! What a client cannot do: more on one connection than it may, or anything in the name of another.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use alternator_dns::{
    config::ListenerAccess,
    model::{Access, Denied},
    server::{Outcome, Transport, encrypted::Ending},
};
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::{TransportConfig, VarInt};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    clients::{
        Encrypted, Http, assert_host, base64_of, client, connect_tls, get, host, post, receive, send, write_certificate,
    },
    limits::first_packet,
};
use crate::support::{
    PATIENCE, PROGRAM, Program, ZONE, eventually, framed, free_port,
    packet::{query, question},
};

/// Sends first packets as if they came from this address, until the server has judged them all.
async fn forge(encrypted: &Encrypted, address: [u8; 4], packets: u64) {
    let counters = encrypted.connections();
    let judged = || counters.accepted(Transport::Quic) + counters.retried(Transport::Quic);
    let before = judged();
    let forged = UdpSocket::bind((Ipv4Addr::from(address), 0)).await.unwrap();
    for _ in 0..packets {
        let packet = first_packet(encrypted).await;
        forged.send_to(&packet, encrypted.address(Transport::Quic)).await.unwrap();
    }
    eventually(|| std::future::ready(judged()), |judged| *judged >= before + packets).await;
}

#[tokio::test]
async fn forged_first_packets_take_no_place_where_all_are_taken() {
    let encrypted = Encrypted::start(|config| {
        config.server.tcp.connections = 4;
        config.server.tcp.connections_per_client = 4;
    })
    .await;
    let idle = encrypted.quic().await;
    forge(&encrypted, [127, 13, 72, 1], 8).await;
    assert_host(&idle.ask(&host(1, [0, 0])).await, 1, [0, 0]);
    // Whoever is really there gets the place of one that is not.
    let new = encrypted.quic().await;
    assert_host(&new.ask(&host(2, [0, 0])).await, 2, [0, 0]);
    assert_host(&idle.ask(&host(3, [0, 0])).await, 3, [0, 0]);
    encrypted.ended(Transport::Quic, Ending::Evicted, 1).await;
}

#[tokio::test]
async fn first_packets_forged_in_a_clients_name_take_none_of_its_places() {
    let encrypted = Encrypted::start(|config| config.server.tcp.connections_per_client = 2).await;
    let idle = encrypted.quic().await;
    forge(&encrypted, [127, 0, 0, 1], 8).await;
    assert_host(&idle.ask(&host(1, [0, 0])).await, 1, [0, 0]);
    let new = encrypted.quic().await;
    assert_host(&new.ask(&host(2, [0, 0])).await, 2, [0, 0]);
    assert_host(&idle.ask(&host(3, [0, 0])).await, 3, [0, 0]);
}

#[tokio::test]
async fn a_connection_stays_with_the_address_that_it_was_made_from() {
    let encrypted = Encrypted::start(|config| {
        // Nobody waits for long.
        config.server.tcp.idle = Duration::from_secs(1);
        let access = Access::new(&[], &["127.13.73.2/32".parse().unwrap()], Denied::Drop).unwrap();
        config.server.access = vec![ListenerAccess { listeners: Vec::new(), access }];
    })
    .await;
    for denied_or_not in [[127, 13, 73, 2], [127, 13, 73, 3]] {
        let before = encrypted.server.count(Outcome::Answered);
        let quic = encrypted.quic().await;
        assert_host(&quic.ask(&host(1, [0, 0])).await, 1, [0, 0]);
        let elsewhere = std::net::UdpSocket::bind((Ipv4Addr::from(denied_or_not), 0)).unwrap();
        quic.endpoint.rebind(elsewhere).unwrap();
        quic.exchange(&framed(&host(2, [0, 0]))).await.unwrap_err();
        assert_eq!(encrypted.server.count(Outcome::Answered), before + 1);
    }
    assert_host(&encrypted.quic().await.ask(&host(3, [0, 0])).await, 3, [0, 0]);
}

#[tokio::test]
async fn few_queries_of_one_connection_are_held_at_once() {
    let encrypted = Encrypted::start(|_| {}).await;
    let quic = encrypted.quic().await;
    // The longest there are, each without its end.
    let mut octets = framed(&host(1, [0, 0]));
    octets[..2].copy_from_slice(&4096_u16.to_be_bytes());
    octets.resize(4098, 0);
    let begun = join_all((0..60).map(|_| async {
        let (mut send, receive) = quic.connection.open_bi().await.unwrap();
        let taken = timeout(Duration::from_secs(2), send.write_all(&octets)).await;
        (matches!(taken, Ok(Ok(()))), send, receive)
    }))
    .await;
    let taken = begun.iter().filter(|(taken, ..)| *taken).count();
    // 64 KiB of them, and as many octets on their way.
    assert!((16..=40).contains(&taken), "{taken}");
    // Once they are given up others have their turn.
    for (_, mut send, _) in begun {
        let _ = send.reset(VarInt::from_u32(3));
    }
    assert_host(&quic.ask(&host(2, [0, 0])).await, 2, [0, 0]);
}

#[tokio::test]
async fn long_queries_in_urls_are_refused_where_many_wait_and_short_ones_are_not() {
    let encrypted = Encrypted::start(|_| {}).await;
    let stream = TcpStream::connect(encrypted.address(Transport::Https)).await.unwrap();
    let stream = TokioIo::new(connect_tls(stream, encrypted.client(&[b"h2"])).await.unwrap());
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.initial_stream_window_size(1024).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // As many replies as are held, whose client takes their beginning.
    let many = query(&question(&format!("many.{ZONE}"), 1), &[]);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(sender.clone().send_request(post(&many)).await.unwrap());
    }
    let ask = |packet: &[u8]| {
        let request = get(&format!("/dns-query?dns={}", base64_of(packet)));
        let mut sender = sender.clone();
        async move { timeout(PATIENCE, sender.send_request(request)).await.expect("in time").unwrap().status() }
    };
    let mut long = host(1, [0, 1]);
    long.resize(600, 0);
    let mut replies: FuturesUnordered<_> = (0..17).map(|_| ask(&long)).collect();
    assert_eq!(replies.next().await.unwrap(), 503);
    let short = host(2, [0, 2]);
    let short = join_all((0..40).map(|_| ask(&short)));
    // All others wait for their turn.
    drop(held);
    assert!(short.await.into_iter().all(|status| status == 200));
    while let Some(status) = replies.next().await {
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn queries_beyond_the_last_are_not_answered_however_many_come_at_once() {
    let encrypted = Encrypted::start(|config| config.server.tcp.queries = 3).await;
    let quic = encrypted.quic().await;
    let octets = framed(&host(1, [0, 0]));
    let replies = join_all((0..20).map(|_| quic.exchange(&octets))).await;
    assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 3);
    quic.assert_closed(0).await;
    let Http::Two(sender) = encrypted.https(true).await else { unreachable!() };
    let replies = join_all((0..20).map(|_| {
        let mut http = Http::Two(sender.clone());
        async move { http.try_request(post(&host(1, [0, 1]))).await }
    }))
    .await;
    let answered = replies.iter().flatten().filter(|reply| reply.status() == 200).count();
    assert_eq!(answered, 3);
    encrypted.ended(Transport::Quic, Ending::Queries, 1).await;
    encrypted.ended(Transport::Https, Ending::Queries, 1).await;
    assert_eq!(encrypted.server.count(Outcome::Answered), 6);
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_prolong_its_life() {
    let encrypted = Encrypted::start(|config| config.server.tcp.lifetime = Duration::from_millis(300)).await;
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(1024)).receive_window(VarInt::from_u32(4096));
    let quic = encrypted.quic_as(&[b"doq"], transport).await.unwrap();
    let mut many = query(&question(&format!("many.{ZONE}"), 1), &[]);
    many[..2].fill(0);
    let mut held = Vec::new();
    for _ in 0..40 {
        let Ok((mut send, receive)) = quic.connection.open_bi().await else { break };
        let _ = send.write_all(&framed(&many)).await;
        let _ = send.finish();
        held.push((send, receive));
    }
    quic.assert_closed(0).await;
    encrypted.ended(Transport::Quic, Ending::Lifetime, 1).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn whoever_holds_every_descriptor_gives_them_back() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    std::fs::write(folder.path().join("zone"), "$TTL 60\nh1 A 10.0.0.1\n").unwrap();
    let (plain, tls) = (free_port(Ipv4Addr::LOCALHOST.into()), free_port(Ipv4Addr::LOCALHOST.into()));
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:{plain}\"]\nworkers = 1\n[server.tls]\nlisten = [\"127.0.0.1:{tls}\"]\n\
         certificate = \"chain.pem\"\nkey = \"key.pem\"\n[zones.\"{ZONE}\"]\nfile = \"zone\"\n"
    );
    std::fs::write(folder.path().join("config.toml"), config).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 48; exec \"$0\" serve --config \"$1\"", PROGRAM]);
    command.arg(folder.path().join("config.toml")).env("NO_COLOR", "1");
    let (_program, _) = Program::start(command, "answering over");
    // All of them finish their handshake, ask once, and stay.
    let mut held = Vec::new();
    for _ in 0..60 {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, tls)).await.unwrap();
        let trusted = client(&folder.path().join("chain.pem"), &[b"dot"]);
        let mut stream = connect_tls(stream, trusted).await.unwrap();
        send(&mut stream, &[host(1, [0, 1])]).await;
        assert_host(&receive(&mut stream).await, 1, [0, 1]);
        held.push(stream);
    }
}
