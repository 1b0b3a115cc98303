//! Sockets that were bound before we were started: sd_listen_fds(3).

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use listenfd::ListenFd;
use socket2::SockRef;

/// One socket that was passed to us.
#[derive(Debug)]
pub struct Passed {
    /// As people know it: what the supervisor calls it, transport and address.
    pub name: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// Takes the sockets that the supervisor passed to this process, and removes the variables that tell of them: to be
/// called once, before there are threads. What cannot be listened on is warned of and closed.
pub fn passed() -> io::Result<Vec<Passed>> {
    // Both crates are needed. This one reads the variables as systemd means them (only those for this very process) and
    // keeps the descriptors from programs we start; the other makes sockets of numbers without unsafe code here.
    let named: Vec<_> = match sd_notify::listen_fds_with_names() {
        Ok(named) => named.collect(),
        // Names that do not fit the descriptors say nothing; they are for people only.
        Err(_) => sd_notify::listen_fds()?.map(|number| (number, String::from("unknown"))).collect(),
    };
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for (index, (number, name)) in named.into_iter().enumerate() {
        match take(&mut given, index) {
            Ok((protocol, address, socket)) => {
                sockets.push(Passed { name: format!("{name} ({protocol} {address})"), socket });
            }
            Err(reason) => {
                tracing::warn!("descriptor {number} ({name}) was passed to us and is closed: {reason}");
                if given.take_raw_fd(index).is_ok_and(|raw| raw.is_some()) {
                    // Nobody else here has this number: it was passed to us.
                    let _ = nix::unistd::close(number);
                }
            }
        }
    }
    Ok(sockets)
}

/// One of the descriptors as a socket of ours.
fn take(given: &mut ListenFd, index: usize) -> Result<(&'static str, SocketAddr, OwnedFd), String> {
    let told = |error: io::Error| error.to_string();
    if let Ok(Some(socket)) = given.take_udp_socket(index) {
        return Ok(("UDP", socket.local_addr().map_err(told)?, socket.into()));
    }
    match given.take_tcp_listener(index) {
        Ok(Some(listener)) => {
            // A connection that was accepted already (Accept=yes) passes for a listener until it is asked.
            if !SockRef::from(&listener).is_listener().map_err(told)? {
                return Err("it is a connection; a listening socket is needed (Accept=no)".to_owned());
            }
            Ok(("TCP", listener.local_addr().map_err(told)?, listener.into()))
        }
        _ => Err("it is neither a UDP socket nor a listening TCP socket".to_owned()),
    }
}
