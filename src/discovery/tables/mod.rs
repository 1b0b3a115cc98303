//! One observer's own tables, read through the DynamoDB API: which nodes there are in every datacenter, and how they are.
//!
//! ScyllaDB shows its system tables as `.scylla.alternator.KEYSPACE.TABLE`, for `Scan` and `Query` only. Nothing but
//! what the observer believes is in them, so a view is one vote like any other and not the truth.
//!
//! | word | meaning |
//! |---|---|
//! | reader | what every read needs: credentials, a clock, and what need not be asked in every round ([`Reader`]) |
//! | keys | a role's name and its salted hash, with which requests are signed (`credentials`) |
//! | page | one reply to a `Scan`: rows, and where the next page begins (`page`) |
//! | row | the columns of an item that are of use here, as text (`row`) |
//! | join | the tables' rows about one node, brought together by its host id (`join`) |
//! | view | all nodes as one observer's tables tell of them ([`TableView`]) |
//!
//! `page`, `row`, `join` and `failure` are pure.

mod credentials;
mod failure;
mod join;
mod known;
mod page;
mod request;
mod row;
mod scan;

use std::{net::IpAddr, sync::Arc};

pub use self::{
    credentials::{CredentialsError, Keys, read as read_credentials},
    failure::{TableFailure, Unauthorized},
    scan::Reader,
};
pub(super) use self::{page::PAGE_OCTETS, scan::read};
use super::network::Live;
use crate::{http::NodeClient, model::Told};

/// The cluster as the tables of one node tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableView {
    /// Every node that has an address, by it; each address once.
    pub nodes: Vec<TableNode>,
    /// Where the node stands that was asked.
    pub own_datacenter: Option<Arc<str>>,
    /// Rows about nodes that would be listed, but without an address that clients can connect to, or without a place.
    pub skipped: usize,
    /// Rows of `client_routes` whose address is a host name, which no A or AAAA record can hold.
    pub named_routes: usize,
    /// Optional tables that are there and could not be read.
    pub unread: Vec<TableFailure>,
    /// `topology` was not read, so that nothing is known of shards.
    pub lacks_shards: bool,
    /// `client_routes` was not read: that no node has a route says nothing.
    pub lacks_routes: bool,
}

/// A node as the tables of one node tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNode {
    /// `rpc_address`: what `/localnodes` would list, and what clients connect to.
    pub address: IpAddr,
    /// Its datacenter.
    pub datacenter: Arc<str>,
    /// Its rack.
    pub rack: Option<Arc<str>>,
    /// Whether gossip has it alive.
    pub up: bool,
    /// Whether the observer's `/localnodes` would list it: alive, and in a state in which a node takes requests.
    pub listed: bool,
    /// `cluster_status.tokens`: how many it owns.
    pub tokens: Option<u32>,
    /// Whatever else is told. `leaving` is by this view alone; [`Leaving::NoTokens`](crate::model::Leaving::NoTokens)
    /// where others in their normal state have tokens.
    pub told: Told,
}

/// What the tables of one node tell, for an operator who wants to know before starting.
pub async fn look_at(client: &NodeClient, node: IpAddr, reader: &Reader) -> Result<TableView, TableFailure> {
    read(&Live(client.clone()), node, reader).await
}

/// The release that a node runs, where it has the table that tells.
pub async fn release_of(client: &NodeClient, node: IpAddr, reader: &Reader) -> Result<Option<Arc<str>>, TableFailure> {
    scan::release(&Live(client.clone()), node, reader).await
}

/// A view from the bodies of five replies: `local`, `peers`, `cluster_status`, `topology`, `client_routes`.
#[doc(hidden)] // for fuzz/
pub fn read_bodies(bodies: [&[u8]; 5]) -> Result<TableView, TableFailure> {
    let [local, peers, status, topology, routes] =
        bodies.map(|body| page::read(body).map(|page| page.rows).map_err(TableFailure::Unreadable));
    let (local, peers, status, topology, routes) = (local?, peers?, status?, topology?, routes?);
    let (topology, routes) = (Some(topology), Some(routes));
    let tables = join::Tables { local, peers, status, topology, routes, versions: Vec::new() };
    join::join(&tables).map_err(TableFailure::Unreadable)
}
