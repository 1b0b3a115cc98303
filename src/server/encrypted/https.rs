//! DNS over HTTPS (RFC 8484): HTTP/2 where the client offers it, HTTP/1.1 otherwise.

use std::{convert::Infallible, future::Future, pin::Pin, rc::Rc, sync::Arc};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until, timeout},
};

use super::{
    body::Content,
    counters::Ending,
    crew::Crew,
    desk::{MAX_QUERY, Visit},
    message::freshness,
    query_text,
    worker::{GRACE, LAST_LOOK, Session},
};
use crate::server::Outcome;

/// Where queries are sent to. RFC 8484 leaves the path to the server; this one is what its examples and all clients use.
const PATH: &str = "/dns-query";

/// The media type of a DNS message (RFC 8484 section 6).
const MESSAGE: &str = "application/dns-message";

/// Octets of the headers of a request: the longest query in a URL is 5.5 KiB.
const MAX_HEADERS: usize = 16 * 1024;

/// Header lines of a request; clients send a dozen.
const MAX_HEADER_LINES: usize = 64;

/// Requests that a client may have open on one connection: what clients take for granted before they are told (RFC 9113
/// section 6.5.2).
const MAX_STREAMS: u32 = 100;

/// Octets a client may send of one request's body, and of all of a connection's, before they are taken: a longest query
/// fits, a crowd of them waits.
const STREAM_WINDOW: u32 = 16 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;

/// Replies of one connection held for a client that does not take them. Usual ones are taken as soon as they are there.
const REPLIES: usize = 4;

/// Queries of one connection that are read at once, or wait to be answered: what further requests bring stays in the
/// window above.
const QUERIES: usize = 16;

/// Octets of a query that may wait without being one of these. A query in a URL is here before anybody can tell it to
/// wait; a hundred short ones are as good as a dozen of the longest, and real ones stay below 300 octets.
const SHORT: usize = 512;

/// One client's connection, as its requests share it.
struct Exchange {
    visit: Rc<Visit>,
    crew: Crew,
    queries: Semaphore,
    replies: Arc<Semaphore>,
    /// It asked all it may.
    spent: Notify,
}

/// Answers one client's requests until it or the server ends the connection.
pub(super) async fn serve(stream: Session, visit: Rc<Visit>, crew: Crew) -> Ending {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (queries, replies) = (Semaphore::new(QUERIES), Arc::new(Semaphore::new(REPLIES)));
    let exchange = Rc::new(Exchange { visit, crew, queries, replies, spent: Notify::new() });
    let shared = exchange.clone();
    let service = service_fn(move |request| respond(request, shared.clone()));
    let stream = TokioIo::new(stream);
    if is_http2 {
        let connection = http2::Builder::new(exchange.crew.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(stream, service);
        drive(connection, |connection| connection.graceful_shutdown(), &exchange).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .half_close(true)
            // The time for a whole query is bounded below.
            .header_read_timeout(None)
            .max_headers(MAX_HEADER_LINES)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(stream, service);
        drive(connection, |connection| connection.graceful_shutdown(), &exchange).await
    }
}

/// Serves a connection until it ends, or should.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    finish: impl Fn(Pin<&mut C>),
    exchange: &Exchange,
) -> Ending {
    let mut connection = std::pin::pin!(connection);
    let visit = &exchange.visit;
    let ending = loop {
        let (deadline, ending) = visit.deadline();
        tokio::select! {
            biased;
            () = visit.evicted() => return Ending::Evicted,
            () = exchange.crew.stopping().cancelled() => {
                // What was received is not read yet, perhaps.
                match timeout(LAST_LOOK, connection.as_mut()).await {
                    Ok(_) => return Ending::Client,
                    Err(_) => break Ending::Stopped,
                }
            }
            () = exchange.spent.notified() => break Ending::Queries,
            () = sleep_until(deadline) => if visit.deadline().0 <= Instant::now() {
                break ending;
            },
            ended = connection.as_mut() => return if ended.is_ok() { Ending::Client } else { Ending::Broken },
        }
    };
    finish(connection.as_mut());
    tokio::select! {
        // Whatever the client makes of it: it was told, and had its time.
        _ = timeout(GRACE, connection) => {}
        () = visit.evicted() => {}
    }
    ending
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotFound,
    Method,
    MediaType,
    NoQuery,
    BadEncoding,
    TooLong,
    UrlTooLong,
    TooSlow,
    CutOff,
    /// The query is none that gets a reply.
    NoMessage,
    /// Nor does this client.
    Denied,
    /// The connection has asked all it may, and is about to end.
    Spent,
    /// It asks more long queries at once than it may.
    Busy,
}

impl Refusal {
    fn text(self) -> (StatusCode, &'static str) {
        match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "queries go to /dns-query\n"),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "use GET or POST\n"),
            Refusal::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content-type of a query is application/dns-message\n")
            }
            Refusal::NoQuery => (StatusCode::BAD_REQUEST, "there is no query: GET /dns-query?dns=...\n"),
            Refusal::BadEncoding => (StatusCode::BAD_REQUEST, "the query is not base64url\n"),
            Refusal::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "a query has 4096 octets at most\n"),
            Refusal::UrlTooLong => (StatusCode::URI_TOO_LONG, "a query has 4096 octets at most\n"),
            Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the query did not come in time\n"),
            Refusal::CutOff => (StatusCode::BAD_REQUEST, "the query did not come whole\n"),
            Refusal::NoMessage => (StatusCode::BAD_REQUEST, "this is no DNS query\n"),
            Refusal::Denied => (StatusCode::FORBIDDEN, "no access\n"),
            Refusal::Spent => (StatusCode::SERVICE_UNAVAILABLE, "use a new connection: this one asked all it may\n"),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many long queries at once\n"),
        }
    }

    fn response(self) -> Response<Content> {
        let (status, text) = self.text();
        let mut response = Response::new(Content::text(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Refusal::Method {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

async fn respond(request: Request<Incoming>, exchange: Rc<Exchange>) -> Result<Response<Content>, Infallible> {
    let is_head = request.method() == Method::HEAD;
    let replied = match query_of(request, &exchange).await {
        Ok(query) => reply(query, &exchange).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = replied.unwrap_or_else(Refusal::response);
    if is_head {
        // Over HTTP/2 nobody else leaves it out.
        *response.body_mut() = Content::text("");
    }
    Ok(response)
}

/// A query, and the permission to hold a long one.
struct Held<'e> {
    octets: Vec<u8>,
    _permit: Option<SemaphorePermit<'e>>,
}

async fn reply(query: Held<'_>, exchange: &Exchange) -> Result<Response<Content>, Refusal> {
    // Held until the reply is on its way; it is never closed.
    let Ok(permit) = exchange.replies.clone().acquire_owned().await else { return Err(Refusal::Denied) };
    if exchange.visit.is_spent() {
        return Err(Refusal::Spent);
    }
    let mut octets = Vec::new();
    let outcome = exchange.visit.answer(&query.octets, false, &mut octets);
    drop(query);
    if exchange.visit.is_spent() {
        exchange.spent.notify_one();
    }
    if octets.is_empty() {
        return Err(if outcome == Outcome::Denied { Refusal::Denied } else { Refusal::NoMessage });
    }
    let cache = match freshness(&octets) {
        Some(seconds) => HeaderValue::try_from(format!("max-age={seconds}")).ok(),
        None => None,
    };
    let mut response = Response::new(Content::reply(octets, permit));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    headers.insert(CACHE_CONTROL, cache.unwrap_or(HeaderValue::from_static("no-store")));
    Ok(response)
}

/// The query that a request carries. Where one waits, the rest of its request is gone already.
async fn query_of(request: Request<Incoming>, exchange: &Exchange) -> Result<Held<'_>, Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal::NotFound);
    }
    match *request.method() {
        Method::GET => {
            let octets =
                query_text::decode(request.uri().query().unwrap_or_default()).map_err(|error| match error {
                    query_text::Error::Missing => Refusal::NoQuery,
                    query_text::Error::Encoding => Refusal::BadEncoding,
                    query_text::Error::TooLong => Refusal::UrlTooLong,
                })?;
            let permit = if octets.len() > SHORT {
                Some(exchange.queries.try_acquire().map_err(|_| Refusal::Busy)?)
            } else {
                None
            };
            Ok(Held { octets, _permit: permit })
        }
        Method::POST if !is_message(request.headers()) => Err(Refusal::MediaType),
        Method::POST => {
            let body = request.into_body();
            // A length told beforehand need not be waited for.
            if body.size_hint().lower() > MAX_QUERY as u64 {
                return Err(Refusal::TooLong);
            }
            // Never closed.
            let permit = exchange.queries.acquire().await.map_err(|_| Refusal::Busy)?;
            match timeout(exchange.visit.limits().stalled, Limited::new(body, MAX_QUERY).collect()).await {
                Ok(Ok(body)) => Ok(Held { octets: body.to_bytes().to_vec(), _permit: Some(permit) }),
                Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLong),
                Ok(Err(_)) => Err(Refusal::CutOff),
                Err(_) => Err(Refusal::TooSlow),
            }
        }
        _ => Err(Refusal::Method),
    }
}

/// Whether a body is said to be a DNS message. Parameters have no meaning (RFC 8484 section 6) and are not looked at.
fn is_message(headers: &HeaderMap) -> bool {
    let told = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    told.and_then(|told| told.split(';').next()).is_some_and(|kind| kind.trim().eq_ignore_ascii_case(MESSAGE))
}
