//! One `Scan`: which tables and columns, and the request's headers and signature.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use serde_json::{Map, Value, json};

use super::{credentials::Keys, page::PAGE_ROWS};
use crate::model::Failure;

/// ScyllaDB takes any region and service, as long as both sides sign the same: these are what AWS's tools send.
const REGION: &str = "us-east-1";
const SERVICE: &str = "dynamodb";

/// `X-Amz-Target`: the version of the API, and the operation.
const TARGET: &str = "DynamoDB_20120810.Scan";

/// The API's own type of JSON.
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// A table that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    /// The node itself.
    Local,
    /// Everybody else.
    Peers,
    /// Gossip's view of everybody: alive, state, tokens.
    ClusterStatus,
    /// Raft's view of everybody; only where the cluster's topology is managed by it.
    Topology,
    /// Other ways to nodes; only in new versions.
    ClientRoutes,
    /// The release that the node runs; nobody tells that of another.
    Versions,
}

impl Table {
    /// Keyspace and table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Local => "system.local",
            Table::Peers => "system.peers",
            Table::ClusterStatus => "system.cluster_status",
            Table::Topology => "system.topology",
            Table::ClientRoutes => "system.client_routes",
            Table::Versions => "system.versions",
        }
    }

    /// What is wanted of a row. Naming the columns keeps the tokens out, which are most of a row; a column that a
    /// version does not have is left out of its reply.
    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Local => &[
                "host_id",
                "rpc_address",
                "broadcast_address",
                "listen_address",
                "data_center",
                "rack",
                "release_version",
            ],
            Table::Peers => &["peer", "host_id", "rpc_address", "data_center", "rack", "release_version"],
            Table::ClusterStatus => {
                &["peer", "host_id", "dc", "rack", "up", "draining", "excluded", "status", "tokens"]
            }
            Table::Topology => {
                &["host_id", "datacenter", "rack", "node_state", "topology_request", "shard_count", "release_version"]
            }
            Table::ClientRoutes => &["connection_id", "host_id", "address", "alternator_port", "alternator_https_port"],
            Table::Versions => &["version"],
        }
    }
}

/// Who asks, and when by our clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    /// The role that requests are signed with, if any.
    pub(super) role: Option<&'a str>,
    pub(super) now: SystemTime,
}

/// The request's body: a page of a table, from behind `after` on.
pub(super) fn body(table: Table, after: Option<&Map<String, Value>>) -> Vec<u8> {
    let mut body = json!({
        "TableName": format!(".scylla.alternator.{}", table.name()),
        "AttributesToGet": table.columns(),
        "Limit": PAGE_ROWS,
    });
    if let Some(after) = after {
        body["ExclusiveStartKey"] = Value::Object(after.clone());
    }
    body.to_string().into_bytes()
}

/// The headers of a request with this body to this `Host`, signed where there are keys.
pub(super) fn headers(
    host: &str,
    body: &[u8],
    keys: Option<&Keys>,
    now: SystemTime,
) -> Result<Vec<(String, String)>, Failure> {
    let mut headers: Vec<(String, String)> = [("host", host), ("content-type", CONTENT_TYPE), ("x-amz-target", TARGET)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    if let Some(keys) = keys {
        let added = signature(&headers, body, keys, now)
            .map_err(|reason| Failure::Protocol(format!("cannot sign: {reason}")))?;
        headers.extend(added);
    }
    Ok(headers)
}

/// `X-Amz-Date` and `Authorization` (Signature Version 4) over all `headers` and the body.
fn signature(
    headers: &[(String, String)],
    body: &[u8],
    keys: &Keys,
    now: SystemTime,
) -> Result<Vec<(String, String)>, String> {
    let identity = Credentials::new(&keys.access_key_id, keys.secret.reveal(), None, None, "configuration").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(SERVICE)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let signed = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // The host is taken from the header, exactly as it will be sent.
    let request = SignableRequest::new("POST", "http://node/", signed, SignableBody::Bytes(body))
        .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(request, &parameters).map_err(|error| error.to_string())?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{config::Secret, discovery::tables::row::COLUMNS};

    /// 2015-08-30 12:36:00, as in AWS's own examples.
    const THEN: Duration = Duration::from_secs(1_440_938_160);

    fn keys() -> Keys {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        Keys { access_key_id: "AKIDEXAMPLE".to_owned(), secret }
    }

    fn signed(host: &str, body: &[u8]) -> Vec<(String, String)> {
        headers(host, body, Some(&keys()), UNIX_EPOCH + THEN).unwrap()
    }

    fn header<'a>(headers: &'a [(String, String)], wanted: &str) -> &'a str {
        &headers.iter().find(|(name, _)| name == wanted).unwrap().1
    }

    #[test]
    fn requests_are_signed_as_aws_does() {
        // Computed by botocore's SigV4Auth for the same request.
        let headers = signed("10.0.0.1:8000", b"{}");
        assert_eq!(header(&headers, "x-amz-date"), "20150830T123600Z");
        assert_eq!(
            header(&headers, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
             Signature=6e1e9395ae7b8398b0e93e0b141242e2729515994ba3d8a27b88c20abcdc4920"
        );
        assert_eq!(header(&headers, "host"), "10.0.0.1:8000");
    }

    #[test]
    fn the_host_and_the_body_are_part_of_the_signature() {
        let of = |host, body: &[u8]| header(&signed(host, body), "authorization").to_owned();
        let all = [
            of("10.0.0.1:8000", b"{}"),
            of("10.0.0.1", b"{}"),
            of("[fd00::1]:8000", b"{}"),
            of("10.0.0.1:8000", b"[]"),
        ];
        for (index, signature) in all.iter().enumerate() {
            assert!(!all[..index].contains(signature), "{signature}");
        }
    }

    #[test]
    fn without_keys_nothing_is_signed() {
        let plain = headers("10.0.0.1:8000", b"{}", None, UNIX_EPOCH).unwrap();
        assert!(plain.iter().all(|(name, _)| name != "authorization" && name != "x-amz-date"), "{plain:?}");
    }

    #[test]
    fn a_page_is_asked_for_by_table_columns_and_key() {
        let first: Value = serde_json::from_slice(&body(Table::Peers, None)).unwrap();
        let expected = json!({
            "TableName": ".scylla.alternator.system.peers",
            "AttributesToGet": ["peer", "host_id", "rpc_address", "data_center", "rack", "release_version"],
            "Limit": 1000,
        });
        assert_eq!(first, expected);
        let key = json!({"peer": {"S": "10.0.0.1"}});
        let next: Value = serde_json::from_slice(&body(Table::Peers, key.as_object())).unwrap();
        assert_eq!(next["ExclusiveStartKey"], key);
    }

    #[test]
    fn whatever_is_asked_for_is_read() {
        for table in
            [Table::Local, Table::Peers, Table::ClusterStatus, Table::Topology, Table::ClientRoutes, Table::Versions]
        {
            assert!(table.columns().iter().all(|column| COLUMNS.contains(column)), "{table:?}");
        }
    }
}
