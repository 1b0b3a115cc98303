//! Reading against a network in memory, on a paused clock.

use std::{collections::VecDeque, fs, io};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::{config::Secret, discovery::tables::Unauthorized, http::Reply};

const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// One node's answers, table by table; the last of a table is given again and again.
#[derive(Clone, Default)]
struct Node(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    replies: Vec<(&'static str, VecDeque<Result<Reply, Failure>>)>,
    slow: Duration,
    /// Body and headers of each request.
    log: Vec<(Value, Vec<(String, String)>)>,
}

impl Node {
    /// A node alone, and none of the optional tables.
    fn new() -> Self {
        let node = Node::default();
        node.say("local", [ok(json!({"Items": [own_row()]}))]);
        node.say("peers", [ok(json!({"Items": []}))]);
        let status = json!({"peer": {"S": "10.9.9.9"}, "up": {"BOOL": "true"}, "status": {"S": "NORMAL"}});
        node.say("cluster_status", [ok(json!({"Items": [status]}))]);
        for table in ["topology", "client_routes", "versions"] {
            node.say(table, [error("ResourceNotFoundException", "Requested resource not found: Internal table")]);
        }
        node
    }

    fn say(&self, table: &'static str, replies: impl IntoIterator<Item = Result<Reply, Failure>>) {
        let mut state = self.0.lock().unwrap();
        state.replies.retain(|(known, _)| *known != table);
        state.replies.push((table, replies.into_iter().collect()));
    }

    /// The tables asked for since the last call, without the keyspace.
    fn asked(&self) -> Vec<String> {
        let log = std::mem::take(&mut self.0.lock().unwrap().log);
        let names = log.iter().map(|(body, _)| body["TableName"].as_str().unwrap().to_owned());
        names.map(|name| name.strip_prefix(".scylla.alternator.system.").unwrap().to_owned()).collect()
    }

    async fn read(&self, reader: &Reader) -> Result<TableView, TableFailure> {
        read(self, NODE, reader).await
    }
}

impl Network for Node {
    async fn get(&self, _: IpAddr, path: &str) -> Result<Reply, Failure> {
        panic!("GET {path}");
    }

    async fn post(&self, _: IpAddr, headers: Vec<(String, String)>, body: Vec<u8>) -> Result<Reply, Failure> {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let slow = self.0.lock().unwrap().slow;
        sleep(slow).await;
        let mut state = self.0.lock().unwrap();
        let table = body["TableName"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
        state.log.push((body, headers));
        let (_, replies) = state.replies.iter_mut().find(|(name, _)| *name == table).unwrap();
        if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0].clone() }
    }

    fn host(&self, node: IpAddr) -> String {
        format!("{node}:8000")
    }

    async fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("no names here"))
    }
}

fn ok(body: Value) -> Result<Reply, Failure> {
    Ok(Reply { status: 200, body: body.to_string().into_bytes() })
}

fn error(kind: &str, message: &str) -> Result<Reply, Failure> {
    let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": message});
    Ok(Reply { status: 400, body: body.to_string().into_bytes() })
}

fn own_row() -> Value {
    json!({"host_id": {"S": "1"}, "rpc_address": {"S": "10.0.0.1"}, "data_center": {"S": "dc1"}})
}

fn peer(last: usize) -> Value {
    json!({"peer": {"S": format!("10.1.{}.{}", last / 250, last % 250)}, "rpc_address": {"S": format!("10.0.{}.{}", last / 250, last % 250)},
           "data_center": {"S": "dc1"}})
}

fn pair(secret: &str) -> Credentials {
    Credentials::Pair { access_key_id: "reader".to_owned(), secret_access_key: Secret::new(secret) }
}

#[tokio::test(start_paused = true)]
async fn pages_are_read_to_the_last_one() {
    let node = Node::new();
    let key = |last: usize| json!({"peer": {"S": format!("10.1.0.{last}")}, "odd": {"B": [1, {"x": null}]}});
    let page = |rows: Value, last| ok(json!({"Items": rows, "LastEvaluatedKey": key(last)}));
    let last = ok(json!({"Items": [peer(4)]}));
    node.say("peers", [page(json!([peer(2), peer(3)]), 3), page(json!([]), 7), last]);
    let view = node.read(&Reader::new(None)).await.unwrap();
    assert_eq!(view.nodes.len(), 4);
    let log = std::mem::take(&mut node.0.lock().unwrap().log);
    let starts: Vec<_> = log.iter().map(|(body, _)| body.get("ExclusiveStartKey").cloned()).collect();
    assert_eq!(starts, [None, None, Some(key(3)), Some(key(7)), None, None, None, None], "the key as it came");
}

#[tokio::test(start_paused = true)]
async fn a_table_without_end_is_given_up() {
    let unreadable = async |node: &Node| match node.read(&Reader::new(None)).await {
        Err(TableFailure::Unreadable(what)) => what,
        other => panic!("{other:?}"),
    };
    let node = Node::new();
    let key = |number: usize| json!({"peer": {"S": number.to_string()}});
    node.say("peers", [ok(json!({"Items": [], "LastEvaluatedKey": key(1)}))]);
    assert_eq!(unreadable(&node).await, "a page of system.peers leads to itself");
    node.say("peers", (0..).map(|at| ok(json!({"Items": [], "LastEvaluatedKey": key(at)}))).take(MAX_PAGES + 1));
    node.asked();
    assert_eq!(unreadable(&node).await, "system.peers has more than 100 pages");
    assert_eq!(node.asked().len(), 1 + MAX_PAGES);
    let many: Vec<_> = (0..1000).map(peer).collect();
    node.say(
        "peers",
        (0..).map(|at| ok(json!({"Items": many, "LastEvaluatedKey": key(at)}))).take(MAX_ROWS / 1000 + 1),
    );
    assert_eq!(unreadable(&node).await, "system.peers has more than 10000 rows");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_drop_by_drop_is_left() {
    let node = Node::new();
    node.0.lock().unwrap().slow = Duration::from_secs(3);
    let began = Instant::now();
    assert_eq!(node.read(&Reader::new(None)).await, Err(Failure::TimedOut.into()));
    assert_eq!(began.elapsed(), READ_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_not_there_is_asked_for_once_a_while() {
    let (node, reader) = (Node::new(), Reader::new(None));
    let required = ["local", "peers", "cluster_status"];
    let view = node.read(&reader).await.unwrap();
    assert_eq!(node.asked().len(), 6);
    assert!(view.unread.is_empty(), "an older version is no failure");
    node.read(&reader).await.unwrap();
    assert_eq!(node.asked(), required);
    let denied =
        error("AccessDeniedException", "SELECT access on table system.topology is denied to role r, client address x");
    node.say("topology", [denied]);
    sleep(Duration::from_secs(180)).await;
    for asked in [6, 3] {
        let view = node.read(&reader).await.unwrap();
        let expected = TableFailure::Denied { table: "system.topology", role: Some("r".into()) };
        assert_eq!((view.unread, view.nodes.len()), (vec![expected], 1), "told as long as it is so");
        assert_eq!(node.asked().len(), asked);
    }
    sleep(Duration::from_secs(180)).await;
    node.say("topology", [error("RequestLimitExceeded", "too many in-flight requests"), ok(json!({"Items": []}))]);
    assert_eq!(node.read(&reader).await.unwrap().unread.len(), 1);
    assert_eq!(node.read(&reader).await.unwrap().unread, [], "asked for again at once");
    node.say("cluster_status", [error("ResourceNotFoundException", "Requested resource not found")]);
    let missing = TableFailure::Missing { table: "system.cluster_status" };
    assert_eq!(node.read(&reader).await, Err(missing), "not without this one");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_in_the_middle_has_failed() {
    for table in ["peers", "topology"] {
        let node = Node::new();
        node.say(table, [Err(Failure::Closed)]);
        assert_eq!(node.read(&Reader::new(None)).await, Err(Failure::Closed.into()), "{table}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_signed_with_what_is_configured() {
    let node = Node::new();
    let authorized = |node: &Node| {
        let log = std::mem::take(&mut node.0.lock().unwrap().log);
        log.iter().filter(|(_, headers)| headers.iter().any(|(name, _)| name == "authorization")).count()
    };
    node.read(&Reader::new(None)).await.unwrap();
    assert_eq!(authorized(&node), 0);
    node.read(&Reader::new(Some(&pair("hash")))).await.unwrap();
    assert_eq!(authorized(&node), 6);
    let error = node.read(&Reader::new(Some(&pair("")))).await.unwrap_err();
    assert!(error.to_string().contains("secret access key"), "{error}");
    assert_eq!(authorized(&node), 0, "nothing is sent");
    assert!(!format!("{:?}", Reader::new(Some(&pair("hash")))).contains("hash"));
}

#[tokio::test]
async fn a_file_is_read_again_when_its_keys_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    let write =
        |role: &str| fs::write(&path, format!("[default]\naws_access_key_id={role}\naws_secret_access_key=s\n"));
    let (node, reader) = (Node::new(), Reader::new(Some(&Credentials::File(path.clone()))));
    let none = node.read(&reader).await.unwrap_err().to_string();
    assert!(none.starts_with("credentials_file /") && none.contains("No such file"), "{none}");
    write("old").unwrap();
    node.read(&reader).await.unwrap();
    write("new").unwrap();
    let role = |node: &Node| {
        let log = std::mem::take(&mut node.0.lock().unwrap().log);
        let header = log.last().unwrap().1.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
        header.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned()
    };
    node.read(&reader).await.unwrap();
    assert_eq!(role(&node), "old", "not read for each request");
    node.say("local", [error("UnrecognizedClientException", "User not found: old"), ok(json!({"Items": [own_row()]}))]);
    let refused = node.read(&reader).await;
    let expected = Unauthorized::Role { role: "old".into(), reason: "User not found: old".into() };
    assert_eq!(refused, Err(TableFailure::Unauthorized(expected)));
    node.read(&reader).await.unwrap();
    assert_eq!(role(&node), "new");
}

#[tokio::test(start_paused = true)]
async fn a_skew_tells_when_the_request_was_signed() {
    let node = Node::new();
    node.say(
        "local",
        [error(
            "InvalidSignatureException",
            "Signature expired: 19700101T000000Z is now earlier than 19700101T003000Z (current time - 15 min.)",
        )],
    );
    let reader = Reader::new(Some(&pair("hash"))).with_clock(|| SystemTime::UNIX_EPOCH);
    let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs(45 * 60);
    let expected = TableFailure::Skew { ours: SystemTime::UNIX_EPOCH, theirs: Some(theirs) };
    assert_eq!(node.read(&reader).await, Err(expected));
}
