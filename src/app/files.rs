//! The files that a configuration names.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    config::{self, Config, Problem},
    overrides,
    server::encrypted,
    table::conflicts,
    zone::file::{self, StaticZone},
};

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

/// The same, and the certificate of the encrypted transports and the file of overrides are looked at as well.
pub(super) fn load(config: &Config) -> Result<Vec<StaticZone>, Vec<Problem>> {
    let certificate = encrypted::check(&config.server.tls, SystemTime::now()).map_err(|error| {
        let problem = Problem::new(error.to_string());
        problem.at_key("server.tls")
    });
    let overrides = config.server.overrides.as_deref().map_or(Ok(()), overrides::check);
    match (load_zones(config), certificate, overrides) {
        (Ok(zones), Ok(_), Ok(())) => Ok(zones),
        (zones, certificate, overrides) => {
            let lists = zones.err().into_iter().chain(overrides.err()).flatten();
            Err(lists.chain(certificate.err()).collect())
        }
    }
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
