//! The shape of the configuration as written: every value optional, nothing judged yet.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Secret;

/// The whole of it, all layers merged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) server: RawServer,
    pub(super) admin: RawAdmin,
    pub(super) log: RawLog,
    pub(super) query_log: RawQueryLog,
    /// By canonical name: lower case, no trailing dot.
    pub(super) zones: BTreeMap<String, RawZone>,
}

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawServer {
    pub(super) listen: Option<Vec<String>>,
    pub(super) workers: Option<i64>,
    pub(super) pin_workers: Option<bool>,
    pub(super) state_dir: Option<String>,
    pub(super) user: Option<String>,
    pub(super) control: Option<String>,
    pub(super) overrides: Option<String>,
    pub(super) watch_files: Option<bool>,
    pub(super) identity: Option<String>,
    pub(super) version: Option<String>,
    pub(super) proxy_from: Option<Vec<String>>,
    pub(super) access: Option<Vec<RawAccess>>,
    pub(super) cookies: RawCookies,
    pub(super) tcp: RawTcp,
    pub(super) rate_limit: RawRateLimit,
    pub(super) tls: RawTls,
}

/// `[[server.access]]`, and `[zones."NAME".access]`, which has no listeners.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAccess {
    pub(super) listeners: Option<Vec<String>>,
    pub(super) allow: Option<Vec<String>>,
    pub(super) deny: Option<Vec<String>>,
    pub(super) denied: Option<String>,
}

/// `[server.cookies]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawCookies {
    pub(super) policy: Option<String>,
    pub(super) secrets: Option<Vec<String>>,
}

/// `[server.tcp]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTcp {
    pub(super) connections: Option<i64>,
    pub(super) connections_per_client: Option<i64>,
    pub(super) queries: Option<i64>,
    pub(super) idle: Option<String>,
    pub(super) lifetime: Option<String>,
}

/// `[server.rate_limit]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRateLimit {
    pub(super) responses_per_second: Option<i64>,
    pub(super) slip: Option<i64>,
    pub(super) dry_run: Option<bool>,
    pub(super) prefix_v4: Option<i64>,
    pub(super) prefix_v6: Option<i64>,
    pub(super) exempt: Option<Vec<String>>,
}

/// `[server.tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTls {
    pub(super) listen: Option<Vec<String>>,
    pub(super) https: Option<Vec<String>>,
    pub(super) quic: Option<Vec<String>>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAdmin {
    pub(super) listen: Option<Vec<String>>,
    pub(super) token_file: Option<String>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLog {
    pub(super) format: Option<String>,
}

/// `[query_log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawQueryLog {
    pub(super) file: Option<String>,
    pub(super) sample: Option<f64>,
    pub(super) dnstap: Option<String>,
}

/// `[zones."NAME"]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawZone {
    pub(super) file: Option<String>,
    pub(super) ttl: Option<String>,
    pub(super) min_ttl: Option<String>,
    /// A number is stored as its text: `8` and `"8"` mean the same.
    pub(super) answers: Option<String>,
    pub(super) subnet_prefix_v4: Option<i64>,
    pub(super) datacenter_failover: Option<bool>,
    pub(super) access: RawAccess,
    pub(super) preferred_datacenter: Option<String>,
    pub(super) preferred_rack: Option<String>,
    pub(super) cluster: RawCluster,
    pub(super) health: RawHealth,
    pub(super) scopes: Option<Vec<RawScope>>,
    pub(super) address_map: Option<Vec<RawAddressRule>>,
    pub(super) fallback_zone: Option<String>,
}

/// `[zones."NAME".cluster]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawCluster {
    pub(super) seeds: Option<Vec<String>>,
    pub(super) scheme: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) active_interval: Option<String>,
    pub(super) idle_interval: Option<String>,
    pub(super) datacenters: Option<BTreeMap<String, Vec<String>>>,
    pub(super) removal_cap: Option<f64>,
    pub(super) discovery: Option<String>,
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<Secret>,
    pub(super) credentials_file: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) client_cert: Option<String>,
    pub(super) client_key: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) insecure_skip_verify: Option<bool>,
    pub(super) resolve_hostnames: Option<bool>,
    pub(super) scope_retention: Option<String>,
}

/// `[zones."NAME".health]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHealth {
    pub(super) enabled: Option<bool>,
    pub(super) interval: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) rise: Option<i64>,
    pub(super) fall: Option<i64>,
    pub(super) panic_threshold: Option<f64>,
    pub(super) slow_start: Option<String>,
}

/// `[[zones."NAME".scopes]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawScope {
    pub(super) label: Option<String>,
    pub(super) chain: Option<Vec<String>>,
}

/// `[[zones."NAME".address_map]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAddressRule {
    pub(super) clients: Option<Vec<String>>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) client_routes: Option<String>,
}
