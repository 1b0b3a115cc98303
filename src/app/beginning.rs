//! What a zone begins with.

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
#[derive(Debug, Default)]
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
        Known { epoch, topology: topology.of_places(&zone.datacenters()), health }
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
        Known { epoch: None, topology: topology.of_places(&zone.datacenters()), health }
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
