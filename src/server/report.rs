//! What the server's limits did, for the log: a line a minute while they do anything.

use std::fmt::Write;

use super::{Closed, Counters, Outcome, RateLimited};

/// Tells what limits did since it was asked last.
#[derive(Debug)]
pub struct LimitReport {
    counters: Counters,
    told: Vec<u64>,
}

impl LimitReport {
    /// A report that begins now.
    pub fn new(counters: &Counters) -> Self {
        LimitReport { told: counts(counters).map(|(_, count)| count).collect(), counters: counters.clone() }
    }

    /// What limits did since then, such as `12 slipped by the rate limit, 2 may not ask`; nothing if they did nothing.
    pub fn since(&mut self) -> Option<String> {
        let mut line = String::new();
        for ((what, count), told) in counts(&self.counters).zip(&mut self.told) {
            let more = count - std::mem::replace(told, count);
            if more > 0 {
                let between = if line.is_empty() { "" } else { ", " };
                // Writing to a text does not fail.
                let _ = write!(line, "{between}{more} {what}");
            }
        }
        (!line.is_empty()).then_some(line)
    }
}

/// Everything told, in the order of the line.
fn counts(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    let limited = |what| counters.rate_limited(what);
    [
        ("slipped by the rate limit", limited(RateLimited::Slipped)),
        ("dropped by the rate limit", limited(RateLimited::Dropped)),
        ("the rate limit would have slipped", limited(RateLimited::WouldSlip)),
        ("the rate limit would have dropped", limited(RateLimited::WouldDrop)),
        ("may not ask", counters.get(Outcome::Denied)),
        ("asked to come back with a cookie", counters.get(Outcome::BadCookie)),
        ("TCP connections made room", counters.tcp(Closed::Evicted) + counters.tcp(Closed::Crowded)),
        ("replies the system did not take", counters.unsent()),
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::{super::Transport, *};

    #[test]
    fn only_what_happened_since_is_told() {
        let counters = Counters::default();
        let mut worker = counters.worker();
        let mut count = |outcome| {
            worker.count(Transport::Udp, outcome, 0);
            worker.block().clone()
        };
        count(Outcome::Denied);
        let mut report = LimitReport::new(&counters);
        assert_eq!(report.since(), None);
        let block = count(Outcome::Answered);
        block.rate_limited(RateLimited::WouldDrop);
        block.rate_limited(RateLimited::Passed);
        count(Outcome::Denied);
        assert_eq!(report.since().unwrap(), "1 the rate limit would have dropped, 1 may not ask");
        assert_eq!(report.since(), None);
    }
}
