//! The HTTP client of discovery and of the prober: one request to one node, bounded in time and size, over TLS where the
//! cluster says so, its failure told in [`Failure`]'s words. The only user of reqwest.
//!
//! | word | meaning |
//! |---|---|
//! | identity | whom nodes must prove to be, by whose word, and who we are to them (`identity`, `verify`) |
//! | own certificate | the one shown to nodes that ask for it |
//! | session | what the next handshake with a node is shortened by; forgotten after a minute (`sessions`) |
//! | full handshake | one in which the node's certificate is looked at |

mod failure;
mod identity;
mod sessions;
mod verify;

use std::{
    collections::BTreeMap,
    future::ready,
    iter,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use self::{failure::failure_of, verify::noting};
pub use self::{
    identity::{IdentityError, NodeIdentity},
    sessions::VERIFY_EVERY,
};
use crate::{
    config::{ClusterConfig, Scheme},
    model::Failure,
};

/// Asks nodes of one cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeClient {
    connections: Connections,
    scheme: Scheme,
    port: u16,
    identity: NodeIdentity,
}

/// Who connects.
#[derive(Clone, Debug)]
enum Connections {
    /// One client to all nodes: each is called by its address.
    Shared(reqwest::Client),
    /// One for each node, where all are called by the same name: the library takes connections and sessions of one name
    /// for those of one server.
    Named(Arc<Named>),
}

#[derive(Debug)]
struct Named {
    name: String,
    pace: Pace,
    /// Where connections are kept; those used last, since others have none any more.
    kept: Mutex<BTreeMap<IpAddr, Kept>>,
}

#[derive(Debug)]
struct Kept {
    client: reqwest::Client,
    used: Instant,
}

/// The limits of requests, and how long a connection that is not used is kept.
#[derive(Clone, Copy, Debug)]
struct Pace {
    limits: Limits,
    idle: Duration,
}

/// Takes every name for one node's.
#[derive(Debug)]
struct Dialled(IpAddr);

impl Resolve for Dialled {
    fn resolve(&self, _: Name) -> Resolving {
        // The port is that of the URL.
        let addresses: Addrs = Box::new(iter::once(SocketAddr::new(self.0, 0)));
        Box::pin(ready(Ok(addresses)))
    }
}

/// How long and how large a request may be, and whether its connection is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for the TCP (and TLS) connection.
    pub connect: Duration,
    /// Time for everything, the body included.
    pub total: Duration,
    /// Keep one idle connection per node for the next request; otherwise each request makes its own.
    pub keep_alive: bool,
}

/// The client cannot be set up: TLS, as good as always.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The HTTP library.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// The TLS library.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// `https`, and an identity that was read for `http`.
    #[error("nobody is known to verify nodes by")]
    NoIdentity,
}

/// A node's reply, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A kept connection is dropped after this many rounds of polling without a request. Nodes take turns in being asked:
/// those of a small cluster are asked again within that time, and with a thousand nodes a connection kept until the
/// node's next turn would cost a descriptor and some 12 KiB for each of them.
const IDLE_ROUNDS: u32 = 10;

/// However long the rounds are: firewalls forget connections that were idle for minutes, and without a word.
const MAX_IDLE: Duration = Duration::from_secs(90);

impl NodeClient {
    /// A client for the cluster's scheme and port. Fails only where TLS cannot be set up.
    ///
    /// Clients made with one identity resume each other's TLS sessions.
    pub fn new(cluster: &ClusterConfig, identity: &NodeIdentity, limits: Limits) -> Result<Self, SetupError> {
        let round = cluster.active_interval.max(cluster.idle_interval);
        let pace = Pace { limits, idle: round.saturating_mul(IDLE_ROUNDS).min(MAX_IDLE) };
        let (scheme, port) = (cluster.scheme, cluster.port);
        let identity = match scheme {
            Scheme::Http => NodeIdentity::default(),
            Scheme::Https => identity.clone(),
        };
        let connections = match (scheme, identity.tls()) {
            // No certificates are read, which would take longer than everything else at the start.
            (Scheme::Http, _) => Connections::Shared(pace.client().tls_certs_only([]).build()?),
            (Scheme::Https, None) => return Err(SetupError::NoIdentity),
            (Scheme::Https, Some(tls)) => match tls.called() {
                None => Connections::Shared(pace.client().tls_backend_preconfigured(tls.config(None)?).build()?),
                Some(name) => {
                    Connections::Named(Arc::new(Named { name: name.to_owned(), pace, kept: Mutex::default() }))
                }
            },
        };
        Ok(NodeClient { connections, scheme, port, identity })
    }

    /// `GET` to a node. `path_and_query` starts with `/` and is already percent-encoded. The body is read to its end,
    /// whatever the status, so that the connection can be used again.
    pub async fn get(&self, node: IpAddr, path_and_query: &str, body_limit: usize) -> Result<Reply, Failure> {
        let request = self.client(node)?.get(self.url(node, path_and_query));
        self.ask(node, request, body_limit).await
    }

    /// `POST /` to a node, with these headers and this body, over the same kept connection. Bounded like
    /// [`NodeClient::get`].
    pub async fn post(
        &self,
        node: IpAddr,
        headers: &[(String, String)],
        body: Vec<u8>,
        body_limit: usize,
    ) -> Result<Reply, Failure> {
        let mut request = self.client(node)?.post(self.url(node, "/"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.ask(node, request.body(body), body_limit).await
    }

    /// The `Host` header of requests to a node: in brackets where the address is IPv6, without
    /// the port where it is the scheme's own.
    pub fn host(&self, node: IpAddr) -> String {
        let default = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let host = self.called(node);
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    fn url(&self, node: IpAddr, path_and_query: &str) -> String {
        format!("{}://{}:{}{path_and_query}", self.scheme, self.called(node), self.port)
    }

    /// What a node goes by, as URLs and headers have it.
    fn called(&self, node: IpAddr) -> String {
        match (&self.connections, node) {
            (Connections::Named(named), _) => named.name.clone(),
            (Connections::Shared(_), IpAddr::V4(v4)) => v4.to_string(),
            (Connections::Shared(_), IpAddr::V6(v6)) => format!("[{v6}]"),
        }
    }

    /// Sends a request and reads its reply; its failure in our words.
    async fn ask(&self, node: IpAddr, request: reqwest::RequestBuilder, body_limit: usize) -> Result<Reply, Failure> {
        let tls = self.identity.tls();
        let (reply, asked) = noting(read(request, body_limit)).await;
        let failure = match reply {
            Ok(reply) => {
                if let Some(tls) = tls.filter(|_| asked) {
                    tls.own().served(node);
                }
                return Ok(reply);
            }
            Err(ReadError::Request(error)) => {
                let is_missed = tls.is_some_and(|tls| tls.own().is_missed(node, asked));
                failure_of(&error, self.scheme, tls, is_missed)
            }
            Err(ReadError::TooLong(limit)) => Failure::Protocol(format!("the reply is longer than {limit} bytes")),
        };
        if let (Failure::Protocol(_), Some(tls)) = (&failure, tls) {
            // Whatever is wrong with it: what it was believed for is to be looked at again.
            tls.forget(node);
        }
        Err(failure)
    }

    /// The client that connects to a node.
    fn client(&self, node: IpAddr) -> Result<reqwest::Client, Failure> {
        let named = match &self.connections {
            Connections::Shared(client) => return Ok(client.clone()),
            Connections::Named(named) => named,
        };
        let make = || -> Result<reqwest::Client, SetupError> {
            let config = self.identity.tls().ok_or(SetupError::NoIdentity)?.config(Some(node))?;
            let client = named.pace.client().dns_resolver(Dialled(node));
            Ok(client.tls_backend_preconfigured(config).build()?)
        };
        // That it could be made for nobody in particular was seen at the start; it says nothing of the node.
        let make = || make().map_err(|_| Failure::Unreachable);
        if !named.pace.limits.keep_alive {
            return make();
        }
        let now = Instant::now();
        let mut kept = named.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.get_mut(&node) {
            kept.used = now;
            return Ok(kept.client.clone());
        }
        // Whose connection is not kept any more needs no client.
        kept.retain(|_, kept| now.saturating_duration_since(kept.used) < named.pace.idle);
        let client = make()?;
        kept.insert(node, Kept { client: client.clone(), used: now });
        Ok(client)
    }
}

impl Pace {
    fn client(&self) -> reqwest::ClientBuilder {
        let Pace { limits, idle } = self;
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .pool_max_idle_per_host(usize::from(limits.keep_alive))
            .pool_idle_timeout(*idle)
            .user_agent(concat!("alternator-dns/", env!("CARGO_PKG_VERSION")))
    }
}

/// Why there is no whole reply.
enum ReadError {
    Request(reqwest::Error),
    TooLong(usize),
}

impl From<reqwest::Error> for ReadError {
    fn from(error: reqwest::Error) -> Self {
        ReadError::Request(error)
    }
}

/// Sends a request and reads its reply.
async fn read(request: reqwest::RequestBuilder, body_limit: usize) -> Result<Reply, ReadError> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > body_limit {
            return Err(ReadError::TooLong(body_limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, body })
}

#[cfg(test)]
pub(crate) mod test_node;

#[cfg(test)]
mod test_tls;

#[cfg(test)]
mod tls_tests;

#[cfg(test)]
mod tests;
