//! Policy, computed: who is eligible, which level of a fallback chain serves, and in which order answers are dealt.
//! Pure: no clock, no I/O; randomness comes in as a seed.
//!
//! | word | meaning |
//! |---|---|
//! | [`Verdict`] | why one node is in or out of the answers |
//! | [`Census`] | the members of every scope, gathered once per plan |
//! | chain | the scopes tried in order; it starts at its head at every compile, which is automatic fail-back |
//! | [`ScopePlan`] | for one chain and each address family: the level in use and its nodes |
//! | last known good | what is served, marked stale, when no level of the chain has an eligible node |
//! | lent | what is answered of another zone's nodes, where the whole zone has none |
//! | [`Deal`] | rows of node indices in dealing order; the Table turns them into wire bytes |
//! | period | rows after which every node has led exactly as often as the others, or by its weight |
//! | [`Ramps`] | slow start: the nodes that came up just now, and how much of their share they have |
//! | [`Weights`] | how often each node of an answer leads |
//! | [`Views`] | which addresses of the nodes the clients of each network are given |
//! | seen | the address that a node has in a view, and its port |
//! | [`Ttl`] | how long an answer may be kept, and why no longer |

mod census;
mod deal;
mod eligibility;
mod lender;
mod ramp;
mod scope_plan;
mod ttl;
mod views;

pub use census::{Census, Nodes, incident_window};
pub use deal::{Deal, MAX_WEIGHT, deal, weigh};
pub use eligibility::{Verdict, Verdicts};
pub use lender::is_silent;
pub use ramp::{FULL_SHARE, Ramp, Ramps, Weights};
pub use scope_plan::{Family, FamilyPlan, ScopePlan, Serving, default_chain};
pub use ttl::{Ttl, TtlReason};
pub use views::{View, Views};
