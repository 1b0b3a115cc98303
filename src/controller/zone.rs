//! One zone, as the controller follows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::rr::Name;
use tokio::{sync::watch, time::Instant};

use super::log;
use crate::{
    config::Seed,
    journal::Journal,
    model::{ClusterView, Health, Loan, Member, Overrides, Source, Topology},
    plan::{incident_window, is_silent},
    table::{CompiledZone, ZonePlan, ZoneSource, compile_zone, next_epoch},
};

/// One tick of the epochs' clock. Shorter than [`COMPILE_EVERY`](super::COMPILE_EVERY), so that no storm of changes runs
/// ahead of the clock.
const CLOCK_TICK: Duration = Duration::from_millis(40);

/// Nothing is logged of a zone's answers for this long after its start: nodes are found and admitted one after another,
/// and the fallbacks between are nobody's incident. What is wrong after it is logged then.
const QUIET_START: Duration = Duration::from_secs(1);

/// Nothing is borrowed for this long after a zone's start, unless its cluster is known already: whoever has just begun to
/// look has not missed anybody yet.
const LOOKS_FOR: Duration = Duration::from_secs(1);

/// How long a zone that was given other seeds goes on with what it answered before, while no node of the new cluster is
/// known to serve. Nodes are found and admitted within a second or so; after this the seeds are wrong, and that must not
/// stay hidden behind a cluster that the operator turned away from.
const LET_GO_AFTER: Duration = Duration::from_secs(10);

/// What a zone is compiled from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) source: Arc<ZoneSource>,
    /// The epoch of an earlier run.
    pub(crate) epoch: Option<u32>,
    pub(crate) topology: watch::Receiver<Arc<Topology>>,
    pub(crate) health: watch::Receiver<Arc<Health>>,
    /// Datacenters that only other zones on its cluster name.
    pub(crate) elsewhere: Arc<BTreeSet<Arc<str>>>,
    pub(crate) overrides: watch::Receiver<Arc<Overrides>>,
    /// Where its epochs go, for the writer of the state file.
    pub(crate) epochs: watch::Sender<u32>,
}

/// One zone.
pub(super) struct Zone {
    pub(super) inputs: Inputs,
    /// When its decisions may change though nothing else does.
    pub(super) next_change: Option<SystemTime>,
    pub(super) compiled: Option<Arc<CompiledZone>>,
    /// The plan whose decisions were logged last; `None` until the zone has had time to find its nodes.
    logged: Option<Arc<ZonePlan>>,
    /// When that time is over.
    log_from: Instant,
    /// Since when nobody of its cluster is heard.
    silent_since: Option<Instant>,
    /// When it may borrow.
    borrows_from: Instant,
    /// Until when what was compiled from other inputs is answered while these lead to no answer.
    lets_go: Option<Instant>,
}

impl Zone {
    pub(super) fn new(inputs: Inputs) -> Self {
        let log_from = Instant::now() + QUIET_START;
        // What a process before this one told, it found out.
        let is_known = inputs.topology.borrow().source == Source::Discovery;
        let borrows_from = Instant::now() + if is_known { Duration::ZERO } else { LOOKS_FOR };
        Zone {
            inputs,
            next_change: None,
            compiled: None,
            logged: None,
            log_from,
            silent_since: None,
            borrows_from,
            lets_go: None,
        }
    }

    /// Follows these inputs from now on. What was compiled is answered until they lead to something else.
    pub(super) fn follow(&mut self, inputs: Inputs) {
        if !Arc::ptr_eq(&self.inputs.source, &inputs.source) {
            self.lets_go = Some(Instant::now() + LET_GO_AFTER);
        }
        self.inputs = inputs;
    }

    /// What is known of its cluster now.
    pub(super) fn look(&mut self) -> ClusterView {
        let Inputs { source, topology, health, overrides, elsewhere, .. } = &mut self.inputs;
        let topology = of_zone(topology.borrow_and_update().clone(), source, elsewhere);
        let health = health.borrow_and_update().clone();
        let overrides = overrides.borrow_and_update().clone();
        match is_silent(&topology, &health) {
            true => _ = self.silent_since.get_or_insert_with(Instant::now),
            false => self.silent_since = None,
        }
        ClusterView {
            topology,
            health,
            overrides,
            loan: None,
            unheard: self.given_up_in() == Some(Duration::ZERO),
            now: SystemTime::now(),
        }
    }

    /// After how long it gives its cluster up, which nobody hears: as long as nodes take to be found dead.
    fn given_up_in(&self) -> Option<Duration> {
        let patience = incident_window(&self.inputs.source.config);
        Some(patience.saturating_sub(self.silent_since?.elapsed()))
    }

    /// Compiles the zone if its plan for this view, and for what others lend, differs from the one served. Returns whether
    /// it did.
    pub(super) fn compile(&mut self, mut view: ClusterView, loans: &BTreeMap<Name, Arc<Loan>>) -> bool {
        let now = view.now;
        let loan = self.inputs.source.config.fallback_zone.as_ref().and_then(|zone| loans.get(zone));
        // How long is left, whatever the clock on the wall is set to.
        let until = |end: Instant| Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
        let waits = until(self.borrows_from).filter(|_| loan.is_some());
        view.loan = loan.filter(|_| waits.is_none()).cloned();
        let gives_up = self.given_up_in().filter(|_| loan.is_some() && !view.unheard).map(|wait| now + wait);
        let Inputs { source, epoch, epochs, .. } = &mut self.inputs;
        // Of another source nothing is the same, not even what follows from the same view.
        let before = self.compiled.as_ref().filter(|compiled| Arc::ptr_eq(&compiled.source, source));
        let plan = ZonePlan::after(before.map(|compiled| &*compiled.plan), source, &view);
        let changes = [plan.next_change.0, waits.map(|left| now + left), gives_up];
        self.next_change = changes.into_iter().flatten().min();
        if before.is_some_and(|compiled| *compiled.plan == plan) {
            return false;
        }
        // Answers of the old cluster's own are also better than what another zone lends.
        let is_worse = |old: &ZonePlan| old.is_ready() && !plan.is_ready() || old.has_own() && !plan.has_own();
        if before.is_none()
            && self.compiled.as_ref().is_some_and(|compiled| is_worse(&compiled.plan))
            && !plan.scopes.is_empty()
            && let Some(left) = self.lets_go.and_then(until)
        {
            self.next_change = [self.next_change, Some(now + left)].into_iter().flatten().min();
            return false;
        }
        self.lets_go = None;
        let previous = self.compiled.take();
        let epoch = next_epoch(previous.as_ref().map(|zone| zone.epoch).or(*epoch), clock());
        let compiled = compile_zone(source.clone(), plan, epoch, previous.as_deref(), fastrand::u64(..));
        tracing::debug!(zone = %source.config.name(), epoch, "compiled");
        self.compiled = Some(Arc::new(compiled));
        epochs.send_replace(epoch);
        true
    }

    /// When what is wrong is to be logged for the first time; `None` once it was.
    pub(super) fn logs_from(&self) -> Option<Instant> {
        self.logged.is_none().then_some(self.log_from)
    }

    /// Logs what changed in the decisions since they were logged last, unless the zone has just begun.
    pub(super) fn log(&mut self, journal: &Journal) {
        let Some(compiled) = self.compiled.as_ref().filter(|_| self.log_from <= Instant::now()) else { return };
        let zone = self.inputs.source.config.name();
        log::changes(&log::Log { zone: &zone, journal }, self.logged.as_deref(), &compiled.plan);
        self.logged = Some(compiled.plan.clone());
    }
}

/// A topology with the names of this zone only, and the nodes that it would find alone: others on the same cluster may
/// know more of them. `elsewhere`: datacenters that only those name.
fn of_zone(topology: Arc<Topology>, source: &ZoneSource, elsewhere: &BTreeSet<Arc<str>>) -> Arc<Topology> {
    let named = source.config.only_places();
    let Some(named) = named.as_ref() else { return topology };
    // Seeds list the nodes of their own datacenters, whatever is named.
    let datacenter = |seed: &Seed| match seed {
        Seed::Address(address) => topology.members.get(address)?.node.datacenter.clone(),
        Seed::Host(_) => None,
    };
    let of_seeds: BTreeSet<Arc<str>> = source.config.cluster.seeds.iter().filter_map(datacenter).collect();
    // Of a zone that names nothing, and whose seeds are nowhere, it is not known which nodes it would find.
    let is_known = !(named.is_empty() && of_seeds.is_empty());
    let is_foreign = |member: &Member| {
        let place = member.node.datacenter.as_ref();
        is_known && place.is_some_and(|dc| elsewhere.contains(dc) && !of_seeds.contains(dc))
    };
    if topology.is_of_places(Some(named)) && !topology.members.values().any(is_foreign) {
        return topology;
    }
    let mut own = topology.as_ref().clone().of_places(Some(named));
    own.members.retain(|_, member| !is_foreign(member));
    Arc::new(own)
}

/// Changes that another process may make while it is being replaced, where its epochs are ahead of the clock: far more
/// than there are between two answers, and fewer than the ticks that a replacement takes, so that one after the other
/// does not run ahead further and further.
const AHEAD: u32 = 16;

/// An epoch that no other process reaches that goes on from this one for so long at most.
pub(crate) fn epoch_beyond(epoch: u32, time: Duration) -> u32 {
    beyond(epoch, time, clock())
}

fn beyond(epoch: u32, time: Duration, clock: u32) -> u32 {
    let ticks = u32::try_from(time.as_millis() / CLOCK_TICK.as_millis()).unwrap_or(u32::MAX >> 1);
    next_epoch(Some(epoch.wrapping_add(AHEAD)), clock.wrapping_add(ticks))
}

/// The clock of epochs: ticks since 1970, wrapping after five years; 0 on a machine whose clock stands before that.
fn clock() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_millis() / CLOCK_TICK.as_millis()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_do_not_run_ahead_of_the_clock() {
        let (second, overlap) = (25, Duration::from_secs(6));
        let (mut clock, mut epoch) = (u32::MAX - 1000, u32::MAX - 1000);
        for _ in 0..100 {
            let next = beyond(epoch, overlap, clock);
            assert!((1..1 << 31).contains(&next.wrapping_sub(epoch)), "{epoch} then {next}");
            epoch = next;
            clock = clock.wrapping_add(second);
            assert!(epoch.wrapping_sub(clock) < 6 * second + AHEAD + 1, "{epoch} at {clock}");
        }
    }
}
