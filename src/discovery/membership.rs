//! What is known of the members between two rounds: the part of it that a [`Topology`] shows, and the part that
//! only merging needs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use super::{names::Names, told::Hearsay};
use crate::model::{Listing, Member, Node, Scope, Source, Told, Topology};

/// More nodes than any cluster has. Nodes above it do not join, so that lying nodes cannot fill the memory.
const MAX_MEMBERS: usize = 10_000;

/// More scopes than any configuration names; those above it are not remembered as seen.
const MAX_SEEN: usize = 10_000;

/// How many nodes that left are remembered with their home. Only one that is still asked (a seed) needs it.
const MAX_DEPARTED: usize = 1_000;

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
    /// Places were told by tables, so that they are known whatever servers make of `dc` and `rack`.
    pub(super) placed: bool,
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
    /// What tables tell of it.
    pub(super) told: Arc<Told>,
    /// How well that is founded.
    pub(super) hearsay: Hearsay,
}

impl Entry {
    /// A node that has just been listed.
    pub(super) fn new(home: Home) -> Self {
        Entry {
            home,
            rack: None,
            listing: Listing::Listed,
            misses: 0,
            waited: false,
            served_before: false,
            told: Arc::default(),
            hearsay: Hearsay::default(),
        }
    }
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
            let named = member.node.datacenter.clone().filter(|dc| names.has(dc));
            Entry {
                rack: named.as_ref().and(member.node.rack.clone()),
                listing: member.listing,
                served_before: member.served_before,
                told: member.told.clone(),
                ..Entry::new(named.map_or(Home::Unknown, Home::Named))
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
            // What tables told an earlier run.
            placed: names.learns()
                && !initial.flat
                && initial.members.values().any(|member| member.node.datacenter.is_some()),
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
            let (told, served_before) = (entry.told.clone(), entry.served_before);
            Member { node, listing: entry.listing, served_before, told }
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

    /// Whether the datacenter of a listed node has no name, or there is no listed node at all.
    pub(super) fn lacks_places(&self) -> bool {
        let mut listed = self.entries.values().filter(|entry| entry.listing == Listing::Listed).peekable();
        listed.peek().is_none() || listed.any(|entry| !matches!(entry.home, Home::Named(_)))
    }

    /// The places of the members, listed or not, as far as they have names.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Arc<str>>)> {
        self.entries.values().filter_map(|entry| match &entry.home {
            Home::Named(dc) => Some((dc, entry.rack.as_ref())),
            Home::Nameless(_) | Home::Unknown => None,
        })
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
            if joined {
                // What was told of it was told of its end.
                entry.told = Arc::default();
                entry.hearsay = Hearsay::default();
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
        self.entries.insert(address, Entry::new(home.clone()));
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
        self.drop_left(superseded);
        for scope in places.into_iter().flat_map(|(home, rack)| scopes_of(home, rack)) {
            if self.seen.len() < MAX_SEEN {
                self.seen.insert(scope);
            }
        }
    }
}

impl Membership {
    /// Drops nodes that left, and remembers where they stood.
    fn drop_left(&mut self, which: impl Fn(&Entry) -> bool) {
        let departed = &mut self.departed;
        self.entries.retain(|&address, entry| {
            let drop = entry.listing == Listing::Left && which(entry);
            if drop && entry.home != Home::Unknown {
                departed.push_back((address, entry.home.clone()));
            }
            !drop
        });
        departed.drain(..departed.len().saturating_sub(MAX_DEPARTED));
    }

    /// The scopes that were ever seen with a node and not forgotten since.
    pub(super) fn seen(&self) -> &BTreeSet<Scope> {
        &self.seen
    }

    /// The scopes that have a listed node.
    pub(super) fn populated(&self) -> BTreeSet<Scope> {
        let listed = self.entries.values().filter(|entry| entry.listing == Listing::Listed);
        listed.flat_map(|entry| scopes_of(entry.home.clone(), entry.rack.clone())).collect()
    }

    /// Forgets a scope that has no listed node, and the nodes kept as its last known ones.
    pub(super) fn forget(&mut self, scope: &Scope) {
        self.seen.remove(scope);
        self.drop_left(|entry| match (scope, &entry.home) {
            (Scope::Datacenter(gone), Home::Named(dc)) => gone == dc,
            (Scope::Rack(gone, rack), Home::Named(dc)) => gone == dc && entry.rack.as_ref() == Some(rack),
            _ => false,
        });
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
