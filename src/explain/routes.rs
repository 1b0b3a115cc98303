//! `GET /explain?name=NAME&type=TYPE&client=ADDRESS&format=FORMAT`, the format one of `json`, `text` and `lines` (the text
//! as JSON: `{"lines": [...]}`).

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use hickory_proto::rr::{Name, RecordType};
use serde::Deserialize;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Explanation, Question, explain};
use crate::{config::ServerConfig, http_error::HttpError, table::Table};

/// Explanations made at once: that of the largest cluster takes a core for some hundredths of a second, and probes run on
/// the same cores.
const AT_ONCE: usize = 1;

/// What explanations of a running server are made of. Clones are of the same server.
#[derive(Clone)]
pub struct Explainer {
    table: Arc<ArcSwap<Table>>,
    server: Arc<ArcSwap<ServerConfig>>,
    turns: Arc<Semaphore>,
}

impl Explainer {
    /// The table served, and the configuration of who may ask.
    pub fn new(table: Arc<ArcSwap<Table>>, server: Arc<ArcSwap<ServerConfig>>) -> Self {
        Explainer { table, server, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Explains what is answered now.
    pub fn explain(&self, question: &Question) -> Explanation {
        explain(&self.table.load(), &self.server.load(), question, fastrand::u64(..))
    }
}

impl Question {
    /// A question as people write it: without a type, for addresses; without a client, asked by this machine. The error
    /// says what would be right.
    pub fn read(name: &str, rtype: Option<&str>, client: Option<&str>) -> Result<Question, String> {
        let wrong = |error: &dyn std::fmt::Display| {
            format!("name \"{name}\": {error}; write a domain name, as dc1.alternator.local")
        };
        if name.is_empty() {
            return Err("name is missing: which name is to be explained?".to_owned());
        }
        let mut full = Name::from_utf8(name).map_err(|error| wrong(&error))?;
        full.set_fqdn(true);
        let rtype = rtype.unwrap_or("A");
        let number = |text: &str| text.strip_prefix("TYPE")?.parse::<u16>().ok();
        let upper = rtype.to_ascii_uppercase();
        let rtype = upper.parse().ok().or_else(|| number(&upper).map(RecordType::from));
        let rtype =
            rtype.ok_or_else(|| format!("type \"{upper}\" is no record type; write A, AAAA, SRV, TYPE65, ..."))?;
        let client = match client {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(text) => {
                text.parse().map_err(|_| format!("client \"{text}\" is no address; write one, as 10.0.0.7"))?
            }
        };
        Ok(Question { name: full, rtype, client })
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variables {
    name: String,
    r#type: Option<String>,
    client: Option<String>,
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Text,
    Lines,
}

/// `GET /explain`.
pub fn routes(explainer: Explainer) -> Router {
    Router::new().route("/explain", get(answer)).with_state(explainer)
}

async fn answer(
    State(explainer): State<Explainer>,
    variables: Result<Query<Variables>, QueryRejection>,
) -> Result<Response, HttpError> {
    let wrong = |error: String| HttpError::new(StatusCode::BAD_REQUEST, error);
    let Query(variables) = variables.map_err(|error| wrong(error.body_text()))?;
    let question = Question::read(&variables.name, variables.r#type.as_deref(), variables.client.as_deref());
    let question = question.map_err(wrong)?;
    // Nobody closes the semaphore; without a turn it would merely be made at the same time as another.
    let _turn = explainer.turns.clone().acquire_owned().await.ok();
    let told = spawn_blocking(move || told(&explainer.explain(&question), variables.format)).await;
    told.map_err(|error| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn told(explanation: &Explanation, format: Option<Format>) -> Response {
    match format {
        Some(Format::Text) => explanation.to_string().into_response(),
        Some(Format::Lines) => {
            let text = explanation.to_string();
            Json(serde_json::json!({ "lines": text.lines().collect::<Vec<_>>() })).into_response()
        }
        Some(Format::Json) | None => Json(explanation).into_response(),
    }
}
