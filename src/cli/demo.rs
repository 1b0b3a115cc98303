//! `alternator-dns demo`: the embedded default. A simulated cluster, served.

use std::{collections::BTreeSet, net::IpAddr, net::SocketAddr, time::Duration};

use super::{DemoArgs, FAILED, StopSignals, run_async};
use crate::{
    app::{self, App, StartError},
    config::{Config, Seed, ServerConfig, ZoneConfig},
    sim::{Cluster, ClusterSpec, NodeSpec},
    telemetry,
};

/// The zone of the demo.
const ZONE: &str = "alternator.local.";

/// Where the demo answers, unless somebody else does.
const PORT: u16 = 5300;

/// Further ports tried when the first is taken.
const OTHER_PORTS: u16 = 100;

/// The Alternator port of the simulated nodes where it is free: the one of ScyllaDB's documentation.
const NODE_PORT: u16 = 8000;

/// Time between two strokes of chaos: longer than it takes to notice one, shorter than patience.
const CHAOS_EVERY: Duration = Duration::from_secs(4);

/// Nodes chaos keeps stopped at most.
const CHAOS_STOPS: usize = 4;

pub(super) fn run(args: &DemoArgs) -> u8 {
    telemetry::start(Some("warn"));
    run_async(|signals| demo(args.chaos, signals))
}

async fn demo(chaos: bool, mut signals: StopSignals) -> u8 {
    let spec = Cluster::demo_spec(ClusterSpec::has_ipv6());
    let nodes = spec.nodes.clone();
    // Another program on port 8000 is no reason to show nothing.
    let cluster = match Cluster::start(spec.clone().port(NODE_PORT)).await {
        Ok(cluster) => Ok(cluster),
        Err(_) => Cluster::start(spec.port(0)).await,
    };
    let cluster = match cluster {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("alternator-dns: cannot start the simulated cluster: {error}");
            return FAILED;
        }
    };
    let mut app = match start(&nodes, cluster.port()).await {
        Ok(app) => app,
        Err(error) => {
            eprintln!("alternator-dns: {error}");
            return FAILED;
        }
    };
    // The demo has no configuration that could be loaded again.
    drop(app.take_requests());
    print!("{}", introduction(&nodes, cluster.port(), app.addresses().first().copied()));
    let code = tokio::select! {
        () = signals.received() => 0,
        ended = app.ended() => {
            tracing::error!("{ended}");
            FAILED
        }
        () = wreak(&cluster, &nodes, chaos) => 0,
    };
    app.stop().await;
    code
}

/// Serves the demo's zone on the first free port.
async fn start(nodes: &[NodeSpec], node_port: u16) -> Result<App, StartError> {
    let mut port = PORT;
    loop {
        match app::start(&config(nodes, node_port, port)).await {
            Err(StartError::Bind(error)) if error.is_in_use() && port < PORT + OTHER_PORTS => port += 1,
            result => {
                if port != PORT && result.is_ok() {
                    println!("Port {PORT} is taken by another program; using {port}.\n");
                }
                return result;
            }
        }
    }
}

fn config(nodes: &[NodeSpec], node_port: u16, port: u16) -> Config {
    let mut zone = ZoneConfig::new(hickory_proto::rr::Name::from_ascii(ZONE).unwrap_or_default());
    // One seed is enough: the datacenters are named, and everything else is learnt.
    zone.cluster.seeds = nodes.first().map(|node| Seed::Address(node.address)).into_iter().collect();
    zone.cluster.port = node_port;
    for node in nodes {
        let racks = zone.cluster.datacenters.entry(node.datacenter.as_str().into()).or_default();
        if !racks.iter().any(|rack| **rack == *node.rack) {
            racks.push(node.rack.as_str().into());
        }
    }
    let listen = vec![SocketAddr::from(([127, 0, 0, 1], port))];
    Config { server: ServerConfig { listen, ..ServerConfig::default() }, zones: vec![zone] }
}

fn introduction(nodes: &[NodeSpec], node_port: u16, address: Option<SocketAddr>) -> String {
    let dns_port = address.map_or(PORT, |address| address.port());
    let mut text = format!("A simulated Alternator cluster, nodes on port {node_port}:\n\n");
    let mut places: Vec<(&str, &str)> = Vec::new();
    for node in nodes {
        let place = (node.datacenter.as_str(), node.rack.as_str());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    for (dc, rack) in places {
        let here: Vec<String> = nodes
            .iter()
            .filter(|node| node.datacenter == dc && node.rack == rack)
            .map(|node| node.address.to_string())
            .collect();
        text.push_str(&format!("  {dc:<5} {rack:<7} {}\n", here.join("  ")));
    }
    let zone = ZONE.trim_end_matches('.');
    text.push_str(&format!("\nAnswered as {zone} on 127.0.0.1:{dns_port}. Try, in another terminal:\n\n"));
    for (question, comment) in [
        (zone.to_owned(), "live nodes of the whole cluster"),
        (format!("dc1.{zone}"), "of one datacenter"),
        (format!("dc1.rack1.{zone}"), "of one rack, or of its datacenter when the rack is down"),
        (format!("TXT _explain.dc1.rack1.{zone}"), "why"),
    ] {
        text.push_str(&format!("  dig +short -p {dns_port} @127.0.0.1 {question:<39} # {comment}\n"));
    }
    text.push_str(
        "\nAn answer holds eight addresses, led by another one each time; asked from 127.0.1.x, the nodes' own subnet,\n\
         it holds one. Ctrl-C ends the demo; `demo --chaos` stops and restarts nodes meanwhile.\n",
    );
    text
}

/// Stops and restarts random nodes, and tells; without chaos, waits forever.
async fn wreak(cluster: &Cluster, nodes: &[NodeSpec], chaos: bool) {
    if !chaos {
        return std::future::pending().await;
    }
    println!("\nChaos: a node stops or returns every {} seconds.\n", CHAOS_EVERY.as_secs());
    let mut stopped: BTreeSet<IpAddr> = BTreeSet::new();
    loop {
        tokio::time::sleep(CHAOS_EVERY).await;
        let return_one = stopped.len() >= CHAOS_STOPS || (!stopped.is_empty() && fastrand::bool());
        let choice: Vec<&NodeSpec> =
            nodes.iter().filter(|node| stopped.contains(&node.address) == return_one).collect();
        let Some(node) = fastrand::choice(choice) else { continue };
        let (verb, result) = if return_one {
            stopped.remove(&node.address);
            ("returned", cluster.start_node(node.address).await)
        } else {
            stopped.insert(node.address);
            ("stopped ", cluster.stop(node.address).await)
        };
        match result {
            Ok(()) => {
                let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
                println!("{time}  {verb}  {}/{}  {}", node.datacenter, node.rack, node.address);
            }
            Err(error) => eprintln!("alternator-dns: {}: {error}", node.address),
        }
    }
}
