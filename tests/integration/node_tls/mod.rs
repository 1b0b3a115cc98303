//! Nodes that serve https: whom the server believes, what it shows them, and what it says of the others.

mod files;
mod rotation;
mod verifying;

use std::time::SystemTime;

use alternator_dns::{
    admin::Status,
    config::{Scheme, ZoneConfig},
    sim::{Cluster, ClusterSpec, NodeSpec, Tls},
};

use crate::support::{TestServer, eventually, ip, steady};

/// The addresses of a cluster's nodes, in one rack, each with its own TLS.
pub async fn cluster(nodes: &[(&str, Tls)]) -> Cluster {
    let node = |(address, tls): &(&str, Tls)| NodeSpec::new(ip(address), "dc1", "rack1").tls(tls.clone());
    Cluster::start(ClusterSpec::new(nodes.iter().map(node).collect())).await.unwrap()
}

/// A server over the cluster by https, with the time that handshakes take on a busy machine.
pub fn zone(cluster: &Cluster, change: impl FnOnce(&mut ZoneConfig)) -> ZoneConfig {
    TestServer::zone(cluster, |zone| {
        steady(zone);
        zone.cluster.scheme = Scheme::Https;
        change(zone);
    })
}

/// Waits until an explanation says this of a node, and status that it is out for it.
pub async fn told_of(server: &TestServer, node: &str, why: &str) {
    let says = |lines: &Vec<String>| lines.iter().any(|line| line.contains(node) && line.contains(why));
    eventually(|| server.explain(""), says).await;
    let told = || async {
        let status = Status::of(server.app.sight(), SystemTime::now());
        status.zones[0].nodes.iter().find(|told| told.address == node).unwrap().clone()
    };
    eventually(told, |told| told.reason.contains(why) && !told.is_in).await;
}
