//! What a connection may begin with before its queries: who the client is, where a proxy stands between.

use std::net::SocketAddr;

use crate::server::proxy::{self, Proxied};

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// No header, and none was expected.
    Absent,
    /// Perhaps a header, not whole yet.
    Partial,
    /// No header from a proxy, a broken one, or one from somebody who is no proxy.
    Foul,
    /// A header of so many octets, and the client it names; none where the proxy speaks for itself.
    Whole { octets: usize, client: Option<SocketAddr> },
}

/// Reads the first octets of a connection; a header is `expected` where they come from a proxy.
pub(super) fn read(received: &[u8], expected: bool) -> Header {
    match proxy::read(received) {
        // As the length of a query, what it begins with would be waited for until the time is up.
        _ if !expected && proxy::starts_with_signature(received) => Header::Foul,
        Proxied::Partial => Header::Partial,
        Proxied::Complete { header_len, client } => Header::Whole { octets: header_len, client },
        Proxied::Invalid if expected => Header::Foul,
        Proxied::Invalid => Header::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::proxy::tests::proxied;

    #[test]
    fn headers_come_from_proxies_and_from_nobody_else() {
        let client: SocketAddr = "192.0.2.77:4660".parse().unwrap();
        let header = proxied(client, &[]);
        let query = [0, 17, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let whole = Header::Whole { octets: header.len(), client: Some(client) };
        assert_eq!(read(&[&header[..], &query].concat(), true), whole);
        for cut in 0..header.len() {
            assert_eq!(read(&header[..cut], true), Header::Partial, "{cut}");
            let stranger = if cut < 12 { Header::Partial } else { Header::Foul };
            assert_eq!(read(&header[..cut], false), stranger, "{cut}");
        }
        assert_eq!([read(&query, true), read(&query, false)], [Header::Foul, Header::Absent]);
        assert_eq!([read(&query[..1], true), read(&query[..1], false)], [Header::Foul, Header::Absent]);
        assert_eq!(read(&header, false), Header::Foul);
    }
}
