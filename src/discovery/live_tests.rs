//! The poller over real sockets: a hand-written HTTP server on several loopback addresses.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{ClusterConfig, DiscoveryMode, Scheme, Seed},
    discovery::{LIMITS, Options, Stats, look_at, run},
    http::{NodeClient, NodeIdentity},
    model::{Demand, Failure, Topology},
};

/// Status and body for a path.
type Respond = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// One node of the cluster.
#[derive(Default)]
struct Server {
    connections: AtomicUsize,
    requests: AtomicUsize,
    paths: Mutex<Vec<String>>,
}

impl Server {
    /// Serves on `address`; port 0 takes a free one. The port.
    async fn start(self: &Arc<Self>, address: IpAddr, port: u16, respond: Arc<Respond>) -> u16 {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                server.connections.fetch_add(1, Relaxed);
                tokio::spawn(server.clone().serve(stream, respond.clone()));
            }
        });
        port
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, respond: Arc<Respond>) {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut path, mut line) = (String::new(), String::new());
            while !matches!(line.as_str(), "\r\n") {
                line.clear();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                if let Some(rest) = line.strip_prefix("GET ") {
                    path = rest.split(' ').next().unwrap().to_owned();
                }
            }
            self.requests.fetch_add(1, Relaxed);
            self.paths.lock().unwrap().push(path.clone());
            let (status, body) = respond(&path);
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nlocation: /elsewhere\r\n\r\n", body.len());
            if stream.write_all((head + &body).as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn local(subnet: u8, last: u8) -> IpAddr {
    [127, 77, subnet, last].into()
}

fn discover(seed: IpAddr, port: u16, names: &[(&str, &[&str])]) -> (watch::Receiver<Arc<Topology>>, Arc<Stats>) {
    let cluster = ClusterConfig {
        seeds: vec![Seed::Address(seed)],
        scheme: Scheme::Http,
        port,
        active_interval: Duration::from_millis(20),
        idle_interval: Duration::from_millis(20),
        discovery: DiscoveryMode::Localnodes,
        ..ClusterConfig::default()
    };
    let racks = |racks: &[&str]| racks.iter().map(|&rack| rack.into()).collect();
    let publish = watch::Sender::default();
    let (topology, stats) = (publish.subscribe(), Arc::new(Stats::default()));
    tokio::spawn(run(Options {
        client: NodeClient::new(&cluster, &NodeIdentity::default(), LIMITS).unwrap(),
        cluster,
        datacenters: names.iter().map(|(dc, of)| ((*dc).into(), racks(of))).collect(),
        fall: 2,
        initial: Topology::default(),
        demand: Arc::new(Demand::default()),
        wake: Arc::new(Notify::new()),
        publish,
        stop: CancellationToken::new(),
        seed: 1,
        stats: stats.clone(),
        journal: crate::journal::Journal::default().of("z.test"),
    }));
    (topology, stats)
}

/// Waits for a state with a deadline.
async fn until(what: &str, reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn nodes_are_found_over_http_and_each_keeps_one_connection() {
    let nodes: Vec<Arc<Server>> = (0..3).map(|_| Arc::default()).collect();
    let list = r#"["127.77.1.1","127.77.1.2","127.77.1.3", "node.example.com"]"#;
    let respond: Arc<Respond> = Arc::new(move |path| match path {
        "/localnodes" | "/localnodes?dc=dc%201" => (200, list.into()),
        "/localnodes?dc=dc%201&rack=rack%261" => (200, r#"["127.77.1.2"]"#.into()),
        _ => (200, "[]".into()),
    });
    let mut port = 0;
    for (node, last) in nodes.iter().zip(1..) {
        port = node.start(local(1, last), port, respond.clone()).await;
    }
    let (topology, stats) = discover(local(1, 1), port, &[("dc 1", &["rack&1"])]);
    until("a rack", || topology.borrow().members.get(&local(1, 2)).is_some_and(|m| m.node.rack.is_some())).await;
    assert_eq!(topology.borrow().members.len(), 3);
    assert_eq!(topology.borrow().members[&local(1, 2)].node.place(), "dc 1/rack&1");
    until("everybody is asked often", || nodes.iter().all(|node| node.requests.load(Relaxed) > 20)).await;
    let connections: Vec<usize> = nodes.iter().map(|node| node.connections.load(Relaxed)).collect();
    assert_eq!(connections, [1, 1, 1]);
    assert!(stats.skipped_entries.load(Relaxed) > 0);
    assert_eq!(stats.bad_reply.load(Relaxed), 0);
}

#[tokio::test]
async fn replies_other_than_200_fail_but_keep_the_connection_and_redirects_are_not_followed() {
    let (seed, calls) = (Arc::new(Server::default()), AtomicUsize::new(0));
    let respond = move |_: &str| match calls.fetch_add(1, Relaxed) {
        0 => (500, "x".repeat(70_000)),
        1 => (302, "moved".into()),
        2 => (503, "[]".into()),
        3 => (200, "[\"127.77.2.1\", 5]".into()),
        4 => (404, r#"{"message":"Not found","code":404}"#.into()),
        _ => (200, r#"["127.77.2.1"]"#.into()),
    };
    let port = seed.start(local(2, 1), 0, Arc::new(respond)).await;
    let (topology, stats) = discover(local(2, 1), port, &[]);
    until("the node", || !topology.borrow().members.is_empty()).await;
    assert_eq!((stats.bad_status.load(Relaxed), stats.bad_reply.load(Relaxed)), (4, 1));
    assert_eq!(seed.connections.load(Relaxed), 1);
    assert!(seed.paths.lock().unwrap().iter().all(|path| path.starts_with("/localnodes")));
}

#[tokio::test]
async fn a_body_beyond_the_limit_fails() {
    let seed = Arc::new(Server::default());
    let huge = format!("[{}]", vec!["\"127.77.3.1\""; 100_000].join(","));
    let port = seed.start(local(3, 1), 0, Arc::new(move |_: &str| (200, huge.clone()))).await;
    let (topology, stats) = discover(local(3, 1), port, &[]);
    until("a failure", || stats.bad_reply.load(Relaxed) > 0).await;
    until("a stale topology", || topology.borrow().stale).await;
    assert!(topology.borrow().members.is_empty());
}

#[tokio::test]
async fn one_node_can_be_looked_at() {
    let servers: Vec<Arc<Server>> = (0..3).map(|_| Arc::default()).collect();
    let list = r#"["127.77.4.1", "x"]"#;
    let current = move |path: &str| (200, if path.contains("dc=") { "[]".into() } else { list.into() });
    let port = servers[0].start(local(4, 1), 0, Arc::new(current)).await;
    servers[1].start(local(4, 2), port, Arc::new(move |_: &str| (200, list.into()))).await;
    servers[2].start(local(4, 3), port, Arc::new(|_: &str| (200, "[]".into()))).await;
    let mut cluster = ClusterConfig {
        seeds: Vec::new(),
        scheme: Scheme::Http,
        port,
        active_interval: Duration::ZERO,
        idle_interval: Duration::ZERO,
        ..ClusterConfig::default()
    };
    let client = NodeClient::new(&cluster, &NodeIdentity::default(), LIMITS).unwrap();
    for (last, ignores_places, count) in [(1, Some(false), 1), (2, Some(true), 1), (3, None, 0)] {
        let sight = look_at(&client, local(4, last)).await.unwrap();
        assert_eq!((sight.ignores_places, sight.addresses.len(), sight.skipped), (ignores_places, count, count));
    }
    cluster.port = 1;
    let nobody = NodeClient::new(&cluster, &NodeIdentity::default(), LIMITS).unwrap();
    assert_eq!(look_at(&nobody, local(4, 9)).await, Err(Failure::Refused));
}
