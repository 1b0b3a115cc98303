//! The files that a configuration names.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    config::{self, ClusterConfig, Config, Credentials, DiscoveryMode, Problem, Scheme, TlsConfig, ZoneConfig},
    discovery::tables::{Keys, read_credentials},
    http::{IdentityError, NodeIdentity},
    overrides,
    server::encrypted,
    table::conflicts,
    zone::file::{self, StaticZone},
};

/// How long the files of a configuration may take to be read. A file system that hangs must not hold up whoever waits for
/// a reload for ever; over HTTP he has half a minute.
pub const LOAD_WITHIN: Duration = Duration::from_secs(10);

/// Loads the zone files of a configuration and checks them against it; every problem at once.
pub fn load_zones(config: &Config) -> Result<Vec<StaticZone>, Vec<Problem>> {
    let (mut zones, mut problems) = (Vec::new(), Vec::new());
    for zone in &config.zones {
        let loaded = zone.file.as_ref().map_or(Ok(StaticZone::default()), |path| file::load(path, &zone.apex));
        match loaded {
            Ok(statics) => {
                problems.extend(conflicts(zone, &statics));
                zones.push(statics);
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(zones) } else { Err(problems) }
}

/// What a zone's nodes and this server prove to each other with, as it was in the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Proofs {
    /// How nodes are verified, and what they are shown.
    pub(super) identity: NodeIdentity,
    /// What reads of tables are signed with, where a file has it.
    pub(super) keys: Option<Keys>,
}

/// What is read from the files of a configuration.
pub(super) struct Loaded {
    /// Of each zone, in order.
    pub(super) zones: Vec<StaticZone>,
    /// What nodes and this server prove to each other with, of each, in order.
    pub(super) proofs: Vec<Proofs>,
    /// Stands for what is in the certificate's files; `None` where nothing is encrypted.
    pub(super) certificate: Option<u64>,
}

/// The zone files, the certificates and the file of overrides of a configuration; every problem at once.
pub(super) async fn load(config: &Config) -> Result<Loaded, Vec<Problem>> {
    let config = config.clone();
    let load = spawn_blocking(move || {
        let certificate = certificate(&config.server.tls);
        let overrides = config.server.overrides.as_deref().map_or(Ok(()), overrides::check);
        match (load_zones(&config), load_proofs(&config), certificate, overrides) {
            (Ok(zones), Ok(proofs), Ok(certificate), Ok(())) => Ok(Loaded { zones, proofs, certificate }),
            (zones, proofs, certificate, overrides) => {
                let lists = [zones.err(), proofs.err(), overrides.err()].into_iter().flatten().flatten();
                Err(lists.chain(certificate.err()).collect())
            }
        }
    });
    let whole = |text: String| Err(vec![Problem::new(text)]);
    match timeout(LOAD_WITHIN, load).await {
        Ok(loaded) => loaded.unwrap_or_else(|error| whole(error.to_string())),
        Err(_) => whole(format!("the files cannot be read within {} seconds", LOAD_WITHIN.as_secs())),
    }
}

/// Reads both parts of each zone's proofs; every problem at once.
pub(super) fn load_proofs(config: &Config) -> Result<Vec<Proofs>, Vec<Problem>> {
    match (load_identities(config), load_keys(config)) {
        (Ok(identities), Ok(keys)) => {
            Ok(identities.into_iter().zip(keys).map(|(identity, keys)| Proofs { identity, keys }).collect())
        }
        (identities, keys) => Err([identities.err(), keys.err()].into_iter().flatten().flatten().collect()),
    }
}

/// The file with the keys that a cluster's tables are read with, where it is used.
fn credentials_file(cluster: &ClusterConfig) -> Option<&PathBuf> {
    match &cluster.credentials {
        Some(Credentials::File(path))
            if cluster.discovery != DiscoveryMode::Localnodes && !cluster.seeds.is_empty() =>
        {
            Some(path)
        }
        _ => None,
    }
}

/// Reads the files with credentials, of each zone that uses one; every problem at once.
pub fn load_keys(config: &Config) -> Result<Vec<Option<Keys>>, Vec<Problem>> {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for zone in &config.zones {
        let file = credentials_file(&zone.cluster).map(|path| read_credentials(&Credentials::File(path.clone())));
        keys.push(file.transpose().unwrap_or_else(|error| {
            let at = format!("zones.{:?}.cluster.credentials_file", zone.name());
            problems.push(Problem::new(error.reason()).at_key(at));
            None
        }));
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

/// Reads what the nodes of each zone are verified with; every problem at once. Zones that say the same share it.
pub fn load_identities(config: &Config) -> Result<Vec<NodeIdentity>, Vec<Problem>> {
    let (mut identities, mut problems): (Vec<NodeIdentity>, _) = (Vec::new(), Vec::new());
    // Nobody is asked where there are no seeds.
    let asks = |zone: &&ZoneConfig| !zone.cluster.seeds.is_empty();
    for zone in &config.zones {
        let is_alike = |(other, _): &(&ZoneConfig, &NodeIdentity)| {
            asks(other) && (other.cluster.scheme, &other.cluster.tls) == (zone.cluster.scheme, &zone.cluster.tls)
        };
        let read = match config.zones.iter().zip(&identities).find(is_alike) {
            _ if !asks(&zone) => Ok(NodeIdentity::default()),
            Some((_, identity)) => Ok(identity.clone()),
            None => NodeIdentity::read(&zone.cluster),
        };
        identities.push(read.unwrap_or_else(|errors| {
            let at = |error: &IdentityError| format!("zones.{:?}.cluster.{}", zone.name(), error.key());
            problems.extend(errors.iter().map(|error| Problem::new(error.to_string()).at_key(at(error))));
            NodeIdentity::default()
        }));
    }
    if problems.is_empty() { Ok(identities) } else { Err(problems) }
}

/// Says what is doubtful about them, at each start and reload: nobody looks at the log of a month ago.
pub(super) fn warn_of_identities(config: &Config, proofs: &[Proofs]) {
    for (zone, Proofs { identity, .. }) in config.zones.iter().zip(proofs) {
        let zone = zone.name();
        if identity.is_unverified() {
            tracing::warn!(zone, "nodes are not verified (insecure_skip_verify): anybody in their place is believed");
        }
        identity.doubts(SystemTime::now()).iter().for_each(|doubt| tracing::warn!(zone, "{doubt}"));
    }
}

/// Checks the certificate of the encrypted transports. What is in its files, as a number.
pub(super) fn certificate(tls: &TlsConfig) -> Result<Option<u64>, Problem> {
    let paths = [&tls.certificate, &tls.key];
    let problem = |error: &dyn fmt::Display| Problem::new(error.to_string()).at_key("server.tls");
    encrypted::check(tls, SystemTime::now()).map_err(|error| problem(&error))?;
    if tls.listen.is_empty() && tls.https.is_empty() && tls.quic.is_empty() {
        return Ok(None);
    }
    let mut hasher = DefaultHasher::new();
    for path in paths.into_iter().flatten() {
        // That it can be read, and is not too long, has just been seen.
        fs::read(path).map_err(|error| problem(&error))?.hash(&mut hasher);
    }
    Ok(Some(hasher.finish()))
}

/// What is wrong in the zone files of a configuration that is not fine itself, so that one look shows everything. Only
/// what each file says for itself: whether it fits the configuration is told once that can be read.
pub fn problems_of_zone_files(config: &Path) -> Vec<Problem> {
    let files = config::zone_files(config);
    files.iter().flat_map(|(apex, path)| file::load(path, apex).err().unwrap_or_default()).collect()
}

/// The files that a configuration names, and whose change is a reason to load everything again.
pub fn files_of(config: &Config) -> Vec<PathBuf> {
    let tls = &config.server.tls;
    let zones = config.zones.iter().filter_map(|zone| zone.file.clone());
    let over_tls = config.zones.iter().map(|zone| &zone.cluster).filter(|cluster| cluster.scheme == Scheme::Https);
    let nodes = over_tls.flat_map(|ClusterConfig { tls, .. }| {
        let own = tls.client.iter().flat_map(|client| [&client.certificate, &client.key]);
        tls.ca_file.iter().chain(own).cloned()
    });
    let credentials = config.zones.iter().filter_map(|zone| credentials_file(&zone.cluster).cloned());
    zones.chain(nodes).chain(credentials).chain([&tls.certificate, &tls.key].into_iter().flatten().cloned()).collect()
}
