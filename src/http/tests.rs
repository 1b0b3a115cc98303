use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::net::TcpListener;

use super::{
    test_node::{Manner, TestNode},
    *,
};
use crate::config::NodeTls;

fn client(port: u16, scheme: Scheme, timeout: Duration, keep_alive: bool) -> NodeClient {
    let cluster = ClusterConfig {
        seeds: Vec::new(),
        scheme,
        port,
        active_interval: timeout,
        idle_interval: timeout,
        // Nobody is verified here, so the machine's authorities need not be there.
        tls: NodeTls { insecure_skip_verify: true, ..NodeTls::default() },
        ..ClusterConfig::default()
    };
    let identity = NodeIdentity::read(&cluster).unwrap();
    NodeClient::new(&cluster, &identity, Limits { connect: timeout, total: timeout, keep_alive }).unwrap()
}

/// Longer than any answer on loopback takes, even on a busy machine.
const PATIENT: Duration = Duration::from_secs(20);

/// For answers that are not meant to come.
const IMPATIENT: Duration = Duration::from_millis(100);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn ask(manner: Manner, timeout: Duration) -> Result<Reply, Failure> {
    let node = TestNode::start(LOCAL, 0, manner).await.unwrap();
    client(node.address.port(), Scheme::Http, timeout, false).get(LOCAL, "/", 10).await
}

#[tokio::test]
async fn a_reply_of_any_status_is_read_to_its_end() {
    for status in [200, 301, 404, 500] {
        assert_eq!(ask(Manner::status(status), PATIENT).await, Ok(Reply { status, body: b"hi".to_vec() }));
    }
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let port = TcpListener::bind((LOCAL, 0)).await.unwrap().local_addr().unwrap().port();
    assert_eq!(client(port, Scheme::Http, PATIENT, false).get(LOCAL, "/", 10).await, Err(Failure::Refused));
}

#[tokio::test]
async fn a_connection_closed_or_reset_before_the_reply_is_closed() {
    assert_eq!(ask(Manner::Close, PATIENT).await, Err(Failure::Closed));
    assert_eq!(ask(Manner::Reset, PATIENT).await, Err(Failure::Closed));
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_closed() {
    let node = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let port = node.local_addr().unwrap().port();
    let serve = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = node.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    };
    let client = client(port, Scheme::Http, PATIENT, false);
    let (reply, ()) = tokio::join!(client.get(LOCAL, "/", 10), serve);
    assert_eq!(reply, Err(Failure::Closed));
}

#[tokio::test]
async fn no_reply_in_time_is_timed_out() {
    assert_eq!(ask(Manner::Hang, IMPATIENT).await, Err(Failure::TimedOut));
    let half = Manner::Reply(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec());
    assert_eq!(ask(half, IMPATIENT).await, Err(Failure::TimedOut));
}

#[tokio::test]
async fn what_is_no_http_is_a_protocol_failure() {
    for garbage in [&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], b"\0\xff\0\r\n\r\n", b"HTTP/9.9 hello\r\n\r\n"] {
        let reply = ask(Manner::Reply(garbage.to_vec()), PATIENT).await;
        assert!(matches!(reply, Err(Failure::Protocol(_))), "{reply:?}");
    }
}

#[tokio::test]
async fn a_reply_that_is_too_long_is_cut_off() {
    let long = Manner::Reply(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world".to_vec());
    let reply = ask(long, PATIENT).await;
    assert!(matches!(reply, Err(Failure::Protocol(_))), "{reply:?}");
}

#[tokio::test]
async fn connections_are_kept_or_not_as_told() {
    for (keep_alive, connections) in [(true, 1), (false, 3)] {
        let node = TestNode::start(LOCAL, 0, Manner::status(500)).await.unwrap();
        let client = client(node.address.port(), Scheme::Http, PATIENT, keep_alive);
        for _ in 0..3 {
            assert_eq!(client.get(LOCAL, "/", 10).await.unwrap().status, 500);
        }
        assert_eq!((node.connections(), node.requests()), (connections, 3));
    }
}

#[tokio::test]
async fn a_post_sends_the_host_that_was_told_over_the_kept_connection() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    for address in [LOCAL, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let node = TcpListener::bind((address, 0)).await.unwrap();
        let client = client(node.local_addr().unwrap().port(), Scheme::Http, PATIENT, true);
        let host = client.host(address);
        let headers = [("host".to_owned(), host.clone()), ("x-amz-date".to_owned(), "now".to_owned())];
        let serve = async {
            let (stream, _) = node.accept().await.unwrap();
            let (mut stream, mut requests) = (BufReader::new(stream), Vec::new());
            for _ in 0..2 {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    stream.read_line(&mut head).await.unwrap();
                }
                let mut body = [0; 5];
                stream.read_exact(&mut body).await.unwrap();
                stream.write_all(b"HTTP/1.1 400 X\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
                requests.push((head.to_ascii_lowercase(), body));
            }
            requests
        };
        let ask = async {
            for _ in 0..2 {
                let reply = client.post(address, &headers, b"hello".to_vec(), 10).await;
                assert_eq!(reply, Ok(Reply { status: 400, body: b"no".to_vec() }));
            }
            client.post(address, &[("x".to_owned(), "a\nb".to_owned())], Vec::new(), 10).await
        };
        let (requests, unsendable) = tokio::join!(serve, ask);
        for (head, body) in requests {
            assert!(head.starts_with("post / http/1.1\r\n"), "{head}");
            assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
            assert!(
                head.contains(&format!("\r\nhost: {host}\r\n")) && head.contains("\r\nx-amz-date: now\r\n"),
                "{head}"
            );
            assert_eq!(&body, b"hello");
        }
        assert!(matches!(unsendable, Err(Failure::Protocol(_))), "{unsendable:?}");
    }
}

#[test]
fn the_host_has_brackets_and_no_default_port() {
    let host = |port, scheme, address: &str| client(port, scheme, PATIENT, true).host(address.parse().unwrap());
    assert_eq!(host(8000, Scheme::Http, "10.0.0.1"), "10.0.0.1:8000");
    assert_eq!(host(8000, Scheme::Http, "fd00::1"), "[fd00::1]:8000");
    assert_eq!(host(80, Scheme::Http, "fd00::1"), "[fd00::1]");
    assert_eq!(host(443, Scheme::Http, "10.0.0.1"), "10.0.0.1:443");
    assert_eq!(host(443, Scheme::Https, "10.0.0.1"), "10.0.0.1");
    assert_eq!(host(80, Scheme::Https, "10.0.0.1"), "10.0.0.1:80");
}
