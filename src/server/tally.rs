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

/// Counters made at once: eight memory lines.
const CHUNK: usize = 64;

/// Counters from one zone's first to the next one's: a power of two, so that a zone's stand in one chunk.
const ROW: usize = Outcome::ALL.len().next_power_of_two();

/// Numbers of zones, by name.
pub(super) type ZoneSlots = Slots<Arc<str>>;

/// Some counters, on memory lines of their own so that workers do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
struct Chunk([AtomicU64; CHUNK]);

/// Counters by number.
type Chunks = Vec<Arc<Chunk>>;

/// Under which numbers a query is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// The zone's; 0 where none of ours was asked for, or the name was not looked at.
    pub(super) zone: u32,
    /// The number of the node that leads its answer; 0 where none does.
    pub(super) leader: u32,
}

impl Counted {
    /// A query for the zone of this number, whose answer no node leads.
    #[inline(always)]
    pub(super) fn of(zone: u32) -> Self {
        Counted { zone, leader: 0 }
    }
}

/// One worker's counters, as the worker has them.
#[derive(Debug)]
pub(super) struct Tally {
    block: Arc<Block>,
    outcomes: [Chunks; Transport::ALL.len()],
    leads: Chunks,
    zones: Arc<ZoneSlots>,
    nodes: Arc<NodeSlots>,
}

impl Tally {
    /// Counts one query.
    #[inline(always)]
    pub(super) fn count(&mut self, transport: Transport, outcome: Outcome, counted: Counted) {
        let number = counted.zone as usize * ROW + outcome as usize;
        match self.outcomes[transport as usize].get(number / CHUNK) {
            Some(chunk) => chunk.add(number),
            None => self.count_first(transport, number),
        }
        if counted.leader != 0 {
            match self.leads.get(counted.leader as usize / CHUNK) {
                Some(chunk) => chunk.add(counted.leader as usize),
                None => self.lead_first(counted.leader as usize),
            }
        }
    }

    #[cold]
    fn count_first(&mut self, transport: Transport, number: usize) {
        let end = (self.zones.given() as usize + 1) * ROW;
        let chunks = &mut self.outcomes[transport as usize];
        grow(chunks, end.max(number + 1));
        if let Some(chunk) = chunks.get(number / CHUNK) {
            chunk.add(number);
        }
        self.block.grown().outcomes[transport as usize].clone_from(chunks);
    }

    #[cold]
    fn lead_first(&mut self, number: usize) {
        grow(&mut self.leads, (self.nodes.given() as usize + 1).max(number + 1));
        if let Some(chunk) = self.leads.get(number / CHUNK) {
            chunk.add(number);
        }
        self.block.grown().leads.clone_from(&self.leads);
    }

    /// What is counted by neither zone nor node, for those who count it.
    pub(super) fn block(&self) -> &Arc<Block> {
        &self.block
    }
}

/// Makes counters up to a number, that one left out.
fn grow(chunks: &mut Chunks, end: usize) {
    let wanted = end.div_ceil(CHUNK);
    chunks.resize_with(wanted.max(chunks.len()), || Arc::new(Chunk([const { AtomicU64::new(0) }; CHUNK])));
}

impl Chunk {
    /// Counts one under a number of this chunk. Only the owning worker may call this.
    #[inline(always)]
    fn add(&self, number: usize) {
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
    rate_limited: [AtomicU64; RateLimited::ALL.len()],
    grown: Mutex<Grown>,
}

/// The same chunks that the worker has.
#[derive(Debug, Default)]
struct Grown {
    outcomes: [Chunks; Transport::ALL.len()],
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

    /// Counts replies the kernel did not take. Only the owning worker may call this.
    pub(super) fn unsent(&self, replies: usize) {
        add(&self.unsent, replies as u64);
    }
}

/// The counters of some workers together.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) unsent: u64,
    pub(super) rate_limited: [u64; RateLimited::ALL.len()],
    outcomes: [Vec<u64>; Transport::ALL.len()],
    leads: Vec<u64>,
}

impl Totals {
    fn add(&mut self, block: &Block) {
        self.unsent += block.unsent.load(Relaxed);
        for (total, count) in self.rate_limited.iter_mut().zip(&block.rate_limited) {
            *total += count.load(Relaxed);
        }
        let grown = block.grown();
        let pairs = self.outcomes.iter_mut().zip(&grown.outcomes).chain([(&mut self.leads, &grown.leads)]);
        for (totals, chunks) in pairs {
            totals.resize(totals.len().max(chunks.len() * CHUNK), 0);
            let counts = chunks.iter().flat_map(|chunk| &chunk.0);
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count.load(Relaxed));
        }
    }

    /// Queries for the zone of this number over this transport, by outcome; `None` where none ever came over it.
    pub(super) fn outcomes(&self, transport: Transport, zone: u32) -> Option<[u64; Outcome::ALL.len()]> {
        let counts = &self.outcomes[transport as usize];
        let row = counts.get(zone as usize * ROW..).unwrap_or_default();
        let mut outcomes = [0; Outcome::ALL.len()];
        outcomes.iter_mut().zip(row).for_each(|(outcome, count)| *outcome = *count);
        (!counts.is_empty()).then_some(outcomes)
    }

    /// All queries, by outcome.
    pub(super) fn by_outcome(&self) -> [u64; Outcome::ALL.len()] {
        let mut outcomes = [0; Outcome::ALL.len()];
        for row in self.outcomes.iter().flat_map(|counts| counts.chunks(ROW)) {
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
    let of = |transport| totals.outcomes(transport, zone).unwrap_or_default();
    Transport::ALL.into_iter().flat_map(of).collect()
}

/// Answers each node led, of those known.
pub(super) fn leads(workers: &Workers, nodes: &NodeSlots) -> Vec<(Arc<str>, IpAddr, u64)> {
    let totals = workers.totals();
    let led = |number: u32, before: &[u64]| totals.leads(number).saturating_sub(before.first().copied().unwrap_or(0));
    nodes.all().into_iter().map(|((zone, node), number, before)| (zone, node, led(number, &before))).collect()
}
