//! Black-box tests: the real server over real sockets, against the simulated cluster.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test's unwrap is an assertion, its name its documentation")]

mod cli;
mod layering;
mod names;
mod protocol;
mod support;
mod transport;
mod zone_files;
