//! 011: packets at random, from a seed that is told where one of them does harm.

use alternator_dns::server::Outcome;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{A, assert_answers, plain, serving};
use crate::support::{
    PATIENCE, TestServer, eventually, framed,
    packet::{opt, option, query, question},
};

/// Packets of one run, over UDP and again over TCP, at each address.
const PACKETS: usize = 2000;

/// Packets sent before the server's turn: less than its socket's buffer holds.
const BATCH: usize = 50;

/// Runs a seed anew: `RANDOM_PACKETS_SEED=... cargo test random`.
const SEED: &str = "RANDOM_PACKETS_SEED";

/// Tells the seed where its test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to do the same again: {SEED}={}", self.0);
        }
    }
}

/// A good query of some kind.
fn good(random: &mut fastrand::Rng) -> Vec<u8> {
    let names = ["www.alternator.local", "alternator.local", "nope.alternator.local", "example.com", "id.server"];
    let types = [1, 2, 6, 15, 16, 28, 33, 41, 250, 252, 255, 65280];
    let asked = question(names[random.usize(..names.len())], types[random.usize(..types.len())]);
    let codes = [3, 8, 10, 11, 12, 15, 19, 100];
    let options: Vec<u8> = (0..random.usize(..4))
        .flat_map(|_| {
            let data: Vec<u8> = (0..random.usize(..25)).map(|_| random.u8(..)).collect();
            option(codes[random.usize(..codes.len())], &data)
        })
        .collect();
    match random.bool() {
        true => query(&asked, &[&opt(random.u16(..), 0, random.u16(..), &options)]),
        false => query(&asked, &[]),
    }
}

/// Any octets, or a good query with some of its octets changed, its end cut off, or something behind it.
fn any(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut packet = match random.u8(..4) {
        0 => (0..random.usize(..600)).map(|_| random.u8(..)).collect(),
        _ => good(random),
    };
    for _ in 0..random.usize(..4) {
        if let Some(at) = (!packet.is_empty()).then(|| random.usize(..packet.len())) {
            packet[at] = random.u8(..);
        }
    }
    match random.u8(..4) {
        0 => packet.truncate(random.usize(..=packet.len())),
        1 => packet.extend((0..random.usize(..40)).map(|_| random.u8(..))),
        _ => {}
    }
    packet
}

fn counts(server: &TestServer) -> [u64; Outcome::ALL.len()] {
    Outcome::ALL.map(|outcome| server.count(outcome))
}

/// Every reply is a response to one of the packets, by its id; there are as many as outcomes that have one.
fn assert_replies(replies: &[Vec<u8>], sent: &[Vec<u8>], before: [u64; Outcome::ALL.len()], server: &TestServer) {
    let after = counts(server);
    let became: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(became.iter().sum::<u64>(), sent.len() as u64, "every packet is counted once: {became:?}");
    let silent = became[Outcome::Dropped as usize];
    assert_eq!(replies.len() as u64 + silent, sent.len() as u64, "each but the dropped ones has a reply");
    for reply in replies {
        assert!(reply.len() >= 12 && reply[2] & 0x80 != 0, "{reply:02x?}");
        assert!(sent.iter().any(|packet| packet.len() >= 12 && packet[..2] == reply[..2]), "{reply:02x?}");
    }
}

#[tokio::test]
async fn t011_random_packets_are_all_counted_and_spoil_nothing() {
    let seed = std::env::var(SEED).ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    let seed = Seed(seed);
    let mut random = fastrand::Rng::with_seed(seed.0);
    let server = serving("$TTL 60\nwww A 10.0.0.1\n").await;
    for address in server.app.addresses() {
        let local = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        for _ in 0..PACKETS / BATCH {
            let batch: Vec<Vec<u8>> = (0..BATCH).map(|_| any(&mut random)).collect();

            let before = counts(&server);
            let all = before.iter().sum::<u64>() + batch.len() as u64;
            let socket = UdpSocket::bind(local).await.unwrap();
            socket.connect(address).await.unwrap();
            for packet in &batch {
                socket.send(packet).await.unwrap();
            }
            eventually(|| std::future::ready(server.app.counters().total()), |total| *total >= all).await;
            let owed = batch.len() as u64 - (server.count(Outcome::Dropped) - before[Outcome::Dropped as usize]);
            let mut replies = Vec::new();
            for _ in 0..owed {
                let mut reply = vec![0; 65_535];
                let len = timeout(PATIENCE, socket.recv(&mut reply)).await.expect("a reply").unwrap();
                reply.truncate(len);
                assert!(len <= 1232, "{len} octets over UDP");
                replies.push(reply);
            }
            assert_replies(&replies, &batch, before, &server);

            // The same over TCP, but for those whose length would end the connection.
            let batch: Vec<Vec<u8>> = batch.into_iter().filter(|packet| packet.len() >= 12).collect();
            let before = counts(&server);
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&batch.iter().flat_map(|packet| framed(packet)).collect::<Vec<u8>>()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut received = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut received)).await.expect("the server closes").unwrap();
            let (mut replies, mut rest) = (Vec::new(), &received[..]);
            while let [high, low, more @ ..] = rest {
                let (reply, after) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                replies.push(reply.to_vec());
                rest = after;
            }
            assert_replies(&replies, &batch, before, &server);
            assert_answers(&server).await;
        }
    }
    server.everywhere(&plain("www.alternator.local", A), Outcome::Answered).await;
}
