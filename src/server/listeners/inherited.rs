//! Sockets that somebody else has bound for this process.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use socket2::{Socket, Type};

use super::{BindError, sockets};
use crate::{
    config::CookieSecret,
    server::{Transport, udp},
};

/// Open sockets from systemd or from the process that this one replaces. A listener takes those that have its type and
/// its address, and binds nothing of its own then.
///
/// The same open socket is read by whoever has it, so what waits in it is lost to nobody.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Option<Socket>>,
    cookie_secret: Option<CookieSecret>,
}

impl Inherited {
    /// These sockets; what is taken of them is told by their order ([`Inherited::claimed`]).
    pub fn new(descriptors: impl IntoIterator<Item = OwnedFd>) -> Self {
        let sockets = descriptors.into_iter().map(|descriptor| Some(descriptor.into())).collect();
        Inherited { sockets, cookie_secret: None }
    }

    /// With the secret that the process before made up for its cookies, so that they stay good.
    pub fn with_cookie_secret(mut self, secret: Option<CookieSecret>) -> Self {
        self.cookie_secret = secret;
        self
    }

    pub(super) fn cookie_secret(&self) -> Option<CookieSecret> {
        self.cookie_secret
    }

    /// Which of them were taken, in their order.
    pub fn claimed(&self) -> Vec<bool> {
        self.sockets.iter().map(Option::is_none).collect()
    }

    /// The addresses of those that nobody took; a socket of another family has none.
    pub fn unclaimed(&self) -> impl Iterator<Item = Option<SocketAddr>> {
        self.sockets.iter().flatten().map(|socket| socket.local_addr().ok().and_then(|address| address.as_socket()))
    }

    /// The sockets on this address that a transport uses, ready to be served.
    pub(super) fn take(&mut self, transport: Transport, address: SocketAddr) -> Result<Vec<Socket>, BindError> {
        let failed = |source| BindError { address, protocol: sockets::protocol(transport), source };
        let mut taken = Vec::new();
        for place in &mut self.sockets {
            if let Some(socket) = place.take_if(|socket| fits(socket, transport, address)) {
                ready(&socket, transport, address).map_err(failed)?;
                taken.push(socket);
            }
        }
        Ok(taken)
    }
}

fn fits(socket: &Socket, transport: Transport, address: SocketAddr) -> bool {
    let wanted = if sockets::is_datagram(transport) { Type::DGRAM } else { Type::STREAM };
    let has_address = || socket.local_addr().ok().and_then(|local| local.as_socket()) == Some(address);
    socket.r#type().is_ok_and(|of| of == wanted) && has_address()
}

/// Prepares it as one of our own.
fn ready(socket: &Socket, transport: Transport, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() && address.ip().is_unspecified() && !socket.only_v6()? {
        // It cannot be changed any more, and who asks over IPv4 would be another one than the rules know.
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the socket handed over for it takes IPv4 as well: hand over one for IPv6 only (systemd: \
             BindIPv6Only=ipv6-only), and one for 0.0.0.0 beside it",
        ));
    }
    match transport {
        Transport::Udp => {
            udp::prepare(socket, address)?;
            socket.set_nonblocking(false)
        }
        Transport::Quic => socket.set_nonblocking(true),
        Transport::Tcp | Transport::Tls | Transport::Https => {
            if !socket.is_listener()? {
                socket.listen(sockets::BACKLOG)?;
            }
            socket.set_nonblocking(true)
        }
    }
}
