//! What holds where nothing is written.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use hickory_proto::rr::Name;

use super::{
    AdminConfig, Answers, ClusterConfig, CookieConfig, DiscoveryMode, HealthConfig, LogConfig, NodeTls, QueryLogConfig,
    RateLimitConfig, Scheme, ServerConfig, TcpConfig, TlsConfig, ZoneConfig,
};
use crate::model::{Access, Prefixes};

/// The zone served when seeds are given and no zone is named: the name all examples use.
pub const DEFAULT_ZONE: &str = "alternator.local";

impl Default for ServerConfig {
    fn default() -> Self {
        // Not 53: that needs privileges, and a first try must work without. Not all addresses: a resolver that
        // anybody can reach is a decision.
        ServerConfig {
            listen: vec![(Ipv4Addr::LOCALHOST, 5300).into()],
            workers: 0,
            pin_workers: false,
            state_dir: None,
            user: None,
            control: None,
            overrides: None,
            watch_files: true,
            identity: None,
            version: None,
            proxy_from: Prefixes::default(),
            access: Vec::new(),
            cookies: CookieConfig::default(),
            tcp: TcpConfig::default(),
            rate_limit: RateLimitConfig::default(),
            tls: TlsConfig::default(),
            admin: AdminConfig::default(),
            log: LogConfig::default(),
            query_log: QueryLogConfig::default(),
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        // The port of DNS and that of many HTTP servers in one; loopback, since whoever reaches it may steer.
        AdminConfig { listen: vec![(Ipv4Addr::LOCALHOST, 8053).into()], is_default: true, token_file: None }
    }
}

impl Default for QueryLogConfig {
    fn default() -> Self {
        QueryLogConfig { file: None, sample: 1.0, dnstap: None }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        // 150 MiB at the very worst, and no more descriptors than a server has beside those of discovery and probes.
        // RFC 7766 section 6.2.3 leaves times to us: clients reuse connections for seconds, not minutes.
        TcpConfig {
            connections: 1024,
            connections_per_client: 128,
            queries: 0,
            idle: Duration::from_secs(30),
            lifetime: Duration::from_secs(60 * 60),
        }
    }
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        RateLimitConfig {
            responses_per_second: 0,
            slip: 2,
            dry_run: false,
            prefix_v4: 24,
            prefix_v6: 56,
            exempt: Prefixes::default(),
        }
    }
}

impl ZoneConfig {
    /// A zone with every default and no seeds.
    pub fn new(apex: Name) -> Self {
        ZoneConfig {
            apex,
            file: None,
            ttl: Duration::from_secs(5),
            min_ttl: Duration::from_secs(1),
            answers: Answers::Auto,
            subnet_prefix_v4: 24,
            datacenter_failover: false,
            access: Access::default(),
            preferred_datacenter: None,
            preferred_rack: None,
            cluster: ClusterConfig::default(),
            health: HealthConfig::default(),
            scopes: Vec::new(),
            address_map: Vec::new(),
            fallback_zone: None,
        }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            seeds: Vec::new(),
            scheme: Scheme::Http,
            port: 8000,
            active_interval: Duration::from_secs(1),
            idle_interval: Duration::from_secs(1),
            datacenters: BTreeMap::new(),
            removal_cap: 0.5,
            discovery: DiscoveryMode::Auto,
            credentials: None,
            tls: NodeTls::default(),
            resolve_hostnames: false,
            // Longer than an incident, shorter than the memory of whoever took the nodes away on purpose.
            scope_retention: Duration::from_secs(60 * 60),
        }
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig {
            enabled: true,
            interval: Duration::from_secs(1),
            // A silent node is out after 1.1 intervals and two of these at most: within 2.5 s.
            timeout: Duration::from_millis(650),
            rise: 2,
            fall: 2,
            panic_threshold: 0.5,
            slow_start: Duration::from_secs(30),
        }
    }
}
