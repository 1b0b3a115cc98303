//! Who asks, and how.

use std::{fmt, net::SocketAddr};

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// One message of a stream.
    Tcp,
    /// One message of a TLS session (RFC 7858).
    Tls,
    /// An HTTP request (RFC 8484).
    Https,
    /// A QUIC stream (RFC 9250).
    Quic,
}

impl Transport {
    /// All transports, in the order of their numbers.
    pub const ALL: [Transport; 5] = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic];

    /// Whether a reply is one datagram, sent to whoever the query says it is from: its size is bounded, and the
    /// asker's address may be forged.
    pub fn is_datagram(self) -> bool {
        self == Transport::Udp
    }

    /// Whether nobody on the way reads along, so that only sizes tell of what is asked.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https | Transport::Quic)
    }

    /// Whether the time a connection may idle is told in the DNS message (RFC 7828); HTTP and QUIC have words of their
    /// own for it.
    pub fn has_keepalive(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Https => "HTTPS",
            Transport::Quic => "QUIC",
        })
    }
}

/// Who sent a packet, and how it came.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The client; behind a proxy, the one that the proxy names.
    pub source: SocketAddr,
    /// How the packet came.
    pub transport: Transport,
    /// How long the connection may idle after this, in units of 100 ms (RFC 7828 section 3.1); 0 asks to close it.
    pub keepalive: u16,
}

impl Asker {
    /// Somebody who asks in one datagram.
    pub fn udp(source: SocketAddr) -> Self {
        Asker { source, transport: Transport::Udp, keepalive: 0 }
    }
}
