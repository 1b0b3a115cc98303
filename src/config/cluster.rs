//! How a cluster's nodes are found and asked, and under which addresses clients know them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use serde::Deserialize;

use crate::model::Prefix;

/// Where discovery learns the members and their places from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiscoveryMode {
    /// System tables where they can be read, `/localnodes` otherwise.
    #[default]
    Auto,
    /// `/localnodes` alone.
    Localnodes,
    /// System tables alone.
    SystemTables,
}

/// With what requests for system tables are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// As written.
    Pair {
        /// The name of a role.
        access_key_id: String,
        /// The role's salted hash.
        secret_access_key: Secret,
    },
    /// A file as the AWS tools have it, of which `[default]` is taken.
    File(PathBuf),
}

/// A text that is never printed.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How nodes prove who they are, and we to them. Only `https` uses any of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTls {
    /// PEM file of the authorities that nodes' certificates must come from; `None` = the system's.
    pub ca_file: Option<PathBuf>,
    /// What is shown to nodes that ask for a certificate.
    pub client: Option<ClientIdentity>,
    /// The name that certificates must carry; `None` = the address that is dialled.
    pub server_name: Option<String>,
    /// Take any certificate.
    pub insecure_skip_verify: bool,
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file of the chain.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

/// `[[zones.X.address_map]]`: which addresses of the nodes some clients get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// The clients; `None` = everybody.
    pub clients: Option<Vec<Prefix>>,
    /// What they get in place of nodes' own addresses.
    pub to: Mapping,
}

/// The networks of clients that rules name, each with the rules that name it, by their places.
pub fn client_networks(rules: &[AddressRule]) -> BTreeMap<Prefix, BTreeSet<usize>> {
    let mut networks: BTreeMap<Prefix, BTreeSet<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        for prefix in rule.clients.iter().flatten() {
            networks.entry(*prefix).or_default().insert(index);
        }
    }
    networks
}

/// What stands for nodes' own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Addresses of one network stand for those of another, bit by bit.
    Network {
        /// Nodes' own addresses.
        from: Prefix,
        /// What clients get: of the same family and length.
        to: Prefix,
    },
    /// The rows of `system.client_routes` with this connection id.
    Routes(String),
}
