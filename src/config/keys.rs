//! Every key there is, the one table that the file, the environment and the messages are checked against.

use super::place::{KeyPath, quoted};

/// What every environment variable of ours begins with.
pub(super) const PREFIX: &str = "ALTERNATOR_DNS_";

/// A table of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// The file itself.
    Root,
    /// `[server]`
    Server,
    /// `[[server.access]]`
    ListenerAccess,
    /// `[server.cookies]`
    Cookies,
    /// `[server.tcp]`
    Tcp,
    /// `[server.rate_limit]`
    RateLimit,
    /// `[server.tls]`
    Tls,
    /// `[admin]`
    Admin,
    /// `[log]`
    Log,
    /// `[query_log]`
    QueryLog,
    /// `[zones."NAME"]`
    Zone,
    /// `[zones."NAME".cluster]`
    Cluster,
    /// `[zones."NAME".health]`
    Health,
    /// `[zones."NAME".access]`
    ZoneAccess,
    /// `[[zones."NAME".scopes]]`
    Scope,
    /// `[[zones."NAME".address_map]]`
    AddressRule,
}

impl Section {
    /// Whether it belongs to the process, not to a zone.
    pub(super) fn is_of_server(self) -> bool {
        matches!(
            self,
            Section::Server
                | Section::ListenerAccess
                | Section::Cookies
                | Section::Tcp
                | Section::RateLimit
                | Section::Tls
                | Section::Admin
                | Section::Log
                | Section::QueryLog
        )
    }

    /// A table of a list of such tables, as TOML spells it in one line.
    pub(super) fn example(self) -> &'static str {
        match self {
            Section::ListenerAccess => "{ allow = [\"10.0.0.0/8\"] }",
            Section::AddressRule => "{ from = \"10.0.0.0/24\", to = \"203.0.113.0/24\" }",
            _ => "{ label = \"web\", chain = [\"dc1\", \"cluster\"] }",
        }
    }

    /// The section's heading for a zone of that name.
    fn heading(self, zone: &str) -> String {
        let zone = KeyPath::zone(zone);
        match self {
            Section::Root => "the file".to_owned(),
            Section::Server => "[server]".to_owned(),
            Section::ListenerAccess => "[[server.access]]".to_owned(),
            Section::Cookies => "[server.cookies]".to_owned(),
            Section::Tcp => "[server.tcp]".to_owned(),
            Section::RateLimit => "[server.rate_limit]".to_owned(),
            Section::Tls => "[server.tls]".to_owned(),
            Section::Admin => "[admin]".to_owned(),
            Section::Log => "[log]".to_owned(),
            Section::QueryLog => "[query_log]".to_owned(),
            Section::Zone => format!("[{zone}]"),
            Section::Cluster => format!("[{zone}.cluster]"),
            Section::Health => format!("[{zone}.health]"),
            Section::ZoneAccess => format!("[{zone}.access]"),
            Section::Scope => format!("[[{zone}.scopes]]"),
            Section::AddressRule => format!("[[{zone}.address_map]]"),
        }
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A table of its own.
    Section(Section),
    /// A table of zones by name.
    Zones,
    /// A list of tables.
    Tables(Section),
    /// A table of datacenters, each with a list of racks.
    Datacenters,
    /// Text.
    Text,
    /// Text with a unit.
    Duration,
    /// `"auto"` or a whole number.
    Answers,
    /// A whole number.
    Integer,
    /// A number.
    Fraction,
    /// `true` or `false`.
    Switch,
    /// A list of texts.
    List,
}

impl Kind {
    /// The kind in a message: "must be ...".
    pub(super) fn noun(self) -> &'static str {
        match self {
            Kind::Section(_) | Kind::Zones => "a table",
            Kind::Tables(_) => "a list of tables",
            Kind::Datacenters => "a table of datacenters with their racks",
            Kind::Text => "text in quotes",
            Kind::Duration => "a duration in quotes",
            Kind::Answers => "\"auto\" or a whole number",
            Kind::Integer => "a whole number",
            Kind::Fraction => "a number",
            Kind::Switch => "true or false",
            Kind::List => "a list of texts",
        }
    }

    /// Whether a variable can hold it.
    fn fits_variable(self) -> bool {
        !matches!(self, Kind::Section(_) | Kind::Zones | Kind::Tables(_) | Kind::Datacenters)
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// The table it stands in.
    pub(super) section: Section,
    /// Its name.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// A value that would be right, as TOML spells it.
    pub(super) example: &'static str,
}

impl Key {
    /// The environment variable that sets it; `None` for what a variable cannot hold.
    pub(super) fn variable(&self) -> Option<String> {
        let level = match self.section {
            Section::Server => "SERVER__",
            Section::Cookies => "SERVER__COOKIES__",
            Section::Tcp => "SERVER__TCP__",
            Section::RateLimit => "SERVER__RATE_LIMIT__",
            Section::Tls => "SERVER__TLS__",
            Section::Admin => "ADMIN__",
            Section::Log => "LOG__",
            Section::QueryLog => "QUERY_LOG__",
            Section::Zone => "",
            Section::ZoneAccess => "ACCESS__",
            Section::Cluster => "CLUSTER__",
            Section::Health => "HEALTH__",
            Section::Root | Section::ListenerAccess | Section::Scope | Section::AddressRule => return None,
        };
        self.kind.fits_variable().then(|| format!("{PREFIX}{level}{}", self.name.to_ascii_uppercase()))
    }

    /// Where it stands, for a zone of that name.
    pub(super) fn path(&self, zone: &str) -> KeyPath {
        match self.section {
            Section::Root | Section::ListenerAccess | Section::Scope | Section::AddressRule => KeyPath::root(),
            Section::Server => KeyPath::root().key("server"),
            Section::Cookies => KeyPath::root().key("server").key("cookies"),
            Section::Tcp => KeyPath::root().key("server").key("tcp"),
            Section::RateLimit => KeyPath::root().key("server").key("rate_limit"),
            Section::Tls => KeyPath::root().key("server").key("tls"),
            Section::Admin => KeyPath::root().key("admin"),
            Section::Log => KeyPath::root().key("log"),
            Section::QueryLog => KeyPath::root().key("query_log"),
            Section::ZoneAccess => KeyPath::zone(zone).key("access"),
            Section::Zone => KeyPath::zone(zone),
            Section::Cluster => KeyPath::zone(zone).key("cluster"),
            Section::Health => KeyPath::zone(zone).key("health"),
        }
        .key(self.name)
    }
}

const fn key(section: Section, name: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { section, name, kind, example }
}

/// Every key, in the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key(Section::Root, "server", Kind::Section(Section::Server), "[server]"),
    key(Section::Root, "admin", Kind::Section(Section::Admin), "[admin]"),
    key(Section::Root, "log", Kind::Section(Section::Log), "[log]"),
    key(Section::Root, "query_log", Kind::Section(Section::QueryLog), "[query_log]"),
    key(Section::Root, "zones", Kind::Zones, "[zones.\"alternator.local\"]"),
    key(Section::Server, "listen", Kind::List, "[\"127.0.0.1:5300\"]"),
    key(Section::Server, "workers", Kind::Integer, "0"),
    key(Section::Server, "pin_workers", Kind::Switch, "false"),
    key(Section::Server, "state_dir", Kind::Text, "\"/var/lib/alternator-dns\""),
    key(Section::Server, "user", Kind::Text, "\"alternator-dns\""),
    key(Section::Server, "control", Kind::Text, "\"/run/alternator-dns/control.sock\""),
    key(Section::Server, "overrides", Kind::Text, "\"overrides.toml\""),
    key(Section::Server, "watch_files", Kind::Switch, "true"),
    key(Section::Server, "identity", Kind::Text, "\"ns1\""),
    key(Section::Server, "version", Kind::Text, "\"1\""),
    key(Section::Server, "proxy_from", Kind::List, "[\"10.0.0.0/8\"]"),
    key(Section::Server, "access", Kind::Tables(Section::ListenerAccess), "[[server.access]]"),
    key(Section::Server, "cookies", Kind::Section(Section::Cookies), "[server.cookies]"),
    key(Section::Server, "tcp", Kind::Section(Section::Tcp), "[server.tcp]"),
    key(Section::Server, "rate_limit", Kind::Section(Section::RateLimit), "[server.rate_limit]"),
    key(Section::Server, "tls", Kind::Section(Section::Tls), "[server.tls]"),
    key(Section::ListenerAccess, "listeners", Kind::List, "[\"127.0.0.1:5300\"]"),
    key(Section::ListenerAccess, "allow", Kind::List, "[\"10.0.0.0/8\"]"),
    key(Section::ListenerAccess, "deny", Kind::List, "[\"10.1.0.0/16\"]"),
    key(Section::ListenerAccess, "denied", Kind::Text, "\"refuse\""),
    key(Section::Cookies, "policy", Kind::Text, "\"optional\""),
    key(Section::Cookies, "secrets", Kind::List, "[\"00112233445566778899aabbccddeeff\"]"),
    key(Section::Tcp, "connections", Kind::Integer, "1024"),
    key(Section::Tcp, "connections_per_client", Kind::Integer, "128"),
    key(Section::Tcp, "queries", Kind::Integer, "0"),
    key(Section::Tcp, "idle", Kind::Duration, "\"30s\""),
    key(Section::Tcp, "lifetime", Kind::Duration, "\"1h\""),
    key(Section::RateLimit, "responses_per_second", Kind::Integer, "0"),
    key(Section::RateLimit, "slip", Kind::Integer, "2"),
    key(Section::RateLimit, "dry_run", Kind::Switch, "false"),
    key(Section::RateLimit, "prefix_v4", Kind::Integer, "24"),
    key(Section::RateLimit, "prefix_v6", Kind::Integer, "56"),
    key(Section::RateLimit, "exempt", Kind::List, "[\"10.0.0.0/8\"]"),
    key(Section::Tls, "listen", Kind::List, "[\"127.0.0.1:853\"]"),
    key(Section::Tls, "https", Kind::List, "[\"127.0.0.1:443\"]"),
    key(Section::Tls, "quic", Kind::List, "[\"127.0.0.1:853\"]"),
    key(Section::Tls, "certificate", Kind::Text, "\"/etc/alternator-dns/certificate.pem\""),
    key(Section::Tls, "key", Kind::Text, "\"/etc/alternator-dns/key.pem\""),
    key(Section::Admin, "listen", Kind::List, "[\"127.0.0.1:8053\"]"),
    key(Section::Admin, "token_file", Kind::Text, "\"/etc/alternator-dns/token\""),
    key(Section::Log, "format", Kind::Text, "\"text\""),
    key(Section::QueryLog, "file", Kind::Text, "\"/var/log/alternator-dns/queries.log\""),
    key(Section::QueryLog, "sample", Kind::Fraction, "1.0"),
    key(Section::QueryLog, "dnstap", Kind::Text, "\"/run/dnstap.sock\""),
    key(Section::Zone, "file", Kind::Text, "\"zones/alternator.local.zone\""),
    key(Section::Zone, "ttl", Kind::Duration, "\"5s\""),
    key(Section::Zone, "min_ttl", Kind::Duration, "\"1s\""),
    key(Section::Zone, "answers", Kind::Answers, "\"auto\""),
    key(Section::Zone, "subnet_prefix_v4", Kind::Integer, "24"),
    key(Section::Zone, "datacenter_failover", Kind::Switch, "false"),
    key(Section::Zone, "preferred_datacenter", Kind::Text, "\"dc1\""),
    key(Section::Zone, "preferred_rack", Kind::Text, "\"rack1\""),
    key(Section::Zone, "fallback_zone", Kind::Text, "\"backup.internal\""),
    key(Section::Zone, "cluster", Kind::Section(Section::Cluster), "[zones.\"alternator.local\".cluster]"),
    key(Section::Zone, "health", Kind::Section(Section::Health), "[zones.\"alternator.local\".health]"),
    key(Section::Zone, "access", Kind::Section(Section::ZoneAccess), "[zones.\"alternator.local\".access]"),
    key(Section::Zone, "scopes", Kind::Tables(Section::Scope), "[[zones.\"alternator.local\".scopes]]"),
    key(Section::Zone, "address_map", Kind::Tables(Section::AddressRule), "[[zones.\"alternator.local\".address_map]]"),
    key(Section::Cluster, "seeds", Kind::List, "[\"10.0.0.1\"]"),
    key(Section::Cluster, "scheme", Kind::Text, "\"http\""),
    key(Section::Cluster, "port", Kind::Integer, "8000"),
    key(Section::Cluster, "active_interval", Kind::Duration, "\"1s\""),
    key(Section::Cluster, "idle_interval", Kind::Duration, "\"1s\""),
    key(Section::Cluster, "datacenters", Kind::Datacenters, "{ dc1 = [\"rack1\", \"rack2\"], dc2 = [] }"),
    key(Section::Cluster, "removal_cap", Kind::Fraction, "0.5"),
    key(Section::Cluster, "discovery", Kind::Text, "\"auto\""),
    key(Section::Cluster, "access_key_id", Kind::Text, "\"alternator_dns\""),
    key(Section::Cluster, "secret_access_key", Kind::Text, "\"$6$...\""),
    key(Section::Cluster, "credentials_file", Kind::Text, "\"/etc/alternator-dns/credentials\""),
    key(Section::Cluster, "ca_file", Kind::Text, "\"/etc/alternator-dns/ca.pem\""),
    key(Section::Cluster, "client_cert", Kind::Text, "\"/etc/alternator-dns/client.pem\""),
    key(Section::Cluster, "client_key", Kind::Text, "\"/etc/alternator-dns/client.key\""),
    key(Section::Cluster, "server_name", Kind::Text, "\"alternator.internal\""),
    key(Section::Cluster, "insecure_skip_verify", Kind::Switch, "false"),
    key(Section::Cluster, "resolve_hostnames", Kind::Switch, "false"),
    key(Section::Cluster, "scope_retention", Kind::Duration, "\"1h\""),
    key(Section::Health, "enabled", Kind::Switch, "true"),
    key(Section::Health, "interval", Kind::Duration, "\"1s\""),
    key(Section::Health, "timeout", Kind::Duration, "\"650ms\""),
    key(Section::Health, "rise", Kind::Integer, "2"),
    key(Section::Health, "fall", Kind::Integer, "2"),
    key(Section::Health, "panic_threshold", Kind::Fraction, "0.5"),
    key(Section::Health, "slow_start", Kind::Duration, "\"30s\""),
    key(Section::ZoneAccess, "allow", Kind::List, "[\"10.0.0.0/8\"]"),
    key(Section::ZoneAccess, "deny", Kind::List, "[\"10.1.0.0/16\"]"),
    key(Section::ZoneAccess, "denied", Kind::Text, "\"refuse\""),
    key(Section::Scope, "label", Kind::Text, "\"web\""),
    key(Section::Scope, "chain", Kind::List, "[\"dc1/rack1\", \"dc1\", \"cluster\"]"),
    key(Section::AddressRule, "clients", Kind::List, "[\"203.0.113.0/24\"]"),
    key(Section::AddressRule, "from", Kind::Text, "\"10.0.0.0/24\""),
    key(Section::AddressRule, "to", Kind::Text, "\"198.51.100.0/24\""),
    key(Section::AddressRule, "client_routes", Kind::Text, "\"link-1\""),
];

/// The key of that name in a section.
pub(super) fn find(section: Section, name: &str) -> Option<&'static Key> {
    of(section).find(|key| key.name == name)
}

/// The keys of a section.
fn of(section: Section) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// What to say of a key that a section does not know. `path` is the key itself.
pub(super) fn unknown(section: Section, path: &KeyPath) -> String {
    let written = path.last().to_ascii_lowercase().replace('-', "_");
    let zone = path.names().nth(1).filter(|_| path.names().next() == Some("zones")).unwrap_or("NAME");
    let elsewhere = KEYS.iter().find(|key| key.section != section && key.name == written);
    if find(section, &written).is_none()
        && let Some(key) = elsewhere
    {
        return format!("unknown key here; {} belongs in {}", quoted(key.name), key.section.heading(zone));
    }
    let names: Vec<&str> = of(section).map(|key| key.name).collect();
    match nearest(&written, names.iter().copied()) {
        Some(near) => format!("unknown key; did you mean {}?", quoted(near)),
        None => format!("unknown key; {} takes {}", section.heading(zone), names.join(", ")),
    }
}

/// What to say of a variable that is none of ours; `name` is without the prefix.
pub(super) fn unknown_variable(name: &str) -> String {
    if name.starts_with("ZONES__") {
        return format!(
            "unknown variable; variables cannot spell zone names: name the zone in {PREFIX}ZONE and leave that level \
             out, as in {PREFIX}TTL or {PREFIX}CLUSTER__SEEDS"
        );
    }
    let mut known: Vec<String> = KEYS.iter().filter_map(Key::variable).collect();
    known.extend([format!("{PREFIX}CONFIG"), format!("{PREFIX}ZONE")]);
    let short = |full: &String| full[PREFIX.len()..].to_ascii_lowercase();
    let last = name.rsplit("__").next().unwrap_or(name);
    let same_key = known.iter().find(|full| full[PREFIX.len()..].rsplit("__").next() == Some(last));
    let shorts: Vec<String> = known.iter().map(short).collect();
    let near = same_key
        .map(short)
        .or_else(|| nearest(&name.to_ascii_lowercase(), shorts.iter().map(String::as_str)).map(str::to_owned));
    match near {
        Some(near) => format!("unknown variable; did you mean {PREFIX}{}?", near.to_ascii_uppercase()),
        None => "unknown variable; \"alternator-dns config\" prints every option there is".to_owned(),
    }
}

/// The nearest of the names, if one is near enough to be a slip of the finger: one edit, and one more for every four
/// letters.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = names.map(|name| (strsim::osa_distance(written, name), name)).min()?;
    (distance <= 1 + written.chars().count().min(SUGGESTED) / 4).then_some(name)
}

/// Longest key that earns a wider search for a suggestion; longer than any of ours, so that a long foreign text does
/// not match everything.
const SUGGESTED: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_get_the_nearest_name_the_right_place_or_the_list() {
        let zone = KeyPath::zone("a.b");
        let server = KeyPath::root().key("server");
        let cases = [
            (Section::Root, KeyPath::root().key("zone"), "unknown key; did you mean \"zones\"?"),
            (Section::Server, server.key("state-dir"), "unknown key; did you mean \"state_dir\"?"),
            (
                Section::Server,
                server.key("colour"),
                "unknown key; [server] takes listen, workers, pin_workers, state_dir, user, control, overrides, \
                 watch_files, identity, version, proxy_from, access, cookies, tcp, rate_limit, tls",
            ),
            (Section::Server, server.key("ttl"), "unknown key here; \"ttl\" belongs in [zones.NAME]"),
            (Section::Zone, zone.key("tll"), "unknown key; did you mean \"ttl\"?"),
            (Section::Zone, zone.key("TTL"), "unknown key; did you mean \"ttl\"?"),
            (Section::Zone, zone.key("seeds"), "unknown key here; \"seeds\" belongs in [zones.\"a.b\".cluster]"),
            (
                Section::Health,
                zone.key("health").key("treshold"),
                "unknown key; [zones.\"a.b\".health] takes enabled, interval, timeout, rise, fall, panic_threshold, slow_start",
            ),
        ];
        for (section, path, expected) in cases {
            assert_eq!(unknown(section, &path), expected, "{path}");
        }
    }

    #[test]
    fn unknown_variables_get_the_nearest_one() {
        let cases = [
            ("SERVER_LISTEN", "unknown variable; did you mean ALTERNATOR_DNS_SERVER__LISTEN?"),
            ("SEEDS", "unknown variable; did you mean ALTERNATOR_DNS_CLUSTER__SEEDS?"),
            ("TLL", "unknown variable; did you mean ALTERNATOR_DNS_TTL?"),
            ("SOMETHING_ELSE", "unknown variable; \"alternator-dns config\" prints every option there is"),
        ];
        for (name, expected) in cases {
            assert_eq!(unknown_variable(name), expected);
        }
        assert!(unknown_variable("ZONES__A__TTL").contains("ALTERNATOR_DNS_ZONE and leave"));
    }
}
