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
//! | `counters` | `ADDRESS DC/RACK api=N health=N localnodes=N accepted=N` for each node, then `ok` |

use std::{
    io::{self, BufRead, Write},
    net::IpAddr,
    process::ExitCode,
};

use alternator_dns::sim::{Cluster, ClusterSpec, Fault, NodeSpec};
use clap::Parser;
use tokio::sync::mpsc;

/// Commands that may wait; their writer then waits, too.
const QUEUE: usize = 16;

/// A simulated Alternator cluster, switched by commands on standard input.
#[derive(Debug, Parser)]
struct Args {
    /// Port of every node; 0 picks a free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
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
    match run(ClusterSpec::new(args.nodes).port(args.port)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulated_cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(spec: ClusterSpec) -> io::Result<()> {
    let cluster = Cluster::start(spec).await?;
    let (send, mut commands) = mpsc::channel(QUEUE);
    // Standard input cannot be waited for without a thread. It ends with the process.
    std::thread::spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        lines.map(|line| send.blocking_send(line)).take_while(Result::is_ok).for_each(drop);
    });
    say(&format!("ready {}", cluster.port()))?;
    while let Some(line) = commands.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        match obey(&cluster, &words).await {
            Ok(text) => say(&format!("{text}ok"))?,
            Err(error) => say(&format!("error: {line}: {error}"))?,
        }
    }
    Ok(())
}

async fn obey(cluster: &Cluster, words: &[&str]) -> io::Result<String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(io::Error::other);
    match words {
        ["stop", node] => cluster.stop(address(node)?).await?,
        ["silent", node] => cluster.inject(address(node)?, Fault::Silent).await?,
        ["start", node] => {
            let node = address(node)?;
            cluster.heal(node).await?;
            cluster.start_node(node).await?;
        }
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

/// One answer, at once: standard output may be a file.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
