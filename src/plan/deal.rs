//! Dealing: in which order nodes stand in the answers.
//!
//! Three properties, each tested below:
//! - **Exact round robin.** In any period of consecutive rows (as many as there are nodes, or the sum of their weights)
//!   every node leads exactly once, or by its weight, wherever a reader starts. So the order of leaders is the same in
//!   every pass.
//! - **No successor.** Given the leader, the second place goes equally often to every node outside the leader's
//!   failure domain (to every other node where there is one domain only): when the leader dies, its clients spread
//!   over all of them. Cyclic rotation would send them all to one neighbour.
//! - **Interleaved domains.** A row visits every failure domain once before it visits one again, so a client that
//!   walks the list leaves a dead rack with its first step.
//!
//! The second and third pull apart where domains differ in size: the second place is then even over the *nodes*
//! outside the leader's domain, which favours nobody among them.
//!
//! Weights change nothing of the rows: they decide how often each is dealt. So a node that leads more from one moment to
//! the next costs an order, four octets a place, and no new deal.
//!
//! Long rows of many nodes, dealt one by one, would take memory with the square of the nodes. They are cut out of a few
//! circles of all nodes instead, each beginning at its leader: the first property holds as ever, the second with one
//! second place per circle, the third where domains are of one size, and nearly so elsewhere.

use fastrand::Rng;

/// Rows a deck may have for the second place to be exactly even, as it is for up to 64 nodes: few enough that a row
/// set of eight addresses stays within half a megabyte.
const ROWS_WHERE_EXACT: usize = 4096;

/// Rows a deck has where the second place cannot be exactly even, unless a few passes alone need more. Each is paid
/// for in time and memory whenever a node comes or goes, and more of them would only make even what is even to a
/// few parts in a hundred.
const ROWS_WHERE_NOT: usize = 1024;

/// Passes a deck has at least where the second place matters. In a pass each node leads with one fixed second; with
/// four, a dead node's clients spread over four nodes until the next deal, which comes when its death is noticed.
const PASSES_AT_LEAST: usize = 4;

/// Seats that the rows of a deck may take in all: what the largest exact deck takes with eight seats in a row, or, of
/// more rows than that, this many per row of a pass, which is four passes of sixteen seats.
const SEATS_AT_MOST: usize = ROWS_WHERE_EXACT * 8;
const SEATS_PER_LEADER: usize = 64;

/// Circles that longer rows are cut out of: a dead node's clients spread over so many nodes.
const CIRCLES: usize = 8;

/// Seats tried at random for a place in a row before the open ones are counted out. With one in four open, which is
/// when trying is the cheaper way, one draw in a hundred gets that far.
const TRIES: usize = 16;

/// Largest weight: it multiplies the places in a deck where rows are dealt from, though not the rows themselves.
pub const MAX_WEIGHT: u32 = 100;

/// Rows of seat indices in dealing order, each seat leading one row of a pass. Rows may share seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// Seats in a row.
    pub per_row: usize,
    /// Who leads the rows of a pass: every seat once.
    pub leaders: Vec<u32>,
    /// The seats that rows are cut out of.
    pub seats: Vec<u32>,
    /// Where each row starts in `seats`. Whole passes.
    pub starts: Vec<u32>,
}

impl Deal {
    /// The rows, one after another.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.iter().map(|&start| &self.seats[start as usize..][..self.per_row])
    }
}

/// Deals rows of `per_row` seats (at most all of them). The same input gives the same rows. `domains`: for each seat its
/// failure domain (rack), any number that is equal for seats that fail together.
pub fn deal(domains: &[u32], per_row: usize, seed: u64) -> Deal {
    let per_row = per_row.clamp(1, domains.len().max(1));
    let mut dealt = Deal { per_row, leaders: Vec::new(), seats: Vec::new(), starts: Vec::new() };
    if domains.is_empty() {
        return dealt;
    }
    let mut rng = Rng::with_seed(seed);
    let mut table = Domains::new(domains);
    table.gather();
    // Neighbours in different domains where possible.
    dealt.leaders = std::iter::from_fn(|| table.draw(&mut rng)).collect();
    match passes(&table, domains.len(), per_row) {
        Some(passes) => one_by_one(&mut dealt, domains, &mut table, passes, &mut rng),
        None => around(&mut dealt, &mut table, &mut rng),
    }
    dealt
}

/// Where to deal from so that in any period (sum of weights) every seat leads exactly `weight` times, of the same rows
/// and as many passes: each seat's turns are spread evenly over the period, and in all passes together it leads each of
/// its rows equally often. `leaders` are a [`Deal`]'s, `starts` whatever stands for its own, `weights` by seat,
/// 1..=[`MAX_WEIGHT`]; other values are brought into that range.
pub fn weigh<T: Copy>(leaders: &[u32], starts: &[T], weights: &[u32]) -> Vec<T> {
    let passes = starts.len() / leaders.len().max(1);
    let mut turns: Vec<(f64, Turn)> = Vec::new();
    for (rank, &seat) in leaders.iter().enumerate() {
        let weight = weights.get(seat as usize).copied().unwrap_or(1).clamp(1, MAX_WEIGHT) as usize;
        let phase = rank as f64 / leaders.len() as f64;
        turns.extend((0..weight).map(|nth| ((nth as f64 + phase) / weight as f64, Turn { rank, nth, weight })));
    }
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut weighed = Vec::with_capacity(passes * turns.len());
    for pass in 0..passes {
        let row = |turn: &Turn| (pass * turn.weight + turn.nth) % passes * leaders.len() + turn.rank;
        weighed.extend(turns.iter().filter_map(|(_, turn)| starts.get(row(turn)).copied()));
    }
    weighed
}

/// One of the turns of a seat to lead.
struct Turn {
    /// The seat's place among the leaders.
    rank: usize,
    /// Which of its turns in a pass.
    nth: usize,
    weight: usize,
}

/// Deals every row by itself.
fn one_by_one(dealt: &mut Deal, domains: &[u32], table: &mut Domains, passes: usize, rng: &mut Rng) {
    let mut seconds = if dealt.per_row == 1 { Vec::new() } else { seconds(domains, table, passes, rng) };
    let rows = &mut dealt.seats;
    rows.reserve_exact(passes * dealt.leaders.len() * dealt.per_row);
    for _ in 0..passes {
        for &leader in &dealt.leaders {
            dealt.starts.push(rows.len() as u32);
            table.gather();
            table.take(leader);
            rows.push(leader);
            if let Some(second) = seconds.get_mut(leader as usize).and_then(Vec::pop) {
                table.take(second);
                rows.push(second);
                rows.extend((2..dealt.per_row).map_while(|_| table.draw(rng)));
            }
        }
    }
}

/// Cuts rows out of circles of all seats, one for each pass.
fn around(dealt: &mut Deal, table: &mut Domains, rng: &mut Rng) {
    for _ in 0..CIRCLES {
        let (circle, first) = (circle(table, rng), dealt.seats.len());
        let mut place = vec![0; circle.len()];
        circle.iter().enumerate().for_each(|(at, &seat)| place[seat as usize] = at);
        dealt.starts.extend(dealt.leaders.iter().map(|&leader| (first + place[leader as usize]) as u32));
        // The longest row begins at the last seat.
        dealt.seats.extend(circle.iter().cycle().take(circle.len() + dealt.per_row - 1));
    }
}

/// All seats, those of each domain shuffled and spread evenly over the circle: domains of one size come round in one
/// and the same order.
fn circle(table: &mut Domains, rng: &mut Rng) -> Vec<u32> {
    table.gather();
    let mut places: Vec<(f64, u32)> = Vec::new();
    for domain in 0..table.groups.len() {
        let (mut group, phase) = (table.groups[domain].clone(), rng.f64());
        rng.shuffle(&mut group);
        let size = group.len() as f64;
        places.extend(group.iter().enumerate().map(|(turn, &seat)| ((turn as f64 + phase) / size, seat)));
    }
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    places.into_iter().map(|(_, seat)| seat).collect()
}

/// As many passes as give every leader all its possible seconds, where so many rows are affordable; else a few. `None`
/// where not even these are.
fn passes(table: &Domains, nodes: usize, per_row: usize) -> Option<usize> {
    if per_row == 1 {
        return Some(1);
    }
    let most_seconds = (0..table.groups.len()).map(|domain| table.seconds_of(domain)).max().unwrap_or(1).max(1);
    let rows = if most_seconds * nodes <= ROWS_WHERE_EXACT { ROWS_WHERE_EXACT } else { ROWS_WHERE_NOT };
    let affordable = SEATS_AT_MOST.max(SEATS_PER_LEADER * nodes) / (nodes * per_row);
    let wanted = (rows / nodes).max(PASSES_AT_LEAST).min(most_seconds);
    (affordable >= wanted.min(PASSES_AT_LEAST)).then_some(wanted.min(affordable))
}

/// For each seat the second places of all the rows it leads: its candidates, shuffled, over and over. A deck with
/// fewer rows than candidates takes that many different ones.
fn seconds(domains: &[u32], table: &Domains, passes: usize, rng: &mut Rng) -> Vec<Vec<u32>> {
    let everybody = domains.len();
    let alone = table.groups.len() == 1;
    let may_follow = |leader: usize, other: usize| leader != other && (alone || domains[leader] != domains[other]);
    (0..everybody)
        .map(|leader| {
            let count = table.seconds_of(table.group_of[leader]);
            let mut chosen: Vec<u32> = Vec::with_capacity(passes);
            if count == 0 {
                return chosen;
            }
            if passes * 2 < count {
                // Few of many: drawing at random and skipping repeats is far cheaper than a shuffle of all.
                while chosen.len() < passes {
                    let other = rng.usize(..everybody);
                    if may_follow(leader, other) && !chosen.contains(&(other as u32)) {
                        chosen.push(other as u32);
                    }
                }
                return chosen;
            }
            let mut candidates: Vec<u32> =
                (0..everybody).filter(|&other| may_follow(leader, other)).map(|other| other as u32).collect();
            while chosen.len() < passes {
                rng.shuffle(&mut candidates);
                chosen.extend(candidates.iter().take(passes - chosen.len()));
            }
            chosen
        })
        .collect()
}

/// The seats by failure domain, and which of them the current row still has.
struct Domains {
    /// Seats of each domain; the first `left[d]` of `groups[d]` are still to be drawn.
    groups: Vec<Vec<u32>>,
    left: Vec<usize>,
    /// Domains visited in this round of the row.
    visited: Vec<bool>,
    /// Seats left in the domains that are not.
    open: usize,
    /// Seats left in the row.
    rest: usize,
    /// Group of each seat, and its position in there.
    group_of: Vec<usize>,
    position: Vec<usize>,
}

impl Domains {
    fn new(domains: &[u32]) -> Self {
        let mut numbers = domains.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        let mut groups = vec![Vec::new(); numbers.len()];
        let (mut group_of, mut position) = (Vec::new(), Vec::new());
        for (index, domain) in domains.iter().enumerate() {
            let group = numbers.partition_point(|number| number < domain);
            group_of.push(group);
            position.push(groups[group].len());
            groups[group].push(index as u32);
        }
        let left = groups.iter().map(Vec::len).collect();
        let all = domains.len();
        Domains { visited: vec![false; groups.len()], open: all, rest: all, left, groups, group_of, position }
    }

    /// How many seats may come second to a leader of this domain.
    fn seconds_of(&self, domain: usize) -> usize {
        let own = self.groups[domain].len();
        if self.groups.len() == 1 { own - 1 } else { self.group_of.len() - own }
    }

    /// All seats back, for a new row.
    fn gather(&mut self) {
        for (left, group) in self.left.iter_mut().zip(&self.groups) {
            *left = group.len();
        }
        self.visited.fill(false);
        self.rest = self.group_of.len();
        self.open = self.rest;
    }

    /// Takes one seat out of the row, and counts its domain as visited.
    fn take(&mut self, seat: u32) {
        let group = self.group_of[seat as usize];
        let (here, last) = (self.position[seat as usize], self.left[group] - 1);
        self.groups[group].swap(here, last);
        self.position[self.groups[group][here] as usize] = here;
        self.position[seat as usize] = last;
        if !self.visited[group] {
            self.open -= self.left[group];
            self.visited[group] = true;
        }
        self.left[group] = last;
        self.rest -= 1;
    }

    /// A seat at random out of the domains not visited in this round; starts a new round when all are.
    fn draw(&mut self, rng: &mut Rng) -> Option<u32> {
        if self.open == 0 {
            self.visited.fill(false);
            self.open = self.rest;
            if self.open == 0 {
                return None;
            }
        }
        let everybody = self.group_of.len();
        if self.open * 4 >= everybody {
            for _ in 0..TRIES {
                let seat = rng.usize(..everybody);
                let group = self.group_of[seat];
                if !self.visited[group] && self.position[seat] < self.left[group] {
                    self.take(seat as u32);
                    return Some(seat as u32);
                }
            }
        }
        let mut pick = rng.usize(..self.open);
        for group in 0..self.groups.len() {
            if self.visited[group] {
                continue;
            }
            if let Some(&seat) = self.groups[group][..self.left[group]].get(pick) {
                self.take(seat);
                return Some(seat);
            }
            pick -= self.left[group];
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Seats in `racks` racks of `each` nodes.
    fn racks(racks: u32, each: u32) -> Vec<u32> {
        (0..racks * each).map(|index| index % racks).collect()
    }

    fn count<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
        let mut counts = BTreeMap::new();
        for item in items {
            *counts.entry(item).or_default() += 1;
        }
        counts
    }

    #[test]
    fn second_place_is_exactly_even_over_the_other_racks() {
        for (rack_count, each) in [(3, 2), (3, 4), (1, 6), (2, 3)] {
            let seats = racks(rack_count, each);
            let dealt = deal(&seats, 8, 7);
            let pairs = count(dealt.iter().map(|row| (row[0], row[1])));
            let outside = if rack_count == 1 { each - 1 } else { (rack_count - 1) * each };
            assert_eq!(pairs.len() as u32, rack_count * each * outside, "every possible pair occurs");
            assert_eq!(pairs.values().collect::<BTreeSet<_>>().len(), 1, "equally often: {pairs:?}");
        }
    }

    /// Chi-square of the second places of each leader, over many deals of a cluster too large for exact pairs.
    #[test]
    fn second_place_is_uniform_where_it_cannot_be_exact() {
        let seats = racks(4, 40);
        let (mut statistic, mut freedom) = (0.0, 0.0);
        let mut seconds: BTreeMap<u32, BTreeMap<u32, usize>> = BTreeMap::new();
        for seed in 0..40 {
            for row in deal(&seats, 8, seed).iter() {
                *seconds.entry(row[0]).or_default().entry(row[1]).or_default() += 1;
            }
        }
        for counts in seconds.values() {
            let total: usize = counts.values().sum();
            let expected = total as f64 / 120.0;
            statistic += (0..120)
                .map(|nth| counts.values().nth(nth).copied().unwrap_or(0) as f64 - expected)
                .map(|difference| difference * difference / expected)
                .sum::<f64>();
            freedom += 119.0;
        }
        // For so many degrees of freedom chi-square is normal: mean f, deviation sqrt(2f). Without replacement the
        // statistic is smaller than for independent draws, never larger.
        assert!(statistic < freedom + 4.0 * f64::sqrt(2.0 * freedom), "{statistic} of {freedom}");
    }

    #[test]
    fn when_a_node_dies_its_clients_spread_over_all_survivors() {
        let seats = racks(3, 4);
        let dealt = deal(&seats, 8, 3);
        // Every client takes the first address that is not the dead node's.
        let load = count(dealt.iter().map(|row| if row[0] == 0 { row[1] } else { row[0] }));
        let mean = dealt.iter().count() as f64 / 11.0;
        let most = *load.values().max().unwrap() as f64;
        assert!(most / mean <= 1.05, "{load:?}");
    }

    #[test]
    fn thousands_of_nodes_stay_within_the_wanted_rows() {
        let dealt = deal(&racks(30, 100), 8, 1);
        assert_eq!(dealt.leaders.len(), 3000);
        assert_eq!(dealt.starts.len(), 3000 * PASSES_AT_LEAST);
    }

    #[test]
    fn one_node_and_none_are_dealt_too() {
        assert_eq!(deal(&racks(1, 1), 8, 1), Deal { per_row: 1, leaders: vec![0], seats: vec![0], starts: vec![0] });
        assert!(weigh::<u32>(&[], &[], &[]).is_empty());
        assert!(deal(&[], 8, 1).starts.is_empty());
    }

    #[test]
    fn rows_of_many_nodes_are_cut_out_of_circles() {
        for seats in [racks(3, 40), racks(1, 120), racks(2, 500)] {
            let (nodes, racks) = (seats.len(), 1 + *seats.iter().max().unwrap() as usize);
            let dealt = deal(&seats, nodes, 5);
            assert_eq!((dealt.starts.len(), dealt.leaders.len()), (nodes * CIRCLES, nodes));
            assert!(dealt.seats.len() <= nodes * CIRCLES * 2);
            let leaders: Vec<u32> = dealt.iter().map(|row| row[0]).collect();
            assert!(
                leaders.iter().zip(&leaders[nodes..]).all(|(one, next)| one == next),
                "the same order in each pass"
            );
            assert_eq!(leaders[..nodes].iter().collect::<BTreeSet<_>>().len(), nodes);
            for row in dealt.iter() {
                assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), nodes);
                let first: BTreeSet<u32> = row[..racks].iter().map(|&seat| seats[seat as usize]).collect();
                assert_eq!(first.len(), racks);
            }
            let pairs: BTreeSet<(u32, u32)> = dealt.iter().map(|row| (row[0], row[1])).collect();
            assert!(pairs.len() > nodes * (CIRCLES - 2), "{} pairs of {nodes} nodes", pairs.len());
        }
    }

    proptest! {
        #[test]
        fn every_window_of_a_period_is_led_by_weight(
            weights in proptest::collection::vec((0u32..4, 1u32..5), 1..20),
            per_row in 1usize..10,
            seed: u64,
            start: usize,
        ) {
            let (domains, weights): (Vec<u32>, Vec<u32>) = weights.into_iter().unzip();
            let even = deal(&domains, per_row, seed);
            let starts = weigh(&even.leaders, &even.starts, &weights);
            let dealt = Deal { starts, ..even.clone() };
            let rows: Vec<&[u32]> = dealt.iter().collect();
            let period = weights.iter().sum::<u32>() as usize;
            prop_assert_eq!(rows.len() % period, 0);
            let window = (0..period).map(|offset| rows[(start % rows.len() + offset) % rows.len()][0]);
            let led = count(window);
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(led.get(&(index as u32)).copied(), Some(*weight as usize));
            }
            // Of its rows each leader leads every one equally often.
            let (times, once) = (count(dealt.starts.iter()), count(even.starts.iter()));
            for (row, start) in even.iter().zip(&even.starts) {
                prop_assert_eq!(times[start], once[start] * weights[row[0] as usize] as usize);
            }
            prop_assert_eq!(weigh(&even.leaders, &even.starts, &vec![1; domains.len()]), even.starts);
        }

        #[test]
        fn rows_hold_each_node_once_and_visit_every_rack_before_one_twice(
            domains in proptest::collection::vec(0u32..5, 1..40),
            per_row in 1usize..12,
            seed: u64,
        ) {
            let racks = domains.iter().collect::<BTreeSet<_>>().len();
            for row in deal(&domains, per_row, seed).iter() {
                prop_assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), row.len());
                let first: BTreeSet<u32> = row.iter().take(racks).map(|&seat| domains[seat as usize]).collect();
                prop_assert_eq!(first.len(), racks.min(row.len()));
            }
        }

        #[test]
        fn the_seed_decides(seed: u64) {
            prop_assert_eq!(deal(&racks(3, 3), 8, seed), deal(&racks(3, 3), 8, seed));
        }
    }
}
