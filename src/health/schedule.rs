//! When each node's next probe starts, and how many probes may be under way. Pure but for its own dice.
//!
//! One probe of a node at a time. Nodes wait in two lanes, by how their last probe went: those that were silent will
//! probably hold their place for the whole time-out again, the others give it back in milliseconds. No lane may take
//! all places, so neither can starve the other: however many nodes hang, those that answer are probed on time, and
//! however many slow nodes there are, hung ones are asked whether they are back. Nodes that hang for the first time
//! are still in the prompt lane, and delay it by one time-out at most per lane's worth of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{Moment, tracker::Pace};

/// How many probes of a zone may be under way: each has a socket, and a process is often limited to 1,024 of them.
const PLACES: usize = 256;

/// How many of the [`PLACES`] one lane may take. The rest (64) is what the other lane always has: with answers in
/// 10 ms that is 6,400 probes a second, with hung nodes and a time-out of 650 ms still almost 100.
const PLACES_PER_LANE: usize = 192;

/// No node is probed in a tighter loop than this, whatever the configuration says.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Deviation of the regular pause to both sides, so that nodes (and several servers) do not fall into step.
const JITTER: f64 = 0.1;

/// The part of the regular pause between probes of a node that was never decided: start-up takes a fraction of a
/// second. Also the least pause before a probe out of turn.
const UNDECIDED: u32 = 10;

/// The part of the regular pause while a decision is pending.
const PENDING: u32 = 2;

/// Who waits, who is being probed.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    dice: fastrand::Rng,
    slots: BTreeMap<IpAddr, Slot>,
    waiting: [BTreeSet<(Moment, IpAddr)>; 2],
    under_way: [usize; 2],
}

#[derive(Debug)]
struct Slot {
    lane: Lane,
    /// When the next probe is due; `None` while one is under way.
    due: Option<Moment>,
    last_start: Option<Moment>,
    /// The node has its own phase within the interval.
    spread: bool,
    /// False when the node left while its probe was under way.
    member: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Prompt = 0,
    Silent = 1,
}

impl Schedule {
    /// Nobody waits.
    pub(super) fn new(interval: Duration, seed: u64) -> Self {
        Schedule {
            interval: interval.max(SHORTEST_INTERVAL),
            dice: fastrand::Rng::with_seed(seed),
            slots: BTreeMap::new(),
            waiting: Default::default(),
            under_way: [0; 2],
        }
    }

    /// Makes exactly these nodes take turns. New ones are due at once; of those that left, a probe under way ends
    /// as it may.
    pub(super) fn set_members<'a>(&mut self, members: impl Iterator<Item = &'a IpAddr>, now: Moment) {
        let members: BTreeSet<IpAddr> = members.copied().collect();
        let waiting = &mut self.waiting;
        self.slots.retain(|node, slot| {
            slot.member = members.contains(node);
            if let (false, Some(due)) = (slot.member, slot.due) {
                waiting[slot.lane as usize].remove(&(due, *node));
            }
            slot.member || slot.due.is_none()
        });
        for node in members {
            self.slots.entry(node).or_insert_with(|| {
                waiting[Lane::Prompt as usize].insert((now, node));
                Slot { lane: Lane::Prompt, due: Some(now), last_start: None, spread: false, member: true }
            });
        }
    }

    /// The next node to probe now, if one is due and there is a place. Its probe counts as under way from now on.
    pub(super) fn start(&mut self, now: Moment) -> Option<IpAddr> {
        let (due, node, lane) = self.next()?;
        if due > now {
            return None;
        }
        self.waiting[lane as usize].remove(&(due, node));
        self.under_way[lane as usize] += 1;
        if let Some(slot) = self.slots.get_mut(&node) {
            slot.due = None;
            slot.last_start = Some(now);
        }
        Some(node)
    }

    /// When [`Schedule::start`] next has something to say; `None` while nobody waits or there is no place.
    pub(super) fn next_start(&self) -> Option<Moment> {
        self.next().map(|(due, ..)| due)
    }

    fn next(&self) -> Option<(Moment, IpAddr, Lane)> {
        if self.under_way.iter().sum::<usize>() >= PLACES {
            return None;
        }
        [Lane::Prompt, Lane::Silent]
            .into_iter()
            .filter(|&lane| self.under_way[lane as usize] < PLACES_PER_LANE)
            .filter_map(|lane| self.waiting[lane as usize].first().map(|&(due, node)| (due, node, lane)))
            .min_by_key(|&(due, ..)| due)
    }

    /// A probe is over; its node waits for the next one. `wanted` is the pace and whether the node was silent; `None`
    /// when it is no member.
    pub(super) fn finish(&mut self, node: IpAddr, wanted: Option<(Pace, bool)>, now: Moment) {
        let Some(slot) = self.slots.get_mut(&node) else { return };
        self.under_way[slot.lane as usize] = self.under_way[slot.lane as usize].saturating_sub(1);
        let Some((pace, silent)) = wanted.filter(|_| slot.member) else {
            self.slots.remove(&node);
            return;
        };
        let pause = match pace {
            Pace::Undecided => self.interval / UNDECIDED,
            Pace::Pending => self.interval / PENDING,
            Pace::Steady if slot.spread => self.interval.mul_f64(1.0 + JITTER * (2.0 * self.dice.f64() - 1.0)),
            // Nodes that became members together, or were probed out of turn together, part here.
            Pace::Steady => {
                slot.spread = true;
                self.interval / UNDECIDED + (self.interval - self.interval / UNDECIDED).mul_f64(self.dice.f64())
            }
        };
        let due = slot.last_start.unwrap_or(now).saturating_add(pause).max(now);
        slot.lane = if silent { Lane::Silent } else { Lane::Prompt };
        slot.due = Some(due);
        self.waiting[slot.lane as usize].insert((due, node));
    }

    /// The node's next probe is wanted now. It starts no sooner than the shortest pause after the last one, so that
    /// many wishes in a row do not become a flood.
    pub(super) fn hurry(&mut self, node: IpAddr, now: Moment) {
        let Some(slot) = self.slots.get_mut(&node) else { return };
        let soonest = slot.last_start.map_or(now, |start| start.saturating_add(self.interval / UNDECIDED).max(now));
        if let Some(due) = slot.due
            && soonest < due
        {
            let waiting = &mut self.waiting[slot.lane as usize];
            waiting.remove(&(due, node));
            waiting.insert((soonest, node));
            slot.due = Some(soonest);
            slot.spread = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn node(index: u32) -> IpAddr {
        IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + index))
    }

    fn ms(milliseconds: u64) -> Moment {
        Duration::from_millis(milliseconds)
    }

    fn schedule(nodes: u32) -> Schedule {
        let mut schedule = Schedule::new(INTERVAL, 7);
        let members: Vec<IpAddr> = (0..nodes).map(node).collect();
        schedule.set_members(members.iter(), ms(0));
        schedule
    }

    fn start_all(schedule: &mut Schedule, now: Moment) -> Vec<IpAddr> {
        std::iter::from_fn(|| schedule.start(now)).collect()
    }

    #[test]
    fn new_nodes_are_due_at_once_and_one_probe_is_under_way_at_a_time() {
        let mut schedule = schedule(3);
        assert_eq!(start_all(&mut schedule, ms(0)).len(), 3);
        assert_eq!(schedule.next_start(), None);
        schedule.set_members([node(0), node(1), node(2)].iter(), ms(5));
        schedule.hurry(node(0), ms(5));
        assert_eq!(schedule.start(ms(5000)), None);
    }

    #[test]
    fn pauses_follow_the_pace() {
        for (pace, least, most) in [(Pace::Undecided, 100, 100), (Pace::Pending, 500, 500), (Pace::Steady, 900, 1100)] {
            let mut schedule = schedule(1);
            let mut now = ms(0);
            for round in 0..100 {
                assert_eq!(schedule.start(now), Some(node(0)));
                schedule.finish(node(0), Some((pace, false)), now + ms(3));
                let next = schedule.next_start().unwrap();
                let pause = next - now;
                let least = if round == 0 && pace == Pace::Steady { 100 } else { least };
                assert!(ms(least) <= pause && pause <= ms(most), "{pace:?} {pause:?}");
                now = next;
            }
        }
    }

    #[test]
    fn a_probe_that_took_longer_than_the_pause_is_followed_at_once() {
        let mut schedule = schedule(1);
        schedule.start(ms(0));
        schedule.finish(node(0), Some((Pace::Pending, true)), ms(800));
        assert_eq!(schedule.next_start(), Some(ms(800)));
    }

    #[test]
    fn nodes_that_began_together_part() {
        let mut schedule = schedule(100);
        for node in start_all(&mut schedule, ms(0)) {
            schedule.finish(node, Some((Pace::Steady, false)), ms(1));
        }
        let started: Vec<usize> = (1..=10).map(|tenth| start_all(&mut schedule, ms(tenth * 100)).len()).collect();
        assert_eq!(started.iter().sum::<usize>(), 100);
        assert!(started.iter().all(|&count| count < 30), "{started:?}");
    }

    #[test]
    fn hurrying_moves_a_probe_forward_but_not_into_a_flood() {
        let mut schedule = schedule(1);
        schedule.start(ms(0));
        schedule.finish(node(0), Some((Pace::Steady, false)), ms(1));
        let mut starts = 0;
        for now in 1..1000 {
            schedule.hurry(node(0), ms(now));
            if schedule.start(ms(now)).is_some() {
                starts += 1;
                schedule.finish(node(0), Some((Pace::Steady, false)), ms(now));
            }
        }
        assert_eq!(starts, 9);
    }

    #[test]
    fn a_node_that_left_is_probed_no_more_and_one_that_returned_once() {
        let mut schedule = schedule(2);
        schedule.start(ms(0));
        schedule.set_members([].iter(), ms(1));
        assert_eq!(schedule.next_start(), None, "the waiting one is gone too");
        schedule.set_members([node(0)].iter(), ms(2));
        assert_eq!(schedule.next_start(), None, "its earlier probe is still under way");
        schedule.finish(node(0), Some((Pace::Undecided, false)), ms(3));
        assert_eq!(schedule.next_start(), Some(ms(100)));
        schedule.start(ms(100));
        schedule.set_members([].iter(), ms(101));
        schedule.finish(node(0), None, ms(102));
        assert_eq!((schedule.slots.len(), schedule.under_way), (0, [0, 0]));
    }

    #[test]
    fn hung_nodes_leave_places_for_the_others() {
        let mut schedule = schedule(1000);
        let first = start_all(&mut schedule, ms(0));
        assert_eq!(first.len(), PLACES_PER_LANE);
        for node in first {
            schedule.finish(node, Some((Pace::Pending, true)), ms(800));
        }
        let second = start_all(&mut schedule, ms(1000));
        assert_eq!(second.len(), PLACES);
        assert!(schedule.under_way.iter().all(|&count| count >= PLACES - PLACES_PER_LANE), "{:?}", schedule.under_way);
    }
}
