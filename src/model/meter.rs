//! Under which numbers queries for a zone are counted.

use std::{net::IpAddr, sync::Arc};

use super::{Slot, Slots};

/// Numbers of nodes, by zone and address: a node of two zones leads in each for itself.
pub type NodeSlots = Slots<(Arc<str>, IpAddr)>;

/// Under which numbers queries for one zone are counted: one for the zone, one for each of its nodes. The default counts
/// nothing by zone.
#[derive(Debug, Default)]
pub struct Meter(Option<Numbers>);

#[derive(Debug)]
struct Numbers {
    name: Arc<str>,
    zone: Arc<Slot>,
    nodes: Arc<NodeSlots>,
}

impl Meter {
    /// The meter of the zone of this name, with this number.
    pub fn new(name: Arc<str>, zone: Arc<Slot>, nodes: Arc<NodeSlots>) -> Self {
        Meter(Some(Numbers { name, zone, nodes }))
    }

    /// The zone's number; 0 for none.
    pub fn zone(&self) -> u32 {
        self.0.as_ref().map_or(0, |numbers| numbers.zone.number())
    }

    /// The number of a node of the zone; `None` where nothing is counted, or more nodes than can be.
    pub fn node(&self, address: IpAddr) -> Option<Arc<Slot>> {
        let numbers = self.0.as_ref()?;
        numbers.nodes.get((numbers.name.clone(), address))
    }
}
