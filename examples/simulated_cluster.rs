//! A simulated Alternator cluster at addresses of one's own choice, for end-to-end tests with real clients.
//!
//! ```text
//! simulated_cluster --port 8000 dc1/rack1=10.99.1.1 dc1/rack2=10.99.1.2 dc2/rack1=fd00::1
//! ```
//!
//! Every address must be one of this machine's (of this network namespace's). Prints `ready PORT`, then obeys the
//! lines of its standard input, each answered by `ok` or `error: ...`, and ends when its input ends:
//!
//! | command | what happens |
//! |---|---|
//! | `stop ADDRESS` | the node crashes: its port refuses, and it stays listed until the others notice (20 s) |
//! | `silent ADDRESS` | as if the network dropped the node's packets |
//! | `start ADDRESS` | a stopped node starts, a silent one answers again |
//! | `flap N` | so many changes a second from now on: nodes crash, stop in good order, leave, and come back |
//! | `calm` | the changes end, all nodes come back; tells `changes=N`, then `ok` |
//! | `counters` | `ADDRESS DC/RACK api=N health=N localnodes=N accepted=N` for each node, then `ok` |

use std::{
    io::{self, BufRead, Write},
    net::IpAddr,
    process::ExitCode,
    time::Duration,
};

use alternator_dns::sim::{Cluster, ClusterSpec, Fault, NodeSpec};
use clap::Parser;
use tokio::{sync::mpsc, time};

/// Commands that may wait; their writer then waits, too.
const QUEUE: usize = 16;

/// Most changes a second; a change closes or opens a port, which takes well below a millisecond.
const MOST_CHANGES: u32 = 1000;

/// While nodes flap, at most one of so many is away, so that every rack of a large cluster keeps most of its nodes.
const AWAY_SHARE: usize = 20;

/// A simulated Alternator cluster, switched by commands on standard input.
#[derive(Debug, Parser)]
struct Args {
    /// Port of every node; 0 picks a free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Seed of the order of lists and of what flaps; two runs with one seed change the same nodes in the same order
    #[arg(long)]
    seed: Option<u64>,
    /// The nodes, as DC/RACK=ADDRESS
    #[arg(required = true, value_name = "DC/RACK=ADDRESS", value_parser = node)]
    nodes: Vec<NodeSpec>,
}

fn node(text: &str) -> Result<NodeSpec, String> {
    let (place, address) = text.split_once('=').ok_or("no \"=\"")?;
    let (dc, rack) = place.split_once('/').ok_or("no \"/\" between datacenter and rack")?;
    let address: IpAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok(NodeSpec::new(address, dc, rack))
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut spec = ClusterSpec::new(args.nodes).port(args.port);
    spec.seed = args.seed.unwrap_or(spec.seed);
    match run(spec).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulated_cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(spec: ClusterSpec) -> io::Result<()> {
    let mut flapping = Flapping::new(&spec);
    let cluster = Cluster::start(spec).await?;
    let (send, mut commands) = mpsc::channel(QUEUE);
    // Standard input cannot be waited for without a thread. It ends with the process.
    std::thread::spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        lines.map(|line| send.blocking_send(line)).take_while(Result::is_ok).for_each(drop);
    });
    say(&format!("ready {}", cluster.port()))?;
    loop {
        let line = tokio::select! {
            line = commands.recv() => line,
            () = flapping.due() => {
                flapping.change(&cluster).await?;
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        let words: Vec<&str> = line.split_whitespace().collect();
        match obey(&cluster, &mut flapping, &words).await {
            Ok(text) => say(&format!("{text}ok"))?,
            Err(error) => say(&format!("error: {line}: {error}"))?,
        }
    }
}

async fn obey(cluster: &Cluster, flapping: &mut Flapping, words: &[&str]) -> io::Result<String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(io::Error::other);
    match words {
        ["stop", node] => cluster.stop(address(node)?).await?,
        ["silent", node] => cluster.inject(address(node)?, Fault::Silent).await?,
        ["start", node] => {
            let node = address(node)?;
            cluster.heal(node).await?;
            cluster.start_node(node).await?;
        }
        ["flap", rate] => flapping.begin(rate.parse().map_err(io::Error::other)?)?,
        ["calm"] => return flapping.end(cluster).await,
        ["counters"] => return Ok(cluster.nodes().iter().map(|node| told(cluster, node)).collect()),
        _ => return Err(io::Error::other("no such command")),
    }
    Ok(String::new())
}

fn told(cluster: &Cluster, node: &NodeSpec) -> String {
    let counted = cluster.counters(node.address);
    format!(
        "{} {}/{} api={} health={} localnodes={} accepted={}\n",
        node.address, node.datacenter, node.rack, counted.api, counted.health, counted.localnodes, counted.accepted
    )
}

/// Nodes that go and come back at a steady rate.
struct Flapping {
    dice: fastrand::Rng,
    present: Vec<NodeSpec>,
    away: Vec<(NodeSpec, Away)>,
    most_away: usize,
    /// While it goes on.
    ticks: Option<time::Interval>,
    changes: u64,
}

/// How a node went, and so how it comes back.
enum Away {
    /// Its port refuses; the others may still list it.
    Stopped,
    /// It is no member any more.
    Left,
}

impl Flapping {
    fn new(spec: &ClusterSpec) -> Self {
        Flapping {
            dice: fastrand::Rng::with_seed(spec.seed),
            present: spec.nodes.clone(),
            away: Vec::new(),
            most_away: (spec.nodes.len() / AWAY_SHARE).max(1),
            ticks: None,
            changes: 0,
        }
    }

    fn begin(&mut self, per_second: u32) -> io::Result<()> {
        if !(1..=MOST_CHANGES).contains(&per_second) {
            return Err(io::Error::other(format!("not 1 to {MOST_CHANGES} changes a second")));
        }
        self.ticks = Some(time::interval(Duration::from_secs(1) / per_second));
        Ok(())
    }

    /// Waits for the next change; for ever while there is none.
    async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }

    /// One node goes, or one comes back.
    async fn change(&mut self, cluster: &Cluster) -> io::Result<()> {
        self.changes += 1;
        let none_to_go = self.present.is_empty() || self.away.len() >= self.most_away;
        if none_to_go || (!self.away.is_empty() && self.dice.bool()) {
            let at = self.dice.usize(..self.away.len());
            return self.bring_back(at, cluster).await;
        }
        let node = self.present.swap_remove(self.dice.usize(..self.present.len()));
        let away = match self.dice.u8(..3) {
            0 => cluster.stop(node.address).await.map(|()| Away::Stopped),
            1 => cluster.stop_gracefully(node.address).await.map(|()| Away::Stopped),
            _ => cluster.remove_node(node.address).await.map(|()| Away::Left),
        };
        self.away.push((node, away?));
        Ok(())
    }

    async fn bring_back(&mut self, at: usize, cluster: &Cluster) -> io::Result<()> {
        let (node, away) = self.away.swap_remove(at);
        match away {
            Away::Stopped => cluster.start_node(node.address).await?,
            Away::Left => cluster.add_node(&node).await?,
        }
        self.present.push(node);
        Ok(())
    }

    async fn end(&mut self, cluster: &Cluster) -> io::Result<String> {
        self.ticks = None;
        while !self.away.is_empty() {
            self.bring_back(0, cluster).await?;
        }
        Ok(format!("changes={}\n", self.changes))
    }
}

/// One answer, at once: standard output may be a file.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
