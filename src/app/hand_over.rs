//! Taking the place of a running process, and leaving one's own to another.

use std::{
    io,
    time::{Duration, Instant as SystemInstant},
};

use arc_swap::ArcSwap;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};

use super::{App, STOP_WITHIN, StartError, zones::Zones};
use crate::{
    admin::Listeners,
    config::CookieSecret,
    handover::{Knowledge, Offer, Predecessor, Successor},
    query_log::QueryLog,
    server::Adopter,
    service::{Passed, user::Identity},
    table::Table,
};

/// How long a new process waits for zones that nothing was told of, before it serves what is known. Two polls and the
/// probes of `rise` fit.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// How often that is looked at.
const SETTLE_LOOK: Duration = Duration::from_millis(10);

/// How long two processes may compile for themselves: from the offer until one of them ends.
pub(super) const OVERLAP: Duration = Duration::from_secs(SETTLE_WITHIN.as_secs() + 1);

/// How long the old process finishes what it has begun.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// What a server begins with beyond its configuration.
#[derive(Default)]
pub struct Beginning<'p> {
    /// Sockets of the listeners.
    pub passed: Vec<Passed>,
    /// Sockets of the HTTP side.
    pub admin: Listeners,
    /// What is known of the zones.
    pub zones: Vec<Knowledge>,
    /// With which cookies were made where no secret is configured.
    pub cookie_secret: Option<CookieSecret>,
    /// Whom the process becomes once everything is bound and read, before it serves.
    pub identity: Option<Identity>,
    /// Who serves until this one does.
    pub predecessor: Option<&'p mut Predecessor>,
}

impl<'p> Beginning<'p> {
    /// With what the running process offers, and sockets from elsewhere.
    pub fn after(predecessor: &'p mut Predecessor, offer: Offer, passed: Vec<Passed>) -> Self {
        let Offer { sockets, admin, cookie_secret, zones } = offer;
        let name = format!("a socket of process {}", predecessor.pid());
        let sockets = sockets.into_iter().map(|socket| Passed { name: name.clone(), socket });
        Beginning {
            passed: sockets.chain(passed).collect(),
            admin: Listeners::new(admin.into_iter().map(Into::into)),
            zones,
            cookie_secret: Some(cookie_secret),
            identity: None,
            predecessor: Some(predecessor),
        }
    }
}

/// Gives root up. Before anything is written or served, so that nothing of it is root's, and so that where it fails the
/// process before goes on.
pub(super) fn become_of(identity: Option<&Identity>) -> Result<(), StartError> {
    let Some(identity) = identity else { return Ok(()) };
    identity.assume()?;
    tracing::info!(user = identity.name(), "root is given up");
    Ok(())
}

/// Waits until it is known who answers for each zone, for a bounded time, and for the word of who serves until then. A
/// zone that has answers there and would have none here is an error: its clients are better off with that process.
pub(super) async fn may_serve(
    predecessor: Option<&mut Predecessor>,
    zones: &Zones,
    told: &[Knowledge],
    table: &ArcSwap<Table>,
) -> Result<(), StartError> {
    let Some(predecessor) = predecessor else { return Ok(()) };
    let until = Instant::now() + SETTLE_WITHIN;
    let is_waited_for = || !zones.unsettled().is_empty() || zones.worse_off(told, &table.load()).is_some();
    while is_waited_for() && Instant::now() < until {
        sleep(SETTLE_LOOK).await;
    }
    if let Some((zone, reason)) = zones.worse_off(told, &table.load()) {
        return Err(StartError::NobodyAnswers { zone, reason, within: SETTLE_WITHIN });
    }
    for zone in zones.unsettled() {
        tracing::warn!(zone, "the zone has not settled within {SETTLE_WITHIN:?}: what is known of it is served");
    }
    Ok(predecessor.ready().await?)
}

impl App {
    /// What another process needs to take the place of this one.
    pub fn offer(&mut self) -> io::Result<Offer> {
        Ok(Offer {
            sockets: self.running.offer()?,
            admin: self.admin.sockets()?,
            cookie_secret: self.running.cookie_secret(),
            zones: self.zones.knowledge(),
        })
    }

    /// Which of the sockets that were inherited are served.
    pub fn claimed(&self) -> &[bool] {
        self.running.claimed()
    }

    /// Who gives connections of the process before to the workers.
    pub fn adopter(&self) -> Adopter {
        self.running.adopter()
    }

    /// Leaves everything to the process that serves already: takes nothing new, gives it the TCP connections that are
    /// between two queries, and ends what else was begun. Takes six seconds at most, most often a fraction of one.
    pub async fn hand_over(mut self, successor: Successor) {
        let process = successor.pid();
        tracing::info!(process, "handing over to the other process");
        self.sight.journal.note(None, "server", process, "takes this process' place");
        // Pollers, probers, the state file and the HTTP side are its business from now on.
        self.zones.write_no_more();
        self.stop.cancel();
        let mut leaving = self.running.hand_over(successor.claimed());
        let until = SystemInstant::now() + FINISH_WITHIN;
        let (mut passed, mut lost) = (0, 0);
        loop {
            let connections = leaving.next(Successor::MOST, until).await;
            if connections.is_empty() {
                break;
            }
            match successor.pass(&connections).await {
                Ok(()) => passed += connections.len(),
                // They are closed: their clients connect again.
                Err(_) => lost += connections.len(),
            }
        }
        let query_log = self.query_log;
        // Once nobody asks any more.
        let _ = spawn_blocking(move || query_log.iter().for_each(QueryLog::stop)).await;
        let queries = self.sight.counters.total();
        let _ = successor.done(queries).await;
        let deadline = Instant::now() + STOP_WITHIN;
        let _ = timeout_at(deadline, async { while self.tasks.join_next().await.is_some() {} }).await;
        tracing::info!(process, connections = passed, lost, queries, "handed over; this process ends");
    }
}
