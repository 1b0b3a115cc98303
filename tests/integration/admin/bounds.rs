//! What clients can take from the server, and for how long.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Site;
use crate::support::{PATIENCE, eventually};

/// More than the server's patience with anybody.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Whether the server closes a connection, whatever it says before.
async fn is_closed_within(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut rest = Vec::new();
    timeout(limit, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn large_requests_are_refused() {
    let site = Site::start(|_| {}).await;
    let http = site.http();
    let long = http.clone().header(&format!("X-Long: {}", "x".repeat(20_000)));
    assert_eq!(timeout(PATIENCE, status_of(&long.head("GET", "/livez", Some(0)), &site)).await.unwrap(), 431);
    let many = (0..100).fold(http.clone(), |http, number| http.header(&format!("X-{number}: x")));
    assert_eq!(timeout(PATIENCE, status_of(&many.head("GET", "/livez", Some(0)), &site)).await.unwrap(), 431);
    let path = format!("/{}", "x".repeat(20_000));
    let status = timeout(PATIENCE, status_of(&http.head("GET", &path, Some(0)), &site)).await.unwrap();
    assert!(matches!(status, 414 | 431), "{status}");
    // Small things go on.
    assert_eq!(http.get("/livez").await.status, 200);
}

/// The status of the reply to this text.
async fn status_of(text: &str, site: &Site) -> u16 {
    let mut stream = site.http().connect().await;
    // The server may answer, and close, before all is written.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).await.unwrap();
    String::from_utf8_lossy(&reply[9..]).parse().unwrap()
}

#[tokio::test]
async fn octets_at_random_are_no_requests_and_do_no_harm() {
    let site = Site::start(|_| {}).await;
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..300 {
        let mut octets: Vec<u8> = (0..rng.usize(..400)).map(|_| rng.u8(..)).collect();
        // Half of them begin as requests do.
        if round % 2 == 0 {
            let head = site.http().head("POST", "/reload", Some(rng.usize(..1000)));
            let cut = rng.usize(..head.len());
            octets.splice(0..0, head.as_bytes()[..cut].iter().copied());
        }
        let mut stream = site.http().connect().await;
        // The server may answer, and close, before all is written.
        let _ = stream.write_all(&octets).await;
        let _ = stream.shutdown().await;
        assert!(is_closed_within(&mut stream, PATIENCE).await, "{octets:02x?}");
    }
    assert_eq!((site.http().get("/livez").await.status, site.reloads()), (200, 0));
}

#[tokio::test]
async fn bodies_have_a_bound() {
    let site = Site::start(|_| {}).await;
    assert_eq!(site.http().post("/len", &"x".repeat(64 * 1024)).await.body, "65536");
    let reply = site.http().post("/len", &"x".repeat(64 * 1024 + 1)).await;
    assert_eq!(reply.status, 413);
    assert!(!reply.error().is_empty());
    // One that never comes is not waited for by anybody else.
    let mut slow = site.http().header("Content-Type: application/json").connect().await;
    slow.write_all(site.http().head("POST", "/len", Some(10)).as_bytes()).await.unwrap();
    assert_eq!(site.http().get("/livez").await.status, 200);
}

#[tokio::test]
async fn one_client_keeps_nobody_else_out() {
    let site = Site::start(|_| {}).await;
    let mut held = Vec::new();
    for _ in 0..48 {
        held.push(site.http().from("127.41.1.1").connect().await);
    }
    // One more than a client may have is closed at once; another client is served.
    let mut refused = site.http().from("127.41.1.1").connect().await;
    assert!(is_closed_within(&mut refused, PATIENCE).await);
    assert_eq!(site.http().from("127.41.1.2").get("/livez").await.status, 200);
    // Whoever leaves makes room.
    held.pop();
    let served = async || {
        let mut stream = site.http().from("127.41.1.1").connect().await;
        let _ = stream.write_all(site.http().head("GET", "/livez", Some(0)).as_bytes()).await;
        let mut reply = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut reply)).await;
        reply.starts_with(b"HTTP/1.1 200")
    };
    eventually(&served, |served| *served).await;
}

#[tokio::test]
async fn streams_of_events_are_as_many_as_there_may_be() {
    let site = Site::start(|_| {}).await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        let mut stream = site.http().follow("/events").await;
        stream.next("status").await.unwrap();
        streams.push(stream);
    }
    let refused = site.http().get("/events").await;
    assert_eq!(refused.status, 503);
    assert!(refused.error().contains("/events.json"));
    assert_eq!(site.http().get("/metrics").await.status, 200);
    streams.pop();
    let followed = async || {
        let mut stream = site.http().connect().await;
        stream.write_all(site.http().head("GET", "/events", None).as_bytes()).await.unwrap();
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).await.unwrap();
        String::from_utf8_lossy(&reply).ends_with("200")
    };
    eventually(&followed, |followed| *followed).await;
}

#[tokio::test]
async fn clients_that_dawdle_are_closed() {
    let site = Site::start(|_| {}).await;
    let head = site.http().head("GET", "/livez", None);
    let mut silent = site.http().connect().await;
    let mut idle = site.http().connect().await;
    idle.write_all(head.as_bytes()).await.unwrap();
    let mut slow = site.http().connect().await;
    let (mut slow_reader, mut slow_writer) = slow.split();
    let trickle = async {
        for octet in head.as_bytes() {
            if slow_writer.write_all(&[*octet]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let closed = async {
        let mut rest = Vec::new();
        timeout(ENDS_WITHIN, slow_reader.read_to_end(&mut rest)).await.is_ok()
    };
    let slow_is_closed = async {
        tokio::select! {
            closed = closed => closed,
            () = trickle => false,
        }
    };
    let ends = tokio::join!(
        is_closed_within(&mut silent, ENDS_WITHIN),
        is_closed_within(&mut idle, ENDS_WITHIN),
        slow_is_closed
    );
    assert_eq!(ends, (true, true, true), "silent from the start, idle after a request, an octet a second");
}

#[tokio::test]
async fn whoever_does_not_read_is_closed_and_holds_up_nobody() {
    let site = Site::start(|_| {}).await;
    // Replies that nobody takes, one request behind another, until no octet fits anywhere.
    let mut stream = site.http().connect().await;
    let requests = site.http().head("GET", "/metrics", None).repeat(2_000);
    let (mut reader, mut writer) = stream.split();
    let written = timeout(ENDS_WITHIN, async {
        loop {
            if writer.write_all(requests.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let others = async {
        for _ in 0..20 {
            assert_eq!(site.http().get("/metrics").await.status, 200);
        }
    };
    let (written, ()) = tokio::join!(written, others);
    assert!(written.is_ok(), "the server closes the connection");
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut rest)).await;
    assert!(rest.len() < 64 * 1024 * 1024, "{} octets were held", rest.len());
}

#[tokio::test]
async fn told_to_stop_it_ends_streams_and_idle_connections_at_once() {
    let Site { server, address, stop, task, .. } = Site::start(|_| {}).await;
    let http = crate::support::Http::to(address);
    let mut stream = http.follow("/events").await;
    stream.next("status").await.unwrap();
    let mut idle = http.connect().await;
    let begun = Instant::now();
    stop.cancel();
    assert!(stream.ends_within(PATIENCE).await);
    assert!(is_closed_within(&mut idle, PATIENCE).await);
    task.await.unwrap();
    // The process has two seconds for everything.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    drop(server);
}
