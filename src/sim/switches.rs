//! Switches of a running cluster beside its ports: releases, tokens, roles, clocks, routes.

use std::{io, net::IpAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{ClientRoute, Cluster, Role, Tls, Version};

/// How far a node's clock can be set off: as far as any date of a signature makes sense.
const MOST_CLOCK_OFFSET: Duration = Duration::from_secs(20 * 365 * 86_400);

/// What nodes run, and what they own.
impl Cluster {
    /// A node runs another release from its next answer on. (A real one restarts in between, which is another
    /// switch.)
    pub fn set_version(&self, address: IpAddr, version: Version) -> io::Result<()> {
        self.node(address)?;
        self.membership.gossip().set_version(address, version);
        Ok(())
    }

    /// A node owns so many tokens; with none it coordinates requests only.
    pub fn set_tokens(&self, address: IpAddr, tokens: u32) -> io::Result<()> {
        self.node(address)?;
        self.membership.gossip().set_tokens(address, tokens);
        Ok(())
    }

    /// A node serves https so from the next connection on: a certificate has been renewed, or TLS switched on. `None`:
    /// it serves http.
    pub fn set_tls(&self, address: IpAddr, tls: Option<Tls>) -> io::Result<()> {
        self.node(address)?.set_tls(tls.as_ref())?;
        self.membership.gossip().set_tls(address, tls);
        Ok(())
    }

    /// A node's clock is off by so many seconds; ahead where positive.
    pub fn set_clock(&self, address: IpAddr, seconds: i64) -> io::Result<()> {
        if seconds.unsigned_abs() > MOST_CLOCK_OFFSET.as_secs() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a clock cannot be so far off"));
        }
        self.node(address)?.clock_offset.store(seconds, Relaxed);
        Ok(())
    }
}

/// Who may read the tables, and what is in them.
impl Cluster {
    /// Whether the API wants requests to be signed.
    pub fn enforce_authorization(&self, enforced: bool) {
        self.membership.authorization().enforced = enforced;
    }

    /// There is this role, in the place of one with its name.
    pub fn set_role(&self, role: Role) {
        self.membership.authorization().set_role(role);
    }

    /// There is no such role any more.
    pub fn drop_role(&self, name: &str) -> io::Result<()> {
        self.membership.authorization().drop_role(name).map(drop).ok_or_else(|| no_role(name))
    }

    /// `GRANT SELECT ON` a table (`system.peers`), a keyspace (`system`) or `ALL KEYSPACES`.
    pub fn grant(&self, name: &str, resource: &str) -> io::Result<()> {
        if self.membership.authorization().grant(name, resource) { Ok(()) } else { Err(no_role(name)) }
    }

    /// Takes back what [`Cluster::grant`] or [`Role::granted`] gave.
    pub fn revoke(&self, name: &str, resource: &str) -> io::Result<()> {
        if self.membership.authorization().revoke(name, resource) { Ok(()) } else { Err(no_role(name)) }
    }

    /// Pages of the API have so many rows at most; `None`: as many as fit into 1 MiB.
    pub fn set_page_rows(&self, rows: Option<usize>) {
        self.membership.set_page_rows(rows);
    }

    /// There is this route, in the place of one of the same connection to the same node.
    pub fn set_client_route(&self, route: ClientRoute) {
        let mut routes = self.membership.routes();
        routes.retain(|other| !is_same(other, &route.connection_id, &route.host_id));
        routes.push(route);
    }

    /// There is no such route any more.
    pub fn remove_client_route(&self, connection_id: &str, host_id: &str) {
        self.membership.routes().retain(|route| !is_same(route, connection_id, host_id));
    }
}

fn is_same(route: &ClientRoute, connection_id: &str, host_id: &str) -> bool {
    route.connection_id == connection_id && route.host_id == host_id
}

fn no_role(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no role {name}"))
}
