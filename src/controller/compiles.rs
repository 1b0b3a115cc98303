//! What the controller counts.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Compiles of all zones, and Tables swapped in. They only grow.
#[derive(Debug, Default)]
pub struct Compiles {
    compiled: AtomicU64,
    nanoseconds: AtomicU64,
    swaps: AtomicU64,
}

impl Compiles {
    /// Compiles that led to other answers.
    pub fn count(&self) -> u64 {
        self.compiled.load(Relaxed)
    }

    /// Time that these took together.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Relaxed))
    }

    /// Tables swapped in.
    pub fn swaps(&self) -> u64 {
        self.swaps.load(Relaxed)
    }

    /// Runs a compile, which tells whether it led to other answers, and counts it if it did.
    pub(super) fn timed(&self, compile: impl FnOnce() -> bool) -> bool {
        let start = Instant::now();
        let changed = compile();
        if changed {
            self.compiled.fetch_add(1, Relaxed);
            self.nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        }
        changed
    }

    pub(super) fn count_swap(&self) {
        self.swaps.fetch_add(1, Relaxed);
    }
}
