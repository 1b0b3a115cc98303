//! The validated configuration, and the errors of everything an operator writes.
//!
//! | word | meaning |
//! |---|---|
//! | raw | the shape of the TOML file, as written (`raw`) |
//! | layers | defaults < file < environment < flags, merged by figment (`load`; the only user of figment) |
//! | place | where a value was written: line of the file, variable or flag (`place`) |
//! | judge | checks raw values and collects all problems (`validate`, `scopes`) |
//! | [`Config`] | the validated result: every value typed, every default filled in |
//! | [`Problem`] | one thing wrong in a file, with file, line, key and what would be right |
//! | reference | `reference.toml`: every option, commented, with its default; `alternator-dns config` prints it |

use std::{collections::BTreeMap, fmt, net::IpAddr, num::NonZeroU16, path::PathBuf, sync::Arc, time::Duration};

use hickory_proto::rr::Name;

use crate::model::{Access, Scope};

mod address;
mod cluster;
mod defaults;
mod document;
mod environment;
mod keys;
mod limits;
mod load;
mod name;
mod place;
mod problem;
mod raw;
mod reference;
mod scopes;
mod server;
#[cfg(test)]
mod tests;
mod validate;

pub use cluster::{AddressRule, ClientIdentity, Credentials, DiscoveryMode, Mapping, NodeTls, Secret, client_networks};
pub use defaults::DEFAULT_ZONE;
pub use environment::{Flags, environment};
pub use load::{Loaded, NO_ZONE, SEARCH, listen_of, load, zone_files};
pub use problem::Problem;
pub use reference::reference;
pub use server::{
    AdminConfig, CookieConfig, CookiePolicy, CookieSecret, ListenerAccess, LogConfig, LogFormat, QueryLogConfig,
    RateLimitConfig, ServerConfig, TcpConfig, TlsConfig,
};

/// Everything the server was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`: what belongs to the process.
    pub server: ServerConfig,
    /// `[zones."NAME"]`, by name. Empty when none was given; `serve` refuses that.
    pub zones: Vec<ZoneConfig>,
}

/// One zone and the cluster behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneConfig {
    /// The zone's apex: fully qualified, lower case, never the root.
    pub apex: Name,
    /// Zone file in RFC 1035 master format: SOA, NS, glue, static records. Relative to the configuration file's folder.
    pub file: Option<PathBuf>,
    /// TTL of address and SRV answers.
    pub ttl: Duration,
    /// Least TTL of such answers while one of their nodes is about to leave: its probes fail, or its drain begins soon.
    pub min_ttl: Duration,
    /// How many addresses one response holds.
    pub answers: Answers,
    /// With `Answers::Auto`: an asker whose first this-many bits equal a node's gets one address. 0..=32.
    pub subnet_prefix_v4: u8,
    /// Whether a datacenter without an eligible node falls back to the whole cluster.
    pub datacenter_failover: bool,
    /// Who may ask for its names.
    pub access: Access,
    /// The apex prefers this datacenter.
    pub preferred_datacenter: Option<Arc<str>>,
    /// The apex prefers this rack of `preferred_datacenter`.
    pub preferred_rack: Option<Arc<str>>,
    /// Where the cluster is.
    pub cluster: ClusterConfig,
    /// How its nodes are probed.
    pub health: HealthConfig,
    /// Chains written out, and labels of one's own.
    pub scopes: Vec<ScopeRule>,
    /// Which addresses of the nodes some clients get.
    pub address_map: Vec<AddressRule>,
    /// The zone whose nodes are answered while this one has none that serves.
    pub fallback_zone: Option<Name>,
}

impl ZoneConfig {
    /// The zone's name for people: no trailing dot.
    pub fn name(&self) -> String {
        let text = self.apex.to_ascii();
        text.strip_suffix('.').unwrap_or(&text).to_owned()
    }

    /// The places that alone have names: those that the configuration names; `None` where names are learnt as well.
    pub fn only_places(&self) -> Option<BTreeMap<Arc<str>, Vec<Arc<str>>>> {
        (self.cluster.discovery == DiscoveryMode::Localnodes).then(|| self.datacenters())
    }

    /// Every datacenter the configuration names, with its racks: `cluster.datacenters`, the chains, and the
    /// preferred ones.
    pub fn datacenters(&self) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let mut all = self.cluster.datacenters.clone();
        let preferred = match (&self.preferred_datacenter, &self.preferred_rack) {
            (Some(dc), Some(rack)) => Some(Scope::Rack(dc.clone(), rack.clone())),
            (Some(dc), None) => Some(Scope::Datacenter(dc.clone())),
            _ => None,
        };
        for scope in self.scopes.iter().flat_map(|rule| &rule.chain).chain(&preferred) {
            let Some(dc) = scope.datacenter() else { continue };
            let racks = all.entry(dc.clone()).or_default();
            if let Scope::Rack(_, rack) = scope
                && !racks.contains(rack)
            {
                racks.push(rack.clone());
            }
        }
        all
    }
}

/// How many addresses one response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// One for AAAA and for askers in a node's own subnet (their resolver re-sorts lists, RFC 6724 rule 9); eight
    /// otherwise.
    Auto,
    /// Exactly this many, or all there are if fewer.
    Count(NonZeroU16),
    /// All there are.
    All,
}

/// `[zones.X.cluster]`: where the cluster is and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// Contact points; empty = the zone serves only its static records.
    pub seeds: Vec<Seed>,
    /// Scheme of `/localnodes` requests and probes.
    pub scheme: Scheme,
    /// The one Alternator port of all nodes.
    pub port: u16,
    /// Time between discovery rounds.
    pub active_interval: Duration,
    /// Time between discovery rounds while nobody asks for the zone.
    pub idle_interval: Duration,
    /// Datacenters and their racks that cannot be learnt, in ScyllaDB's spelling.
    pub datacenters: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Share of a datacenter's or rack's nodes (0..=1): when more than this would leave in one round, a second round
    /// must say so too.
    pub removal_cap: f64,
    /// Where members and places are learnt from.
    pub discovery: DiscoveryMode,
    /// With what requests for system tables are signed.
    pub credentials: Option<Credentials>,
    /// Certificates, where `scheme` is HTTPS.
    pub tls: NodeTls,
    /// Whether host names in lists of nodes are resolved; otherwise they are skipped.
    pub resolve_hostnames: bool,
    /// How long a datacenter or rack keeps its names after its last node has left.
    pub scope_retention: Duration,
}

/// Where discovery may start; never an answer by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// An address.
    Address(IpAddr),
    /// A host name, resolved anew whenever seeds are needed; all its addresses are used.
    Host(String),
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seed::Address(address) => write!(f, "{address}"),
            Seed::Host(name) => f.write_str(name),
        }
    }
}

/// Scheme of requests to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
    }
}

/// `[zones.X.health]`: how nodes are probed.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthConfig {
    /// `false`: nobody is probed, listing alone decides.
    pub enabled: bool,
    /// Time between two probes of one node.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Successes in a row that make a node Up. At least 1.
    pub rise: u32,
    /// Failures in a row that take an Up node Down. At least 1.
    pub fall: u32,
    /// Share of the zone's members (0..=1); when more than this are silent, distrust the prober.
    pub panic_threshold: f64,
    /// How long a node that joins or returns takes to get its full share; zero = at once.
    pub slow_start: Duration,
}

/// `[[zones.X.scopes]]`: a chain written out, or a label of one's own.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeRule {
    /// One DNS label, lower case: `LABEL.zone` answers for the chain. Without it, the chain replaces the default one
    /// of its first scope.
    pub label: Option<String>,
    /// The scopes tried in order; never empty.
    pub chain: Vec<Scope>,
}
