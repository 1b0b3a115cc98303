//! What zones and their clusters begin with.

use std::path::Path;

use super::hand_over::OVERLAP;
use crate::{
    config::{Seed, ZoneConfig},
    controller::epoch_beyond,
    handover::Knowledge,
    model::{Health, NodeHealth, NodeState, Source, Topology},
    state::{self, Remembered},
};

/// What is known of a zone before anybody was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The epoch of an earlier run.
    pub(super) epoch: Option<u32>,
    pub(super) topology: Topology,
    pub(super) health: Health,
}

impl Known {
    /// What the state file of an earlier run says, or nothing. Blocks.
    pub(super) fn at_start(zone: &ZoneConfig, state_dir: Option<&Path>) -> Self {
        let known = state_dir.and_then(|dir| remembered(dir, &zone.name(), &zone.cluster.seeds));
        let (epoch, topology) = known.map_or((None, Topology::default()), |known| (Some(known.epoch), known.topology));
        let health = Health { disabled: !zone.health.enabled, ..Health::default() };
        Known { epoch, topology: topology.of_places(zone.only_places().as_ref()), health }
    }

    /// What the process told that this one replaces; `None` where it did not serve the zone.
    pub(super) fn handed_over(zone: &ZoneConfig, told: &[Knowledge]) -> Option<Self> {
        let told = told.iter().find(|told| told.zone == zone.name())?;
        let known = Self::learnt(zone, &told.seeds, told.topology.clone(), &told.health);
        // The other process goes on compiling until this one serves.
        Some(Known { epoch: Some(epoch_beyond(told.epoch, OVERLAP)), ..known })
    }

    /// What this process has learnt so far of a zone that is asked in another way from now on: everything, unless its
    /// seeds lead to another cluster.
    pub(super) fn so_far(zone: &ZoneConfig, seeds: &[Seed], topology: Topology, health: &Health) -> Self {
        let seeds: Vec<String> = seeds.iter().map(Seed::to_string).collect();
        Self::learnt(zone, &seeds, topology, health)
    }

    /// What two zones on one cluster know of it: what the one knows that knows better, and all that either has seen.
    pub(super) fn and(self, other: Known) -> Self {
        let worth = |known: &Known| {
            let source = match known.topology.source {
                Source::Nothing => 0,
                Source::Snapshot => 1,
                Source::Discovery => 2,
            };
            (source, !known.topology.stale)
        };
        // Of two files the later one; epochs wrap around.
        let is_later = match (self.epoch, other.epoch) {
            (Some(one), Some(other)) => other.wrapping_sub(one) as i32 > 0,
            _ => false,
        };
        let other_is_better = worth(&other) > worth(&self) || worth(&other) == worth(&self) && is_later;
        let (mut better, lesser) = if other_is_better { (other, self) } else { (self, other) };
        better.topology.seen.extend(lesser.topology.seen);
        better
    }

    fn learnt(zone: &ZoneConfig, seeds: &[String], topology: Topology, health: &Health) -> Self {
        if !state::is_same_cluster(&zone.cluster.seeds, seeds, &topology) {
            let health = Health { disabled: !zone.health.enabled, ..Health::default() };
            return Known { health, ..Known::default() };
        }
        let health = match (zone.health.enabled, health.disabled) {
            (false, _) => Health { disabled: true, ..Health::default() },
            // Listing decided so far; that goes on until a probe says otherwise, or there would be nobody to answer
            // until each node has been probed.
            (true, true) => {
                let up = || NodeHealth { state: NodeState::Up, ..NodeHealth::default() };
                let nodes = topology.listed().map(|member| (member.node.address, up()));
                Health { nodes: nodes.collect(), ..Health::default() }
            }
            (true, false) => health.clone(),
        };
        Known { epoch: None, topology: topology.of_places(zone.only_places().as_ref()), health }
    }
}

fn remembered(dir: &Path, zone: &str, seeds: &[Seed]) -> Option<Remembered> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_zones_the_one_that_knows_better_is_believed() {
        let known = |source, stale, epoch: Option<u32>, seen: &str| {
            let mut topology = Topology { source, stale, ..Topology::default() };
            topology.seen.insert(seen.parse().unwrap());
            Known { epoch, topology, health: Health::default() }
        };
        let nothing = known(Source::Nothing, false, Some(9), "dc1");
        let early = known(Source::Snapshot, true, Some(u32::MAX), "dc2");
        let late = known(Source::Snapshot, true, Some(3), "dc3");
        let stale = known(Source::Discovery, true, None, "dc4");
        let current = known(Source::Discovery, false, None, "dc5");
        let order = [nothing, early, late, stale, current];
        for (at, lesser) in order.iter().enumerate() {
            for better in &order[at + 1..] {
                for both in [lesser.clone().and(better.clone()), better.clone().and(lesser.clone())] {
                    let told = (both.topology.source, both.topology.stale, both.epoch, both.topology.seen.len());
                    assert_eq!(told, (better.topology.source, better.topology.stale, better.epoch, 2));
                }
            }
        }
    }
}
