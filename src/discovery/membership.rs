//! What is known of the members between two rounds: the part of it that a [`Topology`] shows, and the part that
//! only merging needs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use crate::model::{Listing, Member, Node, Scope, Source, Topology};

/// More nodes than any cluster has. Nodes above it do not join, so that lying nodes cannot fill the memory.
const MAX_MEMBERS: usize = 10_000;

/// More scopes than any configuration names; those above it are not remembered as seen.
const MAX_SEEN: usize = 10_000;

/// How many nodes that left are remembered with their home. Only one that is still asked (a seed) needs it.
const MAX_DEPARTED: usize = 1_000;

/// The datacenters and racks whose names are known, in ScyllaDB's spelling: the one place where discovery learns
/// names from. Today the configuration fills it once; a poller that reads system tables would replace it whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Racks by datacenter.
    pub(super) datacenters: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

/// The datacenter whose view a node shares, as far as that is known: those of one home vote on its members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Home {
    /// A datacenter with a known name.
    Named(Arc<str>),
    /// A datacenter without one: nodes that list each other.
    Nameless(u32),
    /// A node of a snapshot without datacenter, before anybody listed it.
    Unknown,
}

impl Home {
    /// The datacenter's name; `-` without one.
    pub(super) fn name(&self) -> &str {
        match self {
            Home::Named(dc) => dc,
            Home::Nameless(_) | Home::Unknown => "-",
        }
    }
}

/// Everything known of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) entries: BTreeMap<IpAddr, Entry>,
    /// Homes of nodes that left, oldest first: such a node still votes where it came from, instead of founding a
    /// datacenter of its own when it is cut off and asked as a seed.
    departed: VecDeque<(IpAddr, Home)>,
    pub(super) lone_views: BTreeMap<Home, LoneView>,
    next_nameless: u32,
    seen: BTreeSet<Scope>,
    pub(super) source: Source,
    pub(super) stale: bool,
    pub(super) flat: bool,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) home: Home,
    pub(super) rack: Option<Arc<str>>,
    pub(super) listing: Listing,
    /// Rounds in a row that did not list it.
    pub(super) misses: u32,
    /// It would have left by an earlier round, with too many others: the next round that can decide does.
    pub(super) waited: bool,
    pub(super) served_before: bool,
}

/// The view of a single observer when nobody else of its datacenter could be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoneView {
    pub(super) listed: BTreeSet<IpAddr>,
    /// Rounds it has been the same.
    pub(super) rounds: u32,
}

impl Membership {
    /// Where an earlier run stopped. Datacenters that have no known name any more are forgotten, not their nodes.
    pub(super) fn new(initial: &Topology, names: &Names) -> Self {
        let entry = |member: &Member| {
            let named = member.node.datacenter.clone().filter(|dc| names.datacenters.contains_key(dc));
            Entry {
                rack: named.as_ref().and(member.node.rack.clone()),
                home: named.map_or(Home::Unknown, Home::Named),
                listing: member.listing,
                misses: 0,
                waited: false,
                served_before: member.served_before,
            }
        };
        Membership {
            entries: initial
                .members
                .iter()
                .take(MAX_MEMBERS)
                .map(|(&address, member)| (address, entry(member)))
                .collect(),
            seen: initial.seen.iter().take(MAX_SEEN).cloned().collect(),
            source: initial.source,
            stale: initial.stale,
            flat: initial.flat,
            ..Membership::default()
        }
    }

    /// The part that others see.
    pub(super) fn topology(&self) -> Topology {
        let member = |address: IpAddr, entry: &Entry| {
            let datacenter = match &entry.home {
                Home::Named(dc) => Some(dc.clone()),
                Home::Nameless(_) | Home::Unknown => None,
            };
            let node = Node { address, datacenter, rack: entry.rack.clone() };
            Member { listing: entry.listing, served_before: entry.served_before, ..Member::new(node) }
        };
        Topology {
            members: self.entries.iter().map(|(&address, entry)| (address, member(address, entry))).collect(),
            seen: self.seen.clone(),
            source: self.source,
            stale: self.stale,
            flat: self.flat,
        }
    }

    /// Where a node's plain answer counts: its home, also after it left.
    pub(super) fn home_of(&self, address: IpAddr) -> Home {
        let departed = || self.departed.iter().find(|(left, _)| *left == address).map(|(_, home)| home);
        self.entries.get(&address).map(|entry| &entry.home).or_else(departed).cloned().unwrap_or(Home::Unknown)
    }

    /// The homes that have members, listed or not.
    pub(super) fn homes(&self) -> BTreeSet<Home> {
        self.entries.values().map(|entry| entry.home.clone()).collect()
    }

    /// The members of a home that the cluster lists.
    pub(super) fn listed_in<'a>(&'a self, home: &'a Home) -> impl Iterator<Item = IpAddr> + 'a {
        let listed = move |entry: &Entry| entry.home == *home && entry.listing == Listing::Listed;
        self.entries.iter().filter(move |(_, entry)| listed(entry)).map(|(&address, _)| address)
    }

    /// Whether the cluster lists the node in this home.
    pub(super) fn is_listed_in(&self, address: IpAddr, home: &Home) -> bool {
        self.entries.get(&address).is_some_and(|entry| entry.home == *home && entry.listing == Listing::Listed)
    }

    /// The rack a node is known to stand in.
    pub(super) fn rack_of(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.entries.get(&address).and_then(|entry| entry.rack.as_ref())
    }

    /// Whether the node would have left by an earlier round.
    pub(super) fn has_waited(&self, address: IpAddr) -> bool {
        self.entries.get(&address).is_some_and(|entry| entry.waited)
    }

    /// A home for nodes that list each other and belong nowhere else.
    pub(super) fn found_home(&mut self) -> Home {
        let home = Home::Nameless(self.next_nameless);
        self.next_nameless = self.next_nameless.wrapping_add(1);
        home
    }

    /// Lists a node in a home; whether it was not listed anywhere before. A node above the bound stays outside.
    pub(super) fn list(&mut self, address: IpAddr, home: &Home) -> bool {
        if let Some(entry) = self.entries.get_mut(&address) {
            let joined = entry.listing == Listing::Left;
            if entry.home != *home {
                entry.home = home.clone();
                entry.rack = None;
            }
            entry.listing = Listing::Listed;
            entry.misses = 0;
            entry.waited = false;
            return joined;
        }
        if self.entries.len() >= MAX_MEMBERS {
            return false;
        }
        self.departed.retain(|(left, _)| *left != address);
        let entry = Entry {
            home: home.clone(),
            rack: None,
            listing: Listing::Listed,
            misses: 0,
            waited: false,
            served_before: false,
        };
        self.entries.insert(address, entry);
        true
    }

    /// Moves every node of one home, and what is remembered of it, to another.
    pub(super) fn rehome(&mut self, from: &Home, to: &Home) {
        let remembered = self.departed.iter_mut().map(|(_, home)| home);
        for home in self.entries.values_mut().map(|entry| &mut entry.home).chain(remembered) {
            if home == from {
                *home = to.clone();
            }
        }
    }

    /// Drops the nodes that left and are no longer the last known ones of their place, and notes the scopes that
    /// have nodes.
    pub(super) fn tidy(&mut self) {
        let listed = self.entries.values().filter(|entry| entry.listing == Listing::Listed);
        let places: BTreeSet<_> = listed.clone().map(|entry| (entry.home.clone(), entry.rack.clone())).collect();
        let homes: BTreeSet<_> = listed.map(|entry| entry.home.clone()).collect();
        let superseded = |entry: &Entry| match (&entry.home, &entry.rack) {
            (home, Some(rack)) => places.contains(&(home.clone(), Some(rack.clone()))),
            (Home::Unknown, None) => !homes.is_empty(),
            (home, None) => homes.contains(home),
        };
        let departed = &mut self.departed;
        self.entries.retain(|&address, entry| {
            let drop = entry.listing == Listing::Left && superseded(entry);
            if drop && entry.home != Home::Unknown {
                departed.push_back((address, entry.home.clone()));
            }
            !drop
        });
        departed.drain(..departed.len().saturating_sub(MAX_DEPARTED));
        for scope in places.into_iter().flat_map(|(home, rack)| scopes_of(home, rack)) {
            if self.seen.len() < MAX_SEEN {
                self.seen.insert(scope);
            }
        }
    }
}

/// The scopes that a node at this place belongs to.
fn scopes_of(home: Home, rack: Option<Arc<str>>) -> Vec<Scope> {
    match (home, rack) {
        (Home::Named(dc), Some(rack)) => {
            vec![Scope::Cluster, Scope::Datacenter(dc.clone()), Scope::Rack(dc, rack)]
        }
        (Home::Named(dc), None) => vec![Scope::Cluster, Scope::Datacenter(dc)],
        (Home::Nameless(_) | Home::Unknown, _) => vec![Scope::Cluster],
    }
}
