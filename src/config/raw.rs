//! The shape of the configuration as written: every value optional, nothing judged yet.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole of it, all layers merged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) server: RawServer,
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
}

/// `[zones."NAME"]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawZone {
    pub(super) file: Option<String>,
    pub(super) ttl: Option<String>,
    /// A number is stored as its text: `8` and `"8"` mean the same.
    pub(super) answers: Option<String>,
    pub(super) subnet_prefix_v4: Option<i64>,
    pub(super) datacenter_failover: Option<bool>,
    pub(super) preferred_datacenter: Option<String>,
    pub(super) preferred_rack: Option<String>,
    pub(super) cluster: RawCluster,
    pub(super) health: RawHealth,
    pub(super) scopes: Option<Vec<RawScope>>,
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
}

/// `[[zones."NAME".scopes]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawScope {
    pub(super) label: Option<String>,
    pub(super) chain: Option<Vec<String>>,
}
