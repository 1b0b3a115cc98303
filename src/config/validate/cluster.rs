//! `[zones.X.cluster]`, `[[zones.X.address_map]]` and `fallback_zone`.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::rr::Name;

use super::{
    super::{
        AddressRule, ClientIdentity, ClusterConfig, Credentials, DiscoveryMode, Mapping, NodeTls, Scheme, Seed,
        ZoneConfig, address, client_networks, limits, name,
        place::{KeyPath, Place, quoted},
        raw::{RawAddressRule, RawCluster},
        scopes,
    },
    Judge,
};
use crate::model::{Prefix, is_usable_address};

/// A rule that would be right.
const RULE: &str = "from = \"10.0.0.0/24\", to = \"198.51.100.0/24\"";

impl Judge<'_> {
    pub(super) fn cluster(&mut self, at: &KeyPath, raw: &RawCluster) -> ClusterConfig {
        let default = ClusterConfig::default();
        let scheme = raw.scheme.as_ref().and_then(|text| self.checked(&at.key("scheme"), scheme(text)));
        let discovery =
            raw.discovery.as_ref().and_then(|text| self.checked(&at.key("discovery"), discovery_mode(text)));
        let active_at = at.key("active_interval");
        let idle_at = at.key("idle_interval");
        let active_interval =
            self.duration(&active_at, raw.active_interval.as_ref(), &limits::INTERVAL, default.active_interval);
        // Nobody who slows down polling wants it faster while idle: the default follows.
        let idle_default = default.idle_interval.max(active_interval);
        let idle_interval = self.duration(&idle_at, raw.idle_interval.as_ref(), &limits::INTERVAL, idle_default);
        if idle_interval < active_interval {
            self.warn(&idle_at, "is shorter than active_interval: the zone is polled faster while nobody asks");
        }
        ClusterConfig {
            seeds: self.seeds(&at.key("seeds"), raw.seeds.as_deref().unwrap_or_default()),
            scheme: scheme.unwrap_or(default.scheme),
            port: self.number(&at.key("port"), raw.port, &limits::PORT, default.port),
            active_interval,
            idle_interval,
            datacenters: scopes::datacenters(self, &at.key("datacenters"), raw.datacenters.as_ref()),
            removal_cap: self.share(&at.key("removal_cap"), raw.removal_cap, default.removal_cap),
            discovery: discovery.unwrap_or(default.discovery),
            credentials: self.credentials(at, raw),
            tls: self.node_tls(at, raw, scheme.unwrap_or(default.scheme)),
            resolve_hostnames: raw.resolve_hostnames.unwrap_or(default.resolve_hostnames),
            scope_retention: self.duration(
                &at.key("scope_retention"),
                raw.scope_retention.as_ref(),
                &limits::SCOPE_RETENTION,
                default.scope_retention,
            ),
        }
    }

    fn seeds(&mut self, at: &KeyPath, written: &[String]) -> Vec<Seed> {
        if written.is_empty() {
            self.warn(at, "no seeds: the zone serves only its static records");
        }
        self.at_most(at, written.len(), limits::MAX_SEEDS, "seeds");
        let mut seeds = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, text) in written.iter().enumerate().take(limits::MAX_SEEDS) {
            let item = at.item(index);
            let Some(seed) = self.checked(&item, address::seed(text)) else { continue };
            match seen.insert(seed.to_string()) {
                true => seeds.push(seed),
                false => self.warn(&item, format!("{} is listed twice; once is enough", quoted(text))),
            }
        }
        seeds
    }

    /// What signs requests: a pair of texts, or a file.
    fn credentials(&mut self, at: &KeyPath, raw: &RawCluster) -> Option<Credentials> {
        let (id_at, secret_at, file_at) =
            (at.key("access_key_id"), at.key("secret_access_key"), at.key("credentials_file"));
        let id = raw.access_key_id.as_ref().filter(|text| !text.is_empty());
        let secret = raw.secret_access_key.as_ref().filter(|secret| !secret.reveal().is_empty());
        let file = self.path(&file_at, raw.credentials_file.as_ref());
        if secret.is_some() && matches!(self.places.place(&secret_at), Some(Place::Line(_))) {
            self.warn(&secret_at, "whoever may read this file has it; credentials_file may have other owners");
        }
        match (id, secret, file) {
            (None, None, None) => None,
            (None, None, Some(file)) => Some(Credentials::File(file)),
            (Some(id), Some(secret), None) => {
                if id.contains('/') || id.chars().any(|c| c.is_control() || c == ',') {
                    self.wrong(&id_at, format!("{} is no name of a role that a signature can hold", quoted(id)));
                }
                Some(Credentials::Pair { access_key_id: id.clone(), secret_access_key: secret.clone() })
            }
            (Some(_), None, None) => {
                self.wrong(&id_at, "needs secret_access_key too: the salted_hash of the role");
                None
            }
            (None, Some(_), None) => {
                self.wrong(&secret_at, "needs access_key_id too: the name of the role");
                None
            }
            (_, _, Some(_)) => {
                self.wrong(&file_at, "holds both keys: leave out access_key_id and secret_access_key");
                None
            }
        }
    }

    fn node_tls(&mut self, at: &KeyPath, raw: &RawCluster, scheme: Scheme) -> NodeTls {
        let (cert_at, key_at, name_at) = (at.key("client_cert"), at.key("client_key"), at.key("server_name"));
        let ca_file = self.path(&at.key("ca_file"), raw.ca_file.as_ref());
        let pair = (self.path(&cert_at, raw.client_cert.as_ref()), self.path(&key_at, raw.client_key.as_ref()));
        let client = match pair {
            (Some(certificate), Some(key)) => Some(ClientIdentity { certificate, key }),
            (Some(_), None) => {
                self.wrong(&cert_at, "needs client_key too: the file of its key");
                None
            }
            (None, Some(_)) => {
                self.wrong(&key_at, "needs client_cert too: the file of its certificate");
                None
            }
            (None, None) => None,
        };
        let written = raw.server_name.as_ref().filter(|text| !text.is_empty());
        let server_name = written.and_then(|text| self.checked(&name_at, address::server_name(text)));
        let insecure_skip_verify = raw.insecure_skip_verify.unwrap_or_default();
        let skip_at = at.key("insecure_skip_verify");
        let tls = NodeTls { ca_file, client, server_name, insecure_skip_verify };
        if scheme == Scheme::Http {
            let used = [
                ("ca_file", tls.ca_file.is_some()),
                ("client_cert", tls.client.is_some()),
                ("server_name", tls.server_name.is_some()),
                ("insecure_skip_verify", tls.insecure_skip_verify),
            ];
            for (key, _) in used.into_iter().filter(|(_, is_set)| *is_set) {
                self.warn(&at.key(key), "does nothing: scheme is \"http\"");
            }
        } else if tls.insecure_skip_verify {
            self.warn(&skip_at, "whoever answers at a node's address is taken for the node: for tries only");
        }
        tls
    }

    /// The rules of `address_map`.
    pub(super) fn address_map(&mut self, at: &KeyPath, written: &[RawAddressRule]) -> Vec<AddressRule> {
        self.at_most(at, written.len(), limits::MAX_ADDRESS_RULES, "rules");
        let rules = written.iter().enumerate().take(limits::MAX_ADDRESS_RULES);
        let rules = rules.map(|(index, raw)| self.address_rule(&at.item(index), raw)).collect::<Vec<_>>();
        let mut known = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let Some(AddressRule { clients, to: Mapping::Network { from, .. } }) = rule else { continue };
            if let Some(first) = known.insert((clients, from), index) {
                let line = self.line(&at.item(first).key("from"));
                let from_at = at.item(index).key("from");
                self.warn(&from_at, format!("{from} is mapped for these clients already{line}; the first rule counts"));
                known.insert((clients, from), first);
            }
        }
        let rules: Vec<AddressRule> = rules.into_iter().flatten().collect();
        let sets: BTreeSet<_> = client_networks(&rules).into_values().collect();
        self.at_most(at, sets.len(), limits::MAX_VIEWS, "sets of rules for networks of clients");
        rules
    }

    fn address_rule(&mut self, at: &KeyPath, raw: &RawAddressRule) -> Option<AddressRule> {
        let (clients_at, from_at, to_at) = (at.key("clients"), at.key("from"), at.key("to"));
        let clients = raw.clients.as_deref().map(|written| self.prefix_list(&clients_at, Some(written)));
        if clients.as_ref().is_some_and(Vec::is_empty) && raw.clients.as_ref().is_some_and(Vec::is_empty) {
            self.wrong(&clients_at, "is empty: name the clients, or leave it out for all of them");
        }
        let mut prefix = |at: &KeyPath, text: &Option<String>| {
            let parsed = text.as_ref()?.trim().parse::<Prefix>().map_err(|error| error.to_string());
            self.checked(at, parsed)
        };
        let to = match (&raw.from, &raw.to, &raw.client_routes) {
            (None, None, Some(id)) if !id.is_empty() => Mapping::Routes(id.clone()),
            (Some(_), Some(_), None) => {
                let (from, to) = (prefix(&from_at, &raw.from), prefix(&to_at, &raw.to));
                let (from, to) = (from?, to?);
                if (from.address.is_ipv4(), from.len) != (to.address.is_ipv4(), to.len) {
                    self.wrong(&to_at, format!("{to} does not stand for {from} bit by bit: it must be of its size"));
                }
                if from != to && !is_usable_address(to.address) {
                    self.wrong(&to_at, format!("{to} begins with an address that nobody can connect to"));
                }
                Mapping::Network { from, to }
            }
            _ => {
                self.wrong(at, format!("a rule has either from and to, or client_routes: {RULE}"));
                return None;
            }
        };
        Some(AddressRule { clients, to })
    }

    pub(super) fn fallback_zone(&mut self, at: &KeyPath, written: Option<&String>) -> Option<Name> {
        let text = written.filter(|text| !text.is_empty())?;
        self.checked(at, name::apex(&name::canonical(text)))
    }

    /// What only whole zones, beside each other, tell: whether each `fallback_zone` is another one of them, with a cluster,
    /// and whether routes can be learnt where they are followed.
    pub(super) fn fallback_zones(&mut self, zones: &[ZoneConfig]) {
        for zone in zones {
            let follows_routes = zone.address_map.iter().any(|rule| matches!(rule.to, Mapping::Routes(_)));
            if follows_routes && zone.cluster.discovery == DiscoveryMode::Localnodes {
                let at = KeyPath::zone(&zone.name()).key("cluster").key("discovery");
                self.warn(
                    &at,
                    "\"localnodes\" never reads system tables, so client_routes in address_map maps nothing",
                );
            }
            let Some(fallback) = &zone.fallback_zone else { continue };
            let at = KeyPath::zone(&zone.name()).key("fallback_zone");
            match zones.iter().find(|other| other.apex == *fallback) {
                _ if *fallback == zone.apex => self.wrong(&at, "is the zone itself: name another one"),
                Some(other) if other.cluster.seeds.is_empty() => {
                    self.wrong(&at, format!("{} has no seeds, so no nodes", quoted(&other.name())));
                }
                Some(_) => {}
                None => self.wrong(&at, format!("{} is no zone here", quoted(&fallback.to_string()))),
            }
        }
    }
}

fn discovery_mode(text: &str) -> Result<DiscoveryMode, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "auto" => Ok(DiscoveryMode::Auto),
        "localnodes" => Ok(DiscoveryMode::Localnodes),
        "system_tables" => Ok(DiscoveryMode::SystemTables),
        _ => Err(format!("{} is no way; write \"auto\", \"localnodes\" or \"system_tables\"", quoted(text))),
    }
}

/// `http`, `http:` and `http://` all mean HTTP: people copy it from URLs.
fn scheme(text: &str) -> Result<Scheme, String> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.trim_end_matches('/').trim_end_matches(':') {
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        _ => Err(format!("{} is no scheme; write \"http\" or \"https\"", quoted(text))),
    }
}
