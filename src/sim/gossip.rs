//! What nodes believe of each other.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

use super::NodeSpec;

/// Whether the rest of the cluster still lists nodes that a partition cuts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenByOthers {
    /// Still listed by the others: the partition is younger than the failure detector's time-out, or works one way.
    Listed,
    /// No longer listed by the others.
    Unlisted,
}

/// The members of the cluster and what is believed of them. Plain data: the clock is passed in.
#[derive(Clone, Debug)]
pub(super) struct Gossip {
    members: BTreeMap<IpAddr, Member>,
    failure_detector: Option<Duration>,
    sides: u64,
}

/// One member of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) datacenter: String,
    pub(super) rack: String,
    life: Life,
    side: Side,
}

#[derive(Clone, Copy, Debug)]
enum Life {
    /// Gossips as NORMAL, whether or not its port listens.
    Alive,
    /// Died without a word: believed alive until the failure detector's time-out.
    Crashed(Instant),
    /// Announced that it stops.
    Stopped,
}

/// Which side of a partition a node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Main,
    CutOff(u64, SeenByOthers),
}

impl Gossip {
    pub(super) fn new(failure_detector: Option<Duration>) -> Self {
        Gossip { members: BTreeMap::new(), failure_detector, sides: 0 }
    }

    /// The members, dead or alive.
    pub(super) fn members(&self) -> impl Iterator<Item = (IpAddr, &Member)> {
        self.members.iter().map(|(address, member)| (*address, member))
    }

    pub(super) fn member(&self, address: IpAddr) -> Option<&Member> {
        self.members.get(&address)
    }

    /// A node joined; it is alive.
    pub(super) fn join(&mut self, node: &NodeSpec) {
        let member = Member {
            datacenter: node.datacenter.clone(),
            rack: node.rack.clone(),
            life: Life::Alive,
            side: Side::Main,
        };
        self.members.insert(node.address, member);
    }

    /// A node was decommissioned.
    pub(super) fn leave(&mut self, address: IpAddr) {
        self.members.remove(&address);
    }

    /// A node runs again, or still.
    pub(super) fn revive(&mut self, address: IpAddr) {
        self.with(address, |member| member.life = Life::Alive);
    }

    /// A node died without a word. One that was down already stays as it was.
    pub(super) fn crash(&mut self, address: IpAddr, now: Instant) {
        self.with(address, |member| {
            if matches!(member.life, Life::Alive) {
                member.life = Life::Crashed(now);
            }
        });
    }

    /// A node said that it stops.
    pub(super) fn announce_stop(&mut self, address: IpAddr) {
        self.with(address, |member| member.life = Life::Stopped);
    }

    pub(super) fn move_to_rack(&mut self, address: IpAddr, rack: String) {
        self.with(address, |member| member.rack = rack);
    }

    /// Cuts these nodes off from all others; they still see each other.
    pub(super) fn cut_off(&mut self, side: &[IpAddr], seen: SeenByOthers) {
        self.sides += 1;
        let new = Side::CutOff(self.sides, seen);
        for &address in side {
            self.with(address, |member| member.side = new);
        }
    }

    /// Ends a partition for one node.
    pub(super) fn rejoin(&mut self, address: IpAddr) {
        self.with(address, |member| member.side = Side::Main);
    }

    /// The members that `observer` believes to be alive. It never doubts itself, as in ScyllaDB.
    pub(super) fn seen_by(&self, observer: IpAddr, now: Instant) -> impl Iterator<Item = (IpAddr, &Member)> {
        let side = self.members.get(&observer).map_or(Side::Main, |member| member.side);
        self.members().filter(move |(address, member)| {
            *address == observer || (member.side.is_seen_from(side) && self.is_alive(member, now))
        })
    }

    fn is_alive(&self, member: &Member, now: Instant) -> bool {
        match (member.life, self.failure_detector) {
            (Life::Alive, _) | (Life::Crashed(_), None) => true,
            (Life::Crashed(at), Some(timeout)) => now.saturating_duration_since(at) < timeout,
            (Life::Stopped, _) => false,
        }
    }

    fn with(&mut self, address: IpAddr, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(&address) {
            change(member);
        }
    }
}

impl Side {
    fn is_seen_from(self, observer: Side) -> bool {
        match (observer, self) {
            (Side::Main, Side::CutOff(_, seen)) => seen == SeenByOthers::Listed,
            _ => observer == self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    fn three(failure_detector: Option<Duration>) -> Gossip {
        let mut gossip = Gossip::new(failure_detector);
        for address in [A, B, C] {
            gossip.join(&NodeSpec::new(address, "dc1", "r1"));
        }
        gossip
    }

    fn seen(gossip: &Gossip, observer: IpAddr, now: Instant) -> Vec<IpAddr> {
        gossip.seen_by(observer, now).map(|(address, _)| address).collect()
    }

    #[test]
    fn a_crash_is_noticed_after_the_time_out_and_a_stop_at_once() {
        let start = Instant::now();
        let timeout = Duration::from_secs(20);
        let mut gossip = three(Some(timeout));
        gossip.crash(B, start);
        gossip.announce_stop(C);
        gossip.crash(C, start);
        let just_before = start + timeout - Duration::from_millis(1);
        assert_eq!(seen(&gossip, A, just_before), [A, B]);
        gossip.crash(B, just_before);
        assert_eq!(seen(&gossip, A, start + timeout), [A], "a second crash of a dead node changes nothing");
        assert_eq!(seen(&gossip, B, start + timeout), [A, B], "nobody doubts itself");
        gossip.revive(B);
        assert_eq!(seen(&gossip, A, start + timeout), [A, B]);
    }

    #[test]
    fn without_a_failure_detector_a_crash_is_never_noticed() {
        let start = Instant::now();
        let mut gossip = three(None);
        gossip.crash(B, start);
        assert_eq!(seen(&gossip, A, start + Duration::from_secs(86_400)), [A, B, C]);
    }

    #[test]
    fn a_node_cut_off_sees_its_side_only() {
        let now = Instant::now();
        let mut gossip = three(None);
        gossip.cut_off(&[A], SeenByOthers::Unlisted);
        assert_eq!((seen(&gossip, A, now), seen(&gossip, B, now)), (vec![A], vec![B, C]));
        gossip.cut_off(&[A, B], SeenByOthers::Listed);
        assert_eq!((seen(&gossip, A, now), seen(&gossip, C, now)), (vec![A, B], vec![A, B, C]));
        gossip.cut_off(&[B], SeenByOthers::Listed);
        assert_eq!(seen(&gossip, A, now), [A], "two sides do not see each other");
        gossip.rejoin(A);
        gossip.rejoin(B);
        assert_eq!(seen(&gossip, A, now), [A, B, C]);
    }
}
