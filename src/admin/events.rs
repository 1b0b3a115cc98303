//! What changes, as it changes: `/events.json` for who asks now and then, `/events` for who stays.
//!
//! A stream (server-sent events) has two kinds of events. `change` is one [`Change`] of the journal, its number the
//! event's id. `status` is a [`Brief`], at once and then every second: what moves without being a change. Whoever needs
//! the rest asks for `/status.json` anew, when `epoch`s or `events.latest` say that it is another one.
//!
//! [`Change`]: crate::journal::Change

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Sight, Site,
    reply::json_text,
    status::{self, Events, Queries},
};
use crate::{http_error::HttpError, journal::Change};

/// Streams at once: some people's pages. A quarter of the connections there may be, so that they keep nobody out.
const STREAMS: usize = 32;

/// Changes taken from the journal at once for one stream.
const TAKEN: usize = 50;

/// How often a stream tells what moves.
const BRIEF_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
pub(super) struct Since {
    since: Option<u64>,
}

/// GET `/events.json?since=N`: the changes after number N that are still known, oldest first.
pub(super) async fn list(State(site): State<Arc<Site>>, Query(asked): Query<Since>) -> Response {
    let changes = site.sight.journal.since(asked.since.unwrap_or_default());
    let latest = *site.sight.journal.latest().borrow();
    json_text(json!({ "latest": latest, "changes": changes }).to_string())
}

/// GET `/events`: everything from now on; after number `since` where that is given, or where a client that lost its
/// connection says in `Last-Event-ID` what it saw last.
pub(super) async fn follow(
    State(site): State<Arc<Site>>,
    Query(asked): Query<Since>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, HttpError> {
    let Some(seat) = site.streams.enter() else {
        let error = format!("{STREAMS} clients follow the events already; ask for /events.json every now and then");
        return Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, error));
    };
    let seen = headers.get("last-event-id").and_then(|seen| seen.to_str().ok()?.parse().ok());
    let latest = site.sight.journal.latest();
    let last = *latest.borrow();
    // A number that there is not yet is of the process before this one: all changes are new to the client.
    let since = seen.or(asked.since).map_or(last, |seen| if seen > last { 0 } else { seen });
    let brief = site.streams.brief.subscribe();
    site.streams.listened.notify_one();
    let follower = Follower {
        sight: site.sight.clone(),
        since,
        waiting: VecDeque::new(),
        latest,
        brief,
        stop: site.stop.clone(),
        _seat: seat,
    };
    Ok(Sse::new(follower.events()))
}

/// All streams, and what they share.
pub(super) struct Streams {
    seats: Arc<Semaphore>,
    /// The last brief, as JSON.
    brief: watch::Sender<Arc<str>>,
    /// Somebody came to listen.
    listened: Notify,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            seats: Arc::new(Semaphore::new(STREAMS)),
            brief: watch::Sender::new("".into()),
            listened: Notify::new(),
        }
    }
}

impl Streams {
    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.seats.clone().try_acquire_owned().ok()
    }

    /// Tells what moves as long as somebody listens, until told to stop.
    pub(super) async fn beat(&self, sight: &Sight, stop: &CancellationToken) {
        loop {
            let next = async {
                if self.brief.receiver_count() == 0 {
                    self.listened.notified().await;
                } else {
                    tokio::select! {
                        () = sleep(BRIEF_EVERY) => {}
                        // Whoever comes is told at once.
                        () = self.listened.notified() => {}
                    }
                }
            };
            tokio::select! {
                () = next => {}
                () = stop.cancelled() => return,
            }
            if self.brief.receiver_count() > 0 {
                let brief = serde_json::to_string(&Brief::of(sight, SystemTime::now())).unwrap_or_default();
                self.brief.send_replace(brief.into());
            }
        }
    }
}

/// What moves without being a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Brief {
    /// When this was so, RFC 3339.
    pub at: String,
    /// What queries became, since the start.
    pub queries: Queries,
    /// The zones.
    pub zones: Vec<ZoneBrief>,
    /// The journal.
    pub events: Events,
}

/// What moves of a zone without being a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneBrief {
    /// Its name, without trailing dot.
    pub name: String,
    /// As in [`super::ZoneStatus`]: another one means that nodes or scopes are others.
    pub epoch: u32,
    /// Answers each node led since the start, by address.
    pub led: BTreeMap<String, u64>,
    /// What the last probe of each node took, by address, seconds.
    pub probe_seconds: BTreeMap<String, f64>,
}

impl Brief {
    fn of(sight: &Sight, now: SystemTime) -> Self {
        let (table, sights, leads) = (sight.table.load_full(), sight.zones.load(), status::leads(sight));
        let zone = |zone: &Arc<crate::table::CompiledZone>| {
            let name = status::zone_name(zone);
            let led = leads.get(&name).into_iter().flatten();
            let probes = sights.iter().find(|sight| sight.name == name).map(|sight| &sight.probes);
            let took =
                |node: &crate::model::Node| Some((node.address.to_string(), probes?.last(node.address)?.as_secs_f64()));
            ZoneBrief {
                epoch: zone.epoch,
                led: led.map(|(node, led)| (node.to_string(), *led)).collect(),
                probe_seconds: zone.plan.nodes().filter_map(took).collect(),
                name,
            }
        };
        Brief {
            at: status::rfc3339(now),
            queries: Queries::of(sight),
            zones: table.zones().map(zone).collect(),
            events: Events { latest: *sight.journal.latest().borrow() },
        }
    }
}

/// One client's stream. It is pulled: what the client does not take is not made for it.
struct Follower {
    sight: Sight,
    /// Number of the last change told.
    since: u64,
    waiting: VecDeque<Change>,
    latest: watch::Receiver<u64>,
    brief: watch::Receiver<Arc<str>>,
    stop: CancellationToken,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follower| async move { Some((Ok(follower.next().await?), follower)) })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.waiting.is_empty() && *self.latest.borrow_and_update() > self.since {
                self.waiting = self.sight.journal.since(self.since).into_iter().take(TAKEN).collect();
            }
            if let Some(change) = self.waiting.pop_front() {
                self.since = change.number;
                let data = serde_json::to_string(&change).unwrap_or_default();
                return Some(Event::default().event("change").id(change.number.to_string()).data(data));
            }
            tokio::select! {
                changed = self.brief.changed() => {
                    changed.ok()?;
                    let data = self.brief.borrow_and_update().clone();
                    return Some(Event::default().event("status").data(data));
                }
                changed = self.latest.changed() => changed.ok()?,
                () = self.stop.cancelled() => return None,
            }
        }
    }
}
