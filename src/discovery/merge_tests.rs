use proptest::prelude::*;

use super::*;
use crate::{
    config::DiscoveryMode,
    discovery::{membership::Entry, names::Names},
    model::{Listing, Member, Node, Scope, Topology},
};

const FALL: u32 = 2;

/// No cap: for tests of who leaves, not of when.
const RULES: Rules = Rules { fall: FALL, removal_cap: 1.0 };

/// The defaults.
const CAPPED: Rules = Rules { fall: FALL, removal_cap: 0.5 };

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn ips(lasts: &[u8]) -> BTreeSet<IpAddr> {
    lasts.iter().map(|&last| ip(last)).collect()
}

fn dc(name: &str) -> Question {
    Question::Datacenter(name.into())
}

fn rack(dc: &str, rack: &str) -> Question {
    Question::Rack(dc.into(), rack.into())
}

fn named(name: &str) -> Home {
    Home::Named(name.into())
}

/// A plain answer.
fn plain(by: u8, list: &[u8]) -> (u8, Question, &[u8]) {
    (by, Question::Plain, list)
}

/// A round from (observer, question, list).
fn round(answers: &[(u8, Question, &[u8])]) -> Round {
    let answers = answers.iter().map(|(by, question, list)| ((question.clone(), ip(*by)), ips(list)));
    Round { answers: answers.collect(), ..Round::default() }
}

/// Everybody in `by` answers the question alike.
fn agreed(by: &[u8], question: &Question, list: &[u8]) -> Vec<((Question, IpAddr), BTreeSet<IpAddr>)> {
    by.iter().map(|&by| ((question.clone(), ip(by)), ips(list))).collect()
}

fn after(membership: &Membership, round: &Round, times: u32) -> Membership {
    (0..times).fold(membership.clone(), |membership, _| next(&membership, round, RULES).0)
}

fn listed(membership: &Membership) -> BTreeSet<IpAddr> {
    membership.topology().listed().map(|member| member.node.address).collect()
}

fn listed_in(membership: &Membership, home: &Home) -> BTreeSet<IpAddr> {
    membership.listed_in(home).collect()
}

/// A datacenter `d` of nodes 1..=count, as its observers saw it once.
fn datacenter(count: u8) -> Membership {
    let all: Vec<u8> = (1..=count).collect();
    let answers = agreed(&all, &dc("d"), &all).into_iter().collect();
    next(&Membership::default(), &Round { answers, ..Round::default() }, RULES).0
}

/// The same without names.
fn nameless(count: u8) -> Membership {
    let all: Vec<u8> = (1..=count).collect();
    let answers = agreed(&all, &Question::Plain, &all).into_iter().collect();
    next(&Membership::default(), &Round { answers, ..Round::default() }, RULES).0
}

#[test]
fn nodes_join_at_once_and_leave_after_fall_rounds_in_a_row() {
    let three = datacenter(3);
    assert_eq!(listed(&three), ips(&[1, 2, 3]));
    let without = round(&[(1, dc("d"), &[1, 2, 4]), (2, dc("d"), &[1, 2, 4])]);
    let (once, changes) = next(&three, &without, RULES);
    assert_eq!(listed(&once), ips(&[1, 2, 3, 4]));
    assert_eq!(changes.nodes, [Change { address: ip(4), joined: true, home: named("d"), listed_by: 2, votes: 2 }]);
    let back = round(&[(1, dc("d"), &[1, 2, 3]), (2, dc("d"), &[1, 2, 3, 4])]);
    let interrupted = after(&after(&once, &back, 1), &without, 1);
    assert_eq!(listed(&interrupted), ips(&[1, 2, 3, 4]), "the rounds must be in a row");
    let (twice, changes) = next(&once, &without, RULES);
    assert_eq!(listed(&twice), ips(&[1, 2, 4]));
    assert_eq!(changes.nodes, [Change { address: ip(3), joined: false, home: named("d"), listed_by: 0, votes: 2 }]);
    assert!(!twice.entries.contains_key(&ip(3)), "others of the datacenter are listed: it is forgotten");
}

#[test]
fn half_of_the_votes_keeps_a_member_but_only_more_than_half_makes_one() {
    let half = round(&[(1, dc("d"), &[1, 2, 3]), (2, dc("d"), &[1, 2])]);
    assert_eq!(listed(&after(&datacenter(3), &half, 9)), ips(&[1, 2, 3]));
    let third = round(&[(1, dc("d"), &[1, 2, 3]), (2, dc("d"), &[1, 2]), (3, dc("d"), &[1, 2])]);
    assert_eq!(listed(&after(&datacenter(3), &third, 9)), ips(&[1, 2]), "one of three is not");

    let invented = round(&[(1, dc("d"), &[1, 2, 3, 9]), (2, dc("d"), &[1, 2, 3])]);
    assert_eq!(listed(&after(&datacenter(3), &invented, 9)), ips(&[1, 2, 3]));
    let answers_itself = round(&[(1, dc("d"), &[1, 2, 3, 9]), (2, dc("d"), &[1, 2, 3]), (9, Question::Plain, &[9])]);
    assert_eq!(listed(&after(&datacenter(3), &answers_itself, 9)), ips(&[1, 2, 3, 9]));
    let two_of_three = round(&[(1, dc("d"), &[1, 2, 4]), (2, dc("d"), &[1, 2, 4]), (3, dc("d"), &[1, 2])]);
    assert_eq!(listed(&after(&datacenter(2), &two_of_three, 1)), ips(&[1, 2, 4]));
}

#[test]
fn one_view_adds_to_several_members_only_after_a_while() {
    let alone = round(&[(1, dc("d"), &[1, 2, 3, 9])]);
    let waiting = after(&datacenter(3), &alone, LONE_JOIN_ROUNDS - 1);
    assert_eq!(listed(&waiting), ips(&[1, 2, 3]));
    assert_eq!(listed(&after(&waiting, &alone, 1)), ips(&[1, 2, 3, 9]));
    assert_eq!(listed(&after(&datacenter(1), &alone, 1)), ips(&[1, 2, 3, 9]), "a cluster must be learnt from somebody");
}

#[test]
fn one_observer_of_three_changes_nothing() {
    for faulty in [&[3][..], &[], &[1, 2, 3, 9], &[1, 3], &[9]] {
        let by_name = round(&[(1, dc("d"), &[1, 2, 3]), (2, dc("d"), &[1, 2, 3]), (3, dc("d"), faulty)]);
        assert_eq!(listed(&after(&datacenter(3), &by_name, 99)), ips(&[1, 2, 3]), "{faulty:?}");
        let nameless_round = round(&[plain(1, &[1, 2, 3]), plain(2, &[1, 2, 3]), plain(3, faulty)]);
        let after = after(&nameless(3), &nameless_round, 99);
        assert_eq!(listed(&after), ips(&[1, 2, 3]), "{faulty:?}");
        assert_eq!(after.homes().len(), 1, "{faulty:?}");
    }
}

#[test]
fn a_partitioned_node_of_two_takes_neither_away() {
    for (two, question) in [(datacenter(2), dc("d")), (nameless(2), Question::Plain)] {
        let split = round(&[(1, question.clone(), &[1]), (2, question.clone(), &[2])]);
        assert_eq!(listed(&after(&two, &split, 99)), ips(&[1, 2]), "{question:?}");
        let empty = round(&[(1, question.clone(), &[1, 2]), (2, question.clone(), &[])]);
        assert_eq!(listed(&after(&two, &empty, 99)), ips(&[1, 2]), "{question:?}");
    }
}

#[test]
fn a_broken_link_between_datacenters_takes_nobody_away() {
    let linked = round(&[(1, dc("d"), &[1]), (8, dc("d"), &[1]), (9, dc("d"), &[1]), (9, dc("e"), &[8, 9])]);
    let start = after(&Membership::default(), &linked, 1);
    assert_eq!(listed_in(&start, &named("d")), ips(&[1]));
    // The only node of d answers us; e no longer sees it.
    let broken = round(&[(1, dc("d"), &[1]), (8, dc("d"), &[]), (9, dc("d"), &[]), (9, dc("e"), &[8, 9])]);
    assert_eq!(listed_in(&after(&start, &broken, 99), &named("d")), ips(&[1]));
    // It stops answering us too: then the word of e counts.
    let dead = round(&[(8, dc("d"), &[]), (9, dc("d"), &[]), (9, dc("e"), &[8, 9])]);
    assert_eq!(listed_in(&after(&start, &dead, FALL), &named("d")), ips(&[]));
}

#[test]
fn one_view_adds_but_takes_nobody_away_until_it_was_the_only_one_for_long() {
    for (three, question) in [(datacenter(3), dc("d")), (nameless(3), Question::Plain)] {
        let alone = round(&[(1, question.clone(), &[1, 4])]);
        let waiting = after(&three, &alone, LONE_VIEW_ROUNDS - 1);
        assert_eq!(listed(&waiting), ips(&[1, 2, 3, 4]), "{question:?}");
        assert_eq!(listed(&after(&waiting, &alone, 1)), ips(&[1, 4]), "{question:?}");

        let other = round(&[(1, question.clone(), &[1, 2])]);
        let changed = after(&after(&waiting, &other, 1), &alone, LONE_VIEW_ROUNDS - 1);
        assert_eq!(listed(&changed), ips(&[1, 2, 3, 4]), "another view begins anew");
        let joined_by_second = round(&[(1, question.clone(), &[1, 4]), (2, question.clone(), &[1, 2, 3, 4])]);
        let disturbed = after(&after(&waiting, &joined_by_second, 1), &alone, LONE_VIEW_ROUNDS - 1);
        assert_eq!(listed(&disturbed), ips(&[1, 2, 3, 4]), "a second voice as well");
    }
}

#[test]
fn one_observer_never_empties_a_datacenter() {
    for (one, question) in [(datacenter(1), dc("d")), (datacenter(3), dc("d")), (nameless(3), Question::Plain)] {
        // The other datacenter's answer keeps the round from counting as unanswered.
        let nothing = round(&[(1, question.clone(), &[]), (9, dc("e"), &[9])]);
        let after = after(&one, &nothing, 99);
        assert!(listed(&one).is_subset(&listed(&after)), "{question:?}");
    }
    let two = round(&[(8, dc("d"), &[]), (9, dc("d"), &[]), (9, dc("e"), &[9])]);
    assert_eq!(listed(&after(&datacenter(3), &two, FALL)), ips(&[9]), "two that agree do");
}

#[test]
fn a_datacenter_without_votes_stays_as_it_is() {
    let both = next(&datacenter(3), &round(&[(11, dc("e"), &[11, 12]), (12, dc("e"), &[11, 12])]), RULES).0;
    let only_e = round(&[(11, dc("e"), &[11]), (13, dc("e"), &[11])]);
    assert_eq!(listed(&after(&both, &only_e, 99)), ips(&[1, 2, 3, 11]));
}

#[test]
fn the_last_nodes_of_a_rack_or_datacenter_are_kept_as_left() {
    let racks = |second: &[u8]| {
        let mut all = agreed(&[1, 2, 3], &dc("d"), &[&[1, 2][..], second].concat());
        all.extend(agreed(&[1, 2, 3], &rack("d", "r1"), &[1, 2]));
        all.extend(agreed(&[1, 2, 3], &rack("d", "r2"), second));
        Round { answers: all.into_iter().collect(), ..Round::default() }
    };
    let full = after(&Membership::default(), &racks(&[3, 4]), 1);
    let one_gone = after(&full, &racks(&[3]), FALL);
    assert!(!one_gone.entries.contains_key(&ip(4)), "its rack still has a node");
    let rack_gone = after(&full, &racks(&[]), FALL);
    for last in [3, 4] {
        assert_eq!(rack_gone.entries[&ip(last)].listing, Listing::Left);
        assert_eq!(rack_gone.entries[&ip(last)].rack.as_deref(), Some("r2"));
    }
    assert!(rack_gone.topology().seen.contains(&Scope::Rack("d".into(), "r2".into())), "seen only grows");
    let (back, changes) = next(&rack_gone, &racks(&[4]), RULES);
    assert_eq!(listed(&back), ips(&[1, 2, 4]));
    assert!(changes.nodes[0].joined && !back.entries.contains_key(&ip(3)), "one is back: the other is forgotten");

    let gone = round(&[(8, dc("d"), &[]), (9, dc("d"), &[]), (9, dc("e"), &[9])]);
    let datacenter_gone = after(&datacenter(2), &gone, FALL);
    assert_eq!(datacenter_gone.entries.len(), 3);
    let seen: Vec<_> = datacenter_gone.topology().seen.into_iter().collect();
    assert_eq!(seen, [Scope::Cluster, Scope::Datacenter("d".into()), Scope::Datacenter("e".into())]);
}

#[test]
fn racks_go_by_the_most_votes_and_may_change() {
    let see = |by: &[u8], in_rack: &str| {
        let mut all = agreed(by, &dc("d"), &[1, 2, 3]);
        all.extend(agreed(by, &rack("d", in_rack), &[1, 2, 3]));
        all
    };
    let rack_of = |membership: &Membership, last| membership.entries[&ip(last)].rack.clone().unwrap();
    let all = |answers: Vec<_>| Round { answers: answers.into_iter().collect(), ..Round::default() };
    let first = after(&Membership::default(), &all(see(&[1], "a")), 1);
    assert_eq!(&*rack_of(&first, 2), "a", "anybody's word while nothing is known");
    let one_moves = all([see(&[1], "b"), see(&[2, 3], "a")].concat());
    assert_eq!(&*rack_of(&after(&first, &one_moves, 9), 2), "a");
    assert_eq!(&*rack_of(&after(&first, &all(see(&[1], "b")), 9), 2), "a", "one view moves nobody");
    assert_eq!(&*rack_of(&after(&first, &all(see(&[1, 2], "b")), 1), 2), "b");
    let silent = all(agreed(&[1, 2, 3], &dc("d"), &[1, 2, 3]));
    assert_eq!(&*rack_of(&after(&first, &silent, 9), 2), "a", "unknown keeps the rack");
    let nobody = all([agreed(&[1, 2], &dc("d"), &[1, 2, 3]), agreed(&[1, 2], &rack("d", "b"), &[])].concat());
    assert_eq!(&*rack_of(&after(&first, &nobody, 9), 2), "a");
}

#[test]
fn answers_about_places_by_servers_that_ignore_them_are_not_believed() {
    let mixed = || {
        let mut answers = agreed(&[1, 2], &dc("d"), &[1, 2, 3]);
        answers.extend(agreed(&[3], &dc("d"), &[9]));
        answers.extend(agreed(&[3], &rack("d", "r"), &[1]));
        answers.extend(agreed(&[3], &Question::Plain, &[1, 2, 3]));
        Round { answers: answers.into_iter().collect(), legacy: ips(&[3]), flat: Some(false), ..Round::default() }
    };
    let known = after(&Membership::default(), &mixed(), 3);
    assert_eq!(listed_in(&known, &named("d")), ips(&[1, 2, 3]));
    assert_eq!(known.entries[&ip(1)].rack, None);
    // Its plain answer is a vote for the datacenter that others place it in.
    let mut two = mixed();
    two.answers = agreed(&[3], &Question::Plain, &[1, 3]).into_iter().chain(agreed(&[1], &dc("d"), &[1, 3])).collect();
    assert_eq!(listed(&after(&known, &two, FALL)), ips(&[1, 3]));
}

#[test]
fn flat_follows_what_is_known_of_the_servers() {
    let mut only_old = round(&[(1, Question::Plain, &[1, 2])]);
    (only_old.legacy, only_old.flat) = (ips(&[1]), Some(true));
    let flat = after(&Membership::default(), &only_old, 1);
    assert!(flat.topology().flat);
    only_old.flat = None;
    assert!(after(&flat, &only_old, 1).flat, "unknown keeps it");
    only_old.flat = Some(false);
    assert!(!after(&flat, &only_old, 1).flat);
}

#[test]
fn without_any_answer_the_last_topology_is_kept_as_stale() {
    let three = datacenter(3);
    let silent = after(&three, &Round::default(), 99);
    assert!(silent.stale);
    assert_eq!(silent.topology().members, three.topology().members);
    let empty = after(&three, &round(&[(1, dc("d"), &[])]), 99);
    assert!(empty.stale && listed(&empty) == listed(&three), "empty lists tell nothing");
    assert!(!after(&silent, &round(&[(1, dc("d"), &[1])]), 1).stale);
}

/// A snapshot of nodes 1..=3 in `datacenter`.
fn snapshot(datacenter: Option<&str>) -> Topology {
    let place = datacenter.map(Into::into);
    let node = |last| Node { address: ip(last), datacenter: place.clone(), rack: datacenter.map(|_| "r".into()) };
    let member = |last: u8| Member { served_before: last < 3, ..Member::new(node(last)) };
    let members = (1..=3).map(|last| (ip(last), member(last))).collect();
    Topology { members, seen: [Scope::Cluster].into(), source: Source::Snapshot, stale: true, flat: false }
}

#[test]
fn a_snapshot_is_where_membership_starts() {
    let initial = snapshot(Some("d"));
    let names = Names::new([("d".into(), Vec::new())].into(), DiscoveryMode::Localnodes, &initial);
    let start = Membership::new(&initial, &names);
    assert_eq!(start.topology(), initial);
    assert_eq!(after(&start, &Round::default(), 5).topology(), initial, "still a snapshot");
    let answered = after(&start, &round(&[(1, dc("d"), &[1, 2, 3, 4]), (2, dc("d"), &[1, 2, 3, 4])]), 1).topology();
    assert_eq!((answered.source, answered.stale), (Source::Discovery, false));
    let served: Vec<bool> = answered.members.values().map(|member| member.served_before).collect();
    assert_eq!(served, [true, true, false, false]);
    assert_eq!(answered.members[&ip(1)].node.rack.as_deref(), Some("r"));
}

#[test]
fn nodes_of_a_snapshot_without_a_place_find_one_or_leave_in_the_end() {
    let start = Membership::new(&snapshot(Some("renamed")), &Names::default());
    assert_eq!(start.homes(), [Home::Unknown].into());
    assert_eq!(start.topology().members[&ip(1)].node.place(), "-");
    let answers = round(&[(1, Question::Plain, &[1, 2])]);
    let placed = after(&start, &answers, 1);
    assert_eq!((listed(&placed), placed.homes().len()), (ips(&[1, 2, 3]), 2));
    let late = after(&placed, &answers, LONE_VIEW_ROUNDS - 1);
    assert_eq!(listed(&late), ips(&[1, 2]));
    assert!(!late.entries.contains_key(&ip(3)));
}

#[test]
fn seeds_in_different_datacenters_make_a_union() {
    let start = round(&[plain(1, &[1, 2, 3]), plain(2, &[1, 2, 3]), plain(11, &[11, 12])]);
    let union = after(&Membership::default(), &start, 1);
    assert_eq!((listed(&union), union.homes().len()), (ips(&[1, 2, 3, 11, 12]), 2));
    assert!(union.topology().members.values().all(|member| member.node.datacenter.is_none()));
    // Each is voted on by its own only: the first loses a node, the other has no votes and stays.
    let without = round(&[plain(1, &[1, 2]), plain(2, &[1, 2])]);
    assert_eq!(listed(&after(&union, &without, 9)), ips(&[1, 2, 11, 12]));
}

#[test]
fn a_seed_that_is_no_member_votes_where_most_of_its_list_stands() {
    let by_balancer = round(&[plain(1, &[1, 2, 3, 4]), plain(2, &[1, 2, 3]), plain(99, &[1, 2, 3, 4])]);
    let after = after(&nameless(3), &by_balancer, 1);
    assert_eq!((listed(&after), after.homes().len()), (ips(&[1, 2, 3, 4]), 1));
    assert!(!after.entries.contains_key(&ip(99)), "a seed is no member by itself");
}

#[test]
fn a_liar_does_not_tie_two_nameless_datacenters_together() {
    let honest = [plain(1, &[1, 2, 3][..]), plain(2, &[1, 2, 3]), plain(11, &[11, 12, 13]), plain(12, &[11, 12, 13])];
    let two = after(&Membership::default(), &round(&honest), 1);
    for lie in [&[1, 2, 3, 11][..], &[1, 2, 3, 11, 12, 13], &[11, 12, 13]] {
        let lying = round(&[&honest[..], &[plain(3, lie)]].concat());
        let after_lies = after(&two, &lying, 50);
        assert_eq!(after_lies.homes(), two.homes(), "{lie:?}");
        assert_eq!(listed(&after_lies), listed(&two), "{lie:?}");
        for home in two.homes() {
            assert_eq!(listed_in(&after_lies, &home), listed_in(&two, &home), "{lie:?}");
        }
        let from_the_start = after(&Membership::default(), &lying, 1);
        assert_eq!((listed(&from_the_start), from_the_start.homes().len()), (listed(&two), 2), "{lie:?}");
    }
}

#[test]
fn halves_of_a_datacenter_that_was_split_when_first_seen_become_one() {
    let split = after(&Membership::default(), &round(&[plain(1, &[1]), plain(2, &[2, 3])]), 1);
    assert_eq!((listed(&split), split.homes().len()), (ips(&[1, 2, 3]), 2));
    let healed = round(&[plain(1, &[1, 2, 3]), plain(2, &[1, 2, 3])]);
    assert_eq!(after(&split, &healed, 1).homes().len(), 1);
}

#[test]
fn a_node_that_was_voted_out_founds_no_datacenter_of_its_own() {
    let cut_off = round(&[plain(1, &[1, 2]), plain(2, &[1, 2]), plain(3, &[3])]);
    let after = after(&nameless(3), &cut_off, 50);
    assert_eq!((listed(&after), after.homes().len()), (ips(&[1, 2]), 1));
}

#[test]
fn plain_answers_belong_to_the_named_datacenter_they_mostly_describe() {
    // A seed outside the list, and a cut-off one that calls its own view "d": neither is a datacenter of its own.
    let seeds = [plain(99, &[1, 2, 3][..]), plain(4, &[4]), (4, dc("d"), &[4])];
    let about_d = [(1, dc("d"), &[1, 2, 3][..]), (2, dc("d"), &[1, 2, 3])];
    let known = after(&Membership::default(), &round(&[&seeds[..], &about_d].concat()), 1);
    assert_eq!((known.homes(), listed(&known)), ([named("d")].into(), ips(&[1, 2, 3])));
    // A seed in a datacenter that nobody named contributes it.
    let with_other = round(&[&about_d[..], &[plain(11, &[11, 12])]].concat());
    let other = after(&known, &with_other, 1);
    assert_eq!(listed(&other), ips(&[1, 2, 3, 11, 12]));
    assert_eq!(other.topology().members[&ip(11)].node.datacenter, None);
}

#[test]
fn nameless_nodes_take_the_name_that_answers_give_them() {
    let name = round(&[(1, dc("d"), &[1, 2]), (2, dc("d"), &[1, 2])]);
    let renamed = after(&nameless(3), &name, 1);
    assert_eq!(renamed.homes(), [named("d")].into(), "the one not listed right now goes with the others");
    assert_eq!(listed(&after(&renamed, &name, FALL)), ips(&[1, 2]));
}

#[test]
fn a_node_keeps_its_datacenter_until_that_drops_it() {
    let both = round(&[(1, dc("d"), &[1, 2]), (2, dc("d"), &[1, 2]), (9, dc("e"), &[2, 9])]);
    let stays = after(&datacenter(2), &both, 9);
    assert_eq!(listed_in(&stays, &named("d")), ips(&[1, 2]));
    let moved = round(&[(1, dc("d"), &[1]), (3, dc("d"), &[1]), (9, dc("e"), &[2, 9]), (8, dc("e"), &[2, 9])]);
    assert_eq!(listed_in(&after(&stays, &moved, FALL + 1), &named("e")), ips(&[2, 9]));
}

#[test]
fn members_are_bounded() {
    let many = |offset: u32| -> BTreeSet<IpAddr> {
        (0..6000).map(|n| IpAddr::from((0x0b00_0000 + offset + n).to_be_bytes())).collect()
    };
    let answers = [((dc("a"), ip(1)), many(0)), ((dc("b"), ip(2)), many(10_000))].into();
    let full = after(&Membership::default(), &Round { answers, ..Round::default() }, 1);
    assert_eq!(full.entries.len(), 10_000);
}

/// A datacenter `d` with racks of these nodes.
fn racked(racks: &[&[u8]]) -> Membership {
    let all: Vec<u8> = racks.iter().flat_map(|rack| rack.iter().copied()).collect();
    let mut answers: BTreeMap<_, _> = agreed(&all, &dc("d"), &all).into_iter().collect();
    for (index, nodes) in racks.iter().enumerate() {
        answers.extend(agreed(&all, &rack("d", &format!("r{index}")), nodes));
    }
    next(&Membership::default(), &Round { answers, ..Round::default() }, CAPPED).0
}

/// A round in which two observers list these nodes.
fn both_list(nodes: &[u8]) -> Round {
    round(&[(1, dc("d"), nodes), (2, dc("d"), nodes)])
}

fn waits(rack: Option<&str>, leaving: usize, members: usize) -> Removal {
    Removal::Waits { home: named("d"), rack: rack.map(Into::into), leaving, members }
}

fn came(left: usize, stayed: usize) -> Removal {
    Removal::Came { home: named("d"), left, stayed }
}

/// The membership after a round with a fall of one, who is listed then, and what waits or came.
fn capped(membership: &Membership, round: &Round) -> (Membership, BTreeSet<IpAddr>, Vec<Removal>) {
    let (next, changes) = next(membership, round, Rules { fall: 1, ..CAPPED });
    let listed = listed(&next);
    (next, listed, changes.removals)
}

#[test]
fn more_than_half_of_a_datacenter_leaves_by_a_second_round() {
    let (once, kept, waiting) = capped(&datacenter(6), &both_list(&[1, 2]));
    assert_eq!((kept, waiting), (ips(&[1, 2, 3, 4, 5, 6]), vec![waits(None, 4, 6)]));
    let (_, kept, outcome) = capped(&once, &both_list(&[1, 2]));
    assert_eq!((kept, outcome), (ips(&[1, 2]), vec![came(4, 0)]));
    // It was but a moment, for two of them.
    let (twice, kept, outcome) = capped(&once, &both_list(&[1, 2, 3, 4]));
    assert_eq!((kept, outcome), (ips(&[1, 2, 3, 4]), vec![came(2, 2)]));
    assert!(twice.entries.values().all(|entry| !entry.waited), "the next wave is a new one");
    // A round that cannot decide neither takes them nor forgives them.
    let (still, kept, outcome) = capped(&once, &round(&[(1, dc("d"), &[1, 2])]));
    assert_eq!((kept, outcome), (ips(&[1, 2, 3, 4, 5, 6]), vec![]));
    assert_eq!(capped(&still, &both_list(&[1, 2])).1, ips(&[1, 2]));
    // Half is not more than half.
    let (_, kept, waiting) = capped(&datacenter(6), &both_list(&[1, 2, 3]));
    assert_eq!((kept, waiting), (ips(&[1, 2, 3]), vec![]));
}

#[test]
fn fall_is_counted_before_the_second_round() {
    let (once, changes) = next(&datacenter(6), &both_list(&[1, 2]), CAPPED);
    assert!(changes.removals.is_empty(), "nobody would leave by the first of two");
    let (twice, changes) = next(&once, &both_list(&[1, 2]), CAPPED);
    assert_eq!((changes.removals, listed(&twice).len()), (vec![waits(None, 4, 6)], 6));
    assert_eq!(listed(&next(&twice, &both_list(&[1, 2]), CAPPED).0), ips(&[1, 2]));
}

#[test]
fn a_rack_is_capped_like_a_datacenter_and_a_single_node_never() {
    let racks: &[&[u8]] = &[&[1, 2, 3, 4], &[5, 6], &[7]];
    // A rack of two as a whole waits, while one of another rack goes at once.
    let (once, kept, waiting) = capped(&racked(racks), &both_list(&[1, 2, 3, 7]));
    assert_eq!((kept, waiting), (ips(&[1, 2, 3, 5, 6, 7]), vec![waits(Some("r1"), 2, 2)]));
    assert_eq!(capped(&once, &both_list(&[1, 2, 3, 7])).1, ips(&[1, 2, 3, 7]));
    for (left, stay) in [(5, &[1, 2, 3, 4, 6, 7][..]), (7, &[1, 2, 3, 4, 5, 6])] {
        let (_, kept, waiting) = capped(&racked(racks), &both_list(stay));
        assert_eq!((kept, waiting), (ips(stay), vec![]), "{left} of a rack of two, and of a rack of one");
    }
}

#[test]
fn a_nameless_home_is_capped_too() {
    let few = round(&[plain(1, &[1, 2]), plain(2, &[1, 2])]);
    let (once, kept, waiting) = capped(&nameless(6), &few);
    assert_eq!((kept.len(), waiting.len()), (6, 1));
    assert_eq!(capped(&once, &few).1, ips(&[1, 2]));
}

#[test]
fn those_that_join_a_wave_wait_for_a_round_of_their_own() {
    let (once, ..) = capped(&datacenter(8), &both_list(&[1, 2, 8]));
    let (twice, kept, told) = capped(&once, &both_list(&[1, 2]));
    assert_eq!((kept, told), (ips(&[1, 2, 8]), vec![waits(None, 6, 8), came(5, 0)]));
    assert_eq!(capped(&twice, &both_list(&[1, 2])).1, ips(&[1, 2]));
}

/// Any answers a node can give to what it is asked.
fn any_answers() -> impl Strategy<Value = Vec<(Question, BTreeSet<IpAddr>)>> {
    let question = prop_oneof![
        Just(Question::Plain),
        Just(dc("d")),
        Just(dc("e")),
        Just(dc("x")),
        Just(rack("d", "r1")),
        Just(rack("d", "r2")),
        Just(rack("e", "r1")),
    ];
    let list = prop::collection::btree_set((1u8..30).prop_map(ip), 0..12);
    prop::collection::vec((question, list), 0..8)
}

/// What honest observers of `d` (1..=4) and `e` (11..=14) answer; nameless: each its own datacenter.
fn honest(observers: &[u8], names: bool) -> Vec<((Question, IpAddr), BTreeSet<IpAddr>)> {
    let (d, e) = (&[1, 2, 3, 4], &[11, 12, 13, 14]);
    if !names {
        let own = |by: u8| if by < 10 { ips(d) } else { ips(e) };
        return observers.iter().map(|&by| ((Question::Plain, ip(by)), own(by))).collect();
    }
    let about = [
        (dc("d"), &d[..]),
        (rack("d", "r1"), &d[..2]),
        (rack("d", "r2"), &d[2..]),
        (dc("e"), &e[..]),
        (rack("e", "r1"), &[]),
    ];
    about.iter().flat_map(|(question, list)| agreed(observers, question, list)).collect()
}

fn without_counters(membership: &Membership) -> BTreeMap<IpAddr, Entry> {
    let mut entries = membership.entries.clone();
    entries.values_mut().for_each(|entry| entry.misses = 0);
    entries
}

proptest! {
    /// One faulty observer among three changes nothing that the others agree on, whatever it answers.
    #[test]
    fn one_faulty_observer_among_three_changes_nothing(
        rounds in prop::collection::vec((any_answers(), any::<bool>(), 1u8..5), 1..12),
        names: bool,
    ) {
        let everybody = [1, 2, 3, 4, 11, 12, 13, 14];
        let answers = honest(&everybody, names).into_iter().collect();
        let known = after(&Membership::default(), &Round { answers, ..Round::default() }, 1);
        let mut now = known.clone();
        for (faulty, legacy, liar) in rounds {
            let observers: Vec<u8> = everybody.into_iter().filter(|&by| by != liar).collect();
            let mut answers: BTreeMap<_, _> = honest(&observers, names).into_iter().collect();
            answers.extend(faulty.into_iter().map(|(question, list)| ((question, ip(liar)), list)));
            // A datacenter that only the liar tells of is not something that others agree on.
            answers.retain(|(question, _), _| {
                !matches!(question, Question::Datacenter(x) if &**x == "x" || !names)
            });
            let legacy = if legacy { ips(&[liar]) } else { BTreeSet::new() };
            now = next(&now, &Round { answers, legacy, ..Round::default() }, CAPPED).0;
            prop_assert_eq!(without_counters(&now), without_counters(&known));
        }
    }

    /// The answers of a single observer never take the last node away, and nothing ever panics.
    #[test]
    fn one_observer_never_empties_the_membership(rounds in prop::collection::vec(any_answers(), 1..4), names: bool) {
        let answers = honest(&[1, 2, 3, 11, 12, 13], names).into_iter().collect();
        let mut now = after(&Membership::default(), &Round { answers, ..Round::default() }, 1);
        for answers in rounds.iter().cycle().take(LONE_VIEW_ROUNDS as usize + 5) {
            let answers = answers.iter().map(|(question, list)| ((question.clone(), ip(1)), list.clone())).collect();
            let homes = now.homes();
            now = next(&now, &Round { answers, ..Round::default() }, CAPPED).0;
            for home in homes.iter().filter(|home| now.homes().contains(home)) {
                prop_assert!(now.listed_in(home).next().is_some(), "{:?}", home);
            }
            prop_assert!(!listed(&now).is_empty());
        }
    }

    /// Any rounds at all: seen only grows, and every listed member's place is in it.
    #[test]
    fn seen_only_grows(rounds in prop::collection::vec(prop::collection::vec((1u8..30, any_answers()), 0..4), 1..20)) {
        let mut now = Membership::default();
        for observers in rounds {
            let said = observers.into_iter().flat_map(|(by, said)| said.into_iter().map(move |(q, l)| ((q, ip(by)), l)));
            let then = next(&now, &Round { answers: said.collect(), ..Round::default() }, CAPPED).0;
            prop_assert!(then.topology().seen.is_superset(&now.topology().seen));
            for member in then.topology().listed() {
                let dc = member.node.datacenter.clone();
                prop_assert!(then.topology().seen.contains(&dc.map_or(Scope::Cluster, Scope::Datacenter)));
            }
            now = then;
        }
    }

    /// Whatever the rounds are: nobody leaves in a crowd who has not waited, and a round said twice has its way.
    #[test]
    fn a_crowd_waits_once_and_never_twice(
        racks in prop::collection::vec(0usize..3, 3..12),
        rounds in prop::collection::vec(prop::collection::btree_set((1u8..12).prop_map(ip), 1..12), 1..8),
        fall in 1u32..3,
        cap in 0.0f64..=1.0,
    ) {
        let places: Vec<Vec<u8>> = (0..3)
            .map(|place| (1..=racks.len() as u8).filter(|node| racks[usize::from(*node) - 1] == place).collect())
            .collect();
        let places: Vec<&[u8]> = places.iter().map(Vec::as_slice).collect();
        let (mut now, rules) = (racked(&places), Rules { fall, removal_cap: cap });
        for said in rounds {
            let answers: BTreeMap<_, _> = [1, 2].map(|by| ((dc("d"), ip(by)), said.clone())).into();
            let round = Round { answers, ..Round::default() };
            let then = next(&now, &round, rules).0;
            let gone: Vec<IpAddr> = listed(&now).difference(&listed(&then)).copied().collect();
            let rack = |address: &IpAddr| now.entries[address].rack.clone();
            for group in [None, Some("r0"), Some("r1"), Some("r2")] {
                let counts = |address: &&IpAddr| group.is_none() || rack(address).as_deref() == group;
                let members = listed(&now).iter().filter(counts).count();
                let crowd: Vec<&IpAddr> = gone.iter().filter(counts).collect();
                let fresh = crowd.iter().any(|address| !now.entries[*address].waited);
                let is_over = crowd.len() >= 2 && crowd.len() as f64 > cap * members as f64;
                prop_assert!(!(fresh && is_over), "{:?} of {} in {:?}", crowd, members, group);
            }
            let again = (0..fall).fold(then.clone(), |membership, _| next(&membership, &round, rules).0);
            let uncapped = Rules { removal_cap: 1.0, ..rules };
            let free = (0..=fall).fold(now.clone(), |membership, _| next(&membership, &round, uncapped).0);
            prop_assert_eq!(listed(&again), listed(&free), "nobody is kept for longer than one round");
            now = then;
        }
    }
}
