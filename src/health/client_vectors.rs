//! The health of nodes as ScyllaDB's client libraries define it (the state transitions that its Python client
//! publishes for all of them), held against ours.
//!
//! A client sees its own traffic and probes of its own; we see probes alone, which stand for a client's connections. So
//! both kinds of theirs are one kind of ours. Its ACTIVE nodes get requests, and so do our Up ones; QUARANTINED nodes get
//! them after all active ones are used up, and DOWN ones never: both are out of our answers while anybody is Up.

use std::time::{Duration, SystemTime};

use super::{Probe, Thresholds, Tracker};
use crate::{
    health::Now,
    model::{Failure, NodeState},
};

/// A client's view of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theirs {
    Active,
    Quarantined,
    Down,
}
use Theirs::{Active, Down, Quarantined};

/// What is observed, one letter each: `s` and `f` = a request succeeds or fails, `S` and `F` = a probe does.
type Observations = &'static str;

/// One transition: its name, the state before, failures that take an active node down, successes that bring one back,
/// observations, the state after with its failures and successes in a row, and what we do otherwise and why.
type Vector = (&'static str, Theirs, u32, u32, Observations, (Theirs, u32, u32), Ours);

/// What we make of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// The node is in or out as theirs; its failures and successes in a row are counted alike.
    Alike,
    /// The node is in or out as theirs.
    AsFar(&'static str),
    /// The other way round.
    Otherwise(&'static str),
}
use Ours::{Alike, AsFar, Otherwise};

const ACTIVE_COUNT: &str = "an active node's successes are a constant of theirs; ours are counted";
const PROBES_DECIDE: &str = "their probes decide nothing for active nodes, having traffic; ours are all there is";
const NO_STAGE: &str = "what they confirm by a probe in quarantine, we confirm by the same probes as before: rise";
const NO_TRAFFIC: &str = "a late result of traffic is none of ours: there is one probe of a node at a time";

const VECTORS: [Vector; 16] = [
    ("active, failures below", Active, 3, 3, "ff", (Active, 2, 0), Alike),
    ("active, failures at", Active, 3, 3, "fff", (Down, 3, 0), Alike),
    ("active, success resets", Active, 3, 3, "fs", (Active, 0, 3), AsFar(ACTIVE_COUNT)),
    ("active, probes", Active, 3, 3, "FS", (Active, 0, 3), AsFar(PROBES_DECIDE)),
    ("quarantine, successes below", Quarantined, 3, 3, "ss", (Quarantined, 0, 2), Alike),
    ("quarantine, successes at", Quarantined, 3, 3, "sss", (Active, 0, 3), Alike),
    ("quarantine, failures below", Quarantined, 3, 3, "ff", (Quarantined, 2, 0), Alike),
    ("quarantine, failures at", Quarantined, 3, 3, "fff", (Down, 3, 0), Alike),
    ("quarantine, failure resets", Quarantined, 3, 3, "sf", (Quarantined, 1, 0), Alike),
    ("quarantine, probe succeeds", Quarantined, 3, 3, "S", (Active, 0, 3), Otherwise(NO_STAGE)),
    ("quarantine, probe fails", Quarantined, 3, 3, "F", (Quarantined, 0, 0), AsFar(PROBES_DECIDE)),
    ("down, recovery below", Active, 1, 2, "fS", (Down, 1, 1), AsFar(NO_STAGE)),
    ("down, recovery at", Active, 1, 2, "fSS", (Quarantined, 0, 0), Otherwise(NO_STAGE)),
    ("down, probe failure resets", Active, 1, 2, "fSF", (Down, 1, 0), AsFar(NO_STAGE)),
    ("down, traffic succeeds", Active, 1, 2, "fs", (Down, 1, 0), AsFar(NO_TRAFFIC)),
    ("down, traffic fails", Active, 1, 2, "ff", (Down, 1, 0), AsFar(NO_TRAFFIC)),
];

fn at(seconds: u64) -> Now {
    let moment = Duration::from_secs(seconds);
    let date = SystemTime::UNIX_EPOCH + moment;
    Now { moment, wall: date, date }
}

/// Our tracker after the observations.
fn replay(before: Theirs, thresholds: Thresholds, observations: Observations) -> Tracker {
    let mut tracker = Tracker::new(false, at(0));
    let mut second = 0;
    let mut observe = |tracker: &mut Tracker, succeeds: bool| {
        second += 1;
        let result = if succeeds { Ok(()) } else { Err(Failure::Closed) };
        tracker.record(Probe { started: at(second).moment, result }, at(second), thresholds);
    };
    if before == Active {
        (0..thresholds.rise).for_each(|_| observe(&mut tracker, true));
        assert_eq!(tracker.state(), NodeState::Up);
    }
    observations.chars().for_each(|letter| observe(&mut tracker, letter.eq_ignore_ascii_case(&'s')));
    tracker
}

#[test]
fn nodes_are_in_and_out_as_in_scylladb_s_clients() {
    for (name, before, fall, rise, observations, (after, failures, successes), ours) in VECTORS {
        let tracker = replay(before, Thresholds { rise, fall }, observations);
        let is_in = tracker.state() == NodeState::Up;
        let is_alike = is_in == (after == Active);
        match ours {
            Alike => {
                assert!(is_alike, "{name}: {:?}", tracker.state());
                assert_eq!((tracker.failures, tracker.successes), (failures, successes), "{name}");
            }
            AsFar(why) => assert!(is_alike, "{name}: {:?} ({why})", tracker.state()),
            Otherwise(why) => assert!(!is_alike, "{name}: no longer otherwise: {why}"),
        }
    }
}

/// Where we have one stage and they have two, the outcome is the same once theirs has confirmed by one more probe.
#[test]
fn a_node_that_recovers_is_in_as_soon_as_their_quarantine_is_over() {
    let tracker = replay(Active, Thresholds { rise: 3, fall: 1 }, "fSSS");
    assert_eq!(tracker.state(), NodeState::Up, "two probes to quarantine, one to validate it");
    let tracker = replay(Quarantined, Thresholds { rise: 1, fall: 3 }, "S");
    assert_eq!(tracker.state(), NodeState::Up, "a direct probe that succeeds admits at once");
}
