//! The operators' side: what a running server lets itself be asked, and told, over HTTP.
//!
//! | request | what comes back |
//! |---|---|
//! | GET `/livez` | 200 as long as the controller gets on, 503 once it has not for half a minute |
//! | GET `/readyz` | 200 once every zone had something to answer, 503 before; the body names the zones that have not |
//! | GET `/metrics` | everything counted and measured, for Prometheus (`metrics` says how it is named) |
//! | GET `/` | the status page, for people (`page`) |
//! | GET `/status.json` | everything, as [`Status`] |
//! | GET `/events.json?since=N` | the changes after number N that are still known |
//! | GET `/events` | changes as they come, and every second a [`Brief`]: server-sent events (`events`) |
//! | POST `/reload` | loads everything anew; `{"result": "..."}`, or why nothing changed |
//!
//! More comes from whoever has it: [`Hands::routes`]. What is wrong is told as `{"error": "..."}` ([`HttpError`]). Times
//! are RFC 3339 in UTC, durations seconds.
//!
//! | word | meaning |
//! |---|---|
//! | [`Sight`] | everything the HTTP side may look at; it reads, and changes nothing |
//! | [`Hands`] | what it may do |
//! | [`Reloads`] | what became of reloads |
//! | [`Bound`] | the addresses, bound and not served yet |
//! | [`Listeners`] | listening sockets that go on to another configuration, or to the next process |
//! | [`Token`] | the secret that requests bring where more than this machine can ask (`guard` says what needs it) |
//! | site | what all requests share |
//! | brief | what moves without being a change: told every second to who follows the events |
//! | stream | a client that follows the events |
//! | render | making a reply that costs more than a moment |
//!
//! DNS never waits for any of this: it runs on the threads in the background, which stand behind those that answer
//! queries, it reads counters and the Table without holding anybody up, and connections, requests, streams and renders
//! are bounded in number, size and time (the constants in `listen`, `patience`, `guard`, `events` and here).

mod events;
mod guard;
mod life;
mod listen;
mod metrics;
mod page;
mod patience;
mod reply;
mod sight;
mod status;
mod token;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::{events::Streams, life::Life, metrics::Format, reply::json_text};
use crate::{http_error::HttpError, service::Pulse};

pub use events::{Brief, ZoneBrief};
pub use listen::{BindError, Bound, Listeners, bind, bind_with};
pub use page::{NodeSwitch, SwitchError};
pub use sight::{Reloads, Sight, ZoneSight};
pub use status::{
    DiscoveryStatus, Events, FamilyStatus, LastReload, Listening, NodeStatus, Queries, ReloadStatus, ScopeStatus,
    SeenStatus, ServerStatus, Status, VERDICTS, ViewStatus, ZoneStatus, rfc3339,
};
pub use token::{LOOK_EVERY as TOKEN_LOOK_EVERY, Token, TokenError};

/// Octets of a request's body: an override with a long reason, many times over.
const MAX_BODY: usize = 64 * 1024;

/// Replies rendered at once: each takes a core for milliseconds where there are a thousand nodes, and probes, which run
/// on the same cores, must not become late because somebody asks for the status all the time.
const RENDERS: usize = 1;

/// What the HTTP side may do.
#[derive(Clone, Default)]
pub struct Hands {
    /// Asks whether the controller gets on; `None` = nobody knows, and it is taken to.
    pub pulse: Option<Pulse>,
    /// Loads everything anew; `None` = this server cannot.
    pub reload: Option<Arc<dyn Reload>>,
    /// What others let be asked.
    pub routes: Router,
    /// Whether every zone had something to answer. It stays so: a zone that comes later, and is not ready, is no reason
    /// to take the others out of service.
    pub was_ready: Arc<AtomicBool>,
    /// Nodes that the page stops and starts; `None` = they are real.
    pub demo: Option<Arc<dyn NodeSwitch>>,
}

/// Loads everything anew.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Says what was done, or why nothing was changed.
    async fn reload(&self) -> Result<String, String>;
}

/// What all requests share.
struct Site {
    sight: Sight,
    reload: Option<Arc<dyn Reload>>,
    streams: Streams,
    renders: Semaphore,
    was_ready: Arc<AtomicBool>,
    life: Life,
    stop: CancellationToken,
}

impl Bound {
    /// Serves until told to stop, and then for as long as requests under way may take (half a second).
    pub async fn serve(self, sight: Sight, hands: Hands, stop: CancellationToken) {
        let Hands { pulse, reload, routes, was_ready, demo } = hands;
        let routes = routes.merge(page::routes(demo));
        let site = Arc::new(Site {
            sight,
            reload,
            streams: Streams::default(),
            renders: Semaphore::new(RENDERS),
            was_ready,
            life: Life::new(pulse),
            stop: stop.clone(),
        });
        let router = self.router(site.clone(), routes);
        tokio::join!(self.accept(router, stop.clone()), site.streams.beat(&site.sight, &stop), site.life.follow(&stop));
    }

    fn router(&self, site: Arc<Site>, routes: Router) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(tell_metrics))
            .route("/status.json", get(tell_status))
            .route("/events.json", get(events::list))
            .route("/events", get(events::follow))
            .route("/reload", post(reload))
            .with_state(site)
            .merge(routes)
            .fallback(missing)
            .method_not_allowed_fallback(not_allowed)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(middleware::from_fn_with_state(self.token.clone(), guard::guard))
    }
}

async fn missing(uri: Uri) -> HttpError {
    let what = "/ for people, /metrics, /livez, /readyz, /status.json, /events.json, /events, /overrides, /explain, and \
                /reload to POST to";
    // What was asked for may be long.
    let path: String = uri.path().chars().take(100).collect();
    HttpError::new(StatusCode::NOT_FOUND, format!("there is no {path} here; there are {what}"))
}

async fn not_allowed(method: Method, uri: Uri) -> HttpError {
    let path: String = uri.path().chars().take(100).collect();
    let right = if method == Method::GET { "POST" } else { "GET" };
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} is not for {method}; try {right}"))
}

async fn live(State(site): State<Arc<Site>>) -> Result<&'static str, HttpError> {
    let Some(silent) = site.life.hangs() else { return Ok("live\n") };
    let error = format!("the controller has not got on for {} seconds", silent.as_secs());
    Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, error))
}

async fn ready(State(site): State<Arc<Site>>) -> Response {
    let (table, sights) = (site.sight.table.load(), site.sight.zones.load());
    let compiled: BTreeSet<String> =
        table.zones().filter(|zone| status::is_ready(zone)).map(|zone| status::zone_name(zone)).collect();
    let missing: Vec<&str> =
        sights.iter().map(|zone| zone.name.as_str()).filter(|name| !compiled.contains(*name)).collect();
    if missing.is_empty() {
        site.was_ready.store(true, Relaxed);
    }
    let ready = site.was_ready.load(Relaxed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "zones_not_ready": missing }))).into_response()
}

/// Makes a reply on a thread that may be busy for a while; one after another.
async fn render<T: Send + 'static>(
    site: &Site,
    make: impl FnOnce(&Sight) -> T + Send + 'static,
) -> Result<T, HttpError> {
    let failed = |_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "a fault of this program; its log tells more");
    let _turn = site
        .renders
        .acquire()
        .await
        .map_err(|_| HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "the server stops"))?;
    let sight = site.sight.clone();
    tokio::task::spawn_blocking(move || make(&sight)).await.map_err(failed)
}

async fn tell_metrics(State(site): State<Arc<Site>>, headers: HeaderMap) -> Result<Response, HttpError> {
    let format = Format::of(&headers);
    let text = render(&site, move |sight| metrics::scrape(sight, format)).await?;
    Ok(([(CONTENT_TYPE, format.media_type())], text).into_response())
}

async fn tell_status(State(site): State<Arc<Site>>) -> Result<Response, HttpError> {
    let text = render(&site, |sight| serde_json::to_string(&Status::of(sight, SystemTime::now()))).await?;
    let failed = |error| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("a fault of this program: {error}"));
    Ok(json_text(text.map_err(failed)?))
}

async fn reload(State(site): State<Arc<Site>>) -> Result<Json<Value>, HttpError> {
    let Some(hand) = site.reload.clone() else {
        return Err(HttpError::new(StatusCode::NOT_IMPLEMENTED, "this server has no configuration to load anew"));
    };
    // A task of its own: a client that goes away does not leave it half done.
    match tokio::spawn(async move { hand.reload().await }).await {
        Ok(Ok(result)) => Ok(Json(json!({ "result": result }))),
        Ok(Err(reason)) => Err(HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, reason)),
        Err(_) => {
            let error = "a fault of this program: the reload ended before it was done; the log tells more";
            Err(HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error))
        }
    }
}
