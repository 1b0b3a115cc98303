//! Topology, health and overrides, as one value.

use std::{sync::Arc, time::SystemTime};

use super::{Health, Overrides, Topology};

/// Everything known of one zone's cluster at one moment; what a Table is compiled from.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Which nodes exist and where.
    pub topology: Arc<Topology>,
    /// What our probes believe of them.
    pub health: Arc<Health>,
    /// What operators forced; of all zones.
    pub overrides: Arc<Overrides>,
    /// The moment: what has a date is judged by it.
    pub now: SystemTime,
}

impl Default for ClusterView {
    fn default() -> Self {
        ClusterView {
            topology: Arc::default(),
            health: Arc::default(),
            overrides: Arc::default(),
            now: SystemTime::UNIX_EPOCH,
        }
    }
}
