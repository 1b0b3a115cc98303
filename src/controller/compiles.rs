//! What the controller counts.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use crate::model::{COMPILE_SECONDS, Histogram, HistogramSnapshot};

/// Compiles of all zones, and Tables swapped in. They only grow.
#[derive(Debug)]
pub struct Compiles {
    durations: Histogram,
    swaps: AtomicU64,
}

impl Default for Compiles {
    fn default() -> Self {
        Compiles { durations: Histogram::new(COMPILE_SECONDS), swaps: AtomicU64::new(0) }
    }
}

impl Compiles {
    /// Durations of the compiles that led to other answers.
    pub fn durations(&self) -> HistogramSnapshot {
        self.durations.snapshot()
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
            self.durations.observe(start.elapsed());
        }
        changed
    }

    pub(super) fn count_swap(&self) {
        self.swaps.fetch_add(1, Relaxed);
    }
}
