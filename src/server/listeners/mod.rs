//! The listeners: bound before anything is served, changed while they serve, stopped in order.
//!
//! ```text
//! configuration ── bind ──> Bound ── run ──> Running <── commit ── Prepared
//!                   ^                           └──────── prepare ────^
//!                   └ Inherited: sockets that somebody else has bound
//! ```
//!
//! | | |
//! |---|---|
//! | `Listener` | one transport on one address: its sockets, kept open here; each worker has a descriptor of its own of one |
//! | `Serving` | a listener at work: its settings, its threads, how they are stopped |
//! | [`Running`] | all listeners at work |
//! | [`Prepared`] | a change of them that nothing can fail at any more, and that has changed nothing yet |
//! | [`Inherited`] | open sockets from systemd or from a process that this one replaces |
//! | [`Leaving`] | listeners that another process goes on with, while this one finishes what it has begun |
//! | [`Adopter`] | gives this one's workers the connections of the process before |
//! | `Gate` | where new workers wait until their change is certain |
//! | [`Stop`] | tells the workers of one listener to end |

mod bound;
mod change;
mod error;
mod handover;
mod inherited;
mod running;
mod serving;
mod sockets;
mod stop;

pub use bound::{Bound, bind};
pub use change::Prepared;
pub use error::BindError;
pub use handover::{Adopter, Leaving};
pub use inherited::Inherited;
pub use running::Running;
pub(super) use stop::{Guard, Heir, Stop};
