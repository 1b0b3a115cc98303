//! A simulated Alternator cluster on loopback addresses: what the demo and the black-box tests run on.
//!
//! Every node is a real HTTP server on its own loopback address and one common port, and answers as ScyllaDB's
//! Alternator does: `/localnodes` with its `dc` and `rack` filters, `/` for health, and as much of the DynamoDB API
//! (an empty `ListTables`) as it takes to count real clients. What a node *lists* and whether it *serves* are two
//! things, as in a real cluster: a crashed node stays listed until the failure detector notices, and a restarted one
//! is listed before its port listens.
//!
//! | word | meaning |
//! |---|---|
//! | [`Cluster`] | the running cluster: its nodes, and every switch that changes them |
//! | [`ClusterSpec`], [`NodeSpec`] | what to start: nodes with datacenter, rack and address; port; failure detector |
//! | gossip | what nodes believe of each other: who is a member, alive, reachable (`gossip.rs`) |
//! | [`Fault`] | what a running node does wrong; faults of one node add up until [`Cluster::heal`] |
//! | [`Endpoint`] | what can be asked of a node: the list, its health, the API |
//! | [`BadReply`] | a wrong answer of one endpoint |
//! | [`SeenByOthers`] | whether the rest of the cluster still lists nodes that a partition cuts off |
//! | [`Counters`] | what one node was asked, and over how many connections |

mod cluster;
mod counters;
mod fault;
mod gossip;
mod http;
mod localnodes;
mod node;
mod port;
mod spec;
#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use counters::Counters;
pub use fault::{BadReply, Endpoint, Fault};
pub use gossip::SeenByOthers;
pub use spec::{ClusterSpec, FAILURE_DETECTOR_TIMEOUT, NodeSpec};
