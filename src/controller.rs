//! Compiles what pollers and probers find, and swaps the Table: the Table's only writer.

mod compiles;
mod log;
mod retired;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use futures_util::future::select_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::compiles::Compiles;
use self::retired::Retired;
use crate::{
    journal::Journal,
    model::{ClusterView, Health, Overrides, Topology},
    service::{Pulse, Pulsed},
    state,
    table::{CompiledZone, Table, ZonePlan, ZoneSource, compile_zone, next_epoch},
};

/// Least time between two compiles, so that a storm of changes costs one compile per this time and none is late by
/// more than it.
const COMPILE_EVERY: Duration = Duration::from_millis(50);

/// One tick of the epochs' clock. Shorter than [`COMPILE_EVERY`], so that no storm of changes runs ahead of the clock.
const CLOCK_TICK: Duration = Duration::from_millis(40);

/// Nothing is logged of the answers for this long after the start: nodes are found and admitted one after another, and
/// the fallbacks between are nobody's incident. What is wrong after it is logged then.
const QUIET_START: Duration = Duration::from_secs(1);

/// Time after which Tables that are no longer served are looked at again, when no change comes before: readers have
/// done with them within milliseconds.
const FREE_AFTER: Duration = Duration::from_secs(1);

/// Least time between two writes of a zone's state file.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// One zone, as the controller follows it.
pub(crate) struct Zone {
    source: Arc<ZoneSource>,
    topology: watch::Receiver<Arc<Topology>>,
    health: watch::Receiver<Arc<Health>>,
    overrides: watch::Receiver<Arc<Overrides>>,
    /// When its decisions may change though nothing else does.
    next_change: Option<SystemTime>,
    /// The epoch of an earlier run.
    epoch: Option<u32>,
    compiled: Option<Arc<CompiledZone>>,
    /// The plan whose decisions were logged last; `None` until the zone has had time to find its nodes.
    logged: Option<Arc<ZonePlan>>,
    /// Epochs, for the writer of the state file.
    epochs: watch::Sender<u32>,
}

impl Zone {
    pub(crate) fn new(
        source: Arc<ZoneSource>,
        epoch: Option<u32>,
        topology: watch::Receiver<Arc<Topology>>,
        health: watch::Receiver<Arc<Health>>,
        overrides: watch::Receiver<Arc<Overrides>>,
    ) -> Self {
        Zone {
            source,
            topology,
            health,
            overrides,
            next_change: None,
            epoch,
            compiled: None,
            logged: None,
            epochs: watch::Sender::new(epoch.unwrap_or_default()),
        }
    }

    /// Compiles the zone if its plan differs from the one served. Returns whether it did.
    fn compile(&mut self) -> bool {
        let view = ClusterView {
            topology: self.topology.borrow_and_update().clone(),
            health: self.health.borrow_and_update().clone(),
            overrides: self.overrides.borrow_and_update().clone(),
            now: SystemTime::now(),
        };
        let plan = ZonePlan::after(self.compiled.as_ref().map(|compiled| &*compiled.plan), &self.source, &view);
        self.next_change = plan.next_change.0;
        if self.compiled.as_ref().is_some_and(|compiled| *compiled.plan == plan) {
            return false;
        }
        let previous = self.compiled.take();
        let epoch = next_epoch(previous.as_ref().map(|zone| zone.epoch).or(self.epoch), clock());
        let compiled = compile_zone(self.source.clone(), plan, epoch, previous.as_deref(), fastrand::u64(..));
        tracing::debug!(zone = %self.source.config.name(), epoch, "compiled");
        self.compiled = Some(Arc::new(compiled));
        self.epochs.send_replace(epoch);
        true
    }

    /// Logs what changed in the decisions since they were logged last.
    fn log(&mut self, journal: &Journal) {
        let Some(compiled) = &self.compiled else { return };
        let zone = self.source.config.name();
        log::changes(&log::Log { zone: &zone, journal }, self.logged.as_deref(), &compiled.plan);
        self.logged = Some(compiled.plan.clone());
    }

    /// Keeps the zone's state file up to date until told to stop.
    pub(crate) fn writer(&mut self, dir: PathBuf, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        let (topology, health, mut epochs) = (self.topology.clone(), self.health.clone(), self.epochs.subscribe());
        let source = self.source.clone();
        epochs.mark_changed();
        async move {
            let (mut written, mut failing) = (None, false);
            loop {
                let stopping = tokio::select! {
                    changed = epochs.changed() => changed.is_err(),
                    () = tokio::time::sleep(WRITE_EVERY), if failing => false,
                    () = stop.cancelled() => true,
                };
                let epoch = *epochs.borrow_and_update();
                let (topology, health) = (topology.borrow().clone(), health.borrow().clone());
                let content = state::content(&topology, &health);
                // An empty topology is what a start begins with: never a reason to forget the last one.
                if !content.is_empty() && written.as_ref() != Some(&(epoch, content.clone())) {
                    let (dir, zone) = (dir.clone(), source.clone());
                    let save = move || {
                        let zone = &zone.config;
                        state::save(&dir, &zone.name(), &zone.cluster.seeds, epoch, &topology, &health)
                    };
                    let result = tokio::task::spawn_blocking(save).await;
                    match result {
                        Ok(Ok(())) => {
                            if failing {
                                tracing::info!(zone = source.config.name(), "the state file can be written again");
                            }
                            failing = false;
                        }
                        Ok(Err(error)) if !failing => {
                            tracing::error!(%error, "cannot write the state file; trying on");
                            failing = true;
                        }
                        _ => {}
                    }
                    if !failing {
                        written = Some((epoch, content));
                    }
                }
                if stopping {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(WRITE_EVERY) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }
}

/// The zones, the Table made of them, and its predecessors.
pub(crate) struct Controller {
    zones: Vec<Zone>,
    table: Arc<ArcSwap<Table>>,
    retired: Retired,
    /// Asked whether all of this still gets on.
    pulsed: Option<Pulsed>,
    /// The start is over: changes are logged.
    logging: bool,
    compiles: Arc<Compiles>,
    journal: Journal,
}

impl Controller {
    /// Compiles every zone once, so that static records and remembered nodes are served from the first query on.
    pub(crate) fn new(
        mut zones: Vec<Zone>,
        table: Arc<ArcSwap<Table>>,
        compiles: Arc<Compiles>,
        journal: Journal,
    ) -> Self {
        for zone in &mut zones {
            compiles.timed(|| zone.compile());
        }
        let retired = Retired::default();
        let mut controller = Controller { zones, table, retired, pulsed: None, logging: false, compiles, journal };
        controller.publish();
        controller
    }

    /// The zones.
    pub(crate) fn zones(&mut self) -> &mut [Zone] {
        &mut self.zones
    }

    /// Asks the controller at work whether it gets on.
    pub(crate) fn pulse(&mut self) -> Pulse {
        let (pulse, pulsed) = Pulse::new();
        self.pulsed = Some(pulsed);
        pulse
    }

    /// Compiles what changed, and frees what nobody reads any more.
    fn turn(&mut self) {
        self.retired.free();
        let compiles = &self.compiles;
        let changes = self.zones.iter_mut().filter_map(|zone| compiles.timed(|| zone.compile()).then_some(())).count();
        if changes > 0 {
            self.publish();
            if self.logging {
                self.log();
            }
        }
    }

    fn publish(&mut self) {
        let table = Table::new(self.zones.iter().filter_map(|zone| zone.compiled.clone()));
        self.retired.keep(self.table.swap(Arc::new(table)));
        self.compiles.count_swap();
    }

    fn log(&mut self) {
        self.zones.iter_mut().for_each(|zone| zone.log(&self.journal));
    }

    /// When a zone's decisions may change though nothing happens.
    fn due(&self) -> Option<Instant> {
        let next = self.zones.iter().filter_map(|zone| zone.next_change).min()?;
        Instant::now().checked_add(next.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Follows the zones until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let log_from = Instant::now() + QUIET_START;
        loop {
            let free_at = Instant::now() + FREE_AFTER;
            let due = self.due();
            let change = tokio::select! {
                () = changed(&mut self.zones) => true,
                () = sleep_until(due.unwrap_or(free_at)), if due.is_some() => true,
                () = sleep_until(free_at), if !self.retired.is_empty() => false,
                () = sleep_until(log_from), if !self.logging => {
                    self.logging = true;
                    self.log();
                    continue;
                }
                () = beat(&mut self.pulsed) => continue,
                () = stop.cancelled() => return,
            };
            let next = Instant::now() + COMPILE_EVERY;
            // Compiling and freeing are work for a core, not for the runtime's own threads.
            let turned = tokio::task::spawn_blocking(move || {
                if change {
                    self.turn()
                } else {
                    self.retired.free()
                }
                self
            });
            let Ok(returned) = turned.await else { return };
            self = returned;
            tokio::select! {
                () = sleep_until(next) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Answers whoever asks for a pulse; never completes.
async fn beat(pulsed: &mut Option<Pulsed>) {
    match pulsed {
        Some(pulsed) => pulsed.beat().await,
        None => std::future::pending().await,
    }
}

/// Waits until a poller or prober of any zone published something. A zone without seeds never changes.
async fn changed(zones: &mut [Zone]) {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = vec![Box::pin(std::future::pending())];
    for zone in zones {
        let Zone { topology, health, overrides, .. } = zone;
        waiting.push(Box::pin(changed_or_never(topology)));
        waiting.push(Box::pin(changed_or_never(health)));
        waiting.push(Box::pin(changed_or_never(overrides)));
    }
    select_all(waiting).await;
}

async fn changed_or_never<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The clock of epochs: ticks since 1970, wrapping after five years; 0 on a machine whose clock stands before that.
fn clock() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_millis() / CLOCK_TICK.as_millis()) as u32
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Weak};

    use hickory_proto::rr::Name;

    use super::*;
    use crate::{
        config::{Seed, ZoneConfig},
        model::{Listing, Member, Node, Source},
        zone::file::StaticZone,
    };

    fn controller(zone: Zone, table: Arc<ArcSwap<Table>>) -> Controller {
        Controller::new(vec![zone], table, Arc::default(), Journal::default())
    }

    /// A topology of this many nodes.
    fn topology(nodes: u8) -> Arc<Topology> {
        let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
        for last in 0..nodes {
            let address: IpAddr = [10, 0, 0, last + 1].into();
            let node = Node { address, datacenter: None, rack: None };
            topology.members.insert(address, Member { node, listing: Listing::Listed, served_before: false });
        }
        Arc::new(topology)
    }

    /// A zone whose nodes are not probed: listing decides.
    fn zone() -> (watch::Sender<Arc<Topology>>, Zone) {
        let mut config = ZoneConfig::new(Name::from_ascii("alternator.local.").unwrap());
        config.cluster.seeds = vec![Seed::Address([10, 0, 0, 1].into())];
        let source = ZoneSource {
            config,
            statics: StaticZone::default(),
            listen: Vec::new(),
            demand: Arc::default(),
            meter: Arc::default(),
        };
        let (publish, topology) = watch::channel(topology(1));
        let health = watch::Sender::new(Arc::new(Health { disabled: true, ..Health::default() }));
        let overrides = watch::Sender::default().subscribe();
        (publish, Zone::new(Arc::new(source), None, topology, health.subscribe(), overrides))
    }

    /// A controller at work over [`zone`].
    fn controlled() -> (watch::Sender<Arc<Topology>>, Arc<ArcSwap<Table>>, CancellationToken) {
        let (publish, zone) = zone();
        let (table, stop) = (Arc::new(ArcSwap::from_pointee(Table::default())), CancellationToken::new());
        tokio::spawn(controller(zone, table.clone()).run(stop.clone()));
        (publish, table, stop)
    }

    /// The zone's epoch and number of nodes.
    fn served(table: &ArcSwap<Table>) -> (u32, usize) {
        let table = table.load();
        let zone = table.zones().next().unwrap();
        (zone.epoch, zone.plan.nodes().count())
    }

    async fn until_served(table: &ArcSwap<Table>, nodes: usize) {
        let wait = async {
            while served(table).1 != nodes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    }

    #[test]
    fn what_changes_nothing_is_not_compiled() {
        let (publish, mut zone) = zone();
        assert!(zone.compile());
        publish.send_replace(topology(1));
        assert!(!zone.compile(), "the same topology again");
        publish.send_replace(topology(2));
        let before = zone.compiled.as_ref().map(|compiled| compiled.epoch);
        assert!(zone.compile());
        assert!(zone.compiled.as_ref().map(|compiled| compiled.epoch) > before, "the serial grows");
    }

    /// Tables of a zone with this many nodes more, as often as told.
    fn change(publish: &watch::Sender<Arc<Topology>>, controller: &mut Controller, nodes: u8) -> Weak<Table> {
        publish.send_replace(topology(nodes));
        controller.turn();
        Arc::downgrade(&controller.table.load_full())
    }

    #[test]
    fn a_table_that_is_read_outlives_its_reader_and_is_then_freed() {
        let (publish, zone) = zone();
        let mut controller = controller(zone, Arc::new(ArcSwap::from_pointee(Table::default())));
        let table = controller.table.clone();
        let first = change(&publish, &mut controller, 2);
        let reader = table.load();
        let second = change(&publish, &mut controller, 3);
        change(&publish, &mut controller, 4);
        assert_eq!(
            (first.strong_count() > 0, second.strong_count()),
            (true, 1),
            "what nobody reads waits for its turn"
        );
        drop(reader);
        assert_eq!(first.strong_count(), 1, "a reader that has done frees nothing");
        controller.retired.free();
        assert_eq!((first.strong_count(), second.strong_count()), (0, 0));
        assert!(controller.retired.is_empty());
    }

    #[test]
    fn of_a_thousand_changes_only_the_tables_in_use_are_left() {
        let (publish, zone) = zone();
        let mut controller = controller(zone, Arc::new(ArcSwap::from_pointee(Table::default())));
        let (mut tables, mut decks) = (Vec::new(), Vec::new());
        let table = controller.table.clone();
        // One that never lets go.
        let held = table.load_full();
        let live = |weak: &Weak<_>| weak.strong_count() > 0;
        for round in 0..1000u32 {
            let reader = table.load();
            tables.push(change(&publish, &mut controller, 2 + (round % 50) as u8));
            let now = table.load();
            decks.extend(now.zones().flat_map(|zone| &zone.dealt).map(|dealt| Arc::downgrade(&dealt.deck)));
            drop(reader);
            let in_use = tables.iter().filter(|table| live(table)).count();
            assert!(in_use <= 2, "{in_use} Tables after {round} changes: the one served, the one before");
        }
        controller.retired.free();
        assert_eq!(decks.iter().filter(|deck| deck.strong_count() > 0).count(), 1, "decks of the Table served");
        drop(held);
        controller.retired.free();
        assert!(controller.retired.is_empty());
    }

    #[test]
    fn readers_that_never_let_go_do_not_make_it_keep_ever_more() {
        let (publish, zone) = zone();
        let mut controller = controller(zone, Arc::new(ArcSwap::from_pointee(Table::default())));
        let table = controller.table.clone();
        let held: Vec<Arc<Table>> = (0..100u8)
            .map(|nodes| {
                change(&publish, &mut controller, 2 + nodes);
                table.load_full()
            })
            .collect();
        let kept = held.iter().filter(|table| Arc::strong_count(table) > 1).count();
        assert_eq!(kept, 1 + retired::KEPT, "the one served, and those that wait");
    }

    #[tokio::test]
    async fn a_table_is_freed_though_no_change_follows() {
        let (publish, table, stop) = controlled();
        let first = Arc::downgrade(&table.load_full());
        publish.send_replace(topology(2));
        until_served(&table, 2).await;
        let freed = async {
            while first.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), freed).await.unwrap();
        stop.cancel();
    }

    #[tokio::test]
    async fn a_storm_of_changes_costs_one_compile_per_interval() {
        let (publish, table, stop) = controlled();
        let mut epochs = std::collections::BTreeSet::from([served(&table).0]);
        let start = Instant::now();
        for round in 0..200u32 {
            publish.send_replace(topology(2 + (round % 3) as u8));
            tokio::time::sleep(Duration::from_millis(1)).await;
            epochs.insert(served(&table).0);
        }
        publish.send_replace(topology(9));
        until_served(&table, 9).await;
        let compiles = epochs.len();
        let most = start.elapsed().as_millis() / COMPILE_EVERY.as_millis() + 2;
        assert!(compiles as u128 <= most, "{compiles} compiles, {most} allowed");
        stop.cancel();
    }
}
