//! Steering by hand: who is drained or held up, from commands, HTTP and a file.
//!
//! ```text
//! POST, DELETE /overrides ──┐
//! server.overrides (file) ──┼──> store ──Overrides (watch)──> controller
//! overrides.json ───────────┘      └──> overrides.json, log, journal
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | [`Override`](crate::model::Override) | one decision of an operator: drain or force up, whom, from when, until when |
//! | [`Order`] | the same as written, before it is judged |
//! | [`Store`] | all overrides; its task is their sole writer |
//! | origin | overrides of the API survive restarts; those of the file are replaced as a whole by each read |
//! | reach | the nodes that a target means now |
//! | [`Departures`] | until when the last answer that held an address may be believed somewhere |

mod api;
mod departures;
mod disk;
mod file;
mod keeper;
mod order;
mod reach;
mod standing;
mod store;

pub use api::{Api, List, Listed, Meant, RemoveReply, SetReply, routes};
pub use departures::{Answered, Departures};
pub use file::check;
pub use order::{Fault, Order, Span, Told};
pub use standing::{NodeStanding, Standing, State};
pub use store::{Kept, Options, Reading, Refused, Removed, Store, look, open};
