//! Who may ask for what.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{reply::complete, token::TokenFile};
use crate::http_error::HttpError;

/// How long a request may take, the reading of its body included: longer than a reload, which reads files and binds
/// addresses, ever should. Streams of events begin within it.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Octets of an error's text; a longer one is left out.
const LONGEST_ERROR: usize = 4096;

/// What is asked without a token, and by any name: whoever watches over processes has none, and learns nothing but that this one lives.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// Lets through what may be asked, for a bounded time, and completes every reply.
pub(super) async fn guard(State(token): State<Option<Arc<TokenFile>>>, request: Request, next: Next) -> Response {
    let allowed = may(token.as_deref(), &request);
    let response = match allowed {
        Ok(()) => timeout(REQUEST_WITHIN, next.run(request)).await.unwrap_or_else(|_| {
            let error = format!("not done within {} seconds", REQUEST_WITHIN.as_secs());
            HttpError::new(StatusCode::GATEWAY_TIMEOUT, error).into_response()
        }),
        Err(problem) => {
            let is_unknown = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.into_response();
            if is_unknown {
                // Browsers ask for a password then, which is how people reach the page.
                let challenge = "Basic realm=\"alternator-dns: the token is the password\", charset=\"UTF-8\"";
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            response
        }
    };
    let mut response = tell_error(response).await;
    complete(response.headers_mut());
    response
}

/// Refusals of the library are texts; here every error is an object.
async fn tell_error(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST_ERROR).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let error = if text.is_empty() { status.canonical_reason().unwrap_or("not done") } else { &*text };
    let mut told = HttpError::new(status, error).into_response();
    // As the methods that are allowed.
    for (name, value) in &parts.headers {
        if !told.headers().contains_key(name) && *name != CONTENT_LENGTH {
            told.headers_mut().insert(name, value.clone());
        }
    }
    told
}

fn may(token: Option<&TokenFile>, request: &Request) -> Result<(), HttpError> {
    let headers = request.headers();
    if let Some(token) = token
        && !OPEN.contains(&request.uri().path())
    {
        let given = headers.get(AUTHORIZATION);
        if !given.is_some_and(|given| token.token().is_in(given)) {
            let error = match given {
                None => "a token is needed: Authorization: Bearer TOKEN, or as the password of a browser's dialogue",
                Some(_) => "that is not the token: it is in the file that admin.token_file names",
            };
            return Err(HttpError::new(StatusCode::UNAUTHORIZED, error));
        }
    }
    // A page whose name was bound to a loopback address after it was loaded is of the same origin, but tells its name.
    if token.is_none() && !OPEN.contains(&request.uri().path()) && !is_for_loopback(headers) {
        let error = "without a token, only requests whose Host is localhost or a loopback address are answered";
        return Err(HttpError::new(StatusCode::FORBIDDEN, error));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    // Pages of other sites can send forms and texts to any address, with the browser's password; JSON they cannot.
    if !is_json(headers) {
        let error = "a request that changes something needs the header Content-Type: application/json";
        return Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return false };
    let media_type = only.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn is_for_loopback(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(HOST).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return false };
    is_loopback(only.to_str().unwrap_or_default())
}

/// Whether a host, with its port or without, is a loopback address or `localhost` (RFC 6761 section 6.3).
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let address = name.parse::<IpAddr>().map(|address| address.to_canonical());
    address.map_or_else(|_| name.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_ports() {
        for good in
            ["localhost", "LocalHost:8053", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8053", "[::ffff:127.0.0.1]:1"]
        {
            assert!(is_loopback(good), "{good}");
        }
        for bad in
            ["", "evil.test", "127.0.0.1.evil.test", "localhost.evil.test:8053", "10.0.0.1:8053", "[::2]:1", "[", ":"]
        {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
