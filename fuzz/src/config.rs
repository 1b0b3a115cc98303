//! Configuration files: any octets are refused with places, or a configuration within its limits, which compiles.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use alternator_dns::{
    config::{Config, Flags, Loaded, Problem, Seed, ServerConfig, ZoneConfig, load, zone_files},
    model::{ClusterView, Scope, is_usable_address},
    table::{Found, Table, ZonePlan, ZoneSource, compile_zone, wire_name},
    zone::file::StaticZone,
};
use tempfile::TempDir;

/// What became of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Became {
    /// Refused: it cannot be read at all, or is no TOML.
    NoToml,
    /// Refused, with problems.
    Refused,
    /// A configuration without a zone.
    Zoneless,
    /// A configuration with zones.
    Loaded,
}

/// Most zones compiled, so that one input stays cheap.
const MOST_COMPILED: usize = 4;

/// Checks one configuration file.
pub fn check(octets: &[u8]) -> Became {
    let path = file();
    fs::write(&path, octets).unwrap();
    let result = read(&path);
    assert_eq!(result, read(&path), "read twice");
    for (apex, _) in zone_files(&path) {
        assert!(apex.is_fqdn() && apex == apex.to_lowercase(), "{apex}");
    }
    let lines = octets.iter().filter(|octet| **octet == b'\n').count() + 1;
    match result {
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| check_place(problem, &path, lines));
            assert!(problems.is_sorted_by_key(|problem| problem.line), "in reading order");
            let is_of_text = |problem: &Problem| problem.key.is_none();
            if problems.iter().all(is_of_text) { Became::NoToml } else { Became::Refused }
        }
        Ok(Loaded { config, file, warnings }) => {
            assert_eq!(file.as_ref(), Some(&path));
            warnings.iter().for_each(|warning| check_place(warning, &path, lines));
            check_config(&config);
            if config.zones.is_empty() { Became::Zoneless } else { Became::Loaded }
        }
    }
}

fn read(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let flags = Flags { config: Some(path.to_owned()), ..Flags::default() };
    load(&flags, [], &[] as &[&Path])
}

/// The file that inputs are written to, one after another; each thread of a test has its own.
fn file() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| TempDir::new().unwrap());
    folder.path().join(format!("{:?}.toml", std::thread::current().id()))
}

/// A problem names the file, and the line unless the text could not be looked into; and is one line itself.
fn check_place(problem: &Problem, path: &Path, lines: usize) {
    assert_eq!(problem.file.as_deref(), Some(path), "{problem}");
    match problem.line {
        Some(line) => assert!((1..=lines).contains(&line), "{problem}"),
        None => assert!(problem.message.starts_with("cannot be read: "), "{problem}"),
    }
    assert!(!problem.message.is_empty());
    let key = problem.key.as_deref().unwrap_or_default();
    assert!(!problem.message.contains(char::is_control) && !key.contains(char::is_control), "{problem:?}");
}

fn check_config(config: &Config) {
    check_server(&config.server);
    assert!(config.zones.len() <= 256);
    let apexes: BTreeSet<_> = config.zones.iter().map(|zone| &zone.apex).collect();
    assert_eq!(apexes.len(), config.zones.len());
    config.zones.iter().for_each(check_zone);
    check_compiles(config);
}

fn check_server(server: &ServerConfig) {
    let ServerConfig { tls, tcp, rate_limit, .. } = server;
    assert!((1..=64).contains(&server.listen.len()) && server.workers <= 1024);
    // Plain DNS has both kinds of ports, TLS and HTTPS have TCP ports, QUIC has UDP ports.
    for sharing in [vec![&server.listen, &tls.listen, &tls.https], vec![&server.listen, &tls.quic]] {
        let fixed: Vec<_> = sharing.into_iter().flatten().filter(|address| address.port() != 0).collect();
        assert_eq!(fixed.iter().collect::<BTreeSet<_>>().len(), fixed.len(), "{fixed:?}");
    }
    let encrypted = [&tls.listen, &tls.https, &tls.quic];
    assert!(encrypted.iter().all(|addresses| addresses.len() <= 64));
    assert!(encrypted.iter().all(|addresses| addresses.is_empty()) || (tls.certificate.is_some() && tls.key.is_some()));
    for told in [&server.identity, &server.version].into_iter().flatten() {
        assert!((1..=64).contains(&told.len()) && !told.contains(char::is_control), "{told:?}");
    }
    assert!(server.access.len() <= 64 && server.cookies.secrets.len() <= 2);
    for listener in server.access.iter().flat_map(|rule| &rule.listeners) {
        let known = [&server.listen, &tls.listen, &tls.https, &tls.quic];
        assert!(known.iter().any(|addresses| addresses.contains(listener)), "{listener}");
    }
    assert!((1..=1_000_000).contains(&tcp.connections) && (1..=1_000_000).contains(&tcp.connections_per_client));
    assert!((Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&tcp.idle));
    assert!((Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&tcp.lifetime));
    assert!(rate_limit.responses_per_second <= 1_000_000 && rate_limit.slip <= 100);
    assert!((8..=32).contains(&rate_limit.prefix_v4) && (16..=128).contains(&rate_limit.prefix_v6));
}

fn check_zone(zone: &ZoneConfig) {
    let interval = Duration::from_millis(50)..=Duration::from_secs(3600);
    assert!(zone.apex.is_fqdn() && !zone.apex.is_root() && zone.apex == zone.apex.to_lowercase(), "{}", zone.apex);
    assert!(zone.ttl <= Duration::from_secs(86_400) && zone.ttl.subsec_nanos() == 0, "{:?}", zone.ttl);
    assert!(zone.subnet_prefix_v4 <= 32);
    assert!(zone.preferred_rack.is_none() || zone.preferred_datacenter.is_some());
    let cluster = &zone.cluster;
    assert!(cluster.seeds.len() <= 256 && cluster.port > 0 && cluster.datacenters.len() <= 64);
    assert!(interval.contains(&cluster.active_interval) && interval.contains(&cluster.idle_interval));
    for seed in &cluster.seeds {
        match seed {
            Seed::Address(address) => assert!(is_usable_address(*address), "{address}"),
            Seed::Host(host) => assert!((1..=254).contains(&host.len()) && host.is_ascii(), "{host:?}"),
        }
    }
    for (dc, racks) in &cluster.datacenters {
        assert!(!dc.is_empty() && racks.len() <= 64 && racks.iter().all(|rack| !rack.is_empty()), "{dc} {racks:?}");
    }
    let health = &zone.health;
    assert!(interval.contains(&health.interval) && (0.0..=1.0).contains(&health.panic_threshold));
    assert!((Duration::from_millis(10)..=Duration::from_secs(30)).contains(&health.timeout));
    assert!((1..=100).contains(&health.rise) && (1..=100).contains(&health.fall));
    assert!(zone.scopes.len() <= 256);
    for rule in &zone.scopes {
        assert!((1..=64).contains(&rule.chain.len()));
        assert_eq!(rule.chain.iter().collect::<BTreeSet<&Scope>>().len(), rule.chain.len(), "{:?}", rule.chain);
        assert!(rule.label.as_ref().is_none_or(|label| (1..=63).contains(&label.len()) && !label.contains('.')));
    }
}

/// The zones compile, before anything is known of their clusters, and their apexes are found.
fn check_compiles(config: &Config) {
    let few = || config.zones.iter().take(MOST_COMPILED);
    let table = Table::new(few().map(|zone| {
        let (config, listen) = (zone.clone(), config.server.listen.clone());
        let source = Arc::new(ZoneSource {
            config,
            statics: StaticZone::default(),
            listen,
            demand: Arc::default(),
            meter: Arc::default(),
        });
        let plan = ZonePlan::new(&source, &ClusterView::default());
        Arc::new(compile_zone(source, plan, 7, None, 1))
    }));
    for zone in few() {
        assert!(matches!(table.find(&wire_name(&zone.apex)), Found::Name(..)), "{}", zone.apex);
    }
}
