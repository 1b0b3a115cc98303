//! Latencies in fixed memory.

/// Buckets per power of two: a quantile is at most 1/64 too high.
const FINE_BITS: u32 = 6;
const FINE: u64 = 1 << FINE_BITS;

/// Powers of two above the finest one: up to 2^36 ns, which is more than a minute; longer latencies count as that.
const POWERS: u64 = 30;

/// Latencies in nanoseconds, in buckets whose width grows with the value.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { buckets: vec![0; ((POWERS + 1) * FINE) as usize].into(), count: 0 }
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        let last = self.buckets.len() - 1;
        self.buckets[bucket(nanoseconds).min(last)] += 1;
        self.count += 1;
    }

    /// The least value that at least this share of all is not above, to within a bucket; `None` when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map(upper)
    }
}

/// Values below 2 × FINE have buckets of their own; above, FINE buckets share each power of two.
fn bucket(value: u64) -> usize {
    let power = u64::from((64 - value.leading_zeros()).saturating_sub(FINE_BITS + 1));
    (power * FINE + (value >> power)) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let power = (bucket / FINE).saturating_sub(1);
    ((bucket - power * FINE + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_one_bucket_too_high() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=100_000).for_each(|value| histogram.record(value));
        for (share, exact) in [(0.5, 50_000), (0.99, 99_000), (0.999, 99_900), (1.0, 100_000), (0.0, 1)] {
            let found = histogram.quantile(share).unwrap();
            assert!((exact..=exact + exact / FINE + 1).contains(&found), "{share}: {found}");
        }
        histogram.record(u64::MAX);
        assert!(histogram.quantile(1.0).unwrap() > 60_000_000_000, "more than a minute");
    }

    #[test]
    fn every_value_is_in_the_bucket_that_ends_at_or_above_it() {
        let mut before = 0;
        for value in (0..4096).chain((12..36).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])) {
            let at = bucket(value);
            assert!(at >= before && upper(at) >= value && (at == 0 || upper(at - 1) < value), "{value}");
            before = at;
        }
    }
}
