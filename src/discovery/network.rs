//! The way out: requests to nodes and look-ups of seed names.

use std::{io, net::IpAddr};

use crate::{
    http::{NodeClient, Reply},
    model::Failure,
};

use super::{localnodes::BODY_LIMIT, tables::PAGE_OCTETS};

/// What discovery needs of the outside; tests put a simulated cluster on a paused clock in its place.
pub(super) trait Network: Clone + Send + Sync + 'static {
    /// One request, bounded in time and size.
    fn get(&self, node: IpAddr, path: &str) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// One `POST /` of the DynamoDB API, bounded like `get`. The headers hold what [`Network::host`] says.
    fn post(
        &self,
        node: IpAddr,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// The `Host` header of requests to a node, which is part of what is signed.
    fn host(&self, node: IpAddr) -> String;

    /// All addresses of a host name.
    fn look_up(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// The real network.
#[derive(Clone, Debug)]
pub(super) struct Live(pub(super) NodeClient);

impl Network for Live {
    async fn get(&self, node: IpAddr, path: &str) -> Result<Reply, Failure> {
        self.0.get(node, path, BODY_LIMIT).await
    }

    async fn post(&self, node: IpAddr, headers: Vec<(String, String)>, body: Vec<u8>) -> Result<Reply, Failure> {
        self.0.post(node, &headers, body, PAGE_OCTETS).await
    }

    fn host(&self, node: IpAddr) -> String {
        self.0.host(node)
    }

    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // The port is not part of the answer; the resolver only wants one.
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|socket| socket.ip()).collect())
    }
}
