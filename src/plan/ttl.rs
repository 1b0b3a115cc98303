//! How long an answer may be kept: short while one of its nodes is about to leave.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    config::ZoneConfig,
    model::{Action, ClusterView, Failure, Node, NodeHealth, NodeState, Override, Source, rfc3339_seconds},
};

/// TTL of answers believed to be stale, seconds: whoever gets one should ask again soon.
const STALE_TTL: u32 = 1;

/// TTL of an answer, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// Whole seconds.
    pub seconds: u32,
    /// Why.
    pub reason: TtlReason,
}

/// Why a TTL is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TtlReason {
    /// The configured one.
    Base,
    /// Nothing of it is known to serve.
    Stale,
    /// Its nodes are this zone's: whoever gets them is to come back as soon as the zone has some of its own.
    Lent(String),
    /// This node of the answer is up, and its latest probe failed.
    Failing(IpAddr, Failure),
    /// This node of the answer is to be drained soon.
    Draining(IpAddr, Arc<Override>),
}

impl fmt::Display for TtlReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TtlReason::Base => f.write_str("as configured"),
            TtlReason::Stale => f.write_str("stale"),
            TtlReason::Lent(zone) => write!(f, "lent by {zone}"),
            TtlReason::Failing(address, failure) => write!(f, "{address} fails its probes: {failure}"),
            TtlReason::Draining(address, drain) => {
                write!(f, "{address} is drained from {}", rfc3339_seconds(drain.from))
            }
        }
    }
}

/// The TTLs of one zone at one moment.
pub(super) struct Ttls<'a> {
    view: &'a ClusterView,
    zone: String,
    base: u32,
    least: u32,
    /// Nothing is known to serve, whatever it is.
    is_remembered: bool,
    /// Nodes that are up and fail: mostly none, so that nobody looks at each node of each scope.
    failing: Vec<(IpAddr, &'a Failure)>,
    /// Whether any drain has not begun yet: the same.
    any_pending: bool,
}

impl<'a> Ttls<'a> {
    pub(super) fn new(view: &'a ClusterView, zone: &ZoneConfig) -> Self {
        let failure = |address, health: &'a NodeHealth| {
            // What is distrusted changes nothing: many would ask more often, in the middle of an incident of our own.
            let fails = health.state == NodeState::Up && !view.health.panic;
            Some((address, health.failure.as_ref().filter(|_| fails)?))
        };
        let base = seconds(zone.ttl);
        Ttls {
            view,
            zone: zone.name(),
            base,
            least: seconds(zone.min_ttl).clamp(1, base.max(1)),
            is_remembered: view.topology.source == Source::Snapshot,
            failing: view.health.nodes.iter().filter_map(|(&address, health)| failure(address, health)).collect(),
            any_pending: view.overrides.iter().any(|known| known.action == Action::Drain && known.from > view.now),
        }
    }

    /// TTL of the last known good nodes.
    pub(super) fn stale(&self) -> Ttl {
        Ttl { seconds: self.base.min(STALE_TTL), reason: TtlReason::Stale }
    }

    /// TTL of nodes that a zone lends: the least there is, as for nodes that are about to leave, which all of them are.
    pub(super) fn lent(&self, zone: &str) -> Ttl {
        Ttl { seconds: self.least.min(self.base), reason: TtlReason::Lent(zone.to_owned()) }
    }

    /// TTL of an answer of these nodes, which serve.
    pub(super) fn live(&self, nodes: &[Node]) -> Ttl {
        if self.is_remembered {
            return self.stale();
        }
        let fails = |(address, _): &&(IpAddr, &Failure)| is_among(nodes, *address);
        if let Some((address, failure)) = self.failing.iter().find(fails) {
            return Ttl {
                seconds: self.least.min(self.base),
                reason: TtlReason::Failing(*address, (*failure).clone()),
            };
        }
        let drained = match self.any_pending {
            true => nodes.iter().filter_map(|node| self.drained(node)).min_by_key(|(seconds, _)| *seconds),
            false => None,
        };
        match drained {
            Some((seconds, reason)) => Ttl { seconds, reason },
            None => Ttl { seconds: self.base, reason: TtlReason::Base },
        }
    }

    /// TTL of an answer with a node that is to be drained; `None` where that is further away than the TTL.
    fn drained(&self, node: &Node) -> Option<(u32, TtlReason)> {
        let drain = self.view.overrides.pending_drain(&self.zone, node, self.view.now)?;
        let left = drain.from.duration_since(self.view.now).unwrap_or_default();
        let seconds = whole_seconds(left).clamp(self.least, self.base.max(self.least));
        (seconds < self.base).then(|| (seconds, TtlReason::Draining(node.address, drain.clone())))
    }

    /// When a TTL changes because a drain has come nearer: each second, in the last seconds before it.
    pub(super) fn next_change(&self) -> Option<SystemTime> {
        let pending = self.view.overrides.iter().filter(|known| known.action == Action::Drain);
        let next = |from: SystemTime| {
            // The TTL is the time left, rounded up: it is `seconds` until just that many are left.
            let seconds = whole_seconds(from.duration_since(self.view.now).ok()?).min(self.base).checked_sub(1)?;
            let next = from.checked_sub(Duration::from_secs(seconds.into()))?;
            (seconds >= self.least && next > self.view.now).then_some(next)
        };
        pending.filter_map(|drain| next(drain.from)).min()
    }
}

fn is_among(nodes: &[Node], address: IpAddr) -> bool {
    nodes.binary_search_by(|node| node.address.cmp(&address)).is_ok()
}

/// Whole seconds of a time, rounded up.
fn whole_seconds(time: Duration) -> u32 {
    let up = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    u32::try_from(up).unwrap_or(u32::MAX)
}

/// Whole seconds of a configured TTL; validation keeps it below a day.
fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::{
        super::eligibility::tests::{down, up, view},
        *,
    };
    use crate::model::{Origin, Overrides, Target};

    fn zone() -> ZoneConfig {
        ZoneConfig::new(Name::from_ascii("z.test.").unwrap())
    }

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_000_000.0 + seconds)
    }

    fn failing() -> NodeHealth {
        NodeHealth { failure: Some(Failure::TimedOut), ..up() }
    }

    /// TTL of an answer of all nodes.
    fn ttl(view: &ClusterView, zone: &ZoneConfig) -> Ttl {
        let nodes: Vec<Node> = view.topology.members.values().map(|member| member.node.clone()).collect();
        Ttls::new(view, zone).live(&nodes)
    }

    #[test]
    fn a_node_of_the_answer_that_fails_makes_it_short() {
        let health = |second| view(&[("10.0.0.1", "dc1/r1", up()), ("10.0.0.2", "dc1/r1", second)]);
        assert_eq!(ttl(&health(up()), &zone()), Ttl { seconds: 5, reason: TtlReason::Base });
        let short = ttl(&health(failing()), &zone());
        assert_eq!(short.seconds, 1);
        assert_eq!(short.reason.to_string(), "10.0.0.2 fails its probes: timed out");
        // One that is down has left the answers; nobody is about to.
        assert_eq!(ttl(&health(down(Failure::TimedOut)), &zone()).seconds, 5);
        let mut zone = zone();
        zone.min_ttl = Duration::from_secs(3);
        assert_eq!(ttl(&health(failing()), &zone).seconds, 3);
        // Whatever is asked for, it is never longer than the usual one.
        zone.ttl = Duration::from_secs(2);
        assert_eq!(ttl(&health(failing()), &zone).seconds, 2);
        let (health, other) = (health(failing()), view(&[("10.0.0.9", "dc1/r1", up())]));
        let others: Vec<Node> = other.topology.members.values().map(|member| member.node.clone()).collect();
        assert_eq!(Ttls::new(&health, &zone).live(&others).seconds, 2, "a node of another answer");
    }

    /// A node that is drained at second 100.
    fn drained(now: f64) -> ClusterView {
        let drain = Override {
            target: Target::Node([10, 0, 0, 1].into()),
            action: Action::Drain,
            zone: None,
            from: at(100.0),
            until: None,
            set_at: at(0.0),
            by: "somebody".to_owned(),
            reason: String::new(),
            origin: Origin::Api,
        };
        let overrides = Arc::new(Overrides::new(vec![drain]));
        ClusterView { overrides, now: at(now), ..view(&[("10.0.0.1", "dc1/r1", up())]) }
    }

    #[test]
    fn before_a_drain_the_ttl_is_the_time_left_rounded_up() {
        for (now, seconds) in [(0.0, 5), (95.0, 5), (95.5, 5), (96.0, 4), (98.9, 2), (99.0, 1), (99.9, 1)] {
            assert_eq!(ttl(&drained(now), &zone()).seconds, seconds, "at {now}");
        }
        assert_eq!(ttl(&drained(97.0), &zone()).reason.to_string(), "10.0.0.1 is drained from 1970-01-12T13:48:20Z");
        let mut other = drained(97.0);
        other.overrides = Arc::default();
        assert_eq!(ttl(&other, &zone()).reason, TtlReason::Base);
    }

    #[test]
    fn the_last_seconds_before_a_drain_are_looked_at_one_by_one() {
        let next = |now| Ttls::new(&drained(now), &zone()).next_change();
        for (now, expected) in [
            (0.0, Some(96.0)),
            (95.9, Some(96.0)),
            (96.0, Some(97.0)),
            (97.5, Some(98.0)),
            (98.0, Some(99.0)),
            (99.0, None),
            (100.0, None),
        ] {
            assert_eq!(next(now), expected.map(at), "at {now}");
        }
    }
}
