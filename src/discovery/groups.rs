//! Datacenters without a name: which plain answers belong together. Part of merging, and as pure.
//!
//! A plain answer tells the answering node's own datacenter and does not say which one that is. Members keep their
//! home from round to round; an observer votes in the home it is a member of, that is where others list it, whatever
//! it lists itself. Only answers of observers that are no members have to be sorted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    localnodes::Question,
    membership::{Home, Membership},
    merge::{Round, Votes},
};

/// A nameless home whose members turn out to stand in a named datacenter follows them, so that those not listed
/// right now are not left behind in a home where nobody votes.
pub(super) fn absorb(previous: &Membership, next: &mut Membership) {
    for home in previous.homes().into_iter().filter(|home| matches!(home, Home::Nameless(_))) {
        let before: Vec<IpAddr> = previous.listed_in(&home).collect();
        let mut moved: BTreeMap<&Home, usize> = BTreeMap::new();
        for entry in before.iter().filter_map(|address| next.entries.get(address)) {
            if matches!(entry.home, Home::Named(_)) {
                *moved.entry(&entry.home).or_insert(0) += 1;
            }
        }
        let target = moved.into_iter().find(|(_, count)| is_most(*count, before.len())).map(|(home, _)| home.clone());
        if let Some(target) = target {
            next.rehome(&home, &target);
        }
    }
}

/// Votes on nameless homes. New homes are founded for answers that belong nowhere, and homes that list each other
/// become one.
pub(super) fn votes<'a>(next: &mut Membership, round: &'a Round) -> BTreeMap<Home, Votes<'a>> {
    let mut votes: BTreeMap<Home, Votes<'a>> = BTreeMap::new();
    let mut strays = Vec::new();
    for (observer, listed) in round.plain() {
        match home_of_answer(next, round, observer, listed) {
            home @ Home::Nameless(_) => votes.entry(home).or_default().push(listed),
            home @ Home::Named(_) => move_lonely(next, round, observer, &home),
            Home::Unknown if listed.is_empty() => {}
            Home::Unknown => strays.push((observer, listed)),
        }
    }
    unite(next, &mut votes);
    for cluster in cluster(&strays) {
        votes.insert(next.found_home(), cluster.into_iter().map(|(_, listed)| listed).collect());
    }
    votes
}

/// The home a plain answer belongs to; `Unknown` when it is a stray.
fn home_of_answer(membership: &Membership, round: &Round, observer: IpAddr, listed: &BTreeSet<IpAddr>) -> Home {
    let home = membership.home_of(observer);
    if matches!(home, Home::Named(_)) {
        return home;
    }
    let overlapping = own_datacenter(round, observer, listed).or_else(|| home_of_most(membership, listed));
    match (home, overlapping) {
        (_, Some(named @ Home::Named(_))) => named,
        (Home::Unknown, Some(nameless)) => nameless,
        (home, _) => home,
    }
}

/// The datacenter that the observer itself describes by mostly the same nodes. Only its own word is taken for it: by
/// somebody else's, a lying node could pull others out of their home.
fn own_datacenter(round: &Round, observer: IpAddr, listed: &BTreeSet<IpAddr>) -> Option<Home> {
    round.believed().find_map(|(question, by, named)| match question {
        Question::Datacenter(dc) if by == observer && is_most(named.intersection(listed).count(), listed.len()) => {
            Some(Home::Named(dc.clone()))
        }
        _ => None,
    })
}

/// The home where most of the nodes stand.
fn home_of_most(membership: &Membership, nodes: &BTreeSet<IpAddr>) -> Option<Home> {
    let mut counts: BTreeMap<&Home, usize> = BTreeMap::new();
    for entry in nodes.iter().filter_map(|address| membership.entries.get(address)) {
        *counts.entry(&entry.home).or_insert(0) += 1;
    }
    let most = counts.into_iter().find(|(_, count)| is_most(*count, nodes.len()));
    most.map(|(home, _)| home.clone()).filter(|home| *home != Home::Unknown)
}

/// Takes an observer to the named datacenter its answer describes, if nobody else's answer lists it where it is.
fn move_lonely(next: &mut Membership, round: &Round, observer: IpAddr, home: &Home) {
    let listed_elsewhere = round.plain().any(|(other, listed)| other != observer && listed.contains(&observer));
    if let Some(entry) = next.entries.get_mut(&observer)
        && !listed_elsewhere
    {
        entry.home = home.clone();
    }
}

/// Makes one home of two when most votes of each list most members of the other: two halves of a datacenter that was
/// split when it was first seen. A single liar cannot bring that about.
fn unite(next: &mut Membership, votes: &mut BTreeMap<Home, Votes>) {
    let homes: Vec<Home> = votes.keys().cloned().collect();
    for (index, first) in homes.iter().enumerate() {
        for second in &homes[index + 1..] {
            let (Some(ours), Some(theirs)) = (votes.get(first), votes.get(second)) else { continue };
            if sees(next, ours, second) && sees(next, theirs, first) {
                next.rehome(second, first);
                let theirs = votes.remove(second).unwrap_or_default();
                votes.entry(first.clone()).or_default().extend(theirs);
            }
        }
    }
}

/// Whether most of the votes list most members of the home.
fn sees(membership: &Membership, votes: &Votes, home: &Home) -> bool {
    let members: Vec<IpAddr> = membership.listed_in(home).collect();
    let lists_most = |view: &BTreeSet<IpAddr>| {
        is_most(members.iter().filter(|&address| view.contains(address)).count(), members.len())
    };
    is_most(votes.iter().filter(|view| lists_most(view)).count(), votes.len())
}

/// An observer and its plain answer.
type Stray<'a> = (IpAddr, &'a BTreeSet<IpAddr>);

/// Sorts answers of unknown observers, as at the first round. An answer joins a cluster when it is related to most of
/// the answers in it; being related to one is not enough, or one liar would tie two datacenters together.
fn cluster<'a>(strays: &[Stray<'a>]) -> Vec<Vec<Stray<'a>>> {
    let mut clusters: Vec<Vec<Stray<'a>>> = Vec::new();
    for &stray in strays {
        let belongs = |cluster: &Vec<Stray>| {
            is_most(cluster.iter().filter(|&&other| related(stray, other)).count(), cluster.len())
        };
        match clusters.iter_mut().find(|cluster| belongs(cluster)) {
            Some(cluster) => cluster.push(stray),
            None => clusters.push(vec![stray]),
        }
    }
    clusters
}

/// Whether two answers describe one datacenter: their observers list each other, or the lists are mostly the same.
fn related(one: Stray, other: Stray) -> bool {
    let mutual = one.1.contains(&other.0) && other.1.contains(&one.0);
    mutual || is_most(one.1.intersection(other.1).count(), one.1.union(other.1).count())
}

/// More than half.
fn is_most(part: usize, whole: usize) -> bool {
    part * 2 > whole
}
