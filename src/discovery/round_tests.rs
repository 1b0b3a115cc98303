//! The poller against a cluster in memory on a paused clock; `live_tests` has the same over real sockets.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    config::{ClusterConfig, Seed},
    discovery::{LIMITS, Options, Stats},
    http::{NodeClient, NodeIdentity, Reply},
    model::{Demand, Failure, Member, Node, Source, Topology},
};

/// How a simulated node behaves.
#[derive(Clone, Debug, PartialEq)]
enum Mode {
    Normal,
    /// Does not look at `dc` and `rack`.
    Old,
    Refuses,
    /// Never answers, until the client's time-out.
    Hangs,
    Slow(Duration),
    /// Sees only itself.
    CutOff,
    /// `[]` to everything.
    Empty,
    /// Adds an address to every list.
    Invents(u8),
    Status(u16),
    Says(&'static str),
}

/// What becomes of requests for a node's tables.
#[derive(Clone, Copy, Debug)]
enum Tables {
    Open,
    /// The role may not read them.
    Denied,
    /// Each request takes this long.
    Slow(Duration),
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<IpAddr, (&'static str, &'static str, Mode)>,
    names: HashMap<String, Vec<IpAddr>>,
    /// What becomes of requests for tables; nodes that are not here have none.
    tables: BTreeMap<IpAddr, Tables>,
    /// ScyllaDB's words for nodes that are not `NORMAL`.
    words: BTreeMap<IpAddr, &'static str>,
    /// Every request: node and path.
    log: Vec<(IpAddr, String)>,
    under_way: BTreeSet<IpAddr>,
}

/// A cluster in memory.
#[derive(Clone, Debug, Default)]
struct Cluster(Arc<Mutex<State>>);

impl Cluster {
    fn new(nodes: &[(u8, &'static str, &'static str)]) -> Self {
        let cluster = Cluster::default();
        for &(last, dc, rack) in nodes {
            cluster.with(|state| state.nodes.insert(ip(last), (dc, rack, Mode::Normal)));
        }
        cluster
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    fn set(&self, last: u8, mode: Mode) {
        self.with(|state| state.nodes.get_mut(&ip(last)).unwrap().2 = mode);
    }

    fn set_all(&self, mode: &Mode) {
        self.with(|state| state.nodes.values_mut().for_each(|node| node.2 = mode.clone()));
    }

    fn take_log(&self) -> Vec<(IpAddr, String)> {
        self.with(|state| std::mem::take(&mut state.log))
    }

    /// Lets these nodes' tables be read.
    fn open(&self, lasts: impl IntoIterator<Item = u8>) {
        self.with(|state| state.tables.extend(lasts.into_iter().map(|last| (ip(last), Tables::Open))));
    }

    /// The items of a node's table.
    fn rows(state: &State, asked: IpAddr, table: &str) -> Option<Vec<serde_json::Value>> {
        use serde_json::json;
        let sees = |address: IpAddr| {
            let mode = &state.nodes[&address].2;
            let alive = !matches!(mode, Mode::Refuses | Mode::Hangs | Mode::CutOff);
            address == asked || (alive && state.nodes[&asked].2 != Mode::CutOff)
        };
        let mut all: Vec<(IpAddr, &str, &str)> =
            state.nodes.iter().map(|(&address, (dc, rack, _))| (address, *dc, *rack)).collect();
        let invented = match state.nodes[&asked].2 {
            Mode::Invents(last) => Some(ip(last)),
            _ => None,
        };
        all.extend(invented.map(|address| (address, "dc1", "r1")));
        let about = |(address, dc, rack): &(IpAddr, &str, &str)| {
            json!({"host_id": {"S": format!("id-{address}")}, "rpc_address": {"S": address.to_string()},
                "peer": {"S": address.to_string()}, "data_center": {"S": dc}, "rack": {"S": rack}})
        };
        let status = |(address, dc, _): &(IpAddr, &str, &str)| {
            let up = Some(*address) == invented || sees(*address);
            let word = state.words.get(address).unwrap_or(&"NORMAL");
            json!({"host_id": {"S": format!("id-{address}")}, "peer": {"S": address.to_string()}, "dc": {"S": dc},
                "up": {"BOOL": up.to_string()}, "status": {"S": word}, "tokens": {"N": "256"}})
        };
        match table {
            "local" => Some(all.iter().filter(|(address, ..)| *address == asked).map(about).collect()),
            "peers" => Some(all.iter().filter(|(address, ..)| *address != asked).map(about).collect()),
            "cluster_status" => Some(all.iter().map(status).collect()),
            _ => None,
        }
    }

    /// The list that a node in working order gives.
    fn list(state: &State, asked: IpAddr, path: &str) -> BTreeSet<IpAddr> {
        let (own, _, mode) = &state.nodes[&asked];
        let parameter = |name: &str| path.split(['?', '&']).find_map(|part| part.strip_prefix(name));
        let (dc, rack) = match mode {
            Mode::Old => (*own, None),
            _ => (parameter("dc=").unwrap_or(own), parameter("rack=")),
        };
        let alive = |mode: &Mode| !matches!(mode, Mode::Refuses | Mode::Hangs | Mode::CutOff);
        let nodes = state.nodes.iter().filter(|(address, (in_dc, in_rack, node))| {
            *in_dc == dc
                && rack.is_none_or(|rack| rack == *in_rack)
                && (**address == asked || (alive(node) && *mode != Mode::CutOff))
        });
        nodes.map(|(&address, _)| address).collect()
    }
}

/// A request that is answered or given up.
struct UnderWay<'c>(&'c Cluster, IpAddr);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.under_way.remove(&self.1));
    }
}

impl Network for Cluster {
    async fn get(&self, node: IpAddr, path: &str) -> Result<Reply, Failure> {
        let mode = self.with(|state| {
            state.log.push((node, path.to_owned()));
            assert!(state.under_way.insert(node), "two requests to {node} at once");
            state.nodes.get(&node).map_or(Mode::Hangs, |node| node.2.clone())
        });
        let _under_way = UnderWay(self, node);
        sleep(Duration::from_millis(1)).await;
        let body = |list: BTreeSet<IpAddr>| format!("{list:?}").replace('{', "[\"").replace('}', "\"]");
        let body =
            |list: BTreeSet<IpAddr>| if list.is_empty() { "[]".into() } else { body(list).replace(", ", "\",\"") };
        let reply = |status, body: String| Ok(Reply { status, body: body.into_bytes() });
        if let Mode::Slow(time) = mode {
            sleep(time).await;
        }
        match mode {
            Mode::Refuses => Err(Failure::Refused),
            Mode::Hangs => {
                sleep(LIMITS.total).await;
                Err(Failure::TimedOut)
            }
            Mode::Empty => reply(200, "[]".into()),
            Mode::Status(status) => reply(status, "[]".into()),
            Mode::Says(body) => reply(200, body.into()),
            _ => {
                let mut list = self.with(|state| Cluster::list(state, node, path));
                if let Mode::Invents(last) = mode {
                    list.insert(ip(last));
                }
                reply(200, body(list))
            }
        }
    }

    async fn post(&self, node: IpAddr, _: Vec<(String, String)>, body: Vec<u8>) -> Result<Reply, Failure> {
        let (mode, tables) = self.with(|state| {
            assert!(state.under_way.insert(node), "two requests to {node} at once");
            let mode = state.nodes.get(&node).map_or(Mode::Hangs, |node| node.2.clone());
            (mode, state.tables.get(&node).copied())
        });
        let _under_way = UnderWay(self, node);
        sleep(Duration::from_millis(1)).await;
        let error = |kind: &str, message: &str| {
            let body =
                serde_json::json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": message});
            Ok(Reply { status: 400, body: body.to_string().into_bytes() })
        };
        match (mode, tables) {
            (Mode::Refuses, _) => Err(Failure::Refused),
            (Mode::Hangs, _) => std::future::pending().await,
            (Mode::Slow(time), _) => {
                sleep(time).await;
                Err(Failure::TimedOut)
            }
            (Mode::Status(status), _) => Ok(Reply { status, body: b"no".to_vec() }),
            (_, None) => error("ResourceNotFoundException", "Requested resource not found: Internal table"),
            (_, Some(Tables::Denied)) => error(
                "AccessDeniedException",
                "SELECT access on table system.local is denied to role r, client address 10.0.0.9:1",
            ),
            (_, Some(tables)) => {
                if let Tables::Slow(time) = tables {
                    sleep(time).await;
                }
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let table = body["TableName"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
                match self.with(|state| Cluster::rows(state, node, &table)) {
                    Some(rows) => {
                        let body = serde_json::json!({"Items": rows, "Count": rows.len()}).to_string();
                        Ok(Reply { status: 200, body: body.into_bytes() })
                    }
                    None => error("ResourceNotFoundException", "Requested resource not found: Internal table"),
                }
            }
        }
    }

    fn host(&self, node: IpAddr) -> String {
        node.to_string()
    }

    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.with(|state| state.names.get(host).cloned());
        if host.starts_with("hangs") && found.is_none() {
            std::future::pending::<()>().await;
        }
        found.ok_or_else(|| io::Error::other("no such name"))
    }
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn ips(lasts: impl IntoIterator<Item = u8>) -> BTreeSet<IpAddr> {
    lasts.into_iter().map(ip).collect()
}

fn listed(topology: &Topology) -> BTreeSet<IpAddr> {
    topology.listed().map(|member| member.node.address).collect()
}

fn seed(last: u8) -> Seed {
    Seed::Address(ip(last))
}

/// `dc1` and `dc2` with racks `r1` and `r2`; nodes 1 to 4 and 11 to 14.
fn two_datacenters() -> Cluster {
    Cluster::new(&[
        (1, "dc1", "r1"),
        (2, "dc1", "r1"),
        (3, "dc1", "r2"),
        (4, "dc1", "r2"),
        (11, "dc2", "r1"),
        (12, "dc2", "r1"),
        (13, "dc2", "r2"),
        (14, "dc2", "r2"),
    ])
}

/// `count` nodes of one datacenter.
fn one_datacenter(count: u8) -> Cluster {
    Cluster::new(&(1..=count).map(|last| (last, "dc1", "r1")).collect::<Vec<_>>())
}

fn both_names() -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    let racks = || vec!["r1".into(), "r2".into()];
    [("dc1".into(), racks()), ("dc2".into(), racks())].into()
}

/// A running poller and what it publishes.
struct Running {
    topology: watch::Receiver<Arc<Topology>>,
    demand: Arc<Demand>,
    stats: Arc<Stats>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn options(seeds: Vec<Seed>) -> Options {
    let cluster = ClusterConfig { seeds, ..ClusterConfig::default() };
    let wake = Arc::new(Notify::new());
    let wakes = wake.clone();
    Options {
        client: NodeClient::new(&cluster, &NodeIdentity::default(), LIMITS).unwrap(),
        cluster,
        datacenters: BTreeMap::new(),
        fall: 2,
        initial: Topology::default(),
        demand: Arc::new(Demand::new(move || wakes.notify_one())),
        wake,
        publish: watch::Sender::default(),
        stop: CancellationToken::new(),
        seed: 1,
        stats: Arc::default(),
        journal: crate::journal::Journal::default().of("z.test"),
    }
}

fn start(cluster: &Cluster, options: Options) -> Running {
    let (demand, stats, stop) = (options.demand.clone(), options.stats.clone(), options.stop.clone());
    options.publish.send_replace(Arc::new(options.initial.clone()));
    let topology = options.publish.subscribe();
    let task = tokio::spawn(Poller::new(options, cluster.clone()).run());
    Running { topology, demand, stats, stop, task }
}

impl Running {
    /// Waits, at most ten minutes of the paused clock, for a topology.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Topology) -> bool) -> Arc<Topology> {
        let result = timeout(Duration::from_secs(600), self.topology.wait_for(|topology| wanted(topology))).await;
        let found = result.map(|topology| topology.unwrap().clone());
        found.unwrap_or_else(|_| panic!("never {what}: {:?}", self.topology.borrow()))
    }

    async fn until_listed(&mut self, wanted: impl IntoIterator<Item = u8>) -> Arc<Topology> {
        let wanted = ips(wanted);
        self.until(&format!("{wanted:?}"), |topology| listed(topology) == wanted).await
    }

    /// Lets rounds pass and asserts that nothing is published meanwhile.
    async fn stays(&mut self, rounds: u64) {
        self.topology.mark_unchanged();
        sleep(Duration::from_secs(rounds)).await;
        assert!(!self.topology.has_changed().unwrap(), "{:?}", self.topology.borrow());
    }

    fn now(&self) -> Arc<Topology> {
        self.topology.borrow().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn one_seed_and_names_find_every_node_and_its_place() {
    let cluster = two_datacenters();
    let mut poller = start(&cluster, Options { datacenters: both_names(), ..options(vec![seed(1)]) });
    let topology = poller.until_listed([1, 2, 3, 4, 11, 12, 13, 14]).await;
    let place = |last| topology.members[&ip(last)].node.place();
    assert_eq!([place(1), place(4), place(11), place(14)], ["dc1/r1", "dc1/r2", "dc2/r1", "dc2/r2"]);
    assert_eq!((topology.source, topology.stale, topology.flat), (Source::Discovery, false, false));
    assert_eq!(topology.seen.len(), 7);
    poller.stays(50).await;
    poller.stop.cancel();
    poller.task.await.unwrap();
    assert_eq!(poller.stats.joined.load(Relaxed), 8);
    // Every list came within its time.
    assert!(poller.stats.latency().count >= poller.stats.answers.load(Relaxed));
    assert!(poller.stats.last_success().is_some());
}

#[tokio::test(start_paused = true)]
async fn one_seed_and_nothing_else_finds_its_datacenter() {
    let cluster = two_datacenters();
    let mut poller = start(&cluster, options(vec![seed(3)]));
    let topology = poller.until_listed([1, 2, 3, 4]).await;
    assert_eq!(topology.members[&ip(1)].node.place(), "-");
    poller.stays(50).await;
}

#[tokio::test(start_paused = true)]
async fn seeds_in_several_datacenters_make_a_union_and_nodes_come_and_go() {
    let cluster = two_datacenters();
    let mut poller = start(&cluster, options(vec![seed(1), seed(11)]));
    poller.until_listed([1, 2, 3, 4, 11, 12, 13, 14]).await;
    cluster.set(1, Mode::Refuses);
    poller.until_listed([2, 3, 4, 11, 12, 13, 14]).await;
    cluster.with(|state| state.nodes.insert(ip(5), ("dc1", "r1", Mode::Normal)));
    poller.until_listed([2, 3, 4, 5, 11, 12, 13, 14]).await;
    cluster.set(1, Mode::Normal);
    poller.until_listed([1, 2, 3, 4, 5, 11, 12, 13, 14]).await;
}

#[tokio::test(start_paused = true)]
async fn one_node_that_errs_changes_nothing() {
    let modes = [Mode::Empty, Mode::Invents(99), Mode::Status(500), Mode::Says("<html>"), Mode::Old];
    for names in [BTreeMap::new(), both_names()] {
        let cluster = two_datacenters();
        let mut poller = start(&cluster, Options { datacenters: names, ..options(vec![seed(1), seed(11)]) });
        poller.until_listed([1, 2, 3, 4, 11, 12, 13, 14]).await;
        sleep(Duration::from_secs(5)).await;
        for mode in modes.clone() {
            cluster.set(2, mode);
            poller.stays(70).await;
        }
        // Seen by others as alive, it must not be believed when it sees nobody.
        cluster.set(2, Mode::Says("[\"10.0.0.2\"]"));
        poller.stays(70).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_partitioned_seed_leaves_by_the_others_word_and_does_not_return_as_a_datacenter() {
    for names in [BTreeMap::new(), both_names()] {
        let cluster = two_datacenters();
        let mut poller = start(&cluster, Options { datacenters: names, ..options(vec![seed(1), seed(11)]) });
        poller.until_listed([1, 2, 3, 4, 11, 12, 13, 14]).await;
        cluster.set(1, Mode::CutOff);
        poller.until_listed([2, 3, 4, 11, 12, 13, 14]).await;
        poller.stays(90).await;
        cluster.set(1, Mode::Normal);
        poller.until_listed([1, 2, 3, 4, 11, 12, 13, 14]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hung_nodes_delay_nobody() {
    let cluster = two_datacenters();
    let mut poller = start(&cluster, Options { datacenters: both_names(), ..options(vec![seed(1)]) });
    poller.until_listed([1, 2, 3, 4, 11, 12, 13, 14]).await;
    cluster.set(1, Mode::Hangs);
    cluster.set(2, Mode::Hangs);
    cluster.with(|state| state.nodes.insert(ip(15), ("dc2", "r1", Mode::Normal)));
    let began = Instant::now();
    poller.until("the new node", |topology| topology.members.contains_key(&ip(15))).await;
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    poller.until_listed([3, 4, 11, 12, 13, 14, 15]).await;
    let rounds = poller.stats.rounds.load(Relaxed);
    sleep(Duration::from_secs(20)).await;
    assert!(poller.stats.rounds.load(Relaxed) - rounds >= 17, "rounds keep their pace");
}

#[tokio::test(start_paused = true)]
async fn answers_slower_than_a_round_still_count() {
    let cluster = one_datacenter(3);
    cluster.set_all(&Mode::Slow(Duration::from_millis(1500)));
    let mut poller = start(&cluster, options(vec![seed(1)]));
    poller.until_listed([1, 2, 3]).await;
    sleep(Duration::from_secs(5)).await;
    cluster.set(3, Mode::Refuses);
    poller.until_listed([1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_datacenter_of_one_dead_observer_is_told_of_by_another_datacenter() {
    let cluster = Cluster::new(&[(1, "dc1", "r1"), (2, "dc1", "r1"), (11, "dc2", "r1")]);
    let mut poller = start(&cluster, Options { datacenters: both_names(), ..options(vec![seed(1)]) });
    poller.until_listed([1, 2, 11]).await;
    cluster.set(11, Mode::Refuses);
    let topology = poller.until_listed([1, 2]).await;
    assert_eq!(topology.members[&ip(11)].listing, Listing::Left, "the last one known is kept as such");
    cluster.set(11, Mode::Normal);
    poller.until_listed([1, 2, 11]).await;
}

#[tokio::test(start_paused = true)]
async fn a_single_survivor_is_believed_only_after_long() {
    let cluster = one_datacenter(3);
    let mut poller = start(&cluster, options(vec![seed(1)]));
    poller.until_listed([1, 2, 3]).await;
    cluster.set(2, Mode::Refuses);
    cluster.set(3, Mode::Refuses);
    poller.stays(20).await;
    poller.until_listed([1]).await;
    cluster.set(3, Mode::Normal);
    poller.until_listed([1, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn all_gone_keeps_the_last_topology_and_goes_through_the_seeds() {
    let cluster = one_datacenter(4);
    cluster.with(|state| state.names.insert("scylla.test".into(), vec![ip(1)]));
    let mut poller = start(&cluster, options(vec![Seed::Host("scylla.test".into())]));
    let before = poller.until_listed([1, 2, 3, 4]).await;
    cluster.set_all(&Mode::Refuses);
    let stale = poller.until("stale", |topology| topology.stale).await;
    assert_eq!((&stale.members, stale.source), (&before.members, Source::Discovery));
    poller.stays(40).await;
    // The cluster is somewhere else now, and only the name tells.
    for last in 21..=23 {
        cluster.with(|state| state.nodes.insert(ip(last), ("dc1", "r1", Mode::Normal)));
    }
    cluster.with(|state| state.names.insert("scylla.test".into(), vec![ip(99), ip(21)]));
    let found = poller.until("the new nodes", |topology| topology.members.contains_key(&ip(22))).await;
    assert!(!found.stale);
    assert!(poller.stats.unanswered_rounds.load(Relaxed) > 30);
    assert!(poller.stats.failures_by_reason().iter().any(|(_, count)| *count > 0));
}

#[tokio::test(start_paused = true)]
async fn a_seed_name_that_hangs_does_not_hold_up_the_others() {
    let cluster = one_datacenter(3);
    let seeds = vec![Seed::Host("hangs.test".into()), Seed::Host("no-such.test".into()), seed(99), seed(2)];
    let began = Instant::now();
    let mut poller = start(&cluster, options(seeds));
    poller.until_listed([1, 2, 3]).await;
    assert!(began.elapsed() < PATIENCE + Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!(poller.stats.unresolved_seeds.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn servers_that_ignore_places_make_the_topology_flat() {
    let cluster = two_datacenters();
    cluster.set_all(&Mode::Old);
    let mut poller = start(&cluster, Options { datacenters: both_names(), ..options(vec![seed(1), seed(11)]) });
    let topology = poller.until_listed([1, 2, 3, 4, 11, 12, 13, 14]).await;
    assert!(topology.flat && topology.members.values().all(|member| member.node.datacenter.is_none()));
    sleep(Duration::from_secs(3)).await;
    let believed = cluster.take_log().into_iter().filter(|(_, path)| path.contains("dc=dc"));
    assert_eq!(believed.count(), 0, "never asked for places");
    // A node that answers nothing but [] proves nothing about the others.
    cluster.set(3, Mode::Empty);
    poller.stays(90).await;
    // The upgrade.
    cluster.set_all(&Mode::Normal);
    sleep(Duration::from_secs(60)).await;
    let upgraded = poller.until("places", |topology| !topology.flat && topology.seen.len() == 7).await;
    assert_eq!(upgraded.members[&ip(13)].node.place(), "dc2/r2");
}

#[tokio::test(start_paused = true)]
async fn a_mixed_cluster_is_not_flat_and_old_nodes_vote_for_their_own() {
    let cluster = two_datacenters();
    for old in [1, 2, 3] {
        cluster.set(old, Mode::Old);
    }
    let mut poller = start(&cluster, Options { datacenters: both_names(), ..options(vec![seed(1)]) });
    // The seed tells only its own datacenter, until one that looks at places is met.
    let topology = poller.until("places", |topology| topology.seen.len() == 7 && !topology.flat).await;
    assert_eq!(listed(&topology), ips([1, 2, 3, 4, 11, 12, 13, 14]));
    sleep(Duration::from_secs(40)).await;
    assert_eq!(poller.now().members[&ip(2)].node.place(), "dc1/r1");
}

#[tokio::test(start_paused = true)]
async fn all_nodes_get_asked_three_a_round_from_different_racks() {
    let nodes: Vec<_> = (1..=9)
        .map(|last| {
            (
                last,
                "dc1",
                if last <= 5 {
                    "r1"
                } else if last <= 8 {
                    "r2"
                } else {
                    "r3"
                },
            )
        })
        .collect();
    let cluster = Cluster::new(&nodes);
    let names = [("dc1".into(), vec!["r1".into(), "r2".into(), "r3".into()])].into();
    let mut poller = start(&cluster, Options { datacenters: names, ..options(vec![seed(1)]) });
    poller.until("racks", |topology| topology.members.values().filter(|m| m.node.rack.is_some()).count() == 9).await;
    sleep(Duration::from_millis(500)).await;
    let mut everybody = BTreeSet::new();
    for _ in 0..12 {
        cluster.take_log();
        sleep(Duration::from_secs(1)).await;
        let asked = cluster.take_log().into_iter().filter(|(_, path)| path == "/localnodes?dc=dc1");
        everybody.extend(asked.map(|(node, _)| node));
    }
    assert_eq!(everybody.len(), 9);
    let rounds = poller.stats.rounds.load(Relaxed);
    cluster.take_log();
    sleep(Duration::from_secs(20)).await;
    let asked = cluster.take_log().into_iter().filter(|(_, path)| path == "/localnodes?dc=dc1").count() as u64;
    let rounds = poller.stats.rounds.load(Relaxed) - rounds;
    assert!(asked.abs_diff(3 * rounds) <= 3, "{asked} requests in {rounds} rounds");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_serves_as_observers_when_no_seed_answers() {
    let cluster = one_datacenter(3);
    let node = |last| Node { address: ip(last), datacenter: None, rack: None };
    let member = |last| Member { served_before: true, ..Member::new(node(last)) };
    let initial = Topology {
        members: [2, 3, 4].map(|last| (ip(last), member(last))).into(),
        source: Source::Snapshot,
        stale: true,
        ..Topology::default()
    };
    cluster.set_all(&Mode::Refuses);
    let mut poller = start(&cluster, Options { initial, ..options(vec![seed(99)]) });
    poller.stays(10).await;
    assert_eq!(poller.now().source, Source::Snapshot);
    cluster.set_all(&Mode::Normal);
    let topology = poller.until_listed([1, 2, 3, 4]).await;
    assert_eq!((topology.source, topology.stale), (Source::Discovery, false));
    assert!(topology.members[&ip(2)].served_before && !topology.members[&ip(1)].served_before);
    poller.until_listed([1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn while_nobody_asks_it_polls_slowly_and_the_first_query_wakes_it() {
    let cluster = one_datacenter(1);
    let mut with = options(vec![seed(1)]);
    with.cluster.idle_interval = Duration::from_secs(600);
    let mut poller = start(&cluster, with);
    poller.until_listed([1]).await;
    let rounds = |poller: &Running| poller.stats.rounds.load(Relaxed);
    sleep(Duration::from_secs(100)).await;
    assert!(rounds(&poller) <= 2, "{}", rounds(&poller));
    let before = rounds(&poller);
    poller.demand.note();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(rounds(&poller), before + 1, "woken at once");
    for _ in 0..100 {
        poller.demand.note();
        sleep(Duration::from_millis(100)).await;
    }
    assert!((8..=13).contains(&(rounds(&poller) - before)), "{}", rounds(&poller) - before);
    let before = rounds(&poller);
    sleep(Duration::from_secs(100)).await;
    assert!(rounds(&poller) - before <= 2, "idle again");
}

#[tokio::test(start_paused = true)]
async fn intervals_are_jittered_by_a_tenth() {
    let mut poller = Poller::new(options(Vec::new()), Cluster::default());
    let waits: BTreeSet<Duration> = (0..100).map(|_| poller.jittered(Duration::from_secs(10))).collect();
    assert!(waits.len() > 10 && waits.iter().all(|wait| (9..=11).contains(&wait.as_secs())));
    assert!(poller.jittered(Duration::MAX) < Duration::from_secs(30 * 60 * 60));
    assert!(poller.jittered(Duration::ZERO) > Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn without_seeds_it_does_nothing_and_it_stops_in_the_middle_of_a_round() {
    for seeds in [Vec::new(), vec![seed(1)], vec![Seed::Host("hangs.test".into())]] {
        let cluster = one_datacenter(1);
        cluster.set(1, Mode::Hangs);
        let poller = start(&cluster, options(seeds));
        sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        poller.stop.cancel();
        poller.task.await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(*poller.topology.borrow().as_ref(), Topology::default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_liar_is_outvoted_also_when_other_observers_fail() {
    for names in [BTreeMap::new(), [("dc1".into(), Vec::new())].into()] {
        let cluster = one_datacenter(6);
        let mut poller = start(&cluster, Options { datacenters: names, ..options(vec![seed(1)]) });
        poller.until_listed(1..=6).await;
        sleep(Duration::from_secs(5)).await;
        cluster.set(2, Mode::Invents(99));
        cluster.set(3, Mode::Status(500));
        cluster.set(4, Mode::Says("nonsense"));
        poller.stays(100).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_node_is_asked_less_and_less_but_used_when_nobody_else_is_left() {
    let cluster = one_datacenter(4);
    let mut poller = start(&cluster, options(vec![seed(1)]));
    poller.until_listed(1..=4).await;
    cluster.set(2, Mode::Status(500));
    sleep(Duration::from_secs(60)).await;
    let asked = cluster.take_log().into_iter().filter(|(node, _)| *node == ip(2)).count();
    assert!((4..=12).contains(&asked), "{asked}");
    cluster.set_all(&Mode::Status(500));
    poller.until("stale", |topology| topology.stale).await;
    sleep(Duration::from_secs(10)).await;
    cluster.take_log();
    sleep(Duration::from_secs(5)).await;
    let asked: BTreeSet<IpAddr> = cluster.take_log().into_iter().map(|(node, _)| node).collect();
    assert_eq!(asked, ips(1..=4), "all rest, and all are tried");
}

#[tokio::test(start_paused = true)]
async fn others_are_tried_in_the_round_in_which_observers_fail() {
    for mode in [Mode::Status(500), Mode::Hangs] {
        let nodes: Vec<_> = (1..=8).map(|last| (last, "dc1", "r1")).collect();
        let cluster = Cluster::new(&nodes);
        let mut poller = start(&cluster, options(vec![seed(8)]));
        poller.until_listed(1..=8).await;
        for failing in 1..=4 {
            cluster.set(failing, mode.clone());
        }
        cluster.with(|state| state.nodes.insert(ip(9), ("dc1", "r1", Mode::Normal)));
        let began = Instant::now();
        poller.until("the new node", |topology| topology.members.contains_key(&ip(9))).await;
        assert!(began.elapsed() < Duration::from_millis(2200), "{mode:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn host_names_are_resolved_where_that_is_wanted() {
    let cluster = one_datacenter(3);
    let list = r#"["10.0.0.1", "Node2.test:9000", "node3.test", "hangs.test", "7fb6a1d6-5f0e-4a83-a2a2-0c3d4b4f2f5c"]"#;
    cluster.set_all(&Mode::Says(list));
    let name = |name: &str, last: &[u8]| {
        cluster.with(|state| state.names.insert(name.to_owned(), last.iter().map(|&last| ip(last)).collect()))
    };
    name("node2.test", &[2]);
    let mut poller = start(&cluster, options(vec![seed(1)]));
    poller.until_listed([1]).await;
    poller.stays(10).await;
    assert!(poller.stats.skipped_entries.load(Relaxed) >= 40);
    poller.stop.cancel();

    let mut with = options(vec![seed(1)]);
    with.cluster.resolve_hostnames = true;
    let mut poller = start(&cluster, with);
    let began = Instant::now();
    poller.until_listed([1, 2]).await;
    assert!(began.elapsed() < Duration::from_secs(3), "nobody waits for a name that hangs: {:?}", began.elapsed());
    name("node3.test", &[3]);
    poller.until_listed([1, 2, 3]).await;
    poller.stays(40).await;
    // A name that moves takes its node along; one that is gone keeps it.
    name("node2.test", &[22]);
    cluster.with(|state| state.nodes.insert(ip(22), ("dc1", "r1", Mode::Says(list))));
    poller.until_listed([1, 3, 22]).await;
    cluster.with(|state| state.names.clear());
    poller.stays(100).await;
    assert!(poller.stats.unresolved_hosts.load(Relaxed) > 0);
}

#[path = "round_tables_tests.rs"]
mod tables;
