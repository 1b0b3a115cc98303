//! What the demo's buttons ask for: nodes that stop and start, and queries to look at.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use crate::http_error::HttpError;

/// Queries a second that can be asked for: enough for the charts, next to nothing for the machine.
const MOST_QUERIES: u32 = 1000;

/// A simulated cluster whose nodes stop and start.
#[async_trait]
pub trait NodeSwitch: Send + Sync {
    /// Every node, and whether it runs.
    fn nodes(&self) -> Vec<(IpAddr, bool)>;

    /// Stops or starts a node; one that does or does not run already is left as it is.
    async fn switch(&self, node: IpAddr, run: bool) -> Result<(), SwitchError>;

    /// Queries a second that the demo asks itself.
    fn asked(&self) -> u32;

    /// Asks itself so many from now on.
    fn ask(&self, per_second: u32);
}

/// Why a node is not switched.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// There is none with that address.
    #[error("the simulated cluster has no node {0}")]
    Unknown(IpAddr),
    /// Its port.
    #[error("{0}: {1}")]
    Port(IpAddr, std::io::Error),
}

type Switch = State<Arc<dyn NodeSwitch>>;

#[derive(Debug, Serialize)]
struct Demo {
    nodes: Vec<DemoNode>,
    per_second: u32,
}

#[derive(Debug, Serialize)]
struct DemoNode {
    address: IpAddr,
    run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchNode {
    address: IpAddr,
    run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskQueries {
    per_second: u32,
}

pub(super) fn routes(switch: Arc<dyn NodeSwitch>) -> Router {
    Router::new()
        .route("/demo/nodes", get(tell).post(switch_node))
        .route("/demo/traffic", post(ask_queries))
        .with_state(switch)
}

async fn tell(State(switch): Switch) -> Json<Demo> {
    let nodes = switch.nodes().into_iter().map(|(address, run)| DemoNode { address, run }).collect();
    Json(Demo { nodes, per_second: switch.asked() })
}

async fn switch_node(
    State(switch): Switch,
    wanted: Result<Json<SwitchNode>, JsonRejection>,
) -> Result<Json<Demo>, HttpError> {
    let Json(SwitchNode { address, run }) =
        wanted.map_err(|error| unreadable(&error, r#"{"address": "127.0.1.111", "run": false}"#))?;
    switch.switch(address, run).await.map_err(|error| {
        let status = match error {
            SwitchError::Unknown(_) => StatusCode::NOT_FOUND,
            SwitchError::Port(..) => StatusCode::CONFLICT,
        };
        HttpError::new(status, error.to_string())
    })?;
    Ok(tell(State(switch)).await)
}

async fn ask_queries(
    State(switch): Switch,
    wanted: Result<Json<AskQueries>, JsonRejection>,
) -> Result<Json<Demo>, HttpError> {
    let Json(AskQueries { per_second }) = wanted.map_err(|error| unreadable(&error, r#"{"per_second": 50}"#))?;
    if per_second > MOST_QUERIES {
        let error = format!("per_second: {per_second} is more than the demo asks itself; at most {MOST_QUERIES}");
        return Err(HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, error));
    }
    switch.ask(per_second);
    Ok(tell(State(switch)).await)
}

fn unreadable(error: &JsonRejection, right: &str) -> HttpError {
    HttpError::new(error.status(), format!("{}; such as {right} would do", error.body_text()))
}
