//! The PROXY protocol, version 2: a proxy in front says, in a header before the query or the connection, who its client
//! is. haproxy's `doc/proxy-protocol.txt` is the standard of it (section 2.2).
//!
//! Whoever may send a header may claim to be anybody, so it is read only from proxies that the operator lists, and
//! there it is mandatory: a proxy that was set up without it would otherwise lend its own address to all its clients.
//!
//! Not told apart is whether the client came over TCP or UDP. dnsdist sends what it got over HTTPS on in datagrams, and
//! to a server that is to be asked over TCP alone what it got in datagrams; each header says how the client came.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::Prefixes;

/// What every header begins with. As a DNS message it would have an obsolete opcode, as a message over TCP a length
/// that no query has.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Octets before the addresses: signature, version and command, family and protocol, length of what follows.
const FIXED_LEN: usize = 16;

/// Longest header read. The standard wants every header to fit into the first segment of a connection, and 536 is what
/// a segment can always hold (RFC 9293 section 3.7.1); real ones have less than 200 octets.
pub(super) const MAX_LEN: usize = 536;

/// What begins with a header, or should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proxied {
    /// The whole header is there.
    Complete {
        /// Its octets; what follows is the client's.
        header_len: usize,
        /// The client. `None`: the proxy asks for itself, or does not know for whom, so the sender's own address
        /// counts: see [`asker`].
        client: Option<SocketAddr>,
    },
    /// The beginning of a header, less than [`MAX_LEN`] octets: more has to come. In a datagram that is no header.
    Partial,
    /// No header that could be read, whatever comes.
    Invalid,
}

/// Whether this begins as nothing but a header does.
#[inline]
pub(super) fn starts_with_signature(octets: &[u8]) -> bool {
    octets.starts_with(&SIGNATURE)
}

/// Reads the header that these octets begin with. What is wrong is told as soon as it can be seen.
pub(super) fn read(octets: &[u8]) -> Proxied {
    let there = octets.len().min(SIGNATURE.len());
    if octets[..there] != SIGNATURE[..there] {
        return Proxied::Invalid;
    }
    // Version 2, with the command LOCAL (0) or PROXY (1).
    let is_local = match octets.get(12) {
        None => return Proxied::Partial,
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Proxied::Invalid,
    };
    let Some(&kind) = octets.get(13) else { return Proxied::Partial };
    let Some(addresses) = Addresses::of(kind, is_local) else { return Proxied::Invalid };
    let Some(len) = octets.get(14..FIXED_LEN) else { return Proxied::Partial };
    let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
    if FIXED_LEN + len > MAX_LEN || len < addresses.len() {
        return Proxied::Invalid;
    }
    // What follows the addresses says more about the connection (TLS, checksums), and is nothing we need.
    match octets.get(FIXED_LEN..FIXED_LEN + len) {
        None => Proxied::Partial,
        Some(body) => Proxied::Complete { header_len: FIXED_LEN + len, client: addresses.client(body) },
    }
}

/// Who asks, where a header names this client and came from this sender. A port that the proxy does not know becomes the
/// sender's: 0 would be taken for a forgery.
pub(super) fn asker(client: Option<SocketAddr>, sender: SocketAddr) -> SocketAddr {
    let mut asker = client.unwrap_or(sender);
    if asker.port() == 0 {
        asker.set_port(sender.port());
    }
    asker
}

/// What a datagram asks, and who, where these are the proxies. `None`: a proxy left out the header, or it is wrong. A
/// header from somebody else is no query, and left in place for whoever reads it to drop.
pub(super) fn open<'d>(proxies: &Prefixes, datagram: &'d [u8], sender: SocketAddr) -> Option<(&'d [u8], SocketAddr)> {
    if !proxies.contains(sender.ip()) {
        return Some((datagram, sender));
    }
    match read(datagram) {
        Proxied::Complete { header_len, client } => Some((datagram.get(header_len..)?, asker(client, sender))),
        Proxied::Partial | Proxied::Invalid => None,
    }
}

/// What stands behind the fixed part: source and destination address, source and destination port.
#[derive(Clone, Copy)]
enum Addresses {
    /// Nothing that we could use.
    Ignored,
    V4,
    V6,
}

impl Addresses {
    /// By the octet that has the family in its upper half and the protocol in its lower one; `None` where one of them
    /// is unassigned. LOCAL has this octet ignored.
    fn of(kind: u8, is_local: bool) -> Option<Self> {
        match (kind >> 4, kind & 15) {
            _ if is_local => Some(Addresses::Ignored),
            (1, 1 | 2) => Some(Addresses::V4),
            (2, 1 | 2) => Some(Addresses::V6),
            // Family or protocol unspecified, or a UNIX socket, which has no address that could mean anything here.
            (0..=3, 0..=2) => Some(Addresses::Ignored),
            _ => None,
        }
    }

    /// Octets they take.
    fn len(self) -> usize {
        match self {
            Addresses::Ignored => 0,
            Addresses::V4 => 2 * (4 + 2),
            Addresses::V6 => 2 * (16 + 2),
        }
    }

    /// The source.
    fn client(self, body: &[u8]) -> Option<SocketAddr> {
        let (address, port) = match self {
            Addresses::Ignored => return None,
            Addresses::V4 => (Ipv4Addr::from(*body.first_chunk()?).into(), body.get(8..10)?),
            Addresses::V6 => (Ipv6Addr::from(*body.first_chunk::<16>()?).into(), body.get(32..34)?),
        };
        Some(SocketAddr::new(address, u16::from_be_bytes([port[0], port[1]])))
    }
}

/// Headers as proxies write them.
#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header with this command, this family and protocol, and this behind them.
    pub(in crate::server) fn header(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A"[..], &[command, kind], &len, body].concat()
    }

    /// A header that names this client, with `more` behind the addresses.
    pub(in crate::server) fn proxied(client: SocketAddr, more: &[u8]) -> Vec<u8> {
        let port = client.port().to_be_bytes();
        match client {
            SocketAddr::V4(v4) => {
                header(0x21, 0x12, &[&v4.ip().octets()[..], &[198, 51, 100, 1], &port, &[0, 53], more].concat())
            }
            SocketAddr::V6(v6) => {
                header(0x21, 0x22, &[&v6.ip().octets()[..], &[0xFD; 16], &port, &[0, 53], more].concat())
            }
        }
    }

    fn complete(header_len: usize, client: Option<&str>) -> Proxied {
        Proxied::Complete { header_len, client: client.map(|client| client.parse().unwrap()) }
    }

    #[test]
    fn headers_name_the_client() {
        // What dnsdist puts before a query from 192.0.2.77 port 4660.
        let v4 = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0C\xC0\x00\x02\x4D\xCB\x00\x71\x09\x12\x34\x00\x35";
        assert_eq!(read(v4), complete(28, Some("192.0.2.77:4660")));
        let v6 = proxied("[2001:db8::77]:4660".parse().unwrap(), &[]);
        assert_eq!(read(&v6), complete(52, Some("[2001:db8::77]:4660")));
        // What follows is the client's.
        assert_eq!(read(&[&v4[..], b"\x12\x34\x01\x00"].concat()), complete(28, Some("192.0.2.77:4660")));
    }

    #[test]
    fn how_the_client_came_makes_no_difference() {
        let body = |len: u8| (0..len).collect::<Vec<u8>>();
        for protocol in [1, 2] {
            let v4 = header(0x21, 0x10 | protocol, &body(12));
            assert_eq!(read(&v4), complete(28, Some("0.1.2.3:2057")));
            let v6 = header(0x21, 0x20 | protocol, &body(36));
            assert_eq!(read(&v6), complete(52, Some("[1:203:405:607:809:a0b:c0d:e0f]:8225")));
        }
    }

    #[test]
    fn what_follows_the_addresses_is_skipped() {
        let client = "192.0.2.77:4660";
        for more in [&b"\x04\x00\x00"[..], b"\xEA\x00\x05vpce1", b"\xFF not in any form", &[0; MAX_LEN - 28]] {
            let header = proxied(client.parse().unwrap(), more);
            assert_eq!(read(&header), complete(28 + more.len(), Some(client)));
        }
    }

    #[test]
    fn without_a_client_the_sender_counts() {
        // A proxy that asks for itself, such as to see whether we are alive; whatever the rest says is ignored.
        for (kind, body) in [(0x00, vec![]), (0x12, vec![7; 12]), (0x11, vec![7; 3]), (0xFF, vec![7; 40])] {
            assert_eq!(read(&header(0x20, kind, &body)), complete(16 + body.len(), None), "LOCAL {kind:#x}");
        }
        for kind in [0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x31, 0x32] {
            assert_eq!(read(&header(0x21, kind, &[7; 216])), complete(16 + 216, None), "PROXY {kind:#x}");
            assert_eq!(read(&header(0x21, kind, &[])), complete(16, None), "PROXY {kind:#x}");
        }
    }

    #[test]
    fn what_is_no_header_of_version_2_is_invalid() {
        let good = proxied("192.0.2.77:4660".parse().unwrap(), &[]);
        let with = |at: usize, octet: u8| {
            let mut bad = good.clone();
            bad[at] = octet;
            bad
        };
        for at in 0..SIGNATURE.len() {
            assert_eq!(read(&with(at, 0xFF)), Proxied::Invalid, "octet {at} of the signature");
        }
        for version_and_command in [0x00, 0x01, 0x11, 0x22, 0x2F, 0x31] {
            assert_eq!(read(&with(12, version_and_command)), Proxied::Invalid, "{version_and_command:#x}");
        }
        for kind in [0x13, 0x1F, 0x23, 0x33, 0x40, 0x41, 0xF1] {
            assert_eq!(read(&with(13, kind)), Proxied::Invalid, "{kind:#x}");
        }
        assert_eq!(read(&with(15, 11)), Proxied::Invalid, "shorter than its addresses");
        assert_eq!(read(&with(13, 0x22)), Proxied::Invalid, "shorter than its addresses");
        // Version 1, and a query without a header.
        for other in [&b"PROXY TCP4 192.0.2.77 203.0.113.9 4660 53\r\n"[..], b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0"] {
            assert_eq!(read(other), Proxied::Invalid);
            assert!(!starts_with_signature(other));
        }
    }

    #[test]
    fn headers_have_a_longest_length() {
        for (len, is_read) in [(MAX_LEN - FIXED_LEN, true), (MAX_LEN - FIXED_LEN + 1, false), (65_535, false)] {
            let header = header(0x20, 0, &vec![0; len]);
            assert_eq!(read(&header) != Proxied::Invalid, is_read, "{len}");
            // Told as soon as the length is known, not after waiting for what is too long.
            assert_eq!(read(&header[..FIXED_LEN]), if is_read { Proxied::Partial } else { Proxied::Invalid });
        }
    }

    #[test]
    fn who_asks_always_has_a_port() {
        let sender = "203.0.113.9:5353".parse().unwrap();
        for (client, expected) in [
            (None, "203.0.113.9:5353"),
            (Some("192.0.2.77:4660"), "192.0.2.77:4660"),
            (Some("192.0.2.77:0"), "192.0.2.77:5353"),
            (Some("[2001:db8::77]:0"), "[2001:db8::77]:5353"),
        ] {
            assert_eq!(asker(client.map(|client| client.parse().unwrap()), sender).to_string(), expected);
        }
    }

    #[test]
    fn proxies_must_send_a_header_and_others_are_left_alone() {
        let proxies = ["203.0.113.0/24".parse().unwrap()].into_iter().collect();
        let (proxy, other) = ("203.0.113.9:5353".parse().unwrap(), "192.0.2.1:5353".parse().unwrap());
        let client = "192.0.2.77:4660".parse().unwrap();
        let datagram = [proxied(client, &[]), b"query".to_vec()].concat();
        assert_eq!(open(&proxies, &datagram, proxy), Some((&b"query"[..], client)));
        assert_eq!(open(&proxies, &datagram[..28], proxy), Some((&b""[..], client)));
        assert_eq!(open(&proxies, &datagram[..27], proxy), None);
        assert_eq!(open(&proxies, b"query", proxy), None);
        assert_eq!(open(&proxies, b"query", other), Some((&b"query"[..], other)));
        assert_eq!(open(&proxies, &datagram, other), Some((&datagram[..], other)));
    }

    fn clients() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
            any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
        ]
    }

    proptest! {
        #[test]
        fn a_header_reads_alike_however_it_is_cut(client in clients(), more: Vec<u8>, rest: Vec<u8>) {
            let header = proxied(client, &more[..more.len().min(MAX_LEN - 52)]);
            let stream = [&header[..], &rest].concat();
            for len in 0..=stream.len() {
                let expected = if len < header.len() {
                    Proxied::Partial
                } else {
                    Proxied::Complete { header_len: header.len(), client: Some(client) }
                };
                prop_assert_eq!(read(&stream[..len]), expected);
                prop_assert_eq!(starts_with_signature(&stream[..len]), len >= 12);
            }
        }

        #[test]
        fn no_octets_overread(mut octets in proptest::collection::vec(any::<u8>(), 0..700), at in 0_usize..40, is_cut: bool) {
            // From any place on random, so that every check is reached.
            let good = proxied("[2001:db8::77]:4660".parse().unwrap(), &[0; 100]);
            let kept = at.min(octets.len());
            octets[..kept].copy_from_slice(&good[..kept]);
            if is_cut {
                octets.truncate(60);
            }
            match read(&octets) {
                Proxied::Complete { header_len, .. } => {
                    prop_assert!((FIXED_LEN..=MAX_LEN.min(octets.len())).contains(&header_len));
                    prop_assert!(starts_with_signature(&octets));
                }
                Proxied::Partial => prop_assert!(octets.len() < MAX_LEN),
                Proxied::Invalid => {}
            }
        }
    }
}
