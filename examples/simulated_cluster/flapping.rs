//! Nodes that go and come back.

use std::{io, time::Duration};

use alternator_dns::sim::{Cluster, ClusterSpec, NodeSpec};
use tokio::time;

/// Most changes a second; a change closes or opens a port, which takes well below a millisecond.
const MOST_CHANGES: u32 = 1000;

/// While nodes flap, at most one of so many is away, so that every rack of a large cluster keeps most of its nodes.
const AWAY_SHARE: usize = 20;

/// Nodes that go and come back at a steady rate.
pub(crate) struct Flapping {
    dice: fastrand::Rng,
    present: Vec<NodeSpec>,
    away: Vec<(NodeSpec, Away)>,
    most_away: usize,
    /// While it goes on.
    ticks: Option<time::Interval>,
    changes: u64,
}

/// How a node went, and so how it comes back.
enum Away {
    /// Its port refuses; the others may still list it.
    Stopped,
    /// It is no member any more.
    Left,
}

impl Flapping {
    pub(crate) fn new(spec: &ClusterSpec) -> Self {
        Flapping {
            dice: fastrand::Rng::with_seed(spec.seed),
            present: spec.nodes.clone(),
            away: Vec::new(),
            most_away: (spec.nodes.len() / AWAY_SHARE).max(1),
            ticks: None,
            changes: 0,
        }
    }

    pub(crate) fn begin(&mut self, per_second: u32) -> io::Result<()> {
        if !(1..=MOST_CHANGES).contains(&per_second) {
            return Err(io::Error::other(format!("not 1 to {MOST_CHANGES} changes a second")));
        }
        self.ticks = Some(time::interval(Duration::from_secs(1) / per_second));
        Ok(())
    }

    /// Waits for the next change; for ever while there is none.
    pub(crate) async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }

    /// One node goes, or one comes back.
    pub(crate) async fn change(&mut self, cluster: &Cluster) -> io::Result<()> {
        self.changes += 1;
        let none_to_go = self.present.is_empty() || self.away.len() >= self.most_away;
        if none_to_go || (!self.away.is_empty() && self.dice.bool()) {
            let at = self.dice.usize(..self.away.len());
            return self.bring_back(at, cluster).await;
        }
        let node = self.present.swap_remove(self.dice.usize(..self.present.len()));
        let away = match self.dice.u8(..3) {
            0 => cluster.stop(node.address).await.map(|()| Away::Stopped),
            1 => cluster.stop_gracefully(node.address).await.map(|()| Away::Stopped),
            _ => cluster.remove_node(node.address).await.map(|()| Away::Left),
        };
        self.away.push((node, away?));
        Ok(())
    }

    async fn bring_back(&mut self, at: usize, cluster: &Cluster) -> io::Result<()> {
        let (node, away) = self.away.swap_remove(at);
        match away {
            Away::Stopped => cluster.start_node(node.address).await?,
            Away::Left => cluster.add_node(&node).await?,
        }
        self.present.push(node);
        Ok(())
    }

    pub(crate) async fn end(&mut self, cluster: &Cluster) -> io::Result<String> {
        self.ticks = None;
        while !self.away.is_empty() {
            self.bring_back(0, cluster).await?;
        }
        Ok(format!("changes={}\n", self.changes))
    }
}
