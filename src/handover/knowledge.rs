//! What is known of one zone, on its way to another process.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::{
    self, Failure, Health, Listing, Member, Node, NodeHealth, NodeState, Scope, Source, Topology, is_usable_address,
};

/// What is known of one zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knowledge {
    /// Its name.
    pub zone: String,
    /// Where its nodes were found from.
    pub seeds: Vec<String>,
    /// The epoch it is served with.
    pub epoch: u32,
    /// Its nodes.
    pub topology: Topology,
    /// What probes believe of them.
    pub health: Health,
}

impl Knowledge {
    /// Whether it has a node to answer with: a listed one that is up, or that nobody probes.
    pub fn has_serving(&self) -> bool {
        let is_up = |address| self.health.disabled || self.health.of(address).state == NodeState::Up;
        self.topology.listed().any(|member| is_up(member.node.address))
    }
}

/// The same as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    zone: String,
    seeds: Vec<String>,
    epoch: u32,
    members: Vec<ToldMember>,
    seen: Vec<String>,
    source: ToldSource,
    stale: bool,
    flat: bool,
    health: BTreeMap<IpAddr, ToldHealth>,
    panic: bool,
    disabled: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ToldMember {
    address: IpAddr,
    datacenter: Option<String>,
    rack: Option<String>,
    left: bool,
    served_before: bool,
    /// Told by versions that read system tables.
    #[serde(default)]
    told: Arc<model::Told>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ToldHealth {
    state: ToldState,
    since: Option<SystemTime>,
    failure: Option<ToldFailure>,
    served_until: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum ToldSource {
    Nothing,
    Snapshot,
    Discovery,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum ToldState {
    Joining,
    Up,
    Down,
}

#[derive(Debug, Serialize, Deserialize)]
enum ToldFailure {
    Refused,
    Closed,
    Status(u16),
    Protocol(String),
    TimedOut,
    Unreachable,
}

impl From<Knowledge> for Told {
    fn from(known: Knowledge) -> Self {
        let Knowledge { zone, seeds, epoch, topology, health } = known;
        let member = |member: &Member| ToldMember {
            address: member.node.address,
            datacenter: member.node.datacenter.as_deref().map(str::to_owned),
            rack: member.node.rack.as_deref().map(str::to_owned),
            left: member.listing == Listing::Left,
            served_before: member.served_before,
            told: member.told.clone(),
        };
        Told {
            zone,
            seeds,
            epoch,
            members: topology.members.values().map(member).collect(),
            seen: topology.seen.iter().map(Scope::to_string).collect(),
            source: match topology.source {
                Source::Nothing => ToldSource::Nothing,
                Source::Snapshot => ToldSource::Snapshot,
                Source::Discovery => ToldSource::Discovery,
            },
            stale: topology.stale,
            flat: topology.flat,
            health: health.nodes.into_iter().map(|(address, health)| (address, health.into())).collect(),
            panic: health.panic,
            disabled: health.disabled,
        }
    }
}

impl From<Told> for Knowledge {
    fn from(told: Told) -> Self {
        let member = |member: ToldMember| {
            let (datacenter, rack) = (member.datacenter.map(Into::into), member.rack.map(Into::into));
            let node = Node { address: member.address, datacenter, rack };
            let listing = if member.left { Listing::Left } else { Listing::Listed };
            (node.address, Member { node, listing, served_before: member.served_before, told: member.told })
        };
        let members = told.members.into_iter().filter(|member| is_usable_address(member.address)).map(member);
        let topology = Topology {
            members: members.collect(),
            seen: told.seen.iter().filter_map(|scope| scope.parse().ok()).collect(),
            source: match told.source {
                ToldSource::Nothing => Source::Nothing,
                ToldSource::Snapshot => Source::Snapshot,
                ToldSource::Discovery => Source::Discovery,
            },
            stale: told.stale,
            flat: told.flat,
        };
        let nodes = told.health.into_iter().map(|(address, health)| (address, health.into())).collect();
        let health = Health { nodes, panic: told.panic, disabled: told.disabled };
        Knowledge { zone: told.zone, seeds: told.seeds, epoch: told.epoch, topology, health }
    }
}

impl From<NodeHealth> for ToldHealth {
    fn from(health: NodeHealth) -> Self {
        let state = match health.state {
            NodeState::Joining => ToldState::Joining,
            NodeState::Up => ToldState::Up,
            NodeState::Down => ToldState::Down,
        };
        let failure = health.failure.map(|failure| match failure {
            Failure::Refused => ToldFailure::Refused,
            Failure::Closed => ToldFailure::Closed,
            Failure::Status(status) => ToldFailure::Status(status),
            Failure::Protocol(text) => ToldFailure::Protocol(text),
            Failure::TimedOut => ToldFailure::TimedOut,
            Failure::Unreachable => ToldFailure::Unreachable,
        });
        ToldHealth { state, since: health.since, failure, served_until: health.served_until }
    }
}

impl From<ToldHealth> for NodeHealth {
    fn from(told: ToldHealth) -> Self {
        let state = match told.state {
            ToldState::Joining => NodeState::Joining,
            ToldState::Up => NodeState::Up,
            ToldState::Down => NodeState::Down,
        };
        let failure = told.failure.map(|failure| match failure {
            ToldFailure::Refused => Failure::Refused,
            ToldFailure::Closed => Failure::Closed,
            ToldFailure::Status(status) => Failure::Status(status),
            ToldFailure::Protocol(text) => Failure::Protocol(text),
            ToldFailure::TimedOut => Failure::TimedOut,
            ToldFailure::Unreachable => Failure::Unreachable,
        });
        NodeHealth { state, since: told.since, failure, served_until: told.served_until }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_arrives_as_it_was() {
        let states = [NodeState::Joining, NodeState::Up, NodeState::Down];
        let failures = [
            None,
            Some(Failure::Refused),
            Some(Failure::Closed),
            Some(Failure::Status(503)),
            Some(Failure::Protocol("no HTTP".to_owned())),
            Some(Failure::TimedOut),
            Some(Failure::Unreachable),
        ];
        let at = |second| Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123 + second));
        let mut known =
            Knowledge { zone: "z.test".to_owned(), seeds: vec!["10.0.0.1".to_owned()], ..Default::default() };
        known.epoch = u32::MAX - 1;
        for (number, failure) in failures.into_iter().enumerate() {
            let address = if number % 2 == 0 { format!("10.0.0.{number}") } else { format!("fd00::{number}") };
            let address: IpAddr = address.parse().unwrap();
            let place = |name: &str| (number != 3).then(|| format!("{name} {number}").into());
            let node = Node { address, datacenter: place("dc"), rack: place("räck") };
            let listing = if number == 2 { Listing::Left } else { Listing::Listed };
            let leaving = (number == 1).then_some(model::Leaving::Excluded);
            let route = model::Route { address, port: Some(8000), https_port: None };
            let routes = (number == 6).then(|| ("link".into(), route)).into_iter().collect();
            let told = model::Told { host_id: Some("id".into()), leaving, routes, ..model::Told::default() };
            let member = Member { listing, served_before: number == 4, told: Arc::new(told), ..Member::new(node) };
            known.topology.members.insert(address, member);
            let (since, served_until) = (at(number as u64), if number == 5 { at(7) } else { None });
            let health = NodeHealth { state: states[number % 3], since, failure, served_until };
            known.health.nodes.insert(address, health);
        }
        known.topology.seen.extend(["cluster", "dc 0", "dc 0/räck 0"].map(|scope| scope.parse::<Scope>().unwrap()));
        for (source, flag) in [(Source::Nothing, false), (Source::Snapshot, true), (Source::Discovery, false)] {
            (known.topology.source, known.topology.stale, known.topology.flat) = (source, flag, !flag);
            (known.health.panic, known.health.disabled) = (flag, !flag);
            let text = serde_json::to_vec(&Told::from(known.clone())).unwrap();
            assert_eq!(Knowledge::from(serde_json::from_slice::<Told>(&text).unwrap()), known);
        }
    }
}
