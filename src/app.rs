//! Assembles everything: sockets bound first, then one poller and one prober per zone, and the controller that compiles
//! what they find. The only file that knows all the others.
//!
//! ```text
//! poller ──Topology (watch)──┐
//!                            ├──> controller ──Table (one ArcSwap)──> workers
//! prober ──Health (watch)────┘         └──(watch)──> state file
//! ```
//!
//! | state | sole writer |
//! |---|---|
//! | Topology | the zone's poller |
//! | Health | the zone's prober |
//! | Table | the controller |
//! | state file | the controller's writer |

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    admin::{self, Hands, Sight, ZoneSight},
    config::{Config, Problem, Seed, ZoneConfig},
    controller::{Compiles, Controller, Zone},
    discovery, health,
    http::NodeClient,
    journal::Journal,
    model::{Demand, Health, Overrides, Scope, Source, Topology},
    server::{
        self, BindError, Counters, Inherited, LimitReport, Running, Transport,
        encrypted::{ConnectionCounters, SetupError},
    },
    service::Pulse,
    state::{self, Remembered},
    table::{Table, ZoneSource, conflicts},
    zone::file::{self, StaticZone},
};

/// How long everything may take to end when stopping, so that the process stays below two seconds. Longer than the
/// workers' own limit: a state file that is being written on a busy machine gets what they leave.
pub const STOP_WITHIN: Duration = Duration::from_millis(1800);

/// How often the log tells what limits did: soon enough to watch a dry run, seldom enough not to fill a disk.
const TELL_LIMITS: Duration = Duration::from_secs(60);

/// A server at work.
pub struct App {
    running: Running,
    tasks: JoinSet<&'static str>,
    stop: CancellationToken,
    sight: Sight,
    /// What operators forced.
    overrides: watch::Sender<Arc<Overrides>>,
    pulse: Pulse,
    /// Where the HTTP side answers.
    admin: Vec<SocketAddr>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Zone files or their fit with the configuration.
    #[error("{}", lines(.0))]
    Zones(Vec<Problem>),
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The encrypted transports: an address, the certificate.
    #[error(transparent)]
    Encrypted(#[from] SetupError),
    /// The HTTP side: an address, the token.
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    /// The HTTP client towards the nodes.
    #[error("cannot set up TLS towards the nodes of {zone}: {reason}")]
    Client {
        /// The zone.
        zone: String,
        /// The library's reason.
        reason: String,
    },
    /// Threads.
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
}

/// A part of the server ended that never should.
#[derive(Debug, thiserror::Error)]
#[error("{0} ended unexpectedly")]
pub struct Ended(String);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Loads the zone files of a configuration and checks them against it; every problem at once.
pub fn load_zones(config: &Config) -> Result<Vec<StaticZone>, Vec<Problem>> {
    let (mut zones, mut problems) = (Vec::new(), Vec::new());
    for zone in &config.zones {
        let loaded = zone.file.as_ref().map_or(Ok(StaticZone::default()), |path| file::load(path, &zone.apex));
        match loaded {
            Ok(statics) => {
                problems.extend(conflicts(zone, &statics));
                zones.push(statics);
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(zones) } else { Err(problems) }
}

/// Starts a server: loads, binds every address, and only then begins to work.
pub async fn start(config: &Config) -> Result<App, StartError> {
    let statics = load_zones(config).map_err(StartError::Zones)?;
    let bound = server::bind(&config.server, Inherited::default())?.with_encrypted()?;
    let admin = admin::bind(&config.server.admin)?;
    let overrides = watch::Sender::new(Arc::default());
    let mut sight = Sight {
        table: Arc::new(ArcSwap::from_pointee(Table::default())),
        counters: Counters::default(),
        connections: ConnectionCounters::default(),
        zones: Arc::default(),
        compiles: Arc::new(Compiles::default()),
        journal: Journal::default(),
        overrides: overrides.subscribe(),
        reloads: Arc::default(),
        started: SystemTime::now(),
        listen: Arc::default(),
        identity: config.server.identity.clone(),
    };
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());

    let mut starting = Starting { sight: &sight, tasks: &mut tasks, stop: &stop, sights: Vec::new() };
    let mut zones = Vec::new();
    for (zone, statics) in config.zones.iter().zip(statics) {
        zones.push(starting.zone(zone, statics, bound.addresses(), config.server.state_dir.as_ref())?);
    }
    sight.zones.store(Arc::new(starting.sights));
    let (table, compiles) = (sight.table.clone(), sight.compiles.clone());
    let mut controller = Controller::new(zones, table, compiles, sight.journal.clone());
    if let Some(dir) = &config.server.state_dir {
        for zone in controller.zones() {
            let writer = zone.writer(dir.clone(), stop.clone());
            tasks.spawn(async move {
                writer.await;
                "the writer of a state file"
            });
        }
    }
    let (stopping, pulse) = (stop.clone(), controller.pulse());
    tasks.spawn(async move {
        controller.run(stopping).await;
        "the controller"
    });
    tasks.spawn(tell_limits(LimitReport::new(&sight.counters), stop.clone()));
    let running = bound.run(&sight.table, &sight.counters, fastrand::u64(..)).map_err(StartError::Workers)?;
    sight.connections = running.connections().clone();
    let plain = running.addresses().iter().map(|address| (Transport::Udp, *address));
    sight.listen.store(Arc::new(plain.chain(running.encrypted().iter().copied()).collect()));
    let (addresses, seen, stopping) = (admin.addresses(), sight.clone(), stop.clone());
    tasks.spawn(async move {
        admin.serve(seen, Hands::default(), stopping).await;
        "the HTTP side"
    });
    Ok(App { running, tasks, stop, sight, overrides, pulse, admin: addresses })
}

/// Tells in the log what limits do, as long as they do anything.
async fn tell_limits(mut report: LimitReport, stop: CancellationToken) -> &'static str {
    loop {
        let stopping = timeout(TELL_LIMITS, stop.cancelled()).await.is_ok();
        if let Some(did) = report.since() {
            tracing::info!("limits: {did}");
        }
        if stopping {
            return "the report of limits";
        }
    }
}

/// What starts zones.
struct Starting<'a> {
    sight: &'a Sight,
    tasks: &'a mut JoinSet<&'static str>,
    stop: &'a CancellationToken,
    sights: Vec<ZoneSight>,
}

impl Starting<'_> {
    fn zone(
        &mut self,
        zone: &ZoneConfig,
        statics: StaticZone,
        listen: &[SocketAddr],
        state_dir: Option<&PathBuf>,
    ) -> Result<Zone, StartError> {
        let Starting { sight, tasks, stop, sights } = self;
        let (name, stop) = (zone.name(), *stop);
        let journal = sight.journal.of(&name);
        let meter = sight.counters.meter(&name);
        let (asked, probes): (Arc<discovery::Stats>, Arc<health::Stats>) = Default::default();
        let (epoch, initial) = beginning(zone, state_dir);
        let wake = Arc::new(Notify::new());
        let waker = wake.clone();
        let demand = Arc::new(Demand::new(move || waker.notify_one()));
        let (publish_topology, topology) = watch::channel(Arc::new(initial.clone()));
        let (publish_health, health) =
            watch::channel(Arc::new(Health { disabled: !zone.health.enabled, ..Health::default() }));

        if zone.cluster.seeds.is_empty() {
            tracing::info!(zone = %name, "no seeds: the zone serves only its static records");
        } else {
            let failed = |error: &dyn std::error::Error| StartError::Client {
                zone: name.clone(),
                reason: error.source().unwrap_or(error).to_string(),
            };
            let poller = discovery::run(discovery::Options {
                client: NodeClient::new(&zone.cluster, discovery::LIMITS).map_err(|error| failed(&error))?,
                cluster: zone.cluster.clone(),
                datacenters: zone.datacenters(),
                fall: zone.health.fall,
                initial,
                demand: demand.clone(),
                wake,
                publish: publish_topology,
                stop: stop.clone(),
                seed: fastrand::u64(..),
                stats: asked.clone(),
                journal: journal.clone(),
            });
            let span = tracing::error_span!("discovery", zone = %name);
            tasks.spawn(async move {
                poller.instrument(span).await;
                "a zone's poller"
            });
            let prober = health::run(health::Options {
                cluster: zone.cluster.clone(),
                health: zone.health.clone(),
                topology: topology.clone(),
                publish: publish_health,
                stats: probes.clone(),
                journal,
                stop: stop.clone(),
                seed: fastrand::u64(..),
            });
            let span = tracing::error_span!("health", zone = %name);
            tasks.spawn(async move {
                if let Err(error) = prober.instrument(span).await {
                    tracing::error!(%error);
                }
                "a zone's prober"
            });
        }
        let source = ZoneSource { config: zone.clone(), statics, listen: listen.to_vec(), demand, meter };
        let (discovery, overrides) = (asked, sight.overrides.clone());
        sights.push(ZoneSight { name, topology: topology.clone(), health: health.clone(), discovery, probes });
        Ok(Zone::new(Arc::new(source), epoch, topology, health, overrides))
    }
}

/// What a zone begins with: the epoch and topology of an earlier run, or nothing.
fn beginning(zone: &ZoneConfig, state_dir: Option<&PathBuf>) -> (Option<u32>, Topology) {
    let known = state_dir.and_then(|dir| remembered(dir, &zone.name(), &zone.cluster.seeds));
    let (epoch, mut topology) = known.map_or((None, Topology::default()), |known| (Some(known.epoch), known.topology));
    // Names come from the configuration alone, so one that is gone from it is gone; kept, it would be a scope that can
    // never have a node.
    let named = zone.datacenters();
    topology.seen.retain(|scope| match scope {
        Scope::Cluster => true,
        Scope::Datacenter(dc) => named.contains_key(dc),
        Scope::Rack(dc, rack) => named.get(dc).is_some_and(|racks| racks.contains(rack)),
    });
    (epoch, topology)
}

fn remembered(dir: &std::path::Path, zone: &str, seeds: &[Seed]) -> Option<Remembered> {
    match state::load(dir, zone, seeds) {
        Ok(Some(known)) if known.topology.source == Source::Nothing => {
            tracing::warn!(zone, "the state file was written with other seeds: its nodes are not used");
            Some(known)
        }
        Ok(Some(known)) => {
            let nodes = known.topology.members.len();
            tracing::info!(zone, nodes, "remembering the last topology until discovery succeeds");
            Some(known)
        }
        Ok(None) => None,
        Err(error) => {
            tracing::error!(zone, %error, "starting without the state file");
            None
        }
    }
}

impl App {
    /// The addresses served, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.running.addresses()
    }

    /// The addresses of the encrypted transports, with the real ports.
    pub fn encrypted(&self) -> &[(Transport, SocketAddr)] {
        self.running.encrypted()
    }

    /// The addresses of the HTTP side, with the real ports.
    pub fn admin(&self) -> &[SocketAddr] {
        &self.admin
    }

    /// What became of the connections of the encrypted transports.
    pub fn connections(&self) -> &ConnectionCounters {
        self.running.connections()
    }

    /// What queries became.
    pub fn counters(&self) -> &Counters {
        &self.sight.counters
    }

    /// The Table now served.
    pub fn table(&self) -> Arc<Table> {
        self.sight.table.load_full()
    }

    /// All that can be looked at.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// What operators forced; what is sent here holds from the next compile on.
    pub fn overrides(&self) -> &watch::Sender<Arc<Overrides>> {
        &self.overrides
    }

    /// Asks the controller whether it gets on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Waits until a part ends that never should.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            worker = self.running.ended() => Ended(format!("worker {worker}")),
            Some(task) = self.tasks.join_next() => Ended(match task {
                Ok(name) => name.to_owned(),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Stops accepting, answers what was received, ends every task. Takes two seconds at most.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + STOP_WITHIN;
        self.stop.cancel();
        let running = self.running;
        // Workers are threads that have to be waited for; the runtime must stay free to end its tasks meanwhile.
        let workers = tokio::task::spawn_blocking(move || running.stop());
        if !workers.await.unwrap_or(false) {
            tracing::warn!("some workers did not end in time");
        }
        // Nothing is lost by a task that is cut off but the last state file, which is being replaced atomically.
        let _ = timeout_at(deadline, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hickory_proto::rr::Name;

    use super::*;
    use crate::{
        config::ServerConfig,
        model::{Listing, Member, Node},
    };

    /// A zone with this seed; nobody listens there.
    fn zone(seed: IpAddr) -> ZoneConfig {
        let mut zone = ZoneConfig::new(Name::from_ascii("z.test.").unwrap());
        zone.cluster.seeds = vec![Seed::Address(seed)];
        zone
    }

    #[tokio::test]
    async fn what_is_remembered_of_another_cluster_is_not_served() {
        let (ours, other) = (IpAddr::from([127, 66, 0, 1]), IpAddr::from([127, 66, 0, 2]));
        let dir = tempfile::tempdir().unwrap();
        let mut topology = Topology::default();
        let node = Node { address: ours, datacenter: None, rack: None };
        topology.members.insert(ours, Member { node, listing: Listing::Listed, served_before: true });
        for (seed, remembered) in [(ours, 1), (other, 0)] {
            state::save(dir.path(), "z.test", &[Seed::Address(ours)], 7, &topology, &Health::default()).unwrap();
            let listen = vec!["127.0.0.1:0".parse().unwrap()];
            let server =
                ServerConfig { listen, workers: 1, state_dir: Some(dir.path().into()), ..ServerConfig::default() };
            let app = start(&Config { server, zones: vec![zone(seed)] }).await.unwrap();
            let known: Vec<usize> = app.table().zones().map(|zone| zone.plan.nodes().count()).collect();
            assert_eq!(known, [remembered], "with seed {seed}");
            app.stop().await;
        }
    }

    #[tokio::test]
    async fn a_datacenter_gone_from_the_configuration_is_gone_from_the_names() {
        let seed = IpAddr::from([127, 66, 0, 3]);
        let dir = tempfile::tempdir().unwrap();
        let mut topology = Topology::default();
        let node = Node { address: seed, datacenter: Some("old".into()), rack: None };
        topology.members.insert(seed, Member { node, listing: Listing::Listed, served_before: true });
        topology.seen.extend(["old", "new"].map(|name| name.parse::<Scope>().unwrap()));
        state::save(dir.path(), "z.test", &[Seed::Address(seed)], 7, &topology, &Health::default()).unwrap();
        let mut zone = zone(seed);
        zone.cluster.datacenters.insert("new".into(), Vec::new());
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let server = ServerConfig { listen, workers: 1, state_dir: Some(dir.path().into()), ..ServerConfig::default() };
        let app = start(&Config { server, zones: vec![zone] }).await.unwrap();
        let names: Vec<String> =
            app.table().zones().flat_map(|zone| zone.plan.names.names.keys()).map(ToString::to_string).collect();
        assert_eq!(names, ["z.test.", "new.z.test."]);
        app.stop().await;
    }
}
