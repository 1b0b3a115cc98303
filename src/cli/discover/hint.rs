//! Why a seed did not answer, found out by trying what else it could be.

use std::net::IpAddr;

use crate::{
    config::{ClusterConfig, NodeTls, Scheme},
    discovery,
    http::{NodeClient, NodeIdentity},
};

/// Where ScyllaDB's examples have Alternator.
const USUAL: [(Scheme, u16); 2] = [(Scheme::Http, 8000), (Scheme::Https, 8043)];

/// Longest body read; whoever answers at all is enough.
const BODY: usize = 64 * 1024;

/// What would have been the right way to ask, as flags; `None` when nothing answers.
pub(super) async fn other_way(cluster: &ClusterConfig, node: IpAddr) -> Option<String> {
    let other = match cluster.scheme {
        Scheme::Http => Scheme::Https,
        Scheme::Https => Scheme::Http,
    };
    let ways = [(other, cluster.port)].into_iter().chain(USUAL);
    for (scheme, port) in ways.filter(|way| *way != (cluster.scheme, cluster.port)) {
        // Nothing is told to whoever answers, so that its certificate does not matter here.
        let tls = NodeTls { insecure_skip_verify: true, ..NodeTls::default() };
        let way = ClusterConfig { scheme, port, tls, ..cluster.clone() };
        let Ok(identity) = NodeIdentity::read(&way) else { continue };
        let Ok(client) = NodeClient::new(&way, &identity, discovery::LIMITS) else { continue };
        if client.get(node, "/", BODY).await.is_ok_and(|reply| reply.status == 200) {
            let port = if port == cluster.port { String::new() } else { format!(" --port {port}") };
            return Some(format!("{scheme} is spoken there: --scheme {scheme}{port}"));
        }
    }
    None
}
