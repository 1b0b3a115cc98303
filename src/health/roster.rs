//! The trackers of a zone's members, and the judgement over all of them. Pure.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    Moment, Now,
    panic::{Evidence, Judgement, Panic, Turn, judge},
    tracker::{Effect, Pace, Probe, Thresholds, Tracker},
};
use crate::{
    config::HealthConfig,
    model::{Failure, Health, Listing, NodeState, Source, Topology},
};

/// How long the history of a node that is no member is kept: a node that is rebooted or cut off is back within
/// minutes; after an hour the address may well belong to another machine.
const HISTORY_AGE: Duration = Duration::from_secs(3600);

/// How many nodes that are no members have their history kept, so that a cluster in which addresses come and go (or
/// a node that lists ever new ones) costs a bounded amount of memory.
const HISTORY_NODES: usize = 1024;

/// All a zone's prober knows of nodes.
#[derive(Debug)]
pub(super) struct Roster {
    thresholds: Thresholds,
    threshold: f64,
    /// An Up confirmed within this time before a node returns is still good: it is the time that probing would have
    /// taken to notice a death.
    trust: Duration,
    members: BTreeMap<IpAddr, Seat>,
    absent: BTreeMap<IpAddr, Absent>,
    panic: Panic,
    /// Nobody of the cluster lists the members at present.
    stale: bool,
    /// Results of probes that started from here on would settle who is held.
    awaited: Option<Moment>,
    changed: bool,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Seat {
    tracker: Tracker,
    listed: bool,
}

#[derive(Debug)]
struct Absent {
    tracker: Tracker,
    since: Moment,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node's state changed.
    Node { address: IpAddr, from: NodeState, to: NodeState, failure: Option<Failure> },
    /// Panic began or ended.
    Panic { turn: Turn, silent: usize, listed: usize },
}

impl Roster {
    /// Nobody yet.
    pub(super) fn new(config: &HealthConfig) -> Self {
        let per_result = config.interval.saturating_add(config.timeout);
        Roster {
            thresholds: Thresholds { rise: config.rise.max(1), fall: config.fall.max(1) },
            threshold: config.panic_threshold,
            trust: per_result.saturating_mul(config.fall.max(1)),
            members: BTreeMap::new(),
            absent: BTreeMap::new(),
            panic: Panic::new(per_result.saturating_mul(config.rise.max(1))),
            stale: false,
            awaited: None,
            changed: false,
            events: Vec::new(),
        }
    }

    /// Begins with what an earlier prober of this process published. Whoever is no member any more is sorted out by the
    /// first topology.
    pub(super) fn resume(&mut self, health: &Health, now: Now) {
        let seat = |health| Seat { tracker: Tracker::known(health, now), listed: true };
        self.members = health.nodes.iter().map(|(&address, health)| (address, seat(health))).collect();
        if health.panic {
            self.panic.resume();
        }
    }

    /// Takes a topology: who is a member from now on.
    pub(super) fn follow(&mut self, topology: &Topology, now: Now) {
        self.stale = topology.stale || topology.source != Source::Discovery;
        let gone: Vec<IpAddr> =
            self.members.keys().filter(|address| !topology.members.contains_key(address)).copied().collect();
        for address in gone {
            if let Some(seat) = self.members.remove(&address) {
                self.absent.insert(address, Absent { tracker: seat.tracker, since: now.moment });
                self.changed = true;
            }
        }
        for (&address, member) in &topology.members {
            let listed = member.listing == Listing::Listed;
            match self.members.get_mut(&address) {
                Some(seat) => seat.listed = listed,
                None => self.admit(address, listed, now),
            }
            if let Some(seat) = self.members.get_mut(&address)
                && member.served_before
            {
                seat.tracker.served_before();
            }
        }
        self.forget(now.moment);
        self.weigh(now);
    }

    fn admit(&mut self, address: IpAddr, listed: bool, now: Now) {
        let tracker = match self.absent.remove(&address) {
            Some(Absent { mut tracker, .. }) => {
                tracker.resume(now.moment.saturating_sub(self.trust), now);
                tracker
            }
            None => Tracker::new(false, now),
        };
        self.members.insert(address, Seat { tracker, listed });
        self.changed = true;
    }

    /// Drops the histories that are too old, and the oldest of those that are too many.
    fn forget(&mut self, now: Moment) {
        self.absent.retain(|_, absent| now.saturating_sub(absent.since) < HISTORY_AGE);
        if self.absent.len() > HISTORY_NODES {
            let mut oldest: Vec<(Moment, IpAddr)> =
                self.absent.iter().map(|(&address, absent)| (absent.since, address)).collect();
            oldest.sort_unstable();
            for (_, address) in &oldest[..oldest.len() - HISTORY_NODES] {
                self.absent.remove(address);
            }
        }
    }

    /// Takes a probe's result. That of a node which is no member any more is dropped: it must not revive the node,
    /// and the node is asked anew when it returns.
    pub(super) fn record(&mut self, address: IpAddr, probe: Probe, now: Now) {
        let Some(seat) = self.members.get_mut(&address) else { return };
        let was_silent = seat.tracker.is_silent();
        match seat.tracker.record(probe, now, self.thresholds) {
            Effect::Nothing => {}
            Effect::Failure => self.changed = true,
            Effect::Left(from) => {
                self.changed = true;
                self.events.push(transition(address, from, &seat.tracker));
            }
        }
        // What is weighed is silence. A node that was heard and is heard again matters only to those held for it, and
        // looking at every node for every result would cost a large cluster a core.
        if was_silent || seat.tracker.is_silent() || self.awaited.is_some() || self.panic.distrusted() {
            self.weigh(now);
        }
    }

    /// Judges the members and applies what follows: panic begins or ends, ripe nodes leave or are held.
    /// Called after every change, and when [`Roster::deadline`] comes.
    pub(super) fn weigh(&mut self, now: Now) {
        let judgement = judge(self.evidence(), self.threshold);
        if let Some(turn) = self.panic.update(judgement.beyond, self.stale, now.moment) {
            self.changed = true;
            self.events.push(Event::Panic { turn, silent: judgement.silent, listed: judgement.listed });
        }
        self.awaited = self.release(judgement, now);
    }

    fn evidence(&self) -> impl Iterator<Item = Evidence> {
        self.members
            .values()
            .filter(|seat| seat.listed)
            .map(|Seat { tracker, .. }| Evidence { silent: tracker.is_silent(), started: tracker.latest_started() })
    }

    /// Takes the ripe nodes Down that need not be held. Returns the moment from which others' results would settle
    /// all that are held, unless distrust holds them anyway.
    fn release(&mut self, judgement: Judgement, now: Now) -> Option<Moment> {
        let mut awaited = None;
        for (&address, seat) in &mut self.members {
            let Some(silent_since) = seat.tracker.silent_since() else { continue };
            if !seat.tracker.is_ripe(self.thresholds.fall) {
                continue;
            }
            let settled = judgement.settled.is_some_and(|settled| silent_since <= settled);
            // A node that the cluster does not list has no part in panic, neither in the count nor in its favour.
            if !seat.listed || (settled && !self.panic.distrusted()) {
                let Effect::Left(from) = seat.tracker.leave_up(now) else { continue };
                self.changed = true;
                self.events.push(transition(address, from, &seat.tracker));
            } else {
                awaited = awaited.max(Some(silent_since));
            }
        }
        if self.panic.distrusted() { None } else { awaited }
    }

    /// The members to probe out of turn, because a node is held until they have a fresh result.
    pub(super) fn awaited(&self) -> impl Iterator<Item = IpAddr> {
        self.awaited
            .into_iter()
            .flat_map(|from| {
                self.members.iter().filter(move |(_, Seat { tracker, listed })| {
                    *listed && !tracker.is_silent() && tracker.latest_started() < Some(from)
                })
            })
            .map(|(&address, _)| address)
    }

    /// When [`Roster::weigh`] is due though nothing happened.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.panic.ends()
    }

    /// How soon a node wants its next probe, and whether its last one was silent; `None` when it is no member.
    pub(super) fn pace(&self, address: IpAddr) -> Option<(Pace, bool)> {
        let tracker = &self.members.get(&address)?.tracker;
        Some((tracker.pace(self.thresholds), tracker.is_silent()))
    }

    /// Whether others would see a difference since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What happened since the last call, in order.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Everything, as published.
    pub(super) fn health(&self) -> Health {
        Health {
            nodes: self.members.iter().map(|(&address, seat)| (address, seat.tracker.health())).collect(),
            panic: self.panic.active(),
            disabled: false,
        }
    }
}

fn transition(address: IpAddr, from: NodeState, tracker: &Tracker) -> Event {
    Event::Node { address, from, to: tracker.state(), failure: tracker.failure().cloned() }
}

#[cfg(test)]
mod tests;
