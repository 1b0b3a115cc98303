//! Who may ask the API for what. Requests are signed by a library; the node checks them by its own reckoning.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use serde_json::json;

use super::*;

const SCAN: &str = "DynamoDB_20120810.Scan";
const LOCAL: &str = r#"{"TableName":".scylla.alternator.system.local"}"#;

/// The header lines of a signed scan.
fn signed(cluster: &Cluster, node: IpAddr, user: &str, secret: &str, at: SystemTime, body: &str) -> String {
    let identity = Credentials::new(user, secret, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("anywhere")
        .name("dynamodb")
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let host = cluster.at(node).to_string();
    let headers = [("host", host.as_str()), ("x-amz-target", SCAN)];
    let request = SignableRequest::new(
        "POST",
        format!("http://{host}/"),
        headers.into_iter(),
        SignableBody::Bytes(body.as_bytes()),
    );
    let (instructions, _) = sign(request.unwrap(), &params.into()).unwrap().into_parts();
    let lines = instructions.headers().map(|(name, value)| format!("{name}: {value}\r\n"));
    lines.chain([format!("X-Amz-Target: {SCAN}\r\n")]).collect()
}

async fn post(cluster: &Cluster, node: IpAddr, headers: &str, body: &str) -> Answer {
    Client::connect(cluster.at(node)).await.unwrap().ask("POST", "/", headers, body).await.unwrap()
}

/// A scan of `local` by this role, now: "200", or what it was refused by.
async fn scan_by(cluster: &Cluster, node: IpAddr, user: &str, secret: &str) -> String {
    let headers = signed(cluster, node, user, secret, SystemTime::now(), LOCAL);
    outcome(&post(cluster, node, &headers, LOCAL).await)
}

fn outcome(answer: &Answer) -> String {
    let json = answer.json();
    let kind = json["__type"].as_str().unwrap_or("#200");
    let message = json["message"].as_str().unwrap_or_default();
    format!("{} {message}", kind.split('#').nth(1).unwrap()).trim().to_owned()
}

async fn guarded() -> Cluster {
    let reader = Role::new("dns", "hash").granted("system.local");
    Cluster::start(spec().authorization([reader, Role::new("cassandra", "salted").superuser()])).await.unwrap()
}

#[tokio::test]
async fn a_role_reads_what_it_was_granted() {
    let cluster = guarded().await;
    assert_eq!(scan_by(&cluster, A, "dns", "hash").await, "200");
    assert_eq!(scan_by(&cluster, A, "cassandra", "salted").await, "200");
    cluster.revoke("dns", "system.local").unwrap();
    assert_eq!(
        scan_by(&cluster, A, "dns", "hash").await,
        "AccessDeniedException SELECT access on table system.local is denied to role dns, client address 127.0.0.1"
    );
    for resource in ["system", "ALL KEYSPACES", "system.local"] {
        cluster.grant("dns", resource).unwrap();
        assert_eq!(scan_by(&cluster, A, "dns", "hash").await, "200", "{resource}");
        cluster.revoke("dns", resource).unwrap();
    }
    cluster.grant("dns", "system.peers").unwrap();
    assert!(scan_by(&cluster, A, "dns", "hash").await.starts_with("AccessDeniedException"));
    assert!(cluster.grant("nobody", "system").is_err() && cluster.drop_role("nobody").is_err());
    cluster.drop_role("dns").unwrap();
    assert_eq!(scan_by(&cluster, A, "dns", "hash").await, "UnrecognizedClientException User not found: dns");
    cluster.set_role(Role::new("dns", "other").granted("system"));
    assert_eq!(scan_by(&cluster, A, "dns", "hash").await, "UnrecognizedClientException wrong signature");
    assert_eq!(scan_by(&cluster, A, "dns", "other").await, "200");
}

#[tokio::test]
async fn a_signature_is_for_one_request_and_its_time() {
    let cluster = guarded().await;
    let now = SystemTime::now();
    let headers = signed(&cluster, A, "dns", "hash", now, LOCAL);
    assert_eq!(post(&cluster, A, &headers, LOCAL).await.status, 200);
    assert_eq!(outcome(&post(&cluster, A, &headers, "{}").await), "UnrecognizedClientException wrong signature");
    assert_eq!(
        outcome(&post(&cluster, B, &headers, LOCAL).await),
        "UnrecognizedClientException wrong signature",
        "another host"
    );
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    for (at, refused) in [
        (now - minutes(14), None),
        (now + minutes(14), None),
        (now - minutes(16), Some("InvalidSignatureException invalid signature: Signature expired: ")),
        (now + minutes(16), Some("InvalidSignatureException invalid signature: Signature not yet current: ")),
    ] {
        let headers = signed(&cluster, A, "dns", "hash", at, LOCAL);
        let outcome = outcome(&post(&cluster, A, &headers, LOCAL).await);
        assert!(refused.map_or(outcome == "200", |refused| outcome.starts_with(refused)), "{outcome}");
    }
    cluster.set_clock(A, -3600).unwrap();
    let late = scan_by(&cluster, A, "dns", "hash").await;
    assert!(late.contains("Signature not yet current") && late.ends_with("(current time + 15 min.)"), "{late}");
    cluster.set_clock(A, 3600).unwrap();
    let early = scan_by(&cluster, A, "dns", "hash").await;
    assert!(early.contains("Signature expired") && early.ends_with("(current time - 15 min.)"), "{early}");
    assert_eq!(scan_by(&cluster, B, "dns", "hash").await, "200", "one clock is one node's");
    assert!(cluster.set_clock(A, i64::MAX).is_err());
}

#[tokio::test]
async fn what_is_no_signature_is_refused_with_a_reason() {
    let cluster = guarded().await;
    let target = format!("X-Amz-Target: {SCAN}\r\n");
    let with = |authorization: &str| format!("{target}Authorization: {authorization}\r\n");
    for (headers, want) in [
        (
            target.clone(),
            "MissingAuthenticationTokenException Authorization header is mandatory for signature verification",
        ),
        (
            with("Basic ZG5zOmhhc2g="),
            "InvalidSignatureException Authorization header must use AWS4-HMAC-SHA256 algorithm: Basic ZG5zOmhhc2g=",
        ),
        (
            with("AWS4-HMAC-SHA256 Credential=dns/1"),
            "ValidationException Incorrect credential information format: dns/1",
        ),
        (
            with("AWS4-HMAC-SHA256 Credential=dns/20260101/r/s/aws4_request, SignedHeaders=host, Signature=0"),
            "InvalidSignatureException invalid signature: X-Amz-Date header is mandatory for signature verification",
        ),
        (
            with("AWS4-HMAC-SHA256 Credential=x/20260101/r/s/aws4_request"),
            "UnrecognizedClientException User not found: x",
        ),
    ] {
        assert_eq!(outcome(&post(&cluster, A, &headers, LOCAL).await), want);
    }
    let list = "X-Amz-Target: DynamoDB_20120810.ListTables\r\n";
    assert!(outcome(&post(&cluster, A, list, "{}").await).starts_with("MissingAuthenticationToken"));
}

#[tokio::test]
async fn discovery_needs_no_signature_and_nobody_does_while_it_is_not_enforced() {
    let cluster = guarded().await;
    assert_eq!(get(&cluster, A, "/").await.unwrap().status, 200);
    assert_eq!(list(&cluster, A).await.len(), 3);
    let wrong = signed(&cluster, A, "nobody", "x", SystemTime::UNIX_EPOCH, LOCAL);
    let body = json!({ "TableName": ".scylla.alternator.system.local" });
    assert_eq!(tables::api(&cluster, A, "Scan", &body).await.status, 400);
    cluster.enforce_authorization(false);
    assert_eq!(tables::api(&cluster, A, "Scan", &body).await.status, 200);
    assert_eq!(post(&cluster, A, &wrong, LOCAL).await.status, 200);
}
