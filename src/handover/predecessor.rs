//! The process that this one replaces.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::geteuid;
use tokio::{net::UnixStream, time::timeout};

use super::{
    Knowledge, Offer,
    channel::{Channel, ChannelError},
    message::{MAX_SOCKETS, Message, PROTOCOL},
};
use crate::server::Passed;

/// How long the old process may take to offer what it has. It does so between two other things it does, such as a
/// reload, and not before the one that it replaced itself has ended.
const OFFER_WITHIN: Duration = Duration::from_secs(15);

/// How long it may take to say that this one may serve, and the kernel to accept a message.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long it may say nothing while it finishes what it has begun: longer than it takes to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long connecting to a socket of this machine may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Why the running process is not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The socket.
    #[error("cannot replace the running process: {}: {source}", .path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody else's.
    #[error(
        "cannot replace the running process: {} is of user {uid}, and only a process of this user, of root or of whom \
         [server] user names is replaced",
        .path.display()
    )]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Who listens there.
        uid: u32,
    },
    /// It does not want to.
    #[error("the running process is not replaced: {0}")]
    Refused(String),
    /// It ended, or is not understood.
    #[error("cannot replace the running process: {0}")]
    Channel(#[from] ChannelError),
}

/// Whether somebody listens at this control socket.
pub async fn is_alive(path: &Path) -> bool {
    matches!(timeout(CONNECT_WITHIN, UnixStream::connect(path)).await, Ok(Ok(_)))
}

/// The process that this one replaces. It goes on serving if this is dropped before [`Predecessor::serving`].
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    path: PathBuf,
    pid: u32,
    version: String,
}

/// Whether a process of this user is trusted with what it offers: its sockets, and what is known of the zones.
fn is_trusted(peer: u32, own: u32, successor: Option<u32>) -> bool {
    // Root replaces a process that has given root up, to the user that this one will become.
    peer == own || peer == 0 || own == 0 && successor == Some(peer)
}

/// Asks the process at this control socket to be replaced; `None` where there is none. `successor` is the user that this
/// process is to become, where it is root.
pub async fn ask(path: &Path, successor: Option<u32>) -> Result<Option<(Predecessor, Offer)>, ReplaceError> {
    let failed = |source| ReplaceError::Socket { path: path.to_owned(), source };
    let connected = timeout(CONNECT_WITHIN, UnixStream::connect(path)).await;
    let stream = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let uid = stream.peer_cred().map_err(failed)?.uid();
    if !is_trusted(uid, geteuid().as_raw(), successor) {
        return Err(ReplaceError::Stranger { path: path.to_owned(), uid });
    }
    let mut channel = Channel::new(stream);
    let (version, pid) = (env!("CARGO_PKG_VERSION").to_owned(), std::process::id());
    channel.send(&Message::Hello { protocol: PROTOCOL, version, pid }, &[], ANSWER_WITHIN).await?;
    match channel.receive(OFFER_WITHIN).await?.0 {
        Message::Offer { version, pid, cookie_secret, zones, sockets, admin } => {
            let mut descriptors = receive_sockets(&mut channel, sockets.saturating_add(admin)).await?;
            let admin = descriptors.split_off(sockets);
            let zones = zones.into_iter().map(Knowledge::from).collect();
            let offer = Offer { sockets: descriptors, admin, cookie_secret, zones };
            Ok(Some((Predecessor { channel, path: path.to_owned(), pid, version }, offer)))
        }
        Message::Refused { reason } => Err(ReplaceError::Refused(reason)),
        other => Err(foreign(&other).into()),
    }
}

async fn receive_sockets(channel: &mut Channel, count: usize) -> Result<Vec<OwnedFd>, ChannelError> {
    if count > MAX_SOCKETS {
        return Err(ChannelError::Foreign(format!("{count} sockets")));
    }
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        match channel.receive(ANSWER_WITHIN).await? {
            (Message::Sockets, some) if !some.is_empty() && all.len() + some.len() <= count => all.extend(some),
            // Descriptors beyond what this process may have open are left out by the kernel.
            (Message::Sockets, _) => return Err(ChannelError::Foreign("sockets are missing or too many".to_owned())),
            (other, _) => return Err(foreign(&other)),
        }
    }
    Ok(all)
}

fn foreign(message: &Message) -> ChannelError {
    ChannelError::Foreign(format!("{message:?}"))
}

impl Predecessor {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Says that this process could serve at once, and waits for the word to do so. Where the other one has died
    /// meanwhile nobody is left to give it, and this process has all the sockets: it may.
    pub async fn ready(&mut self) -> Result<(), ReplaceError> {
        let asked = match self.channel.send(&Message::Ready, &[], ANSWER_WITHIN).await {
            Ok(()) => self.channel.receive(ANSWER_WITHIN).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok((Message::Go, _)) => Ok(()),
            Ok((Message::Refused { reason }, _)) => Err(ReplaceError::Refused(reason)),
            Ok((other, _)) => Err(foreign(&other).into()),
            Err(error) => self.unless_dead(error).await,
        }
    }

    /// Says that this process serves, on these of the sockets that were offered: the other one ends now. Where it has
    /// died nothing is lost by that; the error is that it lives and does not know, so that both would serve for ever.
    pub async fn serving(&mut self, claimed: &[bool]) -> Result<(), ReplaceError> {
        let serving = Message::Serving { claimed: claimed.to_vec() };
        match self.channel.send(&serving, &[], ANSWER_WITHIN).await {
            Ok(()) => Ok(()),
            Err(error) => self.unless_dead(error).await,
        }
    }

    /// The error, unless it is that the other process is dead.
    async fn unless_dead(&self, error: ChannelError) -> Result<(), ReplaceError> {
        let is_closed = matches!(error, ChannelError::Closed | ChannelError::Io(_));
        if !is_closed || is_alive(&self.path).await {
            return Err(error.into());
        }
        tracing::warn!(process = self.pid, "the process before has died: serving in its place");
        Ok(())
    }

    /// Connections to go on with; none once the other process has ended.
    pub async fn next(&mut self) -> Option<Vec<Passed>> {
        match self.channel.receive(END_WITHIN).await {
            Ok((Message::Connections { connections }, descriptors)) if connections.len() == descriptors.len() => {
                Some(connections.into_iter().zip(descriptors).map(|(one, socket)| one.with(socket)).collect())
            }
            Ok((Message::Done { queries }, _)) => {
                tracing::info!(process = self.pid, queries, "the process before has ended");
                None
            }
            Ok((other, _)) => {
                tracing::warn!(process = self.pid, "the process before says what is not understood: {other:?}");
                None
            }
            Err(error) => {
                tracing::warn!(process = self.pid, %error, "the process before has ended in the middle of something");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_trusts_root_and_whom_it_will_become() {
        assert!(is_trusted(0, 0, None) && is_trusted(0, 0, Some(7)) && is_trusted(7, 0, Some(7)));
        assert!(!is_trusted(8, 0, Some(7)) && !is_trusted(8, 0, None));
        assert!(is_trusted(8, 8, None) && is_trusted(0, 8, None));
        assert!(!is_trusted(7, 8, None) && !is_trusted(7, 8, Some(7)));
    }
}
