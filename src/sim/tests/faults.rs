//! Faults switched on and off while running.

use tokio::time::timeout;

use super::*;

/// Long enough for any answer over the loopback, short enough to wait for none.
const NOTHING: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_hanging_node_accepts_and_answers_once_healed() {
    let cluster = start().await;
    let mut old = Client::connect(cluster.at(A)).await.unwrap();
    old.get("/").await.unwrap();
    cluster.inject(A, Fault::Hang).await.unwrap();
    let mut new = Client::connect(cluster.at(A)).await.unwrap();
    new.send("GET", "/localnodes", "", "").await.unwrap();
    old.send("GET", "/", "", "").await.unwrap();
    assert!(timeout(NOTHING, new.answer()).await.is_err() && timeout(NOTHING, old.answer()).await.is_err());
    drop(old);
    eventually("who leaves is gone", async || cluster.counters(A).open == 1).await;
    cluster.heal(A).await.unwrap();
    assert_eq!(new.answer().await.unwrap().list().len(), 3);
    let counters = cluster.counters(A);
    assert_eq!((counters.health, counters.localnodes, counters.accepted), (2, 1, 2));
}

#[tokio::test]
async fn a_silent_node_neither_accepts_nor_refuses() {
    let cluster = start().await;
    let mut old = Client::connect(cluster.at(A)).await.unwrap();
    old.get("/").await.unwrap();
    cluster.inject(A, Fault::Silent).await.unwrap();
    old.send("GET", "/", "", "").await.unwrap();
    assert!(timeout(NOTHING, old.answer()).await.is_err());
    for _ in 0..3 {
        let asked = timeout(NOTHING, async { get(&cluster, A, "/").await.unwrap() }).await;
        assert!(asked.is_err(), "{asked:?}");
    }
    assert_not_established(&cluster, A).await;
    assert_eq!(list(&cluster, B).await.len(), 3, "nobody else is hurt");

    cluster.inject(A, Fault::Slow(Duration::ZERO)).await.unwrap();
    cluster.heal(A).await.unwrap();
    assert_eq!(old.answer().await.unwrap().status, 200);
    assert_eq!(get(&cluster, A, "/").await.unwrap().status, 200);
    eventually("only real connections count", async || cluster.counters(A).open == 1).await;
    // One each for the old connection and the one just made; handshakes that were given up may add theirs.
    assert!((2..=6).contains(&cluster.counters(A).accepted), "{:?}", cluster.counters(A));
}

#[tokio::test]
async fn silence_itself_is_not_counted() {
    let cluster = start().await;
    for _ in 0..3 {
        cluster.inject(A, Fault::Silent).await.unwrap();
        cluster.heal(A).await.unwrap();
    }
    get(&cluster, A, "/").await.unwrap();
    let counters = cluster.counters(A);
    assert_eq!(
        (counters.accepted, counters.open_peak),
        (1, 1),
        "connections are accepted in order, so none is to come"
    );
}

#[tokio::test]
async fn a_node_stopped_while_silent_refuses_and_is_silent_when_it_returns() {
    let cluster = start().await;
    cluster.inject(A, Fault::Silent).await.unwrap();
    cluster.stop(A).await.unwrap();
    let refused = timeout(NOTHING, get(&cluster, A, "/")).await.unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    cluster.start_node(A).await.unwrap();
    assert!(timeout(NOTHING, get(&cluster, A, "/")).await.is_err());
    assert_not_established(&cluster, A).await;
}

/// What only Linux does: a new connection to a silent node is not even established.
async fn assert_not_established(cluster: &Cluster, node: IpAddr) {
    if cfg!(target_os = "linux") {
        let connecting = timeout(NOTHING, tokio::net::TcpStream::connect(cluster.at(node))).await;
        assert!(connecting.is_err(), "{connecting:?}");
    }
}

#[tokio::test]
async fn a_slow_node_answers_later() {
    let cluster = start().await;
    let delay = Duration::from_millis(200);
    cluster.inject(A, Fault::Slow(delay)).await.unwrap();
    let start = Instant::now();
    assert_eq!(list(&cluster, A).await.len(), 3);
    assert!(start.elapsed() >= delay);
}

#[tokio::test]
async fn a_partition_hides_the_rest_and_perhaps_the_node() {
    let cluster = start().await;
    cluster.partition(&[A], SeenByOthers::Listed).unwrap();
    assert_eq!((list(&cluster, A).await.len(), list(&cluster, B).await.len()), (1, 3));
    cluster.partition(&[A], SeenByOthers::Unlisted).unwrap();
    assert_eq!((list(&cluster, A).await.len(), list(&cluster, B).await.len()), (1, 2));
    assert!(get(&cluster, A, "/localnodes?dc=dc2").await.unwrap().list().is_empty());
    cluster.heal(A).await.unwrap();
    assert_eq!((list(&cluster, A).await.len(), list(&cluster, B).await.len()), (3, 3));
}

#[tokio::test]
async fn wrong_replies_keep_the_connection_and_hurt_one_endpoint() {
    let cluster = start().await;
    let mut client = Client::connect(cluster.at(A)).await.unwrap();
    for (bad, status, body) in [
        (BadReply::Garbage, 200, None),
        (BadReply::Html, 200, Some("127.0.0.1, please sign in")),
        (BadReply::EmptyList, 200, Some("[]")),
        (BadReply::Status(503), 503, Some("503")),
        (BadReply::Status(99), 500, Some("500")),
        (BadReply::Status(101), 500, Some("500")),
        (BadReply::Redirect("http://127.0.3.2:1/localnodes".into()), 302, Some("")),
    ] {
        cluster.inject(A, Fault::Reply(Endpoint::Localnodes, bad.clone())).await.unwrap();
        let answer = client.get("/localnodes").await.unwrap();
        assert_eq!(answer.status, status, "{bad:?}");
        match body {
            Some(part) => assert!(answer.text().contains(part), "{answer:?}"),
            None => assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err()),
        }
        assert_eq!(client.get("/").await.unwrap().status, 200, "{bad:?}");
    }
    let redirect = client.get("/localnodes").await.unwrap();
    assert!(redirect.head.contains("\r\nlocation: http://127.0.3.2:1/localnodes\r\n"), "{}", redirect.head);
    cluster.heal(A).await.unwrap();
    cluster.inject(A, Fault::Reply(Endpoint::Health, BadReply::Status(500))).await.unwrap();
    cluster.inject(A, Fault::Reply(Endpoint::Api, BadReply::Status(503))).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 500);
    assert_eq!(client.ask("POST", "/", "", "").await.unwrap().status, 503);
    assert_eq!(client.get("/localnodes").await.unwrap().list().len(), 3);
    assert_eq!(cluster.counters(A).accepted, 1);
}

#[tokio::test]
async fn a_204_has_no_body_and_keeps_the_connection() {
    let cluster = start().await;
    cluster.inject(A, Fault::Reply(Endpoint::Health, BadReply::Status(204))).await.unwrap();
    let mut client = Client::connect(cluster.at(A)).await.unwrap();
    client.send("GET", "/", "", "").await.unwrap();
    client.send("GET", "/localnodes", "", "").await.unwrap();
    let answer = client.answer_head().await.unwrap();
    assert!(answer.contains(" 204 "), "{answer}");
    assert_eq!(client.answer().await.unwrap().list().len(), 3);
}

#[tokio::test]
async fn a_huge_body_is_the_right_list_in_too_many_bytes() {
    let cluster = start().await;
    cluster.inject(A, Fault::Reply(Endpoint::Localnodes, BadReply::Huge)).await.unwrap();
    let answer = get(&cluster, A, "/localnodes").await.unwrap();
    assert!(answer.body.len() > fault::HUGE_BODY && answer.head.contains("transfer-encoding: chunked"));
    assert_eq!(answer.list().len(), 3);
    let mut impatient = Client::connect(cluster.at(A)).await.unwrap();
    impatient.send("GET", "/localnodes", "", "").await.unwrap();
    drop(impatient);
    eventually("a reader that leaves is let go", async || cluster.counters(A).open == 0).await;
}

#[tokio::test]
async fn a_truncated_body_arrives_by_half() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = start().await;
    cluster.inject(A, Fault::Reply(Endpoint::Localnodes, BadReply::Truncated)).await.unwrap();
    let error = get(&cluster, A, "/localnodes").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    let mut stream = tokio::net::TcpStream::connect(cluster.at(A)).await.unwrap();
    stream.write_all(b"GET /localnodes HTTP/1.1\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 37"), "{reply}");
    assert!(body.starts_with("[\"127.0.3.") && body.len() == 18, "{reply}");
}

#[tokio::test]
async fn lists_can_lie() {
    let cluster = start().await;
    cluster.inject(A, Fault::Adds([127, 0, 3, 77].into())).await.unwrap();
    cluster.inject(A, Fault::Omits(B)).await.unwrap();
    assert_eq!(list(&cluster, A).await, ["127.0.3.1", "127.0.3.3", "127.0.3.77"]);
    cluster.heal(A).await.unwrap();
    cluster.inject_everywhere(Fault::OldVersion).await.unwrap();
    assert_eq!(get(&cluster, A, "/localnodes?dc=nowhere").await.unwrap().list().len(), 3);
    assert_eq!(get(&cluster, D, "/localnodes?dc=dc1").await.unwrap().list(), ["127.0.3.4"]);
    cluster.inject(D, Fault::OddEntries).await.unwrap();
    let odd = list(&cluster, D).await;
    assert!(odd.iter().filter(|entry| entry.trim() == "127.0.3.4").count() == 3 && odd.len() > 10, "{odd:?}");
}
