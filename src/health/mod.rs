//! What our own probes believe of each node.
//!
//! | word | meaning |
//! |---|---|
//! | probe | one `GET /` to one node over a connection of its own; ends in success or in a [`Failure`] |
//! | silence | a failure that may be our own network's fault (timed out, unreachable); every other failure is evidence |
//! | tracker | the state machine of one node: probe results in, Joining / Up / Down out (pure) |
//! | roster | the trackers of a zone's members, and of those that left lately, with the judgement over all (pure) |
//! | panic | more members are silent than the threshold allows: the prober is distrusted, not the cluster |
//! | held | an Up node whose silence would take it Down, kept Up until panic is ruled out |
//! | schedule | when each node's next probe starts, and how many may be under way (pure) |
//! | prober | the task that probes, asks roster and schedule, and publishes [`Health`] |
//!
//! Facts flow one way: the schedule names a node, the prober probes it, the roster takes the result, and [`Health`] is
//! published when others would see a difference. Everything but the prober is free of clock and I/O: moments are
//! passed in, counted from the prober's start.
//!
//! What a reader of [`Health`] may rely on:
//!
//! - A node is Up only after `rise` probes in a row that it answered itself.
//! - `failure` of a node that is not Up stays until the node *is* Up, so that a node coming back from silence counts
//!   as silent until it may be dealt on its own merits. Under panic the nodes to deal are therefore the listed ones
//!   that are Up, and the listed ones whose `failure` is silence: nothing vanishes on its way from Down to Up.
//! - A node leaves Up for silence only when panic is ruled out; so no node is ever published Down for an outage that
//!   is about to be called a panic.
//! - `served_until` is when the node last answered a probe before it left Up. Nodes that die at one moment differ by
//!   at most 1.1 × interval + timeout. A node known only from the state file carries the Unix epoch: it served once,
//!   nobody knows when, and anything seen by this process is better evidence.
//!
//! [`Failure`]: crate::model::Failure
//! [`Health`]: crate::model::Health

mod log;
mod panic;
mod prober;
mod roster;
mod schedule;
mod stats;
mod tracker;

pub use prober::{Options, StartError, run};
pub use stats::{FailureCounts, Stats};

/// A moment, counted from the prober's start: the pure parts know no clock.
type Moment = std::time::Duration;

/// The present, as the pure parts are told it.
#[derive(Clone, Copy, Debug)]
struct Now {
    /// Since the prober's start: what decisions are made by.
    moment: Moment,
    /// The same as a date, counted from the start too: the order of two of them does not depend on when the machine's
    /// clock was set right.
    wall: std::time::SystemTime,
    /// What the machine's clock says: for people, and for what is compared with that clock.
    date: std::time::SystemTime,
}
