//! The task: round after round, each ending in a topology.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    basis::{Basis, Means},
    hosts::Hosts,
    membership::Membership,
    merge::{self, Change, Changes, Round, Rules},
    names::Names,
    network::{Live, Network},
    observers::Observers,
    removal::Removal,
    retention::Retention,
    round::Gathering,
    seeds::Seeds,
    stats::{Stats, add},
    tables::Reader,
    told,
    visit::Event,
};
use crate::{
    config::{ClusterConfig, DiscoveryMode},
    http::NodeClient,
    journal::ZoneJournal,
    model::{Demand, Listing, Topology},
};

/// Events that wait for the poller. Tasks that find it full wait in turn, so nothing is lost and nothing grows.
const EVENTS: usize = 256;

/// Intervals outside these are taken for these: no interval at all would be a busy loop, and a very long one
/// overflows the clock.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything discovery of one zone's cluster needs.
#[derive(Debug)]
pub struct Options {
    /// Asks the nodes; made with [`super::LIMITS`].
    pub client: NodeClient,
    /// The cluster: its seeds and intervals.
    pub cluster: ClusterConfig,
    /// Every datacenter known by name, with its racks known by name, in ScyllaDB's spelling.
    pub datacenters: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Rounds in a row that must not list a member before it leaves.
    pub fall: u32,
    /// The last topology of an earlier run, or the default.
    pub initial: Topology,
    /// Whether anybody asks for the zone.
    pub demand: Arc<Demand>,
    /// Notified by the first query after a pause; ends an idle pause.
    pub wake: Arc<Notify>,
    /// Where each topology that differs from the one before goes.
    pub publish: watch::Sender<Arc<Topology>>,
    /// Ends the task.
    pub stop: CancellationToken,
    /// Seed of every random choice.
    pub seed: u64,
    /// Where to count.
    pub stats: Arc<Stats>,
    /// Where to note what changed.
    pub journal: ZoneJournal,
}

/// Discovers until told to stop. Without seeds it only waits for that.
pub async fn run(options: Options) {
    let network = Live(options.client.clone());
    Poller::new(options, network).run().await;
}

/// The poller's state: one task owns it, and everybody else sees what it publishes.
#[derive(Debug)]
pub(super) struct Poller<N> {
    pub(super) network: N,
    pub(super) cluster: ClusterConfig,
    pub(super) names: Names,
    /// Reads tables.
    pub(super) reader: Arc<Reader>,
    rules: Rules,
    pub(super) membership: Membership,
    pub(super) observers: Observers,
    pub(super) seeds: Seeds,
    pub(super) hosts: Hosts,
    pub(super) gathering: Gathering,
    /// Number of the round, from 1.
    pub(super) round: u64,
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) events: mpsc::Receiver<Event>,
    /// Visits and look-ups under way; they end with the poller.
    pub(super) tasks: JoinSet<()>,
    pub(super) rng: fastrand::Rng,
    demand: Arc<Demand>,
    wake: Arc<Notify>,
    publish: watch::Sender<Arc<Topology>>,
    pub(super) stop: CancellationToken,
    pub(super) stats: Arc<Stats>,
    pub(super) journal: ZoneJournal,
    /// Scopes without nodes.
    retention: Retention,
    /// Whether this round reads tables, where `auto` leaves the choice.
    pub(super) reads_tables: bool,
    /// When the next round does.
    pub(super) tables_due: Instant,
    /// What was told last of what discovery goes by.
    pub(super) basis: Option<(Means, Option<String>)>,
}

impl<N: Network> Poller<N> {
    pub(super) fn new(options: Options, network: N) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let mode = options.cluster.discovery;
        options.stats.set_basis(Basis { mode, ..options.stats.basis() });
        let names = Names::new(options.datacenters, mode, &options.initial);
        Poller {
            network,
            membership: Membership::new(&options.initial, &names),
            names,
            reader: Arc::new(Reader::new(options.cluster.credentials.as_ref())),
            rules: Rules { fall: options.fall, removal_cap: options.cluster.removal_cap },
            observers: Observers::default(),
            seeds: Seeds::new(options.cluster.seeds.clone()),
            hosts: Hosts::default(),
            cluster: options.cluster,
            gathering: Gathering::new(),
            round: 0,
            sender,
            events,
            tasks: JoinSet::new(),
            rng: fastrand::Rng::with_seed(options.seed),
            demand: options.demand,
            wake: options.wake,
            publish: options.publish,
            stop: options.stop,
            stats: options.stats,
            journal: options.journal,
            retention: Retention::default(),
            reads_tables: true,
            tables_due: Instant::now(),
            basis: None,
        }
    }

    pub(super) async fn run(mut self) {
        if self.seeds.is_empty() {
            return self.stop.cancelled().await;
        }
        loop {
            let began = Instant::now();
            let Some(round) = self.gather().await else { return };
            self.conclude(&round);
            if self.pause(began).await.is_none() {
                return;
            }
        }
    }

    /// Merges a round, tells what changed, and publishes the result if it differs.
    fn conclude(&mut self, round: &Round) {
        add(&self.stats.rounds, 1);
        match round.lists_anything() {
            true => self.stats.note_success(SystemTime::now()),
            false => add(&self.stats.unanswered_rounds, 1),
        }
        let (mut next, changes) = merge::next(&self.membership, round, self.rules);
        if self.goes_by_tables() {
            told::hear(&mut next, &round.views);
        }
        self.log_transitions(&next, &changes);
        self.membership = next;
        self.retain_scopes(round);
        self.tell_basis(round);
        self.names.renew(self.membership.places(), round.views.values().map(|view| &**view));
        let (members, seeds) = (&self.membership.entries, &self.seeds);
        self.observers.retain(|node| members.contains_key(&node) || seeds.addresses().any(|seed| seed == node));
        let topology = self.membership.topology();
        self.publish.send_if_modified(|published| {
            let differs = **published != topology;
            if differs {
                *published = Arc::new(topology);
            }
            differs
        });
    }

    /// Whether what tables tell counts in this round: that no node's could be read counts too.
    fn goes_by_tables(&self) -> bool {
        self.cluster.discovery != DiscoveryMode::Auto || self.reads_tables
    }

    /// Takes the names of places away that have been without nodes for long.
    fn retain_scopes(&mut self, round: &Round) {
        if !self.goes_by_tables() {
            return;
        }
        let keep = self.cluster.scope_retention;
        // Lists cannot tell a place that is down from one that is gone, and tables that are shut tell nothing.
        let is_told = self.cluster.discovery == DiscoveryMode::Localnodes || !round.views.is_empty();
        if !is_told {
            self.retention.pause();
            return;
        }
        for scope in self.retention.renew(&mut self.membership, &self.names, &round.views, keep) {
            info!(%scope, after = ?keep, "no node for long: the names of the place are gone");
            let text = format_args!("gone: no node for {} s (scope_retention)", keep.as_secs());
            self.journal.note("discovery", &scope, text);
        }
    }

    /// Tells of nodes that are leaving from now on, and of those that are no longer.
    fn log_told(&self, next: &Membership) {
        for (address, entry) in &next.entries {
            let before = self.membership.entries.get(address).and_then(|before| before.told.leaving);
            match (before, entry.told.leaving) {
                (before, Some(leaving)) if before != Some(leaving) => {
                    info!(node = %address, reason = %leaving, "a node is leaving: it is answered no more");
                    self.journal.note("node", address, format_args!("leaving: {leaving}"));
                }
                (Some(_), None) if entry.listing == Listing::Listed => {
                    info!(node = %address, "a node is not leaving any more");
                    self.journal.note("node", address, "not leaving any more");
                }
                _ => {}
            }
        }
    }

    fn log_transitions(&self, next: &Membership, changes: &Changes) {
        changes.removals.iter().for_each(|removal| self.log_removal(removal));
        self.log_told(next);
        for Change { address, joined, home, listed_by, votes } in &changes.nodes {
            let datacenter = home.name();
            let (what, counter) = if *joined { ("joined", &self.stats.joined) } else { ("left", &self.stats.left) };
            add(counter, 1);
            info!(node = %address, datacenter, listed_by, votes, "a node {what}");
            let text = format_args!("{what}: {listed_by} of {votes} nodes asked list it (datacenter {datacenter})");
            self.journal.note("node", address, text);
        }
        match (self.membership.stale, next.stale) {
            (false, true) => {
                warn!(members = next.entries.len(), "no node answers: keeping the last topology");
                self.journal.note("discovery", "topology", "stale: no node answers, the last one is kept");
            }
            (true, false) => {
                info!(members = next.entries.len(), "nodes answer again");
                self.journal.note("discovery", "topology", "current: nodes answer again");
            }
            _ => {}
        }
        match (self.membership.flat, next.flat) {
            (false, true) => {
                let text = "every server ignores dc and rack (they need ScyllaDB 2025.1 or later): the names of \
                            datacenters and racks all stand for the whole cluster";
                warn!("{text}");
                self.journal.note("discovery", "places", text);
            }
            (true, false) => {
                let text = "servers look at dc and rack now: datacenters and racks are told apart";
                info!("{text}");
                self.journal.note("discovery", "places", text);
            }
            _ => {}
        }
    }

    /// Tells of nodes that wait with leaving, and of what came of it.
    fn log_removal(&self, removal: &Removal) {
        match removal {
            Removal::Waits { home, rack, leaving, members } => {
                let (datacenter, rack) = (home.name(), rack.as_deref().unwrap_or("-"));
                warn!(
                    datacenter,
                    rack, leaving, members, "too many nodes are gone at once (removal_cap): waiting for a second round"
                );
                let subject = if rack == "-" { datacenter.to_owned() } else { format!("{datacenter}/{rack}") };
                let text = format!("{leaving} of {members} nodes are gone at once: waiting for a second round");
                self.journal.note("discovery", subject, text);
            }
            Removal::Came { home, left, stayed } => {
                let datacenter = home.name();
                info!(datacenter, left, stayed, "the second round about nodes that waited with leaving");
                let text = format!("of the nodes that waited with leaving {left} left, {stayed} stay");
                self.journal.note("discovery", datacenter, text);
            }
        }
    }

    /// Waits for the next round; `None` when told to stop. Rounds begin `active_interval` apart, or `idle_interval`
    /// while nobody asks for the zone; then the first query ends the pause.
    async fn pause(&mut self, began: Instant) -> Option<()> {
        let least = match self.cluster.discovery {
            DiscoveryMode::SystemTables => self.tables_interval(),
            DiscoveryMode::Auto | DiscoveryMode::Localnodes => Duration::ZERO,
        };
        let active = self.jittered(self.cluster.active_interval.max(least));
        let idle = self.jittered(self.cluster.idle_interval);
        let (stop, wake) = (&self.stop, &self.wake);
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep_until(began + active) => {}
        }
        // A notice left over from a query that is already accounted for must not end the next idle pause.
        let _ = wake.notified().now_or_never();
        let asked = self.demand.take();
        if asked || self.cluster.idle_interval <= self.cluster.active_interval {
            return Some(());
        }
        tokio::select! {
            () = stop.cancelled() => None,
            () = wake.notified() => Some(()),
            () = sleep_until(began + idle) => Some(()),
        }
    }

    /// An interval ±10 %, so that many servers started together do not ask together for ever.
    pub(super) fn jittered(&mut self, interval: Duration) -> Duration {
        interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL) * self.rng.u32(900..=1100) / 1000
    }
}
