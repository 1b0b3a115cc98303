//! A simulated Alternator cluster on loopback addresses: what the demo and the black-box tests run on.
//!
//! Every node is a real HTTP server on its own loopback address and one common port, and answers as ScyllaDB's
//! Alternator does: `/localnodes` with its `dc` and `rack` filters, `/` for health, and of the DynamoDB API an empty
//! `ListTables`, which counts real clients, and `Scan` and `Query` of the system tables that tell the topology, for
//! whoever may read them. What a node *lists* and whether it *serves* are two
//! things, as in a real cluster: a crashed node stays listed until the failure detector notices, and a restarted one
//! is listed before its port listens.
//!
//! | word | meaning |
//! |---|---|
//! | [`Cluster`] | the running cluster: its nodes, and every switch that changes them |
//! | [`ClusterSpec`], [`NodeSpec`] | what to start: nodes with datacenter, rack and address; port; failure detector |
//! | [`KnownAs`] | what a node is listed by: its address, a name, its host id |
//! | [`State`] | where a node is in its life: joins, serves, leaves, is dead; what follows from that for the others |
//! | [`Version`] | the release a node runs: what it lists, which tables and columns it has |
//! | [`Role`] | who may sign requests, and which tables it may read |
//! | [`Tls`], [`Identity`] | how a node serves https, and by which certificate |
//! | [`ClientCertificates`], [`TlsVersions`] | whose certificate it wants to see, and which TLS it speaks |
//! | [`ClientRoute`] | how clients behind a private connection reach a node |
//! | gossip | what nodes believe of each other: who is a member, alive, reachable (`gossip.rs`) |
//! | [`Fault`] | what a running node does wrong; faults of one node add up until [`Cluster::heal`] |
//! | [`Endpoint`] | what can be asked of a node: the list, its health, the API |
//! | [`BadReply`] | a wrong answer of one endpoint |
//! | [`SeenByOthers`] | whether the rest of the cluster still lists nodes that a partition cuts off |
//! | [`Counters`] | what one node was asked, and over how many connections |

mod api;
mod auth;
mod cluster;
mod counters;
mod fault;
mod gossip;
mod http;
mod localnodes;
mod membership;
mod node;
mod port;
mod reply;
mod spec;
mod state;
mod switches;
mod tables;
#[cfg(test)]
mod tests;
mod tls;

pub use auth::Role;
pub use cluster::Cluster;
pub use counters::Counters;
pub use fault::{BadReply, Endpoint, Fault};
pub use gossip::SeenByOthers;
pub use spec::{CASSANDRA_RELEASE, ClientRoute, ClusterSpec, FAILURE_DETECTOR_TIMEOUT, KnownAs, NodeSpec};
pub use state::{State, Version};
pub use tls::{ClientCertificates, Identity, Tls, TlsVersions};
