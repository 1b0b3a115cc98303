//! What a node answers.

use std::{convert::Infallible, io, iter};

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as HttpBody, Bytes, Frame},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, LOCATION},
};
use serde_json::json;
use tokio::{task, time};

use super::{
    fault::{BadReply, Endpoint, HUGE_BODY},
    localnodes::{self, Filter},
    node::Node,
};

/// Size of a request body that is read. The largest DynamoDB request is 16 MiB; the one request served needs nothing.
const MAX_REQUEST_BODY: usize = 1 << 20;

/// Piece by which a huge body is sent.
const HUGE_PIECE: usize = 64 * 1024;

const JSON: &str = "application/json";
const DYNAMODB_JSON: &str = "application/x-amz-json-1.0";
const LIST_TABLES: &str = "DynamoDB_20120810.ListTables";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers one request; waits as long as the node's faults ask for.
pub(super) async fn answer<B>(node: &Node, request: Request<B>) -> Result<Response<Body>, Infallible>
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
        Endpoint::Api => api(request).await,
    };
    Ok(match bad {
        None => right.into_response(),
        Some(bad) => falsify(right, bad),
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

/// As much of DynamoDB as a client needs to be counted: it has no tables, and does nothing else.
async fn api<B>(request: Request<B>) -> Reply
where
    B: HttpBody<Error: std::error::Error + Send + Sync + 'static>,
{
    let target = request.headers().get("x-amz-target").map(|target| String::from_utf8_lossy(target.as_bytes()));
    let operation = target.as_deref().unwrap_or("").to_owned();
    // Read to its end, so that the connection can be used again.
    if Limited::new(request.into_body(), MAX_REQUEST_BODY).collect().await.is_err() {
        return Reply::dynamodb_error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            "the request is too large",
        );
    }
    if operation == LIST_TABLES {
        return Reply { content_type: DYNAMODB_JSON, ..Reply::json(StatusCode::OK, &json!({ "TableNames": [] })) };
    }
    let operation = operation.rsplit('.').next().unwrap_or("");
    let message = format!("Unsupported operation {operation}");
    Reply::dynamodb_error(StatusCode::BAD_REQUEST, "UnknownOperationException", &message)
}

fn not_found() -> Response<Body> {
    let status = StatusCode::NOT_FOUND;
    Reply::json(status, &json!({ "message": "Not found", "code": status.as_u16() })).into_response()
}

/// What a node with this fault sends in place of the right reply.
fn falsify(right: Reply, bad: BadReply) -> Response<Body> {
    let ok = StatusCode::OK;
    match bad {
        BadReply::Garbage => {
            Reply { status: ok, content_type: JSON, body: Bytes::from_static(b"\xff\xfe[\"127.0.0.1\x00\", \xc3(") }
                .into_response()
        }
        BadReply::Html => {
            let page = b"<!DOCTYPE html>\n<html><body><h1>127.0.0.1, please sign in</h1></body></html>\n";
            Reply { status: ok, content_type: "text/html", body: Bytes::from_static(page) }.into_response()
        }
        BadReply::EmptyList => Reply::json(ok, &json!([])).into_response(),
        BadReply::Huge => huge(&right),
        BadReply::Truncated => truncated(right),
        BadReply::Status(code) => {
            let status = StatusCode::from_u16(code).ok().filter(|status| !status.is_informational());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Reply::json(status, &json!({ "message": "simulated failure", "code": status.as_u16() })).into_response()
        }
        BadReply::Redirect(location) => {
            let mut response =
                Reply { status: StatusCode::FOUND, content_type: JSON, body: Bytes::new() }.into_response();
            if let Ok(location) = HeaderValue::try_from(location) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
    }
}

/// The right body behind white space, which JSON allows: only a bound on its size protects a reader.
fn huge(right: &Reply) -> Response<Body> {
    let space = Bytes::from_static(&[b' '; HUGE_PIECE]);
    let pieces = iter::repeat_n(space, HUGE_BODY / HUGE_PIECE).chain([right.body.clone()]);
    let body = StreamBody::new(stream::iter(pieces.map(|piece| Ok(Frame::data(piece))))).boxed_unsync();
    right.head(body)
}

/// Promises the whole body, sends half, and cuts the connection.
fn truncated(right: Reply) -> Response<Body> {
    let half = right.body.slice(..right.body.len() / 2);
    let cut = stream::once(async {
        // While this waits the half is written out; an error at once would take it along.
        task::yield_now().await;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let frames = stream::iter([Ok(Frame::data(half))]).chain(cut);
    let mut response = right.head(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_LENGTH, right.body.len().into());
    response
}

/// A reply as it should be, before any fault falsifies it.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl Reply {
    fn json(status: StatusCode, value: &serde_json::Value) -> Self {
        Reply { status, content_type: JSON, body: value.to_string().into() }
    }

    fn dynamodb_error(status: StatusCode, kind: &str, message: &str) -> Self {
        let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
        Reply { content_type: DYNAMODB_JSON, ..Reply::json(status, &json!({ "__type": kind, "message": message })) }
    }

    fn head(&self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }

    fn into_response(self) -> Response<Body> {
        let body = Full::new(self.body.clone()).map_err(|never| match never {}).boxed_unsync();
        self.head(body)
    }
}
