//! Plain values that every other part talks about. No I/O, no async, no clock.
//!
//! | word | meaning |
//! |---|---|
//! | [`Node`] | one Alternator node: address, datacenter, rack |
//! | [`Scope`] | Cluster, Datacenter(dc) or Rack(dc, rack): the set of nodes a name stands for |
//! | [`Topology`] | which nodes exist and where: discovery's output |
//! | [`Told`] | what the cluster's tables tell of a node: its state, version, shards, other ways to it |
//! | [`Health`] | what our own probes believe of each node: the prober's output |
//! | [`Override`] | what an operator forced: a drain, a force-up; [`Overrides`]: all of them |
//! | [`ClusterView`] | Topology, Health and Overrides at one moment, one immutable value |
//! | [`Loan`] | the nodes of another zone that one with nothing may answer |
//! | [`Demand`] | whether anybody asks for a zone, so that its poller may idle |
//! | [`Prefix`] | addresses that begin with the same bits; [`Prefixes`]: a set of them; [`PrefixMap`]: values by prefix |
//! | [`Access`] | who may ask: allowed and denied by prefix |
//! | [`Slot`] | a small number for what comes and goes; [`Meter`]: those under which a zone and its nodes are counted |
//! | [`Histogram`] | how long things took, counted by fixed bounds |

mod access;
mod demand;
mod health;
mod histogram;
mod loan;
mod meter;
mod moment;
mod node;
mod overrides;
mod prefix;
mod scope;
mod slots;
mod target;
mod told;
mod topology;
mod view;

pub use access::{Access, Contradiction, Denied, Verdict};
pub use demand::Demand;
pub use health::{Failure, Health, NodeHealth, NodeState};
pub use histogram::{COMPILE_SECONDS, Histogram, HistogramSnapshot, REQUEST_SECONDS};
pub use loan::{LentView, Loan, Seen};
pub use meter::{Meter, NodeSlots};
pub use moment::{has_text, rfc3339, rfc3339_seconds};
pub use node::{Node, is_usable_address};
pub use overrides::{Action, ActionError, Origin, Override, Overrides};
pub use prefix::{Prefix, PrefixError, PrefixMap, Prefixes};
pub use scope::{Scope, ScopeError};
pub use slots::{Slot, Slots};
pub use target::{MAX_TARGET, Specificity, Target, TargetError};
pub use told::{Leaving, Route, Told};
pub use topology::{Listing, Member, Source, Topology};
pub use view::ClusterView;
