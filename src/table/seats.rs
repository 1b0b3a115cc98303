//! The addresses that a deck deals, where several nodes may be seen at one and the same (a load balancer in front of
//! them tells them apart by port): such an address stands once in an answer, and leads for each of its nodes.

use std::{collections::hash_map::Entry, net::IpAddr};

use rustc_hash::FxHashMap;

use crate::plan::{MAX_WEIGHT, weigh};

/// Rows a deck of shared addresses may have at most so that every node leads in its turn. Where nodes and weights ask for
/// more, they lead in one another's turns; nobody but our own count can tell them apart.
const ROWS_AT_MOST: usize = 1 << 16;

/// The addresses of some nodes, each once, and the nodes behind each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seats {
    /// In the order of their first nodes.
    pub(super) addresses: Vec<IpAddr>,
    /// By address: places in the list of nodes.
    nodes: Vec<Vec<u32>>,
}

impl Seats {
    /// The seats of nodes that are seen at these addresses.
    pub(super) fn new(seen: &[IpAddr]) -> Self {
        let mut seats = Seats { addresses: Vec::with_capacity(seen.len()), nodes: Vec::with_capacity(seen.len()) };
        let mut known: FxHashMap<IpAddr, usize> = FxHashMap::default();
        for (node, address) in (0..).zip(seen) {
            match known.entry(*address) {
                Entry::Occupied(seat) => seats.nodes[*seat.get()].push(node),
                Entry::Vacant(seat) => {
                    seat.insert(seats.addresses.len());
                    seats.addresses.push(*address);
                    seats.nodes.push(vec![node]);
                }
            }
        }
        seats
    }

    /// Whether an address stands for several nodes.
    pub(super) fn are_shared(&self) -> bool {
        self.nodes.iter().any(|nodes| nodes.len() > 1)
    }

    /// The first node of a seat.
    pub(super) fn node(&self, seat: u32) -> Option<u32> {
        self.nodes.get(seat as usize)?.first().copied()
    }

    /// The failure domain of each seat, from those of the nodes: an address for nodes of several fails with none of
    /// them.
    pub(super) fn domains(&self, of_nodes: &[u32]) -> Vec<u32> {
        let mut next = of_nodes.iter().max().map_or(0, |last| last + 1);
        let domain = |nodes: &Vec<u32>| {
            let mut domains = nodes.iter().filter_map(|node| of_nodes.get(*node as usize));
            let first = domains.next().copied().unwrap_or_default();
            if domains.all(|domain| *domain == first) {
                return first;
            }
            next += 1;
            next - 1
        };
        self.nodes.iter().map(domain).collect()
    }

    /// Which row is dealt when, and the node that leads it: an address leads as often as its nodes together, and each of
    /// them in its turn by its weight (all alike where there are none). `leaders` are those of a pass, of `rows` rows in
    /// all.
    pub(super) fn turns(&self, leaders: &[u32], rows: usize, weights: Option<&[u32]>) -> Vec<(u32, u32)> {
        let weight = |node: u32| weights.and_then(|weights| weights.get(node as usize)).copied().unwrap_or(1).max(1);
        let cycles: Vec<Vec<u32>> = self.nodes.iter().map(|nodes| cycle(nodes, weight)).collect();
        let shares = shares(&cycles);
        let all: Vec<u32> = (0..rows as u32).collect();
        let weighed = weigh(leaders, &all, &shares);
        let passes = rows / leaders.len().max(1);
        // Until the turns of every cycle have come out even.
        let until_even = |(cycle, share): (&Vec<u32>, &u32)| {
            cycle.len() / greatest_common_divisor(cycle.len(), passes * *share as usize).max(1)
        };
        let repeats = cycles.iter().zip(&shares).map(until_even).max().unwrap_or(1);
        let repeats = repeats.clamp(1, (ROWS_AT_MOST / weighed.len().max(1)).max(1));
        let mut next = vec![0; cycles.len()];
        let turn = |row: &u32| {
            let seat = *leaders.get(*row as usize % leaders.len().max(1))? as usize;
            let (cycle, next) = (cycles.get(seat)?, next.get_mut(seat)?);
            let node = cycle.get(*next % cycle.len().max(1))?;
            *next += 1;
            Some((*row, *node))
        };
        std::iter::repeat_n(&weighed, repeats).flatten().filter_map(turn).collect()
    }
}

/// The nodes of a seat, each as often as its weight says, one after another.
fn cycle(nodes: &[u32], weight: impl Fn(u32) -> u32) -> Vec<u32> {
    let most = nodes.iter().map(|node| weight(*node)).max().unwrap_or(1);
    let mut cycle = Vec::new();
    for round in 0..most {
        cycle.extend(nodes.iter().copied().filter(|node| weight(*node) > round));
    }
    cycle
}

/// How often each seat leads: as its cycle is long, in the smallest numbers that say so, or nearly so where these would
/// be too large.
fn shares(cycles: &[Vec<u32>]) -> Vec<u32> {
    let divisor = cycles.iter().map(Vec::len).fold(0, greatest_common_divisor).max(1);
    let shares = cycles.iter().map(|cycle| cycle.len() / divisor);
    let (largest, most) = (shares.clone().max().unwrap_or(1), MAX_WEIGHT as usize);
    let fitted = |share: usize| if largest > most { (share * most).div_ceil(largest) } else { share };
    shares.map(|share| fitted(share) as u32).collect()
}

fn greatest_common_divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::deal;

    fn seats(hosts: &[u8]) -> Seats {
        Seats::new(&hosts.iter().map(|host| [192, 0, 2, *host].into()).collect::<Vec<_>>())
    }

    #[test]
    fn an_address_is_one_seat_for_all_its_nodes() {
        let seats = seats(&[7, 8, 7, 9, 8]);
        assert_eq!(seats.addresses.len(), 3);
        assert_eq!(seats.nodes, [vec![0, 2], vec![1, 4], vec![3]]);
        assert!(seats.are_shared());
        // Nodes 0 and 2 are in one rack, 1 and 4 in two.
        assert_eq!(seats.domains(&[5, 6, 5, 6, 7]), [5, 8, 6]);
        assert!(!super::tests::seats(&[1, 2, 3]).are_shared());
    }

    proptest! {
        #[test]
        fn every_node_leads_by_its_weight_whatever_it_shares(
            hosts in proptest::collection::vec(0_u8..6, 1..24),
            weights in proptest::option::of(proptest::collection::vec(1_u32..4, 24)),
            per_row in 1_usize..9,
            seed: u64,
        ) {
            let seats = seats(&hosts);
            let dealt = deal(&vec![0; seats.addresses.len()], per_row, seed);
            let turns = seats.turns(&dealt.leaders, dealt.starts.len(), weights.as_deref());
            let (mut led, mut of_rows) = (BTreeMap::new(), BTreeMap::new());
            for (row, node) in &turns {
                *led.entry(*node).or_insert(0) += 1;
                *of_rows.entry(*row).or_insert(0) += 1;
                // The node is behind the address that the row begins with.
                let first = dealt.seats[dealt.starts[*row as usize] as usize];
                prop_assert!(seats.nodes[first as usize].contains(node));
            }
            let weight = |node: u32| weights.as_ref().map_or(1, |weights| weights[node as usize]);
            let shares: std::collections::BTreeSet<u32> = (0..hosts.len() as u32)
                .map(|node| led.get(&node).copied().unwrap_or(0) * 6 / weight(node))
                .collect();
            prop_assert_eq!(shares.len(), 1, "{:?} of weights {:?}", led, weights);
            prop_assert_eq!(of_rows.len(), dealt.starts.len(), "every row is dealt");
        }
    }
}
