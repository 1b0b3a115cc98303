//! Slow start: a node that comes up beside others leads little at first, and its full share after a while.
//!
//! A node that has just started has empty caches and compiles its statements: its share of the clients at once would
//! give them its worst. Whoever came up when nobody had been up for long does not ramp, since somebody must lead: so a
//! first start, a cluster that comes back as a whole and a restart of this server deal evenly.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::model::{ClusterView, NodeHealth, NodeState};

/// The share of a node that does not ramp. Others have fewer parts of it: a node begins with one, a tenth.
pub const FULL_SHARE: u32 = 10;

/// Steps from the first part to all of them.
const STEPS: u128 = FULL_SHARE as u128 - 1;

/// However many nodes ramp, their steps are taken in company: at least this part of one node's step apart, so that
/// a thousand nodes that join one after another cost little more than one.
const STEPS_APART: u32 = 4;

/// How far one node has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// Parts of [`FULL_SHARE`], at least 1 and less than all.
    pub share: u32,
    /// When it has its full share.
    pub until: SystemTime,
}

impl Ramp {
    /// The share of a full one, per cent.
    pub fn percent(&self) -> u32 {
        self.share * 100 / FULL_SHARE
    }
}

/// The nodes that have not come to their full share yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ramps(BTreeMap<IpAddr, Ramp>);

impl Ramps {
    /// Which nodes ramp, and when the next of them takes a step.
    pub fn of(view: &ClusterView, slow_start: Duration) -> (Self, Option<SystemTime>) {
        let total = slow_start.as_nanos();
        if total == 0 || view.health.disabled {
            return (Ramps::default(), None);
        }
        let up_since = |health: &NodeHealth| health.since.filter(|_| health.state == NodeState::Up);
        let members = view.health.nodes.iter().filter(|(address, _)| view.topology.members.contains_key(address));
        let Some(oldest) = view.health.nodes.values().filter_map(up_since).min() else { return Default::default() };
        let (mut ramps, mut next) = (BTreeMap::new(), None::<SystemTime>);
        for (&address, since) in members.filter_map(|(address, health)| Some((address, up_since(health)?))) {
            // A clock that was set back must not hold a node down for longer than a ramp takes.
            let elapsed = match view.now.duration_since(since) {
                Ok(elapsed) => elapsed,
                Err(ahead) if ahead.duration() < slow_start => Duration::ZERO,
                Err(_) => continue,
            };
            let was_company = oldest.checked_add(slow_start).is_some_and(|company| company <= since);
            let (Some(until), true) = (since.checked_add(slow_start), was_company && elapsed < slow_start) else {
                continue;
            };
            let taken = elapsed.as_nanos() * STEPS / total;
            ramps.insert(address, Ramp { share: 1 + taken as u32, until });
            let step = nanoseconds(((taken + 1) * total).div_ceil(STEPS));
            next = [next, since.checked_add(step)].into_iter().flatten().min();
        }
        let soonest = view.now.checked_add(slow_start / (STEPS as u32 * STEPS_APART));
        (Ramps(ramps), next.map(|next| soonest.map_or(next, |soonest| next.max(soonest))))
    }

    /// How far a node has come; `None` for one that has its full share.
    pub fn get(&self, address: IpAddr) -> Option<&Ramp> {
        self.0.get(&address)
    }

    /// How often each of these nodes leads.
    pub(super) fn weights(&self, nodes: impl Iterator<Item = IpAddr> + Clone) -> Weights {
        if self.0.is_empty() || !nodes.clone().any(|address| self.0.contains_key(&address)) {
            return Weights::default();
        }
        let share = |address| self.get(address).map_or(FULL_SHARE, |ramp| ramp.share);
        Weights::new(nodes.map(share).collect())
    }
}

/// A duration of so many nanoseconds; the longest there is where it is longer still.
fn nanoseconds(count: u128) -> Duration {
    u64::try_from(count).map_or(Duration::MAX, Duration::from_nanos)
}

/// How often each of some nodes leads, in the order of the nodes; nothing where all lead alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights(Option<Arc<[u32]>>);

impl Weights {
    /// These weights, made as small as they get: a period is as long as their sum.
    pub fn new(mut weights: Vec<u32>) -> Self {
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        weights.iter_mut().for_each(|weight| *weight /= divisor);
        Weights(weights.iter().any(|weight| *weight != 1).then(|| weights.into()))
    }

    /// The weights; `None` where all are alike.
    pub fn get(&self) -> Option<&[u32]> {
        self.0.as_deref()
    }
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::eligibility::tests::view, *};

    const SLOW_START: Duration = Duration::from_secs(30);

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_000_000.0 + seconds)
    }

    fn up_since(seconds: f64) -> NodeHealth {
        NodeHealth { state: NodeState::Up, since: Some(at(seconds)), ..NodeHealth::default() }
    }

    /// Nodes 10.0.0.1, .2, ... that came up at these times, seen at another.
    fn seen(up: &[f64], now: f64) -> ClusterView {
        let addresses: Vec<String> = (1..=up.len()).map(|last| format!("10.0.0.{last}")).collect();
        let nodes: Vec<_> =
            addresses.iter().zip(up).map(|(address, &up)| (&**address, "dc1/r1", up_since(up))).collect();
        ClusterView { now: at(now), ..view(&nodes) }
    }

    /// The shares of all nodes, per cent.
    fn shares(up: &[f64], now: f64) -> Vec<u32> {
        let (view, (ramps, _)) = (seen(up, now), Ramps::of(&seen(up, now), SLOW_START));
        view.topology.members.keys().map(|&address| ramps.get(address).map_or(100, Ramp::percent)).collect()
    }

    #[test]
    fn a_node_that_joins_rises_to_its_share_in_steps() {
        for (now, share) in [(100.0, 10), (103.2, 10), (103.4, 20), (115.0, 50), (129.9, 90), (130.0, 100)] {
            assert_eq!(shares(&[0.0, 100.0], now), [100, share], "at {now}");
        }
        let (ramps, next) = Ramps::of(&seen(&[0.0, 100.0], 101.0), SLOW_START);
        let step = next.unwrap().duration_since(at(100.0)).unwrap().as_secs_f64();
        assert!((step - 30.0 / 9.0).abs() < 0.001, "{step}");
        assert_eq!(ramps.get([10, 0, 0, 2].into()).unwrap().until, at(130.0));
        assert_eq!(Ramps::of(&seen(&[0.0, 100.0], 131.0), SLOW_START), Default::default());
    }

    #[test]
    fn who_comes_up_with_nobody_there_for_long_does_not_ramp() {
        assert_eq!(shares(&[0.0, 0.5, 20.0, 29.9], 30.0), [100; 4]);
        assert_eq!(shares(&[0.0, 30.1], 31.0), [100, 10]);
        assert_eq!(Ramps::of(&seen(&[0.0, 100.0], 101.0), Duration::ZERO), Default::default());
        let mut listed = seen(&[0.0, 100.0], 101.0);
        Arc::make_mut(&mut listed.health).disabled = true;
        assert_eq!(Ramps::of(&listed, SLOW_START), Default::default());
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_down() {
        assert_eq!(shares(&[0.0, 100.0], 99.0), [100, 10]);
        assert_eq!(shares(&[0.0, 100.0], 60.0), [100, 100]);
    }

    #[test]
    fn weights_are_as_small_as_they_get() {
        for (weights, small) in [
            (vec![10, 10, 10], None),
            (vec![4, 4], None),
            (vec![10, 5, 10], Some(&[2, 1, 2][..])),
            (vec![10, 4, 8], Some(&[5, 2, 4])),
            (vec![10, 1], Some(&[10, 1])),
            (vec![], None),
        ] {
            assert_eq!(Weights::new(weights).get(), small);
        }
    }

    proptest! {
        /// Going from one change to the next, every node gets to its full share, with a step or more for each wake.
        #[test]
        fn the_next_step_is_always_ahead_and_the_last_one_comes(
            up in prop::collection::vec(0.0f64..200.0, 1..20),
            slow_start in 0.001f64..100.0,
        ) {
            let slow_start = Duration::from_secs_f64(slow_start);
            let mut now = up.iter().copied().fold(0.0, f64::max);
            let mut view = seen(&up, now);
            let mut wakes = 0;
            while let (ramps, Some(next)) = Ramps::of(&view, slow_start) {
                prop_assert!(next > view.now);
                prop_assert!(!ramps.0.is_empty() && ramps.0.values().all(|ramp| (1..FULL_SHARE).contains(&ramp.share)));
                view.now = next;
                wakes += 1;
                prop_assert!(wakes <= STEPS as u32 * STEPS_APART + 1, "{wakes}");
            }
            now += slow_start.as_secs_f64();
            prop_assert!(view.now <= at(now) + slow_start / 9, "nobody ramps for longer");
        }
    }
}
