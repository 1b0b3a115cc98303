//! Binding addresses: a socket for each worker, or nothing.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::{BindError, Inherited};
use crate::server::{Transport, udp};

/// Connections the kernel holds until they are accepted; the common maximum (`net.core.somaxconn` before Linux 5.4
/// was 128, since then 4096).
pub(super) const BACKLOG: i32 = 1024;

/// Tries for a port that is free for both UDP and TCP when port 0 is asked for. Each try is almost certain to succeed.
const PORT_TRIES: usize = 20;

/// One transport on one address, with its sockets.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) transport: Transport,
    /// As it is written in the configuration.
    pub(super) configured: SocketAddr,
    /// With the real port.
    pub(super) address: SocketAddr,
    /// Kept open; workers have descriptors of their own of them. At least one.
    pub(super) sockets: Vec<Socket>,
}

/// How addresses are to be bound.
pub(super) struct Binding<'a> {
    /// Sockets for each address; inherited ones are as many as they are.
    pub(super) workers: usize,
    pub(super) inherited: &'a mut Inherited,
    /// Listeners of ours that end once the new ones serve: these may have the address.
    pub(super) leaving: &'a [(Transport, SocketAddr)],
}

/// What operators call a transport.
pub(super) fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
        Transport::Https => "HTTPS",
        Transport::Quic => "QUIC",
    }
}

/// Whether a transport's sockets take datagrams.
pub(super) fn is_datagram(transport: Transport) -> bool {
    matches!(transport, Transport::Udp | Transport::Quic)
}

impl Binding<'_> {
    /// UDP and TCP on an address, with the same port.
    pub(super) fn plain(&mut self, wanted: SocketAddr) -> Result<[Listener; 2], BindError> {
        // Held until one is found, so that each try is another port: where few are free the kernel offers the same again.
        let mut half_taken = Vec::new();
        loop {
            // TCP before UDP: its answer tells of another server more surely.
            let tcp = self.one(Transport::Tcp, wanted, wanted)?;
            match self.one(Transport::Udp, wanted, tcp.address) {
                // The free port TCP got may be taken for UDP: try another.
                Err(error) if wanted.port() == 0 && error.is_in_use() && half_taken.len() < PORT_TRIES => {
                    half_taken.push(tcp);
                }
                Err(error) => return Err(error),
                Ok(udp) => return Ok([udp, tcp]),
            }
        }
    }

    /// One transport on an address that is `configured` so; `wanted` has the port.
    pub(super) fn one(
        &mut self,
        transport: Transport,
        configured: SocketAddr,
        wanted: SocketAddr,
    ) -> Result<Listener, BindError> {
        let sockets = self.inherited.take(transport, wanted)?;
        if !sockets.is_empty() {
            return Ok(Listener { transport, configured, address: wanted, sockets });
        }
        let bound = || {
            let mut address = wanted;
            if !self.is_leaving(transport, wanted) {
                // SO_REUSEPORT would share the port silently with a program of the same user, so ask without it first.
                address = socket(transport, wanted, false)?.local_addr()?.as_socket().unwrap_or(wanted);
            }
            let sockets = (0..self.workers).map(|_| socket(transport, address, true)).collect::<io::Result<_>>()?;
            Ok(Listener { transport, configured, address, sockets })
        };
        bound().map_err(|source| BindError { address: wanted, protocol: protocol(transport), source })
    }

    /// Whether a listener that is to end has the address, or shares it.
    fn is_leaving(&self, transport: Transport, wanted: SocketAddr) -> bool {
        self.leaving.iter().any(|(other, address)| {
            let meets = address.ip() == wanted.ip() || address.ip().is_unspecified() || wanted.ip().is_unspecified();
            let same = is_datagram(*other) == is_datagram(transport) && address.port() == wanted.port();
            same && meets && address.is_ipv4() == wanted.is_ipv4()
        })
    }
}

/// A socket on this address, as the transport needs it.
fn socket(transport: Transport, address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let (of, protocol) = match is_datagram(transport) {
        true => (Type::DGRAM, Protocol::UDP),
        false => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), of, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    match transport {
        Transport::Udp => {
            udp::prepare(&socket, address)?;
            socket.bind(&address.into())?;
        }
        // QUIC sets all else itself.
        Transport::Quic => {
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
        }
        Transport::Tcp | Transport::Tls | Transport::Https => {
            // Connections of an earlier run in TIME_WAIT must not keep a restarted server off its port.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
        }
    }
    Ok(socket)
}
