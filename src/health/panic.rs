//! The judgement over a whole zone: is it the nodes that are silent, or is it us who hear nothing? Pure.
//!
//! More silent members than the threshold allows: distrust the prober. Two things make that harder than a comparison.
//!
//! **Entering.** When many nodes fall silent at one instant, the one probed first reaches its `fall` failures while
//! others have not failed once. Taken Down at once, it would leave the answers until panic brings it back. So a node
//! leaves Up for silence only once its silence cannot be the beginning of a panic. Let c be the moment at which the
//! first probe of its row of silent ones completed; the silence, whatever its cause, began before c. A result of
//! another node is *fresh* when its probe started at c or later. The node leaves only if the silent members, with all
//! those without a fresh result counted as silent too, do not exceed the threshold.
//!
//! Why no node is published Down before panic is declared: let the members S, more than the threshold allows, fall
//! silent at T, and let a node's row of silence begin by that. Then T <= c. A member of S with a fresh result was
//! probed at c >= T or later, so that result is silence; a member without one is counted as silent. All of S counts,
//! the node is held, and when the last of S has its fresh result, S is silent and that is panic. (A node whose row
//! began before T, by trouble of its own, may leave on its own account.)
//!
//! Why nobody is held for long: members without a fresh result are probed out of turn ([`Judgement::settled`] tells
//! the prober which). One whose probe is under way ends it within `timeout`; then, or at once, the next one starts, no
//! sooner than interval/10 after the previous start, and ends within another `timeout`. So after at most
//! 2 × timeout + interval/10 (and the wait for a free place where the members exceed the probes under way) all results
//! are fresh, and either more than the threshold are silent, which is panic, or the node leaves. In a cluster that is
//! well but for one node most results are fresh already and the rest take one round trip.
//!
//! **Leaving.** When the network returns, nodes come back one by one, and for a moment few are silent while some have
//! not yet answered `rise` times. So panic lasts until the silent share has been within the threshold for
//! (interval + timeout) × rise, long enough for every node that answers by then to become Up.
//!
//! **While the topology is stale** panic does not begin, since nobody is left who lists the silent nodes: those that
//! never answered, or left long ago, must not be dealt on its word. But the prober is distrusted as ever, so Up nodes
//! are held, and a panic that began goes on. So when all nodes fall silent, discovery's observers included, the same
//! nodes are Up before, during and after, however discovery's and the prober's time-outs interleave; that the topology
//! is stale tells readers that the answers are old. Evidence takes nodes out all the time.

use super::Moment;

/// What is known of one listed member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// Its last completed probe failed by silence.
    pub(super) silent: bool,
    /// When its last completed probe started; `None` when there is none.
    pub(super) started: Option<Moment>,
}

/// What the listed members' latest results say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Listed members.
    pub(super) listed: usize,
    /// Those of them that are silent.
    pub(super) silent: usize,
    /// More are silent than the threshold allows.
    pub(super) beyond: bool,
    /// Rows of silence whose first probe completed by then cannot be the beginning of a panic; `None` = any row may.
    pub(super) settled: Option<Moment>,
}

/// Judges the listed members.
pub(super) fn judge(members: impl Iterator<Item = Evidence>, threshold: f64) -> Judgement {
    let mut silent = 0;
    let mut others: Vec<Option<Moment>> = Vec::new();
    for member in members {
        if member.silent {
            silent += 1;
        } else {
            others.push(member.started);
        }
    }
    let listed = silent + others.len();
    let allowed = allowed(listed, threshold);
    // With `spare` further silent members the threshold would just hold. A row of silence that began by c is settled
    // when at most `spare` others have a result older than c: when the oldest but `spare` is not older.
    let settled = match allowed.checked_sub(silent) {
        None => None,
        Some(spare) if spare >= others.len() => Some(Moment::MAX),
        Some(spare) => *others.select_nth_unstable(spare).1,
    };
    Judgement { listed, silent, beyond: silent > allowed, settled }
}

/// The largest number of silent members that is no panic.
fn allowed(listed: usize, threshold: f64) -> usize {
    /// Keeps a product such as 0.29 × 100 = 28.999999999999996 from being rounded down to 28.
    const ROUNDING: f64 = 1e-9;
    (threshold * listed as f64 + ROUNDING) as usize
}

/// Whether the prober is distrusted, and since when it could be trusted again.
#[derive(Clone, Debug)]
pub(super) struct Panic {
    trust: Trust,
    calm_since: Option<Moment>,
    hold: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Trusted,
    /// Up nodes are held.
    Distrusted,
    /// Distrusted, and the cluster lists the silent nodes: panic.
    Panic,
}

/// Panic began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Silent nodes are dealt from now on.
    Began,
    /// The prober is trusted again.
    Ended,
}

impl Panic {
    /// No panic yet; one will last until the silent share has been within the threshold for `hold`.
    pub(super) fn new(hold: Moment) -> Self {
        Panic { trust: Trust::Trusted, calm_since: None, hold }
    }

    /// The same, where an earlier prober of this process left panic on.
    pub(super) fn resume(&mut self) {
        self.trust = Trust::Panic;
    }

    /// Takes the latest judgement.
    pub(super) fn update(&mut self, beyond: bool, stale: bool, now: Moment) -> Option<Turn> {
        let before = self.trust;
        if beyond {
            self.calm_since = None;
            let least = if stale { Trust::Distrusted } else { Trust::Panic };
            self.trust = self.trust.max(least);
        } else {
            self.calm_since.get_or_insert(now);
            if self.ends().is_some_and(|end| end <= now) {
                self.trust = Trust::Trusted;
            }
        }
        match (before == Trust::Panic, self.trust == Trust::Panic) {
            (false, true) => Some(Turn::Began),
            (true, false) => Some(Turn::Ended),
            _ => None,
        }
    }

    /// Whether panic is on.
    pub(super) fn active(&self) -> bool {
        self.trust == Trust::Panic
    }

    /// Whether Up nodes are held whatever their silence.
    pub(super) fn distrusted(&self) -> bool {
        self.trust != Trust::Trusted
    }

    /// When trust returns unless more nodes fall silent.
    pub(super) fn ends(&self) -> Option<Moment> {
        if self.distrusted() { self.calm_since.map(|since| since.saturating_add(self.hold)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn silent() -> Evidence {
        Evidence { silent: true, started: Some(seconds(100)) }
    }

    fn answered(started: u64) -> Evidence {
        Evidence { silent: false, started: Some(seconds(started)) }
    }

    #[test]
    fn more_than_the_threshold_is_beyond_and_exactly_the_threshold_is_not() {
        for (silent_ones, all, threshold, beyond) in [
            (5, 10, 0.5, false),
            (6, 10, 0.5, true),
            (1, 2, 0.5, false),
            (2, 3, 0.5, true),
            (1, 1, 0.5, true),
            (29, 100, 0.29, false),
            (30, 100, 0.29, true),
            (7, 7, 1.0, false),
            (1, 7, 0.0, true),
            (0, 7, 0.0, false),
            (0, 0, 0.5, false),
        ] {
            let members = (0..all).map(|index| if index < silent_ones { silent() } else { answered(1) });
            let judgement = judge(members, threshold);
            assert_eq!(judgement.beyond, beyond, "{silent_ones} of {all} at {threshold}");
            assert_eq!((judgement.silent, judgement.listed), (silent_ones, all));
            if beyond {
                assert_eq!(judgement.settled, None);
            }
        }
    }

    #[test]
    fn one_silent_node_of_three_is_settled_by_the_others_results() {
        let settled = |others: [Evidence; 2]| judge([silent(), others[0], others[1]].into_iter(), 0.5).settled;
        assert_eq!(settled([answered(7), answered(9)]), Some(seconds(7)));
        assert_eq!(settled([answered(7), Evidence { silent: false, started: None }]), None);
    }

    #[test]
    fn panic_ends_only_after_its_hold_and_any_relapse_starts_it_again() {
        let mut panic = Panic::new(seconds(4));
        assert_eq!(panic.update(false, false, seconds(0)), None);
        assert_eq!(panic.update(true, false, seconds(10)), Some(Turn::Began));
        assert_eq!(panic.ends(), None);
        assert_eq!(panic.update(false, false, seconds(11)), None);
        assert_eq!(panic.ends(), Some(seconds(15)));
        assert_eq!(panic.update(true, false, seconds(12)), None);
        assert_eq!(panic.update(false, false, seconds(14)), None);
        assert_eq!(panic.update(false, false, seconds(17)), None);
        assert!(panic.active());
        assert_eq!(panic.update(false, false, seconds(18)), Some(Turn::Ended));
        assert!(!panic.active() && panic.ends().is_none());
    }

    #[test]
    fn panic_goes_on_but_does_not_begin_while_the_topology_is_stale() {
        let mut panic = Panic::new(seconds(4));
        assert_eq!(panic.update(true, true, seconds(1)), None);
        assert!(panic.distrusted() && !panic.active());
        assert_eq!(panic.update(true, false, seconds(2)), Some(Turn::Began));
        assert_eq!(panic.update(true, true, seconds(3)), None);
        assert!(panic.active());
    }

    proptest! {
        #[test]
        fn settled_is_the_rule_spelt_out(
            members in prop::collection::vec((any::<bool>(), prop::option::of(0u64..20)), 0..20),
            threshold in 0.0f64..1.0,
            c in 0u64..20,
        ) {
            let members: Vec<Evidence> = members
                .iter()
                .map(|&(silent, started)| Evidence { silent, started: started.map(seconds) })
                .collect();
            let doubtful = members
                .iter()
                .filter(|member| member.silent || member.started.is_none_or(|started| started < seconds(c)))
                .count();
            let judgement = judge(members.iter().copied(), threshold);
            let may_leave = judgement.settled.is_some_and(|settled| seconds(c) <= settled);
            prop_assert_eq!(may_leave, doubtful as f64 <= threshold * members.len() as f64 + 1e-9);
        }
    }
}
