//! The running cluster and its switches.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock, atomic::AtomicI64},
};

use tokio::{sync::Mutex, sync::watch, time::Instant};

use super::{
    ClusterSpec, Counters, Fault, NodeSpec, SeenByOthers, State,
    counters::Tally,
    fault::Faults,
    membership::Membership,
    node::{Node, OpenPort},
    port::{self, ClosedPort},
};

/// A running simulated cluster. Dropping it stops every node and cuts every connection.
///
/// Everything can be switched while it runs; a switch has taken effect when its method returns, and holds until it
/// is switched back. Methods that name an address fail with [`io::ErrorKind::NotFound`] when no node has it.
#[derive(Debug)]
pub struct Cluster {
    port: u16,
    pub(super) membership: Arc<Membership>,
    nodes: RwLock<BTreeMap<IpAddr, Arc<Node>>>,
    /// Each node's port. Locked for the whole of a switch, so that two at once on one node follow each other.
    ports: Mutex<BTreeMap<IpAddr, Port>>,
}

#[derive(Debug)]
enum Port {
    Open(OpenPort),
    /// `None` where the closed port could not be held: it is then bound when the node starts.
    Closed(Option<ClosedPort>),
}

/// Starting and stopping.
impl Cluster {
    /// Starts every node. Fails when a node's address and port cannot be had; the error names both.
    pub async fn start(spec: ClusterSpec) -> io::Result<Self> {
        let addresses: Vec<IpAddr> = spec.nodes.iter().map(|node| node.address).collect();
        let (port, listeners) = port::listen_on_all(&addresses, spec.port)?;
        let cluster = Cluster {
            port,
            membership: Arc::new(Membership::new(&spec)),
            nodes: RwLock::default(),
            ports: Mutex::default(),
        };
        let mut ports = cluster.ports.lock().await;
        for (spec, listener) in spec.nodes.iter().zip(listeners) {
            let node = cluster.join(spec)?;
            let port = match spec.state.facts().open {
                true => Port::Open(OpenPort::serve(listener, node)),
                false => {
                    drop(listener);
                    Port::Closed(ClosedPort::bind(cluster.at(spec.address)).ok())
                }
            };
            ports.insert(spec.address, port);
        }
        drop(ports);
        Ok(cluster)
    }

    /// A node crashes: its port refuses, its connections are cut, and the others list it until the failure detector
    /// notices.
    pub async fn stop(&self, address: IpAddr) -> io::Result<()> {
        self.close(address).await?;
        self.membership.gossip().crash(address, Instant::now());
        Ok(())
    }

    /// A node says goodbye and stops: its port refuses, its connections are cut, and nobody lists it any more.
    pub async fn stop_gracefully(&self, address: IpAddr) -> io::Result<()> {
        self.close(address).await?;
        self.membership.gossip().announce_stop(address);
        Ok(())
    }

    /// A node is listed, but its port refuses and its connections are cut: one that starts and does not serve yet,
    /// or that runs without Alternator. [`Cluster::start_node`] opens the port.
    pub async fn list_without_serving(&self, address: IpAddr) -> io::Result<()> {
        self.set_state(address, State::Restarting).await
    }

    /// A node is in another state: what the others think of it and whether its port is open follow from that. A node
    /// that was stopped runs again where its new state is one of running nodes.
    pub async fn set_state(&self, address: IpAddr, state: State) -> io::Result<()> {
        self.node(address)?;
        if !state.facts().open {
            self.close(address).await?;
        }
        self.membership.gossip().set_state(address, state);
        if state.facts().open { self.open(address).await } else { Ok(()) }
    }

    /// A stopped node starts: listed, then serving. Its faults, if any, are still there. It is in the state it was
    /// in, or, where that one has a closed port, in [`State::Normal`].
    pub async fn start_node(&self, address: IpAddr) -> io::Result<()> {
        self.node(address)?;
        self.membership.gossip().revive(address);
        self.open(address).await
    }

    async fn open(&self, address: IpAddr) -> io::Result<()> {
        let node = self.node(address)?;
        let mut ports = self.ports.lock().await;
        let port = ports.get_mut(&address).ok_or_else(|| unknown(address))?;
        let Port::Closed(closed) = port else { return Ok(()) };
        // A new process has new keys of tickets.
        let tls = self.membership.gossip().member(address).and_then(|member| member.spec.tls.clone());
        node.set_tls(tls.as_ref())?;
        let listener = match closed.take() {
            Some(closed) => closed.listen()?,
            None => port::open(self.at(address))?,
        };
        let open = OpenPort::serve(listener, Arc::clone(&node));
        if node.faults.borrow().silent {
            open.set_silent(true).await;
        }
        *port = Port::Open(open);
        Ok(())
    }

    /// A new node joins: listed and serving, unless its state says otherwise.
    pub async fn add_node(&self, spec: &NodeSpec) -> io::Result<()> {
        let mut ports = self.ports.lock().await;
        if ports.contains_key(&spec.address) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is a node already", spec.address)));
        }
        let port = match spec.state.facts().open {
            true => Port::Open(OpenPort::serve(port::open(self.at(spec.address))?, self.join(spec)?)),
            false => {
                let closed = ClosedPort::bind(self.at(spec.address))?;
                self.join(spec)?;
                Port::Closed(Some(closed))
            }
        };
        ports.insert(spec.address, port);
        Ok(())
    }

    /// A node is decommissioned: listed by nobody, its port closed, its counters gone.
    pub async fn remove_node(&self, address: IpAddr) -> io::Result<()> {
        let mut ports = self.ports.lock().await;
        let port = ports.remove(&address).ok_or_else(|| unknown(address))?;
        self.membership.gossip().leave(address);
        if let Port::Open(open) = port {
            open.close().await;
        }
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
        Ok(())
    }

    async fn close(&self, address: IpAddr) -> io::Result<()> {
        let mut ports = self.ports.lock().await;
        let port = ports.get_mut(&address).ok_or_else(|| unknown(address))?;
        if let Port::Open(open) = std::mem::replace(port, Port::Closed(None)) {
            open.close().await;
            *port = Port::Closed(ClosedPort::bind(self.at(address)).ok());
        }
        Ok(())
    }

    fn join(&self, spec: &NodeSpec) -> io::Result<Arc<Node>> {
        let node = Arc::new(Node {
            address: spec.address,
            tally: Arc::new(Tally::default()),
            faults: watch::Sender::new(Faults::default()),
            clock_offset: AtomicI64::default(),
            membership: Arc::clone(&self.membership),
            tls: RwLock::default(),
        });
        node.set_tls(spec.tls.as_ref())?;
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).insert(spec.address, Arc::clone(&node));
        self.membership.gossip().join(spec);
        Ok(node)
    }
}

/// Faults, partitions, moves.
impl Cluster {
    /// Gives a node one more fault. It applies to the connections a node has, too.
    pub async fn inject(&self, address: IpAddr, fault: Fault) -> io::Result<()> {
        self.change_faults(address, |faults| faults.add(fault)).await
    }

    /// Gives every node one more fault.
    pub async fn inject_everywhere(&self, fault: Fault) -> io::Result<()> {
        for node in self.nodes() {
            self.inject(node.address, fault.clone()).await?;
        }
        Ok(())
    }

    /// Takes all faults from a node, and ends a partition for it. Starts nobody.
    pub async fn heal(&self, address: IpAddr) -> io::Result<()> {
        self.membership.gossip().rejoin(address);
        self.change_faults(address, |faults| *faults = Faults::default()).await
    }

    /// Cuts these nodes off: they serve, and see each other, but list nobody else. Whether the others still list
    /// them is chosen. [`Cluster::heal`] ends it, node by node.
    pub fn partition(&self, side: &[IpAddr], seen: SeenByOthers) -> io::Result<()> {
        for &address in side {
            self.node(address)?;
        }
        self.membership.gossip().cut_off(side, seen);
        Ok(())
    }

    /// Moves a node to another rack of its datacenter.
    pub fn move_to_rack(&self, address: IpAddr, rack: impl Into<String>) -> io::Result<()> {
        self.node(address)?;
        self.membership.gossip().move_to_rack(address, rack.into());
        Ok(())
    }

    async fn change_faults(&self, address: IpAddr, change: impl FnOnce(&mut Faults)) -> io::Result<()> {
        let node = self.node(address)?;
        let ports = self.ports.lock().await;
        node.faults.send_modify(change);
        if let Some(Port::Open(open)) = ports.get(&address) {
            let silent = node.faults.borrow().silent;
            open.set_silent(silent).await;
        }
        Ok(())
    }
}

/// What can be read.
impl Cluster {
    /// The port of every node.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a node with this address listens.
    pub fn at(&self, address: IpAddr) -> SocketAddr {
        SocketAddr::new(address, self.port)
    }

    /// The members, their places and states now, in the order of their addresses, whether they run or not.
    pub fn nodes(&self) -> Vec<NodeSpec> {
        self.membership.gossip().members().map(|member| member.spec.clone()).collect()
    }

    /// What a node was asked; all zero for an address without a node.
    pub fn counters(&self, address: IpAddr) -> Counters {
        self.node(address).map(|node| node.tally.read()).unwrap_or_default()
    }

    pub(super) fn node(&self, address: IpAddr) -> io::Result<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&address).cloned().ok_or_else(|| unknown(address))
    }
}

fn unknown(address: IpAddr) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{address} is no node of this cluster"))
}
