//! The configuration as an operator meets it: files, variables and flags in; a configuration or exact texts out.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use hickory_proto::rr::Name;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    keys::{KEYS, Kind},
    *,
};
use crate::model::{Denied, Prefix};

mod cluster;
mod server;

/// A folder with one configuration file.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.toml"), text).unwrap();
        Case { folder }
    }

    fn load(&self, flags: Flags, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
        let flags = Flags { config: Some(self.folder.path().join("a.toml")), ..flags };
        load(&flags, owned(variables), &[] as &[&Path])
    }

    /// Problem texts, without the folder.
    fn texts(&self, problems: &[Problem]) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn problems(&self, flags: Flags, variables: &[(&str, &str)]) -> Vec<String> {
        self.texts(&self.load(flags, variables).unwrap_err())
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn without_file(flags: Flags, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    load(&flags, owned(variables), &["/nonexistent/a.toml"])
}

fn good(text: &str) -> Loaded {
    Case::new(text).load(Flags::default(), &[]).unwrap()
}

fn warnings(text: &str) -> Vec<String> {
    let case = Case::new(text);
    case.texts(&case.load(Flags::default(), &[]).unwrap().warnings)
}

fn bad(text: &str) -> Vec<String> {
    Case::new(text).problems(Flags::default(), &[])
}

const FULL: &str = r#"
[server]
listen = ["127.0.0.1:5300", "[::]:53"]
workers = 4
pin_workers = true
state_dir = "state"
[zones."Alternator.Example."]
file = "zones/a.zone"
ttl = "10s"
min_ttl = "2s"
answers = 8
subnet_prefix_v4 = 16
datacenter_failover = true
preferred_datacenter = "dc1"
preferred_rack = "rack1"
[zones."Alternator.Example.".cluster]
seeds = ["10.0.0.1", "scylla.example.com", "[fd00::1]"]
scheme = "https://"
port = 8043
active_interval = "2s"
idle_interval = "1m"
datacenters = { dc1 = ["rack1", "rack2"], dc2 = [] }
removal_cap = 0.25
discovery = "System_Tables"
credentials_file = "credentials"
ca_file = "ca.pem"
client_cert = "client.pem"
client_key = "/etc/client.key"
server_name = "Alternator.Internal."
resolve_hostnames = true
scope_retention = "10m"
[zones."Alternator.Example.".health]
enabled = false
interval = "500ms"
timeout = "1s"
rise = 1
fall = 3
panic_threshold = 1
slow_start = "0s"
[[zones."Alternator.Example.".scopes]]
label = "Web"
chain = ["dc1/rack1", "dc1", "cluster"]
[[zones."Alternator.Example.".scopes]]
chain = ["dc2", "dc1"]
[[zones."Alternator.Example.".address_map]]
clients = ["203.0.113.0/24"]
from = "10.0.0.0/24"
to = "198.51.100.0/24"
[[zones."Alternator.Example.".address_map]]
client_routes = "link-1"
"#;

#[test]
fn a_full_file_is_read_to_the_last_value() {
    let case = Case::new(FULL);
    let loaded = case.load(Flags::default(), &[]).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.file, Some(case.folder.path().join("a.toml")));
    let expected = Config {
        server: ServerConfig {
            listen: vec!["127.0.0.1:5300".parse().unwrap(), "[::]:53".parse().unwrap()],
            workers: 4,
            pin_workers: true,
            state_dir: Some(case.folder.path().join("state")),
            ..ServerConfig::default()
        },
        zones: vec![ZoneConfig {
            apex: Name::from_ascii("alternator.example.").unwrap(),
            file: Some(case.folder.path().join("zones/a.zone")),
            ttl: Duration::from_secs(10),
            min_ttl: Duration::from_secs(2),
            answers: Answers::Count(8.try_into().unwrap()),
            subnet_prefix_v4: 16,
            datacenter_failover: true,
            access: Access::default(),
            preferred_datacenter: Some("dc1".into()),
            preferred_rack: Some("rack1".into()),
            cluster: ClusterConfig {
                seeds: vec![
                    Seed::Address("10.0.0.1".parse().unwrap()),
                    Seed::Host("scylla.example.com".to_owned()),
                    Seed::Address("fd00::1".parse().unwrap()),
                ],
                scheme: Scheme::Https,
                port: 8043,
                active_interval: Duration::from_secs(2),
                idle_interval: Duration::from_secs(60),
                datacenters: [("dc1".into(), vec!["rack1".into(), "rack2".into()]), ("dc2".into(), vec![])].into(),
                removal_cap: 0.25,
                discovery: DiscoveryMode::SystemTables,
                credentials: Some(Credentials::File(case.folder.path().join("credentials"))),
                tls: NodeTls {
                    ca_file: Some(case.folder.path().join("ca.pem")),
                    client: Some(ClientIdentity {
                        certificate: case.folder.path().join("client.pem"),
                        key: "/etc/client.key".into(),
                    }),
                    server_name: Some("alternator.internal".to_owned()),
                    insecure_skip_verify: false,
                },
                resolve_hostnames: true,
                scope_retention: Duration::from_secs(600),
            },
            health: HealthConfig {
                enabled: false,
                interval: Duration::from_millis(500),
                timeout: Duration::from_secs(1),
                rise: 1,
                fall: 3,
                panic_threshold: 1.0,
                slow_start: Duration::ZERO,
            },
            scopes: vec![
                ScopeRule {
                    label: Some("web".to_owned()),
                    chain: vec![
                        Scope::Rack("dc1".into(), "rack1".into()),
                        Scope::Datacenter("dc1".into()),
                        Scope::Cluster,
                    ],
                },
                ScopeRule {
                    label: None,
                    chain: vec![Scope::Datacenter("dc2".into()), Scope::Datacenter("dc1".into())],
                },
            ],
            address_map: vec![
                AddressRule {
                    clients: Some(vec!["203.0.113.0/24".parse().unwrap()]),
                    to: Mapping::Network {
                        from: "10.0.0.0/24".parse().unwrap(),
                        to: "198.51.100.0/24".parse().unwrap(),
                    },
                },
                AddressRule { clients: None, to: Mapping::Routes("link-1".to_owned()) },
            ],
            fallback_zone: None,
        }],
    };
    assert_eq!(loaded.config, expected);
}

#[test]
fn every_problem_is_told_at_once_in_reading_order() {
    let text = r#"[server]
listen = ["127.0.0.1", "[::]:53",
  "[::]:53"]
wrokers = 2
[zones."alternator.local"]
ttl = 5
answers = "many"
seeds = ["10.0.0.1"]
preferred_rack = "rack1"
[zones."alternator.local".cluster]
seeds = [
  "10.0.0.1:8000",
  7,
]
port = "8000"
active_interval = "10ms"
[zones."alternator.local".health]
timeout = "2"
rise = 0
panic_threshold = 1.5
[[zones."alternator.local".scopes]]
label = "_x"
chain = []
[[zones."alternator.local".scopes]]
"#;
    let zone = "zones.\"alternator.local\"";
    let expected = [
        "a.toml:2: server.listen: \"127.0.0.1\" has no port; write \"127.0.0.1:53\"".to_owned(),
        "a.toml:3: server.listen: \"[::]:53\" is listed twice".to_owned(),
        "a.toml:4: server.wrokers: unknown key; did you mean \"workers\"?".to_owned(),
        format!("a.toml:6: {zone}.ttl: a duration needs a unit: ttl = \"5s\""),
        format!("a.toml:7: {zone}.answers: \"many\" is neither \"auto\" nor a number (0 = all)"),
        format!("a.toml:8: {zone}.seeds: unknown key here; \"seeds\" belongs in [{zone}.cluster]"),
        format!(
            "a.toml:9: {zone}.preferred_rack: needs preferred_datacenter too: racks of two datacenters may share a name"
        ),
        format!(
            "a.toml:12: {zone}.cluster.seeds: \"10.0.0.1:8000\" has a port; write \"10.0.0.1\" and set the one port of all nodes as \"port\""
        ),
        format!("a.toml:13: {zone}.cluster.seeds: item 2 must be text in quotes, not an integer"),
        format!("a.toml:15: {zone}.cluster.port: must be a number without quotes: port = 8000"),
        format!("a.toml:16: {zone}.cluster.active_interval: \"10ms\" is too short; the least is \"50ms\""),
        format!("a.toml:18: {zone}.health.timeout: \"2\" has no unit; write \"2s\""),
        format!("a.toml:19: {zone}.health.rise: 0 is out of range; it must be 1 to 100"),
        format!("a.toml:20: {zone}.health.panic_threshold: 1.5 is no share; it must be 0.0 to 1.0"),
        format!("a.toml:22: {zone}.scopes.label: \"_x\": labels that begin with \"_\" are reserved"),
        format!(
            "a.toml:23: {zone}.scopes.chain: is empty; name the scopes to try in order: chain = [\"dc1/rack1\", \"dc1\", \"cluster\"]"
        ),
        format!(
            "a.toml:24: {zone}.scopes.chain: is missing; write a chain, and a label if it is to be a name of its own: chain = [\"dc1/rack1\", \"dc1\", \"cluster\"]"
        ),
    ];
    let got = Case::new(text)
        .problems(Flags { ttl: Some("1week".to_owned()), ..Flags::default() }, &[("ALTERNATOR_DNS_HEALTH__FALL", "0")]);
    let (in_file, outside) = got.split_at(got.len().saturating_sub(2));
    // The flag replaces the file's ttl, but both are told: the file stays wrong.
    assert_eq!(in_file, expected);
    assert_eq!(
        outside,
        [
            "--ttl: \"1week\" is too long; the most is \"1day\"",
            "ALTERNATOR_DNS_HEALTH__FALL: 0 is out of range; it must be 1 to 100",
        ]
    );
}

#[test]
fn bad_files_are_told_in_these_words() {
    let cases = [
        ("zones = 3", "a.toml:1: zones: must be a table, which begins with [zones.\"alternator.local\"]"),
        ("server = []", "a.toml:1: server: must be a table, which begins with [server]"),
        ("[zone.\"a.b\"]", "a.toml:1: zone: unknown key; did you mean \"zones\"?"),
        ("[zones]\na = 1", "a.toml:2: zones.a: must be a table; a zone begins with its name in brackets"),
        ("[server]\nlisten = \"[::]:53\"", "a.toml:2: server.listen: must be a list: listen = [\"[::]:53\"]"),
        (
            "[server]\nlisten = []",
            "a.toml:2: server.listen: is empty; name at least one address, such as [\"127.0.0.1:5300\"]",
        ),
        ("[server]\nworkers = 9999", "a.toml:2: server.workers: 9999 is out of range; it must be 0 to 1024"),
        ("[server]\nworkers = -1", "a.toml:2: server.workers: -1 is out of range; it must be 0 to 1024"),
        ("[server]\nworkers = 99999999999999999999", "a.toml:2: server.workers: the number is too large: workers = 0"),
        ("[server]\nworkers = 2.5", "a.toml:2: server.workers: must be a whole number, not a float: workers = 0"),
        (
            "[server]\nstate_dir = 1979-05-27",
            "a.toml:2: server.state_dir: must be text in quotes, not a datetime: state_dir = \"/var/lib/alternator-dns\"",
        ),
        (
            "[zones.\"\"]",
            "a.toml:1: zones.\"\": a zone needs a name of its own, such as \"alternator.local\"; the root is none",
        ),
        ("[zones.\"a b\"]", "a.toml:1: zones.\"a b\": \"a b\": a label holds only a-z, 0-9, \"-\" and \"_\", not ' '"),
        ("[zones.\"a..b\"]", "a.toml:1: zones.\"a..b\": \"a..b\" has a dot too many"),
        ("[zones.a]\n[zones.b]\n[zones.\"A.\"]", "a.toml:3: zones.\"A.\": \"A.\" is the same zone as \"a\" in line 1"),
        (
            "[zones.a]\ndatacenter_failover = \"true\"",
            "a.toml:2: zones.a.datacenter_failover: must be true or false without quotes: datacenter_failover = true",
        ),
        (
            "[zones.a]\npreferred_datacenter = \"dc1/r1\"",
            "a.toml:2: zones.a.preferred_datacenter: holds a rack too; write \"dc1\" here and preferred_rack = \"r1\"",
        ),
        (
            "[zones.a]\nanswers = 70000",
            "a.toml:2: zones.a.answers: 70000 is out of range; the most is 1000, and 0 means all",
        ),
        (
            "[zones.a]\nsubnet_prefix_v4 = 33",
            "a.toml:2: zones.a.subnet_prefix_v4: 33 is out of range; it must be 0 to 32",
        ),
        ("[zones.a.cluster]\nport = 0", "a.toml:2: zones.a.cluster.port: 0 is out of range; it must be 1 to 65535"),
        (
            "[zones.a.cluster]\nscheme = \"ftp\"",
            "a.toml:2: zones.a.cluster.scheme: \"ftp\" is no scheme; write \"http\" or \"https\"",
        ),
        (
            "[zones.a.cluster]\ndatacenters = [\"dc1\"]",
            "a.toml:2: zones.a.cluster.datacenters: must be a table of datacenters with their racks, not an array: datacenters = { dc1 = [\"rack1\", \"rack2\"], dc2 = [] }",
        ),
        (
            "[zones.a.cluster.datacenters]\ndc1 = \"r1\"",
            "a.toml:2: zones.a.cluster.datacenters.dc1: must be a list of racks, such as [\"rack1\"]; [] when none is known",
        ),
        (
            "[zones.a.cluster.datacenters]\n\"dc1/r1\" = []",
            "a.toml:2: zones.a.cluster.datacenters.\"dc1/r1\": is a rack; write \"dc1\" = [\"r1\"]",
        ),
        (
            "[zones.a]\nscopes = [ 5 ]",
            "a.toml:2: zones.a.scopes: must be a table, such as { label = \"web\", chain = [\"dc1\", \"cluster\"] }",
        ),
        (
            "[zones.a.scopes]\nlabel = \"w\"",
            "a.toml:1: zones.a.scopes: must be a list of tables; each begins with [[zones.a.scopes]]",
        ),
        (
            "[[zones.a.scopes]]\nlabel = \"w\"",
            "a.toml:1: zones.a.scopes.chain: is missing; write a chain: chain = [\"dc1/rack1\", \"dc1\", \"cluster\"]",
        ),
        (
            "[[zones.a.scopes]]\nchain = [\"dc1\",\n\"dc1/\"]",
            "a.toml:3: zones.a.scopes.chain: \"dc1/\" is no scope; write \"cluster\", a datacenter (\"dc1\") or its rack (\"dc1/rack1\")",
        ),
        (
            "[[zones.a.scopes]]\nlabel = \"w\"\nchain = [\"dc1\"]\n[[zones.a.scopes]]\nlabel = \"W\"\nchain = [\"dc1\"]",
            "a.toml:5: zones.a.scopes.label: \"w\" is taken already in line 2",
        ),
        (
            "[[zones.a.scopes]]\nchain = [\"dc1\"]\n[[zones.a.scopes]]\nchain = [\"dc1\", \"dc2\"]",
            "a.toml:4: zones.a.scopes.chain: \"dc1\" has a chain already in line 2; give this one a label",
        ),
        (
            "[[zones.a.scopes]]\nlabel = \"a.b\"\nchain = [\"dc1\"]",
            "a.toml:2: zones.a.scopes.label: \"a.b\" is more than one label; write it without dots",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(bad(text), [expected], "{text}");
    }
}

#[test]
fn text_that_is_no_toml_is_told_with_line_and_column() {
    assert_eq!(
        bad("[server]\nlisten = [\"a\"\nworkers = 1\n"),
        ["a.toml:3: column 1: missing comma between array elements, expected `,`"]
    );
    assert_eq!(
        bad("[zones.alternator.local\n\n[server]\n[server]\n"),
        ["a.toml:1: column 24: unclosed table, expected `]`", "a.toml:4: column 2: duplicate key"]
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let read = |path: &Path| {
        let flags = Flags { config: Some(path.to_owned()), ..Flags::default() };
        let problems = load(&flags, [], &[] as &[&Path]).unwrap_err();
        problems.iter().map(Problem::to_string).collect::<Vec<_>>()
    };
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().display();
    assert_eq!(
        read(&folder.path().join("x")),
        [format!("{shown}/x: cannot be read: No such file or directory (os error 2)")]
    );
    assert_eq!(read(folder.path()), [format!("{shown}: cannot be read: Is a directory (os error 21)")]);
    let large = folder.path().join("large");
    fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(read(&large), [format!("{shown}/large: cannot be read: larger than 1 MiB, which no configuration is")]);
    let latin1 = folder.path().join("latin1");
    fs::write(&latin1, b"# a\n# b\n# M\xfcnchen\n").unwrap();
    assert_eq!(read(&latin1), [format!("{shown}/latin1: cannot be read: line 3 is not UTF-8 text")]);
}

#[test]
fn a_file_is_looked_for_where_none_is_named() {
    let case = Case::new("[server]\nworkers = 7");
    let path = case.folder.path().join("a.toml");
    let loaded = load(&Flags::default(), [], &[case.folder.path().join("none"), path.clone()]).unwrap();
    assert_eq!((loaded.config.server.workers, loaded.file), (7, Some(path.clone())));
    let variables = [("ALTERNATOR_DNS_CONFIG".to_owned(), path.display().to_string())];
    assert_eq!(load(&Flags::default(), variables, &[] as &[&Path]).unwrap().file, Some(path));
}

#[test]
fn nothing_at_all_is_a_configuration_without_zones() {
    let loaded = without_file(Flags::default(), &[]).unwrap();
    assert_eq!(loaded.config, Config { server: ServerConfig::default(), zones: vec![] });
    assert_eq!((loaded.file, loaded.warnings), (None, vec![]));
    let ttl_alone = without_file(Flags { ttl: Some("1s".to_owned()), ..Flags::default() }, &[]).unwrap();
    assert!(ttl_alone.config.zones.is_empty());
    assert!(NO_ZONE.contains("alternator-dns demo") && NO_ZONE.contains("--seed"));
}

#[test]
fn seeds_alone_make_the_usual_zone_and_say_so() {
    let loaded = without_file(Flags { seeds: vec!["10.0.0.1".to_owned()], ..Flags::default() }, &[]).unwrap();
    assert_eq!(loaded.config.zones[0].name(), DEFAULT_ZONE);
    let texts: Vec<_> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(texts[0], "--seed: no zone is named, so it is \"alternator.local\"; --zone names another");
    assert!(texts[1].contains("mDNS"), "{texts:?}");
    assert_eq!(texts.len(), 2);
}

#[test]
fn a_later_layer_wins() {
    let case = Case::new(
        "[server]\nworkers = 1\n[zones.a]\nttl = \"10s\"\n[zones.a.cluster]\nport = 1\nseeds = [\"10.0.0.1\", \"10.0.0.2\"]\n",
    );
    let zone = |flags: Flags, variables: &[(&str, &str)]| case.load(flags, variables).unwrap().config;
    let seconds = |config: &Config| config.zones[0].ttl.as_secs();

    assert_eq!(seconds(&zone(Flags::default(), &[])), 10);
    let variables = [
        ("ALTERNATOR_DNS_TTL", "20s"),
        ("ALTERNATOR_DNS_CLUSTER__PORT", "2"),
        ("ALTERNATOR_DNS_CLUSTER__SEEDS", "10.0.0.3"),
        ("ALTERNATOR_DNS_SERVER__WORKERS", "3"),
        ("ALTERNATOR_DNS_SERVER__LISTEN", "127.0.0.1:1053,[::1]:1053"),
        ("ALTERNATOR_DNS_HEALTH__PANIC_THRESHOLD", "0.25"),
        ("ALTERNATOR_DNS_DATACENTER_FAILOVER", "true"),
    ];
    let config = zone(Flags::default(), &variables);
    let only = &config.zones[0];
    assert_eq!((seconds(&config), only.cluster.port, config.server.workers), (20, 2, 3));
    assert_eq!((only.cluster.seeds.len(), config.server.listen.len()), (1, 2));
    assert_eq!((only.health.panic_threshold, only.datacenter_failover), (0.25, true));

    let flags = Flags { ttl: Some("30s".to_owned()), port: Some(3), answers: Some("0".to_owned()), ..Flags::default() };
    let config = zone(flags, &variables);
    assert_eq!((seconds(&config), config.zones[0].cluster.port), (30, 3));
    assert_eq!((config.zones[0].answers, config.zones.len()), (Answers::All, 1));
}

#[test]
fn flags_and_variables_apply_to_the_zone_meant() {
    let two = Case::new("[zones.\"a.b\"]\n[zones.c]\n");
    let ttl = || Some("9s".to_owned());
    let ttls =
        |loaded: Loaded| loaded.config.zones.iter().map(|zone| (zone.name(), zone.ttl.as_secs())).collect::<Vec<_>>();
    let pairs = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, ttl)| (name.to_string(), *ttl)).collect::<Vec<_>>();

    let flags = Flags { zone: Some("A.B.".to_owned()), ttl: ttl(), ..Flags::default() };
    assert_eq!(ttls(two.load(flags, &[]).unwrap()), pairs(&[("a.b", 9), ("c", 5)]));
    let variables = [("ALTERNATOR_DNS_ZONE", "c"), ("ALTERNATOR_DNS_TTL", "8s")];
    assert_eq!(ttls(two.load(Flags::default(), &variables).unwrap()), pairs(&[("a.b", 5), ("c", 8)]));
    let flags = Flags { zone: Some("new".to_owned()), ..Flags::default() };
    assert_eq!(ttls(two.load(flags, &variables).unwrap()), pairs(&[("a.b", 5), ("c", 5), ("new", 8)]));

    let flags = Flags { ttl: ttl(), ..Flags::default() };
    assert_eq!(
        two.problems(flags, &[("ALTERNATOR_DNS_CLUSTER__PORT", "1")]),
        ["ALTERNATOR_DNS_CLUSTER__PORT, --ttl: for which zone? The file has \"a.b\", \"c\"; name one with --zone"]
    );
    let flags = Flags { zone: Some("a b".to_owned()), seeds: vec!["http://x".to_owned()], ..Flags::default() };
    assert_eq!(
        two.problems(flags, &[]),
        [
            "--zone: \"a b\": a label holds only a-z, 0-9, \"-\" and \"_\", not ' '",
            "--seed: \"http://x\" is a URL; write only the host: \"x\" (\"scheme\" and \"port\" are keys)",
        ]
    );
}

#[test]
fn what_works_but_should_be_known_is_a_warning() {
    assert_eq!(
        warnings("[zones.\"x.local\"]\n"),
        [
            "a.toml:1: zones.\"x.local\": many hosts look up names under .local by mDNS only (RFC 6762) and never ask a DNS server; a name such as \"alternator.internal\" works everywhere",
            "a.toml:1: zones.\"x.local\".cluster.seeds: no seeds: the zone serves only its static records",
        ]
    );
    assert_eq!(
        warnings(
            "[zones.a.cluster]\nseeds = [\"10.0.0.1\",\n\"10.0.0.1\"]\nidle_interval = \"500ms\"\n[zones.a.health]\ntimeout = \"6s\"\n"
        ),
        [
            "a.toml:3: zones.a.cluster.seeds: \"10.0.0.1\" is listed twice; once is enough",
            "a.toml:4: zones.a.cluster.idle_interval: is shorter than active_interval: the zone is polled faster while nobody asks",
            "a.toml:6: zones.a.health.timeout: is much longer than interval: a silent node stays in answers that much longer",
        ]
    );
    let loaded = good("[zones.a.cluster]\nactive_interval = \"5s\"");
    assert_eq!(loaded.config.zones[0].cluster.idle_interval, Duration::from_secs(5));
}

#[test]
fn answers_and_schemes_may_be_written_in_several_ways() {
    let answers = |value: &str| good(&format!("[zones.a]\nanswers = {value}")).config.zones[0].answers;
    assert_eq!((answers("\"auto\""), answers("0"), answers("\"0\"")), (Answers::Auto, Answers::All, Answers::All));
    assert_eq!((answers("8"), answers("\"8\"")), (Answers::Count(8.try_into().unwrap()), answers("8")));
    for (written, expected) in [("http", Scheme::Http), ("http:", Scheme::Http), ("HTTPS://", Scheme::Https)] {
        let text = format!("[zones.a.cluster]\nscheme = \"{written}\"");
        assert_eq!(good(&text).config.zones[0].cluster.scheme, expected);
    }
}

#[test]
fn more_than_the_bounds_is_refused() {
    let zones: String = (0..300).map(|zone| format!("[zones.z{zone}]\n")).collect();
    assert_eq!(bad(&zones), ["a.toml:1: zones: 300 zones are too many; the most is 256"]);
    let seeds: Vec<_> = (0..300).map(|seed| format!("\"10.0.{}.{}\"", seed / 250, seed % 250 + 1)).collect();
    assert_eq!(
        bad(&format!("[zones.a.cluster]\nseeds = [{}]", seeds.join(", "))),
        ["a.toml:2: zones.a.cluster.seeds: 300 seeds are too many; the most is 256"]
    );
}

#[test]
fn every_example_of_a_key_is_a_right_value() {
    for key in KEYS.iter().filter(|key| !matches!(key.kind, Kind::Section(_) | Kind::Zones | Kind::Tables(_))) {
        let text = match key.section {
            keys::Section::ListenerAccess => format!("[[server.access]]\n{} = {}", key.name, key.example),
            keys::Section::Tls => {
                let needed = ["listen = [\"127.0.0.1:853\"]", "certificate = \"c\"", "key = \"k\""];
                let others = needed.iter().filter(|other| !other.starts_with(&format!("{} ", key.name)));
                let others: String = others.map(|other| format!("{other}\n")).collect();
                format!("[server.tls]\n{others}{} = {}", key.name, key.example)
            }
            keys::Section::AddressRule => {
                let with = match key.name {
                    "client_routes" => "",
                    "from" => "to = \"198.51.100.0/24\"",
                    "to" => "from = \"10.0.0.0/24\"",
                    _ => "client_routes = \"link-1\"",
                };
                format!("[[zones.a.address_map]]\n{with}\n{} = {}", key.name, key.example)
            }
            keys::Section::Scope => format!("[[zones.a.scopes]]\nchain = [\"dc9\"]\n{} = {}", key.name, key.example)
                .replace(if key.name == "chain" { "chain = [\"dc9\"]\n" } else { "" }, ""),
            _ => {
                let path = key.path("a").to_string();
                let with = match key.name {
                    "preferred_rack" => "zones.a.preferred_datacenter = \"dc1\"",
                    "access_key_id" => "zones.a.cluster.secret_access_key = \"hush\"",
                    "secret_access_key" => "zones.a.cluster.access_key_id = \"dns\"",
                    "client_cert" => "zones.a.cluster.client_key = \"k\"",
                    "client_key" => "zones.a.cluster.client_cert = \"c\"",
                    "fallback_zone" => "zones.\"backup.internal\".cluster.seeds = [\"10.0.0.1\"]",
                    _ => "",
                };
                format!("{with}\n{path} = {}", key.example)
            }
        };
        good(&text);
    }
}

#[test]
fn a_long_list_is_refused_at_once() {
    let text = format!("[zones.a.cluster]\nseeds = [{}]", "'a',".repeat(200_000));
    let started = std::time::Instant::now();
    assert_eq!(bad(&text), ["a.toml:2: zones.a.cluster.seeds: 200000 seeds are too many; the most is 256"]);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

/// Fragments that make random text likely to get past the parser.
fn fragment() -> impl Strategy<Value = String> {
    let known = KEYS.iter().flat_map(|key| [key.name.to_owned(), format!("{} = {}", key.name, key.example)]);
    let mut fragments: Vec<String> = known.collect();
    let syntax =
        ["\n", " = ", "[", "]", "[[", "]]", ".", "\"", "\"a.b\"", "zones.\"a.b\"", "{", "}", ",", "-1", "0", "1e999"];
    let values =
        ["\"5s\"", "true", "[]", "\"\"", "nan", "0xffffffffffffffffff", "\"\\u0000é\"", "1979-05-27", "\"::\"", "#"];
    fragments.extend(syntax.iter().chain(&values).map(|text| text.to_string()));
    prop_oneof![4 => prop::sample::select(fragments), 1 => "\\PC{0,8}"]
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_list_of_problems(parts in prop::collection::vec(fragment(), 0..24), noise in any::<String>()) {
        for text in [parts.concat(), noise] {
            let case = Case::new(&text);
            if let Err(problems) = case.load(Flags::default(), &[]) {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(problem.to_string().lines().count() == 1, "{problem}");
                }
            }
        }
    }

    #[test]
    fn any_variable_and_flag_is_taken_or_refused(
        index in 0..KEYS.len(), value in "\\PC{0,12}", zone in prop::option::of("\\PC{0,12}"), flag in "\\PC{0,12}",
    ) {
        let name = KEYS[index].variable().unwrap_or_else(|| "ALTERNATOR_DNS_SCOPES".to_owned());
        let flags = Flags {
            zone, seeds: vec![flag.clone()], listen: vec![flag.clone()], scheme: Some(flag.clone()),
            answers: Some(flag.clone()), ttl: Some(flag), ..Flags::default()
        };
        let _ = without_file(flags, &[(&name, &value)]);
    }
}
