//! Whether anybody asks for a zone.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// Whether anybody asks for a zone: written by the query path, read by the zone's poller, so that the poller may
/// slow down while nobody asks and the first query wakes it.
///
/// On the query path this costs one relaxed load; it stores only for the first query after the poller looked.
pub struct Demand {
    asked: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Demand {
    /// `wake` is called for the first query after each [`Demand::take`]; it must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Demand { asked: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// A query arrived.
    pub fn note(&self) {
        if !self.asked.load(Relaxed) && !self.asked.swap(true, Relaxed) {
            (self.wake)();
        }
    }

    /// Whether a query arrived since the last call.
    pub fn take(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }
}

impl Default for Demand {
    fn default() -> Self {
        Demand::new(|| {})
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demand").field("asked", &self.asked).finish_non_exhaustive()
    }
}
