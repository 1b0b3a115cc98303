//! What one worker counts: by zone, transport and outcome, and which node led its answers.
//!
//! A counter has one writer and any number of readers, so counting is a load and a store. As many as are needed are made
//! the first time one of them is: a worker does not pay for zones, nodes or transports that are not there.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Outcome, RateLimited, Transport};
use crate::model::{NodeSlots, Slots};

/// Counters made at once, a kibibyte: those of one zone, or of so many nodes.
const CHUNK: usize = 128;

/// Counters from one transport's first to the next one's, of a zone: powers of two, so that a zone's fill a chunk.
const ROW: usize = Outcome::ALL.len().next_power_of_two();

const _: () = assert!(Transport::ALL.len() * ROW <= CHUNK);

/// Numbers of zones, by name.
pub(super) type ZoneSlots = Slots<Arc<str>>;

/// Some counters, on memory lines of their own so that workers do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
struct Chunk([AtomicU64; CHUNK]);

/// Counters by number.
type Chunks = Vec<Arc<Chunk>>;

/// One worker's counters, as the worker has them.
#[derive(Debug)]
pub(super) struct Tally {
    block: Arc<Block>,
    outcomes: Chunks,
    leads: Chunks,
    zones: Arc<ZoneSlots>,
    nodes: Arc<NodeSlots>,
}

impl Tally {
    /// Counts what a query became, under the number of its zone; 0 where none of ours was asked for, or its name was not
    /// looked at.
    #[inline(always)]
    pub(super) fn count(&mut self, transport: Transport, outcome: Outcome, zone: u32) {
        let number = transport as usize * ROW + outcome as usize;
        match self.outcomes.get(zone as usize) {
            Some(chunk) => chunk.add(number),
            None => self.count_first(number, zone as usize),
        }
    }

    #[cold]
    fn count_first(&mut self, number: usize, zone: usize) {
        grow(&mut self.outcomes, zone.max(self.zones.given() as usize));
        if let Some(chunk) = self.outcomes.get(zone) {
            chunk.add(number);
        }
        self.block.grown().outcomes.clone_from(&self.outcomes);
    }

    /// Counts an answer that the node of this number leads. What is counted under 0, which is nobody's, is never read.
    #[inline(always)]
    pub(super) fn lead(&mut self, node: u32) {
        match self.leads.get(node as usize / CHUNK) {
            Some(chunk) => chunk.add(node as usize % CHUNK),
            None => self.lead_first(node as usize),
        }
    }

    #[cold]
    fn lead_first(&mut self, node: usize) {
        grow(&mut self.leads, node.max(self.nodes.given() as usize) / CHUNK);
        if let Some(chunk) = self.leads.get(node / CHUNK) {
            chunk.add(node % CHUNK);
        }
        self.block.grown().leads.clone_from(&self.leads);
    }

    /// What is counted by neither zone nor node, for those who count it.
    pub(super) fn block(&self) -> &Arc<Block> {
        &self.block
    }
}

/// Makes chunks up to this one.
fn grow(chunks: &mut Chunks, last: usize) {
    let chunk = || Arc::new(Chunk([const { AtomicU64::new(0) }; CHUNK]));
    chunks.resize_with(chunks.len().max(last + 1), chunk);
}

impl Chunk {
    /// Counts one. Only the owning worker may call this.
    #[inline(always)]
    fn add(&self, number: usize) {
        // The remainder is the number itself, as far as the compiler need not know.
        add(&self.0[number % CHUNK], 1);
    }
}

/// One writer, so no read-modify-write is needed.
#[inline(always)]
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed) + count, Relaxed);
}

/// One worker's counters, as readers see them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Block {
    unsent: AtomicU64,
    unlogged: AtomicU64,
    rate_limited: [AtomicU64; RateLimited::ALL.len()],
    grown: Mutex<Grown>,
}

/// The same chunks that the worker has.
#[derive(Debug, Default)]
struct Grown {
    /// A chunk for each zone.
    outcomes: Chunks,
    leads: Chunks,
}

impl Block {
    fn grown(&self) -> MutexGuard<'_, Grown> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one reply that response rate limiting looked at. Only the owning worker may call this.
    pub(super) fn rate_limited(&self, what: RateLimited) {
        add(&self.rate_limited[what as usize], 1);
    }

    /// Counts a query that there was no room to log. Only the owning worker may call this.
    pub(super) fn count_unlogged(&self) {
        add(&self.unlogged, 1);
    }

    #[cfg(test)]
    pub(super) fn unlogged(&self) -> u64 {
        self.unlogged.load(Relaxed)
    }

    /// Counts replies the kernel did not take. Only the owning worker may call this.
    pub(super) fn unsent(&self, replies: usize) {
        add(&self.unsent, replies as u64);
    }
}

/// The counters of some workers together.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) unsent: u64,
    pub(super) unlogged: u64,
    pub(super) rate_limited: [u64; RateLimited::ALL.len()],
    outcomes: Vec<u64>,
    leads: Vec<u64>,
}

impl Totals {
    fn add(&mut self, block: &Block) {
        self.unsent += block.unsent.load(Relaxed);
        self.unlogged += block.unlogged.load(Relaxed);
        for (total, count) in self.rate_limited.iter_mut().zip(&block.rate_limited) {
            *total += count.load(Relaxed);
        }
        let grown = block.grown();
        for (totals, chunks) in [(&mut self.outcomes, &grown.outcomes), (&mut self.leads, &grown.leads)] {
            totals.resize(totals.len().max(chunks.len() * CHUNK), 0);
            let counts = chunks.iter().flat_map(|chunk| &chunk.0);
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count.load(Relaxed));
        }
    }

    /// Queries for the zone of this number over this transport, by outcome.
    pub(super) fn outcomes(&self, transport: Transport, zone: u32) -> [u64; Outcome::ALL.len()] {
        let first = zone as usize * CHUNK + transport as usize * ROW;
        let mut outcomes = [0; Outcome::ALL.len()];
        let counts = self.outcomes.iter().skip(first);
        outcomes.iter_mut().zip(counts).for_each(|(outcome, count)| *outcome = *count);
        outcomes
    }

    /// All queries, by outcome.
    pub(super) fn by_outcome(&self) -> [u64; Outcome::ALL.len()] {
        let mut outcomes = [0; Outcome::ALL.len()];
        for row in self.outcomes.chunks(ROW) {
            outcomes.iter_mut().zip(row).for_each(|(outcome, count)| *outcome += count);
        }
        outcomes
    }

    /// Answers that the node of this number led.
    pub(super) fn leads(&self, node: u32) -> u64 {
        self.leads.get(node as usize).copied().unwrap_or(0)
    }
}

/// The workers that count, and what those counted that have ended.
#[derive(Debug, Default)]
pub(super) struct Workers(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    blocks: Vec<Arc<Block>>,
    ended: Totals,
}

impl Workers {
    /// Counters for one more.
    pub(super) fn add(&self, zones: &Arc<ZoneSlots>, nodes: &Arc<NodeSlots>) -> Tally {
        let block = Arc::<Block>::default();
        let mut all = self.all();
        // Workers come and go with each reload.
        all.retire();
        all.blocks.push(block.clone());
        Tally { block, outcomes: Default::default(), leads: Chunks::new(), zones: zones.clone(), nodes: nodes.clone() }
    }

    /// What all of them counted, also those that have ended.
    pub(super) fn totals(&self) -> Totals {
        let mut all = self.all();
        all.retire();
        let mut totals = all.ended.clone();
        all.blocks.iter().for_each(|block| totals.add(block));
        totals
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all().blocks.len()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// Takes over what ended workers counted, and lets go of their counters.
    fn retire(&mut self) {
        for block in std::mem::take(&mut self.blocks) {
            // Nobody else has it: the worker is gone, and all that it wrote is to be seen.
            match Arc::try_unwrap(block) {
                Ok(block) => self.ended.add(&block),
                Err(block) => self.blocks.push(block),
            }
        }
    }
}

/// What is counted under the number of a zone, over all transports.
pub(super) fn counted_of_zone(workers: &Workers, zone: u32) -> Vec<u64> {
    let totals = workers.totals();
    Transport::ALL.into_iter().flat_map(|transport| totals.outcomes(transport, zone)).collect()
}

/// Answers each node led, of those known.
pub(super) fn leads(workers: &Workers, nodes: &NodeSlots) -> Vec<(Arc<str>, IpAddr, u64)> {
    let totals = workers.totals();
    let led = |number: u32, before: &[u64]| totals.leads(number).saturating_sub(before.first().copied().unwrap_or(0));
    nodes.all().into_iter().map(|((zone, node), number, before)| (zone, node, led(number, &before))).collect()
}
