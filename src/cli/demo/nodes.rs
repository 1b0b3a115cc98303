//! The simulated cluster with everybody who stops and starts its nodes: chaos, and the buttons of the status page.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    admin::{NodeSwitch, SwitchError},
    sim::{Cluster, NodeSpec},
};

/// The demo's cluster.
pub(super) struct DemoNodes {
    cluster: Cluster,
    stopped: Mutex<BTreeSet<IpAddr>>,
    /// Queries a second that the demo asks itself.
    asked: watch::Sender<u32>,
}

impl DemoNodes {
    pub(super) fn new(cluster: Cluster) -> Self {
        DemoNodes { cluster, stopped: Mutex::default(), asked: watch::Sender::new(0) }
    }

    /// The port of every node.
    pub(super) fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// How many queries a second are wanted, and when that changes.
    pub(super) fn wanted(&self) -> watch::Receiver<u32> {
        self.asked.subscribe()
    }

    /// The nodes that run, or those that do not.
    pub(super) fn that_run(&self, run: bool) -> Vec<NodeSpec> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        self.cluster.nodes().into_iter().filter(|node| stopped.contains(&node.address) != run).collect()
    }
}

#[async_trait]
impl NodeSwitch for DemoNodes {
    fn nodes(&self) -> Vec<(IpAddr, bool)> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        self.cluster.nodes().iter().map(|node| (node.address, !stopped.contains(&node.address))).collect()
    }

    async fn switch(&self, node: IpAddr, run: bool) -> Result<(), SwitchError> {
        let switched = if run { self.cluster.start_node(node).await } else { self.cluster.stop(node).await };
        switched.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SwitchError::Unknown(node),
            _ => SwitchError::Port(node, error),
        })?;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if run {
            stopped.remove(&node);
        } else {
            stopped.insert(node);
        }
        Ok(())
    }

    fn asked(&self) -> u32 {
        *self.asked.borrow()
    }

    fn ask(&self, per_second: u32) {
        self.asked.send_replace(per_second);
    }
}
