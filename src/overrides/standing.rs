//! Whether the nodes of a target are out of every answer, and out of every cache: whether they may be stopped.

use std::{
    net::IpAddr,
    time::{Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    departures::{Answered, Departures},
    reach,
};
use crate::{
    model::{Action, Node, Overrides, Target},
    plan::Verdict,
    table::{CompiledZone, Table},
};

/// How the nodes of a target stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The target, as it is written.
    pub target: String,
    /// Every node is gone from all answers, and from all caches that keep to their TTL; never where no node is known.
    pub safe: bool,
    /// Seconds until then, where that is known.
    pub safe_in: Option<f64>,
    /// Why it will not come to that; `None` = it will, or it is so.
    pub stays: Option<String>,
    /// The nodes meant, by zone.
    pub nodes: Vec<NodeStanding>,
}

/// How one node stands in one zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStanding {
    /// The zone.
    pub zone: String,
    /// The node.
    pub address: IpAddr,
    /// `dc1/rack1`.
    pub place: String,
    /// Where in its departure it is.
    pub state: State,
    /// Seconds until it is gone, where that is known.
    pub safe_in: Option<f64>,
    /// The scopes whose answers hold it.
    pub scopes: Vec<String>,
    /// Why it stays answered.
    pub stays: Option<String>,
}

/// Where in its departure a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In no answer, and in no cache that keeps to the TTL.
    Gone,
    /// In no answer; its TTL runs.
    Leaving,
    /// Answered; its drain has begun and is not compiled yet, or begins later.
    Pending,
    /// Answered, and it will stay so.
    Stays,
}

/// What is known of a zone's nodes at one moment.
pub(super) struct Moment<'a> {
    pub(super) table: &'a Table,
    pub(super) overrides: &'a Overrides,
    pub(super) departures: &'a Departures,
    pub(super) now: SystemTime,
}

impl Moment<'_> {
    /// How the nodes of a target stand, in one zone or in all.
    pub(super) fn standing(&self, target: &Target, zone: Option<&str>) -> Standing {
        let mut nodes = Vec::new();
        for zone in reach::zones(self.table, zone) {
            let name = reach::name(zone);
            // A node that the cluster has forgotten meanwhile may still be in a cache.
            let departing = self.departures.departing(&name);
            let is_known = |node: &&Node| zone.plan.topology.members.contains_key(&node.address);
            let departing = departing.iter().filter(|node| !is_known(node));
            let meant = zone.plan.nodes().chain(departing).filter(|node| target.matches(node));
            nodes.extend(meant.map(|node| self.node(zone, &name, node)));
        }
        let stays: Vec<&str> = nodes.iter().filter_map(|node| node.stays.as_deref()).collect();
        let stays = stays.first().map(|first| match stays.len() {
            1 => (*first).to_owned(),
            many => format!("{first} (and {} more)", many - 1),
        });
        // Nobody can say so of nodes that nobody knows: it may be a typing error, or a start without the nodes.
        let safe = !nodes.is_empty() && nodes.iter().all(|node| node.state == State::Gone);
        let known: Option<Vec<f64>> = nodes.iter().map(|node| node.safe_in).collect();
        let safe_in = known.filter(|all| !all.is_empty()).map(|all| all.into_iter().fold(0.0, f64::max));
        Standing { target: target.to_string(), safe, safe_in, stays, nodes }
    }

    fn node(&self, zone: &CompiledZone, name: &str, node: &Node) -> NodeStanding {
        let answered = self.departures.last_answered(name, node.address);
        let (state, safe_in, stays) = match answered {
            Answered::Gone => (State::Gone, Some(0.0), None),
            Answered::Until(until) => {
                let left = until.saturating_duration_since(Instant::now());
                (State::Leaving, Some(left.as_secs_f64()), None)
            }
            Answered::Leaving => (State::Leaving, None, None),
            Answered::Now => match self.stays(zone, name, node) {
                None => (State::Pending, None, None),
                Some(why) => (State::Stays, None, Some(why)),
            },
        };
        let scopes = if answered == Answered::Now { scopes(zone, node.address) } else { Vec::new() };
        let (zone, place) = (name.to_owned(), node.place());
        NodeStanding { zone, address: node.address, place, state, safe_in, scopes, stays }
    }

    /// Why a node that is answered now will go on being answered.
    fn stays(&self, zone: &CompiledZone, name: &str, node: &Node) -> Option<String> {
        let address = node.address;
        match self.overrides.in_force(name, node, self.now) {
            Some(forced) if forced.action == Action::ForceUp => {
                Some(format!("{address} stays answered: it is {forced} ({})", forced.target))
            }
            Some(_) if matches!(zone.plan.verdicts.get(address), Some(Verdict::Drained(_))) => {
                let scopes = scopes(zone, address).join(", ");
                Some(format!(
                    "{address} stays answered though it is drained: nothing else is left for {scopes}, and no answer is \
                     ever empty"
                ))
            }
            // Its drain comes with the next Table.
            Some(_) => None,
            None if self.overrides.pending_drain(name, node, self.now).is_some() => None,
            None => Some(format!("{address} stays answered: it is not drained")),
        }
    }
}

/// The scopes whose answers hold an address.
fn scopes(zone: &CompiledZone, address: IpAddr) -> Vec<String> {
    let holds = zone.plan.scopes.iter().filter(|scope| scope.nodes().any(|node| node.address == address));
    holds.filter_map(|scope| scope.chain.first()).map(ToString::to_string).collect()
}
