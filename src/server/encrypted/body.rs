//! The body of an HTTP response.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Octets handed over at once. HTTP/2 asks for more only when the client has room for some, and then keeps what it was
/// given: this bounds what it keeps for each of a connection's requests.
const PART: usize = 4 * 1024;

/// A response's content, handed over in parts.
pub(super) struct Content {
    rest: Bytes,
    /// Given back when all was handed over.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Content {
    /// A DNS message, and the permission to hold it.
    pub(super) fn reply(octets: Vec<u8>, permit: OwnedSemaphorePermit) -> Self {
        Content { rest: octets.into(), _permit: Some(permit) }
    }

    /// A word to whoever tries things out.
    pub(super) fn text(text: &'static str) -> Self {
        Content { rest: Bytes::from_static(text.as_bytes()), _permit: None }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.rest.len().min(PART);
        Poll::Ready((part > 0).then(|| Ok(Frame::data(self.rest.split_to(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn parts_make_the_whole() {
        let octets: Vec<u8> = (0..=255).cycle().take(3 * PART + 7).collect();
        let content = Content { rest: octets.clone().into(), _permit: None };
        assert_eq!(content.size_hint().exact(), Some(octets.len() as u64));
        assert_eq!(content.collect().await.unwrap().to_bytes(), octets);
    }
}
