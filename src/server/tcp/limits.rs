//! What bounds a worker's connections.

use std::time::Duration;

use crate::{config::TcpConfig, server::Settings};

/// Connections that each worker may have, however many workers share those of an address: so many clients at least must
/// be served at once without one taking another's place.
const LEAST_CONNECTIONS: usize = 8;

/// Connections that each worker grants a client at least: common resolvers open two or three at once, and which worker
/// gets them is the kernel's choice.
const LEAST_PER_CLIENT: usize = 4;

/// Octets that the connections of an address may hold over all workers: queries not answered and replies not taken. 64 MiB
/// are replies for 500 clients that take none of them at all; honest clients hold nothing between two queries.
const HELD: usize = 64 << 20;

/// Octets that each worker's connections may hold at least: thirty times what one can.
const LEAST_HELD: usize = 4 << 20;

/// How long a client may take none of its replies. The slowest link delivers a few octets in that time.
const STALLED: Duration = Duration::from_secs(10);

/// What bounds a worker's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections open at once.
    pub(super) connections: usize,
    /// Of these, connections of one client: an IPv4 address, or an IPv6 /56.
    pub(super) per_client: usize,
    /// Queries on one connection.
    pub(super) queries: u64,
    /// How long a connection may go without completing a transaction: a whole query, and all of its reply taken.
    pub(super) idle: Duration,
    /// How long it may go without taking anything of replies that wait.
    pub(super) stalled: Duration,
    /// How old it may become.
    pub(super) lifetime: Duration,
    /// Octets that all connections together may hold.
    pub(super) held: usize,
}

impl Limits {
    /// The limits of a worker with these settings.
    pub(super) fn of(settings: &Settings) -> Self {
        Limits::of_each(settings.workers, &settings.tcp)
    }

    /// The limits of each of so many workers on an address.
    pub(super) fn of_each(workers: usize, config: &TcpConfig) -> Self {
        let share = |all: usize, least: usize| (all / workers.max(1)).max(least.min(all)).max(1);
        Limits {
            connections: share(config.connections, LEAST_CONNECTIONS),
            per_client: share(config.connections_per_client, LEAST_PER_CLIENT),
            queries: if config.queries == 0 { u64::MAX } else { config.queries },
            idle: config.idle,
            stalled: STALLED.min(config.idle),
            lifetime: config.lifetime,
            held: share(HELD, LEAST_HELD),
        }
    }

    /// What so many open connections are told of how long they may idle (RFC 7828), in units of 100 ms. Where places
    /// become few, clients that listen leave them before they are taken away.
    pub(super) fn keepalive(&self, open: usize) -> u16 {
        let crowded = open >= self.connections - self.connections / 4;
        let idle = if crowded { self.idle / 4 } else { self.idle };
        let units = idle.as_secs().saturating_mul(10).saturating_add(u64::from(idle.subsec_millis() / 100));
        u16::try_from(units).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_what_an_address_may_have() {
        let config = TcpConfig { connections: 1024, connections_per_client: 128, queries: 0, ..TcpConfig::default() };
        let limits = Limits::of_each(4, &config);
        assert_eq!((limits.connections, limits.per_client, limits.queries), (256, 32, u64::MAX));
        assert_eq!(limits.held, 16 << 20);
        let limits = Limits::of_each(1000, &config);
        assert_eq!((limits.connections, limits.per_client, limits.held), (8, 4, 4 << 20));
        // Fewer than the least where the operator says so.
        let limits = Limits::of_each(4, &TcpConfig { connections: 2, connections_per_client: 1, ..config });
        assert_eq!((limits.connections, limits.per_client), (2, 1));
    }

    #[test]
    fn clients_are_told_to_leave_sooner_where_places_are_few() {
        let config = TcpConfig { connections: 100, idle: Duration::from_secs(30), ..TcpConfig::default() };
        let limits = Limits::of_each(1, &config);
        assert_eq!([0, 74, 75, 100].map(|open| limits.keepalive(open)), [300, 300, 75, 75]);
        let forever = Limits { idle: Duration::from_secs(1 << 40), ..limits };
        assert_eq!(forever.keepalive(0), u16::MAX);
    }
}
