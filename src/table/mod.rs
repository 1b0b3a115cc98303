//! Everything all zones can answer, compiled to wire bytes: the one thing a query reads.
//!
//! ```text
//! ZoneConfig + StaticZone ──names──> ScopeNames ─┐
//! ClusterView ───────────────────────────────────┴─plan──> ZonePlan ──compile──> CompiledZone ─┐
//!                                                                     other zones' ────────────┴──> Table
//! ```
//!
//! Pure: no clock, no I/O, no async; seeds and epochs come in. A [`ZonePlan`] holds every decision and compares
//! cheaply, so that only a plan that differs is compiled, and only decks whose nodes differ are dealt again.
//!
//! | word | meaning |
//! |---|---|
//! | [`ScopeNames`] | which owner names stand for which chain, and which were refused |
//! | [`ZonePlan`] | every decision about one zone for one view |
//! | [`CompiledZone`] | one zone, as wire bytes |
//! | [`Entry`] | what one owner name has; an entry without answers is an empty non-terminal |
//! | [`NameIndex`] | the owner names of one zone, by hash |
//! | [`Deck`] | the dealt rows of one scope and address family, each row a complete answer section |
//! | view | clients that are given the same addresses of the nodes ([`Views`](crate::plan::Views)); numbered |
//! | seat | an address in a deck, and the node behind it, or several |
//! | [`Dealer`] | one worker's cursors: which row of each deck comes next |
//! | story | how the answers of a chain come about, for people |
//! | [`Body`] | everything of a fixed response behind its question, with the places of pointers to the apex |
//! | [`Remark`] | what an answer says of itself beyond its rcode: an extended DNS error |
//! | epoch | number of a compiled zone: grows with every change, and is the SOA serial |

mod compile;
mod dealer;
mod deck;
mod explain;
mod index;
mod lookup;
mod names;
mod plan;
mod records;
mod remark;
mod seats;
mod wire;

pub use compile::{CompiledZone, compile_zone, next_epoch};
pub use dealer::Dealer;
pub use deck::{Dealt, Deck, Row, Shape};
pub use explain::{ChainStory, FamilyStory, LevelStory, NodeStory, ViewStory, explain, story};
pub use index::NameIndex;
pub use lookup::{Answer, Entry, Found, Table, ZoneInTable};
pub use names::{Refusal, ScopeNames, conflicts, scope_names};
pub use plan::{NextChange, ZonePlan, ZoneSource};
pub use remark::{Remark, RemarkCode};
pub use wire::{Body, Part, QUESTION_OFFSET, Section, wire_name};
