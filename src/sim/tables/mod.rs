//! ScyllaDB's system tables, as the DynamoDB API shows them.
//!
//! | word | meaning |
//! |---|---|
//! | [`Table`] | one of the tables there are: its name, its key, its rows |
//! | [`View`] | what the answering node sees, from which the rows are made |
//! | [`Row`], [`Cell`] | columns by name; a column without a value is not there |
//! | [`Scan`] | a request: which rows, which columns, where it goes on |
//!
//! Every value is text but booleans, whose type is `BOOL` and whose value is text all the same: `{"BOOL": "true"}`.

mod rows;
mod scan;

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use tokio::time::Instant;

use super::{
    ClientRoute, Version,
    api::ApiError,
    fault::Faults,
    gossip::{Gossip, Member, Seen},
};

pub(super) use scan::Scan;

/// How names of tables begin that are not those of users.
const PREFIX: &str = ".scylla.alternator.";

/// The keyspace of all tables here.
const KEYSPACE: &str = "system";

/// Columns and their values.
pub(super) type Row<'a> = BTreeMap<&'static str, Cell<'a>>;

/// The value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Text(Cow<'a, str>),
    Flag(bool),
}

/// The columns that name a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// By whose hash rows are spread over the ring, which is the order of a scan.
    pub(super) partition: &'static str,
    /// By which rows of one partition are in order.
    pub(super) clustering: Option<&'static str>,
}

/// A table that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    ClusterStatus,
    Peers,
    Local,
    Topology,
    ClientRoutes,
    LoadPerNode,
    Versions,
}

impl Table {
    const ALL: [Table; 7] = [
        Table::ClusterStatus,
        Table::Peers,
        Table::Local,
        Table::Topology,
        Table::ClientRoutes,
        Table::LoadPerNode,
        Table::Versions,
    ];

    /// The table that a request names, if a node of this version has it.
    pub(super) fn find(name: &str, version: Version) -> Result<Self, ApiError> {
        let internal = name.strip_prefix(PREFIX).and_then(|name| name.split_once('.'));
        // Any other keyspace could be a user's.
        let internal = internal.filter(|(keyspace, _)| keyspace.starts_with(KEYSPACE));
        let Some((keyspace, table)) = internal else {
            return Err(ApiError::not_found(&format!("Table: {name}")));
        };
        let found = Self::ALL.into_iter().find(|own| own.name() == table && own.is_in(version));
        let found = found.filter(|_| keyspace == KEYSPACE);
        found.ok_or_else(|| ApiError::not_found(&format!("Internal table: {keyspace}.{table}")))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Table::ClusterStatus => "cluster_status",
            Table::Peers => "peers",
            Table::Local => "local",
            Table::Topology => "topology",
            Table::ClientRoutes => "client_routes",
            Table::LoadPerNode => "load_per_node",
            Table::Versions => "versions",
        }
    }

    pub(super) fn key(self) -> Key {
        let (partition, clustering) = match self {
            Table::ClusterStatus | Table::Peers => ("peer", None),
            Table::Local | Table::Versions => ("key", None),
            Table::Topology => ("key", Some("host_id")),
            Table::ClientRoutes => ("connection_id", Some("host_id")),
            Table::LoadPerNode => ("node", None),
        };
        Key { partition, clustering }
    }

    fn is_in(self, version: Version) -> bool {
        match self {
            Table::ClusterStatus | Table::Peers | Table::Local | Table::Versions => true,
            Table::Topology => version.has_topology(),
            Table::ClientRoutes => version.has_client_routes(),
            Table::LoadPerNode => version.has_load_per_node(),
        }
    }

    /// The rows, in any order.
    pub(super) fn rows<'a>(self, view: &View<'a>) -> Vec<Row<'a>> {
        match self {
            Table::ClusterStatus => rows::cluster_status(view),
            Table::Peers => rows::peers(view),
            Table::Local => rows::local(view),
            Table::Topology => rows::topology(view),
            Table::ClientRoutes => rows::client_routes(view),
            Table::LoadPerNode => rows::load_per_node(view),
            Table::Versions => rows::versions(view),
        }
    }
}

/// What the answering node sees.
pub(super) struct View<'a> {
    /// The node itself.
    own: &'a Member,
    /// All members that it knows and admits to, itself included.
    seen: Vec<Seen<'a>>,
    routes: &'a [ClientRoute],
    faults: &'a Faults,
    /// What it can do.
    pub(super) version: Version,
}

impl<'a> View<'a> {
    /// What a member sees now; `None` for one that is no member any more.
    pub(super) fn new(
        gossip: &'a Gossip,
        observer: IpAddr,
        routes: &'a [ClientRoute],
        faults: &'a Faults,
        now: Instant,
    ) -> Option<Self> {
        let own = gossip.member(observer)?;
        let seen = gossip.seen_by(observer, now).filter(|seen| !faults.omits.contains(&seen.member.spec.address));
        let version = faults.version(own.spec.version);
        Some(View { own, seen: seen.collect(), routes, faults, version })
    }
}

impl From<bool> for Cell<'_> {
    fn from(flag: bool) -> Self {
        Cell::Flag(flag)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Cell::Text(text.into())
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Cell::Text(text.into())
    }
}

impl From<IpAddr> for Cell<'_> {
    fn from(address: IpAddr) -> Self {
        address.to_string().into()
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        number.to_string().into()
    }
}
