//! A request over HTTP that is not done.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

/// A request that is not done: `{"error": "..."}`. The same for whoever answers requests of the operators' side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// The reply's status.
    pub status: StatusCode,
    /// One sentence: what is wrong, and what would be right.
    pub error: String,
}

impl HttpError {
    /// An error with this status.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        HttpError { status, error: error.into() }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}
