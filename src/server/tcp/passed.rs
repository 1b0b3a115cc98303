//! Connections on their way from one worker to another: of this process, or of the one that replaces it.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mio::Waker;
use socket2::Socket;

/// A connection between two queries: nothing of it is read and not answered, or answered and not sent.
#[derive(Debug)]
pub struct Passed {
    /// The connection.
    pub socket: Socket,
    /// The client; behind a proxy that has named one, that one.
    pub source: SocketAddr,
    /// The other side is a proxy that has not named its client yet.
    pub expects_header: bool,
    /// Queries so far.
    pub queries: u64,
    /// Since it was opened.
    pub age: Duration,
    /// Since it last had completed all transactions it had begun.
    pub idle: Duration,
}

impl Passed {
    /// The address of ours that it is connected to.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// Where a worker finds connections that come from elsewhere than its listener.
#[derive(Clone, Debug)]
pub(in crate::server) struct Inbox {
    /// `None` once its worker has ended.
    passed: Arc<Mutex<Option<Vec<Passed>>>>,
    waker: Arc<Waker>,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Self {
        Inbox { passed: Arc::new(Mutex::new(Some(Vec::new()))), waker: Arc::new(waker) }
    }

    /// Gives the worker a connection; where it has ended, the connection is closed.
    pub(in crate::server) fn put(&self, passed: Passed) -> io::Result<()> {
        let mut all = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        all.as_mut().ok_or(io::ErrorKind::NotConnected)?.push(passed);
        self.waker.wake()
    }

    /// What has come.
    pub(super) fn take(&self) -> Vec<Passed> {
        let mut all = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        all.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Nobody takes anything any more: what has come is closed, and so is what comes.
    pub(super) fn close(&self) {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
