//! Topology and health, as one value.

use std::sync::Arc;

use super::{Health, Topology};

/// Everything known of one zone's cluster at one moment; what a Table is compiled from.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Which nodes exist and where.
    pub topology: Arc<Topology>,
    /// What our probes believe of them.
    pub health: Arc<Health>,
}
