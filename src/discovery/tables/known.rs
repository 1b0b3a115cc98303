//! What nodes said of tables that need not be asked for in every round: those they lack, and what hardly changes.

use std::{collections::BTreeMap, net::IpAddr, sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::{TableFailure, request::Table, row::Row};

/// How long it is believed. A GRANT is noticed within this time, and so is an upgrade. Longer than the tables of a node rest
/// after failures (60 s at most): one too slow to answer for all tables in time has fewer of them left the next time.
const BELIEVED: Duration = Duration::from_secs(180);

/// More entries than any cluster has optional tables.
const MAX_ENTRIES: usize = 30_000;

/// Of each node and table. Shared by all visits of a cluster, and held only to look something up.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<(IpAddr, Table), (Instant, Answer)>>);

/// What a node said of a table.
type Answer = Result<Vec<Row>, TableFailure>;

impl Known {
    /// What the node said of the table, while that is believed.
    pub(super) fn get(&self, node: IpAddr, table: Table) -> Option<Answer> {
        let known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.get(&(node, table)).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, answer)| answer.clone())
    }

    /// Remembers what the node says.
    pub(super) fn put(&self, node: IpAddr, table: Table, answer: Answer) {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if known.len() >= MAX_ENTRIES {
            known.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        }
        if known.len() < MAX_ENTRIES {
            known.insert((node, table), (Instant::now(), answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: TableFailure = TableFailure::Missing { table: "system.topology" };

    #[tokio::test(start_paused = true)]
    async fn what_a_node_lacks_is_believed_for_a_while() {
        let (known, node) = (Known::default(), IpAddr::from([10, 0, 0, 1]));
        known.put(node, Table::Topology, Err(MISSING));
        assert_eq!(known.get(node, Table::Topology), Some(Err(MISSING)));
        assert_eq!(known.get(node, Table::ClientRoutes), None);
        assert_eq!(known.get([10, 0, 0, 2].into(), Table::Topology), None);
        tokio::time::advance(BELIEVED).await;
        assert_eq!(known.get(node, Table::Topology), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_grow_without_bound() {
        let known = Known::default();
        for number in 0..MAX_ENTRIES as u32 + 10 {
            known.put(std::net::Ipv4Addr::from(number).into(), Table::Topology, Err(MISSING));
        }
        assert_eq!(known.0.lock().unwrap().len(), MAX_ENTRIES);
        tokio::time::advance(BELIEVED).await;
        known.put([10, 0, 0, 1].into(), Table::Topology, Err(MISSING));
        assert_eq!(known.0.lock().unwrap().len(), 1);
    }
}
