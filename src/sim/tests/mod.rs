//! The cluster over real sockets.

mod authorization;
mod client;
mod faults;
mod https;
mod life;
mod replies;
mod states;
mod tables;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use client::{Answer, Client};

use super::*;

/// Nodes of these tests: two racks in `dc1`, one in `dc2`.
const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 3, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 3, 2));
const C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 3, 3));
const D: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 3, 4));

fn spec() -> ClusterSpec {
    let node = |address: IpAddr, dc, rack| NodeSpec::new(address, dc, rack);
    ClusterSpec::new(vec![
        node(A, "dc1", "rack1"),
        node(B, "dc1", "rack1"),
        node(C, "dc1", "rack2"),
        node(D, "dc2", "rack1"),
    ])
}

async fn start() -> Cluster {
    Cluster::start(spec()).await.unwrap()
}

/// One request over a connection of its own.
async fn get(cluster: &Cluster, node: IpAddr, path: &str) -> std::io::Result<Answer> {
    Client::connect(cluster.at(node)).await?.get(path).await
}

async fn list(cluster: &Cluster, node: IpAddr) -> Vec<String> {
    get(cluster, node, "/localnodes").await.unwrap().list()
}

/// Waits until it holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(10), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
