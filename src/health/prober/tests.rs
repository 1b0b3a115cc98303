use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use tokio::time::timeout;

use super::*;
use crate::{
    config::Scheme,
    http::test_node::{Manner, TestNode},
    model::{Member, Node, NodeHealth, NodeState, Source},
};

/// No test waits longer than this for a state; reached only where something is broken.
const DEADLINE: Duration = Duration::from_secs(30);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Every test's nodes have a loopback network of their own.
fn network() -> u8 {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// Nodes on loopback addresses with one port, and a prober that watches them.
struct Bench {
    network: u8,
    port: u16,
    nodes: BTreeMap<u8, TestNode>,
    topology: watch::Sender<Arc<Topology>>,
    health: watch::Receiver<Arc<Health>>,
    stats: Arc<Stats>,
    stop: CancellationToken,
    prober: tokio::task::JoinHandle<Result<(), StartError>>,
}

fn config(interval: Duration, timeout: Duration) -> HealthConfig {
    HealthConfig {
        enabled: true,
        interval,
        timeout,
        rise: 2,
        fall: 2,
        panic_threshold: 0.5,
        slow_start: Duration::ZERO,
    }
}

/// Quick, with a time-out that a busy machine does not reach by accident.
fn patient() -> HealthConfig {
    config(ms(100), Duration::from_secs(20))
}

impl Bench {
    /// Node 1 listens; the members are `members`.
    async fn new(config: HealthConfig, manner: Manner, members: impl IntoIterator<Item = u8>) -> Self {
        let network = network();
        let first = TestNode::start(address(network, 1), 0, manner).await.unwrap();
        let port = first.address.port();
        let (topology, topology_seen) = watch::channel(Arc::new(Topology::default()));
        let (publish, health) = watch::channel(Arc::new(Health::default()));
        let (stats, stop) = (Arc::new(Stats::default()), CancellationToken::new());
        let cluster = ClusterConfig {
            seeds: Vec::new(),
            scheme: Scheme::Http,
            port,
            active_interval: ms(1000),
            idle_interval: ms(1000),
            ..ClusterConfig::default()
        };
        let options = Options {
            cluster,
            identity: Default::default(),
            health: config,
            topology: topology_seen,
            publish,
            stats: stats.clone(),
            journal: crate::journal::Journal::default().of("z.test"),
            stop: stop.clone(),
            seed: 7,
        };
        let prober = tokio::spawn(run(options));
        let nodes = BTreeMap::from([(1, first)]);
        let bench = Bench { network, port, nodes, topology, health, stats, stop, prober };
        bench.list(members);
        bench
    }

    fn list(&self, members: impl IntoIterator<Item = u8>) {
        let member = |address| Member::new(Node { address, datacenter: None, rack: None });
        let members = members.into_iter().map(|index| self.address(index)).map(|at| (at, member(at))).collect();
        self.topology.send_replace(Arc::new(Topology { members, source: Source::Discovery, ..Topology::default() }));
    }

    fn address(&self, index: u8) -> IpAddr {
        address(self.network, index)
    }

    async fn start(&mut self, index: u8, manner: Manner) {
        let node = TestNode::start(self.address(index), self.port, manner).await.unwrap();
        self.nodes.insert(index, node);
    }

    /// Waits for a state of a node.
    async fn wait(&mut self, index: u8, what: &str, is: impl Fn(&NodeHealth) -> bool) -> NodeHealth {
        let address = self.address(index);
        self.wait_all(what, |health| is(&health.of(address))).await.of(address)
    }

    async fn wait_all(&mut self, what: &str, is: impl Fn(&Health) -> bool) -> Health {
        let seen =
            timeout(DEADLINE, self.health.wait_for(|health| is(health))).await.map(|seen| seen.map(|s| s.clone()));
        match seen {
            Ok(Ok(health)) => (*health).clone(),
            Ok(Err(_)) => panic!("the prober ended while waiting for: {what}"),
            Err(_) => panic!("not reached: {what}; it is {:?}", *self.health.borrow()),
        }
    }

    async fn wait_up(&mut self, index: u8) -> NodeHealth {
        self.wait(index, "up", |health| health.state == NodeState::Up && health.failure.is_none()).await
    }

    async fn wait_down(&mut self, index: u8) -> NodeHealth {
        self.wait(index, "down", |health| health.state == NodeState::Down).await
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.prober).await.unwrap().unwrap().unwrap();
    }
}

fn address(network: u8, index: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 77, network, index))
}

#[tokio::test]
async fn a_node_joins_leaves_and_returns_by_its_own_answers() {
    let mut bench = Bench::new(patient(), Manner::status(200), 1..=2).await;
    bench.wait_up(1).await;
    let refused = |health: &NodeHealth| health.failure == Some(Failure::Refused);
    assert_eq!(bench.wait(2, "refused", refused).await.state, NodeState::Joining, "listed is not serving");
    bench.start(2, Manner::status(200)).await;
    bench.wait_up(2).await;
    bench.nodes.remove(&2);
    let down = bench.wait_down(2).await;
    assert_eq!(down.failure, Some(Failure::Refused));
    assert!(down.served_until.is_some() && down.served_until <= down.since);
    bench.start(2, Manner::status(200)).await;
    bench.wait_up(2).await;
    bench.end().await;
}

#[tokio::test]
async fn each_bad_manner_takes_a_node_out_with_its_reason() {
    let mut bench = Bench::new(patient(), Manner::status(200), [1]).await;
    let garbage = Manner::Reply(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec());
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", "x".repeat(70_000));
    type Check = fn(&Failure) -> bool;
    let manners: [(Manner, Check); 6] = [
        (Manner::status(500), |failure| *failure == Failure::Status(500)),
        (Manner::status(302), |failure| *failure == Failure::Status(302)),
        (Manner::Close, |failure| *failure == Failure::Closed),
        (Manner::Reset, |failure| *failure == Failure::Closed),
        (garbage, |failure| matches!(failure, Failure::Protocol(_))),
        (Manner::Reply(long.into_bytes()), |failure| matches!(failure, Failure::Protocol(_))),
    ];
    for (manner, check) in manners {
        bench.wait_up(1).await;
        bench.nodes[&1].set(manner.clone());
        let failure = bench.wait_down(1).await.failure;
        assert!(failure.as_ref().is_some_and(check), "{manner:?}: {failure:?}");
        bench.nodes[&1].set(Manner::status(200));
    }
    let failures = bench.stats.failures();
    assert!(failures.status >= 4 && failures.closed >= 4 && failures.protocol >= 4, "{failures:?}");
    assert_eq!((failures.timed_out, bench.stats.panics()), (0, 0));
    assert!(bench.stats.transitions() >= 12);
    bench.end().await;
}

#[tokio::test]
async fn one_hung_node_is_out_and_most_hung_is_panic() {
    let mut bench = Bench::new(config(ms(200), ms(500)), Manner::status(200), 1..=3).await;
    bench.start(2, Manner::status(200)).await;
    bench.start(3, Manner::status(200)).await;
    for index in 1..=3 {
        bench.wait_up(index).await;
    }
    bench.nodes[&1].set(Manner::Hang);
    assert_eq!(bench.wait_down(1).await.failure, Some(Failure::TimedOut));
    assert!(!bench.health.borrow().panic);
    bench.nodes[&2].set(Manner::Hang);
    let health = bench.wait_all("panic", |health| health.panic).await;
    assert_eq!(health.of(bench.address(2)).state, NodeState::Up, "held");
    assert_eq!(bench.stats.panics(), 1);
    bench.nodes[&1].set(Manner::status(200));
    bench.wait_up(1).await;
    bench.wait_all("the end of panic", |health| !health.panic).await;
    // At once, or, where a busy machine made another probe late, when that node has answered again.
    bench.wait_down(2).await;
    bench.end().await;
}

#[tokio::test]
async fn a_hung_node_delays_nobody() {
    let mut bench = Bench::new(patient(), Manner::Hang, 1..=3).await;
    bench.start(2, Manner::status(200)).await;
    bench.start(3, Manner::status(200)).await;
    bench.wait_up(2).await;
    bench.wait_up(3).await;
    bench.nodes.remove(&3);
    bench.wait_down(3).await;
    assert_eq!(bench.nodes[&1].requests(), 1, "one probe of a node at a time");
    assert_eq!(bench.stats.failures().timed_out, 0, "the first probe of the hung node is still under way");
    bench.end().await;
}

#[tokio::test]
async fn every_probe_makes_its_own_connection() {
    let mut bench = Bench::new(patient(), Manner::status(200), [1]).await;
    bench.wait_up(1).await;
    bench.nodes[&1].set(Manner::status(500));
    bench.wait_down(1).await;
    let node = &bench.nodes[&1];
    assert!(node.requests() >= 4 && node.connections() >= node.requests());
    bench.end().await;
}

#[tokio::test]
async fn a_node_that_drops_out_and_returns_keeps_its_history() {
    let mut bench = Bench::new(patient(), Manner::status(200), 1..=2).await;
    bench.start(2, Manner::status(200)).await;
    bench.wait_up(2).await;
    bench.nodes.remove(&2);
    let down = bench.wait_down(2).await;
    let gone = bench.address(2);
    bench.list([1]);
    bench.wait_all("gone", |health| !health.nodes.contains_key(&gone)).await;
    bench.list(1..=2);
    let back = bench.wait_all("back", |health| health.nodes.contains_key(&gone)).await;
    assert_eq!(back.of(gone), down);
    bench.end().await;
}

#[tokio::test]
async fn a_removed_node_is_not_revived_by_a_late_answer() {
    let mut bench = Bench::new(patient(), Manner::Hang, [1]).await;
    let node = bench.address(1);
    bench.wait_all("listed", |health| health.nodes.contains_key(&node)).await;
    let asked = async {
        while bench.nodes[&1].requests() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, asked).await.unwrap();
    bench.list([2]);
    bench.wait_all("gone", |health| !health.nodes.contains_key(&node)).await;
    // The late result: the connection ends.
    bench.nodes.remove(&1);
    let other = bench.address(2);
    bench.wait_all("probing goes on", |health| health.of(other).failure == Some(Failure::Refused)).await;
    assert!(!bench.health.borrow().nodes.contains_key(&node));
    bench.end().await;
}

#[tokio::test]
async fn nothing_is_published_while_nothing_changes() {
    let mut bench = Bench::new(patient(), Manner::status(200), [1]).await;
    bench.wait_up(1).await;
    bench.health.mark_unchanged();
    let probes = bench.stats.probes();
    let stats = bench.stats.clone();
    let more = async {
        while stats.probes() < probes + 5 {
            tokio::time::sleep(ms(10)).await;
        }
    };
    timeout(DEADLINE, more).await.unwrap();
    assert!(!bench.health.has_changed().unwrap());
    bench.end().await;
}

#[tokio::test]
async fn disabled_means_nobody_is_probed() {
    let config = HealthConfig { enabled: false, ..patient() };
    let mut bench = Bench::new(config, Manner::status(200), [1]).await;
    let health = bench.wait_all("disabled", |health| health.disabled).await;
    assert!(health.nodes.is_empty());
    assert_eq!((bench.nodes[&1].connections(), bench.stats.probes()), (0, 0));
    bench.end().await;
}

#[tokio::test]
async fn probing_goes_on_when_discovery_ends() {
    let mut bench = Bench::new(patient(), Manner::status(200), [1]).await;
    bench.wait_up(1).await;
    bench.topology = watch::channel(Arc::default()).0;
    bench.nodes.clear();
    bench.wait_down(1).await;
    bench.end().await;
}
