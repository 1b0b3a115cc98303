//! Tables that are no longer served, kept until nobody reads them.

use std::{collections::VecDeque, sync::Arc};

use crate::table::Table;

/// Tables kept at most. A reader has a Table for the time of one batch of queries, so that one or two wait at any time;
/// one that is held for longer is let go after this many changes, and its last reader frees it.
pub(super) const KEPT: usize = 16;

/// Tables that were served, the oldest first. To free one takes as long as to free all its decks: that is not for the
/// threads that answer queries, so whoever swaps keeps the old Table until no reader has it.
#[derive(Debug, Default)]
pub(super) struct Retired(VecDeque<Arc<Table>>);

impl Retired {
    /// Keeps a Table that has just been swapped out: nobody can begin to read it any more.
    pub(super) fn keep(&mut self, table: Arc<Table>) {
        self.0.push_back(table);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Frees those that nobody else has. Takes milliseconds: not for the runtime's own threads.
    pub(super) fn free(&mut self) {
        self.0.retain(|table| Arc::strong_count(table) > 1);
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
