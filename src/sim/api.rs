//! As much of the DynamoDB API as is asked of a node here: it has no tables of users, and system tables to read.

use std::net::IpAddr;

use http_body_util::{BodyExt, Limited};
use hyper::{Request, StatusCode, body::Body as HttpBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    node::Node,
    reply::Reply,
    tables::{self, View},
};

/// Size of a request body that is read. The largest DynamoDB request is 16 MiB; those served are short.
const MAX_REQUEST_BODY: usize = 1 << 20;

const DYNAMODB_JSON: &str = "application/x-amz-json-1.0";

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::BAD_REQUEST, kind, message: message.into() }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new("ResourceNotFoundException", format!("Requested resource not found: {what} not found"))
    }

    fn into_reply(self) -> Reply {
        let kind = format!("com.amazonaws.dynamodb.v20120810#{}", self.kind);
        dynamodb(self.status, &json!({ "__type": kind, "message": self.message }))
    }
}

fn dynamodb(status: StatusCode, value: &Value) -> Reply {
    Reply { content_type: DYNAMODB_JSON, ..Reply::json(status, value) }
}

/// Answers one POST.
pub(super) async fn answer<B>(node: &Node, client: IpAddr, request: Request<B>) -> Reply
where
    B: HttpBody<Error: std::error::Error + Send + Sync + 'static>,
{
    let (head, body) = request.into_parts();
    // Read to its end, so that the connection can be used again.
    let Ok(body) = Limited::new(body, MAX_REQUEST_BODY).collect().await else {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let error = ApiError { status, ..ApiError::new("RequestEntityTooLarge", "the request is too large") };
        return error.into_reply();
    };
    let body = body.to_bytes();
    let target = head.headers.get("x-amz-target").map(|target| String::from_utf8_lossy(target.as_bytes()));
    let operation = target.as_deref().unwrap_or("").rsplit('.').next().unwrap_or("");
    let user = node.membership.authorization().authenticate(&head.headers, &body, node.now());
    let done = user.and_then(|user| perform(node, &Asker { user, client }, operation, &body));
    done.map_or_else(ApiError::into_reply, |value| dynamodb(StatusCode::OK, &value))
}

/// Who asks.
struct Asker {
    user: Option<String>,
    client: IpAddr,
}

fn perform(node: &Node, asker: &Asker, operation: &str, body: &[u8]) -> Result<Value, ApiError> {
    match operation {
        "ListTables" => Ok(json!({ "TableNames": [] })),
        "Scan" | "Query" => {
            let request: Value = serde_json::from_slice(body)
                .map_err(|error| ApiError::validation(format!("Parsing JSON failed: {error}")))?;
            read(node, asker, operation, &request)
        }
        // Only scans and queries know the system tables: to the others no table of this name exists.
        "GetItem" | "PutItem" | "DescribeTable" | "DeleteTable" => {
            let request: Value = serde_json::from_slice(body).unwrap_or_default();
            let name = request["TableName"].as_str();
            Err(name.map_or_else(no_table_name, |name| ApiError::not_found(&format!("Table: {name}"))))
        }
        _ => Err(ApiError::new("UnknownOperationException", format!("Unsupported operation {operation}"))),
    }
}

fn read(node: &Node, asker: &Asker, operation: &str, request: &Value) -> Result<Value, ApiError> {
    let name = request["TableName"].as_str().ok_or_else(no_table_name)?;
    let gossip = node.membership.gossip();
    let faults = node.faults.borrow();
    let routes = node.membership.routes();
    let view = View::new(&gossip, node.address, &routes, &faults, Instant::now());
    let view = view.ok_or_else(|| ApiError::new("InternalServerError", "the node has left"))?;
    let table = tables::Table::find(name, view.version)?;
    let authorization = node.membership.authorization();
    authorization.may_select(asker.user.as_deref(), "system", table.name(), &asker.client.to_string())?;
    drop(authorization);
    let key = table.key();
    let scan = tables::Scan::read(operation, request, &key)?;
    Ok(scan.page(&key, table.rows(&view), node.membership.page_rows(), faults.json_booleans))
}

fn no_table_name() -> ApiError {
    ApiError::validation("Missing TableName field in request")
}
