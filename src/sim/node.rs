//! One node's port and the connections through it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Tls,
    counters::Tally,
    fault::Faults,
    http,
    membership::Membership,
    port::BACKLOG,
    tls::{self, Handshaking},
};

/// Connections one node holds at once; more wait in its accept queue. A process often may hold 1,024 descriptors in
/// all, and a poller or a test needs far fewer.
const MAX_CONNECTIONS: usize = 512;

/// Bytes of a request's head. A node is asked for short paths with few headers; real SDKs send about 1 KiB.
const MAX_HEAD: usize = 64 * 1024;

/// Pause after `accept` failed for want of descriptors, so that the task does not spin until some are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections of one node share.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: IpAddr,
    pub(super) tally: Arc<Tally>,
    pub(super) faults: watch::Sender<Faults>,
    /// Seconds by which its clock is ahead.
    pub(super) clock_offset: AtomicI64,
    pub(super) membership: Arc<Membership>,
    /// Where it serves https.
    pub(super) tls: RwLock<Option<Handshaking>>,
}

impl Node {
    /// Serves https so from the next connection on, or http. Sessions of before are not resumed.
    pub(super) fn set_tls(&self, tls: Option<&Tls>) -> io::Result<()> {
        let tls = tls.map(Tls::handshaking).transpose()?;
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        Ok(())
    }

    fn handshaking(&self) -> Option<Handshaking> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What time it is for this node.
    pub(super) fn now(&self) -> SystemTime {
        let offset = self.clock_offset.load(Relaxed);
        let by = Duration::from_secs(offset.unsigned_abs());
        let now = SystemTime::now();
        if offset < 0 { now - by } else { now + by }
    }
}

/// An open port: the task that accepts, and holds every connection accepted. Dropping it closes all of them soon;
/// [`OpenPort::close`] waits until that is done.
#[derive(Debug)]
pub(super) struct OpenPort {
    orders: mpsc::Sender<Order>,
    task: AbortOnDropHandle<()>,
}

/// Be silent, or speak again; answered when that is done.
#[derive(Debug)]
struct Order {
    silent: bool,
    done: oneshot::Sender<()>,
}

impl OpenPort {
    /// Starts to accept.
    pub(super) fn serve(listener: TcpListener, node: Arc<Node>) -> Self {
        let (orders, receiver) = mpsc::channel(1);
        let task = tokio::spawn(accept(listener, receiver, node));
        OpenPort { orders, task: AbortOnDropHandle::new(task) }
    }

    /// Stops accepting in a way that looks like lost packets from outside, or ends that.
    pub(super) async fn set_silent(&self, silent: bool) {
        let (done, is_done) = oneshot::channel();
        // Both fail only when the task is gone, and then there is nobody left to be silent.
        let _ = self.orders.send(Order { silent, done }).await;
        let _ = is_done.await;
    }

    /// Closes the port and cuts every connection; both are done when this returns.
    pub(super) async fn close(self) {
        drop(self.orders);
        // An error says that the task panicked or was aborted: closed all the same.
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, mut orders: mpsc::Receiver<Order>, node: Arc<Node>) {
    let mut connections = JoinSet::new();
    let mut silence: Option<Silence> = None;
    let mut plugs: Vec<SocketAddr> = Vec::new();
    loop {
        let accepting = silence.is_none() && connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            order = orders.recv() => {
                let Some(Order { silent, done }) = order else { break };
                match (silent, silence.take()) {
                    (true, None) => silence = Some(Silence::begin(&listener).await),
                    (true, kept) => silence = kept,
                    (false, Some(ended)) => plugs.extend(ended.end(&listener)),
                    (false, None) => {}
                }
                // The caller may have given up waiting.
                let _ = done.send(());
            }
            accepted = listener.accept(), if accepting => match accepted {
                Ok((_, peer)) if plugs.contains(&peer) => plugs.retain(|plug| *plug != peer),
                Ok((stream, peer)) => { connections.spawn(converse(stream, peer.ip(), Arc::clone(&node))); }
                Err(_) => time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Serves one connection until either side ends it. As in seastar, an idle connection lives for ever.
async fn converse(stream: TcpStream, client: IpAddr, node: Arc<Node>) {
    let _open = node.tally.open();
    // Without it a reply in two writes may wait for the client's delayed acknowledgement; slower, but still right.
    let _ = stream.set_nodelay(true);
    match node.handshaking() {
        None => serve(stream, client, &node).await,
        Some(tls) => {
            if let Some(stream) = tls::accept(tls, stream, &node.tally).await {
                serve(stream, client, &node).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, client: IpAddr, node: &Node) {
    let service = service_fn(|request| http::answer(node, client, request));
    // An error is the client's doing, or a body cut on purpose: the connection ends, which is all there is to do.
    let _ = http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), service).await;
}

/// A listener that does not react to new connections. Linux ignores the first packet of a handshake while the
/// accept queue is full, so the queue is made as short as it gets and plugged with connections of our own.
#[derive(Debug)]
struct Silence {
    plugs: Vec<TcpStream>,
}

impl Silence {
    /// Plugs that may be needed. A queue of length 0 holds one connection on Linux.
    const MAX_PLUGS: usize = 4;

    /// A connection on the loopback that is not established by then is not going to be.
    const PLUGGED: Duration = Duration::from_millis(100);

    async fn begin(listener: &TcpListener) -> Self {
        let mut plugs = Vec::new();
        if set_backlog(listener, 0).is_ok()
            && let Ok(at) = listener.local_addr()
        {
            while plugs.len() < Self::MAX_PLUGS
                && let Ok(Ok(plug)) = time::timeout(Self::PLUGGED, TcpStream::connect(at)).await
            {
                plugs.push(plug);
            }
        }
        Silence { plugs }
    }

    /// Ends it; returns the plugs' addresses, whose connections are still to be accepted, and are nobody's.
    fn end(self, listener: &TcpListener) -> Vec<SocketAddr> {
        // Left short, the queue still serves clients that come one at a time.
        let _ = set_backlog(listener, BACKLOG);
        self.plugs.iter().filter_map(|plug| plug.local_addr().ok()).collect()
    }
}

/// Sets the length of the accept queue: to listen again on a listening socket is allowed and changes nothing else.
fn set_backlog(listener: &TcpListener, backlog: i32) -> io::Result<()> {
    SockRef::from(listener).listen(backlog)
}
