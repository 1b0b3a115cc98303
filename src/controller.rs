//! Compiles what pollers and probers find, and swaps the Table: the Table's only writer.

mod compiles;
mod loans;
mod log;
mod retired;
mod writer;
mod zone;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use futures_util::future::select_all;
use hickory_proto::rr::Name;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::compiles::Compiles;
use self::{retired::Retired, zone::Zone};
pub(crate) use self::{
    writer::Writer,
    zone::{Inputs, epoch_beyond},
};
use crate::{
    journal::Journal,
    model::ClusterView,
    overrides::Departures,
    service::{Pulse, Pulsed},
    table::Table,
};

/// Least time between two compiles, so that a storm of changes costs one compile per this time and none is late by
/// more than it.
const COMPILE_EVERY: Duration = Duration::from_millis(50);

/// Time after which Tables that are no longer served are looked at again, when no change comes before: readers have
/// done with them within milliseconds.
const FREE_AFTER: Duration = Duration::from_secs(1);

/// The same just after a change: somebody may be waiting for the last answer of a node.
const FREE_SOON: Duration = Duration::from_millis(20);

/// What has a date is looked at this often: the machine's clock may be set, or stand still while it sleeps.
const CLOCK_MAY_BE_SET: Duration = Duration::from_secs(30);

/// The zones to follow from now on, instead of all before.
pub(crate) struct ZoneSet {
    /// One of each name. A zone whose inputs are those before goes on undisturbed.
    pub(crate) zones: Vec<Inputs>,
    /// Told once they are served.
    pub(crate) served: oneshot::Sender<()>,
}

/// The zones, the Table made of them, and its predecessors.
pub(crate) struct Controller {
    zones: Vec<Zone>,
    table: Arc<ArcSwap<Table>>,
    retired: Retired,
    /// Asked whether all of this still gets on.
    pulsed: Option<Pulsed>,
    compiles: Arc<Compiles>,
    journal: Journal,
    /// Who was answered until when.
    departures: Departures,
    /// When a Table was swapped in last.
    swapped: Instant,
}

impl Controller {
    /// Compiles every zone once, so that static records and remembered nodes are served from the first query on.
    pub(crate) fn new(
        zones: Vec<Inputs>,
        table: Arc<ArcSwap<Table>>,
        compiles: Arc<Compiles>,
        journal: Journal,
        departures: Departures,
    ) -> Self {
        let zones = zones.into_iter().map(Zone::new).collect();
        let (retired, pulsed, swapped) = (Retired::default(), None, Instant::now());
        let mut controller = Controller { zones, table, retired, pulsed, compiles, journal, departures, swapped };
        controller.turn(None);
        controller
    }

    /// Asks the controller at work whether it gets on.
    pub(crate) fn pulse(&mut self) -> Pulse {
        let (pulse, pulsed) = Pulse::new();
        self.pulsed = Some(pulsed);
        pulse
    }

    /// Follows these zones instead of those before. Returns whether some are gone.
    fn follow(&mut self, zones: Vec<Inputs>) -> bool {
        let apex = |inputs: &Inputs| inputs.source.config.apex.clone();
        let mut zones: BTreeMap<Name, Inputs> = zones.into_iter().map(|inputs| (apex(&inputs), inputs)).collect();
        let before = self.zones.len();
        self.zones.retain_mut(|zone| {
            let Some(inputs) = zones.remove(&zone.inputs.source.config.apex) else { return false };
            zone.follow(inputs);
            true
        });
        let are_gone = self.zones.len() < before;
        // New ones come last, so that the others keep the workers' places in their decks.
        self.zones.extend(zones.into_values().map(Zone::new));
        are_gone
    }

    /// Compiles what changed, and frees what nobody reads any more.
    fn turn(&mut self, set: Option<ZoneSet>) {
        self.free();
        let (zones, served) = set.map_or((None, None), |ZoneSet { zones, served }| (Some(zones), Some(served)));
        let are_gone = zones.is_some_and(|zones| self.follow(zones));
        let compiles = &self.compiles;
        // All at one moment: what one lends and what another borrows are the same.
        let views: Vec<ClusterView> = self.zones.iter_mut().map(Zone::look).collect();
        let loans = loans::loans(&self.zones, &views);
        let zones = self.zones.iter_mut().zip(views);
        let compile = |(zone, view): (&mut Zone, ClusterView)| compiles.timed(|| zone.compile(view, &loans));
        let changes = zones.map(compile).filter(|changed| *changed).count();
        if changes > 0 || are_gone {
            self.publish();
            self.log();
        }
        // Whoever sent them may have stopped waiting.
        let _ = served.map(|served| served.send(()));
    }

    fn publish(&mut self) {
        let table = Table::new(self.zones.iter().filter_map(|zone| zone.compiled.clone()));
        // Before it is: whoever has seen an answer of the new Table has it counted.
        self.compiles.count_swap();
        self.retired.keep(self.departures.swap(&self.table, Arc::new(table)));
        self.swapped = Instant::now();
    }

    /// Frees what nobody reads any more: from then on, what was answered from it only grows older.
    fn free(&mut self) {
        self.retired.free();
        self.departures.settle(std::time::Instant::now());
    }

    /// When to look again at what may be freed, though nothing happens; `None` = there is nothing.
    fn free_at(&self) -> Option<Instant> {
        let waits = !self.retired.is_empty() || self.departures.is_waiting();
        let after = if self.swapped.elapsed() < FREE_AFTER { FREE_SOON } else { FREE_AFTER };
        waits.then(|| Instant::now() + after)
    }

    fn log(&mut self) {
        self.zones.iter_mut().for_each(|zone| zone.log(&self.journal));
    }

    /// When a zone's decisions may change though nothing happens.
    fn due(&self) -> Option<Instant> {
        let next = self.zones.iter().filter_map(|zone| zone.next_change).min()?;
        Some(Instant::now() + next.duration_since(SystemTime::now()).unwrap_or_default().min(CLOCK_MAY_BE_SET))
    }

    /// When a zone has had its time to find its nodes.
    fn logs_from(&self) -> Option<Instant> {
        self.zones.iter().filter_map(Zone::logs_from).min()
    }

    /// Follows the zones, and each set of them that comes, until told to stop.
    pub(crate) async fn run(mut self, mut sets: mpsc::Receiver<ZoneSet>, stop: CancellationToken) {
        loop {
            let (due, logs_from, free_at) = (self.due(), self.logs_from(), self.free_at());
            // Where there is no such moment, it is not waited for.
            let never = Instant::now() + FREE_AFTER;
            let (mut set, mut change) = (None, true);
            tokio::select! {
                Some(next) = sets.recv() => set = Some(next),
                () = changed(&mut self.zones) => {}
                () = sleep_until(due.unwrap_or(never)), if due.is_some() => {}
                () = sleep_until(free_at.unwrap_or(never)), if free_at.is_some() => change = false,
                () = sleep_until(logs_from.unwrap_or(never)), if logs_from.is_some() => {
                    self.log();
                    continue;
                }
                () = beat(&mut self.pulsed) => continue,
                () = stop.cancelled() => return,
            }
            let next = Instant::now() + COMPILE_EVERY;
            // Compiling and freeing are work for a core, not for the runtime's own threads.
            let turned = tokio::task::spawn_blocking(move || {
                if change {
                    self.turn(set)
                } else {
                    self.free()
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
        let Inputs { topology, health, overrides, .. } = &mut zone.inputs;
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

#[cfg(test)]
mod tests;
