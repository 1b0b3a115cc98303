//! Which nodes exist and where, asked from the nodes themselves.
//!
//! | word | meaning |
//! |---|---|
//! | seed | an address or name where discovery may start; never a member by itself (`seeds`) |
//! | observer | a node asked this round (`observers`: who is asked, who rests after failures) |
//! | question, list | one `/localnodes` request and its parsed answer (`localnodes`) |
//! | view | the whole cluster as the tables of one node tell of it (`tables`) |
//! | visit | the questions one observer gets, one after another over one connection (`visit`) |
//! | round | everybody's answers, gathered within a patience (`round`; `poller` runs one after another) |
//! | home | the datacenter whose members a node votes on: named, nameless or not known yet (`membership`) |
//! | vote | one observer's answer about a home; half of them keep a member, more than half make one (`merge`, `groups`) |
//! | removal cap | more of a scope than this leaves only by a second round (`removal`) |
//! | view, turn | what an observer's tables tell (`tables`); when they are read in a visit (`views`) |
//! | basis | what discovery goes by: tables, or lists, and why (`basis`) |
//! | hearsay | what views tell of a member's state, and how well that is founded (`told`) |
//! | legacy | of a server: ignores `dc` and `rack`, and always tells its own datacenter |
//! | flat | of a cluster: all servers are legacy, so that no node's place is known |
//!
//! `membership`, `merge`, `removal`, `told` and `groups` are pure; `network` is the only part that touches one.

mod basis;
mod groups;
mod hosts;
mod localnodes;
mod look;
mod membership;
mod merge;
mod names;
mod network;
mod observers;
mod poller;
mod removal;
mod retention;
mod round;
mod seeds;
mod stats;
pub mod tables;
mod told;
mod views;
mod visit;

pub use basis::{Basis, Means};
pub use localnodes::LIMITS;
#[doc(hidden)] // for fuzz/
pub use localnodes::{List, read as read_list};
pub use look::list_of;
pub use poller::{Options, run};
pub use stats::Stats;
pub use visit::{Sight, look_at};
