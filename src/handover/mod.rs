//! A new process takes the place of the running one without losing a query: `serve --replace`.
//!
//! Both have the same open sockets then, so what waits in them waits for either. The new process is given, over a Unix
//! socket, the descriptors and everything that is known of the zones' nodes, becomes ready while the old one goes on
//! serving, and only then serves. The old one leaves it what comes from there on, and TCP connections as soon as they
//! are between two queries. Until the very last message nothing has changed for the old process: whatever happens to
//! the new one, it goes on.
//!
//! ```text
//! new                                 old
//!  | ---- hello ------------------->   |  (or "refused", with the reason)
//!  | <--- offer, sockets -----------   |  serves
//!  |      loads, binds, settles        |  serves
//!  | ---- ready ------------------->   |  serves
//!  | <--- go -----------------------   |  serves
//!  | ---- serving ----------------->   |  serves no more: nothing new from here on
//!  | <--- connections ...              |  as they come between two queries
//!  | <--- done ---------------------   |  ends
//! ```
//!
//! Measured, with a replacement each second for a minute under 4,000 queries a second over each of UDP and TCP
//! (`tests/e2e/replace.sh`): 0 of 512,000 queries lost, no connection closed. The other way, where the new process binds
//! the same ports with SO_REUSEPORT and the old one then answers what it has received and ends, lost 235 queries over
//! TCP and closed each connection with every replacement (1,260 times), and the slowest reply over UDP took 365 ms
//! instead of 65; besides, any program of the same user could take a part of the queries that way.
//!
//! Encrypted connections cannot be given away: theirs end with the old process, and clients connect again. Over QUIC that
//! takes them a retry, for about a second: both processes read the same socket meanwhile, so a packet of a connection may
//! come to the one that does not know it.
//!
//! | word | meaning |
//! |---|---|
//! | [`Control`] | the socket where the running process is found, and who comes there |
//! | [`Offer`] | what the old process gives |
//! | [`Knowledge`] | what is known of one zone: its nodes, their health, its epoch |
//! | [`Predecessor`] | the process that is replaced, as the new one sees it |
//! | [`Successor`] | the new one, as the old one sees it |
//! | channel | messages with descriptors, bounded in size and time |
//!
//! Messages have a version; processes of different ones refuse each other before anything is given. Whoever comes must
//! be of the same user, or root (SO_PEERCRED). Where the new process is root, the old one must be
//! root's, or that of `[server] user`.

mod channel;
mod control;
mod knowledge;
mod message;
mod predecessor;
mod successor;

pub use channel::ChannelError;
pub use control::{Control, Event};
pub use knowledge::Knowledge;
pub use message::Offer;
pub use predecessor::{Predecessor, ReplaceError, ask, is_alive};
pub use successor::Successor;
