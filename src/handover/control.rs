//! The socket where the running process is found.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::process::geteuid;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Offer, Successor,
    channel::{Channel, ChannelError},
    message::{Message, PROTOCOL},
    predecessor::is_alive,
};

/// How long who connects may take to say what it wants. It says so at once.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// How long a new process may take to become ready: it loads, and then waits for zones that nothing is known of.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long it may take to serve once it may: threads that wait already begin.
const SERVING_WITHIN: Duration = Duration::from_secs(10);

/// How long whoever comes waits for another that is about to fail, or has just done so.
const TURN_WITHIN: Duration = Duration::from_millis(500);

/// How often that is looked at.
const TURN_LOOK: Duration = Duration::from_millis(10);

/// How long the kernel may take to accept a message.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Who is talked with at once; more wait.
const TALKS: usize = 8;

/// Pause after accept failed, out of descriptors most likely.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// What happens at the socket.
#[derive(Debug)]
pub enum Event {
    /// Somebody wants to replace this process: it is to be told what there is to have.
    Asked(oneshot::Sender<Offer>),
    /// It serves now.
    Serving(Successor),
}

/// The socket where the running process is found; whoever comes is talked with until this is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// Of the file, so that nobody else's is removed.
    inode: (u64, u64),
    events: mpsc::Receiver<Event>,
    talking: JoinHandle<()>,
}

impl Control {
    /// Opens it: for this user alone, in the place of what nobody listens at, never in that of another process' (an error
    /// of the kind `AddrInUse`), unless that one is replaced by this one: then `replaced` is cancelled once it has ended,
    /// and nobody replaces this one before, or connections that are still to come would be lost.
    pub async fn open(path: &Path, replaced: Option<CancellationToken>) -> io::Result<Self> {
        if replaced.is_none() && is_alive(path).await {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Made under another name first: it is never there without its mode, and whoever connects meets this process or
        // the one before, never nobody.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        let of = fs::symlink_metadata(&new)?;
        fs::rename(&new, path)?;
        let (send, events) = mpsc::channel(1);
        let talking = tokio::spawn(talk(listener, send, replaced));
        Ok(Control { path: path.to_owned(), inode: (of.dev(), of.ino()), events, talking })
    }

    /// Waits for what happens next.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.talking.abort();
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|of| (of.dev(), of.ino()) == self.inode);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn talk(listener: UnixListener, events: mpsc::Sender<Event>, replaced: Option<CancellationToken>) {
    let (talks, busy) = (Arc::new(Semaphore::new(TALKS)), Busy::default());
    loop {
        let Ok(talk) = talks.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (busy, events, replaced) = (busy.clone(), events.clone(), replaced.clone());
                tokio::spawn(async move {
                    let _talk = talk;
                    converse(stream, &busy, &events, replaced).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the control socket");
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, busy: &Busy, events: &mpsc::Sender<Event>, replaced: Option<CancellationToken>) {
    let is_allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw() || peer.uid() == 0);
    if !is_allowed {
        return;
    }
    let mut channel = Channel::new(stream);
    let Ok((Message::Hello { protocol, version, pid }, _)) = channel.receive(HELLO_WITHIN).await else {
        // It only looked whether somebody is here.
        return;
    };
    if let Some(replaced) = replaced {
        replaced.cancelled().await;
    }
    let refusal = match busy.take_soon(pid).await {
        _ if protocol != PROTOCOL => format!(
            "process {} is alternator-dns {}, which hands over in another way than {version}: stop and start it",
            std::process::id(),
            env!("CARGO_PKG_VERSION")
        ),
        Err(other) => format!("process {other} is replacing process {} already", std::process::id()),
        Ok(turn) => {
            tracing::info!(process = pid, version, "another process is about to replace this one");
            if let Err(error) = replace(channel, pid, turn, events).await {
                tracing::warn!(process = pid, %error, "the other process does not replace this one, which goes on");
            }
            return;
        }
    };
    let _ = channel.send(&Message::Refused { reason: refusal }, &[], SEND_WITHIN).await;
}

/// Offers what there is, and waits until the new process serves.
async fn replace(mut channel: Channel, pid: u32, turn: Turn, events: &mpsc::Sender<Event>) -> Result<(), ChannelError> {
    let (ask, offer) = oneshot::channel();
    if events.send(Event::Asked(ask)).await.is_err() {
        return Ok(());
    }
    let Ok(offer) = offer.await else {
        let reason = "it has no descriptors left, or is ending".to_owned();
        return channel.send(&Message::Refused { reason }, &[], SEND_WITHIN).await;
    };
    offer.send(&channel, SEND_WITHIN).await?;
    expect_ready(&mut channel).await?;
    channel.send(&Message::Go, &[], SEND_WITHIN).await?;
    match channel.receive(SERVING_WITHIN).await? {
        (Message::Serving { claimed }, _) => {
            let successor = Successor::new(channel, pid, claimed, turn);
            // Fails only where this process ends by itself just now.
            let _ = events.send(Event::Serving(successor)).await;
            Ok(())
        }
        (other, _) => Err(ChannelError::Foreign(format!("{other:?}"))),
    }
}

async fn expect_ready(channel: &mut Channel) -> Result<(), ChannelError> {
    match channel.receive(READY_WITHIN).await? {
        (Message::Ready, _) => Ok(()),
        (other, _) => Err(ChannelError::Foreign(format!("{other:?}"))),
    }
}

/// The process that is replacing this one; 0 for none.
#[derive(Clone, Debug, Default)]
struct Busy(Arc<AtomicU32>);

/// The right to replace this process, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn(Busy);

impl Busy {
    /// [`Busy::take`], with some patience.
    async fn take_soon(&self, pid: u32) -> Result<Turn, u32> {
        let soon = async {
            loop {
                match self.take(pid) {
                    Ok(turn) => return turn,
                    Err(_) => sleep(TURN_LOOK).await,
                }
            }
        };
        timeout(TURN_WITHIN, soon).await.or_else(|_| self.take(pid))
    }

    /// Takes it for this process, or tells who has it.
    fn take(&self, pid: u32) -> Result<Turn, u32> {
        self.0.compare_exchange(0, pid.max(1), Relaxed, Relaxed)?;
        Ok(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.store(0, Relaxed);
    }
}
