//! The encrypted transports: DNS over TLS (RFC 7858), over HTTPS (RFC 8484) and over QUIC (RFC 9250).
//!
//! Each gives the octets of a query to a `Responder`, as UDP and TCP do, so that replies are the
//! same. Each listener has threads of its own, each with a runtime of its own on which everything of a connection
//! happens; without addresses in `[server.tls]` there are none.
//!
//! ```text
//! files ──Watch──> Certificate <── every handshake
//!                                      │
//! Worker (a thread) ── Crew of tasks ──┼── tls ───┐
//!    with a Desk                       ├── https ─┼── Visit ──> Desk ──> Responder
//!                                      └── quic ──┘    └── Seat
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | `Certificate` | what all listeners present; replaced while they serve |
//! | `Watch` | looks at its files, and replaces it when they change |
//! | `Follower` | the thread on which that happens |
//! | `Encryption` | what all encrypted listeners have in common |
//! | `Session` | what the workers of one listener encrypt with |
//! | `Worker` | one thread of a listener: a runtime, a socket |
//! | `Crew` | a worker's tasks; a connection's ends alone, however it ends, any other that ends ends the worker |
//! | `Desk` | one listener on one worker, with a responder that nobody else uses |
//! | `Visit` | one connection, from before its handshake: how long it may stay, how it ended |
//! | `Seat` | its place among those of the listener; who is idle longest gives his to the next |
//! | [`Ending`] | how a connection ended, for counting |
//!
//! An idle connection costs some 31 KiB (TLS) or 37 KiB (HTTPS). What it may cost, at most: a TLS session; of its
//! queries not answered yet 4 KiB (TLS), 130 KiB (QUIC: 64 KiB on their way and sixteen of the longest) or 170 KiB
//! (HTTPS: these, and some 80 of 512 octets); and of its replies 130 KiB (TLS) or some 700 KiB (HTTPS, QUIC) not taken
//! yet, the latter only where names have answers of 64 KiB.

mod body;
mod certificate;
mod counters;
mod crew;
mod desk;
mod https;
mod listener;
mod message;
mod query_text;
mod quic;
mod reload;
mod seats;
mod tls;
mod worker;

pub use certificate::CertificateError;
pub use counters::{ConnectionCounters, Ending};
pub(super) use listener::{Credentials, Encryption, Session};
pub use listener::{SetupError, check};
