//! What is answered while nodes die, hang, lie and return, under continuous querying.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alternator_dns::{
    config::{HealthConfig, ZoneConfig},
    server::Outcome,
    sim::{BadReply, Cluster, ClusterSpec, Endpoint, Fault, NodeSpec, SeenByOthers},
};
use futures_util::future::join_all;
use hickory_proto::rr::{Name, RecordType};
use tokio::task::JoinHandle;

use crate::support::{Dig, Load, PATIENCE, Sample, TestServer, ZONE, eventually, within};

/// How long a dead node may be answered with the default configuration.
const PROMISE: Duration = Duration::from_secs(3);

/// A cluster whose crashed nodes are listed for ever, so that nothing but our probes tells that they are dead.
async fn listed_for_ever(nodes: &[(&str, &str)]) -> Cluster {
    let node = |(place, address): &(&str, &str)| {
        let (dc, rack) = place.split_once('/').unwrap();
        NodeSpec::new(ip(address), dc, rack)
    };
    Cluster::start(ClusterSpec::new(nodes.iter().map(node).collect()).failure_detector(None)).await.unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn name(below: &str) -> String {
    if below.is_empty() { ZONE.to_owned() } else { format!("{below}.{ZONE}") }
}

/// The times a server has that was told none.
fn default_times(zone: &mut ZoneConfig) {
    let defaults = ZoneConfig::new(Name::root());
    zone.health = defaults.health;
    zone.cluster.active_interval = defaults.cluster.active_interval;
    zone.cluster.idle_interval = defaults.cluster.idle_interval;
}

/// Shorter than the defaults, and still with a time-out that a healthy node never misses on a busy machine: for tests
/// in which no answer may ever change.
fn brisk(zone: &mut ZoneConfig) {
    zone.health =
        HealthConfig { interval: Duration::from_millis(250), timeout: Duration::from_secs(1), ..zone.health.clone() };
    zone.cluster.active_interval = Duration::from_millis(100);
    zone.cluster.idle_interval = Duration::from_millis(100);
}

/// Asks every scope name at this rate.
fn load(server: &TestServer, names: &[&str], per_second: u32) -> Load {
    let names: Vec<String> = names.iter().map(|below| name(below)).collect();
    Load::start(server.address, &names.iter().map(String::as_str).collect::<Vec<_>>(), per_second)
}

/// Every reply to each question, at any time, held exactly this set.
fn assert_unchanged(samples: &[Sample], sets: &[BTreeSet<IpAddr>]) {
    assert!(samples.len() > sets.len() * 10, "only {} samples", samples.len());
    let start = samples[0].sent;
    for Sample { question, sent, set } in samples {
        assert_eq!(set, &sets[*question], "question {question} after {:?}", sent.duration_since(start));
    }
}

/// The explanation of some names, read over and over.
struct Explanations {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Vec<String>>>,
}

impl Explanations {
    fn follow(server: SocketAddr, names: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let digs: Vec<Dig> = names
            .iter()
            .map(|below| Dig::new(server, &format!("_explain.{}", name(below)), RecordType::TXT).tcp())
            .collect();
        let task = tokio::spawn(async move {
            let mut read = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                for dig in &digs {
                    read.push(dig.ask().await.texts());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            read
        });
        Explanations { stop, task }
    }

    async fn stop(self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

fn says(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

/// Waits until the explanation of a name says this, or does not.
async fn explained(server: &TestServer, name: &str, text: &str, expected: bool) {
    eventually(|| server.explain(name), |lines| says(lines, text) == expected).await;
}

// ---- one node dies ------------------------------------------------------------------------------------------------

/// Six nodes with the default times and 1,000 queries a second: `dies` happens to one of them, and later `returns`.
async fn one_of_six_dies(
    net: u8,
    victim: u8,
    dies: impl AsyncFnOnce(&Cluster, IpAddr),
    returns: impl AsyncFnOnce(&Cluster, IpAddr),
) {
    let at = |last: u8| format!("127.12.{net}.{last}");
    let places = ["dc1/rack1", "dc1/rack1", "dc1/rack2", "dc1/rack2", "dc2/rack1", "dc2/rack1"];
    let addresses: Vec<String> = (1..=6).map(at).collect();
    let nodes: Vec<(&str, &str)> = places.into_iter().zip(addresses.iter().map(String::as_str)).collect();
    let cluster = listed_for_ever(&nodes).await;
    let server = TestServer::over(&cluster, default_times).await;
    let of = |range: std::ops::RangeInclusive<u8>| -> BTreeSet<IpAddr> { range.map(|last| ip(&at(last))).collect() };
    let (names, sets) = (["", "dc1", "dc1.rack1", "dc2"], [of(1..=6), of(1..=4), of(1..=2), of(5..=6)]);
    for (name, set) in names.iter().zip(&sets) {
        let texts: BTreeSet<String> = set.iter().map(ToString::to_string).collect();
        eventually(|| server.set(name), |answered| *answered == texts).await;
    }
    let victim = ip(&at(victim));
    let (answered, all) = (server.count(Outcome::Answered), server.app.counters().total());

    let load = load(&server, &names, 1000);
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    dies(&cluster, victim).await;
    let died = Instant::now();
    tokio::time::sleep(PROMISE + Duration::from_secs(3)).await;
    let returned = Instant::now();
    returns(&cluster, victim).await;
    // With the defaults a node that answers again is back within 2 x interval and a bit; the deadline is generous.
    let mut asked = 0;
    let ask = || {
        asked += 1;
        server.set("")
    };
    within(PATIENCE, ask, |set| set.contains(&victim.to_string())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let took = start.elapsed();
    let samples = load.stop().await;

    let mut last_wrong = None;
    for Sample { question, sent, set } in &samples {
        let full = &sets[*question];
        let mut others = full.clone();
        let has_victim = others.remove(&victim);
        assert!(set == full || *set == others, "question {question}: {set:?}");
        if has_victim && set == full {
            assert!(!(*sent > died + PROMISE && *sent < returned), "the dead node, {:?} after it died", *sent - died);
            last_wrong = if *sent < returned { Some(*sent) } else { last_wrong };
        } else if has_victim {
            assert!(*sent > died, "the node left before it died");
        }
    }
    let last_wrong = last_wrong.map(|sent| sent.saturating_duration_since(died));
    println!("{} queries in {took:?}; last answer with the dead node {last_wrong:?} after its death", samples.len());
    assert!(samples.iter().any(|sample| sample.sent > returned && sample.set.contains(&victim)), "it never returned");
    assert_eq!(server.count(Outcome::Answered) - answered, samples.len() as u64 + asked);
    assert_eq!(server.app.counters().total() - all, samples.len() as u64 + asked, "nothing but answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_refuses_is_answered_for_three_seconds_at_most() {
    let dies = async |cluster: &Cluster, node| cluster.stop(node).await.unwrap();
    one_of_six_dies(1, 2, dies, async |cluster, node| cluster.start_node(node).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_refuses_is_answered_for_three_seconds_at_most() {
    let dies = async |cluster: &Cluster, node| cluster.stop(node).await.unwrap();
    one_of_six_dies(2, 1, dies, async |cluster, node| cluster.start_node(node).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_answered_for_three_seconds_at_most() {
    let dies = async |cluster: &Cluster, node| cluster.inject(node, Fault::Silent).await.unwrap();
    one_of_six_dies(3, 2, dies, async |cluster, node| cluster.heal(node).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_answered_for_three_seconds_at_most() {
    let dies = async |cluster: &Cluster, node| cluster.inject(node, Fault::Hang).await.unwrap();
    one_of_six_dies(4, 2, dies, async |cluster, node| cluster.heal(node).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_status_500_is_answered_for_three_seconds_at_most() {
    let fault = Fault::Reply(Endpoint::Health, BadReply::Status(500));
    let dies = async |cluster: &Cluster, node| cluster.inject(node, fault).await.unwrap();
    one_of_six_dies(5, 2, dies, async |cluster, node| cluster.heal(node).await.unwrap()).await;
}

// ---- all nodes die ------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_nodes_are_killed_the_ones_of_the_incident_are_answered_as_stale() {
    let nodes = [
        ("dc1/rack1", "127.12.10.1"),
        ("dc1/rack1", "127.12.10.2"),
        ("dc1/rack2", "127.12.10.3"),
        ("dc1/rack2", "127.12.10.4"),
    ];
    let cluster = listed_for_ever(&nodes).await;
    let server = TestServer::over(&cluster, |zone| {
        default_times(zone);
        zone.health.interval = Duration::from_millis(100);
    })
    .await;
    server.answers("", &["127.12.10.1", "127.12.10.2", "127.12.10.3", "127.12.10.4"]).await;
    // One node died earlier, by more than what tells one incident from another.
    cluster.stop(ip("127.12.10.4")).await.unwrap();
    server.answers("", &["127.12.10.1", "127.12.10.2", "127.12.10.3"]).await;
    tokio::time::sleep(Duration::from_secs(4)).await;

    let load = load(&server, &["", "dc1.rack1", "dc1.rack2"], 200);
    join_all(nodes[..3].iter().map(|(_, node)| cluster.stop(ip(node)))).await;
    explained(&server, "", "stale: ", true).await;
    server.answers("", &["127.12.10.1", "127.12.10.2", "127.12.10.3"]).await;
    let stale = server.ask("", RecordType::A).await;
    assert_eq!(stale.ttl(), 1);
    explained(&server, "", "no node answers discovery", true).await;
    assert!(says(&server.explain("dc1.rack1").await, "last known good"));
    server.answers("dc1.rack1", &["127.12.10.1", "127.12.10.2"]).await;
    server.answers("dc1.rack2", &["127.12.10.3"]).await;

    cluster.start_node(ip("127.12.10.2")).await.unwrap();
    server.answers("", &["127.12.10.2"]).await;
    explained(&server, "", "no node answers discovery", false).await;
    assert_eq!(server.ask("", RecordType::A).await.ttl(), 5);
    assert!(!says(&server.explain("").await, "stale: "));
    server.answers("dc1.rack2", &["127.12.10.2"]).await;

    // The one that was dead before the incident is as good as any when it returns.
    cluster.start_node(ip("127.12.10.4")).await.unwrap();
    server.answers("", &["127.12.10.2", "127.12.10.4"]).await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_nodes_hang_answers_stay_as_they_are_and_explanations_tell_it() {
    let nodes = [
        ("dc1/rack1", "127.12.11.1"),
        ("dc1/rack2", "127.12.11.2"),
        ("dc2/rack1", "127.12.11.3"),
        ("dc2/rack1", "127.12.11.4"),
    ];
    let all: Vec<&str> = nodes.iter().map(|(_, node)| *node).collect();
    let cluster = listed_for_ever(&nodes).await;
    let server = TestServer::over(&cluster, brisk).await;
    for (name, set) in [("", &all[..]), ("dc1.rack1", &all[..1]), ("dc1.rack2", &all[1..2]), ("dc2", &all[2..])] {
        server.answers(name, set).await;
    }
    let load = load(&server, &["", "dc1.rack1", "dc2"], 200);
    cluster.inject_everywhere(Fault::Hang).await.unwrap();
    cluster.inject_everywhere(Fault::Silent).await.unwrap();
    explained(&server, "", "no node answers discovery", true).await;
    // Past anything that probes and discovery still have under way from before.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(says(&server.explain("dc2").await, "no node answers discovery"));
    for node in &all {
        cluster.heal(ip(node)).await.unwrap();
    }
    explained(&server, "", "no node answers discovery", false).await;
    explained(&server, "", "panic", false).await;
    assert_unchanged(&load.stop().await, &[ips(&all), ips(&all[..1]), ips(&all[2..])]);
}

// ---- racks and datacenters ----------------------------------------------------------------------------------------

/// A rack of two fails as told, and its first node returns before the second.
async fn a_rack_fails(
    net: u8,
    fails: impl AsyncFn(&Cluster, IpAddr),
    returns: impl AsyncFn(&Cluster, IpAddr),
    told: &str,
) {
    let at = |last: u8| format!("127.12.{net}.{last}");
    let addresses: Vec<String> = (1..=6).map(at).collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let places = ["dc1/rack1", "dc1/rack1", "dc1/rack2", "dc1/rack2", "dc2/rack1", "dc2/rack1"];
    let nodes: Vec<(&str, &str)> = places.into_iter().zip(all.iter().copied()).collect();
    let cluster = listed_for_ever(&nodes).await;
    let server = TestServer::over(&cluster, brisk).await;
    for (name, set) in [("", &all[..]), ("dc1.rack1", &all[..2]), ("dc1.rack2", &all[2..4]), ("dc2", &all[4..])] {
        server.answers(name, set).await;
    }
    let load = load(&server, &["dc1.rack2", "dc2", "dc2.rack1", "dc1.rack1", "dc1", ""], 300);
    for node in &all[..2] {
        fails(&cluster, ip(node)).await;
    }
    server.answers("dc1.rack1", &all[2..4]).await;
    server.answers("dc1", &all[2..4]).await;
    server.answers("", &all[2..]).await;
    let lines = server.explain("dc1.rack1").await;
    assert!(says(&lines, "A: level 2 of 2 (dc1), 2 nodes, fallback"), "{lines:?}");
    assert!(says(&lines, &format!("out {} dc1/rack1: down: {told}", all[0])), "{lines:?}");
    assert!(!says(&lines, "panic") && !says(&lines, "stale"), "{lines:?}");
    assert_eq!(server.ask("dc1.rack1", RecordType::A).await.ttl(), 5);

    returns(&cluster, ip(all[1])).await;
    server.answers("dc1.rack1", &all[1..2]).await;
    server.answers("dc1", &all[1..4]).await;
    server.answers("", &all[1..]).await;
    returns(&cluster, ip(all[0])).await;
    server.answers("dc1.rack1", &all[..2]).await;
    server.answers("", &all).await;

    let samples = load.stop().await;
    for Sample { question, set, .. } in samples {
        match question {
            0 => assert_eq!(set, ips(&all[2..4])),
            1 | 2 => assert_eq!(set, ips(&all[4..])),
            // Never a mixture: the rack's own nodes, or those of the fallback.
            3 => assert!(set.is_subset(&ips(&all[..2])) || set == ips(&all[2..4]), "{set:?}"),
            4 => assert!(set.is_superset(&ips(&all[2..4])) && set.is_subset(&ips(&all[..4])), "{set:?}"),
            _ => assert!(set.is_superset(&ips(&all[2..])), "{set:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rack_that_refuses_falls_back_and_one_node_brings_it_back() {
    let fails = async |cluster: &Cluster, node| cluster.stop(node).await.unwrap();
    let returns = async |cluster: &Cluster, node| cluster.start_node(node).await.unwrap();
    a_rack_fails(12, fails, returns, "connection refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_rack_falls_back_and_one_node_brings_it_back() {
    let fails = async |cluster: &Cluster, node| cluster.inject(node, Fault::Silent).await.unwrap();
    a_rack_fails(13, fails, async |cluster, node| cluster.heal(node).await.unwrap(), "timed out").await;
}

/// All of dc1 refuses.
async fn a_datacenter_fails(net: u8, failover: bool) {
    let at = |last: u8| format!("127.12.{net}.{last}");
    let addresses: Vec<String> = (1..=5).map(at).collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let places = ["dc1/rack1", "dc1/rack2", "dc1/rack2", "dc2/rack1", "dc2/rack1"];
    let nodes: Vec<(&str, &str)> = places.into_iter().zip(all.iter().copied()).collect();
    let cluster = listed_for_ever(&nodes).await;
    let server = TestServer::over(&cluster, |zone| {
        brisk(zone);
        zone.datacenter_failover = failover;
    })
    .await;
    for (name, set) in [("dc1", &all[..3]), ("dc1.rack1", &all[..1]), ("dc1.rack2", &all[1..3]), ("", &all[..])] {
        server.answers(name, set).await;
    }
    let load = load(&server, &["dc2", "dc1", "dc1.rack1"], 200);
    join_all(all[..3].iter().map(|node| cluster.stop(ip(node)))).await;
    server.answers("", &all[3..]).await;
    if failover {
        for name in ["dc1", "dc1.rack1", "dc1.rack2"] {
            server.answers(name, &all[3..]).await;
            assert_eq!(server.ask(name, RecordType::A).await.ttl(), 5);
        }
        assert!(says(&server.explain("dc1").await, "A: level 2 of 2 (cluster), 2 nodes, fallback"));
    } else {
        explained(&server, "dc1", "stale: ", true).await;
        for (name, set) in [("dc1", &all[..3]), ("dc1.rack1", &all[..1]), ("dc1.rack2", &all[1..3])] {
            server.answers(name, set).await;
            assert_eq!(server.ask(name, RecordType::A).await.ttl(), 1);
        }
        assert!(says(&server.explain("dc1").await, "last known good"));
        assert!(!says(&server.explain("dc2").await, "stale"), "the other one has no part in it");
    }
    cluster.start_node(ip(all[1])).await.unwrap();
    for name in ["dc1", "dc1.rack1", "dc1.rack2"] {
        server.answers(name, &all[1..2]).await;
    }
    assert_eq!(server.ask("dc1", RecordType::A).await.ttl(), 5);
    for Sample { question, set, .. } in load.stop().await {
        match question {
            0 => assert_eq!(set, ips(&all[3..])),
            _ if failover => assert!(set.is_subset(&ips(&all[..3])) || set == ips(&all[3..]), "{set:?}"),
            _ => assert!(set.is_subset(&ips(&all[..3])), "{set:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_datacenter_is_answered_by_its_last_known_good_nodes() {
    a_datacenter_fails(14, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_datacenter_falls_back_to_the_cluster_where_that_is_wanted() {
    a_datacenter_fails(15, true).await;
}

// ---- panic --------------------------------------------------------------------------------------------------------

/// Ten nodes: dc1 has rack1 (.1 .2), rack2 (.3 .4) and rack3 (.5 .6); dc2 has rack1 (.7 .8) and rack2 (.9 .10).
struct Ten {
    all: Vec<String>,
    cluster: Cluster,
    server: TestServer,
}

impl Ten {
    const NAMES: [&str; 5] = ["", "dc1", "dc1.rack1", "dc2", "dc2.rack2"];

    async fn start(net: u8) -> Self {
        let all: Vec<String> = (1..=10).map(|last| format!("127.12.{net}.{last}")).collect();
        let places = ["dc1/rack1", "dc1/rack2", "dc1/rack3", "dc2/rack1", "dc2/rack2"];
        let nodes: Vec<(&str, &str)> =
            all.iter().enumerate().map(|(index, node)| (places[index / 2], node.as_str())).collect();
        let cluster = listed_for_ever(&nodes).await;
        let server = TestServer::over(&cluster, brisk).await;
        let ten = Ten { all, cluster, server };
        for (name, set) in Self::NAMES.into_iter().zip(ten.sets()) {
            let texts: BTreeSet<String> = set.iter().map(ToString::to_string).collect();
            eventually(|| ten.server.set(name), |answered| *answered == texts).await;
        }
        ten
    }

    /// What [`Ten::NAMES`] stand for.
    fn sets(&self) -> Vec<BTreeSet<IpAddr>> {
        [0..10, 0..6, 0..2, 6..10, 8..10].map(|range| self.all[range].iter().map(|node| ip(node)).collect()).into()
    }

    fn load(&self) -> Load {
        load(&self.server, &Self::NAMES, 500)
    }

    fn nodes(&self, range: std::ops::Range<usize>) -> Vec<&str> {
        self.all[range].iter().map(String::as_str).collect()
    }

    /// Silences nodes all at one moment: first they hang, which takes no time, then not even a connection is made.
    async fn silence(&self, range: std::ops::Range<usize>) {
        for fault in [Fault::Hang, Fault::Silent] {
            for node in &self.all[range.clone()] {
                self.cluster.inject(ip(node), fault.clone()).await.unwrap();
            }
        }
    }

    async fn heal(&self, range: std::ops::Range<usize>) {
        for node in &self.all[range] {
            self.cluster.heal(ip(node)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_of_most_nodes_changes_no_answer_and_raises_an_alarm() {
    let ten = Ten::start(16).await;
    let (load, explanations) = (ten.load(), Explanations::follow(ten.server.address, &Ten::NAMES));
    ten.silence(0..6).await;
    explained(&ten.server, "", "panic: ", true).await;
    // Long enough for every probe to have failed several times over.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let lines = ten.server.explain("dc2").await;
    assert!(says(&lines, "panic: "), "the alarm is the whole zone's: {lines:?}");
    assert_eq!(ten.server.ask("", RecordType::A).await.ttl(), 5);
    ten.heal(0..6).await;
    explained(&ten.server, "", "panic: ", false).await;
    // And nothing is left over that ends later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let explanations = explanations.stop().await;
    let dropped: Vec<_> = explanations.iter().flatten().filter(|line| line.starts_with("out ")).collect();
    assert!(dropped.is_empty(), "{dropped:?}");
    assert!(explanations.iter().any(|lines| says(lines, "panic: ")));
    assert_unchanged(&load.stop().await, &ten.sets());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_refuses_leaves_while_the_others_are_silent() {
    let ten = Ten::start(17).await;
    let load = ten.load();
    ten.silence(0..6).await;
    explained(&ten.server, "", "panic: ", true).await;
    ten.cluster.stop(ip(&ten.all[9])).await.unwrap();
    ten.server.answers("", &ten.nodes(0..9)).await;
    ten.server.answers("dc2.rack2", &ten.nodes(8..9)).await;
    // A silent one that begins to refuse is evidence, too.
    ten.cluster.stop(ip(&ten.all[0])).await.unwrap();
    ten.server.answers("", &ten.nodes(1..9)).await;
    ten.server.answers("dc1.rack1", &ten.nodes(1..2)).await;
    let lines = ten.server.explain("").await;
    assert!(says(&lines, &format!("out {} dc1/rack1: down: connection refused", ten.all[0])), "{lines:?}");
    for Sample { question, set, .. } in load.stop().await {
        let full = &ten.sets()[question];
        assert!(set.is_subset(full), "{set:?}");
        assert!(
            full.iter()
                .filter(|node| !set.contains(node))
                .all(|node| ips(&["127.12.17.1", "127.12.17.10"]).contains(node))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_nodes_refusing_is_no_panic_and_they_leave() {
    let ten = Ten::start(18).await;
    let (load, explanations) = (ten.load(), Explanations::follow(ten.server.address, &Ten::NAMES));
    join_all(ten.all[..6].iter().map(|node| ten.cluster.stop(ip(node)))).await;
    ten.server.answers("", &ten.nodes(6..10)).await;
    explained(&ten.server, "dc1", "stale: ", true).await;
    ten.server.answers("dc1", &ten.nodes(0..6)).await;
    for node in &ten.all[..6] {
        ten.cluster.start_node(ip(node)).await.unwrap();
    }
    ten.server.answers("", &ten.nodes(0..10)).await;
    ten.server.answers("dc1.rack1", &ten.nodes(0..2)).await;
    assert!(explanations.stop().await.iter().all(|lines| !says(lines, "panic")), "nobody was silent");
    for Sample { question, set, .. } in load.stop().await {
        match question {
            3 | 4 => assert_eq!(set, ten.sets()[question], "dc2 has no part in it"),
            0 => assert!(set.is_superset(&ten.sets()[3]), "{set:?}"),
            // A rack whose nodes are gone falls back to what is left of its datacenter.
            _ => assert!(set.is_subset(&ten.sets()[1]), "{set:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_ends_for_a_node_that_the_cluster_no_longer_lists() {
    let ten = Ten::start(19).await;
    let load = ten.load();
    ten.silence(0..6).await;
    explained(&ten.server, "", "panic: ", true).await;
    // The cluster's failure detector drops the first two, then all six.
    let silent: Vec<IpAddr> = ten.all[..6].iter().map(|node| ip(node)).collect();
    ten.cluster.partition(&silent[..2], SeenByOthers::Unlisted).unwrap();
    ten.server.answers("", &ten.nodes(2..10)).await;
    ten.server.answers("dc1.rack1", &ten.nodes(2..6)).await;
    ten.cluster.partition(&silent, SeenByOthers::Unlisted).unwrap();
    ten.server.answers("", &ten.nodes(6..10)).await;
    explained(&ten.server, "", "panic: ", false).await;
    for Sample { question, set, .. } in load.stop().await {
        if question >= 3 {
            assert_eq!(set, ten.sets()[question], "dc2 has no part in it");
        }
    }
}

// ---- observers that err -------------------------------------------------------------------------------------------

/// Waits until a node was asked for its list this many times more.
async fn asked(cluster: &Cluster, node: IpAddr, times: u64) {
    let before = cluster.counters(node).localnodes;
    eventually(|| async { cluster.counters(node).localnodes }, |now| *now >= before + times).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_observer_that_errs_changes_no_answer() {
    let ten = Ten::start(20).await;
    let (load, explanations) = (ten.load(), Explanations::follow(ten.server.address, &Ten::NAMES));
    let (liar, stranger) = (ip(&ten.all[2]), ip("127.12.20.99"));
    let list = |reply| Fault::Reply(Endpoint::Localnodes, reply);
    let faults = [
        None,
        Some(Fault::OldVersion),
        Some(Fault::OddEntries),
        Some(Fault::Adds(stranger)),
        Some(Fault::Adds(ip(&ten.all[7]))),
        Some(Fault::Omits(ip(&ten.all[0]))),
        Some(list(BadReply::EmptyList)),
        Some(list(BadReply::Garbage)),
        Some(list(BadReply::Html)),
        Some(list(BadReply::Truncated)),
        Some(list(BadReply::Status(500))),
        Some(list(BadReply::Huge)),
    ];
    for fault in faults {
        match &fault {
            None => ten.cluster.partition(&[liar], SeenByOthers::Listed).unwrap(),
            Some(fault) => ten.cluster.inject(liar, fault.clone()).await.unwrap(),
        }
        // A visit is several requests, one that fails is a single one, and the next then comes a second later.
        let visits = if matches!(fault, Some(Fault::Reply(..))) { 1 } else { 12 };
        asked(&ten.cluster, liar, visits).await;
        ten.cluster.heal(liar).await.unwrap();
        asked(&ten.cluster, liar, 8).await;
    }
    let explanations = explanations.stop().await;
    // A stranger may be told of by half of a round's answers; it never answered a probe, and is never dealt.
    let foreign = |line: &&String| line.starts_with("out ") && !line.contains("127.12.20.99");
    let dropped: Vec<_> = explanations.iter().flatten().filter(foreign).collect();
    assert!(dropped.is_empty(), "{dropped:?}");
    assert_unchanged(&load.stop().await, &ten.sets());
}

// ---- flapping -----------------------------------------------------------------------------------------------------

/// Three nodes of one rack, and thresholds that leave a test much time to react to each probe.
async fn flapping(net: u8) -> (Cluster, TestServer, [String; 3]) {
    let all = [1, 2, 3].map(|last| format!("127.12.{net}.{last}"));
    let nodes: Vec<(&str, &str)> = all.iter().map(|node| ("dc1/rack1", node.as_str())).collect();
    let cluster = listed_for_ever(&nodes).await;
    let server = TestServer::over(&cluster, |zone| {
        brisk(zone);
        zone.health.interval = Duration::from_millis(400);
        (zone.health.rise, zone.health.fall) = (5, 4);
    })
    .await;
    server.answers("", &all.each_ref().map(String::as_str)).await;
    (cluster, server, all)
}

/// Lets a node's `/` fail and succeed in turn, changing after each probe, this many times.
async fn flap(cluster: &Cluster, node: IpAddr, times: usize) {
    for turn in 0..times {
        let probes = cluster.counters(node).health;
        eventually(|| async { cluster.counters(node).health }, |now| *now > probes).await;
        // A node heals after every other probe.
        if turn % 2 == 0 {
            cluster.heal(node).await.unwrap();
        } else {
            cluster.inject(node, Fault::Reply(Endpoint::Health, BadReply::Status(503))).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_fails_every_other_probe_neither_leaves_nor_returns() {
    let (cluster, server, all) = flapping(21).await;
    let texts = all.each_ref().map(String::as_str);
    let node = ip(&all[2]);
    let load_while_up = load(&server, &[""], 100);
    flap(&cluster, node, 10).await;
    cluster.heal(node).await.unwrap();
    assert_unchanged(&load_while_up.stop().await, &[ips(&texts)]);

    cluster.inject(node, Fault::Reply(Endpoint::Health, BadReply::Status(503))).await.unwrap();
    server.answers("", &texts[..2]).await;
    let load_while_down = load(&server, &[""], 100);
    flap(&cluster, node, 10).await;
    assert_unchanged(&load_while_down.stop().await, &[ips(&texts[..2])]);
    cluster.heal(node).await.unwrap();
    server.answers("", &texts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_flaps_fast_comes_and_goes_no_faster_than_its_thresholds() {
    let nodes = [("dc1/rack1", "127.12.22.1"), ("dc1/rack1", "127.12.22.2"), ("dc1/rack1", "127.12.22.3")];
    let cluster = listed_for_ever(&nodes).await;
    let interval = Duration::from_millis(200);
    let server = TestServer::over(&cluster, |zone| {
        brisk(zone);
        zone.health.interval = interval;
    })
    .await;
    server.answers("", &["127.12.22.1", "127.12.22.2", "127.12.22.3"]).await;
    let (node, start) = (ip("127.12.22.3"), Instant::now());
    let load = load(&server, &[""], 500);
    while start.elapsed() < Duration::from_secs(6) {
        cluster.stop(node).await.unwrap();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..300))).await;
        cluster.start_node(node).await.unwrap();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..300))).await;
    }
    let took = start.elapsed();
    let samples = load.stop().await;
    let mut changes = 0;
    for pair in samples.windows(2) {
        changes += u32::from(pair[0].set != pair[1].set);
        assert!(pair[1].set.is_superset(&ips(&["127.12.22.1", "127.12.22.2"])), "{:?}", pair[1].set);
    }
    // Each change needs two equal results since the last one: a regular probe (0.9 intervals at least) and a second
    // one half an interval later.
    let most = took.as_secs_f64() / (interval.as_secs_f64() * 1.4) + 1.0;
    println!("{changes} changes in {took:?}, at most {most:.0}");
    assert!(f64::from(changes) <= most, "{changes} changes in {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_the_list_and_returns_keeps_its_history() {
    let nodes = [("dc1/rack1", "127.12.23.1"), ("dc1/rack1", "127.12.23.2"), ("dc1/rack1", "127.12.23.3")];
    let cluster = listed_for_ever(&nodes).await;
    let server = TestServer::over(&cluster, brisk).await;
    let node = ip("127.12.23.3");
    server.answers("", &["127.12.23.1", "127.12.23.2", "127.12.23.3"]).await;
    cluster.stop(node).await.unwrap();
    explained(&server, "", "out 127.12.23.3 dc1/rack1: down: connection refused", true).await;
    cluster.stop_gracefully(node).await.unwrap();
    explained(&server, "", "127.12.23.3", false).await;
    // Listed again, and still not serving: a node that served once is down, not new.
    cluster.list_without_serving(node).await.unwrap();
    explained(&server, "", "out 127.12.23.3 dc1/rack1: down: connection refused", true).await;
    cluster.start_node(node).await.unwrap();
    server.answers("", &["127.12.23.1", "127.12.23.2", "127.12.23.3"]).await;
}
