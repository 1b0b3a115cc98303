//! `alternator-dns demo`: the embedded default. A simulated cluster, served, with its status page.

mod nodes;
mod traffic;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use self::nodes::DemoNodes;
use super::{DemoArgs, FAILED, StopSignals, run_async};
use crate::{
    admin::{Hands, NodeSwitch},
    app::{self, App, Beginning, StartError},
    config::{AdminConfig, Config, Seed, ServerConfig, ZoneConfig},
    sim::{Cluster, ClusterSpec, NodeSpec},
    telemetry,
};

/// The zone of the demo.
const ZONE: &str = "alternator.local.";

/// Where the demo answers, unless somebody else does.
const PORT: u16 = 5300;

/// Where its status page is, unless somebody else is there.
const PAGE_PORT: u16 = 8053;

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
    let cluster = Arc::new(DemoNodes::new(cluster));
    let mut app = match start(&nodes, &cluster).await {
        Ok(app) => app,
        Err(error) => {
            eprintln!("alternator-dns: {error}");
            return FAILED;
        }
    };
    // The demo has no configuration that could be loaded again.
    drop(app.take_requests());
    let dns = app.addresses().first().copied().unwrap_or_else(|| (Ipv4Addr::LOCALHOST, PORT).into());
    print!("{}", introduction(&nodes, cluster.port(), dns.port(), app.admin().first().copied()));
    let code = tokio::select! {
        () = signals.received() => 0,
        ended = app.ended() => {
            tracing::error!("{ended}");
            FAILED
        }
        () = wreak(&cluster, chaos) => 0,
        () = traffic::ask(dns, ZONE, &nodes, cluster.wanted()) => 0,
    };
    app.stop().await;
    code
}

/// Serves the demo's zone and its status page, each on the first free port.
async fn start(nodes: &[NodeSpec], cluster: &Arc<DemoNodes>) -> Result<App, StartError> {
    let (mut port, mut page_port) = (PORT, PAGE_PORT);
    loop {
        let hands = Hands { demo: Some(cluster.clone()), ..Hands::default() };
        let config = config(nodes, cluster.port(), port, page_port);
        match app::start_with(&config, Beginning::default(), hands).await {
            Err(StartError::Bind(error)) if error.is_in_use() && port < PORT + OTHER_PORTS => port += 1,
            Err(StartError::Admin(error)) if error.is_in_use() && page_port < PAGE_PORT + OTHER_PORTS => page_port += 1,
            result => {
                if port != PORT && result.is_ok() {
                    println!("Port {PORT} is taken by another program; using {port}.\n");
                }
                return result;
            }
        }
    }
}

fn config(nodes: &[NodeSpec], node_port: u16, port: u16, page_port: u16) -> Config {
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
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let page = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, page_port))];
    // Taken, the port is not waited for: there are others.
    let admin = AdminConfig { listen: page, is_default: false, token_file: None };
    Config { server: ServerConfig { listen, admin, ..ServerConfig::default() }, zones: vec![zone] }
}

fn introduction(nodes: &[NodeSpec], node_port: u16, dns_port: u16, page: Option<SocketAddr>) -> String {
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
    if let Some(page) = page {
        text.push_str(&format!("\nThe status page, with buttons that stop and start these nodes: http://{page}\n"));
    }
    text.push_str(
        "\nAn answer holds eight addresses, led by another one each time; asked from 127.0.1.x, the nodes' own subnet,\n\
         it holds one. Ctrl-C ends the demo; `demo --chaos` stops and restarts nodes meanwhile.\n",
    );
    text
}

/// Stops and restarts random nodes, and tells; without chaos, waits forever.
async fn wreak(cluster: &DemoNodes, chaos: bool) {
    if !chaos {
        return std::future::pending().await;
    }
    println!("\nChaos: a node stops or returns every {} seconds.\n", CHAOS_EVERY.as_secs());
    loop {
        tokio::time::sleep(CHAOS_EVERY).await;
        let stopped = cluster.that_run(false);
        let return_one = stopped.len() >= CHAOS_STOPS || (!stopped.is_empty() && fastrand::bool());
        let choice = if return_one { stopped } else { cluster.that_run(true) };
        let Some(node) = fastrand::choice(choice) else { continue };
        let verb = if return_one { "returned" } else { "stopped " };
        match cluster.switch(node.address, return_one).await {
            Ok(()) => {
                let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
                println!("{time}  {verb}  {}/{}  {}", node.datacenter, node.rack, node.address);
            }
            Err(error) => eprintln!("alternator-dns: {error}"),
        }
    }
}
