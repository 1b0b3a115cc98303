//! What an operator chose about answering.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache};

use super::{
    Responder,
    edns::{Cookies, Told},
};
use crate::{
    config::{RateLimitConfig, ServerConfig, TcpConfig},
    model::{Access, Prefixes},
};

/// What an operator chose about answering; shared by the workers of a listener.
#[derive(Debug, Default)]
pub struct Settings {
    /// Which server this is, for whoever asks (RFC 5001, RFC 4892).
    pub identity: Option<String>,
    /// Which software this is; `None` hides it.
    pub version: Option<String>,
    /// DNS cookies, unless they are off.
    pub cookies: Option<Cookies>,
    /// Who may ask at this listener.
    pub access: Access,
    /// Proxies, which put a PROXY header before what clients send; nobody else may.
    pub proxies: Prefixes,
    /// Response rate limiting.
    pub rate_limit: RateLimitConfig,
    /// Bounds of connections.
    pub tcp: TcpConfig,
    /// The share of queries that are copied for the query log; `None` where there is no such log.
    pub(super) tapped: Option<f64>,
    /// Workers that share the listener, and with it these bounds.
    pub(super) workers: usize,
    /// Addresses of our own, where no query can come from.
    pub(super) own: Vec<IpAddr>,
    /// A port of our own; 0 for none.
    pub(super) own_port: u16,
    /// Others, which few servers have.
    pub(super) more_own_ports: Vec<u16>,
}

/// Workers per address, for UDP and for TCP each.
pub(super) fn workers(config: &ServerConfig) -> usize {
    match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

impl Settings {
    /// The settings of a listener, by the address that is configured for it. `cookies` are the same for all listeners;
    /// `listening` are all of them, with their real addresses and ports, `interfaces` what a wildcard among them stands
    /// for.
    pub fn new(
        config: &ServerConfig,
        listener: SocketAddr,
        cookies: Option<Cookies>,
        listening: &[SocketAddr],
        interfaces: &[IpAddr],
    ) -> Self {
        let mut own_ports: Vec<u16> = listening.iter().map(SocketAddr::port).collect();
        own_ports.sort_unstable();
        own_ports.dedup();
        Settings {
            identity: config.identity.clone(),
            version: config.version.clone(),
            cookies,
            access: config.access_at(listener),
            proxies: config.proxy_from.clone(),
            rate_limit: config.rate_limit.clone(),
            tcp: config.tcp.clone(),
            tapped: config.query_log.is_used().then_some(config.query_log.sample),
            workers: workers(config),
            own: listening.iter().map(SocketAddr::ip).chain(interfaces.iter().copied()).collect(),
            own_port: own_ports.pop().unwrap_or_default(),
            more_own_ports: own_ports,
        }
    }

    /// Whether a packet from this address need not be looked at more closely: everybody may ask at this listener, and
    /// somebody can have sent it from there.
    #[inline(always)]
    pub(super) fn is_open_to(&self, source: SocketAddr) -> bool {
        let port = source.port();
        port != 0 && port != self.own_port && self.access.is_open() && !self.has_more_at(port)
    }

    /// Whether a port is another one of ours; hardly ever asked further than whether there are others.
    #[inline(always)]
    fn has_more_at(&self, port: u16) -> bool {
        !self.more_own_ports.is_empty() && self.more_own_ports.contains(&port)
    }

    /// Whether nobody can have sent a packet from this address: port 0, which no program has, or one of ours. Replies
    /// to them would go nowhere, or to ourselves.
    pub(super) fn is_forged(&self, source: SocketAddr) -> bool {
        let port = source.port();
        let is_own_port = port == self.own_port || self.more_own_ports.contains(&port);
        port == 0 || (is_own_port && self.own.contains(&source.ip()))
    }

    /// Whether the asker should first come back with the cookie it is told.
    #[inline]
    pub(super) fn needs_cookie(&self, told: &Told) -> bool {
        let is_required = self.cookies.as_ref().is_some_and(|cookies| cookies.is_required);
        is_required && told.cookie.is_some_and(|cookie| !cookie.is_valid)
    }
}

/// A worker's view of its listener's settings, which may be replaced while it serves.
pub(super) struct Following(Cache<Arc<ArcSwap<Settings>>, Arc<Settings>>);

impl Following {
    pub(super) fn of(settings: Arc<ArcSwap<Settings>>) -> Self {
        Following(Cache::new(settings))
    }

    /// The settings of now.
    pub(super) fn settings(&mut self) -> &Arc<Settings> {
        self.0.load()
    }

    /// Has the responder go by what is chosen now; whether that is something new. To be called before each batch of
    /// queries: where nothing changed it compares two pointers.
    #[inline]
    pub(super) fn look(&mut self, responder: &mut Responder) -> bool {
        responder.adopt(self.0.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_asks_from_port_0_nor_from_an_address_and_a_port_of_ours() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        // Two listeners, one of them for every address of the machine.
        let listening = addresses(&["192.0.2.1:53", "[::]:5300"]);
        let interfaces = ["192.0.2.1", "2001:db8::1", "::1"].map(|text| text.parse().unwrap());
        let config = ServerConfig::default();
        let settings = Settings::new(&config, listening[0], None, &listening, &interfaces);
        let forged =
            ["198.51.100.7:0", "[2001:db8::7]:0", "192.0.2.1:53", "192.0.2.1:5300", "[2001:db8::1]:53", "[::1]:5300"];
        for source in addresses(&forged) {
            assert!(settings.is_forged(source) && !settings.is_open_to(source), "{source}");
        }
        for source in addresses(&["198.51.100.7:53", "[2001:db8::7]:5300", "192.0.2.1:54", "[::1]:1", "0.0.0.1:65535"])
        {
            assert!(!settings.is_forged(source), "{source}");
        }
        // Nothing of ours is known: port 0 is still nobody's.
        let settings = Settings::default();
        for (source, is_forged) in [("192.0.2.1:0", true), ("192.0.2.1:53", false)] {
            let source = source.parse().unwrap();
            assert_eq!((settings.is_forged(source), settings.is_open_to(source)), (is_forged, !is_forged));
        }
    }
}
