//! How long things took, counted by fixed bounds.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Bounds for requests to nodes, seconds: from a node in the same rack to the longest time-out that is of use.
pub const REQUEST_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Bounds for compiling a zone, seconds: from a handful of nodes to many thousands.
pub const COMPILE_SECONDS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// Durations, counted by the least bound each is not above. Any thread may observe and any may read, at any time; nobody
/// waits. Counts only grow.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    /// Nanoseconds: 584 years fit.
    sum: AtomicU64,
}

/// What a [`Histogram`] held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bounds, seconds, ascending; a duration equal to a bound is within it.
    pub bounds: &'static [f64],
    /// Durations within each bound and above the one before it; the last are those above all bounds. Not cumulative.
    pub counts: Vec<u64>,
    /// All durations together, seconds.
    pub sum: f64,
    /// How many there were: the sum of `counts`.
    pub count: u64,
}

impl Histogram {
    /// An empty one. `bounds` are seconds, ascending.
    pub fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted_by(|a, b| a < b));
        Histogram { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// What it holds now. One that is observed just now may be in the counts and not yet in the sum.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        HistogramSnapshot {
            bounds: self.bounds,
            count: counts.iter().sum(),
            counts,
            sum: Duration::from_nanos(self.sum.load(Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_at_the_least_bound_it_is_not_above() {
        let histogram = Histogram::new(&[0.001, 0.01, 0.1]);
        for micros in [0, 999, 1000, 1001, 10_000, 99_999, 100_001, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let seen = histogram.snapshot();
        assert_eq!((seen.counts, seen.count), (vec![3, 2, 1, 2], 8));
        assert!((seen.sum - 5.213).abs() < 1e-9, "{}", seen.sum);
        assert_eq!(seen.bounds, [0.001, 0.01, 0.1]);
    }

    #[test]
    fn the_bounds_ascend() {
        for bounds in [REQUEST_SECONDS, COMPILE_SECONDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
            assert_eq!(Histogram::new(bounds).snapshot().counts.len(), bounds.len() + 1);
        }
    }
}
