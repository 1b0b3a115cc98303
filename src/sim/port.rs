//! Ports, open and closed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted; what ScyllaDB's listeners ask for is of this order.
pub(super) const BACKLOG: i32 = 128;

/// Where a free port is looked for: below Linux's ephemeral ports (from 32768), so that no client's own port is in
/// the way, and so that a connection to a stopped node on `::1` never meets itself.
const FREE_PORTS: Range<u16> = 10_000..32_768;

/// Ports tried before giving up. One is taken rarely; a run of this many means that something else is wrong.
const TRIES: usize = 50;

/// A port that refuses connections and that nobody else can have: bound, not listening. A stopped node holds one,
/// so that the port is still its own when it starts again.
#[derive(Debug)]
pub(super) struct ClosedPort {
    socket: Socket,
    at: SocketAddr,
}

impl ClosedPort {
    pub(super) fn bind(at: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        // Connections of the node's earlier life may linger in TIME_WAIT; they must not keep it from starting again.
        socket.set_reuse_address(true)?;
        socket.bind(&at.into()).map_err(|error| at_address(at, &error))?;
        // From here on, whoever binds the same address and port fails, at the latest when it listens.
        socket.set_reuse_address(false)?;
        Ok(ClosedPort { socket, at })
    }

    /// Opens the port.
    pub(super) fn listen(self) -> io::Result<TcpListener> {
        self.socket.set_reuse_address(true)?;
        self.socket.listen(BACKLOG).map_err(|error| at_address(self.at, &error))?;
        self.socket.set_nonblocking(true)?;
        TcpListener::from_std(self.socket.into())
    }
}

/// Listens on one port of all addresses: the given one, or, for 0, one that is free on every address. The port, and
/// the listeners in the order of the addresses.
pub(super) fn listen_on_all(addresses: &[IpAddr], port: u16) -> io::Result<(u16, Vec<TcpListener>)> {
    let listen = |port| addresses.iter().map(|&address| open((address, port).into())).collect::<io::Result<_>>();
    if port != 0 {
        return Ok((port, listen(port)?));
    }
    let mut tries = 1;
    loop {
        let port = fastrand::u16(FREE_PORTS);
        match listen(port) {
            Ok(listeners) => return Ok((port, listeners)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Opens a port nobody holds.
pub(super) fn open(at: SocketAddr) -> io::Result<TcpListener> {
    ClosedPort::bind(at)?.listen()
}

fn at_address(at: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {at}: {error}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 9, 9, 1));

    #[tokio::test]
    async fn a_closed_port_refuses_and_is_held() {
        let (port, listeners) = listen_on_all(&[ADDRESS], 0).unwrap();
        drop(listeners);
        let at = SocketAddr::from((ADDRESS, port));
        let closed = ClosedPort::bind(at).unwrap();
        assert_eq!(TcpStream::connect(at).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let error = open(at).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {at}: ")), "{error}");
        let _listener = closed.listen().unwrap();
        TcpStream::connect(at).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_is_free_on_every_address_or_the_error_names_the_one() {
        let other = IpAddr::from([127, 9, 9, 2]);
        let (port, listeners) = listen_on_all(&[ADDRESS, other], 0).unwrap();
        assert!(FREE_PORTS.contains(&port));
        assert_eq!(listeners[1].local_addr().unwrap(), SocketAddr::from((other, port)));
        drop(listeners);
        let foreign = IpAddr::from([192, 0, 2, 1]);
        let error = listen_on_all(&[ADDRESS, foreign], 0).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1:"), "{error}");
        let _first = open((ADDRESS, port).into()).unwrap();
        let error = listen_on_all(&[other, ADDRESS], port).unwrap_err();
        assert!(error.to_string().contains(&format!("{ADDRESS}:{port}")), "{error}");
    }
}
