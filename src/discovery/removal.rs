//! The removal cap: when much of a scope leaves at once, it leaves only by a second round. Part of merging, and as pure.
//!
//! One round in which most of a datacenter or rack is gone is more often a moment of the observers (a restart of them
//! all, a broken gossip) than the truth. The cost of asking again is one round; it never keeps a node for longer than
//! the next round that can decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::membership::{Home, Membership};

/// Nodes below which a leaving is no wave, however small its scope: a single node goes at once.
const WAVE: usize = 2;

/// A wave of nodes that wait, and what came of it. For the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// So many of the members of a home, or of one of its racks, would leave: they wait for a second round.
    Waits {
        /// The home.
        home: Home,
        /// The rack, where it is one rack that loses too many and not the home.
        rack: Option<Arc<str>>,
        /// Nodes that would leave.
        leaving: usize,
        /// Members before.
        members: usize,
    },
    /// The second round about a home: of those that waited, so many left, the others are listed again.
    Came {
        /// The home.
        home: Home,
        /// Nodes that left.
        left: usize,
        /// Nodes that stay.
        stayed: usize,
    },
}

/// The members of a home and of its racks before a round, and how many of them would leave by it.
#[derive(Debug)]
pub(super) struct Crowd<'h> {
    home: &'h Home,
    all: Scope,
    racks: BTreeMap<Arc<str>, Scope>,
}

impl<'h> Crowd<'h> {
    /// The members before anybody joins or leaves.
    pub(super) fn before(membership: &Membership, home: &'h Home) -> Self {
        let mut crowd = Crowd { home, all: Scope::default(), racks: BTreeMap::new() };
        for address in membership.listed_in(home) {
            crowd.all.members += 1;
            let rack = membership.rack_of(address).cloned();
            rack.into_iter().for_each(|rack| crowd.racks.entry(rack).or_default().members += 1);
        }
        crowd
    }

    /// Of the nodes that would leave in this round, those that have to wait for the next one, and which scopes lose more
    /// than `cap` of their members. Nodes that waited already never wait again.
    pub(super) fn held_back(
        mut self,
        membership: &Membership,
        leaving: &[IpAddr],
        cap: f64,
    ) -> (BTreeSet<IpAddr>, Vec<Removal>) {
        for &address in leaving {
            let waits = !membership.has_waited(address);
            self.all.leave(waits);
            let rack = membership.rack_of(address).cloned();
            rack.into_iter().for_each(|rack| self.racks.entry(rack).or_default().leave(waits));
        }
        let whole_home = self.all.is_over(cap);
        let is_in_wave = |address: IpAddr| {
            let rack = membership.rack_of(address).and_then(|rack| self.racks.get(rack));
            whole_home || rack.is_some_and(|rack| rack.is_over(cap))
        };
        let fresh = leaving.iter().copied().filter(|&address| !membership.has_waited(address));
        let held = fresh.filter(|&address| is_in_wave(address)).collect();
        let told = |rack: Option<&Arc<str>>, scope: &Scope| Removal::Waits {
            home: self.home.clone(),
            rack: rack.cloned(),
            leaving: scope.leaving,
            members: scope.members,
        };
        let over = self.racks.iter().filter(|(_, rack)| rack.is_over(cap));
        let waves = match whole_home {
            true => vec![told(None, &self.all)],
            false => over.map(|(name, rack)| told(Some(name), rack)).collect(),
        };
        (held, waves)
    }
}

/// A home or one of its racks in one round.
#[derive(Debug, Default)]
struct Scope {
    members: usize,
    leaving: usize,
    /// How many of them would wait.
    fresh: usize,
}

impl Scope {
    fn leave(&mut self, waits: bool) {
        self.leaving += 1;
        self.fresh += usize::from(waits);
    }

    /// Whether too many leave at once, and some of them for the first time.
    fn is_over(&self, cap: f64) -> bool {
        self.fresh > 0 && self.leaving >= WAVE && self.leaving as f64 > cap * self.members as f64
    }
}
