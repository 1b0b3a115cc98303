//! The state machine of one node. Pure: results and moments in, transitions out.

use std::time::SystemTime;

use super::{Moment, Now};
use crate::model::{Failure, NodeHealth, NodeState};

/// How many results in a row decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    /// Successes in a row that make a node Up; at least 1.
    pub(super) rise: u32,
    /// Failures in a row that take an Up node Down; at least 1.
    pub(super) fall: u32,
}

/// A completed probe.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// When it started: what it says of the node is true of no earlier moment.
    pub(super) started: Moment,
    /// What came of it.
    pub(super) result: Result<(), Failure>,
}

/// How soon a node wants its next probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Never decided yet: fewer results than a decision needs.
    Undecided,
    /// Results are counted towards a change.
    Pending,
    /// Nothing is about to change.
    Steady,
}

/// What a result did to the node's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The state stays, the node's failure too.
    Nothing,
    /// The state stays, the node's failure is another one (or none any more).
    Failure,
    /// The state was left for another one.
    Left(NodeState),
}

/// What one node's probes said so far.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    state: NodeState,
    since: SystemTime,
    /// As published: kept from the first failure until a success that finds, or makes, the node Up.
    failure: Option<Failure>,
    served_until: Option<SystemTime>,
    /// Successes since the last failure; 0 when the last probe failed.
    successes: u32,
    /// Failures since the last success; 0 when the last probe succeeded.
    failures: u32,
    /// Results so far.
    results: u32,
    /// When the latest completed probe started.
    latest_started: Option<Moment>,
    /// When the latest success arrived.
    latest_success: Option<Now>,
    /// When the first probe of the present, unbroken row of silent ones completed.
    silent_since: Option<Moment>,
}

impl Tracker {
    /// A node never probed. With `served_before` it is known to have served an earlier run.
    pub(super) fn new(served_before: bool, now: Now) -> Self {
        Tracker {
            state: NodeState::Joining,
            since: now.date,
            failure: None,
            // The earliest time there is: it makes the node last known good while nothing better is known, and ranks
            // it below every node that this run has seen serving.
            served_until: served_before.then_some(SystemTime::UNIX_EPOCH),
            successes: 0,
            failures: 0,
            results: 0,
            latest_started: None,
            latest_success: None,
            silent_since: None,
        }
    }

    /// A node as an earlier prober of this process left it: a change of the prober's settings is no news of the node.
    ///
    /// The counts of results are not known any more. A failure that was published counts once, so that a node which
    /// died just before leaves no later than it would have; an Up that was published was confirmed a moment ago.
    pub(super) fn known(health: &NodeHealth, now: Now) -> Self {
        let is_silent = health.failure.as_ref().is_some_and(Failure::is_silence);
        Tracker {
            state: health.state,
            since: health.since.unwrap_or(now.date),
            failure: health.failure.clone(),
            served_until: health.served_until,
            successes: 0,
            failures: u32::from(health.failure.is_some()),
            results: 0,
            latest_started: None,
            latest_success: (health.state == NodeState::Up).then_some(now),
            silent_since: is_silent.then_some(now.moment),
        }
    }

    /// Takes a probe's result. Evidence takes effect here; silence only makes the node [`Tracker::is_ripe`].
    pub(super) fn record(&mut self, probe: Probe, now: Now, thresholds: Thresholds) -> Effect {
        self.results = self.results.saturating_add(1);
        self.latest_started = self.latest_started.max(Some(probe.started));
        match probe.result {
            Ok(()) => self.record_success(now, thresholds.rise),
            Err(failure) => self.record_failure(failure, now, thresholds.fall),
        }
    }

    fn record_success(&mut self, now: Now, rise: u32) -> Effect {
        self.failures = 0;
        self.silent_since = None;
        self.successes = self.successes.saturating_add(1);
        self.latest_success = Some(now);
        if self.state != NodeState::Up && self.successes < rise {
            return Effect::Nothing;
        }
        let had_failure = self.failure.take().is_some();
        match self.state {
            NodeState::Up if had_failure => Effect::Failure,
            NodeState::Up => Effect::Nothing,
            NodeState::Joining | NodeState::Down => self.enter(NodeState::Up, now),
        }
    }

    fn record_failure(&mut self, failure: Failure, now: Now, fall: u32) -> Effect {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let silence = failure.is_silence();
        self.silent_since = if silence { self.silent_since.or(Some(now.moment)) } else { None };
        let same = self.failure.as_ref().is_some_and(|old| same_kind(old, &failure));
        self.failure = Some(failure);
        if self.state == NodeState::Up && self.failures >= fall && !silence {
            return self.leave_up(now);
        }
        if same { Effect::Nothing } else { Effect::Failure }
    }

    /// Up, failed `fall` times in a row and silent: to be taken Down as soon as panic is ruled out.
    pub(super) fn is_ripe(&self, fall: u32) -> bool {
        self.state == NodeState::Up && self.failures >= fall && self.is_silent()
    }

    /// Takes an Up node Down.
    pub(super) fn leave_up(&mut self, now: Now) -> Effect {
        self.served_until = Some(self.latest_success.map_or(now.wall, |success| success.wall));
        self.enter(NodeState::Down, now)
    }

    fn enter(&mut self, state: NodeState, now: Now) -> Effect {
        self.since = now.date;
        Effect::Left(std::mem::replace(&mut self.state, state))
    }

    /// The node is a member again, after a time in which nobody probed it. Its history counts, but no row of results
    /// goes on across the gap, what it said last is no news of today, and an Up that no success confirmed since
    /// `trusted_from` is an Up no more: clients are sent to nodes that answer, not to nodes that used to.
    pub(super) fn resume(&mut self, trusted_from: Moment, now: Now) {
        self.successes = 0;
        self.failures = 0;
        self.silent_since = None;
        self.latest_started = None;
        let confirmed = self.latest_success.is_some_and(|success| success.moment >= trusted_from);
        if self.state == NodeState::Up && !confirmed {
            self.leave_up(now);
        }
    }

    /// Learns that the node served an earlier run.
    pub(super) fn served_before(&mut self) {
        self.served_until.get_or_insert(SystemTime::UNIX_EPOCH);
    }

    pub(super) fn state(&self) -> NodeState {
        self.state
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether the last completed probe failed by silence.
    pub(super) fn is_silent(&self) -> bool {
        self.silent_since.is_some()
    }

    /// When the first probe of the present row of silent ones completed.
    pub(super) fn silent_since(&self) -> Option<Moment> {
        self.silent_since
    }

    /// When the latest completed probe started.
    pub(super) fn latest_started(&self) -> Option<Moment> {
        self.latest_started
    }

    /// How soon the next probe should start. A ripe node is Steady: it waits for other nodes' results.
    pub(super) fn pace(&self, thresholds: Thresholds) -> Pace {
        match self.state {
            NodeState::Joining if self.results < thresholds.rise => Pace::Undecided,
            NodeState::Joining | NodeState::Down if self.successes > 0 => Pace::Pending,
            NodeState::Up if self.failures > 0 && self.failures < thresholds.fall => Pace::Pending,
            _ => Pace::Steady,
        }
    }

    /// The node's health as published.
    pub(super) fn health(&self) -> NodeHealth {
        NodeHealth {
            state: self.state,
            since: Some(self.since),
            failure: self.failure.clone(),
            served_until: self.served_until,
        }
    }
}

/// Whether two failures are the same to others. The text of a protocol failure is not compared: a node that sends
/// other garbage each time would cause a change each time.
fn same_kind(one: &Failure, other: &Failure) -> bool {
    match (one, other) {
        (Failure::Protocol(_), Failure::Protocol(_)) => true,
        _ => one == other,
    }
}

#[cfg(test)]
#[path = "client_vectors.rs"]
mod client_vectors;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { rise: 2, fall: 2 };

    fn at(seconds: u64) -> Now {
        let moment = Duration::from_secs(seconds);
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + moment;
        Now { moment, wall: date, date }
    }

    /// Feeds results one second apart, from second `from`; ripe nodes go Down at once.
    fn feed(tracker: &mut Tracker, from: u64, results: &[Result<(), Failure>], thresholds: Thresholds) {
        for (second, result) in (from..).zip(results) {
            let now = at(second);
            tracker.record(Probe { started: now.moment, result: result.clone() }, now, thresholds);
            if tracker.is_ripe(thresholds.fall) {
                tracker.leave_up(now);
            }
        }
    }

    fn up() -> Tracker {
        let mut tracker = Tracker::new(false, at(0));
        feed(&mut tracker, 0, &[Ok(()), Ok(())], THRESHOLDS);
        assert_eq!(tracker.state(), NodeState::Up);
        tracker
    }

    #[test]
    fn a_node_joins_by_its_own_answers() {
        let mut tracker = Tracker::new(false, at(0));
        feed(&mut tracker, 1, &[Err(Failure::Refused), Ok(()), Err(Failure::Refused), Ok(())], THRESHOLDS);
        assert_eq!(tracker.state(), NodeState::Joining);
        feed(&mut tracker, 5, &[Ok(())], THRESHOLDS);
        assert_eq!(
            tracker.health(),
            NodeHealth { state: NodeState::Up, since: Some(at(5).wall), failure: None, served_until: None }
        );
    }

    #[test]
    fn a_node_leaves_with_the_time_it_last_served() {
        let mut tracker = up();
        feed(&mut tracker, 7, &[Err(Failure::Refused)], THRESHOLDS);
        assert_eq!((tracker.state(), tracker.failure()), (NodeState::Up, Some(&Failure::Refused)));
        feed(&mut tracker, 8, &[Err(Failure::Closed)], THRESHOLDS);
        assert_eq!(
            tracker.health(),
            NodeHealth {
                state: NodeState::Down,
                since: Some(at(8).wall),
                failure: Some(Failure::Closed),
                served_until: Some(at(1).wall),
            }
        );
    }

    #[test]
    fn a_returning_node_keeps_its_failure_until_it_is_up() {
        let mut tracker = up();
        feed(&mut tracker, 7, &[Err(Failure::TimedOut), Err(Failure::TimedOut), Ok(())], THRESHOLDS);
        assert_eq!((tracker.state(), tracker.failure()), (NodeState::Down, Some(&Failure::TimedOut)));
        assert!(!tracker.is_silent(), "it answered: it no longer counts as silent");
        feed(&mut tracker, 10, &[Ok(())], THRESHOLDS);
        assert_eq!((tracker.state(), tracker.failure()), (NodeState::Up, None));
        assert_eq!(tracker.health().served_until, Some(at(1).wall), "history stays");
    }

    #[test]
    fn silence_only_makes_a_node_ripe_and_evidence_takes_it_down() {
        let mut tracker = up();
        for second in 2..9 {
            let probe = Probe { started: at(second).moment, result: Err(Failure::Unreachable) };
            let effect = tracker.record(probe, at(second), THRESHOLDS);
            assert_eq!(effect, if second == 2 { Effect::Failure } else { Effect::Nothing });
        }
        assert!(tracker.is_ripe(2) && tracker.state() == NodeState::Up);
        assert_eq!(tracker.silent_since(), Some(at(2).moment));
        let refused = Probe { started: at(9).moment, result: Err(Failure::Refused) };
        assert_eq!(tracker.record(refused, at(9), THRESHOLDS), Effect::Left(NodeState::Up));
    }

    #[test]
    fn a_protocol_failure_with_other_words_is_no_other_failure() {
        let mut tracker = up();
        let probe = |text: &str| Probe { started: at(2).moment, result: Err(Failure::Protocol(text.to_owned())) };
        let many = Thresholds { rise: 2, fall: 9 };
        assert_eq!(tracker.record(probe("a"), at(2), many), Effect::Failure);
        assert_eq!(tracker.record(probe("b"), at(3), many), Effect::Nothing);
    }

    #[test]
    fn paces_follow_what_is_pending() {
        let mut tracker = Tracker::new(false, at(0));
        assert_eq!(tracker.pace(THRESHOLDS), Pace::Undecided);
        let mut paces = Vec::new();
        let silent = || Err(Failure::TimedOut);
        let refused = || Err(Failure::Refused);
        for result in [silent(), silent(), Ok(()), Ok(()), refused(), refused(), Ok(()), Ok(())] {
            feed(&mut tracker, 1, &[result], THRESHOLDS);
            paces.push(tracker.pace(THRESHOLDS));
        }
        use Pace::*;
        assert_eq!(paces, [Undecided, Steady, Pending, Steady, Pending, Steady, Pending, Steady]);
    }

    #[test]
    fn a_snapshots_node_counts_as_last_known_good_below_all_others() {
        let tracker = Tracker::new(true, at(0));
        assert_eq!(tracker.state(), NodeState::Joining);
        let mut left = up();
        feed(&mut left, 3, &[Err(Failure::Refused), Err(Failure::Refused)], THRESHOLDS);
        left.served_before();
        assert!(tracker.health().served_until.is_some());
        assert!(tracker.health().served_until < left.health().served_until);
    }

    #[test]
    fn an_old_up_is_not_trusted_after_an_absence() {
        let mut recent = up();
        recent.resume(at(1).moment, at(2));
        assert_eq!(recent.state(), NodeState::Up);
        let mut old = up();
        old.resume(at(2).moment, at(50));
        assert_eq!((old.state(), old.health().served_until), (NodeState::Down, Some(at(1).wall)));
        feed(&mut old, 51, &[Ok(())], THRESHOLDS);
        assert_eq!(old.state(), NodeState::Down, "it has to answer `rise` times again");
    }

    #[test]
    fn a_node_known_from_an_earlier_prober_stays_what_it_was() {
        let good = Tracker::known(&up().health(), at(10));
        assert_eq!(good.health(), up().health());
        assert_eq!(good.pace(THRESHOLDS), Pace::Steady);
        let mut dying = up();
        feed(&mut dying, 5, &[Err(Failure::TimedOut)], THRESHOLDS);
        let mut dying = Tracker::known(&dying.health(), at(10));
        assert!(dying.state() == NodeState::Up && dying.is_silent() && !dying.is_ripe(THRESHOLDS.fall));
        feed(&mut dying, 11, &[Err(Failure::TimedOut)], THRESHOLDS);
        assert_eq!(dying.state(), NodeState::Down, "the failure before counts");
        let mut down = up();
        feed(&mut down, 5, &[Err(Failure::Refused), Err(Failure::Refused)], THRESHOLDS);
        let again = Tracker::known(&down.health(), at(10));
        assert_eq!((again.state(), again.health()), (NodeState::Down, down.health()));
        let mut died = Tracker::known(&up().health(), at(10));
        feed(&mut died, 11, &[Err(Failure::Refused), Err(Failure::Refused)], THRESHOLDS);
        assert_eq!(died.health().served_until, Some(at(10).wall), "it served until the settings changed");
    }

    fn failure() -> impl Strategy<Value = Failure> {
        prop_oneof![
            Just(Failure::Refused),
            Just(Failure::TimedOut),
            Just(Failure::Unreachable),
            Just(Failure::Status(500)),
            ".{0,3}".prop_map(Failure::Protocol),
        ]
    }

    fn result() -> impl Strategy<Value = Result<(), Failure>> {
        prop_oneof![Just(Ok(())), failure().prop_map(Err)]
    }

    proptest! {
        #[test]
        fn states_change_only_at_their_thresholds(
            results in prop::collection::vec(result(), 0..200), rise in 1u32..5, fall in 1u32..5,
        ) {
            let thresholds = Thresholds { rise, fall };
            let mut tracker = Tracker::new(false, at(0));
            for (index, result) in results.iter().enumerate() {
                let before = tracker.state();
                feed(&mut tracker, index as u64, std::slice::from_ref(result), thresholds);
                let row = |good: bool| {
                    results[..=index].iter().rev().take_while(|result| result.is_ok() == good).count() as u32
                };
                match (before, tracker.state()) {
                    (NodeState::Joining | NodeState::Down, NodeState::Up) => prop_assert!(row(true) >= rise),
                    (NodeState::Joining | NodeState::Down, _) => prop_assert!(row(true) < rise),
                    (NodeState::Up, NodeState::Down) => prop_assert!(row(false) >= fall),
                    (NodeState::Up, _) => prop_assert!(row(false) < fall),
                }
                prop_assert!(!(before != NodeState::Joining && tracker.state() == NodeState::Joining));
                prop_assert!(!(before == NodeState::Joining && tracker.state() == NodeState::Down));
                let failed = tracker.failure().is_some();
                prop_assert_eq!(tracker.is_silent(), result.as_ref().is_err_and(Failure::is_silence));
                prop_assert!(failed || result.is_ok());
                prop_assert!(!failed || result.is_err() || tracker.state() != NodeState::Up);
            }
        }

        #[test]
        fn a_node_that_never_answers_is_never_up(
            failures in prop::collection::vec(failure().prop_map(Err), 0..200),
        ) {
            let mut tracker = Tracker::new(false, at(0));
            for (index, failure) in failures.iter().enumerate() {
                feed(&mut tracker, index as u64, std::slice::from_ref(failure), Thresholds { rise: 1, fall: 1 });
                prop_assert_eq!(tracker.state(), NodeState::Joining);
            }
        }

        #[test]
        fn a_node_never_changes_faster_than_its_thresholds(
            results in prop::collection::vec(result(), 0..200), rise in 1u32..5, fall in 1u32..5,
        ) {
            let thresholds = Thresholds { rise, fall };
            let mut tracker = Tracker::new(false, at(0));
            let mut entered = 0;
            for (index, result) in results.iter().enumerate() {
                let before = tracker.state();
                feed(&mut tracker, index as u64, std::slice::from_ref(result), thresholds);
                if tracker.state() != before {
                    let least = if tracker.state() == NodeState::Up { rise } else { fall };
                    prop_assert!(index + 1 - entered >= least as usize);
                    entered = index + 1;
                }
            }
        }
    }
}
