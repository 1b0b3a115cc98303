//! What happened lately, from what happened since the start.

use std::collections::{BTreeMap, VecDeque};

use crate::admin::Status;

/// Seconds over which rates are taken.
const WINDOW: f64 = 60.0;

/// The last looks at a server.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<Sample>);

#[derive(Debug)]
struct Sample {
    /// The server's process, so that another one's counters are not mistaken for this one's.
    pid: u32,
    uptime: f64,
    queries: u64,
    /// By zone and node.
    led: BTreeMap<(String, String), u64>,
}

impl Rates {
    /// Takes a look in.
    pub(super) fn add(&mut self, status: &Status) {
        let mut led = BTreeMap::new();
        for zone in &status.zones {
            led.extend(zone.nodes.iter().map(|node| ((zone.name.clone(), node.address.clone()), node.led)));
        }
        let (pid, uptime) = (status.server.pid, status.server.uptime);
        if self.0.back().is_some_and(|last| last.pid != pid) {
            self.0.clear();
        }
        self.0.push_back(Sample { pid, uptime, queries: status.queries.total, led });
        while self.0.front().is_some_and(|first| uptime - first.uptime > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Queries per second, from the last look but one to the last.
    pub(super) fn queries_per_second(&self) -> Option<f64> {
        let (last, before) = (self.0.back()?, self.0.get(self.0.len().checked_sub(2)?)?);
        let seconds = last.uptime - before.uptime;
        (seconds > 0.0).then(|| last.queries.saturating_sub(before.queries) as f64 / seconds)
    }

    /// How often a node led in the last minute; since the start, where there was one look only.
    pub(super) fn led(&self, zone: &str, node: &str, since_start: u64) -> u64 {
        let key = (zone.to_owned(), node.to_owned());
        match (self.0.front(), self.0.len()) {
            (Some(first), 2..) => since_start.saturating_sub(first.led.get(&key).copied().unwrap_or_default()),
            _ => since_start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{NodeStatus, ZoneStatus};

    fn look(pid: u32, uptime: f64, count: u64) -> Status {
        let node = NodeStatus { address: "10.0.0.1".to_owned(), led: count, ..NodeStatus::default() };
        let zone = ZoneStatus { name: "z".to_owned(), nodes: vec![node], ..ZoneStatus::default() };
        let mut status = Status { zones: vec![zone], ..Status::default() };
        (status.server.pid, status.server.uptime, status.queries.total) = (pid, uptime, count);
        status
    }

    #[test]
    fn rates_are_of_the_last_minute_of_one_process() {
        let mut rates = Rates::default();
        assert_eq!((rates.queries_per_second(), rates.led("z", "10.0.0.1", 7)), (None, 7));
        rates.add(&look(1, 10.0, 100));
        assert_eq!((rates.queries_per_second(), rates.led("z", "10.0.0.1", 100)), (None, 100));
        rates.add(&look(1, 12.0, 300));
        assert_eq!((rates.queries_per_second(), rates.led("z", "10.0.0.1", 300)), (Some(100.0), 200));
        rates.add(&look(1, 71.0, 310));
        assert_eq!(rates.led("z", "10.0.0.1", 310), 10, "the first look is more than a minute ago");
        rates.add(&look(2, 1.0, 5));
        assert_eq!((rates.queries_per_second(), rates.led("z", "10.0.0.1", 5)), (None, 5));
    }
}
