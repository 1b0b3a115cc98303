//! What nodes believe of each other.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    NodeSpec, State, Tls, Version,
    state::{Facts, Presence},
};

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
    /// What it is now: its rack, state and release change.
    pub(super) spec: NodeSpec,
    /// Its tokens as a table shows them; `None` without any. Made once: it is long, and asked for often.
    pub(super) tokens: Option<Arc<str>>,
    life: Life,
    side: Side,
}

#[derive(Clone, Copy, Debug)]
enum Life {
    /// Gossips, whether or not its port listens.
    Alive,
    /// Died without a word: believed alive until the failure detector's time-out.
    Crashed(Instant),
    /// Died without a word so long ago that everybody knows.
    Dead,
    /// Announced that it stops.
    Stopped,
}

/// Which side of a partition a node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Main,
    CutOff(u64, SeenByOthers),
}

/// A member, as one node sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) member: &'a Member,
    /// Believed to be alive.
    pub(super) up: bool,
}

impl Gossip {
    pub(super) fn new(failure_detector: Option<Duration>) -> Self {
        Gossip { members: BTreeMap::new(), failure_detector, sides: 0 }
    }

    /// The members, dead or alive.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn member(&self, address: IpAddr) -> Option<&Member> {
        self.members.get(&address)
    }

    /// A node joined.
    pub(super) fn join(&mut self, node: &NodeSpec) {
        let member = Member {
            spec: node.clone(),
            tokens: tokens(node),
            life: Life::of(node.state.facts().presence),
            side: Side::Main,
        };
        self.members.insert(node.address, member);
    }

    /// A node was decommissioned, and is forgotten.
    pub(super) fn leave(&mut self, address: IpAddr) {
        self.members.remove(&address);
    }

    /// A node is in another state.
    pub(super) fn set_state(&mut self, address: IpAddr, state: State) {
        self.with(address, |member| {
            member.spec.state = state;
            member.life = Life::of(state.facts().presence);
        });
    }

    /// A node runs again, or still: in the state it was in, unless that is one without an open port.
    pub(super) fn revive(&mut self, address: IpAddr) {
        let state = self.member(address).map(|member| member.spec.state).filter(|state| state.facts().open);
        self.set_state(address, state.unwrap_or_default());
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
        self.with(address, |member| member.spec.rack = rack);
    }

    pub(super) fn set_version(&mut self, address: IpAddr, version: Version) {
        self.with(address, |member| member.spec.version = version);
    }

    pub(super) fn set_tls(&mut self, address: IpAddr, tls: Option<Tls>) {
        self.with(address, |member| member.spec.tls = tls);
    }

    pub(super) fn set_tokens(&mut self, address: IpAddr, count: u32) {
        self.with(address, |member| {
            member.spec.tokens = count;
            member.tokens = tokens(&member.spec);
        });
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

    /// All members, as `observer` sees them. It never doubts itself, as in ScyllaDB.
    pub(super) fn seen_by(&self, observer: IpAddr, now: Instant) -> impl Iterator<Item = Seen<'_>> {
        let side = self.members.get(&observer).map_or(Side::Main, |member| member.side);
        self.members.iter().map(move |(address, member)| {
            let up = *address == observer || (member.side.is_seen_from(side) && self.is_alive(member, now));
            Seen { member, up }
        })
    }

    fn is_alive(&self, member: &Member, now: Instant) -> bool {
        match (member.life, self.failure_detector) {
            (Life::Alive, _) | (Life::Crashed(_), None) => true,
            (Life::Crashed(at), Some(timeout)) => now.saturating_duration_since(at) < timeout,
            (Life::Stopped | Life::Dead, _) => false,
        }
    }

    fn with(&mut self, address: IpAddr, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(&address) {
            change(member);
        }
    }
}

impl Member {
    pub(super) fn facts(&self) -> Facts {
        self.spec.state.facts()
    }

    /// Whether it gossips as NORMAL: not while it joins, and no longer once it has said that it stops.
    pub(super) fn is_normal(&self) -> bool {
        self.facts().normal && !matches!(self.life, Life::Stopped)
    }

    /// `cluster_status.status`: gossip's word where there is one.
    pub(super) fn status(&self) -> &'static str {
        if self.facts().normal && !self.is_normal() { "shutdown" } else { self.facts().status }
    }
}

impl Life {
    fn of(presence: Presence) -> Self {
        match presence {
            Presence::Alive => Life::Alive,
            Presence::Stopped => Life::Stopped,
            Presence::Silent => Life::Dead,
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

/// Tokens that are always the same for a host id, as a set in the text of CQL.
fn tokens(node: &NodeSpec) -> Option<Arc<str>> {
    let seed = node.host_id.bytes().fold(0u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut dice = fastrand::Rng::with_seed(seed);
    let tokens: Vec<String> = (0..node.tokens).map(|_| dice.i64(..).to_string()).collect();
    (!tokens.is_empty()).then(|| format!("{{{}}}", tokens.join(", ")).into())
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
        let seen = gossip.seen_by(observer, now).filter(|seen| seen.up);
        seen.map(|seen| seen.member.spec.address).collect()
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

    #[test]
    fn a_state_says_who_is_up_and_what_is_normal() {
        let now = Instant::now();
        let mut gossip = three(None);
        for (state, up, normal, status) in [
            (State::Bootstrapping, true, false, "BOOTSTRAPPING"),
            (State::Rebuilding, true, true, "REBUILDING"),
            (State::Draining, true, true, "NORMAL"),
            (State::Shutdown, false, false, "shutdown"),
            (State::DecommissionDone, false, false, "LEFT"),
            (State::Removing, false, true, "REMOVING"),
            (State::Maintenance, false, true, "NORMAL"),
        ] {
            gossip.set_state(B, state);
            let member = gossip.member(B).unwrap();
            assert_eq!((member.is_normal(), member.status()), (normal, status), "{state}");
            assert_eq!(seen(&gossip, A, now).contains(&B), up, "{state}");
        }
        gossip.set_state(B, State::Decommissioning);
        gossip.announce_stop(B);
        assert_eq!(gossip.member(B).unwrap().status(), "shutdown", "what it was doing is not told any more");
        gossip.revive(B);
        assert_eq!(gossip.member(B).unwrap().status(), "DECOMMISSIONING", "a restart goes on with it");
        gossip.set_state(B, State::Draining);
        gossip.revive(B);
        assert_eq!(gossip.member(B).unwrap().spec.state, State::Normal);
    }

    #[test]
    fn tokens_are_as_many_as_wanted_and_always_the_same() {
        let mut gossip = three(None);
        let first = gossip.member(A).unwrap().tokens.clone().unwrap();
        assert_eq!(first.split(", ").count(), 256);
        gossip.set_tokens(A, 0);
        assert_eq!(gossip.member(A).unwrap().tokens, None);
        gossip.set_tokens(A, 256);
        assert_eq!(gossip.member(A).unwrap().tokens.as_ref(), Some(&first));
    }
}
