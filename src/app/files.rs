//! The files that a configuration names.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    config::{self, Config, Problem, TlsConfig},
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

/// What is read from the files of a configuration.
pub(super) struct Loaded {
    /// Of each zone, in order.
    pub(super) zones: Vec<StaticZone>,
    /// Stands for what is in the certificate's files; `None` where nothing is encrypted.
    pub(super) certificate: Option<u64>,
}

/// The zone files, the certificate and the file of overrides of a configuration; every problem at once.
pub(super) async fn load(config: &Config) -> Result<Loaded, Vec<Problem>> {
    let config = config.clone();
    let load = spawn_blocking(move || {
        let certificate = certificate(&config.server.tls);
        let overrides = config.server.overrides.as_deref().map_or(Ok(()), overrides::check);
        match (load_zones(&config), certificate, overrides) {
            (Ok(zones), Ok(certificate), Ok(())) => Ok(Loaded { zones, certificate }),
            (zones, certificate, overrides) => {
                let lists = zones.err().into_iter().chain(overrides.err()).flatten();
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
    zones.chain([&tls.certificate, &tls.key].into_iter().flatten().cloned()).collect()
}
