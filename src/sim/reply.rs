//! A reply as it should be, and its wrong forms.

use std::{io, iter};

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Frame},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION},
};
use serde_json::{Value, json};
use tokio::task;

use super::fault::{BadReply, HUGE_BODY};

/// Piece by which a huge body is sent.
const HUGE_PIECE: usize = 64 * 1024;

const JSON: &str = "application/json";

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A reply as it should be, before any fault falsifies it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        Reply { status, content_type: JSON, body: value.to_string().into() }
    }

    fn head(&self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = Full::new(self.body.clone()).map_err(|never| match never {}).boxed_unsync();
        self.head(body)
    }

    /// What a node with this fault sends in its place.
    pub(super) fn falsified(self, bad: BadReply) -> Response<Body> {
        let ok = StatusCode::OK;
        match bad {
            BadReply::Garbage => {
                let body = Bytes::from_static(b"\xff\xfe[\"127.0.0.1\x00\", \xc3(");
                Reply { status: ok, content_type: JSON, body }.into_response()
            }
            BadReply::Html => {
                let page = b"<!DOCTYPE html>\n<html><body><h1>127.0.0.1, please sign in</h1></body></html>\n";
                Reply { status: ok, content_type: "text/html", body: Bytes::from_static(page) }.into_response()
            }
            BadReply::EmptyList => Reply::json(ok, &json!([])).into_response(),
            BadReply::Huge => self.huge(),
            BadReply::Truncated => self.truncated(),
            BadReply::Status(code) => {
                let status = StatusCode::from_u16(code).ok().filter(|status| !status.is_informational());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Reply::json(status, &json!({ "message": "simulated failure", "code": status.as_u16() })).into_response()
            }
            BadReply::Redirect(location) => {
                let mut response =
                    Reply { status: StatusCode::FOUND, content_type: JSON, body: Bytes::new() }.into_response();
                if let Ok(location) = HeaderValue::try_from(location) {
                    response.headers_mut().insert(LOCATION, location);
                }
                response
            }
        }
    }

    /// The right body behind white space, which JSON allows: only a bound on its size protects a reader.
    fn huge(&self) -> Response<Body> {
        let space = Bytes::from_static(&[b' '; HUGE_PIECE]);
        let pieces = iter::repeat_n(space, HUGE_BODY / HUGE_PIECE).chain([self.body.clone()]);
        let body = StreamBody::new(stream::iter(pieces.map(|piece| Ok(Frame::data(piece))))).boxed_unsync();
        self.head(body)
    }

    /// Promises the whole body, sends half, and cuts the connection.
    fn truncated(self) -> Response<Body> {
        let half = self.body.slice(..self.body.len() / 2);
        let cut = stream::once(async {
            // While this waits the half is written out; an error at once would take it along.
            task::yield_now().await;
            Err(io::ErrorKind::ConnectionAborted.into())
        });
        let frames = stream::iter([Ok(Frame::data(half))]).chain(cut);
        let mut response = self.head(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert(CONTENT_LENGTH, self.body.len().into());
        response
    }
}
