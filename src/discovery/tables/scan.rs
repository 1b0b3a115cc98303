//! Reads a node's tables, page by page, within bounds of time and size.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use super::{
    TableFailure, TableView,
    credentials::{self, Keys},
    failure,
    join::{Tables, join, release_in},
    known::Known,
    page::{self, MAX_PAGES, MAX_ROWS},
    request::{self, Sender, Table},
    row::Row,
};
use crate::{config::Credentials, discovery::network::Network, model::Failure};

/// The longest all tables of a node may take. Five small pages take milliseconds; what takes longer than a single
/// request may is a node that answers drop by drop.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What every read of a cluster's tables needs.
#[derive(Debug)]
pub struct Reader {
    source: Option<Credentials>,
    /// The keys that were read last; `None` = to be read before the next request.
    keys: Mutex<Option<Arc<Keys>>>,
    known: Known,
    clock: fn() -> SystemTime,
}

impl Reader {
    /// A reader with these credentials; without any, requests are not signed.
    pub fn new(credentials: Option<&Credentials>) -> Self {
        Reader { source: credentials.cloned(), keys: Mutex::default(), known: Known::default(), clock: SystemTime::now }
    }

    #[cfg(test)]
    pub(super) fn with_clock(self, clock: fn() -> SystemTime) -> Self {
        Reader { clock, ..self }
    }

    /// The keys; read from their file where that was not done yet, or a node did not take what was in it.
    async fn keys(&self) -> Result<Option<Arc<Keys>>, TableFailure> {
        let Some(source) = &self.source else { return Ok(None) };
        let known = self.stored().clone();
        if known.is_some() {
            return Ok(known);
        }
        let source = source.clone();
        let read = tokio::task::spawn_blocking(move || credentials::read(&source));
        let Ok(read) = read.await else {
            return Err(TableFailure::Unreadable("the credentials were not read to their end".to_owned()));
        };
        let keys = Arc::new(read.map_err(TableFailure::Credentials)?);
        *self.stored() = Some(keys.clone());
        Ok(Some(keys))
    }

    /// Has the file read again before the next request: a secret that is changed on both sides is taken without a
    /// reload.
    fn forget_keys(&self) {
        if matches!(self.source, Some(Credentials::File(_))) {
            *self.stored() = None;
        }
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Option<Arc<Keys>>> {
        self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What the node's tables tell of the whole cluster. One request after another over one connection.
pub(in crate::discovery) async fn read(
    network: &impl Network,
    node: IpAddr,
    reader: &Reader,
) -> Result<TableView, TableFailure> {
    let keys = reader.keys().await?;
    let scan = Scan { network, node, reader, keys: keys.as_deref() };
    let view = tokio::time::timeout(READ_WITHIN, scan.view()).await.unwrap_or(Err(Failure::TimedOut.into()));
    if matches!(view, Err(TableFailure::Unauthorized(_))) {
        reader.forget_keys();
    }
    view
}

/// The release that the node runs, where it has the table that tells.
pub(super) async fn release(
    network: &impl Network,
    node: IpAddr,
    reader: &Reader,
) -> Result<Option<Arc<str>>, TableFailure> {
    let keys = reader.keys().await?;
    let scan = Scan { network, node, reader, keys: keys.as_deref() };
    let mut unread = Vec::new();
    let versions = tokio::time::timeout(READ_WITHIN, scan.optional(Table::Versions, &mut unread)).await;
    let versions = versions.unwrap_or(Err(Failure::TimedOut.into()))?;
    unread.pop().map_or_else(|| Ok(release_in(versions.as_deref().unwrap_or_default())), Err)
}

/// One node being read.
struct Scan<'a, N> {
    network: &'a N,
    node: IpAddr,
    reader: &'a Reader,
    keys: Option<&'a Keys>,
}

impl<N: Network> Scan<'_, N> {
    async fn view(&self) -> Result<TableView, TableFailure> {
        // The smallest first: what is refused is refused at once.
        let local = self.table(Table::Local).await?;
        let peers = self.table(Table::Peers).await?;
        let status = self.table(Table::ClusterStatus).await?;
        let mut unread = Vec::new();
        let topology = self.optional(Table::Topology, &mut unread).await?;
        let routes = self.optional(Table::ClientRoutes, &mut unread).await?;
        let versions = self.optional(Table::Versions, &mut unread).await?.unwrap_or_default();
        let tables = Tables { local, peers, status, topology, routes, versions };
        let view = join(&tables).map_err(TableFailure::Unreadable)?;
        Ok(TableView { unread, ..view })
    }

    /// A table that not every version has; `None` where it could not be read. Only a node that does not answer at all
    /// fails for it.
    async fn optional(&self, table: Table, unread: &mut Vec<TableFailure>) -> Result<Option<Vec<Row>>, TableFailure> {
        let known = self.reader.known.get(self.node, table);
        let answer = match known {
            Some(answer) => answer,
            None => match self.table(table).await {
                // A status is an answer, if one of a server in trouble with this table.
                Err(TableFailure::Node(failure)) if !matches!(failure, Failure::Status(_)) => {
                    return Err(TableFailure::Node(failure));
                }
                answer => {
                    let lasts = match &answer {
                        // What a node runs changes by a restart alone; the other tables tell of changes.
                        Ok(_) => table == Table::Versions,
                        // Too many requests at this moment, say, or a clock just set right, are over with the next one.
                        Err(failure) => matches!(failure, TableFailure::Missing { .. } | TableFailure::Denied { .. }),
                    };
                    if lasts {
                        self.reader.known.put(self.node, table, answer.clone());
                    }
                    answer
                }
            },
        };
        match answer {
            Ok(rows) => return Ok(Some(rows)),
            Err(TableFailure::Missing { .. }) => {}
            Err(failure) => unread.push(failure),
        }
        Ok(None)
    }

    /// All rows of a table.
    async fn table(&self, table: Table) -> Result<Vec<Row>, TableFailure> {
        let (mut rows, mut after) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let page = self.page(table, after.as_ref()).await?;
            if rows.len() + page.rows.len() > MAX_ROWS {
                return Err(TableFailure::Unreadable(format!("{} has more than {MAX_ROWS} rows", table.name())));
            }
            rows.extend(page.rows);
            match page.next {
                None => return Ok(rows),
                Some(next) if after.as_ref() == Some(&next) => {
                    return Err(TableFailure::Unreadable(format!("a page of {} leads to itself", table.name())));
                }
                next => after = next,
            }
        }
        Err(TableFailure::Unreadable(format!("{} has more than {MAX_PAGES} pages", table.name())))
    }

    async fn page(
        &self,
        table: Table,
        after: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Result<page::Page, TableFailure> {
        let sender = Sender { role: self.keys.map(|keys| keys.access_key_id.as_str()), now: (self.reader.clock)() };
        let body = request::body(table, after);
        let headers = request::headers(&self.network.host(self.node), &body, self.keys, sender.now)?;
        let reply = self.network.post(self.node, headers, body).await?;
        if reply.status != 200 {
            return Err(failure::of(&reply, table, &sender));
        }
        page::read(&reply.body).map_err(|what| TableFailure::Unreadable(format!("{}: {what}", table.name())))
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
