//! What must hold of any input: one module for each fuzz target.
//!
//! Each has a `check` that takes octets, panics where something does not hold, and otherwise tells what became of them.
//! The server's own tests replay the seeds through the same functions, so this is compiled there too, by its path.
#![allow(clippy::unwrap_used, missing_docs, reason = "a broken assumption is a finding; modules tell what they check")]
#![allow(unreachable_pub, reason = "compiled into the server's tests too, where nobody else uses it")]

pub mod config;
pub mod general;
#[path = "../../tests/kinds/mod.rs"]
mod kinds;
pub mod localnodes;
pub mod packet;
#[path = "../../src/server/equality/reading.rs"]
#[allow(dead_code, reason = "the server's own tests use the rest")]
mod reading;
pub mod reply;
pub mod seeds;
pub mod tables;
pub mod world;
pub mod zone;
