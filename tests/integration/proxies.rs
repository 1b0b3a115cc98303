//! Proxies that name their clients with the PROXY protocol, version 2, over UDP.

use std::net::{IpAddr, SocketAddr};

use alternator_dns::{
    config::{Config, ListenerAccess, ZoneConfig},
    model::{Access, Denied},
    server::Outcome,
};
use hickory_proto::rr::Name;
use tokio::{net::UdpSocket, time::timeout};

use crate::support::{
    PATIENCE, TestServer, ZONE, eventually,
    packet::{proxied, query, question},
};

const A: u16 = 1;
const REFUSED: u8 = 5;

/// The address of our proxy, and one of somebody else.
const PROXY: &str = "127.0.0.2";
const OTHER: &str = "127.0.0.3";

/// A server of one address, which denies clients of 192.0.2.0/24.
async fn server() -> (tempfile::TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zone"), "$TTL 60\nhost A 10.0.0.1\n").unwrap();
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
    zone.file = Some(folder.path().join("zone"));
    let mut config: Config = TestServer::config(&zone);
    config.server.proxy_from = [PROXY.parse().unwrap()].into_iter().collect();
    let access = Access::new(&[], &["192.0.2.0/24".parse().unwrap()], Denied::Refuse).unwrap();
    config.server.access = vec![ListenerAccess { listeners: Vec::new(), access }];
    (folder, TestServer::start(config).await)
}

/// A query with this id.
fn asks(id: u8) -> Vec<u8> {
    let mut packet = query(&question(&format!("host.{ZONE}"), A), &[]);
    packet[1] = id;
    packet
}

fn behind(client: &str, id: u8) -> Vec<u8> {
    [proxied(client.parse().unwrap()), asks(id)].concat()
}

async fn socket(address: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address.parse::<IpAddr>().unwrap(), 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

/// The id and the rcode of the next reply.
async fn reply(socket: &UdpSocket) -> (u8, u8) {
    let mut reply = [0; 512];
    let len = timeout(PATIENCE, socket.recv(&mut reply)).await.expect("in time").unwrap();
    assert!(len > 12 && reply[2] & 0x80 != 0, "a response without a header before it: {:02x?}", &reply[..len]);
    (reply[1], reply[3] & 15)
}

#[tokio::test]
async fn the_client_that_a_proxy_names_is_the_one_who_asks() {
    let (_folder, server) = server().await;
    let proxy = socket(PROXY, server.address).await;
    for (id, client, rcode) in [
        (1, "198.51.100.7:4660", 0),
        (2, "192.0.2.7:4660", REFUSED),
        (3, "[2001:db8::7]:4660", 0),
        (4, "[::ffff:192.0.2.7]:4660", REFUSED),
        // The proxy does not know the port.
        (5, "198.51.100.7:0", 0),
    ] {
        proxy.send(&behind(client, id)).await.unwrap();
        assert_eq!(reply(&proxy).await, (id, rcode), "{client}");
    }
    assert_eq!((server.count(Outcome::Answered), server.count(Outcome::Denied)), (3, 2));
}

#[tokio::test]
async fn headers_are_for_proxies_and_proxies_send_headers() {
    let (_folder, server) = server().await;
    let (proxy, other) = (socket(PROXY, server.address).await, socket(OTHER, server.address).await);
    proxy.send(&asks(1)).await.unwrap();
    other.send(&behind("198.51.100.7:4660", 2)).await.unwrap();
    eventually(async || server.count(Outcome::Dropped), |dropped| *dropped == 2).await;
    other.send(&asks(3)).await.unwrap();
    assert_eq!(reply(&other).await, (3, 0));
    proxy.send(&behind("198.51.100.7:4660", 4)).await.unwrap();
    assert_eq!(reply(&proxy).await, (4, 0));
    assert_eq!((server.count(Outcome::Answered), server.count(Outcome::Dropped)), (2, 2));
}
