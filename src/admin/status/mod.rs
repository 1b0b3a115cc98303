//! The whole state of a server as one value: what `/status.json` says, and `alternator-dns status` reads.
//!
//! Every field has a default when it is read, so that a client may be older or newer than the server it asks.

mod look;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::overrides;

pub use crate::model::rfc3339;
pub(super) use look::{is_ready, leads, word, zone_name};

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The process.
    pub server: ServerStatus,
    /// What queries became.
    pub queries: Queries,
    /// The zones, by name.
    pub zones: Vec<ZoneStatus>,
    /// What operators forced, in force or not.
    pub overrides: Vec<overrides::Told>,
    /// The journal.
    pub events: Events,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStatus {
    /// Of the program.
    pub version: String,
    /// What the server is called, where it tells.
    pub identity: Option<String>,
    /// When it started, RFC 3339.
    pub started: String,
    /// Seconds since.
    pub uptime: f64,
    /// Number of the process.
    pub pid: u32,
    /// Where it answers.
    pub listen: Vec<Listening>,
    /// What became of reloads.
    pub reload: ReloadStatus,
}

/// An address that is answered on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listening {
    /// `udp`, `tcp`, `tls`, `https`, `quic`.
    pub transport: String,
    /// Address and port.
    pub address: String,
}

/// What became of reloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadStatus {
    /// How many succeeded.
    pub succeeded: u64,
    /// How many failed, and changed nothing.
    pub failed: u64,
    /// The last one.
    pub last: Option<LastReload>,
}

/// One reload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastReload {
    /// When it ended, RFC 3339.
    pub at: String,
    /// Why it failed; `None` = it did not.
    pub error: Option<String>,
}

/// What queries became.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queries {
    /// Queries by outcome.
    pub by_outcome: BTreeMap<String, u64>,
    /// All of them.
    pub total: u64,
}

/// One zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneStatus {
    /// Its name, without trailing dot.
    pub name: String,
    /// Number of what is served: grows with each change, and is the SOA serial.
    pub epoch: u32,
    /// There is something to answer.
    pub ready: bool,
    /// No node answers discovery: the topology is the last one known.
    pub stale: bool,
    /// The topology is from the state file: discovery has not succeeded since the start.
    pub remembered: bool,
    /// The servers ignore datacenters and racks: each scope is the whole cluster.
    pub flat: bool,
    /// The prober is distrusted.
    pub panic: bool,
    /// With `https`, how nodes are verified, for people.
    pub tls: Option<String>,
    /// Whoever answers at a node's address is taken for the node (`insecure_skip_verify`).
    pub unverified: bool,
    /// Where the topology is from: `nothing`, `snapshot` (the state file), `discovery`.
    pub source: String,
    /// Other zones on the same cluster: its nodes are asked once for all of them.
    pub shares_with: Vec<String>,
    /// How nodes are found.
    pub discovery: DiscoveryStatus,
    /// The zone whose nodes are answered, because none of this one serves.
    pub lent_by: Option<String>,
    /// TTL of addresses as configured, seconds.
    pub ttl: u32,
    /// Who is given which addresses of the nodes; the first is everybody's. Empty where there are no rules for it.
    pub views: Vec<ViewStatus>,
    /// Every node known, by address.
    pub nodes: Vec<NodeStatus>,
    /// Every chain that names stand for.
    pub scopes: Vec<ScopeStatus>,
}

/// Clients that are given the same addresses of the nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewStatus {
    /// Their networks; none for everybody's.
    pub clients: Vec<String>,
    /// Nodes that are given by another address than their own.
    pub mapped: usize,
    /// Nodes that are not, although there are rules.
    pub unmapped: usize,
}

/// Where a node is seen by clients of a view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeenStatus {
    /// The place of the view among the zone's.
    pub view: usize,
    /// Where these clients connect to.
    pub address: String,
    /// The port there; `None` = the cluster's.
    pub port: Option<u16>,
}

/// How nodes are found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiscoveryStatus {
    /// What is configured: `auto`, `localnodes`, `system_tables`.
    pub mode: String,
    /// What is done: `tables`, `localnodes`; empty before anybody answered.
    pub source: String,
    /// Why tables are not read, where they should be.
    pub reason: Option<String>,
    /// Tables that can be done without, that are there, and that cannot be read; and why.
    pub unread: Vec<String>,
}

/// What system tables tell of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableStatus {
    /// Its identity.
    pub host_id: Option<String>,
    /// ScyllaDB's word: `NORMAL`, `DECOMMISSIONING`.
    pub state: Option<String>,
    /// `release_version`.
    pub version: Option<String>,
    /// CPUs that serve.
    pub shards: Option<u32>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Where clients connect to.
    pub address: String,
    /// Where else some clients connect to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<SeenStatus>,
    /// Its datacenter, where learnt.
    pub datacenter: Option<String>,
    /// Its rack, where learnt.
    pub rack: Option<String>,
    /// One of [`VERDICTS`].
    pub verdict: String,
    /// It may be answered.
    #[serde(rename = "in")]
    pub is_in: bool,
    /// The verdict and its cause, for people.
    pub reason: String,
    /// What our probes say: `joining`, `up`, `down`.
    pub state: String,
    /// Since when, RFC 3339; `None` = never probed.
    pub since: Option<String>,
    /// What the last probe took.
    pub probe_seconds: Option<f64>,
    /// Answers it led since the start.
    pub led: u64,
    /// Share of its full weight, where it is answered.
    pub weight: Option<f64>,
    /// The override in force.
    #[serde(rename = "override")]
    pub forced: Option<overrides::Told>,
    /// What system tables tell of it; every field of it `None` where they were not read.
    #[serde(rename = "tables")]
    pub told: Option<TableStatus>,
}

/// What one chain answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeStatus {
    /// The scope that its names stand for: `cluster`, `dc1`, `dc1/rack1`.
    pub name: String,
    /// Its owner names, without trailing dots.
    pub names: Vec<String>,
    /// The scopes tried in order.
    pub chain: Vec<String>,
    /// What A is answered with.
    pub a: FamilyStatus,
    /// What AAAA is answered with.
    pub aaaa: FamilyStatus,
}

/// What one chain answers for one address family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FamilyStatus {
    /// Level of the chain in use; 0 = its own. `None` = there is no answer, or another zone's.
    pub level: Option<usize>,
    /// The scope of that level.
    pub from: Option<String>,
    /// The nodes answered.
    pub nodes: Vec<String>,
    /// `live`, `last_known` (stale), `lent` (by another zone), `unready` (SERVFAIL), `absent` (NODATA).
    pub serving: String,
    /// TTL of the answers, seconds.
    pub ttl: u32,
}

/// The journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Number of the latest change.
    pub latest: u64,
}

/// The words for [`Verdict`](crate::plan::Verdict)s.
pub const VERDICTS: [&str; 10] =
    ["up", "listed", "distrusted", "forced", "joining", "down", "drained", "leaving", "left", "remembered"];
