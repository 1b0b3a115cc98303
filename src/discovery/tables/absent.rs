//! Which optional tables a node lacks, so that it is not asked for them in every round.

use std::{collections::BTreeMap, net::IpAddr, sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::{TableFailure, request::Table};

/// How long a node is believed to lack a table, or to deny it. An upgrade restarts the node, which takes longer than
/// to find it again; a GRANT is noticed within this time.
const BELIEVED: Duration = Duration::from_secs(60);

/// More entries than any cluster has optional tables.
const MAX_ENTRIES: usize = 20_000;

/// What nodes said of optional tables. Shared by all visits of a cluster, and held only to look something up.
#[derive(Debug, Default)]
pub(super) struct Absent(Mutex<BTreeMap<(IpAddr, Table), (Instant, TableFailure)>>);

impl Absent {
    /// What the node said of the table, while that is believed.
    pub(super) fn get(&self, node: IpAddr, table: Table) -> Option<TableFailure> {
        let known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.get(&(node, table)).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, failure)| failure.clone())
    }

    /// Remembers what the node says.
    pub(super) fn put(&self, node: IpAddr, table: Table, failure: TableFailure) {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if known.len() >= MAX_ENTRIES {
            known.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        }
        if known.len() < MAX_ENTRIES {
            known.insert((node, table), (Instant::now(), failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_node_lacks_is_believed_for_a_while() {
        let (absent, node) = (Absent::default(), IpAddr::from([10, 0, 0, 1]));
        let missing = TableFailure::Missing { table: Table::Topology.name() };
        absent.put(node, Table::Topology, missing.clone());
        assert_eq!(absent.get(node, Table::Topology), Some(missing));
        assert_eq!(absent.get(node, Table::ClientRoutes), None);
        assert_eq!(absent.get([10, 0, 0, 2].into(), Table::Topology), None);
        tokio::time::advance(BELIEVED).await;
        assert_eq!(absent.get(node, Table::Topology), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_grow_without_bound() {
        let absent = Absent::default();
        let missing = TableFailure::Missing { table: Table::Topology.name() };
        for number in 0..MAX_ENTRIES as u32 + 10 {
            absent.put(std::net::Ipv4Addr::from(number).into(), Table::Topology, missing.clone());
        }
        assert_eq!(absent.0.lock().unwrap().len(), MAX_ENTRIES);
        tokio::time::advance(BELIEVED).await;
        absent.put([10, 0, 0, 1].into(), Table::Topology, missing);
        assert_eq!(absent.0.lock().unwrap().len(), 1);
    }
}
