//! What to start.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    time::Duration,
};

use super::{Cluster, Role, State, Tls, Version};

/// How long ScyllaDB lists a crashed node by default (`failure_detector_timeout_in_ms`).
pub const FAILURE_DETECTOR_TIMEOUT: Duration = Duration::from_secs(20);

/// `release_version` in every table and every release: the Cassandra that ScyllaDB is compatible with.
pub const CASSANDRA_RELEASE: &str = "3.0.8";

/// ScyllaDB's default of `num_tokens`.
const TOKENS: u32 = 256;

/// Shards of a node where nothing else is said.
const SHARDS: u32 = 8;

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
    /// Whether the API wants signed requests (`alternator_enforce_authorization`).
    pub enforce_authorization: bool,
    /// Who may sign them.
    pub roles: Vec<Role>,
    /// Rows in a page of the API at most, whatever the request allows; `None`: as many as fit into 1 MiB.
    pub page_rows: Option<usize>,
    /// The rows of `client_routes`.
    pub client_routes: Vec<ClientRoute>,
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
    /// Its host id; by default one that follows from its address.
    pub host_id: String,
    /// Its `release_version`, which no ScyllaDB of today sets to anything but [`CASSANDRA_RELEASE`].
    pub release_version: String,
    /// The release it runs.
    pub version: Version,
    /// Its shards.
    pub shards: u32,
    /// Its tokens; 0 makes it a coordinator without data.
    pub tokens: u32,
    /// What the nodes call it among themselves (`broadcast_address`), where that is not its address for clients.
    pub internal: Option<IpAddr>,
    /// The state it starts in.
    pub state: State,
    /// What it is known by to clients.
    pub known_as: KnownAs,
    /// How it serves https; `None`: it serves http.
    pub tls: Option<Tls>,
}

/// What a node is known by to clients: its `broadcast_rpc_address`, as others list it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KnownAs {
    /// Its address.
    #[default]
    Address,
    /// This text in `/localnodes`: a host name, an address with a `%scope`.
    Text(String),
    /// Nothing: `/localnodes` has its host id in place of an address, and `peers` has none.
    Nothing,
}

/// A row of `client_routes`: how clients of one private connection reach one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRoute {
    /// Which connection.
    pub connection_id: String,
    /// Which node.
    pub host_id: String,
    /// Where the node is reached over it: an address or a host name.
    pub address: String,
    /// Port of CQL.
    pub port: Option<u16>,
    /// Port of CQL with TLS.
    pub tls_port: Option<u16>,
    /// Port of Alternator.
    pub alternator_port: Option<u16>,
    /// Port of Alternator with TLS.
    pub alternator_https_port: Option<u16>,
}

impl ClusterSpec {
    /// These nodes, on any free port, with ScyllaDB's failure detector.
    pub fn new(nodes: Vec<NodeSpec>) -> Self {
        ClusterSpec {
            nodes,
            port: 0,
            failure_detector: Some(FAILURE_DETECTOR_TIMEOUT),
            seed: fastrand::u64(..),
            enforce_authorization: false,
            roles: Vec::new(),
            page_rows: None,
            client_routes: Vec::new(),
        }
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

    /// The same cluster, whose API wants requests signed by one of these roles.
    #[must_use]
    pub fn authorization(self, roles: impl IntoIterator<Item = Role>) -> Self {
        ClusterSpec { enforce_authorization: true, roles: roles.into_iter().collect(), ..self }
    }

    /// The same cluster, whose API gives no more than so many rows a page.
    #[must_use]
    pub fn page_rows(self, rows: usize) -> Self {
        ClusterSpec { page_rows: Some(rows), ..self }
    }

    /// The same cluster with these client routes.
    #[must_use]
    pub fn client_routes(self, routes: impl IntoIterator<Item = ClientRoute>) -> Self {
        ClusterSpec { client_routes: routes.into_iter().collect(), ..self }
    }

    /// The same cluster, whose nodes serve https so, as far as they do not have a way of their own.
    #[must_use]
    pub fn tls(mut self, tls: &Tls) -> Self {
        for node in &mut self.nodes {
            node.tls.get_or_insert_with(|| tls.clone());
        }
        self
    }

    /// Whether this machine has `::1` to put a node on.
    pub fn has_ipv6() -> bool {
        Self::has_address(Ipv6Addr::LOCALHOST)
    }

    /// Whether this machine has this address to put a node on.
    pub fn has_address(address: impl Into<IpAddr>) -> bool {
        TcpListener::bind((address.into(), 0)).is_ok()
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
    /// A node of the newest release at an address, in a rack of a datacenter.
    pub fn new(address: impl Into<IpAddr>, datacenter: impl Into<String>, rack: impl Into<String>) -> Self {
        let address = address.into();
        NodeSpec {
            address,
            datacenter: datacenter.into(),
            rack: rack.into(),
            host_id: host_id(address),
            release_version: CASSANDRA_RELEASE.to_owned(),
            version: Version::default(),
            shards: SHARDS,
            tokens: TOKENS,
            internal: None,
            state: State::default(),
            known_as: KnownAs::default(),
            tls: None,
        }
    }

    /// The same node with this host id.
    #[must_use]
    pub fn host_id(self, host_id: impl Into<String>) -> Self {
        NodeSpec { host_id: host_id.into(), ..self }
    }

    /// The same node with this `release_version`.
    #[must_use]
    pub fn release_version(self, release_version: impl Into<String>) -> Self {
        NodeSpec { release_version: release_version.into(), ..self }
    }

    /// The same node running this release.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        NodeSpec { version, ..self }
    }

    /// The same node with so many shards.
    #[must_use]
    pub fn shards(self, shards: u32) -> Self {
        NodeSpec { shards, ..self }
    }

    /// The same node with so many tokens; 0 for a node without data.
    #[must_use]
    pub fn tokens(self, tokens: u32) -> Self {
        NodeSpec { tokens, ..self }
    }

    /// The same node, which the others call by this address among themselves.
    #[must_use]
    pub fn internal(self, internal: impl Into<IpAddr>) -> Self {
        NodeSpec { internal: Some(internal.into()), ..self }
    }

    /// The same node, which starts in this state.
    #[must_use]
    pub fn state(self, state: State) -> Self {
        NodeSpec { state, ..self }
    }

    /// The same node, listed by this text: a host name, an address with a `%scope`.
    #[must_use]
    pub fn listed_as(self, text: impl Into<String>) -> Self {
        NodeSpec { known_as: KnownAs::Text(text.into()), ..self }
    }

    /// The same node, without an address for clients.
    #[must_use]
    pub fn without_rpc_address(self) -> Self {
        NodeSpec { known_as: KnownAs::Nothing, ..self }
    }

    /// The same node, which serves https.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        NodeSpec { tls: Some(tls), ..self }
    }

    /// Its address among the nodes.
    pub(super) fn peer(&self) -> IpAddr {
        self.internal.unwrap_or(self.address)
    }
}

/// A random-looking UUID that is always the same for an address (FNV-1a, 128 bits).
pub(super) fn host_id(address: IpAddr) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let text = address.to_string();
    let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    // Version 4, variant 1, as ScyllaDB's are.
    let id = (hash & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
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

    #[test]
    fn a_host_id_is_stable_and_its_own() {
        let ids: std::collections::BTreeSet<String> =
            Cluster::demo_spec(true).nodes.into_iter().map(|node| node.host_id).collect();
        assert_eq!(ids.len(), 13);
        let id = host_id([127, 0, 0, 1].into());
        assert_eq!(id, host_id([127, 0, 0, 1].into()));
        assert_eq!((id.len(), &id[14..15], id.matches('-').count()), (36, "4", 4), "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}
