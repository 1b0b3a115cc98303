//! What a cluster's own tables tell of a node besides its address and place.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

/// What ScyllaDB's system tables tell of one node. Nothing of it where they were not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// `host_id`: the node's identity, a UUID in lower case.
    pub host_id: Option<Arc<str>>,
    /// `cluster_status.status` in upper case, ScyllaDB's own word: `NORMAL`, `DECOMMISSIONING`.
    pub state: Option<Arc<str>>,
    /// Why it should get no new clients although it may still serve.
    pub leaving: Option<Leaving>,
    /// `release_version`: `2025.1.4`.
    pub version: Option<Arc<str>>,
    /// `topology.shard_count`: CPUs that serve.
    pub shards: Option<u32>,
    /// `client_routes`: other ways to the node, by connection id.
    pub routes: BTreeMap<Arc<str>, Route>,
}

/// Why a node that may still serve should get no new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// `status` = `DECOMMISSIONING`: it streams its data away, maybe for hours, and serves until it has left.
    Decommissioning,
    /// `draining` = true: it is about to leave or to be removed.
    Draining,
    /// `status` = `REMOVING`: others remove it.
    Removing,
    /// `excluded` = true: the cluster works without it.
    Excluded,
    /// It owns no tokens (`join_ring: false`): a coordinator without data, while others have some.
    NoTokens,
}

impl Told {
    /// Whether nothing is told.
    pub fn is_nothing(&self) -> bool {
        *self == Told::default()
    }
}

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Leaving::Decommissioning => "decommissioning",
            Leaving::Draining => "draining",
            Leaving::Removing => "being removed",
            Leaving::Excluded => "excluded",
            Leaving::NoTokens => "owns no tokens",
        })
    }
}

/// A row of `system.client_routes`: how clients behind one connection (a private link, say) reach a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The address they connect to.
    pub address: IpAddr,
    /// `alternator_port`.
    pub port: Option<u16>,
    /// `alternator_https_port`.
    pub https_port: Option<u16>,
}
