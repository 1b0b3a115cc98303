//! What a node answers.

use std::{convert::Infallible, net::IpAddr};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Body as HttpBody,
    header::{HOST, HeaderValue},
};
use serde_json::json;
use tokio::time;

use super::{
    api,
    fault::Endpoint,
    localnodes::{self, Filter},
    node::Node,
    reply::{Body, Reply},
};

/// Answers one request of a client at this address; waits as long as the node's faults ask for.
pub(super) async fn answer<B>(node: &Node, client: IpAddr, request: Request<B>) -> Result<Response<Body>, Infallible>
where
    B: HttpBody<Error: std::error::Error + Send + Sync + 'static>,
{
    let endpoint = endpoint_of(request.method(), request.uri().path());
    node.tally.count(endpoint);
    let mut faults = node.faults.subscribe();
    // Fails only when the node is gone, and this connection with it.
    let _ = faults.wait_for(|faults| faults.answers()).await;
    let delay = faults.borrow().delay;
    if !delay.is_zero() {
        time::sleep(delay).await;
    }
    let Some(endpoint) = endpoint else { return Ok(not_found()) };
    // From here on at one moment: a fault switched now holds for the next request.
    let bad = faults.borrow().replies.get(&endpoint).cloned();
    let right = match endpoint {
        Endpoint::Localnodes => localnodes(node, request.uri().query().unwrap_or("")),
        Endpoint::Health => healthy(request.headers().get(HOST)),
        Endpoint::Api => api::answer(node, client, request).await,
    };
    Ok(match bad {
        None => right.into_response(),
        Some(bad) => right.falsified(bad),
    })
}

/// Paths are exact but for one trailing slash; another method on a path is no endpoint.
fn endpoint_of(method: &Method, path: &str) -> Option<Endpoint> {
    match (method.as_str(), path) {
        ("GET", "/localnodes" | "/localnodes/") => Some(Endpoint::Localnodes),
        ("GET", "/") => Some(Endpoint::Health),
        ("POST", "/") => Some(Endpoint::Api),
        _ => None,
    }
}

fn localnodes(node: &Node, query: &str) -> Reply {
    let filter = Filter::parse(query);
    let mut entries = localnodes::entries(
        &node.membership.gossip(),
        node.address,
        &filter,
        &node.faults.borrow(),
        time::Instant::now(),
    );
    node.membership.shuffle(&mut entries);
    Reply::json(StatusCode::OK, &json!(entries))
}

/// The health check proves that the HTTP loop runs, by saying what it read.
fn healthy(host: Option<&HeaderValue>) -> Reply {
    let host = host.map_or(&[][..], HeaderValue::as_bytes);
    Reply { status: StatusCode::OK, content_type: "text/plain", body: [b"healthy: ", host].concat().into() }
}

fn not_found() -> Response<Body> {
    let status = StatusCode::NOT_FOUND;
    Reply::json(status, &json!({ "message": "Not found", "code": status.as_u16() })).into_response()
}
