//! An authoritative DNS server that balances clients over the live nodes of a ScyllaDB Alternator cluster.
//!
//! Policy is compiled, answers are dealt: everything that is policy (scopes, fallback, health, rack interleaving, the
//! size of answers, TTLs) happens when the cluster *changes*. A query finds its name, takes the next row of ready wire
//! bytes, and copies it behind the question.
//!
//! ```text
//! seeds ──> discovery ──Topology──┐
//!                                 ├──> controller ──compile──> Table ──(one ArcSwap)──> server: look up, deal, send
//! nodes <── health ─────Health────┘        │         (pure)                               │
//!                                          └──> state file                                └──> counters
//! ```
//!
//! # The modules
//!
//! | | module | what it is |
//! |---|---|---|
//! | words | [`model`] | plain values everybody talks about: Node, Scope, Topology, Health, ClusterView |
//! | | [`config`] | what operators write: file, environment and flags, to one validated value |
//! | pure | [`zone`] | zone files, and the labels made from ScyllaDB's names |
//! | | [`plan`] | who is answered at which level of a fallback chain, and in which order |
//! | | [`table`] | everything all zones can answer, compiled to wire bytes: the one thing a query reads |
//! | both sides | [`certificate`] | certificates and keys in PEM files |
//! | the cluster's side | [`http`] | one GET to one node, bounded in time and size |
//! | | [`discovery`] | asks several nodes for their lists and merges them: which nodes there are, and where |
//! | | [`health`] | probes every node: which of them serve |
//! | the askers' side | [`server`] | sockets, packets, EDNS, counters; the general path through hickory |
//! | the operators' side | [`http_error`] | a request over HTTP that is not done |
//! | | [`explain`] | how an answer comes about, step by step |
//! | | [`overrides`] | steering by hand: who is drained or held up, and when a drained node may be stopped |
//! | around | [`journal`] | the last changes, with their causes |
//! | | [`state`] | the last topology on disk, for a start while the cluster is out of reach |
//! | | [`sim`] | a simulated cluster on loopback addresses: the demo and the tests run on it |
//! | | [`telemetry`] | logs |
//! | | [`query_log`] | queries and what they became, for a file or a dnstap reader |
//! | | [`reload`] | who asks for a reload, files that ask for it themselves, what differs |
//! | | [`handover`] | everything goes from a running process to the one that replaces it |
//! | | [`service`] | what a supervisor is told of us, the sockets it passes, giving root up |
//! | on top | [`controller`] | compiles what discovery and health find, and swaps the Table |
//! | | [`admin`] | the operators' side: what a running server lets itself be asked, over HTTP |
//! | | [`app`] | assembles everything |
//! | | [`cli`] | the commands |
//!
//! # Who knows whom
//!
//! Downwards only. A test reads the paths in the source and holds these rules; its table is the exact form of them.
//!
//! - `model` knows nobody, `config` knows `model`.
//! - `zone`, `plan` and `table` know these and each other in that order. They compute: no clock, no runtime, no network,
//!   no random numbers but from a generator passed in.
//! - `discovery` and `health` know `config`, `model`, `http` and `journal`, never each other.
//! - `server` knows `table`, never where a Table comes from.
//! - Only `controller`, `admin`, `app` and `cli` see all.
//! - reqwest stays in `http`, figment in `config`, hickory-server in the general path of `server`.
//!
//! # Rules that hold everywhere
//!
//! - Each piece of state has one writer (the table of them is in [`app`]); it travels by `watch` and, to queries, by one
//!   pointer. No lock is shared on the path of a query.
//! - An rcode is a value, never an `Err`. Every problem of what an operator wrote is told at once, with file and line.
//! - Nothing that a client, a node or a file sends may panic, block, or grow memory without a bound.
//! - A task that ends unexpectedly ends the process, loudly.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test's unwrap is an assertion"))]

pub mod admin;
pub mod app;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod controller;
pub mod discovery;
pub mod explain;
pub mod handover;
pub mod health;
pub mod http;
pub mod http_error;
pub mod journal;
pub mod model;
pub mod overrides;
pub mod plan;
pub mod query_log;
pub mod reload;
pub mod server;
pub mod service;
pub mod sim;
pub mod state;
pub mod table;
pub mod telemetry;
pub mod zone;
