//! Leaving the listeners to another process, and going on with those of the one before.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use socket2::Socket;
use tokio::{sync::mpsc, time::sleep};

use super::{Running, serving::Serving};
use crate::{
    config::CookieSecret,
    server::{
        Transport,
        tcp::{Inbox, Passed},
    },
};

/// How often it is looked at whether all workers have ended.
const LOOK: Duration = Duration::from_millis(5);

impl Running {
    /// The sockets of all listeners once more, for another process. Their order is that of [`Running::hand_over`],
    /// whatever is changed until then.
    pub fn offer(&mut self) -> io::Result<Vec<OwnedFd>> {
        let sockets =
            || self.serving.iter().flat_map(|one| one.listener.sockets.iter().map(move |socket| (one, socket)));
        let descriptors = sockets().map(|(_, socket)| Ok(socket.try_clone()?.into())).collect::<io::Result<_>>()?;
        self.offered = sockets().map(|(serving, _)| serving.settings.clone()).collect();
        Ok(descriptors)
    }

    /// The secret made up for cookies, so that those it made stay good elsewhere.
    pub fn cookie_secret(&self) -> CookieSecret {
        self.secret
    }

    /// Which of the sockets that were inherited are served.
    pub fn claimed(&self) -> &[bool] {
        &self.claimed
    }

    /// Who takes connections for the workers of now.
    pub fn adopter(&self) -> Adopter {
        let tcp = self.serving.iter().filter(|serving| serving.listener.transport == Transport::Tcp);
        Adopter { listeners: tcp.map(|tcp| (tcp.listener.address, tcp.inboxes.clone())).collect(), next: 0 }
    }

    /// Leaves what comes from now on to the process that serves `claimed` of [`Running::offer`], and gives it the TCP
    /// connections as they come between two queries. Listeners that nobody claimed answer what they have received.
    /// Encrypted connections end within the time that stopping gives them: their state cannot be given away.
    pub fn hand_over(self, claimed: &[bool]) -> Leaving {
        let (heir, passed) = mpsc::unbounded_channel();
        let mut threads = self.leaving;
        let claimed = || self.offered.iter().zip(claimed).filter(|(_, is_claimed)| **is_claimed);
        for serving in self.serving {
            if claimed().any(|(settings, _)| Arc::ptr_eq(settings, &serving.settings)) {
                serving.stop.set_for(heir.clone());
            }
            threads.extend(Serving::stop(serving));
        }
        Leaving { passed, threads, _encryption: self.encryption }
    }
}

/// Listeners that another process goes on with.
pub struct Leaving {
    passed: mpsc::UnboundedReceiver<Passed>,
    threads: Vec<JoinHandle<()>>,
    /// Still presented to who has begun a handshake.
    _encryption: Option<crate::server::encrypted::Encryption>,
}

impl Leaving {
    /// Waits for connections to be passed on, up to `most` at once; none once all workers have ended, or it is time.
    pub async fn next(&mut self, most: usize, until: Instant) -> Vec<Passed> {
        let (mut passed, threads) = (Vec::new(), &self.threads);
        let ended = async {
            while Instant::now() < until && !threads.iter().all(JoinHandle::is_finished) {
                sleep(LOOK).await;
            }
        };
        let received = async {
            if self.passed.recv_many(&mut passed, most).await == 0 {
                // Nobody is left who could pass any on; others may have something to finish.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = received => {}
            () = ended => {}
        }
        while passed.len() < most
            && let Ok(one) = self.passed.try_recv()
        {
            passed.push(one);
        }
        passed
    }
}

/// Gives connections to workers.
#[derive(Clone, Debug)]
pub struct Adopter {
    listeners: Vec<(SocketAddr, Vec<Inbox>)>,
    next: usize,
}

impl Adopter {
    /// Has a worker of the connection's listener go on with it; where there is none, it is closed.
    pub fn adopt(&mut self, passed: Passed) -> io::Result<()> {
        let local = passed.local()?;
        let fits = |address: &SocketAddr| {
            let ip =
                address.ip().is_unspecified() && address.is_ipv4() == local.is_ipv4() || address.ip() == local.ip();
            ip && address.port() == local.port()
        };
        let listener = self.listeners.iter().find(|(address, _)| fits(address));
        let inboxes = listener.map(|(_, inboxes)| inboxes).filter(|inboxes| !inboxes.is_empty());
        let inboxes = inboxes.ok_or(io::ErrorKind::AddrNotAvailable)?;
        self.next = self.next.wrapping_add(1);
        prepare(&passed.socket)?;
        inboxes[self.next % inboxes.len()].put(passed)
    }
}

/// Whatever came with the descriptor: its turns never wait.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)
}
