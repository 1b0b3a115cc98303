//! What a change of the cluster costs: deciding, compiling, and the Table around it.
//!
//! ```text
//! cargo bench --bench compile              # times, for 6 to 10,000 nodes
//! cargo bench --bench compile -- memory    # memory of a compiled zone, and of 10,000 swaps
//! ```
//!
//! Clusters have 3 datacenters of 10 racks each, or 1 datacenter of 3 racks where there are fewer than 30 nodes. All
//! of it runs on one thread; `memory` adds one that reads.

#![expect(clippy::unwrap_used, reason = "what fails here ends the measurement")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime},
};

use alternator_dns::{
    config::{Answers, Seed, ZoneConfig},
    model::{ClusterView, Failure, Health, Member, Node, NodeHealth, NodeState, Scope, Source, Topology},
    table::{CompiledZone, Table, ZonePlan, ZoneSource, compile_zone, wire_name},
    zone::file::StaticZone,
};
use arc_swap::ArcSwap;
use divan::{Bencher, black_box};
use hickory_proto::rr::Name;

const NODES: [u32; 4] = [6, 100, 1000, 10_000];

/// Compiles and swaps of the memory run.
const SWAPS: u32 = 10_000;

fn main() {
    if std::env::args().any(|argument| argument == "memory") {
        memory();
        swaps();
    } else {
        divan::main();
    }
}

/// A zone and the cluster behind it.
struct Cluster {
    source: Arc<ZoneSource>,
    view: ClusterView,
}

impl Cluster {
    fn new(nodes: u32, families: u32, answers: Answers) -> Self {
        let mut config = ZoneConfig::new(Name::from_ascii("alternator.example.com.").unwrap());
        config.cluster.seeds = vec![Seed::Address([10, 0, 0, 1].into())];
        config.answers = answers;
        let (datacenters, racks) = if nodes < 30 { (1, 3) } else { (3, 10) };
        let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
        let mut health = Health::default();
        for index in 0..nodes {
            let (dc, rack) = (index % datacenters, index / datacenters % racks);
            let (dc, rack): (Arc<str>, Arc<str>) = (format!("dc{dc}").into(), format!("rack{rack}").into());
            topology.seen.insert(Scope::Datacenter(dc.clone()));
            topology.seen.insert(Scope::Rack(dc.clone(), rack.clone()));
            for address in [
                IpAddr::V4(Ipv4Addr::from(0x0A00_0001 + index)),
                IpAddr::V6(Ipv6Addr::from((0xFD00 << 112) + u128::from(index) + 1)),
            ]
            .into_iter()
            .take(families as usize)
            {
                let node = Node { address, datacenter: Some(dc.clone()), rack: Some(rack.clone()) };
                topology.members.insert(address, Member::new(node));
                health.nodes.insert(address, NodeHealth { state: NodeState::Up, ..NodeHealth::default() });
            }
        }
        let listen = vec!["192.0.2.53:53".parse().unwrap()];
        let source = Arc::new(ZoneSource {
            config,
            statics: StaticZone::default(),
            listen,
            demand: Arc::default(),
            meter: Arc::default(),
        });
        Cluster {
            source,
            view: ClusterView { topology: Arc::new(topology), health: Arc::new(health), ..ClusterView::default() },
        }
    }

    /// The cluster with one node down.
    fn without(&self, index: u32) -> ClusterView {
        let mut view = self.view.clone();
        let address = IpAddr::V4(Ipv4Addr::from(0x0A00_0001 + index));
        let down = NodeHealth { state: NodeState::Down, failure: Some(Failure::Refused), ..NodeHealth::default() };
        Arc::make_mut(&mut view.health).nodes.insert(address, down);
        view
    }

    fn compiled(&self) -> CompiledZone {
        compile_zone(self.source.clone(), ZonePlan::new(&self.source, &self.view), 1, None, 1)
    }

    /// The cluster some seconds after nodes joined: the first of every so many.
    fn joined(&self, one_in: u32, seconds: u64) -> ClusterView {
        let mut view = self.view.clone();
        view.now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let joined = view.now - Duration::from_secs(seconds);
        for (index, health) in Arc::make_mut(&mut view.health).nodes.values_mut().enumerate() {
            let is_new = (index as u32).is_multiple_of(one_in);
            health.since = Some(if is_new { joined } else { SystemTime::UNIX_EPOCH });
        }
        view
    }

    /// The cluster with one node up whose latest probe failed.
    fn with_one_failing(&self) -> ClusterView {
        let mut view = self.view.clone();
        let health = Arc::make_mut(&mut view.health).nodes.values_mut().next().unwrap();
        health.failure = Some(Failure::TimedOut);
        view
    }

    /// What a change costs the controller.
    fn change(&self, view: &ClusterView, previous: &CompiledZone, epoch: u32) -> CompiledZone {
        let plan = ZonePlan::after(Some(&*previous.plan), &self.source, view);
        assert!(*previous.plan != plan);
        compile_zone(self.source.clone(), plan, epoch, Some(previous), u64::from(epoch))
    }
}

#[divan::bench(args = NODES)]
fn plan_anew(bencher: Bencher<'_, '_>, nodes: u32) {
    let cluster = Cluster::new(nodes, 1, Answers::Auto);
    bencher.bench_local(|| ZonePlan::new(&cluster.source, black_box(&cluster.view)));
}

#[divan::bench(args = NODES)]
fn compile_anew(bencher: Bencher<'_, '_>, nodes: u32) {
    let cluster = Cluster::new(nodes, 1, Answers::Auto);
    bencher.bench_local(|| Table::new([Arc::new(cluster.compiled())]));
}

#[divan::bench]
fn compile_anew_1000_of_both_families(bencher: Bencher<'_, '_>) {
    let cluster = Cluster::new(1000, 2, Answers::Auto);
    bencher.bench_local(|| Table::new([Arc::new(cluster.compiled())]));
}

#[divan::bench(args = NODES)]
fn one_node_down(bencher: Bencher<'_, '_>, nodes: u32) {
    let cluster = Cluster::new(nodes, 1, Answers::Auto);
    let (before, view) = (cluster.compiled(), cluster.without(nodes / 2));
    bencher.bench_local(|| Table::new([Arc::new(cluster.change(black_box(&view), &before, 2))]));
}

/// A step of slow start, of one node, or of every third.
#[divan::bench(args = NODES)]
fn one_node_ramps(bencher: Bencher<'_, '_>, nodes: u32) {
    ramping(bencher, nodes, nodes);
}

#[divan::bench(args = NODES)]
fn every_third_node_ramps(bencher: Bencher<'_, '_>, nodes: u32) {
    ramping(bencher, nodes, 3);
}

fn ramping(bencher: Bencher<'_, '_>, nodes: u32, one_in: u32) {
    let cluster = Cluster::new(nodes, 1, Answers::Auto);
    let before = ZonePlan::new(&cluster.source, &cluster.joined(one_in, 1));
    let before = compile_zone(cluster.source.clone(), before, 1, None, 1);
    let view = cluster.joined(one_in, 11);
    bencher.bench_local(|| Table::new([Arc::new(cluster.change(black_box(&view), &before, 2))]));
}

/// One failed probe: TTLs fall.
#[divan::bench(args = NODES)]
fn one_probe_fails(bencher: Bencher<'_, '_>, nodes: u32) {
    let cluster = Cluster::new(nodes, 1, Answers::Auto);
    let (before, view) = (cluster.compiled(), cluster.with_one_failing());
    bencher.bench_local(|| Table::new([Arc::new(cluster.change(black_box(&view), &before, 2))]));
}

#[divan::bench]
fn one_node_down_1000_of_both_families(bencher: Bencher<'_, '_>) {
    let cluster = Cluster::new(1000, 2, Answers::Auto);
    let (before, view) = (cluster.compiled(), cluster.without(500));
    bencher.bench_local(|| Table::new([Arc::new(cluster.change(black_box(&view), &before, 2))]));
}

#[divan::bench(args = NODES)]
fn table_around_a_zone(bencher: Bencher<'_, '_>, nodes: u32) {
    let zone = Arc::new(Cluster::new(nodes, 1, Answers::Auto).compiled());
    bencher.bench_local(|| Table::new([black_box(&zone).clone()]));
}

/// What the prober pays for each publication, at most a hundred times a second: a copy of what it knows of all nodes.
#[divan::bench(args = NODES)]
fn health_copied(bencher: Bencher<'_, '_>, nodes: u32) {
    let cluster = Cluster::new(nodes, 1, Answers::Auto);
    bencher.bench_local(|| Health::clone(black_box(&cluster.view.health)));
}

/// Resident memory of this process, KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

/// Prints what a compiled zone takes, one process for each so that nothing is there to be used again.
fn memory() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "memory").skip(1);
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u32>().ok());
    if let (Some(nodes), Some(count)) = (number(arguments.next()), number(arguments.next())) {
        let answers = match (u16::try_from(count), NonZeroU16::new(count as u16)) {
            (Ok(_), Some(count)) => Answers::Count(count),
            (Ok(_), None) => Answers::All,
            _ => Answers::Auto,
        };
        let cluster = Cluster::new(nodes, 1, answers);
        let before = resident();
        let zone = Arc::new(cluster.compiled());
        let (decks, table) = (zone.octets() >> 10, Table::new([zone]));
        let taken = resident() - before;
        println!(
            "{nodes:6} {:>8} {taken:10} {decks:10} {:10}",
            format!("{answers:?}"),
            taken * 1024 / u64::from(nodes)
        );
        drop(black_box(table));
        std::process::exit(0);
    }
    println!(" nodes  answers        KiB  in decks     B/node");
    for answers in [1 << 16, 8, 0u32] {
        for nodes in NODES {
            let own = std::env::current_exe().unwrap();
            let again = ["memory".to_owned(), nodes.to_string(), answers.to_string()];
            assert!(std::process::Command::new(own).args(again).status().unwrap().success());
        }
    }
}

/// Compiles and swaps a zone that changes all the time, while somebody reads.
fn swaps() {
    for nodes in [100, 1000] {
        let cluster = Cluster::new(nodes, 1, Answers::Auto);
        let mut zone = Arc::new(cluster.compiled());
        let table = ArcSwap::from_pointee(Table::new([zone.clone()]));
        let done = AtomicBool::new(false);
        let apex = wire_name(&cluster.source.config.apex);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    black_box(table.load().find(&apex));
                    thread::yield_now();
                }
            });
            for swap in 0..SWAPS {
                let view = cluster.without(swap * 7 % nodes);
                zone = Arc::new(cluster.change(&view, &zone, swap + 2));
                drop(table.swap(Arc::new(Table::new([zone.clone()]))));
                if swap == 100 || swap + 1 == SWAPS {
                    println!("{nodes} nodes, after {:5} swaps: {} KiB resident", swap + 1, resident());
                }
            }
            done.store(true, Relaxed);
        });
    }
}
