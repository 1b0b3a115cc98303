//! The task that probes a zone's nodes and publishes what it believes of them.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Moment, Now,
    log::Log,
    panic::Turn,
    roster::{Event, Roster},
    schedule::Schedule,
    stats::Stats,
    tracker::Probe,
};
use crate::{
    config::{ClusterConfig, HealthConfig},
    http::{Limits, NodeClient, NodeIdentity, SetupError},
    journal::ZoneJournal,
    model::{Failure, Health, Topology},
};

/// What is asked of a node: ScyllaDB answers `GET /` without authentication from the loop that serves clients.
const PATH: &str = "/";

/// The answer is a line of text; anything much longer is no Alternator node.
const LONGEST_BODY: usize = 64 * 1024;

/// Health is published at most this often. When a thousand nodes fail within a second, each failure is a change; a
/// copy of all nodes for each would cost a core, and readers could not follow.
const PUBLISH_SPACING: Duration = Duration::from_millis(10);

/// Why probing cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the prober's HTTP client cannot be set up")]
pub struct StartError(#[source] SetupError);

/// Everything the prober of one zone needs.
#[derive(Debug)]
pub struct Options {
    /// The cluster: how its nodes are asked.
    pub cluster: ClusterConfig,
    /// How they are verified over TLS: as the poller has it, whose sessions are resumed.
    pub identity: NodeIdentity,
    /// How they are probed.
    pub health: HealthConfig,
    /// Who is probed.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// Where each change of what is believed goes.
    pub publish: watch::Sender<Arc<Health>>,
    /// Where to count.
    pub stats: Arc<Stats>,
    /// Where to note what changed.
    pub journal: ZoneJournal,
    /// Ends the task.
    pub stop: CancellationToken,
    /// Seed of every random choice.
    pub seed: u64,
}

/// Probes the members of the topology and publishes [`Health`] whenever others would see a difference, until `stop`.
///
/// Every probe is a connection of its own: that is what clients make of a DNS answer, and a node whose kept
/// connections live on while it takes no new ones is of no use to them; TLS sessions are resumed. Probes of different nodes wait for each other
/// only where there are more than the places allow (see `schedule`).
///
/// With fall = 2, a node that refuses connections is out after at most about 1.6 × interval, a silent one after
/// about interval + 2 × timeout. With rise = 2, a new node that answers is Up after about interval / 10.
///
/// It begins with what `publish` holds: the default at the start of the process, what an earlier prober of the zone
/// left where only the settings changed. Nodes that were Up stay Up then, and a panic goes on.
///
/// Run it within a span that names the zone: its log lines name only nodes.
pub async fn run(options: Options) -> Result<(), StartError> {
    let Options { cluster, identity, health, topology, publish, stats, journal, stop, seed } = options;
    if !health.enabled {
        publish.send_replace(Arc::new(Health { disabled: true, ..Health::default() }));
        stop.cancelled().await;
        return Ok(());
    }
    let limits = Limits { connect: health.timeout, total: health.timeout, keep_alive: false };
    let client = NodeClient::new(&cluster, &identity, limits).map_err(StartError)?;
    let (start, start_wall) = (Instant::now(), SystemTime::now());
    let mut roster = Roster::new(&health);
    roster.resume(&publish.borrow(), Now { moment: Moment::ZERO, wall: start_wall, date: start_wall });
    let prober = Prober {
        client,
        roster,
        schedule: Schedule::new(health.interval, seed),
        under_way: JoinSet::new(),
        log: Log::default(),
        stats,
        journal,
        publish,
        unpublished: false,
        publish_from: Moment::ZERO,
        start,
        start_wall,
    };
    prober.run(topology, stop).await;
    Ok(())
}

/// A probe that is over: of whom, what came of it, and how long it took.
type Finished = (IpAddr, Probe, Duration);

struct Prober {
    client: NodeClient,
    roster: Roster,
    schedule: Schedule,
    under_way: JoinSet<Finished>,
    log: Log,
    stats: Arc<Stats>,
    journal: ZoneJournal,
    publish: watch::Sender<Arc<Health>>,
    unpublished: bool,
    publish_from: Moment,
    start: Instant,
    start_wall: SystemTime,
}

impl Prober {
    async fn run(mut self, mut topology: watch::Receiver<Arc<Topology>>, stop: CancellationToken) {
        self.follow(&topology.borrow_and_update().clone());
        // When discovery has ended the members known last go on being probed: whoever runs both decides what that end
        // means.
        let mut discovery_runs = true;
        loop {
            self.start_due();
            self.report();
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = topology.changed(), if discovery_runs => match changed {
                    Ok(()) => self.follow(&topology.borrow_and_update().clone()),
                    Err(_) => discovery_runs = false,
                },
                Some(finished) = self.under_way.join_next() => self.take(finished),
                () = sleep_until(wake.unwrap_or(self.start)), if wake.is_some() => self.roster.weigh(self.now()),
            }
        }
    }

    /// The present.
    fn now(&self) -> Now {
        let moment = self.start.elapsed();
        Now { moment, wall: self.start_wall + moment, date: SystemTime::now() }
    }

    fn follow(&mut self, topology: &Topology) {
        let now = self.now();
        self.roster.follow(topology, now);
        self.stats.retain(|node| topology.members.contains_key(&node));
        self.schedule.set_members(topology.members.keys(), now.moment);
    }

    /// Starts every probe that is due and has a place.
    fn start_due(&mut self) {
        let now = self.now().moment;
        for node in self.roster.awaited() {
            self.schedule.hurry(node, now);
        }
        while let Some(node) = self.schedule.start(now) {
            let client = self.client.clone();
            self.under_way.spawn(async move {
                // Its own time: `now` was before it had a thread, and its result may wait for others.
                let began = Instant::now();
                let result = probe(&client, node).await;
                (node, Probe { started: now, result }, began.elapsed())
            });
        }
    }

    /// Takes the result of a probe, and of all others that are over as well.
    fn take(&mut self, finished: Result<Finished, JoinError>) {
        let mut next = Some(finished);
        while let Some(finished) = next {
            match finished {
                Ok((node, probe, took)) => self.record(node, probe, took),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Probes are cancelled only by dropping the set.
                Err(_) => {}
            }
            next = self.under_way.try_join_next();
        }
    }

    fn record(&mut self, node: IpAddr, probe: Probe, took: Duration) {
        let now = self.now();
        self.stats.count_probe(node, &probe.result, took);
        self.roster.record(node, probe, now);
        let pace = self.roster.pace(node);
        if pace.is_none() {
            // The node left while it was probed.
            self.stats.forget(node);
        }
        self.schedule.finish(node, pace, now.moment);
    }

    /// Logs what happened and publishes what changed.
    fn report(&mut self) {
        let now = self.now().moment;
        self.log.flush(now, &self.journal);
        for event in self.roster.take_events() {
            match event {
                Event::Node { .. } => self.stats.count_transition(),
                Event::Panic { turn: Turn::Began, .. } => self.stats.count_panic(),
                Event::Panic { turn: Turn::Ended, .. } => {}
            }
            self.log.write(&event, now, &self.journal);
        }
        self.unpublished |= self.roster.take_changed();
        if self.unpublished && now >= self.publish_from {
            self.publish.send_replace(Arc::new(self.roster.health()));
            self.unpublished = false;
            self.publish_from = now.saturating_add(PUBLISH_SPACING);
        }
    }

    /// When something is to be done though nothing happens; `None` = never.
    fn wake(&self) -> Option<Instant> {
        let publication = self.unpublished.then_some(self.publish_from);
        [self.schedule.next_start(), self.roster.deadline(), self.log.deadline(), publication]
            .into_iter()
            .flatten()
            .min()
            .and_then(|moment| self.start.checked_add(moment))
    }
}

async fn probe(client: &NodeClient, node: IpAddr) -> Result<(), Failure> {
    match client.get(node, PATH, LONGEST_BODY).await?.status {
        200 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}

#[cfg(test)]
mod tests;
