//! TLS sessions that are resumed: the poller's and the prober's, one store for all nodes of a cluster.
//!
//! A resumed session spares a node half of its CPU for a handshake where its key is RSA's (a tenth with ECDSA), and us a
//! quarter to a half. Neither side looks at a certificate for it. So each node's sessions are forgotten after
//! [`VERIFY_EVERY`], and when anything about it fails: its certificate is then looked at again. Without that it never
//! would be, since each resumed session brings the means for the next.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    NamedGroup,
    client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};

/// How long sessions of a node are resumed until its certificate is looked at again. With the default interval of
/// probes, one handshake in sixty is a full one; and a certificate that has expired is noticed soon after those
/// clients notice that know no session.
pub const VERIFY_EVERY: Duration = Duration::from_secs(60);

/// Nodes whose sessions are kept: as many as the longest list that discovery takes. Others are not resumed.
const MOST_NODES: usize = 10_000;

/// Tickets kept for a node: one for the poller and one for the prober, each good for one handshake (RFC 8446 appendix
/// C.4), which brings new ones. A ticket is as long as the node likes, up to 64 KiB.
const TICKETS: usize = 2;

/// The sessions of all nodes of a cluster.
pub(super) struct Sessions {
    nodes: Mutex<BTreeMap<IpAddr, OfNode>>,
    verify_every: Duration,
}

/// The sessions of one node.
struct OfNode {
    /// When a full handshake began last, as far as known.
    verified: Instant,
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl OfNode {
    fn new(now: Instant) -> Self {
        OfNode { verified: now, group: None, tls12: None, tls13: VecDeque::new() }
    }

    fn forget(&mut self) {
        self.tls12 = None;
        self.tls13.clear();
    }
}

impl Sessions {
    pub(super) fn new(verify_every: Duration) -> Self {
        Sessions { nodes: Mutex::default(), verify_every }
    }

    /// The next handshake with a node is a full one.
    pub(super) fn forget(&self, node: IpAddr) {
        self.lock().remove(&node);
    }

    /// The lock is never held for longer than a look-up takes, and nothing panics under it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, OfNode>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, of: &OfNode, now: Instant) -> bool {
        now.saturating_duration_since(of.verified) >= self.verify_every
    }

    /// Changes what is kept of a node; nothing where there are too many.
    fn edit(&self, node: IpAddr, edit: impl FnOnce(&mut OfNode)) {
        let now = Instant::now();
        let mut nodes = self.lock();
        if !nodes.contains_key(&node) {
            // A new one comes seldom: the time to drop those that are of no use any more, such as of nodes that left.
            nodes.retain(|_, of| !self.is_over(of, now));
            if nodes.len() >= MOST_NODES {
                return;
            }
        }
        edit(nodes.entry(node).or_insert_with(|| OfNode::new(now)));
    }

    /// Takes what can be resumed of a node, unless its certificate is to be looked at again.
    fn take<T>(&self, node: IpAddr, take: impl FnOnce(&mut OfNode) -> Option<T>) -> Option<T> {
        let now = Instant::now();
        let mut nodes = self.lock();
        let of = nodes.get_mut(&node)?;
        if self.is_over(of, now) {
            of.forget();
        }
        take(of)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the keys.
        f.debug_struct("Sessions").field("nodes", &self.lock().len()).finish_non_exhaustive()
    }
}

/// How TLS gets at the sessions: of the one node that a name stands for, or of the node whose address was dialled.
#[derive(Debug)]
pub(super) struct Resumable {
    pub(super) sessions: Arc<Sessions>,
    /// `None` = the server's name is its address.
    pub(super) node: Option<IpAddr>,
}

impl Resumable {
    fn node(&self, name: &ServerName<'_>) -> Option<IpAddr> {
        match (self.node, name) {
            (Some(node), _) => Some(node),
            (None, ServerName::IpAddress(address)) => Some((*address).into()),
            (None, _) => None,
        }
    }

    fn edit(&self, name: &ServerName<'_>, edit: impl FnOnce(&mut OfNode)) {
        if let Some(node) = self.node(name) {
            self.sessions.edit(node, edit);
        }
    }
}

impl ClientSessionStore for Resumable {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.edit(&name, |of| of.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.lock().get(&self.node(name)?)?.group
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.edit(&name, |of| of.tls12 = Some(session));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        // Asked for where there is no ticket of TLS 1.3: without a session, the handshake that follows is a full one.
        self.sessions.take(self.node(name)?, |of| {
            if of.tls12.is_none() {
                of.verified = Instant::now();
            }
            of.tls12.clone()
        })
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.edit(name, |of| of.tls12 = None);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.edit(&name, |of| {
            of.tls13.truncate(TICKETS - 1);
            of.tls13.push_front(ticket);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.sessions.take(self.node(name)?, |of| of.tls13.pop_front())
    }
}
