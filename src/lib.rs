//! alternator-dns: an authoritative DNS server that balances clients over the live nodes of a ScyllaDB Alternator
//! cluster.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test's unwrap is an assertion"))]

pub mod config;
pub mod discovery;
pub mod health;
pub mod http;
pub mod model;
pub mod plan;
pub mod server;
pub mod sim;
pub mod table;
pub mod zone;
