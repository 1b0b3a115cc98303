//! alternator-dns: an authoritative DNS server that balances clients over the live nodes of a ScyllaDB Alternator
//! cluster.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test's unwrap is an assertion"))]

pub mod app;
pub mod cli;
pub mod config;
mod controller;
pub mod discovery;
pub mod health;
pub mod http;
pub mod model;
pub mod plan;
pub mod server;
pub mod sim;
pub mod state;
pub mod table;
pub mod telemetry;
pub mod zone;
