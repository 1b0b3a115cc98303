//! Previous membership + one round's answers → next membership. Pure: no clock, no I/O, no randomness.
//!
//! Votes are counted per home, so that what happens in one datacenter never changes another. A member stays while at
//! least half of its home's votes list it, and leaves after `fall` rounds in a row without. To join takes more than
//! half, or half and an answer of the node itself: where only two observers answer and one lies, its invention is one
//! of two. One view alone may add nodes to a home of one, because a cluster must be learnt from somebody, and to a
//! larger one after a while; it takes none away: a node cut off from its peers answers with itself only, and looks
//! healthy. Observers of other datacenters
//! help where a datacenter has few of its own, but cannot take away a node that answers us and that its own
//! datacenter lists: when the link between two datacenters breaks, both go on serving.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    groups,
    localnodes::Question,
    membership::{Home, LoneView, Membership},
    removal::{Crowd, Removal},
    told::Views,
};
use crate::model::{Listing, Source};

/// After this many rounds in which one view, and only that one, was to be had, it is believed: whoever it leaves out
/// has not answered for as long. At one round a second this is longer than ScyllaDB takes to notice a dead node
/// (20 s), so that a second observer has had its chance.
pub(super) const LONE_VIEW_ROUNDS: u32 = 30;

/// After this many rounds in which one view, and only that one, was to be had, it may add nodes to a datacenter that
/// has several: a view that is alone because others were slow for a moment, and that lies, is gone by then.
pub(super) const LONE_JOIN_ROUNDS: u32 = 3;

/// Votes below which nobody leaves.
pub(super) const QUORUM: usize = 2;

/// What the observers said in one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// The latest answer to each question by each observer.
    pub(super) answers: BTreeMap<(Question, IpAddr), BTreeSet<IpAddr>>,
    /// Observers known to ignore `dc` and `rack`: whatever they are asked, they tell their own datacenter. Not those whose
    /// answers come from tables, which know all places.
    pub(super) legacy: BTreeSet<IpAddr>,
    /// What tables told.
    pub(super) views: Views,
    /// Whether every server known ignores them; `None` when that was not learnt.
    pub(super) flat: Option<bool>,
}

impl Round {
    /// Whether any answer holds a node. An empty list says only that the observer knows nobody there.
    pub(super) fn lists_anything(&self) -> bool {
        self.answers.values().any(|listed| !listed.is_empty())
    }

    /// Whether a node answered anything in this round.
    fn has_answer_of(&self, address: IpAddr) -> bool {
        self.answers.keys().any(|(_, observer)| *observer == address)
    }

    /// Answers to questions that name a place, of observers that look at it.
    pub(super) fn believed(&self) -> impl Iterator<Item = (&Question, IpAddr, &BTreeSet<IpAddr>)> {
        let answers = self.answers.iter().map(|((question, observer), listed)| (question, *observer, listed));
        answers.filter(|(_, observer, _)| !self.legacy.contains(observer))
    }

    /// Answers to the plain question.
    pub(super) fn plain(&self) -> impl Iterator<Item = (IpAddr, &BTreeSet<IpAddr>)> {
        let plain = self.answers.iter().filter(|((question, _), _)| *question == Question::Plain);
        plain.map(|((_, observer), listed)| (*observer, listed))
    }
}

/// The answers that count for one home.
pub(super) type Votes<'a> = Vec<&'a BTreeSet<IpAddr>>;

/// A node that joined or left, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) address: IpAddr,
    pub(super) joined: bool,
    pub(super) home: Home,
    /// How many of the votes listed it in this round.
    pub(super) listed_by: usize,
    pub(super) votes: usize,
}

/// What an operator chose about leaving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Rounds in a row that must not list a member before it leaves.
    pub(super) fall: u32,
    /// Share of a scope's members (0..=1); when more than this would leave by one round, they wait for a second one.
    pub(super) removal_cap: f64,
}

/// What a round changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Who joined or left.
    pub(super) nodes: Vec<Change>,
    /// Who waits with leaving, and what came of it.
    pub(super) removals: Vec<Removal>,
}

/// The membership after a round, and what changed by it.
pub(super) fn next(previous: &Membership, round: &Round, rules: Rules) -> (Membership, Changes) {
    let mut next = previous.clone();
    if !round.lists_anything() {
        next.stale = true;
        return (next, Changes::default());
    }
    next.source = Source::Discovery;
    next.stale = false;
    let mut changes = Changes::default();
    let named = named_votes(&next, round);
    count(&mut next, round, &named, rules, &mut changes);
    groups::absorb(previous, &mut next);
    let nameless = groups::votes(&mut next, round);
    count(&mut next, round, &nameless, rules, &mut changes);
    age_unplaced(&mut next, &mut changes.nodes);
    place_in_racks(&mut next, round);
    let homes = next.homes();
    next.lone_views.retain(|home, _| homes.contains(home));
    next.tidy();
    next.placed = (previous.placed || !round.views.is_empty()) && next.places().next().is_some();
    next.flat = match next.placed {
        // A cluster that was flat has names for some nodes first and for others in a moment.
        true => previous.flat && next.lacks_places(),
        false => round.flat.unwrap_or(previous.flat),
    };
    (next, changes)
}

/// Votes on datacenters with a name: answers about them, and the plain answers of their own old nodes.
fn named_votes<'a>(membership: &Membership, round: &'a Round) -> BTreeMap<Home, Votes<'a>> {
    let mut votes: BTreeMap<Home, Votes<'a>> = BTreeMap::new();
    for (question, _, listed) in round.believed() {
        if let Question::Datacenter(dc) = question {
            votes.entry(Home::Named(dc.clone())).or_default().push(listed);
        }
    }
    for (observer, listed) in round.plain().filter(|(observer, _)| round.legacy.contains(observer)) {
        let home = membership.home_of(observer);
        if matches!(home, Home::Named(_)) {
            votes.entry(home).or_default().push(listed);
        }
    }
    votes
}

/// Lets the members of each home join and leave by its votes.
fn count(next: &mut Membership, round: &Round, votes: &BTreeMap<Home, Votes>, rules: Rules, changes: &mut Changes) {
    let tallies: BTreeMap<&Home, BTreeMap<IpAddr, usize>> =
        votes.iter().map(|(home, votes)| (home, tally(votes))).collect();
    let claims = claims(&tallies, votes);
    for (&home, tally) in &tallies {
        let total = votes[home].len();
        let listed_by = |address| tally.get(&address).copied().unwrap_or(0);
        let change = |address, joined| Change {
            address,
            joined,
            home: home.clone(),
            listed_by: listed_by(address),
            votes: total,
        };
        let own = own_answers(next, round, home);
        let believed_alone = lone_view_holds(next, home, &votes[home]);
        let alone_for = next.lone_views.get(home).map_or(0, |lone| lone.rounds);
        let small = next.listed_in(home).nth(1).is_none();
        let crowd = Crowd::before(next, home);
        let waited: Vec<IpAddr> = next.listed_in(home).filter(|&address| next.has_waited(address)).collect();
        for (&address, &count) in tally {
            let convincing = match total {
                1 => small || alone_for >= LONE_JOIN_ROUNDS,
                _ => count * 2 > total || round.has_answer_of(address),
            };
            let listed = count * 2 >= total && (convincing || next.is_listed_in(address, home));
            if listed && may_list(next, address, home, claims.get(&address) == Some(&home)) && next.list(address, home)
            {
                changes.nodes.push(change(address, true));
            }
        }
        let unlisted: Vec<IpAddr> = next.listed_in(home).filter(|&address| listed_by(address) * 2 < total).collect();
        let mut leaving = Vec::new();
        for address in unlisted.into_iter().filter(|&address| !kept_by_its_own(&own, address)) {
            let Some(entry) = next.entries.get_mut(&address) else { continue };
            if total >= QUORUM {
                entry.misses = entry.misses.saturating_add(1);
            }
            if believed_alone || (total >= QUORUM && entry.misses >= rules.fall) {
                leaving.push(address);
            }
        }
        let left = leave(next, crowd, &leaving, rules.removal_cap, changes);
        changes.nodes.extend(left.iter().map(|&address| change(address, false)));
        // A round that cannot decide leaves those that wait as they are.
        if total >= QUORUM || believed_alone {
            settle(next, home, &waited, &left, changes);
        }
    }
}

/// Takes the members of a home that leave, but for those too many at once; who left.
fn leave(
    next: &mut Membership,
    crowd: Crowd<'_>,
    leaving: &[IpAddr],
    removal_cap: f64,
    changes: &mut Changes,
) -> BTreeSet<IpAddr> {
    let (held, waves) = crowd.held_back(next, leaving, removal_cap);
    changes.removals.extend(waves);
    let mut left = BTreeSet::new();
    for &address in leaving {
        let Some(entry) = next.entries.get_mut(&address) else { continue };
        if held.contains(&address) {
            entry.waited = true;
        } else {
            entry.listing = Listing::Left;
            left.insert(address);
        }
    }
    left
}

/// What came of the members of a home that waited. Whoever did not leave by this round has nothing to wait for.
fn settle(next: &mut Membership, home: &Home, waited: &[IpAddr], left: &BTreeSet<IpAddr>, changes: &mut Changes) {
    if waited.is_empty() {
        return;
    }
    let (gone, stayed): (Vec<IpAddr>, Vec<IpAddr>) = waited.iter().partition(|address| left.contains(address));
    for address in &stayed {
        if let Some(entry) = next.entries.get_mut(address) {
            entry.waited = false;
        }
    }
    changes.removals.push(Removal::Came { home: home.clone(), left: gone.len(), stayed: stayed.len() });
}

/// The answers about a named datacenter that its own listed members gave.
fn own_answers<'a>(membership: &Membership, round: &'a Round, home: &Home) -> Vec<(IpAddr, &'a BTreeSet<IpAddr>)> {
    let members: BTreeSet<IpAddr> = membership.listed_in(home).collect();
    let about_home =
        |question: &Question| matches!((question, home), (Question::Datacenter(dc), Home::Named(own)) if dc == own);
    round
        .believed()
        .filter(|(question, observer, _)| about_home(question) && members.contains(observer))
        .map(|(_, observer, listed)| (observer, listed))
        .collect()
}

/// Whether a node answered us, lists itself, and is listed by at least half of its own datacenter's answers.
fn kept_by_its_own(own: &[(IpAddr, &BTreeSet<IpAddr>)], address: IpAddr) -> bool {
    let lists = own.iter().filter(|(_, listed)| listed.contains(&address)).count();
    let speaks = own.iter().any(|(observer, listed)| *observer == address && listed.contains(&address));
    speaks && lists * 2 >= own.len()
}

/// How many votes list each node.
fn tally(votes: &Votes) -> BTreeMap<IpAddr, usize> {
    let mut tally = BTreeMap::new();
    for &address in votes.iter().copied().flatten() {
        *tally.entry(address).or_insert(0) += 1;
    }
    tally
}

/// For each node the home where the largest share of votes lists it, the first by name among equals.
fn claims<'h>(
    tallies: &BTreeMap<&'h Home, BTreeMap<IpAddr, usize>>,
    votes: &BTreeMap<Home, Votes>,
) -> BTreeMap<IpAddr, &'h Home> {
    let mut best: BTreeMap<IpAddr, (usize, usize, &Home)> = BTreeMap::new();
    for (&home, tally) in tallies {
        let total = votes[home].len();
        for (&address, &count) in tally {
            let claim = best.entry(address).or_insert((count, total, home));
            if count * claim.1 > claim.0 * total {
                *claim = (count, total, home);
            }
        }
    }
    best.into_iter().map(|(address, (_, _, home))| (address, home)).collect()
}

/// Whether a home may list a node that may stand elsewhere: a listed node keeps its home until that one drops it,
/// so that two datacenters never fight over it; but a name beats none. `claimed`: no other home lists it better.
fn may_list(membership: &Membership, address: IpAddr, home: &Home, claimed: bool) -> bool {
    let Some(entry) = membership.entries.get(&address) else { return claimed };
    if entry.home == *home {
        return true;
    }
    let free = match (&entry.home, home) {
        (Home::Unknown, _) | (Home::Nameless(_), Home::Named(_)) => true,
        (Home::Named(_) | Home::Nameless(_), _) => entry.listing == Listing::Left,
    };
    free && claimed
}

/// Notes a lone view, and says whether it has lasted long enough to be believed. One that lists none of the home's
/// members never is: no single observer can empty a datacenter.
fn lone_view_holds(next: &mut Membership, home: &Home, votes: &Votes) -> bool {
    let [view] = votes[..] else {
        next.lone_views.remove(home);
        return false;
    };
    let fresh = || LoneView { listed: view.clone(), rounds: 0 };
    let lone = next.lone_views.entry(home.clone()).or_insert_with(fresh);
    if lone.listed != *view {
        *lone = fresh();
    }
    lone.rounds = lone.rounds.saturating_add(1);
    let lasted = lone.rounds >= LONE_VIEW_ROUNDS;
    lasted && next.listed_in(home).any(|address| view.contains(&address))
}

/// Nodes of a snapshot without datacenter leave when no answer of any home has listed them for long.
fn age_unplaced(next: &mut Membership, changes: &mut Vec<Change>) {
    let unplaced = |entry: &super::membership::Entry| entry.home == Home::Unknown && entry.listing == Listing::Listed;
    for (&address, entry) in next.entries.iter_mut().filter(|(_, entry)| unplaced(entry)) {
        entry.misses = entry.misses.saturating_add(1);
        if entry.misses >= LONE_VIEW_ROUNDS {
            entry.listing = Listing::Left;
            changes.push(Change { address, joined: false, home: Home::Unknown, listed_by: 0, votes: 0 });
        }
    }
}

/// How many observers see a node in each rack.
type RackVotes<'a> = BTreeMap<&'a Arc<str>, usize>;

/// Puts each node in the rack that most observers, and at least half of them, see it in. A rack once known changes
/// only by the word of two, like membership.
fn place_in_racks(next: &mut Membership, round: &Round) {
    let mut voters: BTreeMap<&Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut seen_in: BTreeMap<(&Arc<str>, IpAddr), RackVotes> = BTreeMap::new();
    for (question, observer, listed) in round.believed() {
        let Question::Rack(dc, rack) = question else { continue };
        voters.entry(dc).or_default().insert(observer);
        for &address in listed {
            *seen_in.entry((dc, address)).or_default().entry(rack).or_insert(0) += 1;
        }
    }
    for (dc, voters) in voters {
        let members: Vec<IpAddr> = next.listed_in(&Home::Named(dc.clone())).collect();
        let may_move = voters.len() >= QUORUM || members.len() <= 1;
        for address in members {
            let (Some(entry), Some(racks)) = (next.entries.get_mut(&address), seen_in.get(&(dc, address))) else {
                continue;
            };
            let most = racks.values().copied().max().unwrap_or(0);
            let keeps = entry.rack.as_ref().is_some_and(|rack| racks.get(rack) == Some(&most));
            let convincing = most * 2 >= voters.len() && (may_move || entry.rack.is_none());
            if !keeps && convincing {
                entry.rack = racks.iter().find(|(_, count)| **count == most).map(|(rack, _)| (*rack).clone());
            }
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
