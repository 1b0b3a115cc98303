//! A server in this process, over a simulated cluster.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alternator_dns::{
    app::{self, App},
    config::{AdminConfig, Answers, Config, DiscoveryMode, Seed, ServerConfig, ZoneConfig},
    model::{Health, Member, Node, Topology},
    server::Outcome,
    sim::{Cluster, ClusterSpec, NodeSpec},
    state,
};
use hickory_proto::rr::{Name, RecordType};

use super::{Dig, PATIENCE, Reply, eventually};

/// The zone of every test that needs only one.
pub const ZONE: &str = "alternator.local";

/// A port of this address that is free for TCP and UDP, and is not one of those that the kernel gives to clients: of
/// these, a machine on which many tests run may have none left for a minute.
pub fn free_port(address: IpAddr) -> u16 {
    let is_free = |port: &u16| {
        std::net::TcpListener::bind((address, *port)).is_ok() && std::net::UdpSocket::bind((address, *port)).is_ok()
    };
    let is_new = |port: &u16| GIVEN.lock().unwrap().insert(*port);
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_768)).take(100);
    ports.find(|port| is_free(port) && is_new(port)).expect("a free port")
}

/// Ports given away. Some time passes until one is used, and other tests run meanwhile.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A server at work. `alternator.local` unless the configuration says otherwise; ends when dropped.
pub struct TestServer {
    pub app: App,
    pub address: SocketAddr,
}

/// A cluster of nodes written as `"dc1/rack1 127.0.9.1"`; a crash is noticed by the other nodes after half a second.
pub async fn cluster(nodes: &[&str]) -> Cluster {
    let node = |text: &&str| {
        let (place, address) = text.rsplit_once(' ').unwrap();
        let (dc, rack) = place.split_once('/').unwrap();
        NodeSpec::new(address.parse::<IpAddr>().unwrap(), dc, rack)
    };
    let spec = ClusterSpec::new(nodes.iter().map(node).collect()).failure_detector(Some(Duration::from_millis(500)));
    Cluster::start(spec).await.unwrap()
}

/// Short intervals, for tests that are about states and not about times; every node has its full share at once.
pub fn fast(zone: &mut ZoneConfig) {
    zone.health.interval = Duration::from_millis(100);
    zone.health.timeout = Duration::from_millis(80);
    zone.health.slow_start = Duration::ZERO;
    zone.cluster.active_interval = Duration::from_millis(100);
    zone.cluster.idle_interval = Duration::from_millis(100);
}

/// Patience, for tests of answers that must not change under way: no probe times out because the machine is busy.
pub fn steady(zone: &mut ZoneConfig) {
    zone.health.timeout = Duration::from_secs(5);
}

/// Texts as a set, to be compared with answers.
pub fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// An address of a node.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether these nodes were asked for their lists this many times more from now on.
pub fn asked<'c>(cluster: &'c Cluster, nodes: &[&str], times: u64) -> impl Fn() -> bool + use<'c> {
    let count = |node| cluster.counters(node).localnodes;
    let goals: Vec<(IpAddr, u64)> = nodes.iter().map(|node| (ip(node), count(ip(node)) + times)).collect();
    move || goals.iter().all(|&(node, goal)| cluster.counters(node).localnodes >= goal)
}

/// A zone that remembers these nodes of `dc1/rack1` from an earlier run, and whose only seed refuses: as large a cluster
/// as a test wants, at no cost. `dir` is the configuration's `state_dir`.
pub fn remembering(apex: &str, dir: &Path, nodes: impl IntoIterator<Item = IpAddr>) -> ZoneConfig {
    let mut zone = ZoneConfig::new(Name::from_ascii(format!("{apex}.")).unwrap());
    // Port 1 of a loopback address that no test uses.
    zone.cluster.seeds = vec![Seed::Address([127, 13, 0, 254].into())];
    zone.cluster.port = 1;
    zone.cluster.datacenters.insert("dc1".into(), vec!["rack1".into()]);
    zone.answers = Answers::All;
    let member = |address| {
        let node = Node { address, datacenter: Some(Arc::from("dc1")), rack: Some(Arc::from("rack1")) };
        (address, Member { served_before: true, ..Member::new(node) })
    };
    let topology = Topology { members: nodes.into_iter().map(member).collect(), ..Topology::default() };
    // Not probed, hence all serving.
    let health = Health { disabled: true, ..Health::default() };
    state::save(dir, &zone.name(), &zone.cluster.seeds, 1, &topology, &health).unwrap();
    zone
}

impl TestServer {
    /// `alternator.local` over the cluster: its first node is the seed, its datacenters and racks are configured and
    /// asked for by `/localnodes` alone, all addresses are answered, and times are [`fast`]; then `change`.
    pub async fn over(cluster: &Cluster, change: impl FnOnce(&mut ZoneConfig)) -> Self {
        Self::start(Self::config(&Self::zone(cluster, change))).await
    }

    /// The zone of [`TestServer::over`].
    pub fn zone(cluster: &Cluster, change: impl FnOnce(&mut ZoneConfig)) -> ZoneConfig {
        let mut zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
        let nodes = cluster.nodes();
        zone.cluster.seeds = vec![Seed::Address(nodes[0].address)];
        zone.cluster.port = cluster.port();
        for node in &nodes {
            let racks = zone.cluster.datacenters.entry(node.datacenter.as_str().into()).or_default();
            if !racks.iter().any(|rack| **rack == *node.rack) {
                racks.push(node.rack.as_str().into());
            }
        }
        zone.cluster.discovery = DiscoveryMode::Localnodes;
        zone.answers = Answers::All;
        fast(&mut zone);
        change(&mut zone);
        zone
    }

    /// One zone on a free port, one UDP worker, no state file.
    pub fn config(zone: &ZoneConfig) -> Config {
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let admin = AdminConfig { listen: Vec::new(), ..AdminConfig::default() };
        Config {
            server: ServerConfig { listen, admin, workers: 1, ..ServerConfig::default() },
            zones: vec![zone.clone()],
        }
    }

    /// The same on IPv6 too, where this machine has it.
    pub fn in_both_families(mut config: Config) -> Config {
        if ClusterSpec::has_ipv6() {
            config.server.listen.push("[::1]:0".parse().unwrap());
        }
        config
    }

    /// A zone without a cluster, from the text of a zone file, on IPv4 and IPv6.
    pub async fn of_file(text: &str, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zone");
        std::fs::write(&file, text).unwrap();
        let mut zone = ZoneConfig::new(Name::from_ascii(format!("{ZONE}.")).unwrap());
        zone.file = Some(file);
        let mut config = Self::in_both_families(Self::config(&zone));
        change(&mut config);
        Self::start(config).await
    }

    /// Starts it; a port 0 to listen on becomes a [`free_port`].
    pub async fn start(config: Config) -> Self {
        loop {
            let mut config = config.clone();
            for address in config.server.listen.iter_mut().filter(|address| address.port() == 0) {
                address.set_port(free_port(address.ip()));
            }
            match app::start(&config).await {
                // Another test took the port just now.
                Err(app::StartError::Bind(error)) if error.is_in_use() => {}
                app => {
                    let app = app.unwrap();
                    return TestServer { address: app.addresses()[0], app };
                }
            }
        }
    }

    /// A question for a name below the zone (`""` is the apex).
    pub fn dig(&self, name: &str, rtype: RecordType) -> Dig {
        Dig::new(self.address, &Self::name(name), rtype)
    }

    /// Asks over UDP.
    pub async fn ask(&self, name: &str, rtype: RecordType) -> Reply {
        self.dig(name, rtype).ask().await
    }

    /// The A answers of a name, as a set of texts.
    pub async fn set(&self, name: &str) -> BTreeSet<String> {
        self.ask(name, RecordType::A).await.set()
    }

    /// The addresses of a name of both families, over UDP and over TCP.
    pub async fn both_families(&self, name: &str) -> [BTreeSet<String>; 2] {
        let mut sets = [BTreeSet::new(), BTreeSet::new()];
        for rtype in [RecordType::A, RecordType::AAAA] {
            let dig = self.dig(name, rtype);
            sets[0].extend(dig.ask().await.set());
            sets[1].extend(dig.tcp().ask().await.set());
        }
        sets
    }

    /// Waits until a name is answered with exactly these addresses (of any family), over UDP and over TCP.
    pub async fn answers(&self, name: &str, addresses: &[&str]) {
        let wanted = set(addresses);
        eventually(|| self.both_families(name), |sets| sets.iter().all(|set| *set == wanted)).await;
    }

    /// Asserts that a name is answered with exactly these addresses, over UDP and over TCP, until `done`.
    pub async fn keeps_answering(&self, name: &str, addresses: &[&str], done: impl Fn() -> bool) {
        let (wanted, start) = (set(addresses), Instant::now());
        while !done() {
            for answered in self.both_families(name).await {
                if answered != wanted {
                    let told = self.explain(name).await;
                    panic!("{name:?} after {:?}: {answered:?}, not {wanted:?}; now {told:#?}", start.elapsed());
                }
            }
            assert!(start.elapsed() < 3 * PATIENCE, "nothing happens");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The lines of a name's explanation.
    pub async fn explain(&self, name: &str) -> Vec<String> {
        let name = if name.is_empty() { "_explain".to_owned() } else { format!("_explain.{name}") };
        self.dig(&name, RecordType::TXT).tcp().ask().await.texts()
    }

    /// What is asked while the answers stay the same, not only their set: asks again where they changed meanwhile, since
    /// a node's rack may be learnt, or a busy machine's node be late, after the set is complete.
    pub async fn undisturbed<T: Debug>(&self, ask: impl AsyncFn() -> T) -> T {
        let epoch = async || self.explain("").await[0].split("epoch=").nth(1).unwrap().to_owned();
        let attempt = async || (epoch().await, ask().await, epoch().await);
        let (_, answer, _) = eventually(attempt, |(before, _, after)| before == after).await;
        answer
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.app.counters().get(outcome)
    }

    /// Sends one packet: a reply comes, and it is counted as this outcome and no other. The server must not be asked by
    /// anybody else meanwhile.
    pub async fn counted(&self, by: &Dig, packet: &[u8], outcome: Outcome) -> Reply {
        let counts = || Outcome::ALL.map(|outcome| self.count(outcome));
        let mut expected = counts();
        expected[outcome as usize] += 1;
        let reply = by.send(packet, super::PATIENCE).await;
        let reply = reply.unwrap_or_else(|| panic!("no reply to {packet:02x?}"));
        assert_eq!(counts(), expected, "the counters after {packet:02x?}, one more {outcome}");
        assert_eq!(reply.bytes[..2], packet[..2], "the id is echoed");
        assert!(reply.flags() & 0x8000 != 0, "a reply is a response");
        reply
    }

    /// Sends one packet over UDP, then over TCP: two replies alike in header and question, and each
    /// [`TestServer::counted`].
    pub async fn both_raw(&self, packet: &[u8], outcome: Outcome) -> [Reply; 2] {
        self.both_at(self.address, packet, outcome).await
    }

    /// [`TestServer::both_raw`] at one of several addresses.
    async fn both_at(&self, address: SocketAddr, packet: &[u8], outcome: Outcome) -> [Reply; 2] {
        let udp = self.counted(&Dig::to(address), packet, outcome).await;
        let tcp = self.counted(&Dig::to(address).tcp(), packet, outcome).await;
        assert_eq!((udp.flags(), udp.counts()), (tcp.flags(), tcp.counts()), "UDP and TCP alike: {packet:02x?}");
        [udp, tcp]
    }

    /// [`TestServer::both_raw`] at every address: over UDP and TCP, and over IPv4 and IPv6 where the server was told
    /// to ([`TestServer::in_both_families`]). The replies are alike in header and question.
    pub async fn everywhere(&self, packet: &[u8], outcome: Outcome) -> Vec<Reply> {
        let mut replies = Vec::new();
        for address in self.app.addresses() {
            replies.extend(self.both_at(*address, packet, outcome).await);
        }
        let heads: BTreeSet<_> = replies.iter().map(|reply| (reply.flags(), reply.counts())).collect();
        assert_eq!(heads.len(), 1, "all addresses alike: {packet:02x?}");
        replies
    }

    /// [`TestServer::both_raw`] for a question.
    pub async fn both(&self, dig: &Dig, outcome: Outcome) -> [Reply; 2] {
        self.both_raw(&dig.bytes(), outcome).await
    }

    /// [`TestServer::both`] for a name below the zone, in class IN.
    pub async fn both_of(&self, name: &str, rtype: RecordType, outcome: Outcome) -> [Reply; 2] {
        self.both(&self.dig(name, rtype), outcome).await
    }

    /// The name of the zone, below it: `""` is the apex.
    pub fn name(below: &str) -> String {
        if below.is_empty() { ZONE.to_owned() } else { format!("{below}.{ZONE}") }
    }
}
