//! The states, releases and faults of a real cluster, each told by DNS answers alone and each in four ways: nodes that
//! speak http or https (by a private authority), and tables that everybody may read or that want a signature.
//!
//! What is known of ScyllaDB, and which test holds what we make of it, is one table: `facts`.

mod facts;
mod lists;
mod places;
mod readers;
mod releases;
mod states;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    panic::AssertUnwindSafe,
    time::{Duration, SystemTime},
};

use alternator_dns::{
    admin::Status,
    config::{Credentials, DiscoveryMode, Scheme, Secret, ZoneConfig},
    server::Outcome,
    sim::{Cluster, ClusterSpec, NodeSpec, Role, State, Tls},
};
use futures_util::{FutureExt, future::join_all};

use crate::support::{Authority, Load, TestServer, eventually, steady, within};

/// The nodes, at 127.74.`net`.
const PLACES: [(u8, &str, &str); 6] = [
    (11, "dc1", "rack1"),
    (12, "dc1", "rack1"),
    (13, "dc1", "rack2"),
    (21, "dc2", "rack1"),
    (22, "dc2", "rack1"),
    (23, "dc2", "rack2"),
];

const ALL: [u8; 6] = [11, 12, 13, 21, 22, 23];

/// What the documentation tells an operator to grant.
const GRANTS: [&str; 5] =
    ["system.local", "system.peers", "system.cluster_status", "system.topology", "system.client_routes"];

const ROLE: &str = "alternator_dns";

const SECRET: &str = "$6$salt$hash";

/// How long a state may take. A machine that is busy with something else makes reads of tables time out, and after such
/// the tables rest for up to a minute, in which a node that leaves is told by nobody.
const PATIENCE: Duration = Duration::from_secs(100);

/// Requests to one node in which it has told all that it has to tell several times: one visit takes six of them.
const TOLD: u64 = 18;

/// How nodes are reached and read.
#[derive(Clone, Copy, Debug)]
struct Way {
    https: bool,
    authorization: bool,
}

const WAYS: [Way; 4] = [
    Way { https: false, authorization: false },
    Way { https: false, authorization: true },
    Way { https: true, authorization: false },
    Way { https: true, authorization: true },
];

/// What a scenario begins with.
struct Setting {
    net: u8,
    cluster: Box<dyn Fn(ClusterSpec) -> ClusterSpec>,
    zone: Box<dyn Fn(&mut ZoneConfig)>,
}

impl Setting {
    /// [`PLACES`] of the newest release, which a server finds by its first node.
    fn of(net: u8) -> Self {
        Setting { net, cluster: Box::new(|spec| spec), zone: Box::new(|_| {}) }
    }

    fn cluster(self, change: impl Fn(ClusterSpec) -> ClusterSpec + 'static) -> Self {
        Setting { cluster: Box::new(change), ..self }
    }

    fn node(self, change: impl Fn(NodeSpec) -> NodeSpec + 'static) -> Self {
        self.cluster(move |mut spec| {
            spec.nodes = spec.nodes.into_iter().map(&change).collect();
            spec
        })
    }

    fn zone(self, change: impl Fn(&mut ZoneConfig) + 'static) -> Self {
        Setting { zone: Box::new(change), ..self }
    }

    /// Plays a scenario in each way, all at once: they wait most of the time.
    async fn each_way(self, scenario: impl AsyncFn(&Site)) {
        let authority = Authority::new("the nodes' own");
        let play = async |way: Way| {
            let site = Site::start(&self, way, &authority).await;
            if let Err(panic) = AssertUnwindSafe(scenario(&site)).catch_unwind().await {
                let status = Status::of(site.server.app.sight(), SystemTime::now());
                eprintln!("it failed with {way:?}, while discovery goes by {:?}", status.zones[0].discovery);
                std::panic::resume_unwind(panic);
            }
        };
        join_all(WAYS.map(&play)).await;
    }
}

/// A cluster, and a server that was told of one of its nodes.
struct Site {
    net: u8,
    way: Way,
    tls: Option<Tls>,
    cluster: Cluster,
    server: TestServer,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start(setting: &Setting, way: Way, authority: &Authority) -> Self {
        let (net, folder) = (setting.net, tempfile::tempdir().unwrap());
        let addresses: Vec<String> = (11..=39).map(|last| format!("127.74.{net}.{last}")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let tls = way.https.then(|| authority.issue(&addresses).tls());
        // Each has an address for its peers, which no client must ever see.
        let node = |(last, dc, rack)| NodeSpec::new([127, 74, net, last], dc, rack).internal([10, 74, net, last]);
        let spec = ClusterSpec::new(PLACES.map(node).to_vec()).failure_detector(Some(Duration::from_millis(500)));
        let mut spec = (setting.cluster)(spec);
        if let Some(tls) = &tls {
            spec = spec.tls(tls);
        }
        if way.authorization {
            let role = GRANTS.iter().fold(Role::new(ROLE, SECRET), |role, table| role.granted(*table));
            spec = spec.authorization([role]);
        }
        let cluster = Cluster::start(spec).await.unwrap();
        let zone = TestServer::zone(&cluster, |zone| {
            steady(zone);
            // Four clusters at once, half of them with TLS: short enough to be quick, long enough for two cores.
            zone.health.interval = Duration::from_millis(250);
            zone.cluster.active_interval = Duration::from_millis(200);
            zone.cluster.idle_interval = Duration::from_millis(200);
            zone.cluster.discovery = DiscoveryMode::Auto;
            zone.cluster.datacenters.clear();
            if way.https {
                zone.cluster.scheme = Scheme::Https;
                zone.cluster.tls.ca_file = Some(authority.write(folder.path()));
            }
            if way.authorization {
                let (access_key_id, secret_access_key) = (ROLE.into(), Secret::new(SECRET));
                zone.cluster.credentials = Some(Credentials::Pair { access_key_id, secret_access_key });
            }
            (setting.zone)(zone);
        });
        let server = TestServer::start(TestServer::config(&zone)).await;
        Site { net, way, tls, cluster, server, _folder: folder }
    }

    fn node(&self, last: u8) -> IpAddr {
        [127, 74, self.net, last].into()
    }

    /// One that is no member yet.
    fn new_node(&self, last: u8, dc: &str, rack: &str) -> NodeSpec {
        let node = NodeSpec::new(self.node(last), dc, rack).internal([10, 74, self.net, last]);
        NodeSpec { tls: self.tls.clone(), ..node }
    }

    async fn state(&self, last: u8, state: State) {
        self.cluster.set_state(self.node(last), state).await.unwrap();
    }

    fn texts(&self, lasts: &[u8]) -> Vec<String> {
        lasts.iter().map(|last| self.node(*last).to_string()).collect()
    }

    /// Waits until a name is answered with these nodes.
    async fn answers(&self, name: &str, lasts: &[u8]) {
        let wanted: BTreeSet<String> = self.texts(lasts).into_iter().collect();
        let ask = || self.server.both_families(name);
        within(PATIENCE, ask, |sets| sets.iter().all(|set| *set == wanted)).await;
    }

    /// Asserts that a name is answered with these nodes until `done`.
    async fn keeps(&self, name: &str, lasts: &[u8], done: impl Fn() -> bool) {
        let texts = self.texts(lasts);
        self.server.keeps_answering(name, &texts.iter().map(String::as_str).collect::<Vec<_>>(), done).await;
    }

    /// Whether these nodes have been read several times from now on, whatever is read.
    fn told<'s>(&'s self, lasts: &[u8]) -> impl Fn() -> bool + use<'s> {
        let count = |node| {
            let counters = self.cluster.counters(node);
            counters.api + counters.localnodes
        };
        let goals: Vec<(IpAddr, u64)> =
            lasts.iter().map(|last| (self.node(*last), count(self.node(*last)) + TOLD)).collect();
        move || goals.iter().all(|&(node, goal)| count(node) >= goal)
    }

    /// Waits until these nodes have been read several times.
    async fn read(&self, lasts: &[u8]) {
        let told = self.told(lasts);
        eventually(async || told(), |told| *told).await;
    }

    /// Waits until every name is answered with all its nodes.
    async fn settled(&self) {
        self.answers("", &ALL).await;
        self.answers("dc1", &[11, 12, 13]).await;
        self.answers("dc1.rack1", &[11, 12]).await;
        self.answers("rack2.dc1", &[13]).await;
        self.answers("dc2--rack1", &[21, 22]).await;
        self.answers("dc2.rack2", &[23]).await;
    }

    /// Asks all these names without a pause; an answer that is empty or an error fails the test.
    fn load(&self, names: &[&str]) -> Load {
        let names: Vec<String> = names.iter().map(|name| TestServer::name(name)).collect();
        Load::start(self.server.address, &names.iter().map(String::as_str).collect::<Vec<_>>(), 100)
    }

    /// Answers so far that are none.
    fn failures(&self) -> [u64; 2] {
        [Outcome::ServFail, Outcome::NxDomain].map(|outcome| self.server.count(outcome))
    }

    /// The tables may not be read any more.
    fn forbid(&self) {
        match self.way.authorization {
            true => self.cluster.revoke(ROLE, "system.peers").unwrap(),
            false => self.cluster.enforce_authorization(true),
        }
    }

    /// The tables may be read again.
    fn allow(&self) {
        match self.way.authorization {
            true => self.cluster.grant(ROLE, "system.peers").unwrap(),
            false => self.cluster.enforce_authorization(false),
        }
    }
}
