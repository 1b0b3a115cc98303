//! DNS over HTTPS as such: methods, statuses, caches.

use alternator_dns::server::{Outcome, Transport};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::clients::{Encrypted, Http, assert_host, base64_of, connect_tls, get, host, post, request};
use crate::support::{
    PATIENCE, ZONE,
    packet::{opt, packet, query, question},
};

fn header<'r>(response: &'r Response<Bytes>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_connection_serves_many_requests_at_once() {
    let encrypted = Encrypted::start(|_| {}).await;
    let Http::Two(sender) = encrypted.https(true).await else { panic!() };
    let ask = |number: u8| {
        let mut http = Http::Two(sender.clone());
        async move {
            let query = host(number, [0, number]);
            if number.is_multiple_of(2) { http.get(&query).await } else { http.post(&query).await }
        }
    };
    for (number, response) in (0..=255).zip(join_all((0..=255).map(ask)).await) {
        assert_eq!((response.status(), header(&response, "content-type")), (StatusCode::OK, "application/dns-message"));
        assert_host(response.body(), number, [0, number]);
    }
    let mut http = encrypted.https(false).await;
    for number in 0..=255 {
        assert_host(http.post(&host(number, [1, number])).await.body(), number, [1, number]);
    }
    assert_eq!(encrypted.server.count(Outcome::Answered), 512);
}

#[tokio::test]
async fn a_reply_is_kept_as_long_as_it_is_true() {
    let encrypted = Encrypted::start(|_| {}).await;
    let edns = opt(1232, 0, 0, &[]);
    for (expected, rcode, asked) in [
        ("max-age=60", 0, query(&question(&format!("h1.{ZONE}"), 1), &[&edns])),
        ("max-age=7", 0, query(&question(&format!("short.{ZONE}"), 1), &[])),
        ("no-store", 5, query(&question("elsewhere.test", 1), &[])),
        ("no-store", 1, packet(0, [2, 0, 0, 0], &[])),
        ("no-store", 4, packet(0x2800, [1, 0, 0, 0], &[&question(ZONE, 6)])),
        ("no-store", 0, query(&question(ZONE, 1), &[&opt(1232, 1, 0, &[])])),
    ] {
        for http2 in [false, true] {
            let response = encrypted.https(http2).await.get(&asked).await;
            assert_eq!(response.status(), StatusCode::OK, "a reply is a reply, whatever it says");
            assert_eq!(
                (header(&response, "cache-control"), response.body()[3] & 15),
                (expected, rcode),
                "{asked:02x?}"
            );
        }
    }
    // What there is not is true for as long as the SOA says.
    for (rcode, asked) in [(3, format!("nothing.{ZONE}")), (0, format!("h1.{ZONE}"))] {
        let response = encrypted.https(true).await.get(&query(&question(&asked, 28), &[])).await;
        let message = hickory_proto::op::Message::from_vec(response.body()).unwrap();
        let soa = &message.authorities[0];
        let hickory_proto::rr::RData::SOA(data) = &soa.data else { panic!("{soa}") };
        let seconds = soa.ttl.min(data.minimum);
        assert_eq!(
            (response.body()[3] & 15, header(&response, "cache-control")),
            (rcode, &*format!("max-age={seconds}"))
        );
    }
}

/// A request changed.
fn with(mut request: Request<Full<Bytes>>, name: &'static str, value: &str) -> Request<Full<Bytes>> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test]
async fn what_is_no_query_has_its_status() {
    let encrypted = Encrypted::start(|_| {}).await;
    let query = host(1, [0, 1]);
    let text = base64_of(&query);
    let cases = || {
        vec![
            (200, get(&format!("/dns-query?x=1&dns={text}&y"))),
            (200, get(&format!("/dns-query?dns={text}{}", "=".repeat((4 - text.len() % 4) % 4)))),
            (200, with(post(&query), "content-type", "Application/DNS-Message; x=y")),
            (404, get(&format!("/?dns={text}"))),
            (404, get(&format!("/dns-query/?dns={text}"))),
            (400, get("/dns-query")),
            (400, get("/dns-query?dns=")),
            (400, get("/dns-query?dns=a+b/")),
            (400, get("/dns-query?dns=AAAA")),
            (400, post(&[])),
            (400, post(&packet(0x8000, [1, 0, 0, 0], &[&question(ZONE, 1)]))),
            (405, request(Method::HEAD, &format!("/dns-query?dns={text}"))),
            (405, request(Method::PUT, "/dns-query")),
            (405, request(Method::OPTIONS, "/dns-query")),
            (415, with(post(&query), "content-type", "application/dns-json")),
            (415, request(Method::POST, "/dns-query")),
            (414, get(&format!("/dns-query?dns={}", "A".repeat(5464)))),
            (413, post(&[0; 4097])),
        ]
    };
    for http2 in [false, true] {
        for (number, (status, request)) in cases().into_iter().enumerate() {
            let about = format!("{number}: {} {}", request.method(), request.uri());
            let response = encrypted.https(http2).await.request(request).await;
            assert_eq!(response.status().as_u16(), status, "{about}");
            assert_eq!(header(&response, "allow"), if status == 405 { "GET, POST" } else { "" }, "{about}");
            if status == 200 {
                assert_host(response.body(), 1, [0, 1]);
            } else {
                assert_eq!(header(&response, "cache-control"), "no-store", "{about}");
            }
        }
    }
}

#[tokio::test]
async fn the_longest_query_is_answered_both_ways() {
    let encrypted = Encrypted::start(|_| {}).await;
    let mut longest = query(&question(&format!("h1.{ZONE}"), 1), &[]);
    let room = 4096 - longest.len() - 11;
    longest[11] = 1;
    longest.extend(opt(1232, 0, 0, &crate::support::packet::option(65_001, &vec![0; room - 4])));
    assert_eq!(longest.len(), 4096);
    for http2 in [false, true] {
        let mut http = encrypted.https(http2).await;
        for response in [http.get(&longest).await, http.post(&longest).await] {
            assert_eq!((response.status(), response.body()[7]), (StatusCode::OK, 1));
        }
    }
}

/// What a server says to octets that no library sends.
async fn raw(encrypted: &Encrypted, protocols: &[&[u8]], octets: &[u8]) -> String {
    let stream = TcpStream::connect(encrypted.address(Transport::Https)).await.unwrap();
    let mut stream = connect_tls(stream, encrypted.client(protocols)).await.unwrap();
    // It may be closed before all is sent.
    let _ = stream.write_all(octets).await;
    let _ = stream.shutdown().await;
    let mut said = Vec::new();
    // A close without good-bye is one, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it is closed");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn hostile_requests_are_refused_and_pipelines_are_served() {
    let encrypted = Encrypted::start(|_| {}).await;
    let get = format!("GET /dns-query?dns={} HTTP/1.1\r\nhost: x\r\n\r\n", base64_of(&host(1, [0, 1])));
    let said = raw(&encrypted, &[], get.repeat(20).as_bytes()).await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 20, "{said}");
    for (status, octets) in [
        ("400", "\0\x01\x02nothing of HTTP\r\n\r\n".to_owned()),
        ("431", format!("GET /dns-query HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000))),
        ("431", format!("GET /dns-query HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(100_000))),
        // HTTP/2 without having agreed on it.
        ("400", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ] {
        let said = raw(&encrypted, &[], octets.as_bytes()).await;
        assert!(said.is_empty() || said.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {said}");
    }
    // Frames of HTTP/2 without sense, behind the preface that clients begin with: it ends, with a word (a frame) or not.
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for _ in 0..rng.usize(1..20) {
            let len = rng.u8(..);
            octets.extend([0, 0, len, rng.u8(0..11), rng.u8(..), 0, 0, 0, rng.u8(0..4)]);
            octets.extend(std::iter::repeat_with(|| rng.u8(..)).take(len.into()));
        }
        assert!(!raw(&encrypted, &[b"h2"], &octets).await.contains("application/dns-message"));
    }
    assert_host(encrypted.https(true).await.post(&host(2, [0, 2])).await.body(), 2, [0, 2]);
}
