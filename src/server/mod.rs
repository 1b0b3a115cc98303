//! From a packet to its reply, and the sockets they travel over.
//!
//! ```text
//! udp (a thread per worker) ──┐                         ┌─ compiled answers: copied from the Table
//!                             ├─ Responder::respond ────┤
//! tcp (a thread per worker) ──┤        query: parse     └─ general: everything unusual, through hickory
//! encrypted (likewise) ───────┘                         reply: written with its EDNS options
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | [`Responder`] | one worker's answering state: the Table, its cursors, its counters |
//! | [`Query`] | a parsed packet |
//! | [`Asker`] | who sent a packet, and over which transport |
//! | [`Settings`] | what the operator chose about answering, the same for all workers of a listener |
//! | [`Outcome`] | what a query became, for counting; an rcode is a value, never an error |
//! | [`Closed`] | why a TCP connection was closed, for counting |
//! | proxy | stands between us and the client, and says in a header who that is; read in `proxy` |
//! | response rate limiting | what a flood of forged queries gets from us, in `rate_limit` |
//! | tap | where copies of queries and replies leave a worker, for the query log |
//! | [`encrypted`] | DNS over TLS, HTTPS and QUIC |
//! | general path | [`General`], through hickory's types over the same Table: ANY, aliases, explanations, meta types |
//!
//! Standards: RFC 1034/1035 (answers, TCP framing), 2181 (RRsets, additional data), 2308 (negative answers),
//! 4592 (wildcards), 4892 (CHAOS), 6891 (EDNS; its options are listed in `edns`), 7766 (TCP), 8020 (nothing below
//! NXDOMAIN), 8482 (ANY), 9619 (one question).

mod affinity;
mod asker;
mod chaos;
mod counters;
mod edns;
pub mod encrypted;
#[cfg(test)]
mod equality;
mod general;
mod limiter;
mod listeners;
mod malformed;
mod privileges;
mod proxy;
mod query;
mod rate_limit;
mod reply;
mod report;
mod respond;
mod settings;
mod tally;
mod tap;
mod tcp;
mod udp;

pub use asker::{Asker, Transport};
pub use counters::{Counters, LogOutput, Outcome, RateLimited, ZoneCounts};
pub use edns::Cookies;
pub use general::General;
pub use listeners::{Adopter, BindError, Bound, Inherited, Leaving, Prepared, Running, bind};
pub use query::{NameBuffer, Parsed, Query, parse};
pub use report::LimitReport;
pub use respond::Responder;
pub use settings::Settings;
pub use tap::{Record, Tapped, Taps};
pub use tcp::{Closed, Passed};
