//! Why an address cannot be listened on.

use std::{io, net::SocketAddr};

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({protocol}): {source}{}", hint(source, protocol))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// `UDP`, `TCP`, `TLS`, `HTTPS` or `QUIC`.
    pub protocol: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

impl BindError {
    /// Whether somebody else has the port.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

fn hint(error: &io::Error, protocol: &str) -> &'static str {
    let is_encrypted = !matches!(protocol, "UDP" | "TCP");
    match error.kind() {
        io::ErrorKind::AddrInUse if is_encrypted => {
            "; another program has the port: stop it or choose another in [server.tls]"
        }
        io::ErrorKind::PermissionDenied if is_encrypted => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another in [server.tls] or grant it"
        }
        io::ErrorKind::AddrInUse => "; another program has the port: stop it or choose another with --listen",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another with --listen or grant it"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}
