//! What holds where nothing is written.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use hickory_proto::rr::Name;

use super::{Answers, ClusterConfig, HealthConfig, Scheme, ServerConfig, ZoneConfig};

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
            answers: Answers::Auto,
            subnet_prefix_v4: 24,
            datacenter_failover: false,
            preferred_datacenter: None,
            preferred_rack: None,
            cluster: ClusterConfig::default(),
            health: HealthConfig::default(),
            scopes: Vec::new(),
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
        }
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig {
            enabled: true,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(800),
            rise: 2,
            fall: 2,
            panic_threshold: 0.5,
        }
    }
}
