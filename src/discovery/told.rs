//! What tables tell of the members, by as many views as a round has of them. Part of merging, and as pure.
//!
//! A node is out as soon as more than half of the views that know it say that it is leaving, and back when more than half
//! say that it is not. One view alone changes nothing at once: it may be the one that is wrong.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::{membership::Membership, tables::TableView};
use crate::model::{Leaving, Listing, Told};

/// After this many rounds in a row in which one view, and only that one, says otherwise, it is believed.
pub(super) const LONE_WORD_ROUNDS: u32 = 3;

/// The same where that view takes out more than half of the nodes that are in. Longer than it takes until another node's
/// tables can be read again, and as long as a lone list takes to be believed.
pub(super) const LONE_CROWD_ROUNDS: u32 = 30;

/// After this many rounds without any view that knows a node, what was told of its leaving is forgotten: it is answered
/// again as long as it is listed and serves, as it would be without tables. Rounds with tables are a second apart or more,
/// so these are five minutes: many times longer than tables rest after failures.
pub(super) const UNTOLD_ROUNDS: u32 = 300;

/// The views of a round, by observer.
pub(super) type Views = BTreeMap<IpAddr, Arc<TableView>>;

/// How well what is told of a member is founded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hearsay {
    /// Rounds in a row in which a lone view said otherwise.
    lone: u32,
    /// Rounds in a row in which no view knew the node.
    untold: u32,
}

/// Takes in what a round's views tell of the members.
pub(super) fn hear(next: &mut Membership, views: &Views) {
    let by_address = |view: &TableView| -> HashMap<IpAddr, usize> {
        view.nodes.iter().enumerate().map(|(index, node)| (node.address, index)).collect()
    };
    let indexed: Vec<(IpAddr, &TableView, HashMap<IpAddr, usize>)> =
        views.iter().map(|(observer, view)| (*observer, &**view, by_address(view))).collect();
    let lone_rounds = if takes_a_crowd(next, views) { LONE_CROWD_ROUNDS } else { LONE_WORD_ROUNDS };
    for (address, entry) in next.entries.iter_mut().filter(|(_, entry)| entry.listing == Listing::Listed) {
        let (mut words, mut version) = (Vec::new(), entry.told.version.clone());
        for (observer, view, index) in &indexed {
            let Some(node) = index.get(address).and_then(|&at| view.nodes.get(at)) else { continue };
            // Which release it runs a node tells of itself only, and whoever else says something knows no better.
            if observer == address || version.is_none() {
                version = node.told.version.clone().or(version);
            }
            let mut word = Told { version: None, ..node.told.clone() };
            // Who could not read a table has no word on what is in it.
            if view.lacks_shards {
                word.shards = entry.told.shards;
            }
            if view.lacks_routes {
                word.routes = entry.told.routes.clone();
            }
            words.push(word);
        }
        let current = Told { version: None, ..(*entry.told).clone() };
        let told = Told { version, ..entry.hearsay.weigh(&current, &words, lone_rounds).unwrap_or(current) };
        if told != *entry.told {
            entry.told = Arc::new(told);
        }
    }
}

/// Whether a single view has most of the nodes that are in now on their way out.
fn takes_a_crowd(membership: &Membership, views: &Views) -> bool {
    let mut all = views.values();
    let (Some(view), None) = (all.next(), all.next()) else { return false };
    let is_in = |address: &IpAddr| {
        membership
            .entries
            .get(address)
            .is_some_and(|entry| entry.listing == Listing::Listed && entry.told.leaving.is_none())
    };
    let leave = view.nodes.iter().filter(|node| node.told.leaving.is_some() && is_in(&node.address)).count();
    leave > 1 && leave * 2 > membership.entries.keys().filter(|address| is_in(address)).count()
}

impl Hearsay {
    /// What is told of a node from now on, where that differs from `current`.
    fn weigh(&mut self, current: &Told, words: &[Told], lone_rounds: u32) -> Option<Told> {
        let told = match words {
            [] => self.untold(current),
            [word] => self.lone(current, word, lone_rounds),
            _ => {
                *self = Hearsay::default();
                let rest = most_common(words, is_same_node).filter(|(_, count)| count * 2 > words.len());
                let leaving = leaving(current.leaving, words);
                Told { leaving, ..rest.map_or(current, |(word, _)| word).clone() }
            }
        };
        (told != *current).then_some(told)
    }

    fn untold(&mut self, current: &Told) -> Told {
        self.lone = 0;
        if *current == Told::default() {
            return Told::default();
        }
        self.untold = self.untold.saturating_add(1);
        if self.untold < UNTOLD_ROUNDS {
            return current.clone();
        }
        Told { leaving: None, state: None, ..current.clone() }
    }

    fn lone(&mut self, current: &Told, word: &Told, rounds: u32) -> Told {
        self.untold = 0;
        if word == current {
            self.lone = 0;
            return current.clone();
        }
        self.lone = self.lone.saturating_add(1);
        if self.lone >= rounds {
            self.lone = 0;
            return word.clone();
        }
        // Of a node of which nothing was known, anything that takes it nowhere is better than that.
        if *current == Told::default() { Told { leaving: None, ..word.clone() } } else { current.clone() }
    }
}

/// Whether a node is leaving, by several views; where they are even, it stays as it was.
fn leaving(current: Option<Leaving>, words: &[Told]) -> Option<Leaving> {
    let said: Vec<Leaving> = words.iter().filter_map(|word| word.leaving).collect();
    match (said.len() * 2).cmp(&words.len()) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => current,
        std::cmp::Ordering::Greater => most_common(&said, |one, other| one == other).map(|(leaving, _)| *leaving),
    }
}

/// Whether two views tell the same of a node, but for its leaving and its release.
fn is_same_node(one: &Told, other: &Told) -> bool {
    let Told { host_id, state, leaving: _, version: _, shards, routes } = one;
    (host_id, state, shards, routes) == (&other.host_id, &other.state, &other.shards, &other.routes)
}

/// The first of those that most are like, and how many are.
fn most_common<T>(all: &[T], is_like: impl Fn(&T, &T) -> bool) -> Option<(&T, usize)> {
    let counted = all.iter().map(|one| (one, all.iter().filter(|other| is_like(one, other)).count()));
    // `max_by_key` keeps the last among equals, and which one is first must not depend on others.
    counted.rev().max_by_key(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Option<Leaving> = Some(Leaving::Decommissioning);

    fn word(leaving: Option<Leaving>) -> Told {
        let state = if leaving.is_some() { "DECOMMISSIONING" } else { "NORMAL" };
        Told { host_id: Some("h".into()), state: Some(state.into()), leaving, ..Told::default() }
    }

    /// What is told after these rounds; each has the words of its views.
    fn after(rounds: &[&[Option<Leaving>]]) -> Option<Leaving> {
        let (mut told, mut hearsay) = (Told::default(), Hearsay::default());
        for round in rounds {
            let words: Vec<Told> = round.iter().map(|leaving| word(*leaving)).collect();
            told = hearsay.weigh(&told, &words, LONE_WORD_ROUNDS).unwrap_or(told);
        }
        told.leaving
    }

    #[test]
    fn more_than_half_of_the_views_take_a_node_out_and_bring_it_back() {
        assert_eq!(after(&[&[OUT, OUT]]), OUT);
        assert_eq!(after(&[&[OUT, OUT, None]]), OUT);
        assert_eq!(after(&[&[OUT, None][..]; 9]), None, "one of two is not more than half");
        assert_eq!(after(&[&[OUT, OUT], &[OUT, None], &[OUT, None]]), OUT, "nor is the other");
        assert_eq!(after(&[&[OUT, OUT], &[OUT, None, None]]), None, "aborted");
        assert_eq!(after(&[&[OUT, None, None], &[None, None]]), None);
    }

    #[test]
    fn one_view_changes_something_only_by_repeating_it() {
        assert_eq!(after(&[&[OUT], &[OUT]]), None);
        assert_eq!(after(&[&[OUT], &[OUT], &[OUT]]), OUT);
        assert_eq!(after(&[&[OUT], &[OUT], &[None], &[OUT], &[OUT]]), None, "in a row");
        assert_eq!(after(&[&[OUT], &[OUT], &[], &[OUT], &[OUT]]), None);
        let back: Vec<&[Option<Leaving>]> = vec![&[OUT, OUT], &[None], &[None]];
        assert_eq!(after(&back), OUT);
        assert_eq!(after(&[&back[..], &[&[None]]].concat()), None);
    }

    #[test]
    fn one_view_takes_a_crowd_out_only_after_long() {
        let mut membership = Membership::default();
        let home = super::super::membership::Home::Named("dc1".into());
        (1..=3u8).for_each(|last| _ = membership.list([10, 0, 0, last].into(), &home));
        let mut view = crate::discovery::names::tests::view(&[(1, "dc1", "r1"), (2, "dc1", "r1"), (3, "dc1", "r1")]);
        hear(
            &mut membership,
            &[([10, 0, 0, 1].into(), Arc::new(view.clone())), ([10, 0, 0, 2].into(), Arc::new(view.clone()))].into(),
        );
        view.nodes[1].told.leaving = OUT;
        let mut out = |view: &TableView, rounds: u32| {
            (0..rounds).for_each(|_| hear(&mut membership, &[([10, 0, 0, 1].into(), Arc::new(view.clone()))].into()));
            membership.entries.values().filter(|entry| entry.told.leaving.is_some()).count()
        };
        assert_eq!((out(&view, 2), out(&view, 1)), (0, 1), "one of three");
        view.nodes[0].told.leaving = OUT;
        view.nodes[2].told.leaving = OUT;
        assert_eq!((out(&view, LONE_CROWD_ROUNDS - 1), out(&view, 1)), (1, 3), "the other two, which are all");
    }

    #[test]
    fn who_could_not_read_a_table_has_no_word_on_it() {
        let mut membership = Membership::default();
        let (first, second): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        membership.list(first, &super::super::membership::Home::Named("dc1".into()));
        let mut view = crate::discovery::names::tests::view(&[(1, "dc1", "r1")]);
        view.nodes[0].told.shards = Some(8);
        let route = crate::model::Route { address: first, port: Some(1), https_port: None };
        view.nodes[0].told.routes = [("link".into(), route)].into();
        let mut told = |view: &TableView| {
            hear(&mut membership, &[(first, Arc::new(view.clone())), (second, Arc::new(view.clone()))].into());
            (membership.entries[&first].told.shards, membership.entries[&first].told.routes.len())
        };
        assert_eq!(told(&view), (Some(8), 1));
        view.nodes[0].told.shards = None;
        view.nodes[0].told.routes.clear();
        (view.lacks_shards, view.lacks_routes) = (true, true);
        assert_eq!(told(&view), (Some(8), 1), "not read");
        (view.lacks_shards, view.lacks_routes) = (false, false);
        assert_eq!(told(&view), (None, 0), "read, and none there");
    }

    #[test]
    fn without_views_it_is_forgotten_after_a_while() {
        let gone = |rounds: u32| {
            let silence: Vec<&[Option<Leaving>]> = (0..rounds).map(|_| &[][..]).collect();
            after(&[&[&[OUT, OUT][..]][..], &silence].concat())
        };
        assert_eq!((gone(UNTOLD_ROUNDS - 1), gone(UNTOLD_ROUNDS)), (OUT, None));
    }

    #[test]
    fn the_rest_is_what_most_views_tell() {
        let told = |host_id: &str| Told { host_id: Some(host_id.into()), ..word(None) };
        let (mut hearsay, known) = (Hearsay::default(), told("1"));
        assert_eq!(hearsay.weigh(&known, &[told("2"), told("2"), told("9")], LONE_WORD_ROUNDS), Some(told("2")));
        assert_eq!(hearsay.weigh(&known, &[told("2"), told("9")], LONE_WORD_ROUNDS), None, "neither of them");
        assert_eq!(
            hearsay.weigh(&Told::default(), &[told("9")], LONE_WORD_ROUNDS),
            Some(told("9")),
            "better than nothing"
        );
        assert_eq!(hearsay.weigh(&known, &[told("9")], LONE_WORD_ROUNDS), None);
    }

    #[test]
    fn a_node_tells_its_own_release_and_nobody_elses_silence_takes_it_back() {
        let mut membership = Membership::default();
        let (first, second): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let home = super::super::membership::Home::Named("dc1".into());
        membership.list(first, &home);
        let view = |version: Option<&str>| {
            let mut view = crate::discovery::names::tests::view(&[(1, "dc1", "r1"), (2, "dc1", "r1")]);
            view.nodes[0].told.version = version.map(Into::into);
            Arc::new(view)
        };
        let mut told = |views: Views| {
            hear(&mut membership, &views);
            membership.entries[&first].told.version.as_deref().map(str::to_owned)
        };
        assert_eq!(told([(second, view(None))].into()), None);
        assert_eq!(told([(first, view(Some("6.1"))), (second, view(None))].into()).as_deref(), Some("6.1"));
        assert_eq!(told([(second, view(None))].into()).as_deref(), Some("6.1"));
        assert_eq!(told([(first, view(Some("6.2"))), (second, view(Some("9")))].into()).as_deref(), Some("6.2"));
    }
}
