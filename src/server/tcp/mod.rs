//! TCP (RFC 7766): several queries per connection, answered in one write when they came in one read.
//!
//! Each worker is one thread with a listener and an epoll set of its own: a readable connection is read, answered and
//! written to on the spot, without a task to wake in between.
//!
//! What clients can do to each other is bounded (RFC 9210 sections 4.1 and 6): places, places of one client, octets held,
//! time. Where places run out, a new connection is accepted all the same, and the one that has gone longest without
//! completing a transaction gives way; so who asks is served, whatever others do without asking.
//!
//! | | |
//! |---|---|
//! | [`Worker`] | one thread's listener and connections |
//! | [`Listening`] | a listener that is ready for one |
//! | [`Connection`] | one client's connection: what of it is not answered or not sent yet |
//! | [`Desk`] | what the connections of a worker share: one buffer for reading, one for replies, the responder |
//! | [`Places`] | where connections are kept, whose they are, and which gives way |
//! | [`Limits`] | what bounds all of these |
//! | transaction | a whole query, answered, and the reply taken by the client's side of the connection |
//! | fresh | opened, or at the end of a transaction, a moment ago: a query may be under way |
//! | [`Passed`] | a connection on its way to another worker, most often of another process |
//! | [`Inbox`] | where a worker finds such connections |
//! | lingering | all is said; the client is to close its half before the rest is closed |
//! | [`Closed`] | why a connection was closed |

mod connection;
mod counters;
mod desk;
mod failure;
mod header;
mod limits;
mod passed;
mod places;
#[cfg(test)]
mod tests;
mod worker;

pub use counters::Closed;
pub(super) use counters::TcpCounters;
pub(super) use desk::Desk;
pub(super) use failure::{Failure, Seldom};
use limits::Limits;
pub(super) use passed::Inbox;
pub use passed::Passed;
pub(super) use worker::{Listening, serve};

#[cfg(doc)]
use self::{connection::Connection, places::Places, worker::Worker};
