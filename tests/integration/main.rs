//! Black-box tests: the real server over real sockets, against the simulated cluster.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test's unwrap is an assertion, its name its documentation")]
#![allow(unreachable_pub, reason = "nobody uses this crate: pub means for the other modules, as in a library")]

mod access;
mod address_map;
mod admin;
mod amplification;
mod cli;
mod compare;
mod discovery;
mod distribution;
mod docs;
mod edns;
mod encrypted;
mod explain;
mod fuzz_corpus;
mod gdnsd;
mod health;
mod incidents;
mod layering;
mod listeners;
mod logs;
mod meters;
mod names;
mod node_tls;
mod overrides;
mod page;
mod pipes;
mod proof_of_concept;
mod protocol;
mod proxies;
mod query_log;
mod rate_limit;
mod reload;
mod replace;
mod restart;
mod rfc8906;
mod scenarios;
mod service;
mod shared_clusters;
mod shutdown;
mod steering;
mod support;
mod tables;
mod tcp_states;
mod transport;
mod zone_files;
