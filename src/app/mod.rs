//! Assembles everything: sockets bound first, then one poller and one prober per cluster, which zones may share, and the
//! controller that compiles what they find. The only folder that knows all the others.
//!
//! ```text
//! poller ──Topology (watch)──┐
//!                            ├──> controller ──Table (one ArcSwap)──> workers
//! prober ──Health (watch)────┘         └──(watch)──> state file
//! ```
//!
//! | state | sole writer |
//! |---|---|
//! | Topology | the cluster's poller |
//! | Health | the cluster's prober |
//! | Overrides | their store |
//! | Table | the controller |
//! | state file | the zone's writer |
//! | the set of zones and of clusters, the listeners, the configuration in force | [`App`] |
//!
//! | word | meaning |
//! |---|---|
//! | ground | what a zone is started on: the addresses, the folder of state files, who ends it |
//! | cluster | a poller and a prober at work, for all zones that are asked alike |
//! | known | what a zone begins with: from a state file, or from its own tasks before a reload |
//! | step | what a reload does to one zone; made before anything changes, and cannot fail |

mod admin_side;
mod beginning;
mod cluster;
mod error;
mod files;
mod hand_over;
mod steering;
mod zone;
mod zones;

use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    admin_side::AdminSide,
    zone::{Ground, Tasks, spawn},
    zones::Zones,
};
pub use self::{
    error::{Ended, StartError},
    files::{LOAD_WITHIN, files_of, load_identities, load_keys, load_zones, problems_of_zone_files},
    hand_over::Beginning,
};
use crate::{
    admin::{self, Hands, Sight},
    config::{Config, CookieSecret, ServerConfig},
    controller::{Compiles, Controller, ZoneSet},
    explain::{self, Explainer},
    journal::Journal,
    overrides::{self, Departures, Store},
    query_log::QueryLog,
    reload::{self, Applied, Outcome, Requests, Trigger},
    server::{self, Bound, Counters, Inherited, LimitReport, Running, Transport, encrypted::ConnectionCounters},
    service::{Passed, Pulse},
    table::Table,
};

/// How long everything may take to end when stopping, so that the process stays below two seconds. Longer than the
/// workers' own limit: a state file that is being written on a busy machine gets what they leave.
pub const STOP_WITHIN: Duration = Duration::from_millis(1800);

/// How often the log tells what limits did: soon enough to watch a dry run, seldom enough not to fill a disk.
const TELL_LIMITS: Duration = Duration::from_secs(60);

/// A server at work.
pub struct App {
    running: Running,
    zones: Zones,
    /// To the controller.
    sets: mpsc::Sender<ZoneSet>,
    tasks: Tasks,
    stop: CancellationToken,
    sight: Sight,
    /// What operators forced, and who was answered until when.
    steering: overrides::Api,
    /// In force.
    config: Config,
    /// The same of the server, for explanations.
    answering: Arc<ArcSwap<ServerConfig>>,
    /// Stands for what was in the certificate's files when they were read last.
    certificate: Option<u64>,
    trigger: Trigger,
    /// Until somebody takes them.
    requests: Option<Requests>,
    admin: AdminSide,
    pulse: Pulse,
    /// Where there is one.
    query_log: Option<QueryLog>,
}

/// Starts a server: loads, binds every address, and only then begins to work.
pub async fn start(config: &Config) -> Result<App, StartError> {
    start_from(config, Beginning::default()).await
}

/// The same with what is there already. Where another process serves, nothing is answered before it knows.
pub async fn start_from(config: &Config, beginning: Beginning<'_>) -> Result<App, StartError> {
    start_with(config, beginning, Hands::default()).await
}

/// [`start_from`], with an HTTP side that may do more than what every server's may.
pub async fn start_with(config: &Config, beginning: Beginning<'_>, hands: Hands) -> Result<App, StartError> {
    let statics = load_zones(config).map_err(StartError::Zones)?;
    let proofs = files::load_proofs(config).map_err(StartError::Zones)?;
    files::warn_of_identities(config, &proofs);
    let Beginning { passed, admin, zones: told, cookie_secret, identity, predecessor } = beginning;
    let bound = bind(&config.server, passed, cookie_secret)?;
    let admin = admin::bind_with(&config.server.admin, &admin)?;
    let (mut tasks, stop, journal) = (JoinSet::new(), CancellationToken::new(), Journal::default());
    if predecessor.is_some() {
        // What runs knows what the file said before.
        config.server.overrides.as_deref().map_or(Ok(()), overrides::check).map_err(StartError::Zones)?;
    }
    let reloads = Arc::default();
    let store = steering::open(&config.server, &journal, &reloads, &mut tasks, &stop);
    let mut sight = Sight { reloads, ..sight(config, journal, &store) };
    let mut zones = Zones::default();
    let steps = zones.prepare_with(config, statics, proofs, &told)?;
    let (named, counters) = (config.server.identity.as_deref(), &sight.counters);
    let query_log = QueryLog::start(&config.server.query_log, named, counters).map_err(StartError::Workers)?;
    let certificate = files::certificate(&config.server.tls).ok().flatten();
    hand_over::become_of(identity.as_ref())?;
    let state_dir = config.server.state_dir.as_deref();
    let mut ground = Ground { sight: &sight, tasks: &mut tasks, stop: &stop, listen: bound.addresses(), state_dir };
    zones.apply(steps, &mut ground);
    sight.zones.store(Arc::new(zones.sights()));
    let steering = steering::api(store, &sight, config);
    let (table, compiles, departures) = (sight.table.clone(), sight.compiles.clone(), steering.departures.clone());
    let mut controller = Controller::new(zones.inputs(&sight), table, compiles, sight.journal.clone(), departures);
    let pulse = controller.pulse();
    // One at a time: whoever sends a set of zones waits until it is served.
    let (sets, next_set) = mpsc::channel(1);
    spawn(&mut tasks, "the controller", &stop, controller.run(next_set, stop.clone()));
    spawn(&mut tasks, "the report of limits", &stop, tell_limits(LimitReport::new(&sight.counters), stop.clone()));
    hand_over::may_serve(predecessor, &zones, &told, &sight.table).await?;
    let running = bound.run(&sight.table, &sight.counters, fastrand::u64(..)).map_err(StartError::Workers)?;
    sight.connections = running.connections().clone();
    let (trigger, requests) = reload::requests();
    let reload = Some(Arc::new(trigger.clone()) as _);
    let answering = Arc::new(ArcSwap::from_pointee(config.server.clone()));
    let explainer = Explainer::new(sight.table.clone(), answering.clone());
    let routes = hands.routes.merge(explain::routes(explainer)).merge(overrides::routes(steering.clone()));
    let hands = Hands { pulse: Some(pulse.clone()), reload, routes, ..hands };
    let admin = AdminSide::serve(admin, &sight, hands, &mut tasks, &stop);
    let (config, requests) = (config.clone(), Some(requests));
    let app = App {
        running,
        zones,
        sets,
        tasks,
        stop,
        sight,
        steering,
        config,
        answering,
        certificate,
        trigger,
        requests,
        admin,
        pulse,
        query_log,
    };
    app.tell_addresses();
    Ok(app)
}

/// What can be looked at, of a server that does nothing yet.
fn sight(config: &Config, journal: Journal, store: &Store) -> Sight {
    Sight {
        table: Arc::new(ArcSwap::from_pointee(Table::default())),
        counters: Counters::default(),
        connections: ConnectionCounters::default(),
        zones: Arc::default(),
        compiles: Arc::new(Compiles::default()),
        journal,
        overrides: store.subscribe(),
        reloads: Arc::default(),
        started: SystemTime::now(),
        listen: Arc::default(),
        identity: Arc::new(ArcSwapOption::from_pointee(config.server.identity.clone())),
    }
}

/// Binds every address, on the sockets passed to this process wherever they fit.
fn bind(config: &ServerConfig, passed: Vec<Passed>, cookie_secret: Option<CookieSecret>) -> Result<Bound, StartError> {
    let (names, sockets): (Vec<String>, Vec<OwnedFd>) =
        passed.into_iter().map(|passed| (passed.name, passed.socket)).unzip();
    let inherited = Inherited::new(sockets).with_cookie_secret(cookie_secret);
    let bound = server::bind(config, inherited)?.with_encrypted()?;
    for (name, is_claimed) in names.iter().zip(bound.inherited().claimed()) {
        if !is_claimed {
            tracing::warn!("{name} was passed to us, but there is no listener for it: it is closed");
        }
    }
    Ok(bound)
}

/// Tells in the log what limits do, as long as they do anything.
async fn tell_limits(mut report: LimitReport, stop: CancellationToken) {
    loop {
        let stopping = timeout(TELL_LIMITS, stop.cancelled()).await.is_ok();
        if let Some(did) = report.since() {
            tracing::info!("limits: {did}");
        }
        if stopping {
            return;
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
        self.admin.addresses()
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

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All that can be looked at.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// What operators forced, to be changed there.
    pub fn overrides(&self) -> &Store {
        &self.steering.store
    }

    /// Until when the last answer with a node may be believed.
    pub fn departures(&self) -> &Departures {
        &self.steering.departures
    }

    /// Asks the controller whether it gets on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Asks for a reload, from anywhere.
    pub fn trigger(&self) -> Trigger {
        self.trigger.clone()
    }

    /// The requests for reloads, for whoever carries them out; `None` where somebody has them already. Dropped, they are
    /// all refused.
    pub fn take_requests(&mut self) -> Option<Requests> {
        self.requests.take()
    }

    /// Goes over to another configuration without losing a query: loads and checks all files it names, binds new
    /// listeners, swaps, and then closes old ones. Where anything is wrong, nothing changes at all.
    ///
    /// What is known of a zone's nodes stays known; see [`Applied`] for what takes a restart.
    pub async fn reload(&mut self, config: &Config) -> Result<Applied, StartError> {
        let loaded = files::load(config).await.map_err(StartError::Zones)?;
        let (keys, at_restart) = reload::of_server(&self.config.server, &config.server);
        let config =
            Config { server: reload::in_force(&self.config.server, &config.server), zones: config.zones.clone() };
        let others = self.config.server.admin != config.server.admin;
        let admin = others.then(|| self.admin.prepare(&config.server.admin)).transpose()?;
        files::warn_of_identities(&config, &loaded.proofs);
        let steps = self.zones.prepare(&config, loaded.zones, loaded.proofs)?;
        // Last: from its binding on, a new listener may get what the one in its place got until now.
        let listeners = self.running.prepare(&config.server)?;

        // Nothing fails from here on.
        let state_dir = config.server.state_dir.as_deref();
        let (sight, tasks) = (&self.sight, &mut self.tasks);
        let mut ground = Ground { sight, tasks, stop: &self.stop, listen: listeners.addresses(), state_dir };
        let mut changes = self.zones.apply(steps, &mut ground);
        if !keys.is_empty() {
            changes.push(keys.join(", "));
        }
        if std::mem::replace(&mut self.certificate, loaded.certificate) != loaded.certificate {
            changes.push("certificate".to_owned());
        }
        let (served, wait) = oneshot::channel();
        if self.sets.send(ZoneSet { zones: self.zones.inputs(&self.sight), served }).await.is_ok() {
            // A controller that has ended is told of by `ended`.
            let _ = wait.await;
        }
        listeners.commit(&mut self.running);
        if let Some(bound) = admin {
            self.admin.change(bound, &self.sight, &mut self.tasks, &self.stop);
        }
        self.answering.store(Arc::new(config.server.clone()));
        // It was found good above; the store tells what it finds in it.
        let _ = self.steering.store.reread(config.server.watch_files).await;
        self.config = config;
        self.sight.zones.store(Arc::new(self.zones.sights()));
        self.tell_addresses();
        Ok(Applied { changes, at_restart })
    }

    /// Tells everywhere what came of a reload. Whatever that is, the query log's file is opened anew.
    pub fn tell_reload(&self, outcome: &Outcome) {
        self.query_log.iter().for_each(QueryLog::reopen);
        match outcome {
            Ok(applied) => {
                tracing::info!("reload: {applied}");
                self.sight.journal.note(None, "reload", "configuration", applied);
            }
            Err(problems) => {
                for problem in problems.lines() {
                    tracing::error!("reload: {problem}");
                }
                tracing::error!("reload failed: nothing is changed, everything is served as before");
                self.sight.journal.note(None, "reload", "configuration", format_args!("failed: {problems}"));
            }
        }
        self.sight.reloads.note(SystemTime::now(), outcome.as_ref().map(|_| ()).map_err(String::clone));
    }

    /// Where it answers, and who it is, for whoever looks.
    fn tell_addresses(&self) {
        self.sight.identity.store(self.config.server.identity.clone().map(Arc::new));
        let plain = self.running.addresses().iter().map(|address| (Transport::Udp, *address));
        self.sight.listen.store(Arc::new(plain.chain(self.running.encrypted().iter().copied()).collect()));
    }

    /// Waits until a part ends that never should.
    pub async fn ended(&mut self) -> Ended {
        loop {
            tokio::select! {
                worker = self.running.ended() => return Ended(format!("worker {worker}")),
                Some(task) = self.tasks.join_next() => match task {
                    // Those of zones that a reload took away or began anew.
                    Ok(None) => {}
                    Ok(Some(name)) => return Ended(name.to_owned()),
                    Err(error) => return Ended(error.to_string()),
                },
            }
        }
    }

    /// Stops accepting, answers what was received, ends every task. Takes two seconds at most.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + STOP_WITHIN;
        self.stop.cancel();
        let running = self.running;
        // Workers are threads that have to be waited for; the runtime must stay free to end its tasks meanwhile.
        let query_log = self.query_log;
        let workers = tokio::task::spawn_blocking(move || {
            let all_ended = running.stop();
            // Once nobody asks any more.
            query_log.iter().for_each(QueryLog::stop);
            all_ended
        });
        if !workers.await.unwrap_or(false) {
            tracing::warn!("some workers did not end in time");
        }
        // Nothing is lost by a task that is cut off but the last state file, which is being replaced atomically.
        let _ = timeout_at(deadline, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

#[cfg(test)]
mod tests;
