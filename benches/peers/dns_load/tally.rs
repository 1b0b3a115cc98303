//! What came of the queries.

use crate::{
    histogram::Histogram,
    question::Wrong,
    run::Script,
    slots::{Sent, Slots},
};

/// Counts since the last [`Tally::clear`].
#[derive(Debug)]
pub(crate) struct Tally {
    /// Right replies.
    pub(crate) answers: u64,
    /// Queries without a reply.
    pub(crate) lost: u64,
    /// Replies to queries that were given up, or never asked.
    pub(crate) strays: u64,
    /// Wrong replies.
    pub(crate) wrong: u64,
    /// What was wrong with the first of them.
    pub(crate) first_wrong: Option<Wrong>,
    /// Connections that the server closed, or that failed.
    pub(crate) closed: u64,
    /// From when a query was due to its right reply.
    pub(crate) latencies: Histogram,
    /// From when a query of a steady rate was due to when it left.
    pub(crate) late: Histogram,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Tally {
            answers: 0,
            lost: 0,
            strays: 0,
            wrong: 0,
            first_wrong: None,
            closed: 0,
            latencies: Histogram::new(),
            late: Histogram::new(),
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Tally::new();
    }

    /// Counts a reply, which frees its slot.
    pub(crate) fn reply(&mut self, slots: &mut Slots, script: &Script, reply: &[u8], now: u64) {
        let id = reply.first_chunk().map(|id| u16::from_be_bytes(*id));
        let Some(Sent { question, at }) = id.and_then(|id| slots.release(id)) else {
            self.strays += 1;
            return;
        };
        match script.question(question).check(reply) {
            Ok(()) => {
                self.answers += 1;
                self.latencies.record(now.saturating_sub(at));
            }
            Err(wrong) => {
                self.wrong += 1;
                self.first_wrong.get_or_insert(wrong);
            }
        }
    }
}
