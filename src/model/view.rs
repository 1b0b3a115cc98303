//! Topology, health and overrides, as one value.

use std::{sync::Arc, time::SystemTime};

use super::{Health, Loan, Overrides, Topology};

/// Everything known of one zone's cluster at one moment; what a Table is compiled from.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Which nodes exist and where.
    pub topology: Arc<Topology>,
    /// What our probes believe of them.
    pub health: Arc<Health>,
    /// What operators forced; of all zones.
    pub overrides: Arc<Overrides>,
    /// What the zone may borrow, should it have nothing; `None` where nobody lends.
    pub loan: Option<Arc<Loan>>,
    /// Nobody of the cluster has been heard for so long that it has to be given up, whether or not the prober is
    /// distrusted.
    pub unheard: bool,
    /// The moment: what has a date is judged by it.
    pub now: SystemTime,
}

impl Default for ClusterView {
    fn default() -> Self {
        ClusterView {
            topology: Arc::default(),
            health: Arc::default(),
            overrides: Arc::default(),
            loan: None,
            unheard: false,
            now: SystemTime::UNIX_EPOCH,
        }
    }
}
