//! Overrides over HTTP. Who may ask is judged before it comes here.
//!
//! | request | what it does |
//! |---|---|
//! | GET `/overrides` | all of them, the most specific first |
//! | POST `/overrides` | sets one: the body is an [`Order`] |
//! | DELETE `/overrides?target=&action=&zone=&by=` | removes those of exactly this target (and action) |
//! | GET `/drain-state?target=&zone=` | whether the nodes meant may be stopped: a [`Standing`] |

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{
    departures::Departures,
    order::{Fault, Order, Told},
    reach,
    standing::{Moment, Standing},
    store::{Refused, Removed, Store},
};
use crate::{
    http_error::HttpError,
    model::{Action, Origin, Override, Target},
    table::Table,
};

/// Who did it, when nobody says so.
const SOMEBODY: &str = "somebody over HTTP";

/// Nodes told of one target; their number is told in any case.
const NODES_TOLD: usize = 1000;

/// What the handlers need. Clones are of the same server.
#[derive(Clone, Debug)]
pub struct Api {
    /// All overrides.
    pub store: Store,
    /// The Table now served: which nodes there are, and who is answered.
    pub table: Arc<ArcSwap<Table>>,
    /// Who was answered until when.
    pub departures: Departures,
}

/// The handlers.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/overrides", get(list).post(set).delete(remove))
        .route("/drain-state", get(stand))
        .with_state(api)
}

fn wrong(error: impl ToString) -> HttpError {
    HttpError::new(StatusCode::BAD_REQUEST, error.to_string())
}

impl From<Refused> for HttpError {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Full | Refused::OfFile { .. } => StatusCode::CONFLICT,
            Refused::Nothing(..) => StatusCode::NOT_FOUND,
            Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        HttpError::new(status, refused.to_string())
    }
}

impl From<QueryRejection> for HttpError {
    fn from(rejection: QueryRejection) -> Self {
        wrong(rejection.body_text())
    }
}

/// A node, as it is told of a target.
#[derive(Debug, Serialize, Deserialize)]
pub struct Meant {
    /// Its zone.
    pub zone: String,
    /// Its address.
    pub address: String,
    /// `dc1/rack1`.
    pub place: String,
}

/// The reply to an override that was set.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetReply {
    /// The override.
    #[serde(rename = "override")]
    pub known: Told,
    /// How many nodes it means now.
    pub matches: usize,
    /// Which; the first thousand of them.
    pub nodes: Vec<Meant>,
    /// What it took the place of.
    pub replaced: Option<Told>,
    /// What should be known of it.
    pub warnings: Vec<String>,
}

/// The reply to the removal of overrides.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemoveReply {
    /// What is gone.
    pub removed: Vec<Told>,
    /// What should be known.
    pub warnings: Vec<String>,
}

/// One override of the list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The override.
    #[serde(flatten)]
    pub known: Told,
    /// Whether it has begun.
    pub in_force: bool,
    /// How many nodes it means now.
    pub matches: usize,
}

/// All overrides.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// The most specific first: of several that mean a node, the first decides.
    pub overrides: Vec<Listed>,
}

async fn list(State(api): State<Api>) -> Json<List> {
    let (table, now) = (api.table.load_full(), SystemTime::now());
    let listed = |known: &Arc<Override>| Listed {
        known: Told::from(&**known),
        in_force: known.is_in_force(now),
        matches: reach::nodes(&table, known.zone.as_deref(), &known.target).len(),
    };
    Json(List { overrides: api.store.current().iter().filter(|known| !known.is_over(now)).map(listed).collect() })
}

async fn set(State(api): State<Api>, body: Bytes) -> Result<Json<SetReply>, HttpError> {
    let order: Order = serde_json::from_slice(&body).map_err(|error| {
        wrong(format!(
            "the body is no override ({error}); write {{\"target\": \"10.0.0.1\", \"action\": \"drain\", ...}}"
        ))
    })?;
    let known = order.judge(Origin::Api, SystemTime::now(), SOMEBODY).map_err(faults)?;
    let table = api.table.load_full();
    let zone = known.zone.as_deref();
    if let Some(unknown) = reach::unknown_zone(&table, zone) {
        return Err(wrong(unknown));
    }
    let nodes = reach::nodes(&table, zone, &known.target);
    let mut warnings = Vec::new();
    if nodes.is_empty() {
        warnings.push(format!(
            "{}; it is set all the same, for nodes that may come",
            reach::nothing(&table, zone, &known.target)
        ));
    }
    let kept = api.store.set(known.clone()).await?;
    warnings.extend(overruled(&api, &known, &nodes));
    if let Some(why) = kept.unsaved {
        warnings.push(format!("it holds, but not over a restart: {why}"));
    }
    let meant = nodes.iter().take(NODES_TOLD).map(|(zone, node)| Meant {
        zone: reach::name(zone),
        address: node.address.to_string(),
        place: node.place(),
    });
    Ok(Json(SetReply {
        matches: nodes.len(),
        nodes: meant.collect(),
        replaced: kept.replaced.as_ref().map(Told::from),
        warnings,
        known: Told::from(&known),
    }))
}

/// What to say of nodes about which something more specific decides.
fn overruled(
    api: &Api,
    known: &Override,
    nodes: &[(&crate::table::CompiledZone, &crate::model::Node)],
) -> Option<String> {
    let overrides = api.store.current();
    let at = known.from.max(SystemTime::now());
    let deciding = |zone: &crate::table::CompiledZone, node: &crate::model::Node| {
        let deciding = overrides.in_force(&reach::name(zone), node, at)?;
        (deciding.action != known.action).then(|| (node.address, deciding.clone()))
    };
    let others: Vec<_> = nodes.iter().filter_map(|(zone, node)| deciding(zone, node)).collect();
    let (address, deciding) = others.first()?;
    let more = if others.len() > 1 {
        format!(", and {} more nodes are decided otherwise", others.len() - 1)
    } else {
        String::new()
    };
    Some(format!("{} {} decides about {address}, being more specific{more}", deciding.action, deciding.target))
}

/// All faults in one sentence.
fn faults(faults: Vec<Fault>) -> HttpError {
    let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect();
    wrong(told.join("; "))
}

/// What is named in a URL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    target: String,
    action: Option<String>,
    zone: Option<String>,
    by: Option<String>,
}

impl Named {
    fn target(&self) -> Result<Target, HttpError> {
        self.target.parse().map_err(|error| wrong(format!("target: {error}")))
    }

    /// The zone, as overrides have it.
    fn zone(&self) -> Option<String> {
        let zone = self.zone.as_deref().map(str::trim).filter(|zone| !zone.is_empty())?;
        Some(zone.strip_suffix('.').unwrap_or(zone).to_ascii_lowercase())
    }
}

async fn remove(
    State(api): State<Api>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<Json<RemoveReply>, HttpError> {
    let Query(named) = named?;
    let (target, zone) = (named.target()?, named.zone());
    let action = named.action.as_deref().map(str::parse::<Action>).transpose().map_err(wrong)?;
    // Judged as an order's, since it comes into the log.
    let order = Order { target: named.target, action: "drain".to_owned(), by: named.by, ..Order::default() };
    let by = order.judge(Origin::Api, SystemTime::now(), SOMEBODY).map_err(faults)?.by;
    let Removed { removed, stays, unsaved } = api.store.remove(target, action, zone, &by).await?;
    let mut warnings: Vec<String> = stays
        .iter()
        .map(|known| {
            format!("the file of overrides says so too, and that stays in force: {} {}", known.action, known.target)
        })
        .collect();
    warnings.extend(unsaved.map(|why| format!("not saved: {why}")));
    Ok(Json(RemoveReply { removed: removed.iter().map(Told::from).collect(), warnings }))
}

async fn stand(
    State(api): State<Api>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<Json<Standing>, HttpError> {
    let Query(named) = named?;
    let (target, zone, table) = (named.target()?, named.zone(), api.table.load_full());
    if let Some(unknown) = reach::unknown_zone(&table, zone.as_deref()) {
        return Err(wrong(unknown));
    }
    let overrides = api.store.current();
    let moment = Moment { table: &table, overrides: &overrides, departures: &api.departures, now: SystemTime::now() };
    Ok(Json(moment.standing(&target, zone.as_deref())))
}
