//! The askers' side: queries, replies, connections.

use std::{
    fmt, fs,
    net::{IpAddr, SocketAddr},
};

use super::{super::Sight, families::Families};
use crate::server::{
    Closed, LogOutput, Outcome, RateLimited, Transport, ZoneCounts,
    encrypted::{ConnectionCounters, Ending},
};

/// The transports whose connections are counted by one block of counters for all workers.
const ENCRYPTED: [Transport; 3] = [Transport::Tls, Transport::Https, Transport::Quic];

/// Where Linux tells of its UDP sockets (proc_net_udp(5)), and how many octets of it are read at most: a line for each
/// socket of the machine.
const UDP_SOCKETS: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// The columns of it that are read: the local address, and how many datagrams did not fit.
const LOCAL: usize = 1;
const DROPS: usize = 12;

pub(super) fn tell(sight: &Sight, to: &mut Families<'_>) -> fmt::Result {
    let counters = &sight.counters;
    let (outcomes, by_zone) = (Outcome::ALL.map(|outcome| outcome.to_string()), counters.by_zone());
    let queries = by_zone.iter().flat_map(|ZoneCounts { zone, transport, outcomes: counts }| {
        outcomes.iter().zip(counts).map(|(outcome, count)| {
            let labels = vec![("zone", zone.as_str()), ("transport", word(*transport)), ("outcome", outcome.as_str())];
            (labels, *count as f64)
        })
    });
    to.counters(
        "alternator_dns_queries",
        "Queries received, by zone (empty: none of ours), transport and what became of them",
        queries,
    )?;
    // Nodes come and go, with addresses of their own each time: those that are gone are told no more.
    let zones = sight.zones.load();
    let is_known = |name: &str, node: &IpAddr| {
        let zone = zones.iter().find(|zone| zone.name == name);
        zone.is_some_and(|zone| zone.topology.borrow().members.contains_key(node))
    };
    let leads = counters.leads().into_iter().filter(|(zone, node, _)| is_known(zone, node));
    let leads: Vec<_> = leads.map(|(zone, node, led)| (zone, node.to_string(), led as f64)).collect();
    to.counters(
        "alternator_dns_leads",
        "Answers in which a node's address came first",
        leads.iter().map(|(zone, node, led)| (vec![("zone", zone.as_str()), ("node", node.as_str())], *led)),
    )?;
    to.counter(
        "alternator_dns_unsent",
        "Replies that the kernel did not take; each is in alternator_dns_queries_total, too",
        counters.unsent() as f64,
    )?;
    let logged = [(LogOutput::File, "file"), (LogOutput::Dnstap, "dnstap")].into_iter().flat_map(|(output, word)| {
        let (written, dropped) = counters.query_log(output);
        [("written", written), ("dropped", dropped)]
            .map(|(result, count)| (vec![("output", word), ("result", result)], count as f64))
    });
    to.counters(
        "alternator_dns_query_log",
        "Queries for the query log, by where it goes, and whether they were written or dropped because that was too slow",
        logged,
    )?;
    let limited = RateLimited::ALL.map(|what| (limited_word(what), counters.rate_limited(what) as f64));
    to.counters(
        "alternator_dns_rate_limited",
        "Replies that response rate limiting looked at, by what it did",
        limited.iter().map(|(what, count)| (vec![("action", *what)], *count)),
    )?;
    let drops = udp_drops(sight);
    to.counters(
        "alternator_dns_udp_receive_drops",
        "Datagrams that the kernel dropped before they were read, over all sockets of an address; from 0 with new sockets",
        drops.iter().map(|(address, count)| (vec![("address", address.as_str())], *count as f64)),
    )?;
    tcp(sight, to)?;
    encrypted(&sight.connections, to)
}

fn tcp(sight: &Sight, to: &mut Families<'_>) -> fmt::Result {
    let counters = &sight.counters;
    to.gauge("alternator_dns_tcp_connections", "TCP connections open now", counters.tcp_open() as f64)?;
    to.counter("alternator_dns_tcp_accepted", "TCP connections accepted", counters.tcp_accepted() as f64)?;
    let closed = Closed::ALL.map(|why| (why.to_string(), counters.tcp(why) as f64));
    to.counters(
        "alternator_dns_tcp_closed",
        "TCP connections closed, by reason",
        closed.iter().map(|(why, count)| (vec![("reason", why.as_str())], *count)),
    )
}

fn encrypted(connections: &ConnectionCounters, to: &mut Families<'_>) -> fmt::Result {
    let words = ENCRYPTED.map(|transport| (transport, word(transport)));
    let by_transport = |count: &dyn Fn(Transport) -> u64| {
        words.map(|(transport, word)| (vec![("transport", word)], count(transport) as f64))
    };
    to.gauges(
        "alternator_dns_encrypted_connections",
        "Connections of encrypted transports open now",
        by_transport(&|transport| connections.open(transport)),
    )?;
    to.counters(
        "alternator_dns_encrypted_accepted",
        "Connections of encrypted transports accepted",
        by_transport(&|transport| connections.accepted(transport)),
    )?;
    to.counters(
        "alternator_dns_encrypted_denied",
        "Connections of encrypted transports closed at once, because the client has no access",
        by_transport(&|transport| connections.denied(transport)),
    )?;
    to.counters(
        "alternator_dns_encrypted_retried",
        "Clients of encrypted transports asked to prove their addresses first (QUIC only)",
        by_transport(&|transport| connections.retried(transport)),
    )?;
    let endings = Ending::ALL.map(|ending| (ending, ending.to_string()));
    let closed = words.iter().flat_map(|(transport, word)| {
        endings.iter().map(|(ending, why)| {
            (vec![("transport", *word), ("reason", why.as_str())], connections.ended(*transport, *ending) as f64)
        })
    });
    to.counters("alternator_dns_encrypted_closed", "Connections of encrypted transports that ended, by reason", closed)
}

/// The word for a transport.
fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Https => "https",
        Transport::Quic => "quic",
    }
}

fn limited_word(what: RateLimited) -> &'static str {
    match what {
        RateLimited::Passed => "passed",
        RateLimited::Slipped => "slipped",
        RateLimited::Dropped => "dropped",
        RateLimited::WouldSlip => "would_slip",
        RateLimited::WouldDrop => "would_drop",
    }
}

/// Datagrams dropped for want of room, by address. Nothing where the system does not tell.
fn udp_drops(sight: &Sight) -> Vec<(String, u64)> {
    let listen = sight.listen.load();
    let mut drops: Vec<(SocketAddr, u64)> = listen
        .iter()
        .filter(|(transport, _)| matches!(transport, Transport::Udp | Transport::Quic))
        .map(|(_, address)| (*address, 0))
        .collect();
    for file in UDP_SOCKETS {
        let Ok(text) = fs::read_to_string(file) else { continue };
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let (Some(local), Some(dropped)) = (columns.get(LOCAL), columns.get(DROPS)) else { continue };
            let Some(local) = address_of(local) else { continue };
            if let Some((_, drops)) = drops.iter_mut().find(|(address, _)| *address == local) {
                *drops += dropped.parse::<u64>().unwrap_or_default();
            }
        }
    }
    drops.into_iter().map(|(address, count)| (address.to_string(), count)).collect()
}

/// An address as Linux writes it: words of the address in hexadecimal, each in the machine's own order of octets.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match address.len() {
        8 => Some((word(0)?, port).into()),
        32 => {
            let mut octets = [0; 16];
            for (at, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at * 8)?);
            }
            Some((octets, port).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_systems_addresses_are_read() {
        for address in ["127.0.0.1:0", "127.9.8.7:0", "[::1]:0"] {
            // A machine without IPv6.
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let address = socket.local_addr().unwrap();
            let lines = UDP_SOCKETS.map(|file| fs::read_to_string(file).unwrap_or_default()).concat();
            let mut found = lines.lines().filter_map(|line| address_of(line.split_ascii_whitespace().nth(LOCAL)?));
            assert!(found.any(|found| found == address), "{address} in\n{lines}");
        }
        for bad in ["", "x", "0100007F", "0100007F:", ":0035", "0100007:0035", "ßßßß:0035"] {
            assert_eq!(address_of(bad), None, "{bad}");
        }
    }
}
