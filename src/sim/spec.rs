//! What to start.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    time::Duration,
};

use super::Cluster;

/// How long ScyllaDB lists a crashed node by default (`failure_detector_timeout_in_ms`).
pub const FAILURE_DETECTOR_TIMEOUT: Duration = Duration::from_secs(20);

/// A cluster to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpec {
    /// The nodes, each with an address of its own.
    pub nodes: Vec<NodeSpec>,
    /// The port all nodes listen on; 0 picks one that is free on every address.
    pub port: u16,
    /// How long a crashed node stays listed; `None`: for ever.
    pub failure_detector: Option<Duration>,
    /// Seed of the order of every list; two runs that ask the same in the same order get the same lists.
    pub seed: u64,
}

/// A node to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// The loopback address the node listens on, and is listed by.
    pub address: IpAddr,
    /// Its datacenter.
    pub datacenter: String,
    /// Its rack within the datacenter.
    pub rack: String,
}

impl ClusterSpec {
    /// These nodes, on any free port, with ScyllaDB's failure detector.
    pub fn new(nodes: Vec<NodeSpec>) -> Self {
        let seed = fastrand::u64(..);
        ClusterSpec { nodes, port: 0, failure_detector: Some(FAILURE_DETECTOR_TIMEOUT), seed }
    }

    /// The same cluster on this port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        ClusterSpec { port, ..self }
    }

    /// The same cluster with this failure detector; `None` lists crashed nodes for ever.
    #[must_use]
    pub fn failure_detector(self, timeout: Option<Duration>) -> Self {
        ClusterSpec { failure_detector: timeout, ..self }
    }

    /// Whether this machine has `::1` to put a node on.
    pub fn has_ipv6() -> bool {
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
    }
}

impl Cluster {
    /// The demo's cluster: `dc1` and `dc2`, each with `rack1` to `rack3`, two IPv4 nodes a rack at
    /// `127.0.1.<dc><rack><node>`; with IPv6 also `::1` in `dc1/rack1`.
    ///
    /// glibc sorts IPv4 answers by the prefix they share with the source address, here 127.0.0.1, and would send all
    /// local clients to one node if the nodes differed in that. They do not: all 127.0.1.x share 23 bits with it.
    pub fn demo_spec(with_ipv6: bool) -> ClusterSpec {
        let mut nodes = Vec::new();
        for dc in 1..=2u8 {
            for rack in 1..=3u8 {
                for node in 1..=2u8 {
                    let address = Ipv4Addr::new(127, 0, 1, dc * 100 + rack * 10 + node);
                    nodes.push(NodeSpec::new(address, format!("dc{dc}"), format!("rack{rack}")));
                }
            }
        }
        if with_ipv6 {
            nodes.push(NodeSpec::new(Ipv6Addr::LOCALHOST, "dc1", "rack1"));
        }
        ClusterSpec::new(nodes)
    }
}

impl NodeSpec {
    /// A node at an address, in a rack of a datacenter.
    pub fn new(address: impl Into<IpAddr>, datacenter: impl Into<String>, rack: impl Into<String>) -> Self {
        NodeSpec { address: address.into(), datacenter: datacenter.into(), rack: rack.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_two_nodes_in_each_of_six_racks() {
        let spec = Cluster::demo_spec(true);
        assert_eq!(spec.nodes.len(), 13);
        let at = |text: &str| spec.nodes.iter().find(|node| node.address == text.parse::<IpAddr>().unwrap()).unwrap();
        assert_eq!(at("127.0.1.111"), &NodeSpec::new([127, 0, 1, 111], "dc1", "rack1"));
        assert_eq!(at("127.0.1.232"), &NodeSpec::new([127, 0, 1, 232], "dc2", "rack3"));
        assert_eq!(at("::1"), &NodeSpec::new(Ipv6Addr::LOCALHOST, "dc1", "rack1"));
        assert!(Cluster::demo_spec(false).nodes.iter().all(|node| node.address.is_ipv4()));
    }
}
