//! The HTTP client of discovery and of the prober: one request to one node, bounded in time and size, its failure told
//! in [`Failure`]'s words. The only user of reqwest.

use std::{error::Error, io, net::IpAddr, time::Duration};

use crate::{
    config::{ClusterConfig, Scheme},
    model::Failure,
};

/// Asks nodes of one cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeClient {
    client: reqwest::Client,
    scheme: Scheme,
    port: u16,
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
#[error(transparent)]
pub struct SetupError(#[from] reqwest::Error);

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

/// A failure's text may quote what the node sent (a certificate's names, say); it ends up in logs and answers.
const LONGEST_TEXT: usize = 200;

impl NodeClient {
    /// A client for the cluster's scheme and port. Fails only where TLS cannot be set up.
    pub fn new(cluster: &ClusterConfig, limits: Limits) -> Result<Self, SetupError> {
        let round = cluster.active_interval.max(cluster.idle_interval);
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .pool_max_idle_per_host(usize::from(limits.keep_alive))
            .pool_idle_timeout(round.saturating_mul(IDLE_ROUNDS).min(MAX_IDLE))
            .user_agent(concat!("alternator-dns/", env!("CARGO_PKG_VERSION")));
        if cluster.scheme == Scheme::Http {
            // The system's certificates take longer to read than everything else at the start.
            client = client.tls_certs_only([]);
        }
        Ok(NodeClient { client: client.build()?, scheme: cluster.scheme, port: cluster.port })
    }

    /// `GET` to a node. `path_and_query` starts with `/` and is already percent-encoded. The body is read to its end,
    /// whatever the status, so that the connection can be used again.
    pub async fn get(&self, node: IpAddr, path_and_query: &str, body_limit: usize) -> Result<Reply, Failure> {
        let url = self.url(node, path_and_query);
        self.reply(self.client.get(url), body_limit).await
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
        let mut request = self.client.post(self.url(node, "/"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.reply(request.body(body), body_limit).await
    }

    /// The `Host` header of requests to a node (RFC 9110, section 7.2): in brackets where the address is IPv6, without
    /// the port where it is the scheme's own.
    pub fn host(&self, node: IpAddr) -> String {
        let host = bracketed(node);
        let default = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    fn url(&self, node: IpAddr, path_and_query: &str) -> String {
        format!("{}://{}:{}{path_and_query}", self.scheme, bracketed(node), self.port)
    }

    async fn reply(&self, request: reqwest::RequestBuilder, body_limit: usize) -> Result<Reply, Failure> {
        let mut response = request.send().await.map_err(|error| failure_of(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure_of(&error))? {
            if body.len() + chunk.len() > body_limit {
                return Err(Failure::Protocol(format!("the reply is longer than {body_limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, body })
    }
}

/// An address as URLs and headers have it.
fn bracketed(node: IpAddr) -> String {
    match node {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// What a failed request says about the node: the innermost cause decides.
fn failure_of(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::TimedOut;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost = error.to_string();
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>()
            && let Some(failure) = failure_of_io(io)
        {
            return failure;
        }
        if let Some(http) = current.downcast_ref::<hyper::Error>()
            && (http.is_incomplete_message() || http.is_closed() || http.is_canceled())
        {
            return Failure::Closed;
        }
        innermost = current.to_string();
        cause = current.source();
    }
    Failure::Protocol(innermost.chars().take(LONGEST_TEXT).collect())
}

fn failure_of_io(error: &io::Error) -> Option<Failure> {
    use io::ErrorKind::*;
    match error.kind() {
        ConnectionRefused => Some(Failure::Refused),
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => Some(Failure::Closed),
        TimedOut => Some(Failure::TimedOut),
        // Whatever else the operating system says (no route, no free port or descriptor, forbidden by a local filter)
        // is about us or the way, never about the node: it must not count as evidence against it.
        _ if error.raw_os_error().is_some() => Some(Failure::Unreachable),
        HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable => Some(Failure::Unreachable),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod test_node;

#[cfg(test)]
mod tests;
