//! One worker's place in every deck.

use fastrand::Rng;

/// One worker's cursors, one per deck and shape, so that no worker waits for another and none shares a memory line.
///
/// Each starts at a random row: many servers started together do not send their first clients to one node.
#[derive(Debug)]
pub struct Dealer {
    cursors: Vec<usize>,
    rng: Rng,
}

impl Dealer {
    /// A dealer whose starting rows the seed decides.
    pub fn new(seed: u64) -> Self {
        Dealer { cursors: Vec::new(), rng: Rng::with_seed(seed) }
    }

    /// The row to deal next from a deck of `rows` rows (at least one), and moves on.
    #[inline(always)]
    pub fn next(&mut self, slot: usize, rows: usize) -> usize {
        let Some(cursor) = self.cursors.get_mut(slot) else { return self.first(slot, rows) };
        let row = if *cursor < rows { *cursor } else { *cursor % rows };
        *cursor = row + 1;
        row
    }

    /// The first row from a deck never dealt from before.
    #[cold]
    fn first(&mut self, slot: usize, rows: usize) -> usize {
        while self.cursors.len() <= slot {
            // Any number will do, rows are taken modulo the deck; half the range leaves room to count up.
            let start = self.rng.usize(..usize::MAX / 2);
            self.cursors.push(start);
        }
        self.next(slot, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_in_turn_from_a_random_start() {
        let mut dealer = Dealer::new(1);
        let rows: Vec<usize> = (0..8).map(|_| dealer.next(3, 4)).collect();
        for pair in rows.windows(2) {
            assert_eq!(pair[1], (pair[0] + 1) % 4);
        }
        let starts: std::collections::BTreeSet<usize> = (0..50).map(|seed| Dealer::new(seed).next(0, 4)).collect();
        assert_eq!(starts.len(), 4);
    }

    #[test]
    fn a_deck_that_shrinks_is_dealt_on_from_within() {
        let mut dealer = Dealer::new(1);
        for _ in 0..100 {
            dealer.next(0, 64);
        }
        assert!(dealer.next(0, 3) < 3);
    }
}
