//! What goes wrong with a whole server.

use std::{io, time::Duration};

use crate::{
    admin,
    config::Problem,
    handover::ReplaceError,
    server::{BindError, encrypted::SetupError},
    service::user::UserError,
};

/// Why a server did not start, or did not take another configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Zone files or their fit with the configuration, and what nodes are verified by; where a server serves already, a
    /// certificate too.
    #[error("{}", lines(.0))]
    Zones(Vec<Problem>),
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The encrypted transports: an address, the certificate.
    #[error(transparent)]
    Encrypted(#[from] SetupError),
    /// The HTTP side: an address, the token.
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    /// The HTTP client towards the nodes.
    #[error("cannot set up TLS towards the nodes of {zone}: {reason}")]
    Client {
        /// The zone.
        zone: String,
        /// The library's reason.
        reason: String,
    },
    /// The user that the process is to become.
    #[error(transparent)]
    User(#[from] UserError),
    /// The process that should have been replaced.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// A zone has answers in the process that should have been replaced, and would have none in this one.
    #[error(
        "the running process is not replaced: it has nodes to answer for {zone} with, and this one has found none \
         within {within:?}: {reason}; mend seeds, port, scheme or datacenters of the zone, then replace it again"
    )]
    NobodyAnswers {
        /// The zone.
        zone: String,
        /// Why there is none.
        reason: String,
        /// How long they were looked for.
        within: Duration,
    },
    /// Threads.
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
}

/// A part of the server ended that never should.
#[derive(Debug, thiserror::Error)]
#[error("{0} ended unexpectedly")]
pub struct Ended(pub(super) String);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
