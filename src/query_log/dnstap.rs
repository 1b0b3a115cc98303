//! The reader of dnstap, on a Unix socket.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    frames::{self, Control},
    outbox::Outbox,
};
use crate::server::Record;

/// Pause before another try to reach the reader.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long a reader may take to say that it takes dnstap.
const ACCEPT_WITHIN: Duration = Duration::from_secs(5);

/// The reader, looked for until it is there. Nothing here waits for it.
pub(super) struct DnstapOutput {
    path: PathBuf,
    identity: Option<Vec<u8>>,
    state: State,
    outbox: Outbox,
    is_failing: bool,
}

enum State {
    /// Nobody is there, or has been heard of since.
    Away { try_at: Instant },
    /// It has not said yet that it takes dnstap.
    Greeting { reader: UnixStream, since: Instant, received: Vec<u8> },
    /// It reads.
    Reading(UnixStream),
}

impl DnstapOutput {
    pub(super) fn new(path: PathBuf, identity: Option<&str>) -> Self {
        let state = State::Away { try_at: Instant::now() };
        let identity = identity.map(|identity| identity.as_bytes().to_vec());
        DnstapOutput { path, identity, state, outbox: Outbox::default(), is_failing: false }
    }

    /// Takes a record; whether there was room.
    pub(super) fn push(&mut self, record: &Record) -> bool {
        self.outbox.push(&frames::of(record, self.identity.as_deref()))
    }

    /// Writes what the reader takes without waiting: records written, and records dropped.
    pub(super) fn flush(&mut self) -> (u64, u64) {
        let told = self.step();
        match told {
            Ok(written) => (written, 0),
            Err((written, error)) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let socket = self.path.display();
                    tracing::warn!(%socket, %error, "no dnstap reader: what does not fit the buffer is dropped until there is one");
                }
                let was_reading = matches!(self.state, State::Reading(_));
                self.state = State::Away { try_at: Instant::now() + TRY_AGAIN };
                // What the next reader gets must begin with a frame.
                (written, if was_reading { self.outbox.clear().0 } else { 0 })
            }
        }
    }

    fn step(&mut self) -> Result<u64, (u64, io::Error)> {
        let failed = |error| (0, error);
        match &mut self.state {
            State::Away { try_at } if Instant::now() < *try_at => Ok(0),
            State::Away { .. } => {
                let reader = self.greet().map_err(failed)?;
                self.state = State::Greeting { reader, since: Instant::now(), received: Vec::new() };
                Ok(0)
            }
            State::Greeting { reader, since, received } => {
                if !hear(reader, *since, received).map_err(failed)? {
                    return Ok(0);
                }
                send_whole(reader, Control::Start).map_err(failed)?;
                let reader = reader.try_clone().map_err(failed)?;
                self.state = State::Reading(reader);
                self.is_failing = false;
                tracing::info!(socket = %self.path.display(), "a dnstap reader is there");
                Ok(0)
            }
            State::Reading(reader) => {
                let (written, result) = self.outbox.write_to(reader);
                result.map_or_else(|error| Err((written, error)), |()| Ok(written))
            }
        }
    }

    fn greet(&self) -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Fails at once where too many wait already.
        socket.connect(&SockAddr::unix(&self.path)?)?;
        let mut reader = UnixStream::from(OwnedFd::from(socket));
        send_whole(&mut reader, Control::Ready)?;
        Ok(reader)
    }

    /// Says goodbye.
    pub(super) fn finish(&mut self) {
        if let State::Reading(reader) = &mut self.state {
            // A reader that does not take it finds the end of the stream.
            let _ = send_whole(reader, Control::Stop);
        }
    }
}

/// Hears what the reader says; whether it takes dnstap.
fn hear(reader: &mut UnixStream, since: Instant, received: &mut Vec<u8>) -> io::Result<bool> {
    let mut octets = [0; frames::LONGEST_CONTROL];
    match reader.read(&mut octets) {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(read) => received.extend_from_slice(octets.get(..read).unwrap_or_default()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(error) => return Err(error),
    }
    match frames::is_accepted(received) {
        Ok(Some(())) => Ok(true),
        Ok(None) if since.elapsed() > ACCEPT_WITHIN => Err(ErrorKind::TimedOut.into()),
        Ok(None) => Ok(false),
        Err(why) => Err(io::Error::new(ErrorKind::InvalidData, why)),
    }
}

/// Sends a control frame, which fits the buffer of a socket that nothing waits in.
fn send_whole(reader: &mut UnixStream, kind: Control) -> io::Result<()> {
    reader.write_all(&frames::control(kind))
}
