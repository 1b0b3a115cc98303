//! Who is asked: what is known of each node as an observer, and the choice among them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tracing::info;

use super::{localnodes::List, tables::TableFailure};
use crate::model::Failure;

/// Observers per datacenter and round: the fewest among which one that errs is outvoted.
pub(super) const WANTED: usize = 3;

/// First pause of an observer that failed; doubled with each further failure.
const FIRST_REST: Duration = Duration::from_secs(1);

/// Longest pause: a node that returns votes again after at most this long.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// How long it is believed that a node looks at `dc` and `rack`, or does not: an upgrade takes longer than this.
const CAPABILITY_AGE: Duration = Duration::from_secs(60);

/// Longest pause of tables that were too slow: they are read after the lists then, and delay nothing; and a machine that was
/// busy for a moment must not learn a minute late that a node is leaving.
const LONGEST_SLOW_REST: Duration = Duration::from_secs(5);

/// Longest pause until tables that could not be read are tried again; the first is [`FIRST_REST`].
const LONGEST_TABLE_REST: Duration = Duration::from_secs(60);

/// Whether a server looks at `dc` and `rack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capability {
    /// It does.
    Honours,
    /// It is legacy.
    Ignores,
}

/// A node that could be asked: address and rack.
pub(super) type Candidate = (IpAddr, Option<Arc<str>>);

/// What is known of the nodes as observers.
#[derive(Debug, Default)]
pub(super) struct Observers(HashMap<IpAddr, Record>);

#[derive(Debug, Default)]
struct Record {
    /// Number of the round it was last asked in.
    last_asked: u64,
    in_flight: bool,
    /// Failures in a row.
    failures: u32,
    rests_until: Option<Instant>,
    capability: Option<Capability>,
    checked: Option<Instant>,
    reported_skips: bool,
    tables: Tables,
}

/// What is known of a node's tables.
#[derive(Debug, Default)]
struct Tables {
    /// They were read the last time they were tried.
    readable: bool,
    /// Reading them takes so long that it must not come before anything else.
    slow: bool,
    /// Failures in a row, and why the last one was.
    failures: u32,
    failure: Option<TableFailure>,
    rests_until: Option<Instant>,
}

/// Whether tables are to be read, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// They rest after a failure.
    Resting,
    /// Before anything else.
    Ready,
    /// After everything else.
    Slow,
}

impl Record {
    fn ignores_places(&self) -> bool {
        self.capability == Some(Capability::Ignores) && !self.tables.readable
    }
}

/// The pause after a failure that so many came before in a row.
fn rest(failures: u32, longest: Duration) -> Duration {
    FIRST_REST.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(longest)
}

/// What makes two failures the same: clocks go on.
pub(super) fn kind(failure: &TableFailure) -> String {
    match failure {
        TableFailure::Skew { .. } => "skew".to_owned(),
        failure => failure.to_string(),
    }
}

impl Observers {
    /// Whether a request to the node is under way.
    pub(super) fn in_flight(&self, node: IpAddr) -> bool {
        self.0.get(&node).is_some_and(|record| record.in_flight)
    }

    /// Whether the node rests after a failure.
    pub(super) fn rests(&self, node: IpAddr) -> bool {
        self.0.get(&node).and_then(|record| record.rests_until).is_some_and(|until| until > Instant::now())
    }

    /// A visit begins. The capability, if known well enough to act on it.
    pub(super) fn begin(&mut self, node: IpAddr, round: u64) -> Option<Capability> {
        let record = self.0.entry(node).or_default();
        record.last_asked = round;
        record.in_flight = true;
        let fresh = record.checked.is_some_and(|checked| checked.elapsed() < CAPABILITY_AGE);
        record.capability.filter(|_| fresh)
    }

    /// A visit ended.
    pub(super) fn end(&mut self, node: IpAddr, failure: Option<&Failure>) {
        let record = self.0.entry(node).or_default();
        record.in_flight = false;
        match failure {
            Some(failure) => {
                if record.failures == 0 {
                    info!(%node, %failure, "a node fails to tell its list of nodes");
                }
                record.rests_until = Some(Instant::now() + rest(record.failures, LONGEST_REST));
                record.failures = record.failures.saturating_add(1);
                // It may come back as another version.
                record.checked = None;
            }
            None => {
                if record.failures > 0 {
                    info!(%node, failures = record.failures, "a node tells its list of nodes again");
                }
                record.failures = 0;
                record.rests_until = None;
            }
        }
    }

    /// Notes whether a node looks at `dc` and `rack`; `None` leaves it open.
    pub(super) fn checked(&mut self, node: IpAddr, capability: Option<Capability>) {
        let record = self.0.entry(node).or_default();
        record.capability = capability;
        record.checked = capability.map(|_| Instant::now());
    }

    /// Whether the node was legacy when last asked, and has no tables that can be read: those know all places.
    pub(super) fn ignores_places(&self, node: IpAddr) -> bool {
        self.0.get(&node).is_some_and(Record::ignores_places)
    }

    /// The nodes that were legacy when last asked.
    pub(super) fn legacy(&self) -> BTreeSet<IpAddr> {
        self.0.keys().copied().filter(|&node| self.ignores_places(node)).collect()
    }

    /// Whether every server known is legacy; `None` while nothing is known of any.
    pub(super) fn flat(&self) -> Option<bool> {
        let mut known =
            self.0.values().filter(|record| record.capability.is_some() || record.tables.readable).peekable();
        known.peek()?;
        Some(known.all(Record::ignores_places))
    }

    /// Whether the node's tables are to be read now.
    pub(super) fn readiness(&self, node: IpAddr) -> Readiness {
        let Some(Record { tables, .. }) = self.0.get(&node) else { return Readiness::Ready };
        match tables.rests_until.is_some_and(|until| until > Instant::now()) {
            true => Readiness::Resting,
            false if tables.slow => Readiness::Slow,
            false => Readiness::Ready,
        }
    }

    /// The node's tables were read; `slow`: they took longer than what comes first may take.
    pub(super) fn read(&mut self, node: IpAddr, slow: bool) {
        self.0.entry(node).or_default().tables = Tables { readable: true, slow, ..Tables::default() };
    }

    /// The node's tables could not be read.
    pub(super) fn unread(&mut self, node: IpAddr, failure: TableFailure) {
        let Tables { failures, .. } = self.0.entry(node).or_default().tables;
        let slow = failure == TableFailure::Node(Failure::TimedOut);
        let longest = if slow { LONGEST_SLOW_REST } else { LONGEST_TABLE_REST };
        let tables = Tables {
            readable: false,
            slow,
            failures: failures.saturating_add(1),
            rests_until: Some(Instant::now() + rest(failures, longest)),
            failure: Some(failure),
        };
        self.0.entry(node).or_default().tables = tables;
    }

    /// Whether the tables of any node can be read.
    pub(super) fn any_readable(&self) -> bool {
        self.0.values().any(|record| record.tables.readable)
    }

    /// Why the tables of nodes cannot be read: what most of them say. What any request may fail with counts only where
    /// nobody says anything better.
    pub(super) fn why_unread(&self) -> Option<&TableFailure> {
        let mut counts: BTreeMap<String, (bool, usize, &TableFailure)> = BTreeMap::new();
        for failure in self.0.values().filter_map(|record| record.tables.failure.as_ref()) {
            let says_why = !matches!(failure, TableFailure::Node(_));
            counts.entry(kind(failure)).or_insert((says_why, 0, failure)).1 += 1;
        }
        // The first by name among equals, so that it does not change from round to round.
        let best = counts.into_values().rev().max_by_key(|(says_why, count, _)| (*says_why, *count));
        best.map(|(.., failure)| failure)
    }

    /// Tells once per node that its lists hold odd entries.
    pub(super) fn report_skips(&mut self, node: IpAddr, list: &List) {
        let record = self.0.entry(node).or_default();
        if let Some(example) = &list.example
            && !record.reported_skips
        {
            record.reported_skips = true;
            info!(%node, skipped = list.skipped, ?example, "a list of nodes has entries that are no usable address");
        }
    }

    /// Forgets all nodes but these and those still being asked.
    pub(super) fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.0.retain(|&node, record| record.in_flight || keep(node));
    }

    /// Up to `wanted` of the candidates: first who was not asked for the longest time, so that everybody's turn
    /// comes, then others of racks not yet chosen, by the same order.
    pub(super) fn pick(&self, mut candidates: Vec<Candidate>, wanted: usize, rng: &mut fastrand::Rng) -> Vec<IpAddr> {
        rng.shuffle(&mut candidates);
        candidates.sort_by_key(|(node, _)| self.0.get(node).map_or(0, |record| record.last_asked));
        let mut picked = Vec::new();
        let mut per_rack: BTreeMap<Option<Arc<str>>, usize> = BTreeMap::new();
        while picked.len() < wanted {
            let crowd = |(_, rack): &Candidate| per_rack.get(rack).copied().unwrap_or(0);
            // The first of the least crowded: `min_by_key` keeps the earliest among equals.
            let Some(index) = (0..candidates.len()).min_by_key(|&index| crowd(&candidates[index])) else { break };
            let (node, rack) = candidates.remove(index);
            *per_rack.entry(rack).or_insert(0) += 1;
            picked.push(node);
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn candidates(racks: &[(u8, &str)]) -> Vec<Candidate> {
        racks.iter().map(|(last, rack)| (node(*last), Some((*rack).into()))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_is_asked_in_turn_and_racks_are_spread() {
        let all = candidates(&[(1, "a"), (2, "a"), (3, "a"), (4, "a"), (5, "b"), (6, "c")]);
        let mut observers = Observers::default();
        let mut asked = BTreeSet::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 1..=4 {
            let picked = observers.pick(all.clone(), WANTED, &mut rng);
            let racks: BTreeSet<_> =
                all.iter().filter(|(node, _)| picked.contains(node)).map(|(_, rack)| rack).collect();
            assert_eq!((picked.len(), racks.len()), (3, 3), "round {round}: {picked:?}");
            for &node in &picked {
                observers.begin(node, round);
                observers.end(node, None);
            }
            asked.extend(picked);
        }
        assert_eq!(asked.len(), 6, "four rounds reach the four nodes of the largest rack");
        assert_eq!(observers.pick(candidates(&[(1, "a")]), WANTED, &mut rng), [node(1)]);
        assert_eq!(observers.pick(candidates(&[(1, "a"), (2, "a"), (3, "a")]), 2, &mut rng).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_observer_rests_longer_each_time_up_to_a_bound() {
        let mut observers = Observers::default();
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            observers.begin(node(1), 1);
            observers.end(node(1), Some(&Failure::TimedOut));
            tokio::time::advance(Duration::from_secs(expected) - Duration::from_millis(1)).await;
            assert!(observers.rests(node(1)), "{expected}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!observers.rests(node(1)), "{expected}");
        }
        for _ in 0..100 {
            observers.end(node(1), Some(&Failure::Refused));
        }
        observers.end(node(1), None);
        assert!(!observers.rests(node(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_capability_is_checked_again_after_a_while_and_after_failures() {
        let mut observers = Observers::default();
        assert_eq!((observers.begin(node(1), 1), observers.flat()), (None, None));
        observers.checked(node(1), Some(Capability::Ignores));
        assert_eq!((observers.begin(node(1), 2), observers.flat()), (Some(Capability::Ignores), Some(true)));
        tokio::time::advance(CAPABILITY_AGE).await;
        assert_eq!(observers.begin(node(1), 3), None);
        assert!(observers.ignores_places(node(1)), "believed until it is asked again");
        observers.checked(node(1), Some(Capability::Honours));
        observers.checked(node(2), Some(Capability::Ignores));
        assert_eq!((observers.flat(), observers.legacy()), (Some(false), BTreeSet::from([node(2)])));
        observers.end(node(1), Some(&Failure::Closed));
        assert_eq!(observers.begin(node(1), 4), None);
        observers.end(node(1), None);
        observers.retain(|address| address == node(2));
        assert_eq!((observers.in_flight(node(1)), observers.flat()), (false, Some(true)));
    }
}
